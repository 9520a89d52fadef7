//! What the commands say about layers: `check --layer`, `rbac`, `bundle`, `diff`. The layers are in tests/layers.

use super::check::directory;
use super::{MINIMAL, Ran, file, pipe, run, seen};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;

const TEAM: &str = "tests/layers/team";
const ODD: &str = "tests/layers/odd";
const IDLE: &str = "tests/layers/idle";
const TIMELINE: &str = "golden/timeline/image-pull/timeline.yaml";

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

#[test]
fn check_runs_the_cases_of_a_layer_and_says_what_it_needs() {
    seen("check_layer", &run(&["check", "--layer", TEAM]));
    let json = run(&["check", "--layer", TEAM, "-o", "json"]).fine();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["cases"][0]["name"],
        format!("{TEAM}/golden/render/policy")
    );
    assert_eq!(json["cases"][0]["result"], "passed");
    assert_eq!(json["rights"][0]["apiGroups"][0], "networking.k8s.io");
    assert_eq!(json["warnings"].as_array().unwrap().len(), 0);
}

#[test]
fn each_layer_is_judged_with_what_is_below_it() {
    // With the idle layer on top the grace is another, which the cases of `team` do not see.
    run(&["check", "--layer", TEAM, "--layer", IDLE, "-o", "json"]).fine();
    // `odd` on top has no port of the team any more; its own cases do not say so, those that are named do.
    let stack = ["check", "--layer", TEAM, "--layer", ODD];
    let ran = run(&stack);
    assert_eq!(ran.code, 0, "{}", ran.out);
    let golden = format!("{TEAM}/golden");
    let ran = run(&[&stack[..], &[golden.as_str()]].concat());
    assert!(ran.out.contains("\n-    port: 9999\n"), "{}", ran.out);
    assert_eq!(ran.code, 1);
}

#[test]
fn check_warns_of_what_does_nothing() {
    seen(
        "check_warnings",
        &run(&["check", "--layer", ODD, "--layer", IDLE]),
    );
}

/// What `check` warns of has to be rare: the built-in bundle has nothing of it.
#[test]
fn the_built_in_bundle_has_nothing_unused() {
    let out = run(&["check", "golden/render/minimal", "-o", "json"]).fine();
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["warnings"], &report["rights"]),
        (&Value::Array(vec![]), &Value::Array(vec![]))
    );
}

#[test]
fn rbac_is_what_deploy_gives() {
    let deployed = documents(&file("deploy/base/rbac.yaml"));
    let kinds = ["ClusterRole", "ClusterRoleBinding"];
    let deployed: Vec<Value> = deployed
        .into_iter()
        .filter(|d| kinds.contains(&d["kind"].as_str().unwrap()))
        // The rights for the webhooks are the same for all bundles.
        .filter(|d| d["metadata"]["name"] == "lotest")
        .map(|mut d| {
            d["metadata"].as_object_mut().unwrap().remove("labels");
            d
        })
        .collect();
    let printed = documents(&run(&["rbac"]).fine());
    assert_eq!(printed, deployed);
}

