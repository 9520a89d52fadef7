//! Which fields of a test's spec differ from what the test was started with.

use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};

/// More paths than this say no more to a person.
const MAX_PATHS: usize = 10;

/// The paths (`spec.worker.replicas`) of the values that differ, in order.
pub fn changed_fields(started: &Value, now: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    compare("spec", started, now, &mut paths);
    paths.truncate(MAX_PATHS);
    paths
}

fn compare(path: &str, a: &Value, b: &Value, paths: &mut Vec<String>) {
    match (a, b) {
        _ if a == b => {}
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                let other = after.get(key).unwrap_or(&Value::Null);
                compare(&format!("{path}.{key}"), value, other, paths);
            }
            for key in after.keys().filter(|key| !before.contains_key(*key)) {
                paths.push(format!("{path}.{key}"));
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (n, (x, y)) in before.iter().zip(after).enumerate() {
                compare(&format!("{path}[{n}]"), x, y, paths);
            }
        }
        _ => paths.push(path.to_string()),
    }
}

/// What a template may read of a test, as one number: its labels and annotations are no part of its generation.
pub fn asked(test: &Value) -> u64 {
    let mut hash = DefaultHasher::new();
    for pointer in [
        "/metadata/generation",
        "/metadata/labels",
        "/metadata/annotations",
    ] {
        test.pointer(pointer).hash(&mut hash);
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_exactly_what_differs() {
        let started = json!({"image": "a", "worker": {"replicas": 2, "args": ["x"]}, "env": {}});
        let now = json!({"image": "a", "worker": {"replicas": 3, "args": ["y"]}, "more": 1});
        assert_eq!(
            changed_fields(&started, &now),
            [
                "spec.env",
                "spec.worker.args[0]",
                "spec.worker.replicas",
                "spec.more"
            ]
        );
        assert!(changed_fields(&started, &started).is_empty());
    }
}
