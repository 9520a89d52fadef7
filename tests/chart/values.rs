//! How values reach the operator.

use crate::helm::{Rendered, file, path, yaml};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// A line of the chart's table of settings.
struct Setting {
    variable: String,
    /// The operator's value.
    to: String,
    /// The chart's, and its older name.
    from: Vec<String>,
}

fn settings() -> Vec<Setting> {
    let text = file("deploy/chart/templates/_settings.tpl");
    let table = text.split("\"lotest.table\" -}}\n").nth(1).unwrap();
    let table = table.split("{{- end }}").next().unwrap();
    let line = |line: &str| {
        let mut words = line.split(' ').map(str::to_string);
        Setting {
            variable: words.next().unwrap(),
            to: words.next().unwrap(),
            from: words.collect(),
        }
    };
    table.lines().map(line).collect()
}

/// A tree with one leaf.
fn tree(path: &str, leaf: Value) -> Value {
    path.rsplit('.').fold(leaf, |tree, key| json!({key: tree}))
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Something else than the default that may stand there; another one for older names.
fn sample(variable: &str, is_old: bool) -> Value {
    let number = if is_old { 7001 } else { 7002 };
    match variable {
        v if v.ends_with("_PORT") || v.starts_with("JOB_TTL") => json!(number),
        v if v.ends_with("_REQUEST") || v.ends_with("_LIMIT") => json!(number.to_string()),
        v if v.ends_with("_POLICY") => json!(if is_old { "Never" } else { "Always" }),
        v if v.ends_with("_INJECTION") => json!(!is_old),
        v if v.ends_with("_ENABLED") => json!(true),
        _ => json!(format!("name-{number}")),
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_string)
}

#[test]
fn the_table_is_that_of_the_operator() {
    let environment = yaml(&file("environment.yaml"));
    let mut environment = environment.as_object().unwrap().clone();
    for setting in settings() {
        let to = environment.remove(&setting.variable);
        assert_eq!(to, Some(setting.to.into()), "{}", setting.variable);
    }
    // Credentials in plain text, and a key that Secrets for the older chart do not have.
    let left: Vec<&String> = environment.keys().collect();
    assert_eq!(
        left,
        [
            "KAFKA_CREDENTIALS_JAAS_CONFIG_KEY",
            "KAFKA_PASSWORD",
            "KAFKA_USERNAME"
        ]
    );
}

#[test]
fn every_value_reaches_the_operator_and_an_older_name_wins() {
    let mut values = tree("kafka.security.enabled", json!(true));
    for setting in settings() {
        let new = sample(&setting.variable, false);
        merge(&mut values, tree(&setting.from[0], new));
    }
    let env = Rendered::of(&values.to_string()).env();
    for setting in settings() {
        let expected = plain(&sample(&setting.variable, false));
        assert_eq!(
            env.get(&setting.variable),
            Some(&expected),
            "{}",
            setting.variable
        );
    }
    for setting in settings() {
        if let Some(old) = setting.from.get(1) {
            merge(&mut values, tree(old, sample(&setting.variable, true)));
        }
    }
    let env = Rendered::of(&values.to_string()).env();
    for setting in settings() {
        let is_old = setting.from.len() > 1;
        let expected = plain(&sample(&setting.variable, is_old));
        assert_eq!(
            env.get(&setting.variable),
            Some(&expected),
            "{}",
            setting.variable
        );
    }
}

#[test]
fn an_older_name_wins_alone() {
    for setting in settings() {
        let Some(old) = setting.from.get(1) else {
            continue;
        };
        if setting.variable.starts_with("KAFKA_S") || setting.variable.starts_with("KAFKA_C") {
            continue;
        }
        let value = sample(&setting.variable, true);
        let env = Rendered::of(&tree(old, value.clone()).to_string()).env();
        assert_eq!(env.get(&setting.variable), Some(&plain(&value)), "{old}");
    }
}

/// The master's Job that the operator makes of a test with these settings.
fn job(env: &BTreeMap<String, String>, layer: &BTreeMap<String, String>, name: &str) -> Value {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chart-{name}"));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    for (file, text) in layer {
        let path = directory.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_lotest"))
        .args(["render", "golden/render/minimal/test.yaml", "-o", "json"])
        .arg("--layer")
        .arg(&directory)
        .current_dir(path(""))
        .envs(env)
        .output()
        .unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name}: {said}");
    let objects: Value = serde_json::from_slice(&output.stdout).unwrap();
    let objects = objects["items"].as_array().unwrap();
    let is_master = |o: &&Value| {
        let name = o["metadata"]["name"].as_str().unwrap_or_default();
        o["kind"] == "Job" && name.ends_with("-master")
    };
    objects.iter().find(is_master).unwrap()["spec"].clone()
}

