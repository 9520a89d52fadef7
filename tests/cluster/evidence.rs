//! What a status alone does not say: Kubernetes' own events name the ConfigMap, the Secret or the quota. They are
//! listed when the trouble counts, and a few more times while there is none.

use crate::idle::logged;
use crate::pods::name;
use crate::support::{Room, bundle_with, condition, test, uid, until};
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, PostParams};
use lotest::bundle::Bundle;
use serde_json::{Value, json};

fn bundle(pods: &str, room: &str) -> Bundle {
    bundle_with(|files| {
        let values = files.get_mut("values.yaml").unwrap();
        *values = values
            .replace("pods: 2m", &format!("pods: {pods}"))
            .replace("room: 10m", &format!("room: {room}"))
            .replace("mount: 2m10s", "mount: 7s");
    })
}

/// A test whose pods get no sandbox.
fn stuck(name: &str) -> Value {
    let mut stuck = test(name);
    for role in ["master", "worker"] {
        stuck["spec"][role]["annotations"] = json!({"kwok.lotest/behaviour": "pending-create"});
    }
    stuck
}

/// Sends an event about a pod, as its kubelet does.
async fn say(room: &Room, pod: &Value, reason: &str, message: &str) {
    let now = format!("{:.0}", jiff::Timestamp::now());
    let event = json!({
        "metadata": {"generateName": name(pod)},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": "kubelet"},
        "involvedObject": {
            "apiVersion": "v1", "kind": "Pod", "name": name(pod), "namespace": room.namespace, "uid": uid(pod),
        },
    });
    let event: Event = serde_json::from_value(event).unwrap();
    let api: Api<Event> = Api::namespaced(room.client.clone(), &room.namespace);
    api.create(&PostParams::default(), &event).await.unwrap();
}

/// How often the operator listed events so far.
async fn lists_of_events(room: &Room) -> usize {
    logged(room).await;
    let lists = room
        .requests()
        .into_iter()
        .filter(|r| r["verb"] == "list" && r["objectRef"]["resource"] == "events");
    lists.count()
}

/// A reference to something that does not exist, in a volume: the test fails with its name and field.
async fn is_named_with_its_field(change: impl Fn(&mut Value), said: &str, field: &str) {
    let room = Room::new("evidence").await;
    let _operator = room.operator_of(bundle("5s", "1h")).await;
    let mut load = stuck("load");
    change(&mut load);
    room.create(load).await;
    let pods = until("three pods on a node", async || {
        let mut pods = room.list("Pod").await;
        pods.retain(|p| p["status"]["startTime"].is_string());
        (pods.len() == 3).then_some(pods)
    })
    .await;
    for pod in &pods {
        say(&room, pod, "Scheduled", "not what is asked for").await;
        say(&room, pod, "FailedMount", said).await;
    }
    let failed = room.until_phase("load", "Failed").await;
    let healthy = condition(&failed, "PodsHealthy");
    assert_eq!(healthy["status"], "False");
    assert_eq!(healthy["reason"], "ConfigurationError");
    let message = healthy["message"].as_str().unwrap();
    assert!(message.starts_with("ConfigurationError: "), "{message}");
    let ending = format!(": {said} ({field})");
    assert!(message.ends_with(&ending), "{message} has no {ending}");
    assert_eq!(
        condition(&failed, "TestCompleted")["message"],
        format!("Test failed: {message}")
    );
    // However many pods there are, and to the very end.
    room.until("LocustTest", "load", |t| {
        t["status"]["stoppedTime"].is_string()
    })
    .await;
    assert_eq!(lists_of_events(&room).await, 1);
}

#[tokio::test]
async fn a_missing_configmap_is_named_with_the_field_that_asks_for_it() {
    is_named_with_its_field(
        |load| load["spec"]["testFiles"] = json!({"configMapRef": "load-scripts"}),
        r#"MountVolume.SetUp failed for volume "locust-src" : configmap "load-scripts" not found"#,
        "spec.testFiles.configMapRef",
    )
    .await;
}

#[tokio::test]
async fn a_missing_secret_is_named_with_the_field_that_asks_for_it() {
    let mounts = json!([
        {"name": "there", "mountPath": "/there"},
        {"name": "certificates", "mountPath": "/certificates"},
    ]);
    is_named_with_its_field(
        |load| load["spec"]["env"] = json!({"secretMounts": mounts}),
        r#"MountVolume.SetUp failed for volume "secret-certificates" : secret "certificates" not found"#,
        "spec.env.secretMounts[1].name",
    )
    .await;
}

