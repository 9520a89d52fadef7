//! Runs that go well: what Locust is given, and what of it arrives at the target.

use crate::harness::{Place, install, turn};
use crate::load::{command, ended, pods, scripts, silent_since, test, told};
use crate::shell::Shell;
use crate::support::{Room, condition};
use crate::target::Target;
use serde_json::json;

/// A run with so many workers and twice as many users.
async fn runs_with(workers: usize) {
    let room = Room::new("runs").await;
    let target = Target::start().await;
    let _operator = room.operator();
    scripts(&room).await;
    let users = workers * 2;
    room.create(test("load", &command(&target, users, "10s"), workers))
        .await;
    let (ended, at) = ended(&room, "load").await;
    assert_eq!(
        ended["status"]["phase"],
        "Succeeded",
        "{ended:#}\n{}",
        told(&room)
    );
    assert_eq!(ended["status"]["connectedWorkers"], workers);
    assert_eq!(
        condition(&ended, "PodsHealthy")["status"],
        "True",
        "{ended:#}"
    );
    let seen = silent_since(&target, at).await;
    assert_eq!(seen.users.len(), users, "{seen:#?}");
    assert_eq!(seen.pods.len(), workers, "{seen:#?}");
    assert!(seen.requests > users * 10, "{seen:#?}");
    for (role, count) in [("master", 1), ("worker", workers)] {
        assert_eq!(pods(&room, "load", role).await.len(), count);
    }
}

#[tokio::test]
async fn one_worker() {
    runs_with(1).await;
}

#[tokio::test]
async fn three_workers() {
    runs_with(3).await;
}

#[tokio::test]
async fn ten_workers() {
    runs_with(10).await;
}

/// Everything that a test gives its pods is there, and Locust takes it: the locustfile fails without any of it.
#[tokio::test]
async fn what_a_test_gives_its_pods() {
    const FILE: &str = r#"
import os
from pathlib import Path

from locust import HttpUser, constant, events, task
import helper


@events.init_command_line_parser.add_listener
def _(parser):
    parser.add_argument("--greeting")


class User(HttpUser):
    wait_time = constant(0.2)

    def on_start(self):
        assert helper.NAME == "from the library"
        assert os.environ["API_TOKEN"] == "of the secret"
        assert os.environ["REGION"] == "of the ConfigMap"
        assert os.environ["LEVEL"] == "of the test"
        assert Path("/secrets/TOKEN").read_text() == "of the secret"
        assert self.environment.parsed_options.greeting == "two words"
        Path(f"/data/{os.getpid()}").write_text("a volume")

    @task
    def ask(self):
        self.client.get("/", params={"user": str(id(self)), "pod": os.environ["HOSTNAME"]})
"#;
    let room = Room::new("gives").await;
    let target = Target::start().await;
    let _operator = room.operator();
    for (name, data) in [
        ("scripts", json!({"test.py": FILE})),
        ("library", json!({"helper.py": "NAME = 'from the library'"})),
        ("settings", json!({"REGION": "of the ConfigMap"})),
    ] {
        room.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
            .await;
    }
    let made = room.kubectl(&[
        "create",
        "secret",
        "generic",
        "credentials",
        "--from-literal=TOKEN=of the secret",
    ]);
    assert!(made.status.success());
    let mut all = test("load", &command(&target, 2, "8s"), 2);
    let spec = &mut all["spec"];
    spec["testFiles"]["libConfigMapRef"] = "library".into();
    for role in ["master", "worker"] {
        spec[role]["extraArgs"] = json!(["--greeting=two words"]);
    }
    spec["env"] = json!({
        "secretRefs": [{"name": "credentials", "prefix": "API_"}],
        "configMapRefs": [{"name": "settings"}],
        "variables": [{"name": "LEVEL", "value": "of the test"}, {"name": "PYTHONPATH", "value": "/opt/locust/lib"}],
        "secretMounts": [{"name": "credentials", "mountPath": "/secrets"}],
    });
    spec["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    spec["volumeMounts"] = json!([{"name": "data", "mountPath": "/data", "target": "both"}]);
    // Users of the image write there too.
    spec["security"] = json!({"podSecurityContext": {"fsGroup": 1000}});
    room.create(all).await;
    let (ended, at) = ended(&room, "load").await;
    assert_eq!(
        ended["status"]["phase"],
        "Succeeded",
        "{ended:#}\n{}",
        told(&room)
    );
    let seen = silent_since(&target, at).await;
    assert_eq!((seen.users.len(), seen.pods.len()), (2, 2), "{seen:#?}");
}

/// The example of the reference for version 1, for this target.
#[tokio::test]
async fn version_1() {
    let _turn = turn().await;
    let room = Room::new("v1").await;
    let target = Target::start().await;
    let place = Place::new();
    let _operator = place.operator(&room, &[]);
    install(&room, &place).await;
    scripts(&room).await;
    let shell = Shell::new(&room);
    let command = command(&target, 6, "10s");
    shell.write(
        "test.yaml",
        &format!(
            "apiVersion: locust.io/v1\nkind: LocustTest\nmetadata: {{name: basic-test}}\nspec:\n  image: {}\n  masterCommandSeed: {command}\n  workerCommandSeed: --locustfile /lotest/src/test.py\n  workerReplicas: 3\n  configMap: scripts\n",
            crate::load::IMAGE
        ),
    );
    shell.ok("kubectl apply -f test.yaml");
    let (ended, at) = ended(&room, "basic-test").await;
    assert_eq!(
        ended["status"]["phase"],
        "Succeeded",
        "{ended:#}\n{}",
        told(&room)
    );
    let seen = silent_since(&target, at).await;
    assert_eq!((seen.users.len(), seen.pods.len()), (6, 3), "{seen:#?}");
}
