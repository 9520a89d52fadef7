//! Runs that go well: what Locust is given, and what of it arrives at the target.

use crate::harness::{Place, install, turn};
use crate::load::{IMAGE, Run};
use crate::shell::Shell;
use crate::support::condition;
use serde_json::json;

/// A run with so many workers and twice as many users.
async fn runs_with(workers: usize) {
    let run = Run::new("runs").await;
    let _operator = run.room.operator();
    let users = workers * 2;
    run.room.create(run.test(users, "10s", workers)).await;
    let (ended, at) = run.ended("Succeeded").await;
    assert_eq!(ended["status"]["connectedWorkers"], workers);
    assert_eq!(
        condition(&ended, "PodsHealthy")["status"],
        "True",
        "{ended:#}"
    );
    let seen = run.silent_since(at).await;
    assert_eq!(seen.users.len(), users, "{seen:#?}");
    assert_eq!(seen.pods.len(), workers, "{seen:#?}");
    assert!(seen.requests > users * 10, "{seen:#?}");
    for (role, count) in [("master", 1), ("worker", workers)] {
        assert_eq!(run.pods(role).await.len(), count);
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
    let run = Run::of("gives", FILE).await;
    let _operator = run.room.operator();
    let library = json!({"helper.py": "NAME = 'from the library'"});
    run.config_map("library", library).await;
    let settings = json!({"REGION": "of the ConfigMap"});
    run.config_map("settings", settings).await;
    let made = run.room.kubectl(&[
        "create",
        "secret",
        "generic",
        "credentials",
        "--from-literal=TOKEN=of the secret",
    ]);
    assert!(made.status.success());
    let mut all = run.test(2, "8s", 2);
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
    run.room.create(all).await;
    let (_, at) = run.ended("Succeeded").await;
    let seen = run.silent_since(at).await;
    assert_eq!((seen.users.len(), seen.pods.len()), (2, 2), "{seen:#?}");
}

/// The example of the reference for version 1, for this target.
#[tokio::test]
async fn version_1() {
    let _turn = turn().await;
    let run = Run::new("v1").await;
    let place = Place::new();
    let _operator = place.operator(&run.room, &[]);
    install(&run.room, &place).await;
    let shell = Shell::new(&run.room);
    let command = run.command(6, "10s");
    shell.write(
        "test.yaml",
        &format!(
            "apiVersion: locust.io/v1\nkind: LocustTest\nmetadata: {{name: load}}\nspec:\n  image: {IMAGE}\n  masterCommandSeed: {command}\n  workerCommandSeed: --locustfile /lotest/src/test.py\n  workerReplicas: 3\n  configMap: scripts\n"
        ),
    );
    shell.ok("kubectl apply -f test.yaml");
    let (_, at) = run.ended("Succeeded").await;
    let seen = run.silent_since(at).await;
    assert_eq!((seen.users.len(), seen.pods.len()), (6, 3), "{seen:#?}");
}
