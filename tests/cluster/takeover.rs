//! A cluster that another operator ran is taken over: no test is started again and none is lost. What it left is in
//! tests/takeover.

use crate::operators::audit;
use crate::replicas::{LEASE, Replica};
use crate::support::{Room, condition, test, uid, until};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The field manager of the other operator.
const THEY: &str = "manager";

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/takeover/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// Makes a recorded test with its children, as its operator did.
async fn leave(room: &Room, recorded: &Value) {
    let name = recorded["name"].as_str().unwrap();
    let mut load: Value = serde_saphyr::from_str(&fixture("shop.yaml")).unwrap();
    load["metadata"]["name"] = name.into();
    let made = room.create(load).await;
    let owner = json!([{
        "apiVersion": "locust.io/v2", "kind": "LocustTest", "name": name, "uid": uid(&made),
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let run = recorded["run"].as_str();
    let text = fixture("children.yaml").replace("NAME", name);
    let text = text.replace("RUN", run.unwrap_or("behaviour: run"));
    let children: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    for mut child in children {
        child["metadata"]["ownerReferences"] = owner.clone();
        if child["kind"] == "Service" || run.is_some() {
            room.create(child).await;
        }
    }
    let parameters = PatchParams {
        field_manager: Some(THEY.to_string()),
        ..PatchParams::default()
    };
    let status = json!({"status": recorded["status"]});
    let tests = room.api("LocustTest");
    tests
        .patch_status(name, &parameters, &Patch::Merge(&status))
        .await
        .unwrap();
}

/// Waits until the children are as they were when the recording was made.
async fn until_children_are_so(room: &Room, recorded: &Value) {
    let name = recorded["name"].as_str().unwrap();
    let is_so = |job: &Value| match recorded["status"]["phase"].as_str().unwrap() {
        "Pending" | "Running" => job["status"]["ready"] == job["spec"]["parallelism"],
        "Failed" => job["status"]["failed"].as_i64() >= Some(1),
        _ => job["status"]["succeeded"] == job["spec"]["parallelism"],
    };
    for role in ["master", "worker"] {
        if recorded["run"].is_string() {
            room.until("Job", &format!("{name}-{role}"), is_so).await;
        }
    }
}

/// `<kind> <name> <uid>` of all that runs or ran.
async fn all(room: &Room) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for kind in ["Service", "Job", "Pod"] {
        for object in room.list(kind).await {
            let name = object["metadata"]["name"].as_str().unwrap();
            all.insert(format!("{kind} {name} {}", uid(&object)));
        }
    }
    all
}

async fn hold_their_lease(room: &Room) {
    room.create(json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE},
        "spec": {
            "holderIdentity": "their-pod_1",
            // Longer than the test: it does not have to be renewed.
            "leaseDurationSeconds": 3600,
            "acquireTime": "2026-01-05T08:00:00.000000Z",
            "renewTime": "2026-01-05T09:00:00.000000Z",
            "leaseTransitions": 3,
        },
    }))
    .await;
}

/// A condition of a type is there at most once.
fn assert_not_doubled(test: &Value) {
    let conditions = test["status"]["conditions"].as_array().unwrap();
    let types: BTreeSet<&str> = conditions
        .iter()
        .filter_map(|c| c["type"].as_str())
        .collect();
    assert_eq!(types.len(), conditions.len(), "{conditions:#?}");
}

fn times(replica: &Replica, what: &str) -> usize {
    let writes = replica.writes();
    writes
        .iter()
        .filter(|w| w.what == what && w.code < 300)
        .count()
}

