//! How runs end: by themselves, with failed requests, by their time to live.

use crate::load::Run;
use crate::support::condition;
use serde_json::json;

/// Locust ends with 1 when requests failed: the test has failed, and nothing has crashed.
#[tokio::test]
async fn failed_requests_fail_the_test_and_are_no_crash() {
    let run = Run::new("broken").await;
    let _operator = run.room.operator();
    let mut broken = run.test(2, "8s", 2);
    broken["spec"]["env"] = json!({"variables": [{"name": "ASK", "value": "/broken"}]});
    run.room.create(broken).await;
    let (ended, at) = run.ended("Failed").await;
    let completed = condition(&ended, "TestCompleted");
    assert_eq!(completed["reason"], "TestFailed", "{ended:#}");
    assert!(
        !completed["message"].as_str().unwrap().contains("Crash"),
        "{completed}"
    );
    assert_eq!(
        condition(&ended, "PodsHealthy")["status"],
        "True",
        "{ended:#}"
    );
    let seen = run.silent_since(at).await;
    assert_eq!(seen.users.len(), 2, "{seen:#?}");
}

/// The Jobs go with their time to live, and the load does not come back.
#[tokio::test]
async fn a_test_whose_jobs_have_expired_stays_as_it_ended() {
    let run = Run::new("ttl").await;
    let settings = [("JOB_TTL_SECONDS_AFTER_FINISHED", "3")];
    let _operator = run.room.operator_with(&settings);
    run.room.create(run.test(2, "8s", 1)).await;
    let (_, at) = run.ended("Succeeded").await;
    for role in ["master", "worker"] {
        run.room.until_gone("Job", &format!("load-{role}")).await;
    }
    let seen = run.silent_since(at).await;
    assert_eq!(seen.users.len(), 2, "{seen:#?}");
    let test = run.room.get("LocustTest", "load").await.unwrap();
    assert_eq!(test["status"]["phase"], "Succeeded");
    assert!(run.pods("master").await.is_empty());
}