/// The same with the settings of the chart.
fn render(rendered: &Rendered, name: &str) -> Value {
    job(&rendered.env(), &rendered.layer(), name)
}

#[test]
fn what_is_empty_is_no_limit_and_zero_is_zero() {
    let values =
        "locustPods: {ttlSecondsAfterFinished: 0, resources: {limits: {cpu: '', memory: 2Gi}}}";
    let job = render(&Rendered::of(values), "empty");
    let container = &job["template"]["spec"]["containers"][0];
    let limits = json!({"memory": "2Gi", "ephemeral-storage": "50M"});
    assert_eq!(container["resources"]["limits"], limits);
    assert_eq!(job["ttlSecondsAfterFinished"], 0);
    let old = "config: {loadGenerationPods: {resource: {cpuLimit: '', memLimit: '', ephemeralLimit: ''}}}";
    let job = render(&Rendered::of(old), "empty-old");
    let container = &job["template"]["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"], Value::Null);
    assert_eq!(job["ttlSecondsAfterFinished"], Value::Null);
}

/// But for the exporter, whose defaults in the chart are its own.
#[test]
fn without_values_the_operator_does_what_it_does_by_itself() {
    let mut with = render(&Rendered::of("{}"), "default");
    let exporter = with["template"]["spec"]["initContainers"].take();
    assert_eq!(exporter[0]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(exporter[0]["resources"]["limits"]["cpu"], "250m");
    let mut alone = job(&BTreeMap::new(), &BTreeMap::new(), "alone");
    alone["template"]["spec"]["initContainers"].take();
    assert_eq!(with, alone);
}

/// Those of the layer's values that a value of the chart sets too.
#[test]
fn the_layer_and_extra_variables_win() {
    let values = "{layer: {values: {resources: {common: {limits: {cpu: '3'}}}, metricsExporter: {port: 9000}}},
        metrics: {podMonitor: {enabled: true}}, extraEnv: [{name: POD_MEM_LIMIT, value: 3Gi}]}";
    let rendered = Rendered::of(values);
    let job = render(&rendered, "layer");
    let spec = &job["template"]["spec"];
    let limits = &spec["containers"][0]["resources"]["limits"];
    assert_eq!(
        (&limits["cpu"], &limits["memory"]),
        (&json!("3"), &json!("3Gi"))
    );
    assert_eq!(spec["initContainers"][0]["ports"][0]["containerPort"], 9000);
    let monitor = rendered.get("PodMonitor", "locust-operator-tests");
    assert_eq!(
        monitor["spec"]["podMetricsEndpoints"][0]["portNumber"],
        9000
    );
}

#[test]
fn all_parts_of_a_layer_are_one() {
    let rendered = Rendered::of_file("everything");
    let files: Vec<String> = rendered.layer().into_keys().collect();
    let expected = [
        "golden/a-test/test.yaml",
        "rules/signals.yaml",
        "templates/network-policy.yaml",
        "values.yaml",
    ];
    assert_eq!(files, expected);
    let args = rendered.args();
    let layer = args.iter().position(|a| *a == "--layer").unwrap();
    let mount = &rendered.container()["volumeMounts"][0]["mountPath"];
    assert_eq!(mount, args[layer + 1]);
    let job = render(&rendered, "everything");
    let args = &job["template"]["spec"]["containers"][0]["args"];
    assert!(
        args.as_array()
            .unwrap()
            .contains(&"--csv=/tmp/results".into()),
        "{args}"
    );
    // Numbers as they were written.
    assert!(rendered.layer()["values.yaml"].contains("workerLosses: 2000000\n"));
}

#[test]
fn kafka_credentials_stay_in_the_secret() {
    let values = "kafka: {security: {enabled: true}, credentials: {secretName: kafka-user}}";
    let job = render(&Rendered::of(values), "kafka");
    let env = job["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap();
    let password = env.iter().find(|e| e["name"] == "KAFKA_PASSWORD").unwrap();
    let reference = json!({"name": "kafka-user", "key": "password"});
    assert_eq!(password["valueFrom"]["secretKeyRef"], reference);
    // As long as security is off nothing of it counts: pods would wait for a Secret that nobody needs.
    let off = "kafka: {credentials: {secretName: kafka-user}}";
    let env = Rendered::of(off).env();
    assert!(
        !env.contains_key("KAFKA_CREDENTIALS_SECRET_NAME"),
        "{env:?}"
    );
}