#[tokio::test]
async fn what_another_operator_left_is_taken_over() {
    let room = Room::new("take-over").await;
    hold_their_lease(&room).await;
    let recorded: Vec<Value> = serde_saphyr::from_str(&fixture("tests.yaml")).unwrap();
    for one in &recorded {
        leave(&room, one).await;
    }
    for one in &recorded {
        until_children_are_so(&room, one).await;
    }
    room.delete("LocustTest", "leaves").await;
    let held = room.get("LocustTest", "leaves").await.unwrap();
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    // One that they have not seen.
    room.create(test("fresh")).await;
    let before = all(&room).await;

    // While they hold their Lease nothing happens.
    let replica = room.replica("first", &[]).await;
    until("the holder is known", async || {
        (replica.leader()["holder"] == "their-pod_1").then_some(())
    })
    .await;
    assert_eq!(replica.readiness(), "200 ok: standby");
    let writes = replica.all_writes();
    assert!(writes.is_empty(), "{writes:?}");

    // They stop, and give it back.
    let released = json!({"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}});
    room.patch("Lease", LEASE, released).await;
    replica.until_leads(true).await;
    room.until_gone("LocustTest", "leaves").await;
    room.until_phase("waits", "Running").await;
    room.until_phase("fresh", "Succeeded").await;
    let connected = |t: &Value| {
        let is_connected = condition(t, "WorkersConnected")["status"] == "True";
        is_connected && condition(t, "SpecDrifted").is_null()
    };
    let runs = room.until("LocustTest", "runs", connected).await;
    let said = |t: &Value| condition(t, "Ready")["status"] == "False";
    let lost = room.until("LocustTest", "lost", said).await;

    // What ran runs on, the same pods in the same Jobs.
    let after = all(&room).await;
    let gone: Vec<_> = before.difference(&after).collect();
    assert!(gone.iter().all(|o| o.contains(" leaves-")), "{gone:#?}");
    let made: Vec<_> = after.difference(&before).collect();
    assert!(made.iter().all(|o| o.contains(" fresh-")), "{made:#?}");
    let revisions = room.list("ControllerRevision").await;
    let names = revisions
        .iter()
        .map(|r| r["metadata"]["name"].as_str().unwrap());
    let of: BTreeSet<&str> = names.map(|n| n.rsplit_once('-').unwrap().0).collect();
    assert_eq!(of, BTreeSet::from(["fresh", "runs", "waits"]));
    for name in ["waits", "runs"] {
        for (kind, resource, child) in [
            ("Service", "services", format!("{name}-master")),
            ("Job", "jobs", format!("{name}-master")),
            ("Job", "jobs", format!("{name}-worker")),
        ] {
            let labels = &room.get(kind, &child).await.unwrap()["metadata"]["labels"];
            assert_eq!(labels["app.kubernetes.io/managed-by"], "lotest", "{child}");
            assert_eq!(times(&replica, &format!("patch {resource}/{child}")), 1);
        }
    }

    // The status goes on from theirs.
    assert_not_doubled(&runs);
    assert_eq!(runs["status"]["startTime"], "2026-01-05T09:00:05Z");
    assert_eq!(runs["status"]["connectedWorkers"], 2);
    assert_eq!(condition(&runs, "PodsHealthy")["status"], "True");
    assert_eq!(*condition(&runs, "SpecDrifted"), Value::Null);
    assert_eq!(condition(&runs, "Theirs")["status"], "True");

    // What had ended is as it was.
    for one in &recorded {
        let name = one["name"].as_str().unwrap();
        if !["passed", "expired", "failed"].contains(&name) {
            continue;
        }
        let ended = room.get("LocustTest", name).await.unwrap();
        assert_not_doubled(&ended);
        for field in ["phase", "startTime", "completionTime"] {
            assert_eq!(ended["status"][field], one["status"][field], "{name}");
        }
        let completed = condition(&ended, "TestCompleted");
        assert_eq!(completed["status"], "True", "{name}");
        let reason = &one["status"]["conditions"][1]["reason"];
        assert_eq!(completed["reason"], *reason, "{name}");
        let writes = replica.writes();
        let of_it = |what: &str| what.contains(&format!("/{name}-"));
        assert!(
            !writes.iter().any(|w| of_it(&w.what)),
            "{name}: {writes:#?}"
        );
    }

    // One that ran and whose Jobs are gone is not run again, and says why.
    assert_not_doubled(&lost);
    assert_eq!(lost["status"]["startTime"], "2026-01-05T09:00:05Z");
    let message = condition(&lost, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("they are not made again"), "{message}");

    // What is made again is what their operator made.
    room.delete("Job", "waits-worker").await;
    let old = before.iter().find(|o| o.starts_with("Job waits-worker "));
    let another = |job: &Value| !old.unwrap().ends_with(uid(job));
    let again = room.until("Job", "waits-worker", another).await;
    let container = &again["spec"]["template"]["spec"]["containers"][0];
    let theirs = json!([{"name": "KAFKA_BOOTSTRAP_SERVERS", "value": "localhost:9092"}]);
    assert_eq!(container["env"], theirs);

    // It goes on to the end, and then it may be deleted.
    for role in ["worker", "master"] {
        for pod in room.pods_of("runs", role).await {
            room.end(&pod).await;
        }
    }
    room.until_phase("runs", "Succeeded").await;
    for name in ["runs", "passed", "expired", "failed", "lost", "waits"] {
        room.delete("LocustTest", name).await;
        room.until_gone("LocustTest", name).await;
    }
    let refused = audit().into_iter().filter(|r| {
        r["objectRef"]["namespace"] == room.namespace.as_str() && r["responseStatus"]["code"] == 403
    });
    assert_eq!(refused.collect::<Vec<_>>(), [Value::Null; 0]);
}
