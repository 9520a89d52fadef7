//! From creation to the end and to deletion.

use crate::support::{Room, condition, endless, shape, test, uid, until};
use serde_json::{Value, json};

const CHILDREN: &[(&str, &str)] = &[
    ("Service", "load-master"),
    ("Job", "load-master"),
    ("Job", "load-worker"),
];

const WORKERS: [&str; 4] = [
    "WorkersConnected",
    "True",
    "AllWorkersConnected",
    "2/2 workers connected",
];

/// Type, status, reason and message of each condition.
fn conditions(test: &Value) -> Vec<[&str; 4]> {
    let conditions = test["status"]["conditions"].as_array().unwrap();
    let fields = ["type", "status", "reason", "message"];
    let of = |c| fields.map(|key| Value::as_str(Value::get(c, key).unwrap()).unwrap());
    conditions.iter().map(of).collect()
}

/// The fields of the status apart from the conditions, and without those that name a time or a digest.
fn fields(test: &Value) -> Value {
    let mut status = test["status"].clone();
    let others = [
        "conditions",
        "startTime",
        "completionTime",
        "bundle",
        "firstSeen",
    ];
    for key in others {
        status.as_object_mut().unwrap().remove(key);
    }
    status
}

#[tokio::test]
async fn a_test_runs_to_its_end_and_leaves_nothing_when_deleted() {
    let room = Room::new("lifecycle").await;
    let _operator = room.operator();
    let history = room.history("load");
    // No pod at first, so that the beginning can be looked at.
    let none = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    room.create(none).await;
    room.until("ResourceQuota", "none", |q| q["status"]["hard"].is_object())
        .await;
    let mut wanted = test("load");
    // The workers outlast the master, as they do in a cluster.
    wanted["spec"]["master"]["annotations"]["kwok.lotest/run-for"] = "4s".into();
    wanted["spec"]["worker"]["annotations"]["kwok.lotest/run-for"] = "6s".into();
    let test = room.create(wanted).await;

    let pending = room.until_phase("load", "Pending").await;
    assert_eq!(
        fields(&pending),
        json!({"phase": "Pending", "observedGeneration": 1, "expectedWorkers": 2, "connectedWorkers": 0})
    );
    let in_progress = [
        "TestCompleted",
        "False",
        "TestInProgress",
        "Test has not finished",
    ];
    let starting = "Pods are starting; trouble is reported when it lasts";
    let starting = ["PodsHealthy", "True", "PodsStarting", starting];
    let waiting = "Waiting for worker pods";
    let created = ["Ready", "True", "ResourcesCreated", "All resources created"];
    assert_eq!(
        conditions(&pending),
        [
            created,
            ["WorkersConnected", "False", "WaitingForWorkers", waiting],
            in_progress,
            starting,
        ]
    );
    assert_eq!(pending["status"].get("startTime"), None);
    room.delete("ResourceQuota", "none").await;

    let running = room
        .until("LocustTest", "load", |t| {
            condition(t, "WorkersConnected")["status"] == "True"
        })
        .await;
    for (kind, name) in CHILDREN {
        let child = room.get(kind, name).await.expect("a child");
        let owner = json!([{
            "apiVersion": "locust.io/v2", "kind": "LocustTest", "name": "load", "uid": uid(&test),
            "controller": true, "blockOwnerDeletion": true,
        }]);
        assert_eq!(child["metadata"]["ownerReferences"], owner, "{kind} {name}");
        let digest = &child["metadata"]["annotations"]["locust.io/bundle"];
        assert_eq!(*digest, running["status"]["bundle"]);
    }
    assert_eq!(running["status"].get("completionTime"), None);
    assert_eq!(
        fields(&running),
        json!({"phase": "Running", "observedGeneration": 1, "expectedWorkers": 2, "connectedWorkers": 2})
    );
    assert_eq!(
        conditions(&running),
        [created, WORKERS, in_progress, starting]
    );

    let ended = room.until_phase("load", "Succeeded").await;
    assert_eq!(
        fields(&ended),
        json!({"phase": "Succeeded", "observedGeneration": 1, "expectedWorkers": 2, "connectedWorkers": 2})
    );
    assert_eq!(
        conditions(&ended),
        [
            created,
            WORKERS,
            [
                "TestCompleted",
                "True",
                "TestSucceeded",
                "Test completed successfully"
            ],
            [
                "PodsHealthy",
                "True",
                "PodsHealthy",
                "The pods ended with the test"
            ],
        ]
    );
    let times = |t: &Value| {
        let time = |key| t["status"][key].as_str().unwrap().to_string();
        (time("startTime"), time("completionTime"))
    };
    let (start, completion) = times(&ended);
    assert_eq!(running["status"]["startTime"], start.as_str());
    assert!(start < completion, "{start} {completion}");
    assert_eq!(ended["spec"], test["spec"], "a spec is never rewritten");
    assert_eq!(ended["metadata"].get("finalizers"), None);

    history
        .until_phases(&["", "Pending", "Running", "Succeeded"])
        .await;
    assert_eq!(
        room.events("load").await,
        [
            "Normal Created: Created Service load-master",
            "Normal Created: Created Job load-master",
            "Normal Created: Created Job load-worker",
            "Normal TestStarted: Test started",
            "Normal TestCompleted: Test completed successfully",
        ]
    );

    room.delete("LocustTest", "load").await;
    for (kind, name) in CHILDREN {
        room.until_gone(kind, name).await;
    }
    room.until_gone("LocustTest", "load").await;
    until("the end of pods and revision", async || {
        let revisions = room.list("ControllerRevision").await.len();
        let pods = room.list("Pod").await.len();
        (revisions + pods == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_test_whose_master_fails_has_failed() {
    let room = Room::new("failed").await;
    let _operator = room.operator();
    let history = room.history("load");
    let mut wanted = test("load");
    wanted["spec"]["master"]["annotations"] =
        json!({"kwok.lotest/behaviour": "fail", "kwok.lotest/run-for": "7s"});
    wanted["spec"]["worker"]["annotations"] = json!({"kwok.lotest/behaviour": "run-forever"});
    room.create(wanted).await;

    let ended = room.until_phase("load", "Failed").await;
    assert!(ended["status"]["startTime"].is_string());
    assert!(ended["status"]["completionTime"].is_string());
    assert_eq!(
        fields(&ended),
        json!({"phase": "Failed", "observedGeneration": 1, "expectedWorkers": 2, "connectedWorkers": 2})
    );
    let why = "Test failed: load-master ended with exit code 1 (Error); its log says more. \
               Locust ends so when requests failed";
    let see = "The test failed; see the conditions TestCompleted and PodsHealthy";
    assert_eq!(
        conditions(&ended),
        [
            ["Ready", "False", "ResourcesFailed", see],
            WORKERS,
            ["TestCompleted", "True", "TestFailed", why],
            [
                "PodsHealthy",
                "True",
                "PodsHealthy",
                "The pods ended with the test"
            ],
        ]
    );
    history
        .until_phases(&["", "Pending", "Running", "Failed"])
        .await;
    assert_eq!(
        room.events("load").await[3..],
        [
            "Normal TestStarted: Test started",
            "Warning TestFailed: Test failed: the master failed: load-master ended with exit code 1 (Error); its log says more",
        ]
    );
}

#[tokio::test]
async fn a_deleted_child_is_made_again_from_what_the_test_started_with() {
    let room = Room::new("again").await;
    let first = room.operator();
    room.create(endless("load")).await;
    let running = room.until_phase("load", "Running").await;
    let mut before = Vec::new();
    for (kind, name) in CHILDREN {
        before.push(room.get(kind, name).await.unwrap());
    }
    drop(first);

    // From here on the bundle is another, and so is the spec.
    let settings = [
        ("POD_CPU_REQUEST", "333m"),
        ("METRICS_EXPORTER_PORT", "9999"),
    ];
    let _second = room.operator_with(&settings);
    let change = json!({"spec": {"image": "locustio/locust:other", "worker": {"replicas": 1}}});
    room.patch("LocustTest", "load", change).await;
    let drifted = room
        .until("LocustTest", "load", |t| {
            condition(t, "SpecDrifted")["status"] == "True"
        })
        .await;
    assert_eq!(drifted["status"]["bundle"], running["status"]["bundle"]);

    for (child, (kind, name)) in before.iter().zip(CHILDREN) {
        let history = room.history("load");
        room.delete(kind, name).await;
        let made = room.until(kind, name, |c| uid(c) != uid(child)).await;
        assert_eq!(shape(&made), shape(child), "{kind} {name}");
        let again = room.until_phase("load", "Running").await;
        history
            .until_phases(&["Running", "Pending", "Running"])
            .await;
        let states = history.states();
        let pending = states
            .iter()
            .find(|t| t["status"]["phase"] == "Pending")
            .unwrap();
        assert_eq!(condition(pending, "Ready")["status"], "False");
        assert_eq!(condition(pending, "Ready")["reason"], "ResourcesCreating");
        assert_eq!(condition(&again, "Ready")["status"], "True");
        for key in ["startTime", "expectedWorkers"] {
            assert_eq!(again["status"][key], running["status"][key], "{key}");
        }
        let events = room.events("load").await;
        let said = format!("Warning ResourceDeleted: {kind} {name} was deleted; it is made again");
        assert_eq!(events.iter().filter(|e| **e == said).count(), 1);
        let said = format!("Normal Created: Created {kind} {name}");
        assert_eq!(events.iter().filter(|e| **e == said).count(), 2);
    }
}

#[tokio::test]
async fn an_edited_spec_changes_no_child_and_is_said_until_it_is_put_back() {
    let room = Room::new("drift").await;
    let _operator = room.operator();
    let test = room.create(endless("load")).await;
    let running = room.until_phase("load", "Running").await;
    assert_eq!(*condition(&running, "SpecDrifted"), Value::Null);

    let change = json!({"spec": {"worker": {"replicas": 5}}});
    room.patch("LocustTest", "load", change).await;
    let drifted = room
        .until("LocustTest", "load", |t| {
            condition(t, "SpecDrifted")["status"] == "True"
        })
        .await;
    assert_eq!(
        condition(&drifted, "SpecDrifted")["reason"],
        "SpecChangeIgnored"
    );
    let message = condition(&drifted, "SpecDrifted")["message"].as_str();
    assert!(
        message.unwrap().contains("spec.worker.replicas"),
        "{message:?}"
    );
    assert_eq!(drifted["status"]["observedGeneration"], 2);
    assert_eq!(drifted["status"]["expectedWorkers"], 2);
    assert_eq!(drifted["status"]["phase"], "Running");

    let back = json!({"spec": test["spec"]});
    room.patch("LocustTest", "load", back).await;
    let put_back = room
        .until("LocustTest", "load", |t| {
            t["status"]["observedGeneration"] == 3
        })
        .await;
    assert_eq!(*condition(&put_back, "SpecDrifted"), Value::Null);
    let writes = room.writes();
    for (kind, name) in CHILDREN {
        let resource = format!("{}s/{name}", kind.to_lowercase());
        let written = writes.iter().filter(|w| w.ends_with(&resource)).count();
        assert_eq!(written, 1, "{writes:#?}");
    }
}

#[tokio::test]
async fn what_a_test_is_started_with_is_written_before_its_first_child() {
    let room = Room::new("revision").await;
    let _operator = room.operator();
    let test = room.create_test("load").await;
    room.until_phase("load", "Running").await;
    let writes = until("the writes in the audit log", async || {
        let writes = room.writes();
        let status = "patch locusttests/load/status".to_string();
        writes.contains(&status).then_some(writes)
    })
    .await;
    let revision = format!("load-{}", uid(&test).split('-').next().unwrap());
    assert_eq!(
        writes[0],
        format!("create controllerrevisions/{revision}"),
        "{writes:#?}"
    );
    let stored = room.get("ControllerRevision", &revision).await.unwrap();
    assert_eq!(stored["data"]["spec"], test["spec"]);
    assert_eq!(stored["metadata"]["ownerReferences"][0]["uid"], uid(&test));
}

#[tokio::test]
async fn a_test_that_has_ended_is_never_started_again() {
    let room = Room::new("once").await;
    let first = room.operator();
    room.create_test("load").await;
    let ended = room.until_phase("load", "Succeeded").await;
    let pods = room.list("Pod").await.len();
    assert_eq!(pods, 3);

    for (kind, name) in CHILDREN {
        room.delete(kind, name).await;
        room.until_gone(kind, name).await;
    }
    drop(first);
    // Not even when nothing says any more what it was started with, as for a test that another operator ran.
    for revision in room.list("ControllerRevision").await {
        let name = revision["metadata"]["name"].as_str().unwrap();
        room.delete("ControllerRevision", name).await;
    }
    let before = room.writes().len();
    let _second = room.operator();
    let change = json!({"spec": {"worker": {"replicas": 5}}});
    room.patch("LocustTest", "load", change).await;
    let edited = room
        .until("LocustTest", "load", |t| {
            t["status"]["observedGeneration"] == 2
        })
        .await;
    for key in ["phase", "startTime", "completionTime", "bundle"] {
        assert_eq!(edited["status"][key], ended["status"][key], "{key}");
    }
    // The API server answers before it logs.
    until("the write in the audit log", async || {
        (room.writes().len() > before).then_some(())
    })
    .await;
    assert_eq!(
        room.writes()[before..],
        ["patch locusttests/load/status"],
        "nothing but the status"
    );
    for (kind, name) in CHILDREN {
        assert_eq!(room.get(kind, name).await, None, "{kind} {name}");
    }
}

#[tokio::test]
async fn a_child_that_lost_its_labels_gets_them_back_and_is_not_made_again() {
    let room = Room::new("labels").await;
    let mut operator = room.operator();
    room.create(endless("load")).await;
    room.until_phase("load", "Running").await;
    let child = room.get("Job", "load-master").await.unwrap();
    for label in ["app.kubernetes.io/managed-by", "locust.io/child"] {
        let without = json!({"metadata": {"labels": {label: null}}});
        room.patch("Job", "load-master", without).await;
        if label == "locust.io/child" {
            // It is known by its uid, until the operator is another.
            operator.kill();
            operator = room.operator();
        }
        let again = room
            .until("Job", "load-master", |j| {
                j["metadata"]["labels"].get(label).is_some()
            })
            .await;
        assert_eq!(uid(&again), uid(&child));
        assert_eq!(shape(&again), shape(&child));
    }
    room.until("LocustTest", "load", |t| {
        t["status"]["phase"] == "Running" && condition(t, "Ready")["status"] == "True"
    })
    .await;
    let events = room.events("load").await;
    assert!(!events.iter().any(|e| e.contains("deleted")), "{events:#?}");
}

#[tokio::test]
async fn a_test_made_again_under_the_same_name_starts_anew() {
    let room = Room::new("anew").await;
    let _operator = room.operator();
    let mut last = String::new();
    // Without a pause, so that the one before is still being worked on and cleaned up.
    for replicas in 1..=5 {
        let mut wanted = test("load");
        wanted["spec"]["worker"]["replicas"] = replicas.into();
        last = uid(&room.create(wanted).await).to_string();
        if replicas < 5 {
            until("a child", async || {
                let children = room.list("Job").await;
                (replicas % 2 == 0 || !children.is_empty()).then_some(())
            })
            .await;
            room.delete("LocustTest", "load").await;
            room.until_gone("LocustTest", "load").await;
        }
    }
    let ended = room.until_phase("load", "Succeeded").await;
    assert_eq!(uid(&ended), last);
    assert_eq!(ended["status"]["expectedWorkers"], 5);
    assert_eq!(*condition(&ended, "SpecDrifted"), Value::Null);
    for (kind, name) in CHILDREN {
        let child = room.get(kind, name).await.unwrap();
        assert_eq!(
            child["metadata"]["ownerReferences"][0]["uid"],
            last.as_str()
        );
    }
}
