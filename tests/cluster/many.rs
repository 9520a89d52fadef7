//! Five hundred workers that fail at once are one failure: said once, with three names and a number.

use crate::idle::logged;
use crate::support::{Room, bundle_with, condition, test, until};
use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use serde_json::{Value, json};

const WORKERS: usize = 500;

/// A test with many workers that behave so, and a master that would run on.
fn crowd(behaviour: &str, run_for: &str) -> Value {
    let mut crowd = test("crowd");
    crowd["spec"]["master"]["annotations"] = json!({"kwok.lotest/behaviour": "run-forever"});
    crowd["spec"]["worker"]["annotations"] =
        json!({"kwok.lotest/behaviour": behaviour, "kwok.lotest/run-for": run_for});
    crowd["spec"]["worker"]["replicas"] = WORKERS.into();
    crowd
}

/// Runs it until its load has stopped, and looks at what the operator did for it. The message of PodsHealthy.
async fn fails_once(behaviour: &str, run_for: &str, grace: &str) -> Value {
    let room = Room::new("crowd").await;
    let bundle = bundle_with(|files| {
        let values = files.get_mut("values.yaml").unwrap();
        *values = values.replace("pods: 2m", &format!("pods: {grace}"));
    });
    let history = room.history("crowd");
    room.create(crowd(behaviour, run_for)).await;
    // Every state from the first on.
    until("the test without a status", async || {
        (!history.states().is_empty()).then_some(())
    })
    .await;
    let _operator = room.operator_of(bundle).await;
    room.until_phase("crowd", "Failed").await;
    // Five hundred pods take their time to end.
    let ending = |t: &Value| t["status"].get("active").unwrap_or(&json!(0)) == 0;
    room.until("Job", "crowd-worker", ending).await;
    let stopped = |t: &Value| t["status"]["stoppedTime"].is_string();
    let failed = room.until("LocustTest", "crowd", stopped).await;
    assert_eq!(failed["status"]["phase"], "Failed");
    // Whatever the last pods led to is done when another test has been through.
    room.create(test("next")).await;
    room.until_phase("next", "Succeeded").await;
    logged(&room).await;

    let mut requests = room.requests();
    requests.retain(|r| {
        let name = r["objectRef"]["name"].as_str().unwrap_or_default();
        !name.starts_with("next") && r["responseStatus"]["code"] != 404
    });
    let writes: Vec<Timestamp> = requests
        .iter()
        .filter(|r| r["objectRef"]["subresource"] == "status")
        .map(|r| {
            let at = r["requestReceivedTimestamp"].as_str().unwrap();
            at.parse().unwrap()
        })
        .collect();
    for (n, first) in writes.iter().enumerate() {
        let second = writes[n..]
            .iter()
            .filter(|at| at.duration_since(*first) < SignedDuration::from_secs(1));
        assert!(second.count() <= 5, "{writes:#?}");
    }
    // Each write said something new.
    let mut said: Vec<Value> = history
        .states()
        .into_iter()
        .map(|t| t["status"].clone())
        .collect();
    said.retain(|status| !status.is_null());
    said.dedup();
    assert_eq!(writes.len(), said.len(), "{said:#?}");
    assert!(said.len() <= 20, "{said:#?}");
    // Two for each Job and the Service, the revision, the stop of two Jobs, the lists at the start and of events.
    let others = requests.iter().filter(|r| {
        r["objectRef"]["subresource"] != "status" && r["objectRef"]["resource"] != "events"
    });
    let others = others.count();
    assert!(others <= 20, "{others} requests");
    let events = room.events("crowd").await;
    assert!(events.len() <= 7, "{events:#?}");
    let about = |reason: &str| {
        let start = format!("Warning {reason}: ");
        events.iter().filter(|e| e.starts_with(&start)).count()
    };
    assert_eq!(about("TestFailed"), 1, "{events:#?}");
    failed
}

/// One after the other: a thousand pods at a time are more than the simulated nodes can do.
#[tokio::test]
async fn five_hundred_workers_that_fail_at_once_are_one_failure() {
    images_that_cannot_be_pulled().await;
    workers_that_end_with_an_error().await;
}

async fn images_that_cannot_be_pulled() {
    let failed = fails_once("image-pull", "1s", "30s").await;
    let healthy = condition(&failed, "PodsHealthy");
    assert_eq!(healthy["reason"], "ImagePullError");
    let message = healthy["message"].as_str().unwrap();
    // The pods whose grace is over first decide: how many they are depends on how fast the Job controller is.
    let form = r"^ImagePullError: (\d+) pod\(s\) affected \[((?:(?:, )?crowd-worker-[a-z0-9]{5}){1,3})(?: and (\d+) more)?\]: locustio/";
    let found = Regex::new(form).unwrap().captures(message);
    let found = found.unwrap_or_else(|| panic!("{message}"));
    let number = |n: usize| found.get(n).map_or(0, |m| m.as_str().parse().unwrap());
    let named = found[2].split(", ").count();
    assert_eq!(number(1), named + number(3), "{message}");
    assert!(named == 3 || number(3) == 0, "{message}");
}

async fn workers_that_end_with_an_error() {
    let failed = fails_once("fail", "12s", "1h").await;
    assert_eq!(condition(&failed, "PodsHealthy")["status"], "True");
    let message = condition(&failed, "TestCompleted")["message"]
        .as_str()
        .unwrap();
    let start = "Test failed: its workers failed while the master was running: Job crowd-worker: ";
    assert!(message.starts_with(start), "{message}");
}