#[test]
fn rbac_of_a_layer_and_of_namespaces() {
    let arguments = [
        "rbac",
        "--layer",
        TEAM,
        "-n",
        "a",
        "-n",
        "b",
        "--service-account",
        "ops/load",
    ];
    let printed = documents(&run(&arguments).fine());
    let names: Vec<String> = printed
        .iter()
        .map(|d| {
            format!(
                "{} {}",
                d["kind"].as_str().unwrap(),
                d["metadata"]["namespace"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            "Role a",
            "RoleBinding a",
            "Role b",
            "RoleBinding b",
            "Role ops",
            "RoleBinding ops"
        ]
    );
    // Events about the operator's own pod; where there are tests it may send events anyway.
    let events = json!([{"apiGroups": [""], "resources": ["events"], "verbs": ["create"]}]);
    assert_eq!(printed[4]["rules"], events);
    assert_eq!(printed[5]["subjects"], printed[1]["subjects"]);
    let at_home = ["rbac", "-n", "ops", "--service-account", "ops/load"];
    assert_eq!(documents(&run(&at_home).fine()).len(), 2);
    assert_eq!(printed[1]["subjects"][0]["namespace"], "ops");
    assert_eq!(printed[1]["subjects"][0]["name"], "load");
    let resources: BTreeSet<&str> = printed[0]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["resources"][0].as_str().unwrap())
        .collect();
    assert!(resources.contains("networkpolicies"), "{resources:?}");
    let ran = run(&["rbac", "--service-account", "load"]);
    assert!(
        ran.err.contains("write a namespace, a slash and a name"),
        "{}",
        ran.err
    );
    assert_eq!(ran.code, 2);
}

#[test]
fn bundle_says_where_things_come_from() {
    seen(
        "bundle_changed",
        &run(&["bundle", "--layer", TEAM, "--changed"]),
    );
    let ran = super::lotest(&["bundle", "--changed"])
        .env("METRICS_EXPORTER_PORT", "9000")
        .output()
        .unwrap();
    seen("bundle_of_the_environment", &Ran::of(ran));
    assert_eq!(
        run(&["bundle", "--changed"]).fine(),
        "everything is built-in\n"
    );
    let all: Value = serde_json::from_str(&run(&["bundle", "-o", "json"]).fine()).unwrap();
    let kinds: BTreeSet<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["rule", "template", "value"]
    );
    assert!(
        all.as_array()
            .unwrap()
            .iter()
            .all(|p| p["layer"] == "built-in")
    );
}

#[test]
fn diff_shows_objects_and_verdicts() {
    seen("diff_objects", &run(&["diff", "--to", TEAM, MINIMAL]));
    seen(
        "diff_verdicts",
        &run(&["diff", "--to", IDLE, "--from", TEAM, TIMELINE]),
    );
    let same = ["diff", "--from", TEAM, "--to", TEAM, MINIMAL, TIMELINE];
    assert_eq!(run(&same).fine(), "");
    assert_eq!(pipe(&["diff", "--to", IDLE], &file(MINIMAL)).fine(), "");
    let ran = run(&["diff", "--to", TEAM, "-o", "json", MINIMAL]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        json[0]["differences"][0]["what"],
        "NetworkPolicy load-policy"
    );
    assert_eq!(json[0]["differences"][0]["change"], "added");
    assert_eq!(json[0]["differences"][1]["change"], "changed");
    run(&["diff", "--to", "no-such-layer", MINIMAL]).fails(
        2,
        "error: cannot be read: No such file or directory (os error 2)\n  --> no-such-layer",
    );
}

/// A credential in the environment of whoever compares is theirs.
#[test]
fn diff_hides_credentials_of_the_environment() {
    let layer = directory("diff-credentials");
    fs::write(layer.join("values.yaml"), "kafka: {username: me}\n").unwrap();
    let ran = super::lotest(&["diff", "--to", layer.to_str().unwrap(), MINIMAL])
        .env("KAFKA_PASSWORD", "hunter2")
        .output()
        .unwrap();
    let ran = Ran::of(ran);
    assert!(ran.out.contains("          value: ***\n"), "{}", ran.out);
    assert!(!format!("{}{}", ran.out, ran.err).contains("hunter2"));
    assert_eq!(ran.code, 1);
}

/// What a real kubelet did to pods that the layer makes otherwise.
#[test]
fn what_was_recorded_with_a_layer_passes_with_it() {
    let layer = [
        "check",
        "--layer",
        "tests/e2e/recordings/layer",
        "-o",
        "json",
    ];
    let json = run(&layer).fine();
    let found: Value = serde_json::from_str(&json).unwrap();
    assert!(found["cases"].as_array().unwrap().len() >= 7, "{json}");
}
