//! Runs that lose something on the way: a worker, the master, the operator.

use crate::load::{command, ended, kill, pods, scripts, silent_since, test, told, until_load};
use crate::shell::Shell;
use crate::support::{Room, condition};
use crate::target::Target;
use serde_json::json;
use std::time::Instant;

/// Its node is drained, say.
#[tokio::test]
async fn an_evicted_worker_does_not_lose_the_test() {
    let room = Room::new("evicted").await;
    let target = Target::start().await;
    let _operator = room.operator();
    scripts(&room).await;
    room.create(test("load", &command(&target, 3, "25s"), 3))
        .await;
    until_load(&target, 3).await;
    let workers = pods(&room, "load", "worker").await;
    let name = workers[0]["metadata"]["name"].as_str().unwrap();
    let shell = Shell::new(&room);
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    shell.write("eviction.json", &eviction.to_string());
    shell.ok(&format!(
        "kubectl create --raw /api/v1/namespaces/{}/pods/{name}/eviction -f eviction.json",
        room.namespace
    ));
    let (ended, at) = ended(&room, "load").await;
    assert_eq!(
        ended["status"]["phase"],
        "Succeeded",
        "{ended:#}\n{}",
        told(&room)
    );
    // Locust gives the user of the lost worker to another, and the Job makes another worker.
    let seen = silent_since(&target, at).await;
    assert!((3..=6).contains(&seen.users.len()), "{seen:#?}");
    assert_eq!(pods(&room, "load", "master").await.len(), 1);
}

/// How many may crash is a value, none by default.
#[tokio::test]
async fn a_worker_that_crashes_fails_the_test() {
    let room = Room::new("worker").await;
    let target = Target::start().await;
    let _operator = room.operator();
    scripts(&room).await;
    room.create(test("load", &command(&target, 3, "120s"), 3))
        .await;
    until_load(&target, 3).await;
    kill(&room, &pods(&room, "load", "worker").await[0]).await;
    let (ended, _) = ended(&room, "load").await;
    assert_eq!(
        ended["status"]["phase"],
        "Failed",
        "{ended:#}\n{}",
        told(&room)
    );
    let said = condition(&ended, "TestCompleted")["message"]
        .as_str()
        .unwrap();
    assert!(said.contains("exit code 137"), "{said}");
    room.until("LocustTest", "load", |t| {
        !t["status"]["stoppedTime"].is_null()
    })
    .await;
    let seen = silent_since(&target, Instant::now()).await;
    assert_eq!(seen.pods.len(), 3, "no worker is made anew: {seen:#?}");
}

#[tokio::test]
async fn a_lost_master_fails_the_test_and_ends_its_load() {
    let room = Room::new("master").await;
    let target = Target::start().await;
    let _operator = room.operator();
    scripts(&room).await;
    room.create(test("load", &command(&target, 2, "120s"), 2))
        .await;
    until_load(&target, 2).await;
    kill(&room, &pods(&room, "load", "master").await[0]).await;
    let (ended, _) = ended(&room, "load").await;
    assert_eq!(
        ended["status"]["phase"],
        "Failed",
        "{ended:#}\n{}",
        told(&room)
    );
    // It says when the last pod has ended.
    room.until("LocustTest", "load", |t| {
        !t["status"]["stoppedTime"].is_null()
    })
    .await;
    let seen = silent_since(&target, Instant::now()).await;
    assert_eq!(seen.users.len(), 2, "{seen:#?}");
    assert_eq!(pods(&room, "load", "master").await.len(), 1);
}

#[tokio::test]
async fn an_operator_that_was_killed_goes_on_where_it_was() {
    let room = Room::new("operator").await;
    let target = Target::start().await;
    let mut first = room.operator();
    scripts(&room).await;
    room.create(test("load", &command(&target, 4, "20s"), 2))
        .await;
    until_load(&target, 2).await;
    let before = pods(&room, "load", "worker").await;
    first.kill();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let _second = room.operator();
    let (ended, at) = ended(&room, "load").await;
    assert_eq!(
        ended["status"]["phase"],
        "Succeeded",
        "{ended:#}\n{}",
        told(&room)
    );
    let seen = silent_since(&target, at).await;
    assert_eq!((seen.users.len(), seen.pods.len()), (4, 2), "{seen:#?}");
    let uids = |pods: &[serde_json::Value]| -> Vec<_> {
        pods.iter().map(|p| p["metadata"]["uid"].clone()).collect()
    };
    assert_eq!(uids(&pods(&room, "load", "worker").await), uids(&before));
}
