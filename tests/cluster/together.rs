//! Tests that are created together: all are prepared before the first gets what runs pods.

use crate::idle::logged;
use crate::support::{Room, test, until};
use serde_json::Value;

const TESTS: usize = 20;

fn names() -> impl Iterator<Item = String> {
    (0..TESTS).map(|n| format!("test-{n}"))
}

/// When the first and the last apply of such an object came.
fn times(requests: &[Value], resource: &str) -> (String, String) {
    let of = requests
        .iter()
        .filter(|r| r["objectRef"]["resource"] == resource && r["verb"] == "patch");
    let mut times: Vec<String> = of
        .map(|r| r["requestReceivedTimestamp"].as_str().unwrap().to_string())
        .collect();
    times.sort();
    (
        times.first().unwrap().clone(),
        times.last().unwrap().clone(),
    )
}

#[tokio::test]
async fn all_services_come_before_the_first_job() {
    let room = Room::new("together").await;
    for name in names() {
        room.create(test(&name)).await;
    }
    let _operator = room.operator();
    for name in names() {
        room.until_phase(&name, "Succeeded").await;
    }
    logged(&room).await;
    let requests = room.requests();
    let (_, last_service) = times(&requests, "services");
    let (first_job, _) = times(&requests, "jobs");
    assert!(last_service < first_job, "{last_service} {first_job}");
    // Nothing is said twice of a test, and nothing is left out.
    for name in names() {
        let told = ["Service", "Job"].map(|kind| format!("Created {kind} {name}-master"));
        let events = room.events(&name).await;
        for line in told {
            let times = events.iter().filter(|e| e.contains(&line)).count();
            assert_eq!(times, 1, "{line}: {events:#?}");
        }
    }
    for resource in ["services", "jobs", "controllerrevisions"] {
        let writes = requests.iter().filter(|r| {
            r["objectRef"]["resource"] == resource
                && ["patch", "create"].contains(&r["verb"].as_str().unwrap())
        });
        let each = if resource == "jobs" { 2 } else { 1 };
        assert_eq!(writes.count(), each * TESTS, "{resource}");
    }
}

/// A test that is deleted while it waits for the others leaves nothing behind.
#[tokio::test]
async fn a_prepared_test_that_is_deleted_gets_no_jobs() {
    let room = Room::new("withdrawn").await;
    for name in names() {
        room.create(test(&name)).await;
    }
    let _operator = room.operator();
    // The revision is made first, the Jobs last.
    let withdrawn = until("a revision", async || {
        room.list("ControllerRevision").await.pop()
    })
    .await;
    let of = withdrawn["metadata"]["ownerReferences"][0]["name"]
        .as_str()
        .unwrap()
        .to_string();
    room.delete("LocustTest", &of).await;
    for name in names().filter(|name| *name != of) {
        room.until_phase(&name, "Succeeded").await;
    }
    until("nothing of it", async || {
        let jobs = room.list("Job").await;
        let is_its = |j: &Value| j["metadata"]["ownerReferences"][0]["name"] == of.as_str();
        jobs.iter().all(|j| !is_its(j)).then_some(())
    })
    .await;
}
