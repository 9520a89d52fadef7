//! What is to be done to a test and its children: the actions that hold, for objects that are not yet as they say.

use super::index::{Test, is_gone};
use super::render::text;
use super::rule::{Act, Action, Target};
use serde_json::Value;

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
    let objects: Vec<&Value> = match &action.on {
        Target::Test => vec![&test.object],
        Target::Children(stems) => stems.iter().filter_map(|s| test.children.get(s)).collect(),
    };
    let wanting = objects
        .into_iter()
        .filter(|object| !is_gone(object) && !is_done(&action.act, object));
    wanting
        .map(|object| Deed {
            rule: action.guard.origin.id.clone(),
            object: Object {
                api_version: text(object, "/apiVersion").to_string(),
                kind: text(object, "/kind").to_string(),
                name: text(object, "/metadata/name").to_string(),
                uid: text(object, "/metadata/uid").to_string(),
            },
            act: action.act.clone(),
        })
        .collect()
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
