//! What may stand in values: those of the older chart with their defaults, and nothing that the chart does not know.

use crate::helm::{file, template, yaml};
use serde_json::{Value, json};

fn defaults() -> Value {
    yaml(&file("deploy/chart/values.yaml"))
}

fn schema() -> Value {
    serde_json::from_str(&file("deploy/chart/values.schema.json")).unwrap()
}

/// Every leaf with its path; empty maps and lists are leaves.
fn leaves(value: &Value, path: &str, all: &mut Vec<(String, Value)>) {
    match value.as_object().filter(|map| !map.is_empty()) {
        Some(map) => {
            for (key, value) in map {
                leaves(value, &format!("{path}/{key}"), all);
            }
        }
        None => all.push((path.to_string(), value.clone())),
    }
}

/// What clusters that ran the operator before this one have in their files.
const BEFORE: &str = r#"
image: {repository: lotest/locust-k8s-operator, tag: "", pullPolicy: IfNotPresent, pullSecrets: []}
resources: {limits: {cpu: 500m, memory: 256Mi}, requests: {cpu: 10m, memory: 64Mi}}
replicaCount: 2
nameOverride: ""
fullnameOverride: locust-operator
extraEnv: []
terminationGracePeriodSeconds: 10
leaderElection: {enabled: true}
podDisruptionBudget: {enabled: true, maxUnavailable: 1}
metrics: {enabled: false, port: 8080, secure: false}
webhook: {enabled: false, port: 9443, certManager: {enabled: true}}
locustPods:
  resources:
    requests: {cpu: 250m, memory: 128Mi, ephemeralStorage: 30M}
    limits: {cpu: 1000m, memory: 1024Mi, ephemeralStorage: 50M}
  masterResources: {}
  workerResources: {}
  affinityInjection: true
  tolerationsInjection: true
  runtimeClassName: ""
  ttlSecondsAfterFinished: ""
  metricsExporter:
    image: containersol/locust_exporter:v0.5.0
    port: 9646
    pullPolicy: IfNotPresent
    resources:
      requests: {cpu: 100m, memory: 64Mi, ephemeralStorage: 30M}
      limits: {cpu: 250m, memory: 128Mi, ephemeralStorage: 50M}
otelCollector:
  enabled: false
  image: otel/opentelemetry-collector-contrib:0.145.0
  replicas: 1
  resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {cpu: 200m, memory: 256Mi}}
serviceAccount: {create: true, name: "", annotations: {}}
podAnnotations: {}
nodeSelector: {}
tolerations: []
affinity: {}
runtimeClassName: ""
kafka:
  enabled: false
  bootstrapServers: localhost:9092
  security: {enabled: false, protocol: SASL_PLAINTEXT, saslMechanism: SCRAM-SHA-512, jaasConfig: ""}
  credentials: {secretName: "", usernameKey: username, passwordKey: password}
k8s: {clusterRole: {enabled: true}}
"#;

#[test]
fn the_values_of_the_older_chart_have_their_names_and_defaults() {
    let mut expected = Vec::new();
    leaves(&yaml(BEFORE), "", &mut expected);
    let defaults = defaults();
    for (path, value) in expected {
        assert_eq!(defaults.pointer(&path), Some(&value), "{path}");
    }
}

/// Whether what stands there is of Kubernetes or of layers.
fn is_open(path: &str) -> bool {
    let open = [
        "/resources",
        "/podSecurityContext",
        "/containerSecurityContext",
        "/affinity",
        "/layer/values",
        "/layer/golden",
        "/otelCollector/resources",
        "/otelCollector/podSecurityContext",
        "/otelCollector/containerSecurityContext",
    ];
    open.iter().any(|o| path.starts_with(o))
}

#[test]
fn all_values_are_described() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let is_valid = |values: &Value| validator.is_valid(values);
    let defaults = defaults();
    assert!(is_valid(&defaults));
    // Each map of values.yaml that is no map of the user's own: a key that is not known is refused.
    let mut maps = vec![String::new()];
    let mut closed = 0;
    while let Some(path) = maps.pop() {
        let at = defaults.pointer(&path).unwrap();
        for (key, value) in at.as_object().unwrap() {
            if value.is_object() {
                maps.push(format!("{path}/{key}"));
            }
        }
        let mut values = defaults.clone();
        values.pointer_mut(&path).unwrap()["nonsense"] = json!({"nonsense": []});
        if !is_valid(&values) {
            closed += 1;
            continue;
        }
        assert!(is_open(&path), "{path} takes anything");
    }
    assert!(closed > 30, "{closed}");
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let defaults = defaults();
    let mut all = Vec::new();
    leaves(&defaults, "", &mut all);
    let checked = all
        .iter()
        .filter(|(path, value)| !is_open(path) || value.is_object());
    for (path, _) in checked {
        let mut values = defaults.clone();
        // Nothing is a list of lists.
        *values.pointer_mut(path).unwrap() = json!([["nonsense"]]);
        assert!(!validator.is_valid(&values), "{path}");
    }
    for wrong in [
        json!({"locustPods": {"resources": {"limits": {"cpu": "1 GB"}}}}),
        json!({"locustPods": {"ttlSecondsAfterFinished": -1}}),
        json!({"locustPods": {"ttlSecondsAfterFinished": "1h"}}),
        json!({"watchNamespaces": ["Team_A"]}),
        json!({"metrics": {"port": 0}}),
        json!({"image": {"pullPolicy": "Sometimes"}}),
        json!({"config": {"loadGenerationPods": {"resource": {"cpu": "1"}}}}),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}

#[test]
fn helm_says_what_is_wrong() {
    for (values, said) in [
        ("locustPod: {}", "locustPod"),
        ("locustPods: {resource: {}}", "resource"),
        ("metrics: {secure: true}", "Set metrics.secure: false"),
        (
            "leaderElection: {enabled: false}",
            "Set replicaCount: 1, or leave leaderElection.enabled at true",
        ),
    ] {
        let why = template(values, &[]).unwrap_err();
        assert!(why.contains(said), "{values}: {why}");
    }
}
