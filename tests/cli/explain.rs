//! `lotest explain`.

use super::{STATE, file, pipe, run};
use serde_json::{Value, json};

const TIMELINE: &str = "golden/timeline/image-pull/timeline.yaml";

#[test]
fn explain_says_what_decided_at_a_time() {
    let early = run(&["explain", "--at", "2026-03-01T12:01:00Z", STATE]).fine();
    assert!(
        early.starts_with("shop/checkout at 2026-03-01T12:01:00Z"),
        "{early}"
    );
    assert!(
        early.contains(
            "ImagePullError, fatal), counts from 2026-03-01T12:02:01Z: checkout-worker-x7k2p"
        ),
        "{early}"
    );
    assert!(early.contains("\nPhase: Running\n"), "{early}");
    assert!(
        early.contains("\nReady: True ResourcesCreated: "),
        "{early}"
    );
    assert!(
        early.contains("Looks again at 2026-03-01T12:02:01Z"),
        "{early}"
    );
    let late = pipe(
        &[
            "explain",
            "--test",
            "checkout",
            "--at",
            "2026-03-01T12:03:00Z",
        ],
        &file(STATE),
    )
    .fine();
    assert!(late.contains("\nPhase: Failed\n"), "{late}");
    assert!(
        late.contains("\n* pods-unhealthy (decided): → Failed"),
        "{late}"
    );
    assert!(
        late.contains("\nPodsHealthy: False ImagePullError: "),
        "{late}"
    );
    let timeline = run(&["explain", TIMELINE]).fine();
    assert!(
        timeline.starts_with("default/load at 2026-01-01T00:03:00Z"),
        "{timeline}"
    );
    assert!(timeline.contains("\nPhase: Failed\n"), "{timeline}");
}

#[test]
fn explain_prints_data() {
    let at = ["explain", "--at", "2026-03-01T12:03:00Z", STATE, "-o"];
    let json: Value = serde_json::from_str(&run(&[&at[..], &["json"]].concat()).fine()).unwrap();
    assert_eq!(json[0]["test"], "shop/checkout");
    assert_eq!(json[0]["phase"]["value"], "Failed");
    assert_eq!(json[0]["signals"][0]["reason"], "ImagePullError");
    let yaml: Value = serde_saphyr::from_str(&run(&[&at[..], &["yaml"]].concat()).fine()).unwrap();
    assert_eq!(yaml, json);
}

#[test]
fn explain_helps_when_there_is_nothing_to_explain() {
    let help = "  = help: print the tests with what belongs to them: kubectl get locusttests,jobs,services,pods,controllerrevisions,events -o yaml";
    pipe(&["explain"], "apiVersion: v1\nkind: List\nitems: []\n").fails(
        2,
        &format!("error: there is no LocustTest in it\n  --> standard input\n{help}"),
    );
    run(&["explain", "--test", "other", STATE]).fails(
        2,
        &format!("error: there is no LocustTest `other` in it\n  --> {STATE}\n{help}"),
    );
    let ran = run(&["explain", "--at", "yesterday", STATE]);
    assert!(ran.err.contains("--at <TIME>"), "{}", ran.err);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
}

/// Who may write a status may not speak to the terminal of whoever reads it.
#[test]
fn explain_prints_nothing_that_a_terminal_obeys() {
    let evil = "red \x1b[31m bell \x07 csi \u{9b}31m turned \u{202e}\nPhase: Succeeded";
    let kept = serde_json::json!({
        "apiVersion": "locust.io/v2",
        "kind": "LocustTest",
        "metadata": {"name": evil, "namespace": "n", "uid": "u"},
        "spec": {"image": "i", "master": {"command": "c"}, "worker": {"command": "c", "replicas": 1}},
        "status": {"phase": "Failed", "conditions": [
            {"type": "Ready", "status": "False", "reason": evil, "message": evil},
        ]},
    });
    let kept = serde_saphyr::to_string(&kept).unwrap();
    for format in ["text", "json", "yaml"] {
        let said = pipe(&["explain", "-o", format], &kept).fine();
        let obeyed = |c: char| c != '\n' && c.is_control();
        assert!(!said.contains(obeyed), "{format}: {said:?}");
        if format == "text" {
            assert!(said.contains("\\u{1b}[31m bell"), "{said}");
            assert_eq!(said.matches("\nPhase:").count(), 1, "{said}");
        }
        if format != "yaml" {
            assert!(!said.contains('\u{202e}'), "{format}: {said:?}");
        }
    }
}

/// What the operator would look up in events is answered from those in the state: the latest about that very pod.
#[test]
fn explain_reads_events_of_the_state() {
    let pod = "checkout-worker-x7k2p";
    let mut state: Value = serde_saphyr::from_str(&file(STATE)).unwrap();
    let items = state["items"].as_array_mut().unwrap();
    let waiting = items
        .iter_mut()
        .find(|o| o["metadata"]["name"] == *pod)
        .unwrap();
    let uid = waiting["metadata"]["uid"].clone();
    waiting["status"] = json!({
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-01T12:00:01Z"},
            {"type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": "2026-03-01T12:00:01Z"},
        ],
    });
    for (at, uid, message) in [
        ("12:00:30", &uid, "the latest\u{1b}"),
        ("12:00:20", &uid, "an older one"),
        ("12:00:40", &json!("another"), "of another pod"),
    ] {
        items.push(json!({
            "apiVersion": "v1", "kind": "Event", "reason": "FailedMount", "message": message,
            "metadata": {"name": at, "namespace": "shop"},
            "lastTimestamp": format!("2026-03-01T{at}Z"),
            "involvedObject": {"kind": "Pod", "name": pod, "uid": uid},
        }));
    }
    let explain = ["explain", "--at", "2026-03-01T12:03:00Z"];
    let said = pipe(&explain, &state.to_string()).fine();
    assert!(said.contains(": the latest\\u{1b}"), "{said}");
    assert!(
        !said.contains("an older one") && !said.contains("of another pod"),
        "{said}"
    );
}

