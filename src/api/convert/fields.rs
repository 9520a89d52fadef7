//! Which field of one version is which of the other, and how a value of the one is said in the other.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::Version;
use crate::api::{check, schema};

pub type Object = Map<String, Value>;

/// One thing that both versions can say, with its path in the spec of each.
pub struct Field {
    v1: &'static [&'static str],
    v2: &'static [&'static str],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// The same value in both.
    Same,
    /// v1: names; v2: objects with a `name`.
    Secrets,
    /// v1 knows fewer tolerations.
    Tolerations,
    /// v1: label keys, each with the one value that a node must have; v2: a node selector.
    NodeLabels,
}

const fn field(v1: &'static [&'static str], v2: &'static [&'static str], kind: Kind) -> Field {
    Field { v1, v2, kind }
}

const REQUIRED_NODES: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// No path is the beginning of another.
pub const FIELDS: &[Field] = &[
    field(&["image"], &["image"], Kind::Same),
    field(&["imagePullPolicy"], &["imagePullPolicy"], Kind::Same),
    field(&["imagePullSecrets"], &["imagePullSecrets"], Kind::Secrets),
    field(&["masterCommandSeed"], &["master", "command"], Kind::Same),
    field(&["labels", "master"], &["master", "labels"], Kind::Same),
    field(
        &["annotations", "master"],
        &["master", "annotations"],
        Kind::Same,
    ),
    field(&["workerCommandSeed"], &["worker", "command"], Kind::Same),
    field(&["workerReplicas"], &["worker", "replicas"], Kind::Same),
    field(&["labels", "worker"], &["worker", "labels"], Kind::Same),
    field(
        &["annotations", "worker"],
        &["worker", "annotations"],
        Kind::Same,
    ),
    field(&["configMap"], &["testFiles", "configMapRef"], Kind::Same),
    field(
        &["libConfigMap"],
        &["testFiles", "libConfigMapRef"],
        Kind::Same,
    ),
    field(
        &["affinity", "nodeAffinity", REQUIRED_NODES],
        &["scheduling", "affinity", "nodeAffinity", REQUIRED_NODES],
        Kind::NodeLabels,
    ),
    field(
        &["tolerations"],
        &["scheduling", "tolerations"],
        Kind::Tolerations,
    ),
];

impl Field {
    pub fn path(&self, version: Version) -> &'static [&'static str] {
        match version {
            Version::V1 => self.v1,
            Version::V2 => self.v2,
        }
    }

    /// `value`, which is of the other version, as `to` says it. Nothing when `to` cannot say anything of it; of a list,
    /// what `to` can say.
    pub fn translate(&self, value: &Value, to: Version) -> Option<Value> {
        match (self.kind, to) {
            (Kind::Same, _) => Some(value.clone()),
            (Kind::NodeLabels, Version::V1) => labels_of_selector(value),
            (Kind::NodeLabels, Version::V2) => selector_of_labels(value),
            (Kind::Secrets | Kind::Tolerations, _) => {
                let items = value.as_array()?;
                let said: Vec<Value> = items.iter().filter_map(|i| self.item(i, to)).collect();
                (items.is_empty() || !said.is_empty()).then_some(Value::Array(said))
            }
        }
    }

    /// `new`, which is of the other version and differs from what that shows of `kept`, as `to` says it. Of a list,
    /// entries that the other version shows as they are in `new`, and those that it cannot show, stay as they are.
    pub fn merge(&self, new: Option<&Value>, kept: Option<&Value>, to: Version) -> Option<Value> {
        let kept = match kept {
            Some(Value::Array(kept)) if matches!(self.kind, Kind::Secrets | Kind::Tolerations) => {
                kept
            }
            _ => return self.translate(new?, to),
        };
        let mut shown: Vec<(Value, &Value)> = Vec::new();
        let mut merged = Vec::new();
        for entry in kept {
            match self.item(entry, to.other()) {
                Some(seen) => shown.push((seen, entry)),
                None => merged.push(entry.clone()),
            }
        }
        for entry in new.and_then(Value::as_array).into_iter().flatten() {
            match shown.iter().position(|(seen, _)| seen == entry) {
                Some(at) => merged.push(shown.remove(at).1.clone()),
                None => merged.extend(self.item(entry, to)),
            }
        }
        (new.is_some() || !merged.is_empty()).then_some(Value::Array(merged))
    }

    /// One entry of a list.
    fn item(&self, item: &Value, to: Version) -> Option<Value> {
        match (self.kind, to) {
            (Kind::Secrets, Version::V1) => item.get("name").filter(|n| n.is_string()).cloned(),
            (Kind::Secrets, Version::V2) => item.is_string().then(|| json!({ "name": item })),
            (_, Version::V1) => old_toleration(item),
            (_, Version::V2) => item.is_object().then(|| item.clone()),
        }
    }
}

