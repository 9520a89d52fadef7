//! What costs nothing: a finished test, a change that changes no verdict, and whatever is not ours.

use crate::operators::audit;
use crate::support::{Room, condition, endless, test, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// `<verb> <resource>` of each request.
fn verbs(requests: &[Value]) -> Vec<String> {
    let line = |r: &Value| {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
        let of = &r["objectRef"];
        let line = format!(
            "{} {}/{}",
            text(&r["verb"]),
            text(&of["resource"]),
            text(&of["subresource"])
        );
        line.trim_end_matches('/').to_string()
    };
    requests.iter().map(line).collect()
}

/// How many of the requests are of a kind.
fn count(requests: &[Value], verb: &str) -> usize {
    verbs(requests).iter().filter(|v| *v == verb).count()
}

/// Waits until the API server has logged what it was asked so far: the request of this very call is in the log.
pub async fn logged(room: &Room) {
    static MARKERS: AtomicUsize = AtomicUsize::new(0);
    let marker = format!("marker-{}", MARKERS.fetch_add(1, Ordering::Relaxed));
    room.get("ConfigMap", &marker).await;
    until("the audit log", async || {
        let here = audit().into_iter().any(|r| {
            r["objectRef"]["name"] == *marker && r["objectRef"]["namespace"] == *room.namespace
        });
        here.then_some(())
    })
    .await;
}

async fn requests(room: &Room) -> Vec<Value> {
    logged(room).await;
    room.requests()
}

#[tokio::test]
async fn a_finished_test_causes_no_request_for_a_minute_nor_after_a_restart() {
    let room = Room::new("idle").await;
    let first = room.operator();
    room.create_test("good").await;
    let mut failing = test("bad");
    failing["spec"]["master"]["annotations"]["kwok.lotest/behaviour"] = "fail".into();
    room.create(failing).await;
    room.until_phase("good", "Succeeded").await;
    room.until_phase("bad", "Failed").await;
    until("the end of all pods", async || {
        let pods = room.list("Pod").await;
        let ended = |p: &Value| {
            ["Succeeded", "Failed"]
                .iter()
                .any(|phase| p["status"]["phase"] == *phase)
        };
        pods.iter().all(ended).then_some(())
    })
    .await;
    // What the last of it leads to is done when a change made later has been answered.
    room.create_test("last").await;
    room.until_phase("last", "Succeeded").await;

    let before = requests(&room).await.len();
    // The point is this very minute: that nothing happens has no other condition to wait for.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let during = requests(&room).await.split_off(before);
    assert!(during.is_empty(), "{:#?}", verbs(&during));

    drop(first);
    let before = requests(&room).await.len();
    let _second = room.operator();
    room.create_test("another").await;
    room.until_phase("another", "Succeeded").await;
    let mut after = requests(&room).await.split_off(before);
    // The lists are one for each kind, however many tests there are.
    let lists = verbs(&after).into_iter().filter(|v| v.starts_with("list "));
    let mut lists: Vec<String> = lists.collect();
    lists.sort();
    assert_eq!(
        lists,
        [
            "list jobs",
            "list locusttests",
            "list pods",
            "list services"
        ]
    );
    after.retain(|r| r["verb"] != "list");
    for request in after {
        let name = request["objectRef"]["name"].as_str().unwrap();
        assert!(name.starts_with("another"), "{request:#}");
    }
}

#[tokio::test]
async fn the_whole_life_of_a_test_takes_few_requests() {
    let room = Room::new("life").await;
    let mut wanted = test("load");
    wanted["spec"]["worker"]["replicas"] = 5.into();
    wanted["spec"]["master"]["annotations"]["kwok.lotest/run-for"] = "8s".into();
    wanted["spec"]["worker"]["annotations"]["kwok.lotest/run-for"] = "12s".into();
    let history = room.history("load");
    let _operator = room.operator();
    room.create(wanted).await;
    let ended = room.until_phase("load", "Succeeded").await;
    assert_eq!(ended["status"]["connectedWorkers"], 5);
    until("the end of the workers", async || {
        let worker = room.get("Job", "load-worker").await?;
        (worker["status"]["succeeded"] == 5).then_some(())
    })
    .await;
    room.create_test("last").await;
    room.until_phase("last", "Succeeded").await;

    let mut all = requests(&room).await;
    let of_last = |r: &Value| {
        let name = r["objectRef"]["name"].as_str().unwrap_or_default();
        name.starts_with("last")
    };
    all.retain(|r| r["verb"] != "list" && !of_last(r));
    let gets = all.iter().filter(|r| r["verb"] == "get").count();
    let applies = count(&all, "patch jobs") + count(&all, "patch services");
    assert_eq!((gets, applies), (3, 3), "{:#?}", verbs(&all));
    assert_eq!(count(&all, "create controllerrevisions"), 1);
    let statuses = count(&all, "patch locusttests/status");
    // On a busy machine the workers do not connect within the two seconds that are waited for them.
    let connected: BTreeSet<_> = history
        .states()
        .iter()
        .filter_map(|t| t["status"]["connectedWorkers"].as_i64())
        .collect();
    assert!(statuses <= 2 + connected.len(), "{statuses} {connected:?}");
    assert_eq!(count(&all, "create events"), 5, "{:#?}", verbs(&all));
    assert_eq!(
        all.len(),
        gets + applies + 1 + statuses + 5,
        "{:#?}",
        verbs(&all)
    );
}

#[tokio::test]
async fn what_changes_no_verdict_is_not_written() {
    let room = Room::new("quiet").await;
    let _operator = room.operator();
    room.create(endless("load")).await;
    let all = |t: &Value| condition(t, "WorkersConnected")["status"] == "True";
    room.until("LocustTest", "load", all).await;
    let before = requests(&room).await.len();
    let pods = room.list("Pod").await;
    for round in 0..5 {
        let note = json!({"metadata": {"annotations": {"a-note": format!("{round}")}}});
        for pod in &pods {
            let name = pod["metadata"]["name"].as_str().unwrap();
            room.patch("Pod", name, note.clone()).await;
        }
        for (kind, name) in [
            ("Job", "load-master"),
            ("Job", "load-worker"),
            ("Service", "load-master"),
        ] {
            room.patch(kind, name, note.clone()).await;
        }
        room.patch("LocustTest", "load", note).await;
    }
    // A test that is made after them has been through when they have been looked at.
    room.create_test("last").await;
    room.until_phase("last", "Succeeded").await;
    let mut after = requests(&room).await.split_off(before);
    after.retain(|r| {
        r["objectRef"]["name"]
            .as_str()
            .unwrap_or_default()
            .starts_with("load")
    });
    assert!(after.is_empty(), "{:#?}", verbs(&after));
}

#[tokio::test]
async fn no_watch_sees_what_is_not_ours() {
    let room = Room::new("theirs").await;
    let _operator = room.operator();
    room.create_test("first").await;
    room.until_phase("first", "Succeeded").await;
    logged(&room).await;

    let selectors = [
        ("jobs", "app.kubernetes.io%2Fmanaged-by%3Dlotest"),
        ("services", "app.kubernetes.io%2Fmanaged-by%3Dlotest"),
        ("pods", "managed-by%3Dlocust-k8s-operator"),
    ];
    let reads: Vec<(String, String)> = audit()
        .into_iter()
        .filter(|r| r["user"]["username"] == crate::operators::OPERATOR)
        .filter(|r| ["list", "watch"].contains(&r["verb"].as_str().unwrap()))
        .map(|r| {
            (
                r["objectRef"]["resource"].to_string(),
                r["requestURI"].to_string(),
            )
        })
        .filter(|(_, uri)| uri.contains(&format!("/{}/", room.namespace)))
        .collect();
    assert!(reads.len() >= 4, "{reads:?}");
    for (resource, uri) in reads {
        let resource = resource.trim_matches('"');
        let selector = selectors.iter().find(|(r, _)| *r == resource);
        match selector {
            Some((_, selector)) => {
                assert!(uri.contains(&format!("labelSelector={selector}")), "{uri}")
            }
            None => assert_eq!(resource, "locusttests", "{uri}"),
        }
    }

    let before = requests(&room).await.len();
    let container = json!({"name": "theirs", "image": "theirs"});
    let pod = json!({"containers": [container], "restartPolicy": "Never"});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "theirs"}, "spec": {"template": {"spec": pod}}});
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "theirs"}, "spec": pod});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "theirs"}, "spec": {"ports": [{"port": 80}]}});
    for object in [job, pod, service] {
        let kind = object["kind"].as_str().unwrap().to_string();
        room.create(object).await;
        let note = json!({"metadata": {"annotations": {"a-note": "1"}}});
        room.patch(&kind, "theirs", note).await;
    }
    room.until("Job", "theirs", |j| j["status"]["succeeded"] == 1)
        .await;
    for kind in ["Job", "Service", "Pod"] {
        room.delete(kind, "theirs").await;
    }
    // Their pods carry our label at most by mistake: nobody is concerned by one without a test.
    let stray = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stray", "labels": {"managed-by": "locust-k8s-operator"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    room.create(stray).await;
    room.delete("Pod", "stray").await;
    room.create_test("last").await;
    room.until_phase("last", "Succeeded").await;
    let after = requests(&room).await.split_off(before);
    for request in after {
        let name = request["objectRef"]["name"].as_str().unwrap_or_default();
        assert!(name.starts_with("last"), "{request:#}");
    }
}
