//! The chart of the operator before this one has the definition among its templates: what deletes every test, and what
//! does not. docs/take-over.md says it; its commands are run here.

use crate::cluster::{Cluster, cluster, until};
use crate::helm::{at_home, file};
use serde_json::Value;
use std::process::Command;

const OLDER: &str = "tests/chart/older";
const RELEASE: &str = "locust-operator";
const NAMESPACE: &str = "locust";
const DEFINITION: &str = "customresourcedefinition/locusttests.locust.io";

/// A cluster with the older release and a test; its uid.
fn test_of_before(cluster: &Cluster) -> String {
    cluster.namespace(NAMESPACE);
    let release = ["install", RELEASE, OLDER, "--namespace", NAMESPACE];
    cluster.helm(&release).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Established", DEFINITION]);
    cluster.create_test(NAMESPACE, "stays");
    uid(cluster).unwrap()
}

fn uid(cluster: &Cluster) -> Option<String> {
    let get = ["get", "locusttest.v2.locust.io", "-n", NAMESPACE, "stays"];
    let output = cluster.try_kubectl(&[&get[..], &["-o", "json"]].concat(), "");
    let test: Value = serde_json::from_slice(&output.stdout).ok()?;
    Some(test["metadata"]["uid"].as_str()?.to_string())
}

fn uninstall(cluster: &Cluster) -> Result<String, String> {
    cluster.helm(&["uninstall", RELEASE, "--namespace", NAMESPACE])
}

/// Runs the commands below a heading of the page.
#[track_caller]
fn follow(cluster: &Cluster, heading: &str) {
    let page = file("docs/take-over.md");
    let section = page.split(&format!("## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let block = section.split("```sh\n").nth(1).unwrap();
    for line in block.split("```").next().unwrap().lines() {
        let mut command = cluster.command(at_home(Command::new("bash")));
        let output = command.args(["-ec", line]).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    }
}

fn policy(cluster: &Cluster) -> Value {
    let definition = cluster.get(&[DEFINITION]);
    definition["metadata"]["annotations"]["helm.sh/resource-policy"].clone()
}

#[test]
fn helm_deletes_by_its_record_whatever_the_object_says() {
    let cluster = cluster();
    test_of_before(&cluster);
    cluster.kubectl(&["annotate", DEFINITION, "helm.sh/resource-policy=keep"]);
    uninstall(&cluster).unwrap();
    until("the end of the tests", || {
        uid(&cluster).is_none().then_some(())
    });
}

#[test]
fn the_command_for_helm_keeps_the_tests_there_and_back() {
    let cluster = cluster();
    let before = test_of_before(&cluster);
    follow(&cluster, "With Helm");
    assert_eq!(policy(&cluster), "keep");
    follow(&cluster, "Back");
    assert_eq!(uid(&cluster), Some(before.clone()));
    assert_eq!(policy(&cluster), Value::Null, "as the page says");
    follow(&cluster, "With Helm");
    let kept = uninstall(&cluster).unwrap();
    assert!(kept.contains("locusttests.locust.io"), "{kept}");
    assert_eq!(uid(&cluster), Some(before));
}

#[test]
fn the_commands_for_kustomize_keep_the_tests() {
    let cluster = cluster();
    let before = test_of_before(&cluster);
    follow(&cluster, "With kustomize");
    let why = uninstall(&cluster).unwrap_err();
    assert!(why.contains("not found"), "{why}");
    assert_eq!(uid(&cluster), Some(before));
    assert_eq!(policy(&cluster), "keep");
    cluster.kubectl(&["delete", "-k", "deploy"]);
    let left = "clusterrole/locust-operator,clusterrolebinding/locust-operator";
    for left in left.split(',') {
        cluster.kubectl(&["delete", left]);
    }
    cluster.kubectl(&["delete", "namespace", NAMESPACE]);
}