/// A toleration in the words of v1; nothing when v1 would refuse it.
fn old_toleration(toleration: &Value) -> Option<Value> {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        schema::locust_test_v1()["properties"]["spec"]["properties"]["tolerations"]["items"].clone()
    });
    let mut old = toleration.as_object()?.clone();
    old.retain(|name, _| SCHEMA["properties"].get(name).is_some());
    old.entry("operator").or_insert_with(|| "Equal".into());
    let old = Value::Object(old);
    let findings = check::against(&SCHEMA, &old, "", check::Unknown::Deny);
    findings.is_empty().then_some(old)
}

/// No labels are no selector: Kubernetes refuses one without terms.
fn selector_of_labels(labels: &Value) -> Option<Value> {
    let labels = labels.as_object().filter(|labels| !labels.is_empty())?;
    if !labels.values().all(Value::is_string) {
        return None;
    }
    let mut labels: Vec<_> = labels.iter().collect();
    labels.sort_by_key(|(key, _)| *key);
    let expressions = labels
        .into_iter()
        .map(|(key, value)| json!({ "key": key, "operator": "In", "values": [value] }));
    let expressions: Vec<Value> = expressions.collect();
    Some(json!({ "nodeSelectorTerms": [{ "matchExpressions": expressions }] }))
}

/// The labels that a node selector asks for, when it asks for nothing else.
fn labels_of_selector(selector: &Value) -> Option<Value> {
    let [term] = only(selector, "nodeSelectorTerms")?.as_slice() else {
        return None;
    };
    let mut labels = Object::new();
    for expression in only(term, "matchExpressions")? {
        let expression = expression.as_object().filter(|e| e.len() == 3)?;
        let [value @ Value::String(_)] = expression.get("values")?.as_array()?.as_slice() else {
            return None;
        };
        if expression.get("operator")? != "In" {
            return None;
        }
        let key = expression.get("key")?.as_str()?;
        if labels.insert(key.to_owned(), value.clone()).is_some() {
            return None;
        }
    }
    (!labels.is_empty()).then_some(Value::Object(labels))
}

/// The list `name` of an object that has nothing else.
fn only<'a>(object: &'a Value, name: &str) -> Option<&'a Vec<Value>> {
    let object = object.as_object().filter(|object| object.len() == 1)?;
    object.get(name)?.as_array()
}

pub fn get<'a>(object: &'a Object, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = object.get(*first)?;
    match rest {
        [] => Some(value),
        _ => get(value.as_object()?, rest),
    }
}

/// Sets the value at `path`; what is no object on the way gives way to one.
pub fn put(object: &mut Object, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        object.insert((*first).to_owned(), value);
        return;
    }
    let inner = object.entry(*first).or_insert(Value::Null);
    if !inner.is_object() {
        *inner = Value::Object(Object::new());
    }
    if let Some(inner) = inner.as_object_mut() {
        put(inner, rest, value);
    }
}

/// Removes the value at `path`, and the objects around it that are empty then.
pub fn remove(object: &mut Object, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        object.remove(*first);
        return;
    }
    if let Some(Value::Object(inner)) = object.get_mut(*first) {
        let was_empty = inner.is_empty();
        remove(inner, rest);
        if inner.is_empty() && !was_empty {
            object.remove(*first);
        }
    }
}
