//! The operator is killed at any point and started again: the test ends as it would have, with the same children.

use crate::operators::InProcess;
use crate::support::{Room, condition, config, endless, test, uid, until};
use crate::writes::{Point, Writes};
use futures::future::join_all;
use kube::client::ClientBuilder;
use lotest::bundle::{Bundle, Layer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn bundle() -> Bundle {
    Bundle::load(&[Layer::built_in()], &BTreeMap::new())
        .unwrap()
        .0
}

/// A master waits for its workers and ends by itself; the simulated one is told to.
pub async fn play_master(room: &Room) {
    until("the end of the master", async || {
        let workers = room.get("Job", "load-worker").await?;
        let master = room.get("Job", "load-master").await?;
        if master["status"]["succeeded"] == 1 {
            return Some(());
        }
        if workers["status"]["ready"] != 2 || master["status"]["ready"] != 1 {
            return None;
        }
        for pod in room.list("Pod").await {
            if pod["metadata"]["labels"]["performance-test-pod-name"] == "load-master" {
                let annotations =
                    json!({"kwok.lotest/behaviour": "run", "kwok.lotest/run-for": "1s"});
                let name = pod["metadata"]["name"].as_str().unwrap();
                let end = json!({"metadata": {"annotations": annotations}});
                room.patch("Pod", name, end).await;
            }
        }
        None
    })
    .await;
}

/// `<kind> <name> <uid>` of everything that was made for the test.
pub async fn children(room: &Room) -> Vec<String> {
    let mut children = Vec::new();
    for kind in ["ControllerRevision", "Service", "Job"] {
        for child in room.list(kind).await {
            let name = child["metadata"]["name"].as_str().unwrap();
            children.push(format!("{kind} {name} {}", uid(&child)));
        }
    }
    children
}

/// A run that was interrupted is in every respect as one that was not.
pub async fn assert_ended_well(room: &Room, before: &[String], point: &str) {
    let ended = room.until_phase("load", "Succeeded").await;
    let after = children(room).await;
    let lost: Vec<_> = before.iter().filter(|c| !after.contains(c)).collect();
    assert!(lost.is_empty(), "{point}: {lost:?} are not in {after:?}");
    let mut kinds: Vec<_> = after
        .iter()
        .map(|c| c.rsplit_once(' ').unwrap().0)
        .collect();
    kinds.retain(|c| !c.starts_with("ControllerRevision"));
    assert_eq!(
        kinds,
        ["Service load-master", "Job load-master", "Job load-worker"],
        "{point}"
    );
    assert_eq!(after.len(), 4, "{point}: {after:?}");
    assert_eq!(
        room.list("Pod").await.len(),
        3,
        "{point}: the load ran once"
    );

    let status = &ended["status"];
    assert_eq!(status["expectedWorkers"], 2, "{point}");
    assert_eq!(status["connectedWorkers"], 2, "{point}");
    assert!(status["startTime"].is_string() && status["completionTime"].is_string());
    let reasons = ["Ready", "WorkersConnected", "TestCompleted", "PodsHealthy"]
        .map(|kind| condition(&ended, kind)["reason"].clone());
    assert_eq!(
        json!(reasons),
        json!([
            "ResourcesCreated",
            "AllWorkersConnected",
            "TestSucceeded",
            "PodsHealthy"
        ]),
        "{point}"
    );
    assert_eq!(*condition(&ended, "SpecDrifted"), Value::Null, "{point}");

    let mut events = room.events("load").await;
    let all = events.len();
    events.sort();
    events.dedup();
    assert_eq!(events.len(), all, "{point}: {events:#?}");
    let completed = "Normal TestCompleted: Test completed successfully".to_string();
    assert!(events.contains(&completed), "{point}: {events:#?}");
    assert!(
        !events.iter().any(|e| e.starts_with("Warning")),
        "{point}: {events:#?}"
    );
}

/// An operator whose writes are counted.
async fn counted(room: &Room, point: Point) -> (InProcess, Writes) {
    let writes = Writes::until(point);
    let config = config("LOTEST_TEST_OPERATOR_KUBECONFIG").await;
    let client = ClientBuilder::try_from(config).unwrap();
    let client = client.with_layer(&writes).build();
    (room.operator_with_client(client, bundle()), writes)
}

/// Says whether the run had so many writes.
async fn killed_at(point: Point) -> bool {
    let room = Room::new("restart").await;
    let (operator, writes) = counted(&room, point).await;
    room.create(endless("load")).await;
    let whole_run = async {
        play_master(&room).await;
        room.until_phase("load", "Succeeded").await;
    };
    let reached = tokio::select! {
        () = writes.reached.notified() => true,
        () = whole_run => false,
    };
    drop(operator);
    let before = children(&room).await;
    let _next = room.operator();
    play_master(&room).await;
    assert_ended_well(&room, &before, &format!("{point:?}")).await;
    reached
}

/// Kills at the first write, the second, and so on, until a run has no more of them.
async fn killed_at_each(point: fn(usize) -> Point) {
    const AT_ONCE: usize = 4;
    for first in (1..).step_by(AT_ONCE) {
        let runs = (first..first + AT_ONCE).map(|n| killed_at(point(n)));
        let reached = join_all(runs).await;
        if reached.contains(&false) {
            assert!(first + AT_ONCE > 13, "a run has at least 12 writes");
            return;
        }
    }
}

#[tokio::test]
async fn killed_after_any_write() {
    killed_at_each(Point::Answered).await;
}

#[tokio::test]
async fn killed_while_any_write_is_under_way() {
    killed_at_each(Point::Sent).await;
}

#[tokio::test]
async fn the_process_is_killed_five_times_in_one_run() {
    let room = Room::new("killed").await;
    let mut operator = room.operator();
    room.create(endless("load")).await;
    let mut before = Vec::new();
    for moment in 0..5 {
        until("the moment", async || {
            let phase = room.get("LocustTest", "load").await.unwrap()["status"]["phase"].clone();
            let job = room.get("Job", "load-master").await;
            let complete = |j: &Value| j["status"]["succeeded"] == 1;
            let here = match moment {
                0 => !room.list("ControllerRevision").await.is_empty(),
                1 => job.is_some(),
                2 => phase.is_string(),
                3 => phase == "Running",
                _ => job.is_some_and(|j| complete(&j)),
            };
            here.then_some(())
        })
        .await;
        operator.kill();
        let now = children(&room).await;
        let lost: Vec<_> = before.iter().filter(|c| !now.contains(c)).collect();
        assert!(lost.is_empty(), "{moment}: {lost:?}");
        before = now;
        operator = room.operator();
        if moment == 3 {
            play_master(&room).await;
        }
    }
    assert_ended_well(&room, &before, "after five").await;
    let running = room.requests();
    let made = running
        .iter()
        .filter(|r| r["responseStatus"]["code"] == 201);
    let children = made.filter(|r| r["verb"] == "patch" && r["objectRef"]["subresource"].is_null());
    // A write whose answer nobody was there to read may be logged with another code.
    assert!(children.count() <= 3, "each child is made once");
}

/// An operator that stands still before any of its writes, while another one runs the test to its end, overwrites nothing
/// of that when it goes on.
async fn paused_at(number: usize) -> bool {
    let room = Room::new("paused").await;
    let (_paused, writes) = counted(&room, Point::Delayed(number)).await;
    room.create(endless("load")).await;
    let history = room.history("load");
    let whole_run = async {
        play_master(&room).await;
        room.until_phase("load", "Succeeded").await;
    };
    let reached = tokio::select! {
        () = writes.reached.notified() => true,
        () = whole_run => false,
    };
    let next = room.operator();
    play_master(&room).await;
    let ended = room.until_phase("load", "Succeeded").await;
    assert_ended_well(&room, &[], &format!("paused at {number}")).await;
    let before = children(&room).await;
    let said = room.events("load").await;
    drop(next);
    writes.release.notify_one();
    // The one that was paused is the only one to answer for this namespace.
    room.create_test("last").await;
    room.until_phase("last", "Succeeded").await;
    let after = room.get("LocustTest", "load").await.unwrap();
    assert_eq!(after["status"], ended["status"], "{number}");
    let now = children(&room).await;
    assert!(before.iter().all(|c| now.contains(c)), "{number}: {now:?}");
    // An event that was held back comes late; none comes twice.
    let mut all = room.events("load").await;
    assert!(all.starts_with(&said), "{number}: {all:#?}");
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count, "{number}: {all:#?}");
    let mut phases = history.phases();
    assert_eq!(phases.last().unwrap(), "Succeeded", "{number}: {phases:?}");
    phases.pop();
    assert!(
        !phases.iter().any(|p| p == "Succeeded"),
        "{number}: {phases:?}"
    );
    reached
}

