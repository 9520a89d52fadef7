//! What is not ours is left as it is, and what cannot be made is said.

use crate::support::{Room, condition, endless, uid, until};
use lotest::bundle::{Bundle, Layer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": {"app": "somebody-else"}, "ports": [{"port": 80}]},
    })
}

/// A Job that does nothing, so that nothing but a mistake of ours changes it.
fn job(name: &str) -> Value {
    let container = json!({"name": "theirs", "image": "theirs"});
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"suspend": true, "template": {"spec": {"containers": [container], "restartPolicy": "Never"}}},
    })
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

fn quota(hard: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"}, "spec": {"hard": hard}})
}

async fn until_refused(room: &Room, name: &str, said: &str) -> Value {
    let said = |t: &Value| {
        let ready = condition(t, "Ready");
        ready["status"] == "False" && ready["message"].as_str().unwrap().contains(said)
    };
    room.until("LocustTest", name, said).await
}

/// Names of what the operator makes in a namespace, without those that are expected.
async fn made(room: &Room, apart_from: &[&str]) -> Vec<String> {
    let mut names = Vec::new();
    for kind in ["Service", "Job"] {
        for object in room.list(kind).await {
            let name = object["metadata"]["name"].as_str().unwrap();
            if !apart_from.contains(&format!("{kind} {name}").as_str()) {
                names.push(format!("{kind} {name}"));
            }
        }
    }
    names
}

/// A test finds an object of somebody else under the name of one of its children.
async fn is_left_alone(mut theirs: Value, owned: bool) {
    let room = Room::new("foreign").await;
    let kind = theirs["kind"].as_str().unwrap().to_string();
    let name = theirs["metadata"]["name"].as_str().unwrap().to_string();
    if owned {
        let owner = room.create(config_map("owner")).await;
        theirs["metadata"]["ownerReferences"] = json!([
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid(&owner), "controller": true}
        ]);
    }
    room.create(theirs).await;
    let settled = |o: &Value| kind == "Service" || o["status"]["conditions"].is_array();
    let before = room.until(&kind, &name, settled).await;

    let _operator = room.operator();
    room.create_test("load").await;
    let refused = until_refused(&room, "load", &format!("{kind} {name}: it exists")).await;
    let message = condition(&refused, "Ready")["message"].as_str().unwrap();
    assert_eq!(condition(&refused, "Ready")["reason"], "ResourcesFailed");
    assert_eq!(message.contains("belongs to ConfigMap owner"), owned);
    assert_eq!(refused["status"]["phase"], "Pending");
    // It was looked at again, and still nothing is made.
    until("a second look", async || {
        let requests = room.requests();
        let looks = requests
            .iter()
            .filter(|r| r["verb"] == "get" && r["objectRef"]["name"] == *name);
        (looks.count() >= 4).then_some(())
    })
    .await;
    assert_eq!(made(&room, &[&format!("{kind} {name}")]).await, [""; 0]);
    let after = room.get(&kind, &name).await.unwrap();
    assert_eq!(after, before, "byte for byte");
    let writes = room.writes();
    assert!(
        writes.iter().all(|w| w == "patch locusttests/load/status"),
        "{writes:#?}"
    );

    room.delete(&kind, &name).await;
    let ended = room.until_phase("load", "Succeeded").await;
    assert_eq!(condition(&ended, "Ready")["status"], "True");
}

#[tokio::test]
async fn a_service_without_an_owner_is_left_alone() {
    is_left_alone(service("load-master"), false).await;
}

#[tokio::test]
async fn a_service_of_another_owner_is_left_alone() {
    is_left_alone(service("load-master"), true).await;
}

#[tokio::test]
async fn a_master_job_without_an_owner_is_left_alone() {
    is_left_alone(job("load-master"), false).await;
}

#[tokio::test]
async fn a_master_job_of_another_owner_is_left_alone() {
    is_left_alone(job("load-master"), true).await;
}

#[tokio::test]
async fn a_worker_job_without_an_owner_is_left_alone() {
    is_left_alone(job("load-worker"), false).await;
}

#[tokio::test]
async fn a_worker_job_of_another_owner_is_left_alone() {
    is_left_alone(job("load-worker"), true).await;
}

#[tokio::test]
async fn an_object_that_took_the_name_of_a_running_child_is_left_alone() {
    let room = Room::new("taken").await;
    let operator = room.operator();
    room.create(endless("load")).await;
    room.until_phase("load", "Running").await;
    drop(operator);
    room.delete("Service", "load-master").await;
    room.until_gone("Service", "load-master").await;
    let before = room.create(service("load-master")).await;

    let _operator = room.operator();
    until_refused(&room, "load", "Service load-master: it exists").await;
    assert_eq!(room.get("Service", "load-master").await.unwrap(), before);
    room.delete("Service", "load-master").await;
    let again = room.until_phase("load", "Running").await;
    assert_eq!(condition(&again, "Ready")["status"], "True");
}

