//! Each edit of tests/edits on a running operator: the files of its layer change as the kubelet changes them, and a new
//! test is made and judged by it. What an edit changes, and that nothing does so without it, tests/pure/edits.rs says.

use crate::mount::{Directory, Live};
use crate::support::{Room, condition, endless, test, until};
use lotest::bundle::Files;
use lotest::layer_files;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// From the change of the files to the first test that is made by them.
const LIVE: Duration = Duration::from_secs(5);

const MANIFEST: &str = env!("CARGO_MANIFEST_DIR");

fn files(edit: &str) -> Files {
    let directory = Path::new(MANIFEST).join("tests/edits").join(edit);
    layer_files::read(&directory).unwrap().files
}

fn effects() -> BTreeMap<String, Value> {
    let text = std::fs::read_to_string(format!("{MANIFEST}/tests/edits/effects.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// An operator with a layer that is edited, and one above it that has less patience.
struct Bench {
    room: Room,
    edited: Directory,
    live: Live,
    _patience: Directory,
}

impl Bench {
    async fn new(name: &str, patience: &str) -> Bench {
        let room = Room::new(name).await;
        let (edited, above) = (Directory::new(), Directory::new());
        edited.mount(&[("values.yaml", "{}\n")]);
        above.mount(&[("values.yaml", patience)]);
        let live = Live::new(&room, &[&edited, &above]).await;
        Bench {
            room,
            edited,
            live,
            _patience: above,
        }
    }

    /// Puts an edit in the place of the one before, and waits until it is what new tests are made by.
    async fn edit(&self, edit: &str) {
        let before = self.live.digest();
        let files = files(edit);
        let files: Vec<(&str, &str)> = files.iter().map(|(f, t)| (&**f, &**t)).collect();
        let since = Instant::now();
        self.edited.mount(&files);
        self.live.until_other(&before).await;
        assert!(since.elapsed() <= LIVE, "{edit}: {:?}", since.elapsed());
    }

    /// What the Role for an edit that adds a kind is made of.
    fn allow(&self, edit: &str) {
        let roles = Command::new(env!("CARGO_BIN_EXE_lotest"))
            .args(["rbac", "--name", edit, "--namespace", &self.room.namespace])
            .args(["--layer", &format!("{MANIFEST}/tests/edits/{edit}")])
            .output()
            .unwrap();
        assert!(roles.status.success(), "{roles:?}");
        self.apply(&roles.stdout);
    }

    fn apply(&self, manifests: &[u8]) {
        let mut kubectl = Command::new("kubectl")
            .args(["apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = kubectl.stdin.take().unwrap();
        input.write_all(manifests).unwrap();
        drop(input);
        assert!(kubectl.wait().unwrap().success());
    }

    /// Whether a child of a test is as `effect` says, once the child is there.
    async fn shows(&self, test: &str, effect: &Value) -> bool {
        let (resource, name) = match effect["of"].as_str().unwrap() {
            "master-job" => ("job", format!("{test}-master")),
            "worker-job" => ("job", format!("{test}-worker")),
            "ingress" => ("ingress", format!("{test}-web")),
            "pod-monitor" => ("podmonitor", format!("{test}-master")),
            other => panic!("no child {other}"),
        };
        let child: Value = until(&format!("{resource} {name}"), async || {
            let output = self.room.kubectl(&["get", resource, &name, "-o", "json"]);
            serde_json::from_slice(&output.stdout).ok()
        })
        .await;
        let found = child.pointer(effect["at"].as_str().unwrap());
        let found = found.unwrap_or(&Value::Null);
        *found == effect["is"] || found.as_array().is_some_and(|l| l.contains(&effect["is"]))
    }
}

fn of_a_team(name: &str) -> Value {
    let mut test = endless(name);
    test["metadata"]["labels"] = json!({"team": "checkout"});
    test
}

/// No node has room for it.
fn without_room(name: &str) -> Value {
    let mut test = endless(name);
    test["spec"]["scheduling"] = json!({"nodeSelector": {"there-is": "no-such-node"}});
    test
}

/// The kind that one of the edits makes.
const POD_MONITORS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: podmonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: PodMonitor, plural: podmonitors, singular: podmonitor}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[tokio::test]
async fn an_edit_of_children_is_live_for_a_new_test() {
    let bench = Bench::new("edits", "{}\n").await;
    bench.apply(POD_MONITORS.as_bytes());
    let established = [
        "wait",
        "--for=condition=Established",
        "crd/podmonitors.monitoring.coreos.com",
    ];
    assert!(bench.room.kubectl(&established).status.success());
    let effects = effects().into_iter();
    let children: Vec<(String, Value)> = effects
        .filter_map(|(edit, effect)| Some((edit, effect.get("child")?.clone())))
        .collect();
    assert!(children.len() >= 14, "{} edits", children.len());
    bench.room.create(of_a_team("before")).await;
    for (edit, effect) in &children {
        let adds_a_kind = ["ingress", "pod-monitor"].contains(&edit.as_str());
        match adds_a_kind {
            true => bench.allow(edit),
            false => assert!(!bench.shows("before", effect).await, "{edit}"),
        }
        bench.edit(edit).await;
        bench.room.create(of_a_team(edit)).await;
        assert!(bench.shows(edit, effect).await, "{edit}");
    }
}

#[tokio::test]
async fn an_edit_of_rules_decides_on_a_new_test() {
    let bench = Bench::new("verdicts", "grace: {pods: 2s, room: 4s}\n").await;
    let room = &bench.room;

    bench.edit("reason").await;
    room.create(without_room("reason")).await;
    let failed = room.until_phase("reason", "Failed").await;
    assert_eq!(condition(&failed, "PodsHealthy")["reason"], "NoRoom");

    bench.edit("condition").await;
    room.create(without_room("condition")).await;
    room.until("LocustTest", "condition", |t| {
        condition(t, "Stalled")["reason"] == "PodsPending"
    })
    .await;

    bench.edit("unschedulable").await;
    room.create(without_room("unschedulable")).await;
    room.until("LocustTest", "unschedulable", |t| {
        condition(t, "PodsHealthy")["reason"] == "SchedulingError"
    })
    .await;
    // That nothing comes cannot be awaited: without the edit it comes two seconds later.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let pending = room.get("LocustTest", "unschedulable").await.unwrap();
    assert_eq!(pending["status"]["completionTime"], Value::Null);

    bench.edit("event").await;
    room.create(test("event")).await;
    room.until_phase("event", "Succeeded").await;
    let events = until("the last event", async || {
        let events = room.events("event").await;
        let last = events.iter().any(|e| e.starts_with("Normal TestCompleted"));
        last.then_some(events)
    })
    .await;
    assert!(events.iter().all(|e| !e.contains("Created")), "{events:?}");

    bench.edit("retention").await;
    room.create(test("retention")).await;
    room.until_phase("retention", "Succeeded").await;
    room.until_gone("Job", "retention-master").await;
    room.until_gone("Service", "retention-master").await;
}

/// Without the edit it would take two minutes, which is longer than anything is waited for here.
#[tokio::test]
async fn an_edit_of_one_grace_period_decides_on_a_new_test() {
    let bench = Bench::new("grace", "{}\n").await;
    bench.edit("grace").await;
    let mut broken = endless("grace");
    broken["spec"]["worker"]["annotations"] = json!({"kwok.lotest/behaviour": "config-error"});
    bench.room.create(broken).await;
    let failed = bench.room.until_phase("grace", "Failed").await;
    assert_eq!(
        condition(&failed, "PodsHealthy")["reason"],
        "ConfigurationError"
    );
}
