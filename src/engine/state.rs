//! A recorded state: Kubernetes objects as `kubectl get -o yaml` prints them, taken into an index. What the operator
//! would look up in events is answered from the events among them.

use super::index::{Index, Key};
use super::render::text;
use super::run::{Revision, Run};
use super::signals::Question;
use super::verdict::evaluate;
use crate::bundle::Bundle;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// An index with everything in `objects` that belongs to a LocustTest in them, and the tests. `Job`s and other
/// children are known by their labels and owners, as in a cluster.
pub fn load(bundle: &Arc<Bundle>, objects: Vec<Value>, now: Timestamp) -> (Index, Vec<Key>) {
    let (tests, others) = parted(flattened(objects), "LocustTest");
    let (pods, others) = parted(others, "Pod");
    let (events, others) = parted(others, "Event");
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
    for key in &keys {
        let verdict = index.get(key).map(|test| evaluate(bundle, test, now));
        for question in verdict.map(|v| v.questions).unwrap_or_default() {
            let answer = answer(&events, &question);
            index.set_text(key, question, answer);
        }
    }
    (index, keys)
}

/// The text of the latest event that a signal asks for.
fn answer(events: &[Value], question: &Question) -> Option<String> {
    let asked = |event: &&Value| {
        let about = ["/involvedObject/uid", "/regarding/uid"];
        about.iter().any(|of| text(event, of) == question.about.uid)
            && question.reasons.iter().any(|r| r == text(event, "/reason"))
    };
    let time = |event: &&Value| -> Option<Timestamp> {
        let times = ["/lastTimestamp", "/deprecatedLastTimestamp", "/eventTime"];
        times.iter().find_map(|time| text(event, time).parse().ok())
    };
    let latest = events.iter().filter(asked).max_by_key(time)?;
    let said = ["/message", "/note"].map(|field| text(latest, field));
    said.into_iter()
        .find(|said| !said.is_empty())
        .map(str::to_string)
}

/// From the test's ControllerRevision, when that is among the objects. Otherwise what is missing and what was edited
/// is not known.
fn run(test: &Value, revisions: &[Value]) -> Run {
    let owned = |revision: &&Value| {
        super::index::controller_uid(revision) == Some(text(test, "/metadata/uid"))
    };
    let stored = revisions.iter().find(owned);
    let data = stored.and_then(|r| r.get("data"));
    let revision = data.and_then(|d| serde_json::from_value::<Revision>(d.clone()).ok());
    let started = stored.and_then(|r| text(r, "/metadata/creationTimestamp").parse().ok());
    match (revision, started) {
        (Some(revision), Some(started)) => revision.taken_over(started),
        (Some(revision), None) => revision.run(),
        (None, _) => Run {
            bundle: Some(text(test, "/status/bundle").to_string()).filter(|b| !b.is_empty()),
            ..Run::default()
        },
    }
}

/// The items of lists in their place.
fn flattened(objects: Vec<Value>) -> Vec<Value> {
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
