//! What fails for one test is said in that test, with file and line, and is no matter for the others.

use crate::support::{Room, bundle_with, condition, test, until};
use lotest::bundle::Files;
use serde_json::{Value, json};

/// Inserts `text` after the first line of `file` that begins with `after`; the number of its first line.
fn insert(files: &mut Files, file: &str, after: &str, text: &str) -> usize {
    let source = files.get_mut(file).unwrap();
    let mut lines: Vec<&str> = source.lines().collect();
    let at = lines.iter().position(|l| l.starts_with(after)).unwrap() + 1;
    lines.splice(at..at, text.lines());
    *source = lines.join("\n");
    at + 1
}

fn labelled(name: &str, label: &str, value: &str) -> Value {
    let mut test = test(name);
    test["metadata"]["labels"] = json!({label: value});
    test
}

pub async fn until_not_ready(room: &Room, name: &str) -> Value {
    let refused = |t: &Value| condition(t, "Ready")["reason"] == "ResourcesFailed";
    let test = room.until("LocustTest", name, refused).await;
    assert_eq!(condition(&test, "Ready")["status"], "False");
    test
}

pub fn message(test: &Value) -> &str {
    condition(test, "Ready")["message"].as_str().unwrap()
}

pub async fn merge(room: &Room, name: &str, patch: Value) {
    let patch = kube::api::Patch::Merge(patch);
    let api = room.api("LocustTest");
    api.patch(name, &Default::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn a_template_that_fails_for_one_test() {
    let room = Room::new("template").await;
    let mut line = 0;
    let bundle = bundle_with(|files| {
        let text = "  {% if test.metadata.labels and test.metadata.labels.fails %}\n  annotations: {{ test.spec.nowhere.to }}\n  {% endif %}\n";
        line = insert(files, "templates/service.yaml", "metadata:", text) + 1;
    });
    let _operator = room.operator_of(bundle).await;
    room.create(labelled("bad", "fails", "yes")).await;
    let bad = until_not_ready(&room, "bad").await;
    assert!(
        message(&bad).starts_with(&format!("templates/service.yaml:{line}:")),
        "{}",
        message(&bad)
    );
    assert!(message(&bad).contains("undefined"), "{}", message(&bad));
    assert_eq!(bad["status"]["phase"], "Pending");
    assert_eq!(condition(&bad, "TestCompleted")["status"], "False");

    // A test that came before goes on, and one that comes after.
    room.create_test("good").await;
    room.until_phase("good", "Succeeded").await;
    for kind in ["Job", "Service"] {
        let children = room.list(kind).await;
        assert!(
            children
                .iter()
                .all(|c| c["metadata"]["ownerReferences"][0]["name"] == "good")
        );
    }

    // A label is no part of the spec, and still what the template fails on.
    merge(
        &room,
        "bad",
        json!({"metadata": {"labels": {"fails": null}}}),
    )
    .await;
    let mended = room.until_phase("bad", "Succeeded").await;
    assert_eq!(condition(&mended, "Ready")["reason"], "ResourcesCreated");
}

#[tokio::test]
async fn an_edited_spec_mends_a_test_that_a_template_fails_for() {
    let room = Room::new("mended").await;
    let bundle = bundle_with(|files| {
        let text = "  annotations: {{ {\"users\": [\"10\", \"20\"][test.spec.worker.replicas - 1] ~ \"\"} }}\n";
        insert(files, "templates/worker-job.yaml", "metadata:", text);
    });
    let _operator = room.operator_of(bundle).await;
    let mut many = test("load");
    many["spec"]["worker"]["replicas"] = 3.into();
    room.create(many).await;
    let bad = until_not_ready(&room, "load").await;
    assert!(
        message(&bad).starts_with("templates/worker-job.yaml:"),
        "{}",
        message(&bad)
    );
    merge(&room, "load", json!({"spec": {"worker": {"replicas": 2}}})).await;
    let ended = room.until_phase("load", "Succeeded").await;
    assert_eq!(condition(&ended, "SpecDrifted"), &Value::Null);
    let job = room.get("Job", "load-worker").await.unwrap();
    assert_eq!(job["metadata"]["annotations"]["users"], "20");
}

#[tokio::test]
async fn a_rule_that_fails_for_one_test() {
    let room = Room::new("rule").await;
    let mut line = 0;
    let bundle = bundle_with(|files| {
        let rule = "- id: too-large\n  from: [Pending, Running]\n  to: Failed\n  when: {path: $.test.metadata.labels.size, gt: {path: $.test.spec.worker.replicas}}\n";
        line = insert(files, "rules/phase.yaml", "transitions:", rule);
    });
    let _operator = room.operator_of(bundle).await;
    room.create(labelled("bad", "size", "large")).await;
    room.create_test("good").await;
    let bad = until_not_ready(&room, "bad").await;
    assert_eq!(
        message(&bad),
        format!(
            "rules/phase.yaml:{line}: rule `too-large`: `$.test.metadata.labels.size` is a string, which has no order against a number"
        )
    );
    let good = room.until_phase("good", "Succeeded").await;
    assert_eq!(condition(&good, "Ready")["status"], "True");
    // The rules that do not fail go on for the test, too.
    let bad = room.until_phase("bad", "Succeeded").await;
    assert_eq!(condition(&bad, "Ready")["reason"], "ResourcesFailed");
}

/// A signal that fails on the pods of one test.
#[tokio::test]
async fn a_signal_that_fails_for_one_test() {
    let room = Room::new("signal").await;
    let bundle = bundle_with(|files| {
        let rule = "- id: hot\n  on: {each: pod}\n  when: {path: $.metadata.annotations.heat, gt: {path: $.spec.terminationGracePeriodSeconds}}\n  reason: TooHot\n  severity: fatal\n  priority: 1\n  message: too hot\n";
        let signals = files.get_mut("rules/signals.yaml").unwrap();
        signals.push('\n');
        signals.push_str(rule);
    });
    let _operator = room.operator_of(bundle).await;
    let mut bad = test("bad");
    let annotations = json!({"kwok.lotest/run-for": "3s", "heat": "high"});
    bad["spec"]["master"]["annotations"] = annotations;
    room.create(bad).await;
    room.create_test("good").await;
    let bad = until_not_ready(&room, "bad").await;
    assert!(
        message(&bad).starts_with("rules/signals.yaml:"),
        "{}",
        message(&bad)
    );
    assert!(
        message(&bad).contains(": rule `hot`: `$.metadata.annotations.heat` is a string"),
        "{}",
        message(&bad)
    );
    let good = room.until_phase("good", "Succeeded").await;
    assert_eq!(condition(&good, "Ready")["status"], "True");
    room.until_phase("bad", "Succeeded").await;
}

const NETWORK_POLICY: &str = r#"
{% if test.metadata.labels and test.metadata.labels.isolated %}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ test.metadata.name }}
spec:
  podSelector: {matchLabels: {performance-test-name: {{ test.metadata.name }}}}
{% endif %}
"#;

