//! The index, where objects lose what ties them to their test.

use jiff::Timestamp;
use lotest::bundle::{Bundle, Layer};
use lotest::engine::index::{Index, Key, Listed};
use lotest::engine::packed::Packed;
use lotest::engine::run::Run;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn owned(kind: &str, name: &str, version: &str, owner: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "name": name, "namespace": "n", "uid": format!("uid-of-{name}"), "resourceVersion": version,
            "labels": {"locust.io/child": name},
            "ownerReferences": [{"kind": "K", "name": "k", "uid": owner, "controller": true}],
        },
    })
}

/// An index with one test that has one child and one pod.
fn index() -> (Index, Key) {
    let (bundle, _) = Bundle::load(&[Layer::built_in()], &BTreeMap::new()).unwrap();
    let mut index = Index::new(Arc::new(bundle));
    let test = json!({
        "apiVersion": "locust.io/v2", "kind": "LocustTest", "spec": {},
        "metadata": {"name": "t", "namespace": "n", "uid": "t1", "resourceVersion": "1"},
    });
    let key = index.apply_test(test).unwrap();
    index.apply_child(&owned("Job", "child", "2", "t1"), NOW);
    index.apply_pod(&owned("Pod", "pod", "3", "uid-of-child"), NOW);
    assert_eq!(index.get(&key).unwrap().pods()["total"], 1);
    (index, key)
}

