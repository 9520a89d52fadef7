//! The commands that read a cluster: `explain` and `record`.

use crate::support::{Room, condition, endless, longer, test, until};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// An empty directory for one test.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("commands")
        .join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// A layer under which trouble counts soon.
fn impatient(name: &str) -> PathBuf {
    let layer = directory(name);
    fs::write(layer.join("values.yaml"), "grace: {pods: 5s}\n").unwrap();
    layer
}

fn fine(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    String::from_utf8(output.stdout).unwrap()
}

/// Begins to record a test that does not exist yet.
fn recording(room: &Room, arguments: &[&str]) -> Child {
    let mut command = room.lotest(arguments);
    let mut child = command
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    // Whatever else it says is of interest only when it fails.
    let mut err = BufReader::new(child.stderr.take().unwrap());
    err.read_line(&mut first).unwrap();
    assert!(first.starts_with("recording LocustTest"), "{first}");
    child.stderr = Some(err.into_inner());
    child
}

async fn recorded(child: Child) -> String {
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await;
    let output = output.unwrap().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    // A verdict that differs is a warning.
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// What a test ended with, as verdicts.yaml says it: phase and conditions.
fn ending(status: &Value) -> Value {
    let mut ending = json!({"phase": status["phase"]});
    for condition in status["conditions"].as_array().unwrap() {
        let field = |key: &str| condition[key].as_str().unwrap();
        let line = format!(
            "{} {}: {}",
            field("status"),
            field("reason"),
            field("message")
        );
        ending[field("type")] = line.into();
    }
    ending
}

/// The same of a case: what verdicts.yaml says last of each.
fn replayed(case: &Path, keys: &Value) -> Value {
    let text = fs::read_to_string(case.join("verdicts.yaml")).unwrap();
    let entries: Vec<Value> = serde_saphyr::from_str(&text).unwrap();
    let mut last = json!({});
    for key in keys.as_object().unwrap().keys() {
        let said = entries.iter().filter_map(|e| e.get(key)).next_back();
        last[key] = said.cloned().unwrap_or_default();
    }
    last
}

#[tokio::test]
async fn a_recording_replays_to_what_the_cluster_concluded() {
    let room = Room::new("record").await;
    let layer = impatient("record-layer");
    let layer = layer.to_str().unwrap();
    let mut operator = room.lotest(&["operator", "--layer", layer]);
    operator.args([
        "--health-probe-bind-address",
        "0",
        "--metrics-bind-address",
        "0",
    ]);
    let _operator = crate::operators::Operator(operator.spawn().unwrap());
    let cases = directory("record");
    let mut passing = longer(test("passes"));
    passing["spec"]["worker"]["replicas"] = 3.into();
    let mut failing = endless("fails");
    failing["spec"]["worker"]["annotations"] = json!({"kwok.lotest/behaviour": "config-error"});
    // Of two that were made in different seconds a slow operator may count both where the recording counts one.
    failing["spec"]["worker"]["replicas"] = 1.into();
    for (object, phase) in [(passing, "Succeeded"), (failing, "Failed")] {
        let name = object["metadata"]["name"].as_str().unwrap().to_string();
        let case = cases.join(&name);
        let path = case.to_str().unwrap();
        let child = recording(
            &room,
            &["record", &name, path, "--until-done", "--layer", layer],
        );
        room.create(object).await;
        room.until_phase(&name, phase).await;
        let out = recorded(child).await;
        assert!(
            out.contains("verdicts.yaml are written; review them"),
            "{out}"
        );
        let ended = room.get("LocustTest", &name).await.unwrap();
        let ended = ending(&ended["status"]);
        assert_eq!(replayed(&case, &ended), ended, "{name}");
        let timeline = fs::read_to_string(case.join("timeline.yaml")).unwrap();
        for noise in [
            "managedFields",
            "uid",
            "podIP",
            "containerID",
            "resourceVersion",
        ] {
            assert!(!timeline.contains(noise), "{noise} in {timeline}");
        }
        // It is a golden case like any other, and none is written over.
        fine(&mut room.lotest_alone(&["check", path, "--layer", layer]));
        let again = room
            .lotest(&["record", &name, path, "--layer", layer])
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&again.stderr).contains("there is a case already"));
        assert_eq!(again.status.code(), Some(2));
    }
}