/// A kubelet may say what is missing only after the trouble has begun to count.
#[tokio::test]
async fn an_event_that_comes_late_is_found() {
    let room = Room::new("said-late").await;
    let _operator = room.operator_of(bundle("3s", "1h")).await;
    room.create(stuck("load")).await;
    let unhealthy = |t: &Value| condition(t, "PodsHealthy")["status"] == "False";
    let silent = room.until("LocustTest", "load", unhealthy).await;
    let message = condition(&silent, "PodsHealthy")["message"].clone();
    let message = message.as_str().unwrap();
    assert!(
        message.ends_with("volumes or network are not ready"),
        "{message}"
    );
    let said = r#"MountVolume.SetUp failed for volume "v" : configmap "late" not found"#;
    for pod in room.list("Pod").await {
        say(&room, &pod, "FailedMount", said).await;
    }
    let failed = room.until_phase("load", "Failed").await;
    let healthy = condition(&failed, "PodsHealthy");
    assert!(healthy["message"].as_str().unwrap().ends_with(said));
    // When it began to count, and at most at each of the times after that.
    let lists = lists_of_events(&room).await;
    assert!((2..=4).contains(&lists), "{lists}");
}

/// What may end by itself is said, and the test waits.
#[tokio::test]
async fn a_volume_that_comes_late_fails_nothing() {
    let room = Room::new("late").await;
    let _operator = room.operator_of(bundle("5s", "1h")).await;
    room.create(stuck("load")).await;
    let pods = until("three pods on a node", async || {
        let mut pods = room.list("Pod").await;
        pods.retain(|p| p["status"]["startTime"].is_string());
        (pods.len() == 3).then_some(pods)
    })
    .await;
    let said = r#"AttachVolume.Attach failed for volume "pvc-1": timed out waiting for the external-attacher"#;
    for pod in &pods {
        say(&room, pod, "FailedAttachVolume", said).await;
    }
    let unhealthy = |t: &Value| condition(t, "PodsHealthy")["status"] == "False";
    let waiting = room.until("LocustTest", "load", unhealthy).await;
    assert_eq!(waiting["status"]["phase"], "Running");
    let message = condition(&waiting, "PodsHealthy")["message"]
        .as_str()
        .unwrap();
    assert!(message.ends_with(said), "{message}");
    assert_eq!(lists_of_events(&room).await, 1);
    for pod in &pods {
        room.end(pod).await;
    }
    let ended = room.until_phase("load", "Succeeded").await;
    assert_eq!(condition(&ended, "PodsHealthy")["status"], "True");
}

fn quota(pods: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"pods": pods}},
    })
}

/// The room with a quota that allows no pod, in force.
async fn room_without_pods() -> Room {
    let room = Room::new("quota").await;
    room.create(quota("0")).await;
    room.until("ResourceQuota", "few", |q| q["status"]["hard"].is_object())
        .await;
    room
}

const REFUSED: &str = "exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0";

#[tokio::test]
async fn a_job_that_may_make_no_pods_is_said_and_goes_on_when_the_quota_is_raised() {
    let room = room_without_pods().await;
    let _operator = room.operator_of(bundle("3s", "1h")).await;
    room.create_test("load").await;
    let unhealthy = |t: &Value| condition(t, "PodsHealthy")["status"] == "False";
    let waiting = room.until("LocustTest", "load", unhealthy).await;
    assert_eq!(waiting["status"]["phase"], "Pending");
    let healthy = condition(&waiting, "PodsHealthy");
    assert_eq!(healthy["reason"], "SchedulingError");
    let message = healthy["message"].as_str().unwrap();
    assert!(
        message.contains("cannot make its pods: Error creating: pods "),
        "{message}"
    );
    assert!(message.ends_with(REFUSED), "{message}");
    assert_eq!(condition(&waiting, "TestCompleted")["status"], "False");

    room.patch("ResourceQuota", "few", quota("10")).await;
    let healthy = |t: &Value| condition(t, "PodsHealthy")["status"] == "True";
    let going_on = room.until("LocustTest", "load", healthy).await;
    assert_ne!(going_on["status"]["phase"], "Failed");
    room.until_phase("load", "Succeeded").await;
    // One for each Job, should one of them get its pods before the other.
    assert!((1..=2).contains(&lists_of_events(&room).await));
}

#[tokio::test]
async fn a_job_that_makes_no_pods_for_too_long_fails_the_test() {
    let room = room_without_pods().await;
    let _operator = room.operator_of(bundle("3s", "8s")).await;
    let history = room.history("load");
    room.create_test("load").await;
    let failed = room.until_phase("load", "Failed").await;
    assert_eq!(
        condition(&failed, "PodsHealthy")["reason"],
        "SchedulingError"
    );
    let message = condition(&failed, "TestCompleted")["message"]
        .as_str()
        .unwrap();
    assert!(message.ends_with(REFUSED), "{message}");
    let states = history.states();
    let warned = states.iter().find(|t| {
        condition(t, "PodsHealthy")["status"] == "False" && t["status"]["phase"] != "Failed"
    });
    assert!(warned.is_some(), "it is said before the test fails");
}