#[tokio::test]
async fn an_operator_that_was_paused_overwrites_nothing() {
    for first in (1..).step_by(4) {
        let reached = join_all((first..first + 4).map(paused_at)).await;
        if reached.contains(&false) {
            assert!(first + 4 > 10, "a run has at least 9 writes");
            return;
        }
    }
}

/// Nothing of a test that is deleted while one of its writes is under way comes back, nor gets into
/// the next one of its name.
async fn deleted_at(number: usize) {
    let room = Room::new("overtaken").await;
    let (_operator, writes) = counted(&room, Point::Held(number)).await;
    room.create(endless("load")).await;
    writes.reached.notified().await;
    room.delete("LocustTest", "load").await;
    room.until_gone("LocustTest", "load").await;
    let mut wanted = test("load");
    wanted["spec"]["worker"]["replicas"] = 1.into();
    let next = room.create(wanted).await;
    // When the operator has seen a test that was made later, it has seen this one too.
    room.create(endless("later")).await;
    room.until_phase("later", "Running").await;
    writes.release.notify_one();

    let ended = room.until_phase("load", "Succeeded").await;
    assert_eq!(uid(&ended), uid(&next), "{number}");
    assert_eq!(ended["status"]["expectedWorkers"], 1, "{number}");
    assert_eq!(*condition(&ended, "SpecDrifted"), Value::Null, "{number}");
    assert_eq!(condition(&ended, "Ready")["status"], "True", "{number}");
    for (kind, name) in [
        ("Service", "load-master"),
        ("Job", "load-master"),
        ("Job", "load-worker"),
    ] {
        let child = room.get(kind, name).await.unwrap();
        let owner = &child["metadata"]["ownerReferences"][0]["uid"];
        assert_eq!(owner, uid(&next), "{number}: {kind} {name}");
    }
}

#[tokio::test]
async fn a_test_deleted_during_any_write_does_not_come_back() {
    for first in [1, 5] {
        join_all((first..first + 4).map(deleted_at)).await;
    }
}
