//! Runs that lose something on the way: a worker, the master, the operator.

use crate::load::Run;
use crate::shell::Shell;
use crate::support::condition;
use serde_json::{Value, json};
use std::time::Duration;

/// Its node is drained, say.
#[tokio::test]
async fn an_evicted_worker_does_not_lose_the_test() {
    let run = Run::new("evicted").await;
    let _operator = run.room.operator();
    run.room.create(run.test(3, "25s", 3)).await;
    run.until_load(3).await;
    let workers = run.pods("worker").await;
    let name = workers[0]["metadata"]["name"].as_str().unwrap();
    let shell = Shell::new(&run.room);
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    shell.write("eviction.json", &eviction.to_string());
    shell.ok(&format!(
        "kubectl create --raw /api/v1/namespaces/{}/pods/{name}/eviction -f eviction.json",
        run.room.namespace
    ));
    let (_, at) = run.ended("Succeeded").await;
    // Locust gives the user of the lost worker to another, and the Job makes another worker.
    let seen = run.silent_since(at).await;
    assert!((3..=6).contains(&seen.users.len()), "{seen:#?}");
    assert_eq!(run.pods("master").await.len(), 1);
}

/// How many may crash is a value, none by default.
#[tokio::test]
async fn a_worker_that_crashes_fails_the_test() {
    let run = Run::new("worker").await;
    let _operator = run.room.operator();
    run.room.create(run.test(3, "120s", 3)).await;
    run.until_load(3).await;
    run.kill_one("worker").await;
    let (ended, _) = run.ended("Failed").await;
    let said = condition(&ended, "TestCompleted")["message"]
        .as_str()
        .unwrap();
    assert!(said.contains("exit code 137"), "{said}");
    let seen = run.silent_since(run.stopped().await).await;
    assert_eq!(seen.pods.len(), 3, "no worker is made anew: {seen:#?}");
}

#[tokio::test]
async fn a_lost_master_fails_the_test_and_ends_its_load() {
    let run = Run::new("master").await;
    let _operator = run.room.operator();
    run.room.create(run.test(2, "120s", 2)).await;
    run.until_load(2).await;
    run.kill_one("master").await;
    run.ended("Failed").await;
    let seen = run.silent_since(run.stopped().await).await;
    assert_eq!(seen.users.len(), 2, "{seen:#?}");
    assert_eq!(run.pods("master").await.len(), 1);
}

#[tokio::test]
async fn an_operator_that_was_killed_goes_on_where_it_was() {
    let run = Run::new("operator").await;
    let mut first = run.room.operator();
    run.room.create(run.test(4, "20s", 2)).await;
    run.until_load(2).await;
    let before = run.pods("worker").await;
    first.kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let _second = run.room.operator();
    let (_, at) = run.ended("Succeeded").await;
    let seen = run.silent_since(at).await;
    assert_eq!((seen.users.len(), seen.pods.len()), (4, 2), "{seen:#?}");
    let uids =
        |pods: &[Value]| -> Vec<_> { pods.iter().map(|p| p["metadata"]["uid"].clone()).collect() };
    assert_eq!(uids(&run.pods("worker").await), uids(&before));
}
