//! A stopped operator: version 2 of the API, garbage collection and the deletion of namespaces go on.

use crate::harness::{Place, install, turn, version_1};
use crate::shell::Shell;
use crate::support::{Room, endless, until};
use serde_json::json;

const OLD: &str = "
apiVersion: locust.io/v1
kind: LocustTest
metadata: {name: old}
spec:
  masterCommandSeed: --locustfile /lotest/src/test.py
  workerCommandSeed: --locustfile /lotest/src/test.py
  image: locustio/locust:2.20.0
";

#[tokio::test]
async fn a_stopped_operator_blocks_nothing_of_version_2() {
    let _turn = turn().await;
    let room = Room::new("outage").await;
    let place = Place::new();
    let mut operator = place.operator(&room, &[]);
    install(&room, &place).await;
    for name in ["stays", "goes"] {
        room.create(endless(name)).await;
        room.until_phase(name, "Running").await;
    }
    let shell = Shell::new(&room);
    shell.write("old.yaml", OLD);
    shell.ok("kubectl create -f old.yaml");
    operator.kill();
    // Version 1 fails, as it must.
    until("the end of version 1", async || {
        let api = version_1(&room);
        api.get("stays").await.is_err().then_some(())
    })
    .await;
    shell.write("new.yaml", &endless("new").to_string());
    shell.ok("kubectl create -f new.yaml");
    shell.ok("kubectl apply -f new.yaml");
    shell.ok("kubectl apply --server-side --force-conflicts -f new.yaml");
    assert_eq!(shell.ok("kubectl get lotest -o name").lines().count(), 4);
    shell.ok("kubectl label lotest new a=b");
    let edited = room
        .patch("LocustTest", "new", json!({"spec": {"image": "other"}}))
        .await;
    assert_eq!(edited["spec"]["image"], "other");
    // Also one that was made in version 1, and an operator that does not convert writes its status.
    let _another = room.operator();
    room.until_phase("old", "Succeeded").await;
    shell.ok("kubectl label lotest old a=b");
    shell.ok("kubectl delete lotest old");
    // Its children go with it.
    shell.ok("kubectl delete lotest goes");
    for (kind, name) in [
        ("Job", "goes-master"),
        ("Job", "goes-worker"),
        ("Service", "goes-master"),
    ] {
        room.until_gone(kind, name).await;
    }
    assert!(room.get("Job", "stays-master").await.is_some());
    // And with the namespace everything.
    shell.ok(&format!(
        "kubectl delete namespace {} --wait=false",
        room.namespace
    ));
    until("the end of the namespace", async || {
        let found = shell.run(&format!("kubectl get namespace {}", room.namespace));
        (!found.status.success()).then_some(())
    })
    .await;
}
