//! From one bundle to the next while lists do not come, and while tests run whose pods have other labels.

use crate::lists::{Answer, Lists};
use crate::mount::{Directory, Live, until_counted, versions};
use crate::support::{Room, condition, config, endless, until};
use kube::client::ClientBuilder;
use lotest::controller::{self, Addresses, Scope, Stack};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::watch;

const NETWORK_POLICY: (&str, &str) = (
    "templates/network-policy.yaml",
    "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ test.metadata.name }}
spec:
  podSelector: {matchLabels: {performance-test-name: {{ test.metadata.name }}}}
",
);

/// A reason that shows which bundle has decided.
fn renamed(reason: &str) -> (&'static str, String) {
    let rules =
        format!("- type: WorkersConnected\n  cases:\n  - id: workers-all\n    reason: {reason}\n");
    ("rules/conditions.yaml", rules)
}

fn is_connected(reason: &str) -> impl Fn(&Value) -> bool {
    move |test| condition(test, "WorkersConnected")["reason"] == reason
}

/// Lets the operator have NetworkPolicies in the namespace.
fn allow_policies(room: &Room) {
    for command in [
        &[
            "create",
            "role",
            "policies",
            "--resource=networkpolicies.networking.k8s.io",
            "--verb=get,list,watch,create,patch,delete",
        ][..],
        &[
            "create",
            "rolebinding",
            "policies",
            "--role=policies",
            "--serviceaccount=lotest-system:lotest",
        ][..],
    ] {
        let output = room.kubectl(command);
        assert!(output.status.success(), "{output:?}");
    }
}

/// Ends the pods of a master as if they had done their work.
async fn end_master(room: &Room, test: &str) {
    let master = format!("{test}-master");
    let pods = room.list("Pod").await;
    let of = |p: &&Value| p["metadata"]["labels"]["performance-test-pod-name"] == master.as_str();
    for pod in pods.iter().filter(of) {
        let annotations = json!({"kwok.lotest/behaviour": "run", "kwok.lotest/run-for": "1s"});
        let name = pod["metadata"]["name"].as_str().unwrap();
        room.patch(
            "Pod",
            name,
            json!({"metadata": {"annotations": annotations}}),
        )
        .await;
    }
}

async fn while_lists_are(answer: Answer) {
    let room = Room::new("swap").await;
    allow_policies(&room);
    let layer = Directory::new();
    let mount = |files: &[(&str, &str)]| layer.mount(files);
    let first = renamed("First");
    mount(&[(first.0, &first.1)]);

    let lists = Lists::of("networkpolicies");
    let config = config("LOTEST_TEST_OPERATOR_KUBECONFIG").await;
    let client = ClientBuilder::try_from(config).unwrap();
    let client = client.with_layer(&lists).build();
    let stack = Stack {
        directories: vec![layer.0.clone()],
        settings: BTreeMap::new(),
    };
    let start = stack.start().unwrap();
    let scope = Scope {
        namespaces: vec![room.namespace.clone()],
        addresses: Addresses {
            health: None,
            metrics: None,
        },
        pod: None,
        webhook: None,
        election: None,
    };
    let (_stop, stopped) = watch::channel(false);
    let operator = tokio::spawn(controller::run_layers(
        |_| Ok(client),
        stack,
        start,
        scope,
        stopped,
    ));

    for name in ["stays", "ends"] {
        room.create(endless(name)).await;
        room.until("LocustTest", name, is_connected("First")).await;
        until_counted(&room, name).await;
    }
    let before = versions(&room).await;

    // A bundle with a kind of child more, whose list does not come.
    lists.answer(answer);
    let second = renamed("Second");
    mount(&[(second.0, &second.1), NETWORK_POLICY]);
    until("the list", async || lists.was_asked().then_some(())).await;
    end_master(&room, "ends").await;
    room.until_phase("ends", "Succeeded").await;
    room.create(endless("new")).await;
    let new = room.until("LocustTest", "new", is_connected("First")).await;
    let digest = new["status"]["bundle"].as_str().unwrap().to_string();
    room.delete("Service", "stays-master").await;
    room.until("Service", "stays-master", |s| {
        s["metadata"]["deletionTimestamp"].is_null()
    })
    .await;

    // It comes, and the next bundle decides.
    lists.answer(Answer::Passed);
    for name in ["stays", "new"] {
        room.until("LocustTest", name, is_connected("Second")).await;
    }
    room.create(endless("newer")).await;
    let newer = room
        .until("LocustTest", "newer", is_connected("Second"))
        .await;
    assert_ne!(newer["status"]["bundle"], digest.as_str());
    let after = versions(&room).await;
    let jobs = before
        .iter()
        .filter(|o| o[0] == "Job" && o[1] != "ends-master");
    for job in jobs.filter(|o| o[1].as_str().unwrap().starts_with("stays")) {
        assert!(after.contains(job), "{job}\n{after:#?}");
    }
    operator.abort();
}

