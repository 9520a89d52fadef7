//! A recorded state: Kubernetes objects as `kubectl get -o yaml` prints them, taken into an index. What the operator
//! would look up in events is answered from the events among them.

use super::index::{Index, Key};
use super::lookup::{Answer, Question, Said};
use super::render::{group, text};
use super::run::{Revision, Run};
use super::verdict::evaluate;
use crate::bundle::Bundle;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// A signal that asks for events is one of the rules; there are some dozens.
const MAX_ROUNDS: usize = 100;

/// An index with everything in `objects` that belongs to a LocustTest in them, and the tests. `Job`s and other
/// children are known by their labels and owners, as in a cluster.
pub fn load(bundle: &Arc<Bundle>, objects: Vec<Value>, now: Timestamp) -> (Index, Vec<Key>) {
    let (tests, others) = parted(flattened(objects), "locust.io", "LocustTest");
    let (pods, others) = parted(others, "", "Pod");
    let (events, others) = parted(others, "", "Event");
    let (revisions, children) = parted(others, "apps", "ControllerRevision");
    let mut index = Index::new(Arc::clone(bundle));
    let keys: Vec<Key> = tests.iter().map(Key::of).collect();
    for test in &tests {
        index.apply_test(test.clone());
    }
    for child in &children {
        index.apply_child(child, now);
    }
    for pod in pods {
        index.apply_pod(&pod, now);
    }
    for test in &tests {
        let run = run(test, &revisions);
        index.set_run(&Key::of(test), run);
        index.has_no_more(&Key::of(test));
    }
    for key in &keys {
        // Each answer may change what counts, and so what is asked.
        for _ in 0..MAX_ROUNDS {
            let verdict = index.get(key).map(|test| evaluate(bundle, test, now));
            let questions = verdict.map(|v| v.questions).unwrap_or_default();
            if questions.is_empty() {
                break;
            }
            for question in questions {
                let answer = answer(&events, &question);
                index.answer(key, question, answer, now);
            }
        }
    }
    (index, keys)
}

/// The events that a signal asks for.
fn answer(events: &[Value], question: &Question) -> Answer {
    let asked = |event: &&Value| {
        let about = ["/involvedObject/uid", "/regarding/uid"];
        about.iter().any(|of| text(event, of) == question.about.uid)
            && question.reasons.iter().any(|r| r == text(event, "/reason"))
    };
    let said = |event: &Value| {
        let times = ["/lastTimestamp", "/deprecatedLastTimestamp", "/eventTime"];
        let messages = ["/message", "/note"].map(|field| text(event, field));
        Said {
            message: messages
                .into_iter()
                .find(|m| !m.is_empty())
                .unwrap_or_default()
                .to_string(),
            at: times.iter().find_map(|time| text(event, time).parse().ok()),
        }
    };
    Answer::Events(events.iter().filter(asked).map(said).collect())
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
        (Some(revision), None) => revision.run(None),
        (None, _) => Run {
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

fn parted(objects: Vec<Value>, of: &str, kind: &str) -> (Vec<Value>, Vec<Value>) {
    let is = |o: &Value| text(o, "/kind") == kind && group(text(o, "/apiVersion")) == of;
    objects.into_iter().partition(is)
}