#[tokio::test]
async fn two_tests_never_share_a_child() {
    let room = Room::new("shared").await;
    let _operator = room.operator();
    room.create(endless("a.b")).await;
    room.until_phase("a.b", "Running").await;
    let mut before = Vec::new();
    for (kind, name) in [("Service", "a-b-master"), ("Job", "a-b-worker")] {
        before.push(
            room.until(kind, name, |o| {
                kind == "Service" || o["status"]["ready"] == 2
            })
            .await,
        );
    }
    let first = room
        .until("LocustTest", "a.b", |t| {
            condition(t, "WorkersConnected")["status"] == "True"
        })
        .await;

    room.create_test("a-b").await;
    let second = until_refused(&room, "a-b", "belongs to LocustTest a.b").await;
    assert_eq!(second["status"]["phase"], "Pending");
    for object in before {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        let now = room
            .get(kind.as_str().unwrap(), name.as_str().unwrap())
            .await;
        assert_eq!(now.unwrap(), object);
    }
    assert_eq!(room.get("LocustTest", "a.b").await.unwrap(), first);
    let ours = ["Service a-b-master", "Job a-b-master", "Job a-b-worker"];
    assert_eq!(made(&room, &ours).await, [""; 0]);
    assert_eq!(room.list("ControllerRevision").await.len(), 1);

    room.delete("LocustTest", "a.b").await;
    let ended = room.until_phase("a-b", "Succeeded").await;
    for (kind, name) in [
        ("Service", "a-b-master"),
        ("Job", "a-b-master"),
        ("Job", "a-b-worker"),
    ] {
        let child = room.get(kind, name).await.unwrap();
        assert_eq!(child["metadata"]["ownerReferences"][0]["uid"], uid(&ended));
    }
}

#[tokio::test]
async fn of_two_tests_made_at_once_one_gets_all_children() {
    let room = Room::new("race").await;
    room.create_test("a.b").await;
    room.create_test("a-b").await;
    let _operator = room.operator();
    let winner = until("the end of one", async || {
        let tests = room.list("LocustTest").await;
        tests
            .into_iter()
            .find(|t| t["status"]["phase"] == "Succeeded")
    })
    .await;
    for kind in ["Service", "Job"] {
        for child in room.list(kind).await {
            let owners = child["metadata"]["ownerReferences"].as_array().unwrap();
            assert_eq!(owners.len(), 1);
            assert_eq!(owners[0]["uid"], uid(&winner));
        }
    }
    let other = if winner["metadata"]["name"] == "a.b" {
        "a-b"
    } else {
        "a.b"
    };
    let other = until_refused(&room, other, "").await;
    assert_eq!(other["status"]["phase"], "Pending");
}

/// A quota lets nothing through until it is raised.
async fn goes_on_when_the_quota_is_raised(limit: &str, refused: &str, made_before: &[&str]) {
    let room = Room::new("quota").await;
    room.create(quota(json!({limit: "0"}))).await;
    room.until("ResourceQuota", "quota", |q| {
        q["status"]["hard"].is_object()
    })
    .await;
    let _operator = room.operator();
    room.create(endless("load")).await;
    let test = until_refused(&room, "load", refused).await;
    let message = condition(&test, "Ready")["message"].as_str().unwrap();
    assert!(message.contains("exceeded quota: quota"), "{message}");
    assert_eq!(made(&room, made_before).await, [""; 0]);

    // Each attempt waits at least twice as long as the one before: counted where the API server logs them.
    let attempts = until("the fourth attempt", async || {
        let requests = room.requests().into_iter();
        let refusals = requests.filter(|r| r["responseStatus"]["code"] == 403);
        let times: Vec<jiff::Timestamp> = refusals
            .map(|r| {
                r["requestReceivedTimestamp"]
                    .as_str()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        (times.len() >= 4).then_some(times)
    })
    .await;
    for (n, pair) in attempts.windows(2).enumerate() {
        let waited = pair[1].duration_since(pair[0]);
        assert!(
            waited.as_secs_f64() > f64::from(1 << n) * 0.95,
            "{n}: {waited:?}"
        );
    }
    let statuses = room.writes();
    let statuses = statuses.iter().filter(|w| w.ends_with("/status")).count();
    assert!(statuses <= 2, "{statuses} status writes for one refusal");

    room.patch(
        "ResourceQuota",
        "quota",
        json!({"spec": {"hard": {limit: "9"}}}),
    )
    .await;
    let running = room.until_phase("load", "Running").await;
    assert_eq!(condition(&running, "Ready")["status"], "True");
}

#[tokio::test]
async fn a_refused_service_is_said_and_tried_again_ever_more_slowly() {
    goes_on_when_the_quota_is_raised("count/services", "Service load-master", &[]).await;
}

#[tokio::test]
async fn a_refused_job_is_said_and_tried_again_ever_more_slowly() {
    let before = ["Service load-master"];
    goes_on_when_the_quota_is_raised("count/jobs.batch", "Job load-master", &before).await;
}

#[tokio::test]
async fn a_refused_revision_is_said() {
    let limit = "count/controllerrevisions.apps";
    goes_on_when_the_quota_is_raised(limit, "ControllerRevision load-", &[]).await;
}

#[tokio::test]
async fn a_name_that_the_api_server_refuses_is_said_in_its_words() {
    let room = Room::new("name").await;
    let mut files = Layer::built_in().files;
    let template = files.get_mut("templates/service.yaml").unwrap();
    *template = template.replace(
        "\n  name: {{ master }}\n",
        "\n  name: {{ \"a_\" ~ master }}\n",
    );
    let (bundle, _) = Bundle::load(&[files.clone().into()], &BTreeMap::new()).unwrap();
    let _operator = room.operator_of(bundle).await;
    room.create(endless("load")).await;
    until_refused(&room, "load", "Service a_load-master: ").await;
    let refused = until_refused(
        &room,
        "load",
        "must consist of lower case alphanumeric characters",
    )
    .await;
    assert_eq!(refused["status"]["phase"], "Pending");
}
