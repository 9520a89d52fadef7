//! A recorded state: Kubernetes objects as `kubectl get -o yaml` prints them, taken into an index.

use super::index::{Index, Key};
use super::render::text;
use super::run::{Revision, Run};
use crate::bundle::Bundle;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// An index with everything in `objects` that belongs to a LocustTest in them, and the tests. `Job`s and other
/// children are known by their labels and owners, as in a cluster.
pub fn load(bundle: &Arc<Bundle>, objects: Vec<Value>, now: Timestamp) -> (Index, Vec<Key>) {
    let (tests, others) = parted(flattened(objects), "LocustTest");
    let (pods, others) = parted(others, "Pod");
    let (revisions, children) = parted(others, "ControllerRevision");
    let mut index = Index::new(Arc::clone(bundle));
    let keys: Vec<Key> = tests.iter().map(Key::of).collect();
    for test in &tests {
        index.apply_test(test.clone());
    }
    for child in &children {
        index.apply_child(child, now);
    }
    for pod in pods {
        index.apply_pod(pod, now);
    }
    for test in &tests {
        let run = run(test, &revisions);
        index.set_run(&Key::of(test), run);
        index.has_no_more(&Key::of(test));
    }
    (index, keys)
}

/// From the test's ControllerRevision, when that is among the objects. Otherwise what is missing and what was edited
/// is not known.
fn run(test: &Value, revisions: &[Value]) -> Run {
    let owned = |revision: &&Value| {
        super::index::controller_uid(revision) == Some(text(test, "/metadata/uid"))
    };
    let data = revisions.iter().find(owned).and_then(|r| r.get("data"));
    let revision = data.and_then(|d| serde_json::from_value::<Revision>(d.clone()).ok());
    match revision {
        Some(revision) => revision.run(),
        None => Run {
            bundle: Some(text(test, "/status/bundle").to_string()).filter(|b| !b.is_empty()),
            ..Run::default()
        },
    }
}

/// The items of lists in their place.
pub fn flattened(objects: Vec<Value>) -> Vec<Value> {
    let mut flat = Vec::new();
    for mut object in objects {
        match object.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => flat.extend(flattened(items)),
            _ => flat.push(object),
        }
    }
    flat
}

fn parted(objects: Vec<Value>, kind: &str) -> (Vec<Value>, Vec<Value>) {
    objects.into_iter().partition(|o| text(o, "/kind") == kind)
}
