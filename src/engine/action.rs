//! What is to be done to a test and its children: the actions that hold, for objects that are not yet as they say.

use super::facts::Test;
use super::render::{at, text};
use super::rule::{Act, Action, Target};
use crate::bundle::Bundle;
use serde_json::{Value, json};
use std::borrow::Cow;

/// Something to do to one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Deed {
    /// The rule that says so.
    pub rule: String,
    pub object: Object,
    pub act: Act,
}

/// Which object, as it was when that was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
}

/// What an action asks for that is not so yet.
pub(crate) fn deeds(action: &Action, test: &Test) -> Vec<Deed> {
    let child = |stem: &String| test.children.there(stem).map(|c| Cow::Owned(c.state()));
    let objects: Vec<Cow<Value>> = match &action.on {
        Target::Test => vec![Cow::Borrowed(&*test.object)],
        Target::Children(stems) => stems.iter().filter_map(child).collect(),
    };
    let wanting = objects.iter().filter(|o| !is_done(&action.act, o));
    wanting
        .map(|object| deed(&action.guard.origin.id, object, action.act.clone()))
        .collect()
}

/// What is to be done to a test that is being deleted: the finalizers in `finalizersToRemove` of the values, which an
/// operator that ran before needed, are removed. lotest needs none: owner references clean up.
pub fn when_deleted(bundle: &Bundle, test: &Test) -> Vec<Deed> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let unwanted = list(bundle.values.get("finalizersToRemove"));
    let there = list(at(&test.object, "/metadata/finalizers"));
    let kept: Vec<&Value> = there.iter().filter(|f| !unwanted.contains(f)).collect();
    if kept.len() == there.len() {
        return Vec::new();
    }
    // The version makes it fail when somebody else changes the list at the same time.
    let version = text(&test.object, "/metadata/resourceVersion");
    let patch = json!({"metadata": {"finalizers": kept, "resourceVersion": version}});
    vec![deed("finalizersToRemove", &test.object, Act::Patch(patch))]
}

/// The deletion of one object.
pub fn deletion(rule: &str, object: &Value) -> Deed {
    deed(rule, object, Act::Delete)
}

fn deed(rule: &str, object: &Value, act: Act) -> Deed {
    Deed {
        rule: rule.to_string(),
        object: Object {
            api_version: text(object, "/apiVersion").to_string(),
            kind: text(object, "/kind").to_string(),
            name: text(object, "/metadata/name").to_string(),
            uid: text(object, "/metadata/uid").to_string(),
        },
        act,
    }
}

fn is_done(act: &Act, object: &Value) -> bool {
    match act {
        Act::Patch(patch) => has(object, patch),
        Act::Delete => object.pointer("/metadata/deletionTimestamp").is_some(),
    }
}

/// Whether a merge patch would change nothing.
fn has(object: &Value, patch: &Value) -> bool {
    match patch {
        Value::Object(entries) => entries.iter().all(|(key, patch)| match object.get(key) {
            None => patch.is_null(),
            Some(value) => has(value, patch),
        }),
        Value::Null => object.is_null(),
        patch => object == patch,
    }
}