#[tokio::test]
async fn tests_are_looked_after_while_a_list_for_the_next_bundle_hangs() {
    while_lists_are(Answer::Held).await;
}

#[tokio::test]
async fn tests_are_looked_after_while_a_list_for_the_next_bundle_fails() {
    while_lists_are(Answer::Broken).await;
}

/// The layer that gives pods a label of their own, and finds them by it.
fn labelled(reason: &str) -> Vec<(&'static str, String)> {
    let pod = &lotest::bundle::Layer::built_in().files["templates/_pod.yaml"];
    let label = "\"managed-by\": \"locust-k8s-operator\"";
    assert!(pod.contains(label), "{pod}");
    let pod = pod.replace(label, "\"team\": \"load\"");
    vec![
        ("values.yaml", "podSelector: team=load\n".to_string()),
        ("templates/_pod.yaml", pod),
        renamed(reason),
    ]
}

#[tokio::test]
async fn pods_of_running_tests_are_seen_whatever_the_layers_select_by_now() {
    let room = Room::new("selector").await;
    let layer = Directory::new();
    let mount = |files: &[(&'static str, String)]| {
        let files: Vec<(&str, &str)> = files.iter().map(|(f, t)| (*f, t.as_str())).collect();
        layer.mount(&files);
    };
    let grace = "grace: {pods: 3s}\n";
    mount(&[("values.yaml", grace.to_string())]);
    let live = Live::new(&room, &[&layer]).await;
    for name in ["old", "later", "fine"] {
        room.create(endless(name)).await;
        room.until("LocustTest", name, is_connected("AllWorkersConnected"))
            .await;
    }
    let settled = |t: &Value| condition(t, "PodsHealthy")["reason"] == "PodsHealthy";
    room.until("LocustTest", "fine", settled).await;
    let history = room.history("fine");

    let mut files = labelled("Labelled");
    files[0].1.push_str(grace);
    mount(&files);
    live.until_other(&live.digest()).await;
    room.until("LocustTest", "old", is_connected("Labelled"))
        .await;
    room.create(endless("new")).await;
    room.until("LocustTest", "new", is_connected("Labelled"))
        .await;
    for name in ["old", "new"] {
        suffer(&room, name).await;
    }

    // Another operator knows of them from what the tests were started with.
    drop(live);
    let live = Live::new(&room, &[&layer]).await;
    suffer(&room, "later").await;
    drop(live);
    for state in history.states() {
        let healthy = condition(&state, "PodsHealthy");
        assert_eq!(healthy["status"], "True", "{state:#}");
    }
    let fine = room.get("LocustTest", "fine").await.unwrap();
    assert_eq!(fine["status"]["phase"], "Running");
}

/// Brings a worker into trouble; the test fails for it.
async fn suffer(room: &Room, test: &str) {
    let worker = format!("{test}-worker");
    let pods = room.list("Pod").await;
    let of = |p: &&Value| p["metadata"]["labels"]["performance-test-pod-name"] == worker.as_str();
    let pod = pods.iter().find(of).unwrap();
    let mut containers = pod["status"]["containerStatuses"].clone();
    containers[0]["ready"] = false.into();
    containers[0]["state"] = json!({"waiting": {"reason": "ImagePullBackOff", "message": "gone"}});
    let status = json!({"containerStatuses": containers}).to_string();
    let annotations = json!({"kwok.lotest/behaviour": "manual", "kwok.lotest/status": status});
    let name = pod["metadata"]["name"].as_str().unwrap();
    room.patch(
        "Pod",
        name,
        json!({"metadata": {"annotations": annotations}}),
    )
    .await;
    let failed = room.until_phase(test, "Failed").await;
    assert_eq!(
        condition(&failed, "PodsHealthy")["reason"],
        "ImagePullError"
    );
}
