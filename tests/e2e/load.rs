//! What the runs stand on: a test that puts the target under load, and what must hold of it.

use crate::shell::stdout;
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

/// One test, `load`, in a namespace of its own, with what it puts under load.
pub struct Run {
    pub room: Room,
    pub target: Target,
}

impl Run {
    /// With `locustfile.py` in the ConfigMap `scripts`.
    pub async fn new(name: &str) -> Run {
        Run::of(name, include_str!("locustfile.py")).await
    }

    /// The same with another locustfile.
    pub async fn of(name: &str, locustfile: &str) -> Run {
        let run = Run {
            room: Room::new(name).await,
            target: Target::start().await,
        };
        let data = json!({"test.py": locustfile});
        run.config_map("scripts", data).await;
        run
    }

    pub async fn config_map(&self, name: &str, data: Value) {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        self.room.create(object).await;
    }

    /// The command of a master.
    pub fn command(&self, users: usize, time: &str) -> String {
        format!(
            "--locustfile /lotest/src/test.py --host {} --users {users} --spawn-rate {users} --run-time {time}",
            self.target.url
        )
    }

    /// A test that is small, so that many fit on a node.
    pub fn test(&self, users: usize, time: &str, workers: usize) -> Value {
        let small =
            json!({"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}});
        json!({
            "apiVersion": "locust.io/v2",
            "kind": "LocustTest",
            "metadata": {"name": "load"},
            "spec": {
                "image": IMAGE,
                "master": {"command": self.command(users, time), "resources": small, "autoquit": {"enabled": true, "timeout": 2}},
                "worker": {"command": "--locustfile /lotest/src/test.py", "replicas": workers, "resources": small},
                "testFiles": {"configMapRef": "scripts"},
            },
        })
    }

    /// Waits until the load has begun, from so many pods.
    pub async fn until_load(&self, pods: usize) {
        until("the load", async || {
            (self.target.seen().pods.len() == pods).then_some(())
        })
        .await;
    }

    /// Waits for the end, which must be this phase; the test then, and when that was seen.
    pub async fn ended(&self, wanted: &str) -> (Value, Instant) {
        let started = Instant::now();
        loop {
            let test = self.room.get("LocustTest", "load").await.unwrap();
            let phase = test["status"]["phase"].as_str().unwrap_or_default();
            if ["Succeeded", "Failed"].contains(&phase) {
                assert_eq!(phase, wanted, "{test:#}\n{}", self.told());
                return (test, Instant::now());
            }
            assert!(started.elapsed() < PATIENCE, "{test:#}\n{}", self.told());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a failed test says that its last pod has ended; when that was seen.
    pub async fn stopped(&self) -> Instant {
        self.room
            .until("LocustTest", "load", |t| {
                !t["status"]["stoppedTime"].is_null()
            })
            .await;
        Instant::now()
    }

    /// What the target saw, once it is sure that nothing more comes after `end`.
    pub async fn silent_since(&self, end: Instant) -> Seen {
        tokio::time::sleep(SILENCE).await;
        let seen = self.target.seen();
        let last = seen.last.expect("load");
        assert!(last < end, "a request came {:?} after the end", last - end);
        seen
    }

    /// The pods of a role.
    pub async fn pods(&self, role: &str) -> Vec<Value> {
        let prefix = format!("load-{role}-");
        let all = self.room.list("Pod").await.into_iter();
        let is_of = |p: &Value| p["metadata"]["name"].as_str().unwrap().starts_with(&prefix);
        all.filter(is_of).collect()
    }

    /// Kills what runs in a pod of a role as the kernel would: on the node of with-node at once, elsewhere the pod is
    /// deleted.
    pub async fn kill_one(&self, role: &str) {
        let pod = &self.pods(role).await[0];
        let Ok(endpoint) = std::env::var("CONTAINER_RUNTIME_ENDPOINT") else {
            let name = pod["metadata"]["name"].as_str().unwrap();
            self.room.delete("Pod", name).await;
            return;
        };
        let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
        let id = statuses[0]["containerID"].as_str().unwrap();
        let (_, id) = id.rsplit_once('/').unwrap();
        let socket = endpoint.strip_prefix("unix://").unwrap();
        let killed = Command::new("ctr")
            .args(["--address", socket, "--namespace", "k8s.io"])
            .args(["task", "kill", "--signal", "SIGKILL", id])
            .status();
        assert!(killed.unwrap().success());
    }

    /// What the pods and events of the namespace say.
    fn told(&self) -> String {
        let pods = "--selector=managed-by=locust-k8s-operator";
        let said = |arguments: &[&str]| stdout(&self.room.kubectl(arguments));
        [
            said(&["get", "pods", "--output=wide"]),
            said(&["get", "events"]),
            said(&["logs", pods, "--tail=30", "--prefix"]),
        ]
        .join("\n")
    }
}
