//! What a recording holds of what was seen: `engine::record`.

use crate::support::load;
use jiff::{SignedDuration, Timestamp};
use lotest::engine::record::{Recorder, occurred};
use lotest::engine::replay::{last_status, replay};
use lotest::engine::timeline::{Entry, Timeline};
use serde_json::{Value, json};
use std::sync::Arc;

const CREATED: &str = "2026-03-01T12:00:00Z";

fn after(seconds: i64) -> Timestamp {
    CREATED.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn test() -> Value {
    let command = "--locustfile /lotest/src/test.py";
    json!({
        "apiVersion": "locust.io/v2", "kind": "LocustTest",
        "metadata": {"name": "load", "namespace": "shop", "uid": "t", "creationTimestamp": CREATED,
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "spec": {"image": "locustio/locust:2.20.0", "master": {"command": command},
            "worker": {"command": command, "replicas": 1}},
        "status": {"phase": "Running"},
    })
}

fn owned(kind: &str, name: &str, uid: &str, owner: &str) -> Value {
    json!({
        "kind": kind,
        "metadata": {"name": name, "uid": uid, "resourceVersion": "7", "creationTimestamp": CREATED,
            "labels": {"locust.io/child": "worker-job"},
            "ownerReferences": [{"controller": true, "uid": owner}]},
    })
}

fn job(status: Value) -> Value {
    let mut job = owned("Job", "load-worker", "j", "t");
    job["spec"] = json!({"parallelism": 1, "selector": {"matchLabels": {"controller-uid": "j"}}});
    job["status"] = status;
    job
}

fn pod(status: Value) -> Value {
    let mut pod = owned("Pod", "load-worker-a", "p", "j");
    pod["spec"] = json!({"containers": [{"name": "load-worker", "env": [{"name": "SECRET", "value": "hunter2"}]},
        {"name": "injected", "image": "mesh:1", "env": [{"name": "SECRET", "value": "hunter2"}]}]});
    pod["status"] = status;
    pod
}

fn event(uid: &str, about: &str, reason: &str) -> Value {
    json!({"kind": "Event", "metadata": {"uid": uid}, "reason": reason, "message": "what it says",
        "involvedObject": {"uid": about}})
}

fn parsed(recorder: &Recorder) -> Value {
    serde_saphyr::from_str(&recorder.timeline().unwrap()).unwrap()
}

#[test]
fn a_recording_holds_what_rules_read_with_times_of_its_own() {
    let mut recorder = Recorder::new(&load(&[]).0, &test());
    // The watches of different kinds do not wait for each other.
    recorder.apply(after(1), &event("e1", "p", "FailedMount"));
    recorder.apply(after(1), &pod(json!({"phase": "Pending", "podIP": "10.0.0.1",
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-01T12:00:05Z"}]})));
    recorder.apply(after(2), &job(json!({"active": 1})));
    recorder.apply(after(3), &event("e1", "p", "FailedMount"));
    recorder.apply(after(3), &event("e2", "p", "Pulled"));
    recorder.apply(after(3), &owned("Pod", "other", "o", "elsewhere"));
    recorder.apply(after(4), &job(json!({"active": 1})));
    recorder.apply(after(5), &pod(json!({"phase": "Running"})));
    recorder.delete(after(5), &pod(json!({})));
    recorder.delete(after(6), &job(json!({})));
    recorder.end(after(8));
    let recorded = parsed(&recorder);
    assert_eq!(recorded["test"]["metadata"], json!({"name": "load"}));
    assert!(recorded["test"].get("status").is_none());
    let pod = json!({
        "of": "worker-job",
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"containers": [{"name": "load-worker"}, {"name": "injected", "image": "mesh:1"}]},
        "status": {"phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}]},
    });
    let steps = json!([
        {"at": "2s", "children": {"worker-job": {"status": {"active": 1}}}, "pods": {"load-worker-a": pod},
            "events": [{"about": "load-worker-a", "reason": "FailedMount", "message": "what it says"}]},
        {"at": "5s", "pods": {"load-worker-a": {"status": {"phase": "Running", "conditions": null}}}},
        {"at": "5s", "pods": {"load-worker-a": null}},
        {"at": "6s", "children": {"worker-job": null}},
        {"at": "8s"},
    ]);
    assert_eq!(recorded["steps"], steps);
    assert!(!recorder.timeline().unwrap().contains("hunter2"));
    assert_eq!(recorder.extent(), (5, SignedDuration::from_secs(8)));
}

#[test]
fn a_recording_can_be_played() {
    let bundle = Arc::new(load(&[]).0);
    let mut recorder = Recorder::new(&bundle, &test());
    recorder.apply(after(1), &job(json!({"active": 1})));
    recorder.apply(after(2), &pod(json!({"phase": "Failed"})));
    recorder.apply(after(3), &job(json!({"failed": 1, "conditions":
        [{"type": "FailureTarget", "status": "True", "lastTransitionTime": "2026-03-01T12:00:03Z"}]})));
    recorder.end(after(20));
    let text = recorder.timeline().unwrap();
    let timeline: Timeline = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(last_status(&bundle, &timeline).unwrap()["phase"], "Failed");
    assert!(!replay(&bundle, &timeline).unwrap().is_empty());
}

#[test]
fn a_change_stays_in_the_second_it_was_written_in() {
    let at = |millis| after(0) + SignedDuration::from_millis(millis);
    for (seen, written, expected) in [
        (1_000, None, 1_000),
        (1_001, None, 1_100),
        (1_001, Some(1), 1_100),
        (1_730, Some(1), 1_800),
        // Rounded up, for a watch that lags, and for clocks that differ.
        (1_950, Some(1), 1_900),
        (2_400, Some(1), 1_900),
        (300, Some(1), 1_100),
    ] {
        assert_eq!(
            occurred(at(seen), written.map(after)),
            at(expected),
            "{seen}"
        );
    }
}

/// What the operator did when a timer ended is seen a moment later, and in the recording not at the same time.
#[test]
fn what_follows_from_a_timer_comes_after_it() {
    let bundle = Arc::new(load(&[]).0);
    let stuck = json!({"phase": "Pending", "startTime": CREATED, "containerStatuses": [{"name": "load-worker",
        "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "configmap \"app\" not found"}}}]});
    let stuck_until = |end: Timestamp| {
        let mut recorder = Recorder::new(&bundle, &test());
        recorder.apply(after(1), &job(json!({"active": 1})));
        recorder.apply(after(1), &pod(stuck.clone()));
        recorder.delete(end, &pod(json!({})));
        recorder.end(end + SignedDuration::from_secs(1));
        let timeline = serde_saphyr::from_str(&recorder.timeline().unwrap()).unwrap();
        replay(&bundle, &timeline).unwrap()
    };
    let failed_at = |entries: Vec<Entry>| {
        let entry = entries
            .into_iter()
            .find(|e| e.changes.get("phase") == Some(&json!("Failed")));
        entry.map(|e| e.at.parse::<SignedDuration>().unwrap())
    };
    let timer = failed_at(stuck_until(after(3600))).unwrap();
    let just_after = after(0) + timer + SignedDuration::from_millis(3);
    let seen = failed_at(stuck_until(occurred(just_after, None)));
    assert_eq!(seen, Some(timer));
}

/// A cluster in which the operator removed the children of a test: the replay does that itself, and is told of it too.
#[test]
fn what_an_action_removes_may_be_seen_to_go() {
    use lotest::bundle::{Bundle, Files, Layer};
    let values = "retention: {failed: {children: 0s}}\n".to_string();
    let layer = Layer::from(Files::from([("values.yaml".to_string(), values)]));
    let (bundle, _) = Bundle::load(&[Layer::built_in(), layer], &Default::default()).unwrap();
    let bundle = Arc::new(bundle);
    let mut recorder = Recorder::new(&bundle, &test());
    recorder.apply(after(1), &job(json!({"active": 1})));
    recorder.apply(
        after(3),
        &job(json!({"failed": 1, "conditions":
        [{"type": "Failed", "status": "True", "lastTransitionTime": "2026-03-01T12:00:03Z"}]})),
    );
    recorder.delete(after(9), &job(json!({})));
    let timeline: Timeline = serde_saphyr::from_str(&recorder.timeline().unwrap()).unwrap();
    let entries = serde_json::to_value(replay(&bundle, &timeline).unwrap()).unwrap();
    assert!(
        entries
            .to_string()
            .contains("remove-children-of-failed: delete Job load-worker"),
        "{entries:#}"
    );
}
