//! What the operator may do: as much as it needs and no more, where it looks after tests and nowhere else.

use crate::helm::{NAMESPACE, Rendered};
use serde_json::{Value, json};
use std::process::Command;

/// The roles and bindings that `lotest rbac` prints for some namespaces.
fn needed(namespaces: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lotest"));
    command
        .args(["rbac", "--name", "locust-operator", "-o", "json"])
        .arg(format!("--service-account={NAMESPACE}/locust-operator"));
    for namespace in namespaces {
        command.args(["--namespace", namespace]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    printed["items"].as_array().unwrap().clone()
}

/// Those that the chart makes for the same, without labels.
fn granted(rendered: &Rendered) -> Vec<Value> {
    let is_one = |o: &&Value| {
        let kind = o["kind"].as_str().unwrap();
        (kind.contains("Role")) && o["metadata"]["name"] == "locust-operator"
    };
    let all = rendered.0.iter().filter(is_one).cloned();
    let bare = all.map(|mut object| {
        object["metadata"].as_object_mut().unwrap().remove("labels");
        object
    });
    bare.collect()
}

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    let key = |o: &Value| {
        (
            o["kind"].to_string(),
            o["metadata"]["namespace"].to_string(),
        )
    };
    objects.sort_by_key(key);
    objects
}

#[test]
fn each_scope_has_the_rights_that_tests_need_and_no_others() {
    for (values, namespaces) in [
        ("{}", &[][..]),
        ("k8s: {clusterRole: {enabled: false}}", &[NAMESPACE]),
        ("watchNamespaces: [team-a, team-b]", &["team-a", "team-b"]),
        // The list says it, whatever stands above it.
        (
            "{watchNamespaces: [team-a], k8s: {clusterRole: {enabled: false}}}",
            &["team-a"],
        ),
    ] {
        let rendered = Rendered::of(values);
        assert_eq!(
            sorted(granted(&rendered)),
            sorted(needed(namespaces)),
            "{values}"
        );
        let watched = rendered.args().into_iter();
        let watched: Vec<&str> = watched
            .filter_map(|a| a.strip_prefix("--namespace="))
            .collect();
        assert_eq!(watched, namespaces, "{values}");
    }
}

#[test]
fn of_the_whole_cluster_only_objects_with_names_may_be_touched() {
    for values in [
        "watchNamespaces: [team-a]",
        "k8s: {clusterRole: {enabled: false}}",
    ] {
        let values = format!("{{{values}, webhook: {{enabled: true}}}}");
        let rendered = Rendered::of(&values);
        let roles: Vec<&Value> = rendered.kind("ClusterRole").collect();
        assert_eq!(roles.len(), 1, "{values}");
        for rule in roles[0]["rules"].as_array().unwrap() {
            let names = rule["resourceNames"].as_array().unwrap();
            assert!(!names.is_empty(), "{rule}");
        }
    }
}

#[test]
fn secrets_and_leases_are_those_with_the_operators_names() {
    let rendered = Rendered::of_file("everything");
    let leader = rendered.get("Role", "locust-operator-leader");
    let webhook = rendered.get("Role", "locust-operator-webhook");
    for role in [leader, webhook] {
        for rule in role["rules"].as_array().unwrap() {
            let is_named = rule["resourceNames"].is_array();
            assert!(is_named || rule["verbs"] == json!(["create"]), "{rule}");
        }
    }
    // No rule elsewhere is about them.
    for role in rendered.kind("ClusterRole") {
        for rule in role["rules"].as_array().unwrap() {
            let resources = rule["resources"].to_string();
            assert!(
                !resources.contains("secrets") && !resources.contains("configmaps"),
                "{rule}"
            );
        }
    }
}

#[test]
fn a_release_without_the_definition_has_nothing_of_the_whole_cluster() {
    let rendered = Rendered::of_file("namespaced");
    for object in &rendered.0 {
        assert_eq!(object["metadata"]["namespace"], NAMESPACE, "{object}");
    }
    assert!(rendered.args().contains(&"--webhook-bind-address=0"));
}

/// Labels that objects select pods by.
fn selectors(rendered: &Rendered) -> Vec<(&Value, &Value)> {
    let of = |kind: &'static str, path: &'static str| {
        let found = rendered.kind(kind);
        found.map(move |o| (o, o.pointer(path).unwrap()))
    };
    of("Service", "/spec/selector")
        .chain(of("PodDisruptionBudget", "/spec/selector/matchLabels"))
        .chain(of("PodMonitor", "/spec/selector/matchLabels"))
        .collect()
}

#[test]
fn pods_of_the_operator_and_of_the_collector_are_told_apart() {
    let rendered = Rendered::of_file("everything");
    let labels =
        |name: &str| &rendered.get("Deployment", name)["spec"]["template"]["metadata"]["labels"];
    let operator = labels("locust-operator");
    let collector = labels("locust-operator-otel-collector");
    let mut seen = 0;
    for (object, selector) in selectors(&rendered) {
        let selects = |labels: &Value| {
            let mut wanted = selector.as_object().unwrap().iter();
            wanted.all(|(key, value)| labels[key] == *value)
        };
        let name = object["metadata"]["name"].as_str().unwrap();
        let of_collector = name.ends_with("-otel-collector");
        let of_tests = name == "locust-operator-tests";
        assert_eq!(selects(collector), of_collector, "{name}");
        assert_eq!(selects(operator), !of_collector && !of_tests, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 7);
}

/// They cannot be changed: an upgrade of what was installed before would fail.
#[test]
fn selectors_of_deployments_are_those_of_the_older_chart() {
    let rendered = Rendered::of_file("everything");
    let mut expected = json!({"app.kubernetes.io/name": "locust-k8s-operator", "app.kubernetes.io/instance": "load"});
    let selector =
        |name: &str| &rendered.get("Deployment", name)["spec"]["selector"]["matchLabels"];
    assert_eq!(*selector("locust-operator"), expected);
    expected["app.kubernetes.io/component"] = "otel-collector".into();
    assert_eq!(*selector("locust-operator-otel-collector"), expected);
}