#[tokio::test]
async fn a_test_in_the_cluster_is_explained_and_recorded_as_it_is() {
    let room = Room::new("explain").await;
    let _operator = room.operator();
    let mut object = endless("stuck");
    object["spec"]["worker"]["annotations"] = json!({"kwok.lotest/behaviour": "pending-create"});
    // Of several workers the one that was placed first is the one whose events are asked for.
    object["spec"]["worker"]["replicas"] = 1.into();
    let test = room.create(object).await;
    let pods = async || {
        let pods = room.list("Pod").await;
        let worker = |p: &&Value| {
            p["metadata"]["name"]
                .as_str()
                .unwrap()
                .starts_with("stuck-worker")
        };
        pods.iter().find(worker).cloned()
    };
    let pod = until("a worker pod", pods).await;
    let (name, uid) = (&pod["metadata"]["name"], &pod["metadata"]["uid"]);
    // What a kubelet says of such a pod.
    let core =
        kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("", "v1", "Event"));
    let events: kube::Api<kube::api::DynamicObject> =
        kube::Api::namespaced_with(room.client.clone(), &room.namespace, &core);
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": "mount"}, "type": "Warning", "reason": "FailedMount",
        "message": "MountVolume.SetUp failed for volume \"scripts\" : configmap \"scripts\" not found",
        "lastTimestamp": pod["metadata"]["creationTimestamp"],
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": room.namespace, "name": name, "uid": uid},
    });
    let event = serde_json::from_value(event).unwrap();
    events.create(&Default::default(), &event).await.unwrap();
    room.until("LocustTest", "stuck", |t| !t["status"]["phase"].is_null())
        .await;

    // In ten minutes it will have lasted.
    let created: jiff::Timestamp = test["metadata"]["creationTimestamp"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let later = (created + jiff::SignedDuration::from_mins(15)).to_string();
    for name in ["stuck", "locusttest/stuck"] {
        let text = fine(&mut room.lotest(&["explain", name, "--at", &later]));
        assert!(
            text.starts_with(&format!("{}/stuck at {later} (bundle ", room.namespace)),
            "{text}"
        );
        assert!(text.contains("configmap \"scripts\" not found"), "{text}");
        assert!(text.contains("stuck-worker-"), "{text}");
    }
    let json = fine(&mut room.lotest(&["explain", "stuck", "-o", "json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    let now = room.get("LocustTest", "stuck").await.unwrap();
    assert_eq!(json[0]["phase"]["value"], now["status"]["phase"]);
    assert_eq!(condition(&now, "Ready")["status"], "True");
    // Nothing is taken for missing: the ControllerRevision was read.
    let ready = json[0]["conditions"]["Ready"]["value"].as_str().unwrap();
    assert!(ready.starts_with("True ResourcesCreated"), "{ready}");

    let none = room.lotest(&["explain", "nobody"]).output().unwrap();
    let expected = format!(
        "error: there is no LocustTest `nobody` in the namespace `{}`\n",
        room.namespace
    );
    assert_eq!(String::from_utf8(none.stderr).unwrap(), expected);
    assert_eq!(none.status.code(), Some(2));

    let case = directory("as-it-is").join("case");
    fine(&mut room.lotest(&["record", "stuck", case.to_str().unwrap()]));
    let written: Value =
        serde_saphyr::from_str(&fs::read_to_string(case.join("test.yaml")).unwrap()).unwrap();
    assert_eq!(written["spec"], test["spec"]);
    assert_eq!(written["metadata"], json!({"name": "stuck"}));
    assert!(
        fs::read_to_string(case.join("children.yaml"))
            .unwrap()
            .contains("kind: Job")
    );
}
