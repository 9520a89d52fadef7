//! From creation to the end and to deletion.

use crate::support::{Room, condition, uid};
use serde_json::{Value, json};

const CHILDREN: &[(&str, &str)] = &[
    ("Service", "load-master"),
    ("Job", "load-master"),
    ("Job", "load-worker"),
];

#[tokio::test]
async fn a_test_runs_to_its_end_and_leaves_nothing_when_deleted() {
    let room = Room::new("lifecycle").await;
    let _operator = room.operator();
    let test = room.create_test("load").await;

    let running = room.until_phase("load", "Running").await;
    assert!(running["status"]["startTime"].is_string());
    for (kind, name) in CHILDREN {
        let child = room.get(kind, name).await.expect("a child");
        let owner = json!([{
            "apiVersion": "locust.io/v2", "kind": "LocustTest", "name": "load", "uid": uid(&test),
            "controller": true, "blockOwnerDeletion": true,
        }]);
        assert_eq!(child["metadata"]["ownerReferences"], owner, "{kind} {name}");
    }

    let ended = room.until_phase("load", "Succeeded").await;
    assert!(ended["status"]["completionTime"].is_string());
    assert_eq!(
        condition(&ended, "TestCompleted")["reason"],
        "TestSucceeded"
    );
    assert_eq!(ended["spec"], test["spec"], "a spec is never rewritten");
    assert_eq!(ended["metadata"].get("finalizers"), None);

    room.delete("LocustTest", "load").await;
    for (kind, name) in CHILDREN {
        room.until_gone(kind, name).await;
    }
    room.until_gone("LocustTest", "load").await;
    crate::support::until("the end of the revision", async || {
        let left: Vec<Value> = room.list("ControllerRevision").await;
        left.is_empty().then_some(())
    })
    .await;
}
