//! What the runs stand on: tests that put the target under load, and what must hold of each.

use crate::support::{Room, until};
use crate::target::{Seen, Target};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

pub const IMAGE: &str = "locustio/locust:2.20.0";

/// How long a run may take: nodes are slow when all tests run at once.
const PATIENCE: Duration = Duration::from_secs(300);

/// After the end so long nothing may come.
const SILENCE: Duration = Duration::from_secs(5);

/// The command of a master.
pub fn command(target: &Target, users: usize, time: &str) -> String {
    format!(
        "--locustfile /lotest/src/test.py --host {} --users {users} --spawn-rate {users} --run-time {time}",
        target.url
    )
}

/// A test with its files in the ConfigMap `scripts`; small, so that many fit on a node.
pub fn test(name: &str, command: &str, workers: usize) -> Value {
    let small =
        json!({"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}});
    json!({
        "apiVersion": "locust.io/v2",
        "kind": "LocustTest",
        "metadata": {"name": name},
        "spec": {
            "image": IMAGE,
            "master": {"command": command, "resources": small, "autoquit": {"enabled": true, "timeout": 2}},
            "worker": {"command": "--locustfile /lotest/src/test.py", "replicas": workers, "resources": small},
            "testFiles": {"configMapRef": "scripts"},
        },
    })
}

/// A ConfigMap with the locustfile.
pub async fn scripts(room: &Room) {
    let file = include_str!("locustfile.py");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scripts"}, "data": {"test.py": file}});
    room.create(object).await;
}

/// Waits for the end of a test; the test then, and when that was seen.
pub async fn ended(room: &Room, name: &str) -> (Value, Instant) {
    let started = Instant::now();
    loop {
        let test = room.get("LocustTest", name).await.unwrap();
        let phase = test["status"]["phase"].as_str().unwrap_or_default();
        if ["Succeeded", "Failed"].contains(&phase) {
            return (test, Instant::now());
        }
        assert!(started.elapsed() < PATIENCE, "{test:#}\n{}", told(room));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the load has begun, from so many pods.
pub async fn until_load(target: &Target, pods: usize) {
    until("the load", async || {
        (target.seen().pods.len() == pods).then_some(())
    })
    .await;
}

/// What the target saw, once it is sure that nothing more comes after `end`.
pub async fn silent_since(target: &Target, end: Instant) -> Seen {
    tokio::time::sleep(SILENCE).await;
    let seen = target.seen();
    let last = seen.last.expect("load");
    assert!(last < end, "a request came {:?} after the end", last - end);
    seen
}

/// What the pods and events of a namespace say.
pub fn told(room: &Room) -> String {
    let said =
        |arguments: &[&str]| String::from_utf8_lossy(&room.kubectl(arguments).stdout).into_owned();
    format!(
        "{}\n{}\n{}",
        said(&["get", "pods", "--output", "wide"]),
        said(&["get", "events"]),
        said(&[
            "logs",
            "--selector",
            "managed-by=locust-k8s-operator",
            "--tail",
            "30",
            "--prefix"
        ])
    )
}

/// Kills what runs in a container as the kernel would: on the node of with-node at once, elsewhere the pod is deleted.
pub async fn kill(room: &Room, pod: &Value) {
    let name = pod["metadata"]["name"].as_str().unwrap();
    let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
    let id = statuses[0]["containerID"].as_str().unwrap();
    let (_, id) = id.rsplit_once('/').unwrap();
    let Ok(endpoint) = std::env::var("CONTAINER_RUNTIME_ENDPOINT") else {
        room.delete("Pod", name).await;
        return;
    };
    let socket = endpoint.strip_prefix("unix://").unwrap();
    let killed = Command::new("ctr")
        .args(["--address", socket, "--namespace", "k8s.io"])
        .args(["task", "kill", "--signal", "SIGKILL", id])
        .status();
    assert!(killed.unwrap().success());
}

/// The pods of a role.
pub async fn pods(room: &Room, name: &str, role: &str) -> Vec<Value> {
    let prefix = format!("{name}-{role}-");
    let all = room.list("Pod").await.into_iter();
    let is_of = |p: &Value| p["metadata"]["name"].as_str().unwrap().starts_with(&prefix);
    all.filter(is_of).collect()
}
