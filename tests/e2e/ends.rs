//! How runs end: by themselves, with failed requests, by their time to live.

use crate::load::{command, ended, pods, scripts, silent_since, test, told};
use crate::support::{Room, condition};
use crate::target::Target;
use serde_json::json;

/// Locust ends with 1 when requests failed: the test has failed, and nothing has crashed.
#[tokio::test]
async fn failed_requests_fail_the_test_and_are_no_crash() {
    let room = Room::new("broken").await;
    let target = Target::start().await;
    let _operator = room.operator();
    scripts(&room).await;
    let mut broken = test("load", &command(&target, 2, "8s"), 2);
    broken["spec"]["env"] = json!({"variables": [{"name": "ASK", "value": "/broken"}]});
    room.create(broken).await;
    let (ended, at) = ended(&room, "load").await;
    assert_eq!(
        ended["status"]["phase"],
        "Failed",
        "{ended:#}\n{}",
        told(&room)
    );
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
    let seen = silent_since(&target, at).await;
    assert_eq!(seen.users.len(), 2, "{seen:#?}");
}

/// The Jobs go with their time to live, and the load does not come back.
#[tokio::test]
async fn a_test_whose_jobs_have_expired_stays_as_it_ended() {
    let room = Room::new("ttl").await;
    let target = Target::start().await;
    let _operator = room.operator_with(&[("JOB_TTL_SECONDS_AFTER_FINISHED", "3")]);
    scripts(&room).await;
    room.create(test("load", &command(&target, 2, "8s"), 1))
        .await;
    let (_, at) = ended(&room, "load").await;
    for role in ["master", "worker"] {
        room.until_gone("Job", &format!("load-{role}")).await;
    }
    let seen = silent_since(&target, at).await;
    assert_eq!(seen.users.len(), 2, "{seen:#?}");
    let test = room.get("LocustTest", "load").await.unwrap();
    assert_eq!(test["status"]["phase"], "Succeeded");
    assert!(pods(&room, "load", "master").await.is_empty());
}
