//! Warnings, as kubectl shows them. Nothing is refused.

use crate::harness::{Place, install, turn, until_good};
use crate::shell::{Shell, said};
use crate::support::{Room, until};

const TEST: &str = "
apiVersion: locust.io/v2
kind: LocustTest
metadata: {name: load}
spec:
  image: locustio/locust:2.20.0
  master:
    command: --locustfile /lotest/src/test.py --expect-workers 9
    annotations: {kwok.lotest/behaviour: run-forever}
  worker:
    command: --locustfile /lotest/src/test.py
    annotations: {kwok.lotest/behaviour: run-forever}
    replicas: 2
    extraArgs: [--master-host=other]
";

const OLD: &str = "
apiVersion: locust.io/v1
kind: LocustTest
metadata: {name: old}
spec:
  masterCommandSeed: --locustfile /lotest/src/test.py --expect-workers 9
  workerCommandSeed: --locustfile /lotest/src/test.py
  workerReplicas: 3
  image: locustio/locust:2.20.0
";

const WORKERS: &str =
    "Warning: spec.master.command: --expect-workers is overridden with spec.worker.replicas (2)";

#[tokio::test]
async fn kubectl_shows_warnings_and_the_test_is_stored() {
    let _turn = turn().await;
    let room = Room::new("warned").await;
    let place = Place::new();
    let _operator = place.operator(&room, &[]);
    install(&room, &place).await;
    until_good(&room, &place, |_| true).await;
    let shell = Shell::new(&room);
    shell.write("test.yaml", TEST);
    shell.write("old.yaml", OLD);
    // The API server takes up a changed configuration after a moment.
    until("warnings", async || {
        let tried = shell.run("kubectl apply --dry-run=server -f test.yaml");
        said(&tried).contains("Warning").then_some(())
    })
    .await;
    for apply in [
        "kubectl create -f test.yaml",
        "kubectl apply --server-side -f test.yaml",
        "kubectl replace -f test.yaml",
    ] {
        let done = shell.run(apply);
        let all = said(&done);
        assert!(
            done.status.success() && all.contains(WORKERS),
            "{apply}: {all}"
        );
        assert!(
            all.contains("Warning: spec.worker.extraArgs: --master-host"),
            "{apply}: {all}"
        );
        assert!(!all.contains("runs once"), "{apply}: {all}");
    }
    room.until_phase("load", "Running").await;
    let edited = shell
        .run("kubectl patch locusttest load --type merge -p '{\"spec\": {\"image\": \"other\"}}'");
    let all = said(&edited);
    assert!(edited.status.success(), "{all}");
    assert!(
        all.contains("Warning: spec: the test is Running and runs once: the change is ignored"),
        "{all}"
    );
    let labelled = shell.run("kubectl label locusttest load a=b");
    assert!(
        !said(&labelled).contains("runs once"),
        "{}",
        said(&labelled)
    );
    // Through v1 it is the same test.
    let done = shell.run("kubectl create -f old.yaml");
    let all = said(&done);
    assert!(done.status.success() && all.contains("(3)"), "{all}");
}

/// Which warnings there are is data of a layer, and taken up while the operator runs.
#[tokio::test]
async fn warnings_change_with_a_layer() {
    let _turn = turn().await;
    let room = Room::new("relayered").await;
    let shell = Shell::new(&room);
    shell.write("test.yaml", TEST);
    shell.ok("mkdir -p layer/rules");
    let rule = |message: &str| {
        let rule = format!(
            "- id: wants-a-team\n  when: {{path: $.test.metadata.labels.team, absent: true}}\n  message: {message}\n"
        );
        shell.write("layer/rules/admission.yaml", &rule);
    };
    rule("set a team");
    let place = Place::new();
    let layer = shell.ok("pwd");
    let layer = format!("{}/layer", layer.trim());
    let _operator = place.operator(&room, &["--layer", &layer]);
    install(&room, &place).await;
    for message in ["set a team", "set another"] {
        rule(message);
        until(message, async || {
            let tried = shell.run("kubectl create --dry-run=server -f test.yaml");
            said(&tried)
                .contains(&format!("Warning: {message}"))
                .then_some(())
        })
        .await;
    }
}
