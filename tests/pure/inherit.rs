//! From one bundle to the next: an index that was filled anew concludes what the one before did.

use jiff::Timestamp;
use lotest::bundle::{Bundle, Files, Layer};
use lotest::engine::index::{Index, Key};
use lotest::engine::lookup::{Answer, Said};
use lotest::engine::packed::Packed;
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
    index.apply_test(test());
    index.apply_child(&owned("Job", "worker-job", "t1"), late());
    index.apply_pod(&stuck(), late());
    Key::of(&test())
}

fn run(children: &[&str]) -> Run {
    Run {
        bundle: Some("first".into()),
        children: children.iter().map(ToString::to_string).collect(),
        spec: Some(Packed::new(&json!({}))),
        ..Run::default()
    }
}

/// Lists everything anew for a bundle with another rule.
fn renew(mut index: Index) -> (Arc<Bundle>, Index) {
    let next_bundle = bundle(NEW_RULE);
    let mut next = index.renewed(Arc::clone(&next_bundle));
    fill(&mut next);
    index.adopt(next);
    (next_bundle, index)
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
fn what_is_known_of_a_test_stays_while_the_next_bundle_learns_of_it() {
    let first = bundle("[]");
    let mut index = Index::new(Arc::clone(&first));
    let key = fill(&mut index);
    index.set_run(&key, run(&["worker-job"]));
    let mut next = index.renewed(bundle(NEW_RULE));
    assert!(!next.agrees_with(&index), "nothing is listed yet");
    fill(&mut next);
    assert!(next.agrees_with(&index));

    // Written meanwhile, and seen by the watch later.
    let mut written = test();
    written["metadata"]["resourceVersion"] = "7".into();
    written["status"]["phase"] = "Running".into();
    index.apply_test(written);
    index.deleting(&key, "uid-of-worker-job", late());
    index.adopt(next);
    let known = index.get(&key).unwrap();
    assert_eq!(known.object["status"]["phase"], "Running");
    assert_eq!(known.run.bundle.as_deref(), Some("first"));
    let deleted = &known.children.to_value()["worker-job"]["metadata"]["deletionTimestamp"];
    assert!(deleted.is_string());
    assert_eq!(known.pods()["total"], 1);
}

#[test]
fn a_list_that_is_older_than_the_watch_changes_nothing_and_does_not_agree() {
    let mut index = Index::new(bundle("[]"));
    let key = fill(&mut index);
    let mut later = stuck();
    later["metadata"]["resourceVersion"] = "9".into();
    later["status"] = json!({"phase": "Running"});
    let mut next = index.renewed(bundle(NEW_RULE));
    fill(&mut next);
    next.apply_pod(&later, late());
    assert!(!next.agrees_with(&index), "the list is ahead of the watch");
    assert_eq!(next.apply_pod(&stuck(), late()), None);
    assert_eq!(next.get(&key).unwrap().pods()["running"], 1);
    index.apply_pod(&later, late());
    assert!(next.agrees_with(&index));
    // Another pod of this name is another, however its version compares.
    let mut other = stuck();
    other["metadata"]["uid"] = "another".into();
    assert_eq!(next.apply_pod(&other, late()), Some(key));
}

#[test]
fn children_of_a_test_that_is_made_again_meanwhile_are_not_those_of_the_one_before() {
    let mut index = Index::new(bundle("[]"));
    let key = fill(&mut index);
    let mut next = index.renewed(bundle(NEW_RULE));
    let mut other = test();
    other["metadata"]["uid"] = "t2".into();
    for index in [&mut index, &mut next] {
        index.apply_test(other.clone());
    }
    // The same object, adopted, under a name of its own.
    let mut adopted = owned("Job", "worker-job", "t2");
    adopted["metadata"]["labels"]["locust.io/child"] = "another".into();
    next.apply_child(&adopted, late());
    assert!(next.get(&key).unwrap().children.get("another").is_some());
    index.adopt(next);
    let known = index.get(&key).unwrap();
    assert_eq!(known.run, Run::default());
    assert_eq!(known.children.to_value(), json!({}));
}