/// The pods of a test that has ended are gone; what decided is known from what was said.
#[test]
fn explain_names_the_rules_that_what_stays_came_of() {
    let mut state: Value = serde_saphyr::from_str(&file(STATE)).unwrap();
    let items = state["items"].as_array_mut().unwrap();
    items.retain(|o| o["kind"] == "LocustTest");
    let because = "Test failed: its workers failed while the master was running: Job a-worker: limit. a-worker-x: ended";
    let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-03-01T12:00:01Z"});
    items[0]["status"] = json!({
        "phase": "Failed",
        "conditions": [
            condition("TestCompleted", "True", "TestFailed", because),
            condition("PodsHealthy", "False", "ImagePullError", "ImagePullError: 1 pod(s) affected [a]: b"),
        ],
    });
    let explain = ["explain", "--at", "2026-03-01T12:03:00Z"];
    let said = pipe(&explain, &state.to_string()).fine();
    let decided: Vec<&str> = said
        .lines()
        .filter(|l| l.contains("It was decided by"))
        .collect();
    assert_eq!(decided.len(), 2, "{said}");
    assert!(
        decided[0].contains("by pods-unhealthy-now [rules/conditions.yaml:"),
        "{said}"
    );
    assert!(
        decided[1].contains("by completed-workers-failed [rules/conditions.yaml:"),
        "{said}"
    );
}

#[test]
fn explain_shows_a_timeline_over_time() {
    super::seen(
        "explain_over_time",
        &run(&["explain", "--over-time", TIMELINE]),
    );
    let team = ["--layer", "tests/layers/team", "-o", "json"];
    let json = run(&[&["explain", "--over-time", TIMELINE][..], &team].concat()).fine();
    let moments: Value = serde_json::from_str(&json).unwrap();
    // Five minutes of grace: the timeline ends before.
    let moments = moments.as_array().unwrap();
    assert!(moments.iter().all(|m| m["phase"] != "Failed"), "{json}");
    assert_eq!(moments[1]["rules"]["phase"], "running");
    run(&["explain", "--over-time", STATE]).fails(
        2,
        &format!("error: a state is of one time\n  --> {STATE}\n  = help: --over-time is for timelines; `lotest record` makes one of a running test"),
    );
}

#[test]
fn recorded_events_answer_what_rules_ask() {
    let at = "2026-03-01T12:03:00Z";
    let state = file(STATE);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&state).unwrap();
    let pods = lotest::engine::state::flattened(documents);
    let pod = pods.iter().find(|o| o["kind"] == "Pod").unwrap();
    let mut stuck = pod.clone();
    stuck["status"] = serde_json::json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-01T12:00:01Z"},
        {"type": "PodReadyToStartContainers", "status": "False"},
    ]});
    let event = serde_json::json!({"apiVersion": "v1", "kind": "Event", "reason": "FailedMount",
        "message": "configmap \"scripts\" not found", "lastTimestamp": at,
        "involvedObject": {"uid": pod["metadata"]["uid"]}});
    let others: Vec<&Value> = pods.iter().filter(|o| *o != pod).collect();
    let mut all: Vec<&Value> = others;
    all.extend([&stuck, &event]);
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": all});
    let out = pipe(
        &["explain", "--at", "2026-03-01T13:03:00Z"],
        &list.to_string(),
    )
    .fine();
    assert!(out.contains("configmap \"scripts\" not found"), "{out}");
}

#[test]
fn a_name_is_looked_for_in_a_cluster() {
    let broken = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-kubeconfig");
    let broken = broken.to_str().unwrap();
    for arguments in [
        &["explain", "checkout", "--kubeconfig", broken][..],
        &["explain", STATE, "-n", "shop", "--kubeconfig", broken],
        &["explain", "locusttest/checkout", "--kubeconfig", broken],
    ] {
        let ran = run(arguments);
        assert!(
            ran.err.starts_with("error: cannot reach a cluster: "),
            "{}",
            ran.err
        );
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    }
    run(&["explain", "-n", "shop"]).fails(2, "error: name the test; see --help");
    assert!(
        run(&["explain", "-f", STATE])
            .fine()
            .contains("shop/checkout")
    );
}

#[test]
fn a_timeline_has_one_test_and_its_own_times() {
    let timeline = "golden/timeline/image-pull/timeline.yaml";
    for option in [["--at", "2026-01-01T00:00:00Z"], ["--test", "load"]] {
        run(&["explain", timeline, option[0], option[1]]).fails(
            2,
            &format!(
                "error: {} is not for timelines\n  --> {timeline}\n  = help: a timeline is of one test, and its last step is explained; --over-time prints all of it",
                option[0]
            ),
        );
    }
}

#[test]
fn times_and_durations_are_asked_for_in_words() {
    for (arguments, expected) in [
        (
            ["explain", "x.yaml", "--at", "yesterday"],
            "not a time: write it as `2026-01-01T12:30:00Z`",
        ),
        (
            ["record", "x", "y", "--for=10"],
            "not a duration: write days, hours, minutes and seconds, such as `90s`",
        ),
    ] {
        let ran = run(&arguments);
        assert!(ran.err.contains(expected), "{}", ran.err);
        assert_eq!(ran.code, 2);
    }
}
