//! From one bundle to the next: an index that was filled anew concludes what the one before did.

use jiff::Timestamp;
use lotest::bundle::{Bundle, Files, Layer};
use lotest::engine::index::{Index, Key};
use lotest::engine::lookup::{Answer, Said};
use lotest::engine::run::Run;
use lotest::engine::verdict::evaluate;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const CREATED: &str = "2026-01-01T12:00:00Z";

fn late() -> Timestamp {
    "2026-01-01T13:00:00Z".parse().unwrap()
}

/// The built-in bundle with rules on top.
fn bundle(signals: &str) -> Arc<Bundle> {
    let files = Files::from([("rules/signals.yaml".to_string(), signals.to_string())]);
    let top = Layer {
        name: "top".to_string(),
        files,
    };
    let (bundle, _) = Bundle::load(&[Layer::built_in(), top], &BTreeMap::new()).unwrap();
    Arc::new(bundle)
}

/// Before all others, so that they get other numbers.
const NEW_RULE: &str = "
- id: of-our-own
  on: {each: pod}
  when: {path: $.metadata.annotations.trouble, exists: true}
  for: 1s
  reason: Trouble
  severity: warn
  priority: 999
  message: trouble
";

fn test() -> Value {
    json!({
        "apiVersion": "locust.io/v2", "kind": "LocustTest", "spec": {},
        "metadata": {"name": "t", "namespace": "n", "uid": "t1", "resourceVersion": "1", "creationTimestamp": CREATED},
        "status": {"phase": "Pending"},
    })
}

fn owned(kind: &str, name: &str, owner: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "name": name, "namespace": "n", "uid": format!("uid-of-{name}"), "resourceVersion": "2",
            "creationTimestamp": CREATED, "labels": {"locust.io/child": name},
            "ownerReferences": [{"kind": "K", "name": "k", "uid": owner, "controller": true}],
        },
    })
}

/// On its node, and no container is made: what is in the way, events alone say.
fn stuck() -> Value {
    let mut pod = owned("Pod", "pod", "uid-of-worker-job");
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": CREATED});
    let conditions = [
        condition("PodScheduled", "True"),
        condition("PodReadyToStartContainers", "False"),
    ];
    pod["status"] = json!({"phase": "Pending", "conditions": conditions});
    pod
}

fn fill(index: &mut Index) -> Key {
    let key = index.apply_test(test()).unwrap();
    index.apply_child(&owned("Job", "worker-job", "t1"), late());
    index.apply_pod(&stuck(), late());
    key
}

fn run(children: &[&str]) -> Run {
    Run {
        bundle: Some("first".into()),
        children: children.iter().map(ToString::to_string).collect(),
        spec: Some(Arc::new(json!({}))),
        ..Run::default()
    }
}

/// Lists everything anew for a bundle with another rule.
fn renew(index: Index) -> (Arc<Bundle>, Index) {
    let next_bundle = bundle(NEW_RULE);
    let mut next = index.renewed(Arc::clone(&next_bundle));
    fill(&mut next);
    assert_eq!(next.inherit(index), []);
    (next_bundle, next)
}

#[test]
fn the_verdict_stays_and_nothing_is_looked_up_again() {
    let first = bundle("[]");
    let mut index = Index::new(Arc::clone(&first));
    let key = fill(&mut index);
    index.set_run(&key, run(&["worker-job"]));
    let asked = evaluate(&first, index.get(&key).unwrap(), late()).questions;
    assert!(!asked.is_empty());
    for question in asked {
        let said = Said {
            message: "a volume is missing".to_string(),
            at: Some(late()),
        };
        index.answer(&key, question, Answer::Events(vec![said]), late());
    }
    let before = evaluate(&first, index.get(&key).unwrap(), late());
    let said = Value::Object(before.status.clone()).to_string();
    assert!(said.contains("a volume is missing"), "{said}");

    let (next_bundle, next) = renew(index);
    let number = |b: &Bundle| {
        let mut signals = b.rules.signals.iter();
        signals.position(|s| s.guard.origin.id == "volumes-or-network")
    };
    assert_ne!(number(&first), number(&next_bundle));
    let after = evaluate(&next_bundle, next.get(&key).unwrap(), late());
    assert_eq!(after.questions, []);
    assert_eq!(after.status, before.status);
}

#[test]
fn a_child_that_is_gone_stays_gone_as_it_was() {
    let mut index = Index::new(bundle("[]"));
    let key = fill(&mut index);
    index.set_run(&key, run(&["seen", "unseen", "worker-job"]));
    let mut seen = owned("Job", "seen", "t1");
    seen["status"] = json!({"succeeded": 1});
    for child in [&seen, &owned("Job", "unseen", "t1")] {
        index.apply_child(child, late());
    }
    index.delete_child(&seen);

    let (bundle, next) = renew(index);
    let test = next.get(&key).unwrap();
    assert_eq!(test.gone("seen").unwrap()["status"]["succeeded"], 1);
    assert_eq!(test.run.bundle.as_deref(), Some("first"));
    assert_eq!(test.to_look_for(&bundle), ["unseen"], "nobody saw it go");
    assert!(test.gone("worker-job").is_none());
}

#[test]
fn what_could_not_be_started_is_tried_again() {
    let mut index = Index::new(bundle("[]"));
    let key = fill(&mut index);
    let refused = Run {
        errors: vec!["templates/service.yaml:1:1: wrong".into()],
        retry: Some((Timestamp::MAX, 0)),
        ..Run::default()
    };
    index.set_run(&key, refused);
    let (_, next) = renew(index);
    assert_eq!(next.get(&key).unwrap().run, Run::default());
}

#[test]
fn a_test_that_is_gone_is_forgotten_and_one_of_its_name_is_another() {
    let first = bundle("[]");
    let mut index = Index::new(Arc::clone(&first));
    let key = fill(&mut index);
    index.set_run(&key, run(&["worker-job"]));
    let mut other = test();
    other["metadata"]["uid"] = "t2".into();
    let mut next = index.renewed(Arc::clone(&first));
    next.apply_test(other);
    assert_eq!(next.inherit(index), []);
    assert_eq!(next.get(&key).unwrap().run, Run::default());
    assert_eq!(next.get(&key).unwrap().children, json!({}));

    let mut empty = next.renewed(first);
    assert_eq!(empty.inherit(next), [key]);
    assert_eq!(empty.keys().count(), 0);
}