#[test]
fn a_pod_that_lost_its_owner_is_no_longer_the_test_s() {
    for gone in [false, true] {
        let (mut index, key) = index();
        let mut pod = owned("Pod", "pod", "4", "uid-of-child");
        pod["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("ownerReferences");
        let concerned = if gone {
            index.delete_pod(&pod)
        } else {
            index.apply_pod(&pod, NOW)
        };
        assert_eq!(concerned.as_ref(), Some(&key));
        assert_eq!(index.get(&key).unwrap().pods()["total"], 0);
    }
}

#[test]
fn a_child_that_lost_its_label_is_still_followed() {
    let (mut index, key) = index();
    let mut child = owned("Job", "child", "4", "t1");
    child["metadata"]["labels"] = json!({});
    child["status"] = json!({"active": 1});
    assert_eq!(index.apply_child(&child, NOW).as_ref(), Some(&key));
    let known = &index.get(&key).unwrap().children.to_value()["child"];
    assert_eq!(known["status"]["active"], 1);
    assert_eq!(index.delete_child(&child).as_ref(), Some(&key));
    assert!(index.get(&key).unwrap().gone("child").is_some());
}

#[test]
fn an_answer_that_comes_after_the_deletion_does_not_bring_a_child_back() {
    let (mut index, key) = index();
    let deleted = owned("Job", "child", "9", "t1");
    index.apply_child(&deleted, NOW);
    index.delete_child(&deleted);
    assert_eq!(
        index.apply_child(&owned("Job", "child", "5", "t1"), NOW),
        None
    );
    assert!(index.get(&key).unwrap().gone("child").is_some());
}

#[test]
fn a_child_that_a_list_did_not_have_is_not_brought_back_by_an_older_answer() {
    let (mut index, key) = index();
    index.retain_children("", "Job", &Listed::default());
    assert_eq!(
        index.apply_child(&owned("Job", "child", "2", "t1"), NOW),
        None
    );
    assert!(index.get(&key).unwrap().gone("child").is_some());
    // Whoever gave it its label again has changed it.
    index.apply_child(&owned("Job", "child", "3", "t1"), NOW);
    assert!(index.get(&key).unwrap().gone("child").is_none());
}

#[test]
fn a_pod_that_somebody_else_adopted_is_no_longer_the_test_s() {
    let (mut index, key) = index();
    let adopted = owned("Pod", "pod", "4", "uid-of-another");
    assert_eq!(index.apply_pod(&adopted, NOW).as_ref(), Some(&key));
    assert_eq!(index.get(&key).unwrap().pods()["total"], 0);
}

#[test]
fn a_pod_that_lost_its_owner_while_it_waited_is_nobody_s() {
    let (mut index, key) = index();
    index.apply_pod(&owned("Pod", "early", "4", "uid-of-late"), NOW);
    let mut orphan = owned("Pod", "early", "5", "uid-of-late");
    orphan["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("ownerReferences");
    index.apply_pod(&orphan, NOW);
    index.apply_child(&owned("Job", "late", "6", "t1"), NOW);
    assert_eq!(index.get(&key).unwrap().pods()["total"], 1);
}

/// A Job that removes itself when it has finished may have done so between two watches: it is looked for by name, and
/// then taken for one that may have run, not for one that somebody deleted.
#[test]
fn a_child_that_nobody_saw_go_is_looked_for() {
    let (bundle, _) = Bundle::load(&[Layer::built_in()], &BTreeMap::new()).unwrap();
    let gone = |watched: bool| {
        let (mut index, key) = index();
        let run = Run {
            children: vec!["child".into()],
            spec: Some(Packed::default()),
            ..Run::default()
        };
        index.set_run(&key, run);
        if watched {
            index.delete_child(&owned("Job", "child", "4", "t1"));
        } else {
            index.retain_children("", "Job", &Listed::default());
        }
        (index, key)
    };
    let (index, key) = gone(true);
    let test = index.get(&key).unwrap();
    assert_eq!(test.missing(&bundle), ["child"]);
    assert_eq!(test.to_look_for(&bundle), [""; 0]);
    assert_eq!(test.unseen(&bundle), [""; 0]);

    let (mut index, key) = gone(false);
    let test = index.get(&key).unwrap();
    assert_eq!(test.to_look_for(&bundle), ["child"]);
    assert_eq!(test.unseen(&bundle), [""; 0], "it may be there");
    index.has_no_more(&key);
    let test = index.get(&key).unwrap();
    assert_eq!(test.to_look_for(&bundle), [""; 0]);
    assert_eq!(test.unseen(&bundle), ["child"]);

    index.apply_child(&owned("Job", "child", "5", "t1"), NOW);
    let test = index.get(&key).unwrap();
    assert_eq!(test.missing(&bundle), [""; 0]);
}

#[test]
fn who_was_refused_a_name_is_told_when_it_is_free() {
    let (mut index, key) = index();
    let run = Run {
        refused: vec![
            json!({"child": "c", "apiVersion": "v1", "kind": "Job", "name": "theirs", "message": "taken"}),
        ],
        retry: Some((Timestamp::MAX, 1)),
        ..Run::default()
    };
    index.set_run(&key, run);
    assert!(
        index
            .freed(&owned("Service", "theirs", "9", "other"))
            .is_empty()
    );
    assert!(
        index
            .freed(&owned("Job", "others", "9", "other"))
            .is_empty()
    );
    let mut of_another_group = owned("Job", "theirs", "9", "other");
    of_another_group["apiVersion"] = "example.com/v1".into();
    assert!(index.freed(&of_another_group).is_empty());
    assert_eq!(
        index.freed(&owned("Job", "theirs", "9", "other")),
        std::slice::from_ref(&key)
    );
    assert_eq!(index.get(&key).unwrap().run.retry, None);
}

#[test]
fn kinds_of_one_name_in_two_groups_are_two() {
    let (mut index, key) = index();
    let mut other = owned("Job", "other", "4", "t1");
    other["apiVersion"] = "example.com/v1".into();
    index.apply_child(&other, NOW);
    // A list of the one kind says nothing about the other, whatever the version.
    index.retain_children("example.com", "Job", &Listed::default());
    let test = index.get(&key).unwrap();
    assert!(test.gone("other").is_some());
    assert!(test.gone("child").is_none());
}

/// However many pods come before what made them, each is known in the end, with what it suffers from as a pod of its
/// child.
#[test]
fn no_pod_is_forgotten_that_comes_before_its_owner() {
    let pod = |n: usize| {
        let mut pod = owned("Pod", &format!("early-{n}"), "4", "uid-of-master-job");
        pod["metadata"]["creationTimestamp"] = "1970-01-01T00:00:00Z".into();
        pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}]});
        let ended = json!({"name": "c", "state": {"terminated": {"exitCode": 1}}});
        pod["status"] = json!({"phase": "Failed", "containerStatuses": [ended]});
        pod
    };
    let all = 3000;
    let (mut early, key) = index();
    (0..all).for_each(|n| drop(early.apply_pod(&pod(n), NOW)));
    assert_eq!(early.get(&key).unwrap().pods()["total"], 1);
    early.apply_child(&owned("Job", "master-job", "5", "t1"), NOW);

    let (mut late, _) = index();
    late.apply_child(&owned("Job", "master-job", "5", "t1"), NOW);
    (0..all).for_each(|n| drop(late.apply_pod(&pod(n), NOW)));

    let known = |index: &Index| format!("{:?}", index.get(&key).unwrap());
    assert_eq!(early.get(&key).unwrap().pods()["total"], all + 1);
    assert!(known(&early).contains("Ended"), "its child matters");
    assert_eq!(known(&early), known(&late));
}

/// A child may have been made by a bundle with other templates.
#[test]
fn a_pod_that_comes_before_a_child_of_another_bundle_is_known() {
    let (mut index, key) = index();
    index.apply_pod(&owned("Pod", "early", "4", "uid-of-former"), NOW);
    index.apply_child(&owned("Job", "former", "5", "t1"), NOW);
    assert_eq!(index.get(&key).unwrap().pods()["total"], 2);
}
