//! What is done with a run: a failed test stops its load, a run whose Jobs are gone is not repeated, and what is left
//! of a test is kept as long as the values say.

use crate::idle::logged;
use crate::pods::{has_ended, name};
use crate::support::{Room, bundle_with, condition, config, endless, test, uid, until};
use crate::writes::{Point, Writes};
use jiff::Timestamp;
use kube::client::ClientBuilder;
use lotest::bundle::{Bundle, Layer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TTL: &[(&str, &str)] = &[("JOB_TTL_SECONDS_AFTER_FINISHED", "1")];

fn built_in() -> Bundle {
    Bundle::load(&[Layer::built_in()], &BTreeMap::new())
        .unwrap()
        .0
}

/// The built-in bundle with other lines in its values.
fn values(changes: &[(&str, &str)]) -> Bundle {
    bundle_with(|files| {
        let values = files.get_mut("values.yaml").unwrap();
        for (from, to) in changes {
            assert!(values.contains(from), "{from} is not in values.yaml");
            *values = values.replace(from, to);
        }
    })
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// Runs another test to its end: whatever the operator was about to do before, it has done.
async fn another(room: &Room, name: &str) {
    room.create_test(name).await;
    room.until_phase(name, "Succeeded").await;
}

#[tokio::test]
async fn a_failed_test_stops_its_load_and_keeps_what_has_ended() {
    let room = Room::new("stopped").await;
    let _operator = room.operator_of(values(&[("pods: 2m", "pods: 1s")])).await;
    let history = room.history("load");
    let mut load = endless("load");
    load["spec"]["worker"]["replicas"] = 3.into();
    room.create(load).await;
    let workers = room.until_running("load", "worker", 3).await;
    let masters = room.until_running("load", "master", 1).await;
    room.end(&workers[0]).await;
    room.until("Pod", name(&workers[0]), has_ended).await;
    // Its sidecar restarts again and again: the load goes on, and the test fails.
    room.tell(&masters[0], &[("behaviour", "crash-loop")]).await;

    let stopped = |t: &Value| t["status"]["stoppedTime"].is_string();
    let failed = room.until("LocustTest", "load", stopped).await;
    assert_eq!(failed["status"]["phase"], "Failed");
    assert_eq!(
        condition(&failed, "PodsHealthy")["reason"],
        "CrashLoopBackOff"
    );
    // A Job with a pod that has ended well is done when the others are gone.
    for (job, end) in [("load-master", "Suspended"), ("load-worker", "Complete")] {
        let ended = |j: &Value| {
            let conditions = j["status"]["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|c| c["type"] == end && c["status"] == "True")
        };
        let job = room.until("Job", job, ended).await;
        assert_eq!(job["spec"]["suspend"], true);
        assert_eq!(job["status"].get("active").unwrap_or(&json!(0)), 0);
    }
    // No pod is made in place of those that were ended; the one that had ended is still there.
    let pods = room.list("Pod").await;
    assert!(pods.iter().all(has_ended), "{pods:#?}");
    let kept = room.get("Pod", name(&workers[0])).await.unwrap();
    assert_eq!(uid(&kept), uid(&workers[0]));
    assert_eq!(kept["status"]["phase"], "Succeeded");

    // The completion was said with the phase, the end of the load when it was there.
    let states = history.states();
    let first = states.iter().find(|t| t["status"]["phase"] == "Failed");
    let first = &first.unwrap()["status"];
    assert_eq!(first["completionTime"], failed["status"]["completionTime"]);
    assert_eq!(first.get("stoppedTime"), None);
    assert!(time(&failed["status"]["stoppedTime"]) >= time(&first["completionTime"]));
    another(&room, "next").await;
    assert_eq!(room.times_made("jobs", "load-worker").await, 1);
    let last = room.get("LocustTest", "load").await.unwrap();
    assert_eq!(last["status"], failed["status"]);
    let said = room.events("load").await;
    let failures = said.iter().filter(|e| e.starts_with("Warning TestFailed"));
    assert_eq!(failures.count(), 1, "{said:#?}");
}

#[tokio::test]
async fn a_test_whose_jobs_remove_themselves_has_run() {
    let room = Room::new("ttl").await;
    let _operator = room.operator_with(TTL);
    room.create_test("good").await;
    let mut bad = test("bad");
    bad["spec"]["master"]["annotations"]["kwok.lotest/behaviour"] = "fail".into();
    room.create(bad).await;
    for (load, phase) in [("good", "Succeeded"), ("bad", "Failed")] {
        room.until_phase(load, phase).await;
        room.until_gone("Job", &format!("{load}-master")).await;
    }
    room.until_gone("Job", "good-worker").await;
    another(&room, "next").await;
    for (load, phase) in [("good", "Succeeded"), ("bad", "Failed")] {
        let test = room.get("LocustTest", load).await.unwrap();
        assert_eq!(test["status"]["phase"], phase);
        for job in ["master", "worker"] {
            let job = format!("{load}-{job}");
            assert_eq!(room.times_made("jobs", &job).await, 1, "{job}");
        }
        let said = room.events(load).await;
        assert!(
            !said.iter().any(|e| e.contains("ResourceDeleted")),
            "{said:#?}"
        );
    }
}

#[tokio::test]
async fn workers_that_are_done_and_gone_are_not_made_again() {
    let room = Room::new("done").await;
    let _operator = room.operator_with(TTL);
    room.create(endless("load")).await;
    let workers = room.until_running("load", "worker", 2).await;
    let masters = room.until_running("load", "master", 1).await;
    for worker in &workers {
        room.end(worker).await;
    }
    room.until_gone("Job", "load-worker").await;
    another(&room, "next").await;
    let running = room.get("LocustTest", "load").await.unwrap();
    assert_eq!(running["status"]["phase"], "Running");
    assert_eq!(condition(&running, "Ready")["status"], "True");
    room.end(&masters[0]).await;
    let ended = room.until_phase("load", "Succeeded").await;
    assert_eq!(ended["status"]["expectedWorkers"], 2);
    assert_eq!(room.times_made("jobs", "load-worker").await, 1);
}

#[tokio::test]
async fn what_ended_while_nobody_looked_is_unknown_and_runs_no_second_time() {
    let room = Room::new("unseen").await;
    let mut first = room.operator_with(TTL);
    room.create(endless("load")).await;
    let mut pods = room.until_running("load", "worker", 2).await;
    pods.extend(room.until_running("load", "master", 1).await);
    room.until_phase("load", "Running").await;
    first.kill();
    for pod in &pods {
        room.end(pod).await;
    }
    for job in ["load-master", "load-worker"] {
        room.until_gone("Job", job).await;
    }
    let _second = room.operator_with(TTL);
    let failed = room.until_phase("load", "Failed").await;
    let completed = condition(&failed, "TestCompleted");
    assert_eq!(completed["reason"], "TestFailed");
    let said = completed["message"].as_str().unwrap();
    assert!(said.contains("result unknown"), "{said}");
    another(&room, "next").await;
    for job in ["load-master", "load-worker"] {
        assert_eq!(room.times_made("jobs", job).await, 1, "{job}");
        assert_eq!(room.get("Job", job).await, None);
    }
    let events = room.events("load").await;
    let unknown = events.iter().filter(|e| e.contains("result unknown"));
    assert_eq!(unknown.count(), 1, "{events:#?}");
}

/// The operator was killed as soon as it had made the Jobs: no status says so.
#[tokio::test]
async fn jobs_that_were_gone_before_the_first_status_run_no_second_time() {
    let room = Room::new("early").await;
    let settings = TTL.iter().map(|(k, v)| (k.to_string(), v.to_string()));
    let (bundle, _) = Bundle::load(&[Layer::built_in()], &settings.collect()).unwrap();
    // The revision, then three children with an event each.
    let writes = Writes::until(Point::Answered(7));
    let config = config("LOTEST_TEST_OPERATOR_KUBECONFIG").await;
    let client = ClientBuilder::try_from(config).unwrap();
    let first = room.operator_with_client(client.with_layer(&writes).build(), bundle);
    room.create(endless("load")).await;
    writes.reached.notified().await;
    drop(first);
    let mut pods = room.until_running("load", "worker", 2).await;
    pods.extend(room.until_running("load", "master", 1).await);
    for pod in &pods {
        room.end(pod).await;
    }
    for job in ["load-master", "load-worker"] {
        room.until_gone("Job", job).await;
    }
    let test = room.get("LocustTest", "load").await.unwrap();
    assert_eq!(test["status"], Value::Null);

    let _second = room.operator_with(TTL);
    let failed = room.until_phase("load", "Failed").await;
    let said = condition(&failed, "TestCompleted")["message"].as_str();
    assert!(said.unwrap().contains("result unknown"), "{said:?}");
    another(&room, "next").await;
    for job in ["load-master", "load-worker"] {
        assert_eq!(room.times_made("jobs", job).await, 1, "{job}");
    }
}

/// Somebody resumes the Job of a failed test each time that it is suspended: the operator does not give in, but it does
/// not write each time either.
#[tokio::test]
async fn what_somebody_else_undoes_is_done_ever_later() {
    let room = Room::new("fought").await;
    let _operator = room.operator_of(values(&[("pods: 2m", "pods: 1s")])).await;
    let mut load = endless("load");
    load["spec"]["master"]["annotations"]["kwok.lotest/behaviour"] = "crash-loop".into();
    room.create(load).await;
    room.until_phase("load", "Failed").await;
    for _ in 0..5 {
        room.until("Job", "load-worker", |j| j["spec"]["suspend"] == true)
            .await;
        let resume = json!({"spec": {"suspend": false}});
        room.patch("Job", "load-worker", resume).await;
    }
    logged(&room).await;
    let mut stops = room.requests();
    stops.retain(|r| {
        let from = r["requestURI"].as_str().unwrap();
        r["objectRef"]["name"] == "load-worker" && from.ends_with("fieldManager=lotest")
    });
    let stops: Vec<Timestamp> = stops
        .iter()
        .map(|r| time(&r["requestReceivedTimestamp"]))
        .collect();
    assert!(stops.len() >= 5, "{stops:?}");
    let lasted = stops[4].duration_since(stops[0]);
    assert!(lasted.as_secs() >= 10, "five writes in {lasted:?}");
    // When nobody undoes it any more, it is so.
    let stopped = |j: &Value| j["spec"]["suspend"] == true;
    room.until("Job", "load-worker", stopped).await;
}

/// What a test was started with is not known, and one of its Jobs may have run to its end: nothing is made.
#[tokio::test]
async fn a_started_test_without_its_revision_gets_nothing_made_again() {
    let room = Room::new("unknown").await;
    let mut operator = room.operator();
    room.create(endless("load")).await;
    room.until_phase("load", "Running").await;
    operator.kill();
    for revision in room.list("ControllerRevision").await {
        room.delete("ControllerRevision", name(&revision)).await;
    }
    room.delete("Job", "load-worker").await;
    room.until_gone("Job", "load-worker").await;
    let _next = room.operator();
    let told = room
        .until("LocustTest", "load", |t| {
            condition(t, "Ready")["status"] == "False"
        })
        .await;
    let message = condition(&told, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("no ControllerRevision"), "{message}");
    another(&room, "other").await;
    assert_eq!(room.get("Job", "load-worker").await, None);
}

#[tokio::test]
async fn an_old_finalizer_holds_no_deleted_test() {
    let room = Room::new("finalizer").await;
    let ours = "locust.io/cleanup";
    let theirs = "example.com/theirs";
    let mut operator = room.operator();
    for (load, finalizers) in [
        ("a", json!([ours])),
        ("b", json!([theirs, ours])),
        ("c", json!([ours])),
    ] {
        let mut load = test(load);
        load["metadata"]["finalizers"] = finalizers;
        room.create(load).await;
    }
    for load in ["a", "b", "c"] {
        let ended = room.until_phase(load, "Succeeded").await;
        let finalizers = ended["metadata"]["finalizers"].as_array().unwrap();
        assert!(finalizers.contains(&json!(ours)), "it is not being deleted");
    }
    room.delete("LocustTest", "a").await;
    room.delete("LocustTest", "b").await;
    room.until_gone("LocustTest", "a").await;
    let kept = room
        .until("LocustTest", "b", |t| {
            t["metadata"]["finalizers"] == json!([theirs])
        })
        .await;
    assert!(kept["metadata"]["deletionTimestamp"].is_string());

    // Deleted while nobody looks.
    operator.kill();
    room.delete("LocustTest", "c").await;
    let _second = room.operator();
    room.until_gone("LocustTest", "c").await;
    another(&room, "next").await;
    let still = room.get("LocustTest", "b").await.unwrap();
    assert_eq!(still["metadata"]["finalizers"], json!([theirs]));
    room.patch("LocustTest", "b", json!({"metadata": {"finalizers": null}}))
        .await;
    room.until_gone("LocustTest", "b").await;
}

/// A test that passes and one that fails, at their end.
async fn both_ends(room: &Room) -> [Value; 2] {
    room.create_test("good").await;
    let mut bad = test("bad");
    bad["spec"]["master"]["annotations"]["kwok.lotest/behaviour"] = "fail".into();
    room.create(bad).await;
    [
        room.until_phase("good", "Succeeded").await,
        room.until_phase("bad", "Failed").await,
    ]
}

/// What was deleted for a test, each once and none before its time.
fn assert_deleted(deletions: &[(String, String)], wanted: &[&str], ended: &Value, after: i64) {
    let mut found = Vec::new();
    for (what, at) in deletions {
        let Some(what) = wanted.iter().find(|w| *w == what) else {
            continue;
        };
        found.push(*what);
        let at: Timestamp = at.parse().unwrap();
        let kept = at.duration_since(time(&ended["status"]["completionTime"]));
        assert!(kept.as_secs() >= after, "{what} was kept for {kept:?}");
    }
    found.sort_unstable();
    assert_eq!(found, wanted, "{deletions:#?}");
}

const CHILDREN: [&str; 3] = ["Job {}-master", "Job {}-worker", "Service {}-master"];

async fn until_children_are_gone(room: &Room, load: &str) {
    for child in CHILDREN {
        let child = child.replace("{}", load);
        let (kind, name) = child.split_once(' ').unwrap();
        room.until_gone(kind, name).await;
    }
}

#[tokio::test]
async fn what_is_left_of_tests_is_kept_as_long_as_the_values_say() {
    let room = Room::new("retention").await;
    let bundle = values(&[
        (
            "passed: {children: never, test: never}",
            "passed: {children: 2s, test: never}",
        ),
        (
            "failed: {children: never, test: never}",
            "failed: {children: never, test: 3s}",
        ),
    ]);
    let _operator = room.operator_of(bundle).await;
    let [good, bad] = both_ends(&room).await;
    until_children_are_gone(&room, "good").await;
    room.until_gone("LocustTest", "bad").await;
    // With everything that was its own.
    until_children_are_gone(&room, "bad").await;
    another(&room, "next").await;
    let kept = room.get("LocustTest", "good").await.unwrap();
    assert_eq!(kept["status"]["phase"], "Succeeded");
    assert_eq!(condition(&kept, "Ready")["status"], "True");
    let deletions = room.deletions().await;
    let of_good = [
        "jobs/good-master",
        "jobs/good-worker",
        "services/good-master",
    ];
    assert_deleted(&deletions, &of_good, &good, 2);
    assert_deleted(&deletions, &["locusttests/bad"], &bad, 3);
    let others = deletions
        .iter()
        .filter(|(what, _)| what.contains("/bad-"))
        .count();
    assert_eq!(others, 0, "{deletions:#?}");
    for job in ["good-master", "good-worker"] {
        assert_eq!(room.times_made("jobs", job).await, 1, "{job}");
    }
}

#[tokio::test]
async fn an_operator_that_comes_later_removes_what_its_values_say() {
    let room = Room::new("later").await;
    let first = room.operator_of(built_in()).await;
    let [good, bad] = both_ends(&room).await;
    another(&room, "next").await;
    assert_eq!(room.deletions().await, [], "nothing is removed by default");
    drop(first);
    let bundle = values(&[
        (
            "passed: {children: never, test: never}",
            "passed: {children: never, test: 1s}",
        ),
        (
            "failed: {children: never, test: never}",
            "failed: {children: 1s, test: never}",
        ),
    ]);
    let _second = room.operator_of(bundle).await;
    room.until_gone("LocustTest", "good").await;
    until_children_are_gone(&room, "bad").await;
    let kept = room.get("LocustTest", "bad").await.unwrap();
    assert_eq!(kept["status"], bad["status"]);
    let deletions = room.deletions().await;
    let of_bad = ["jobs/bad-master", "jobs/bad-worker", "services/bad-master"];
    assert_deleted(&deletions, &of_bad, &bad, 1);
    assert_deleted(&deletions, &["locusttests/good"], &good, 1);
}

#[tokio::test]
async fn a_worker_that_may_be_lost_is_replaced_and_a_second_one_fails_the_test() {
    let room = Room::new("losses").await;
    let bundle = values(&[("workerLosses: 0", "workerLosses: 1")]);
    let _operator = room.operator_of(bundle).await;
    for load in ["one", "two"] {
        room.create(endless(load)).await;
        let workers = room.until_running(load, "worker", 2).await;
        room.until_phase(load, "Running").await;
        room.break_down(&workers[0]).await;
        room.until("Pod", name(&workers[0]), has_ended).await;
    }
    // The Job controller waits ten seconds before it makes another.
    for load in ["one", "two"] {
        room.until_running(load, "worker", 2).await;
        let all = |t: &Value| t["status"]["connectedWorkers"] == 2;
        let going_on = room.until("LocustTest", load, all).await;
        assert_eq!(going_on["status"]["phase"], "Running");
        assert_eq!(condition(&going_on, "PodsHealthy")["status"], "True");
    }
    let workers = room.until_running("two", "worker", 2).await;
    room.break_down(&workers[1]).await;
    let failed = room.until_phase("two", "Failed").await;
    let said = condition(&failed, "TestCompleted")["message"]
        .as_str()
        .unwrap();
    assert!(said.contains("its workers failed"), "{said}");

    let mut pods = room.until_running("one", "worker", 2).await;
    pods.extend(room.until_running("one", "master", 1).await);
    for pod in &pods {
        room.end(pod).await;
    }
    let ended = room.until_phase("one", "Succeeded").await;
    assert_eq!(condition(&ended, "PodsHealthy")["status"], "True");
    let failures: Vec<String> = until("events", async || Some(room.events("one").await)).await;
    let failures = failures.iter().filter(|e| e.starts_with("Warning"));
    assert_eq!(failures.count(), 0);
}