/// The Role in deploy/ knows nothing of this kind: neither the watch nor the child is allowed.
#[tokio::test]
async fn a_child_that_the_role_does_not_allow() {
    let room = Room::new("role").await;
    let bundle = bundle_with(|files| {
        files.insert(
            "templates/network-policy.yaml".into(),
            NETWORK_POLICY.into(),
        );
    });
    let _operator = room.operator_of(bundle).await;
    room.create(labelled("isolated", "isolated", "yes")).await;
    room.create_test("good").await;
    let good = room.until_phase("good", "Succeeded").await;
    assert_eq!(condition(&good, "Ready")["status"], "True");
    let bad = until_not_ready(&room, "isolated").await;
    assert!(
        message(&bad).starts_with("NetworkPolicy isolated: forbidden: User "),
        "{}",
        message(&bad)
    );
    assert_eq!(bad["status"]["phase"], "Pending");
    // No load without the child that should contain it.
    assert_eq!(room.get("Job", "isolated-worker").await, None);

    // With the right, it starts.
    let name = format!("--role={}", "network-policies");
    let policies = [
        "create",
        "role",
        "network-policies",
        "--resource=networkpolicies.networking.k8s.io",
        "--verb=get,list,watch,create,patch",
    ];
    let bound = [
        "create",
        "rolebinding",
        "network-policies",
        &name,
        "--serviceaccount=lotest-system:lotest",
    ];
    for command in [&policies[..], &bound[..]] {
        let output = room.kubectl(command);
        assert!(output.status.success(), "{output:?}");
    }
    room.until_phase("isolated", "Succeeded").await;
    until("the NetworkPolicy", async || {
        let output = room.kubectl(&["get", "networkpolicy", "isolated", "-o", "name"]);
        output.status.success().then_some(())
    })
    .await;
}
