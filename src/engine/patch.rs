//! Merge patches: <https://www.rfc-editor.org/rfc/rfc7386>.

use serde_json::{Map, Value, json};

/// Does to `target` what a merge patch says.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    if let Some(target) = target.as_object_mut() {
        for (name, value) in patch {
            match value {
                Value::Null => {
                    target.remove(name);
                }
                value => merge(target.entry(name).or_insert(Value::Null), value),
            }
        }
    }
}

/// The merge patch that makes `after` of `before`, neither of which holds null; nothing when they are the same.
pub fn between(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let mut changes = Map::new();
    for (key, value) in new {
        match old.get(key) {
            None => {
                changes.insert(key.clone(), value.clone());
            }
            Some(known) => {
                if let Some(change) = between(known, value) {
                    changes.insert(key.clone(), change);
                }
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        changes.insert(key.clone(), Value::Null);
    }
    (!changes.is_empty()).then(|| changes.into())
}
