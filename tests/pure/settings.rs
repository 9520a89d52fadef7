//! The operator's environment: each variable that a cluster may already set has its effect on what is made.

use std::collections::{BTreeMap, BTreeSet};

use lotest::bundle::{Bundle, Layer};
use serde_json::Value;

use crate::support::{Made, ROLES, file, load, made_with, settings};

/// Where a variable is seen: `child/pointer`. `env:NAME` is a variable of both Locust containers.
struct Effect {
    variable: &'static str,
    set_to: &'static str,
    seen_at: &'static [&'static str],
    /// What is there by default, and what then; as JSON.
    from: &'static str,
    to: &'static str,
}

macro_rules! effects {
    ($($variable:literal = $set_to:literal: $($seen_at:expr),+; $from:literal => $to:literal)+) => {
        &[$(Effect { variable: $variable, set_to: $set_to, seen_at: &[$($seen_at),+], from: $from, to: $to }),+]
    };
}

macro_rules! container {
    ($role:literal, $pointer:literal) => {
        concat!($role, "-job/spec/template/spec/containers/0", $pointer)
    };
}

macro_rules! exporter {
    ($pointer:literal) => {
        concat!("master-job/spec/template/spec/initContainers/0", $pointer)
    };
}

#[rustfmt::skip] // A table.
const EFFECTS: &[Effect] = effects! {
    "JOB_TTL_SECONDS_AFTER_FINISHED" = "60": "master-job/spec/ttlSecondsAfterFinished", "worker-job/spec/ttlSecondsAfterFinished"; "null" => "60"
    "POD_CPU_REQUEST" = "1": container!("master", "/resources/requests/cpu"), container!("worker", "/resources/requests/cpu"); r#""250m""# => r#""1""#
    "POD_MEM_REQUEST" = "1Gi": container!("master", "/resources/requests/memory"), container!("worker", "/resources/requests/memory"); r#""128Mi""# => r#""1Gi""#
    "POD_EPHEMERAL_REQUEST" = "1G": container!("master", "/resources/requests/ephemeral-storage"), container!("worker", "/resources/requests/ephemeral-storage"); r#""30M""# => r#""1G""#
    "POD_CPU_LIMIT" = "2": container!("master", "/resources/limits/cpu"), container!("worker", "/resources/limits/cpu"); r#""1000m""# => r#""2""#
    "POD_MEM_LIMIT" = "2Gi": container!("master", "/resources/limits/memory"), container!("worker", "/resources/limits/memory"); r#""1024Mi""# => r#""2Gi""#
    "POD_EPHEMERAL_LIMIT" = "2G": container!("master", "/resources/limits/ephemeral-storage"), container!("worker", "/resources/limits/ephemeral-storage"); r#""50M""# => r#""2G""#
    "MASTER_POD_CPU_REQUEST" = "1": container!("master", "/resources/requests/cpu"); r#""250m""# => r#""1""#
    "MASTER_POD_MEM_REQUEST" = "1Gi": container!("master", "/resources/requests/memory"); r#""128Mi""# => r#""1Gi""#
    "MASTER_POD_EPHEMERAL_REQUEST" = "1G": container!("master", "/resources/requests/ephemeral-storage"); r#""30M""# => r#""1G""#
    "MASTER_POD_CPU_LIMIT" = "2": container!("master", "/resources/limits/cpu"); r#""1000m""# => r#""2""#
    "MASTER_POD_MEM_LIMIT" = "2Gi": container!("master", "/resources/limits/memory"); r#""1024Mi""# => r#""2Gi""#
    "MASTER_POD_EPHEMERAL_LIMIT" = "2G": container!("master", "/resources/limits/ephemeral-storage"); r#""50M""# => r#""2G""#
    "WORKER_POD_CPU_REQUEST" = "1": container!("worker", "/resources/requests/cpu"); r#""250m""# => r#""1""#
    "WORKER_POD_MEM_REQUEST" = "1Gi": container!("worker", "/resources/requests/memory"); r#""128Mi""# => r#""1Gi""#
    "WORKER_POD_EPHEMERAL_REQUEST" = "1G": container!("worker", "/resources/requests/ephemeral-storage"); r#""30M""# => r#""1G""#
    "WORKER_POD_CPU_LIMIT" = "2": container!("worker", "/resources/limits/cpu"); r#""1000m""# => r#""2""#
    "WORKER_POD_MEM_LIMIT" = "2Gi": container!("worker", "/resources/limits/memory"); r#""1024Mi""# => r#""2Gi""#
    "WORKER_POD_EPHEMERAL_LIMIT" = "2G": container!("worker", "/resources/limits/ephemeral-storage"); r#""50M""# => r#""2G""#
    "METRICS_EXPORTER_IMAGE" = "own/exporter:1": exporter!("/image"); r#""containersol/locust_exporter:v0.5.0""# => r#""own/exporter:1""#
    "METRICS_EXPORTER_PORT" = "9999": exporter!("/ports/0/containerPort"), "service/spec/ports/2/port"; "9646" => "9999"
    "METRICS_EXPORTER_IMAGE_PULL_POLICY" = "Never": exporter!("/imagePullPolicy"); r#""Always""# => r#""Never""#
    "METRICS_EXPORTER_CPU_REQUEST" = "1": exporter!("/resources/requests/cpu"); r#""250m""# => r#""1""#
    "METRICS_EXPORTER_MEM_REQUEST" = "1Gi": exporter!("/resources/requests/memory"); r#""128Mi""# => r#""1Gi""#
    "METRICS_EXPORTER_EPHEMERAL_REQUEST" = "1G": exporter!("/resources/requests/ephemeral-storage"); r#""30M""# => r#""1G""#
    "METRICS_EXPORTER_CPU_LIMIT" = "2": exporter!("/resources/limits/cpu"); r#""1000m""# => r#""2""#
    "METRICS_EXPORTER_MEM_LIMIT" = "2Gi": exporter!("/resources/limits/memory"); r#""1024Mi""# => r#""2Gi""#
    "METRICS_EXPORTER_EPHEMERAL_LIMIT" = "2G": exporter!("/resources/limits/ephemeral-storage"); r#""50M""# => r#""2G""#
    "KAFKA_BOOTSTRAP_SERVERS" = "k:1": "env:KAFKA_BOOTSTRAP_SERVERS"; r#""localhost:9092""# => r#""k:1""#
    "KAFKA_SECURITY_ENABLED" = "true": "env:KAFKA_SECURITY_ENABLED"; r#""false""# => r#""true""#
    "KAFKA_SECURITY_PROTOCOL_CONFIG" = "SSL": "env:KAFKA_SECURITY_PROTOCOL_CONFIG"; r#""SASL_PLAINTEXT""# => r#""SSL""#
    "KAFKA_SASL_MECHANISM" = "PLAIN": "env:KAFKA_SASL_MECHANISM"; r#""SCRAM-SHA-512""# => r#""PLAIN""#
    "KAFKA_SASL_JAAS_CONFIG" = "j": "env:KAFKA_SASL_JAAS_CONFIG"; r#""""# => r#""j""#
    "KAFKA_USERNAME" = "u": "env:KAFKA_USERNAME"; r#""""# => r#""u""#
    "KAFKA_PASSWORD" = "p": "env:KAFKA_PASSWORD"; r#""""# => r#""p""#
    "ENABLE_AFFINITY_CR_INJECTION" = "false": "master-job/spec/template/spec/affinity", "worker-job/spec/template/spec/affinity"; r#"{"podAffinity": {}}"# => "null"
    "ENABLE_TAINT_TOLERATIONS_CR_INJECTION" = "false": "master-job/spec/template/spec/tolerations", "worker-job/spec/template/spec/tolerations"; r#"[{"operator": "Exists"}]"# => "null"
    "DEFAULT_RUNTIME_CLASS_NAME" = "gvisor": "master-job/spec/template/spec/runtimeClassName", "worker-job/spec/template/spec/runtimeClassName"; "null" => r#""gvisor""#
};

const TEST: &str =
    "spec: {scheduling: {affinity: {podAffinity: {}}, tolerations: [{operator: Exists}]}}";

fn see(made: &Made, seen_at: &str) -> Value {
    if let Some(name) = seen_at.strip_prefix("env:") {
        let [master, worker] = ROLES.map(|role| made.variable(role, name)["value"].clone());
        assert_eq!(master, worker);
        return master;
    }
    let (child, pointer) = seen_at.split_once('/').unwrap();
    made.at(child, &format!("/{pointer}")).clone()
}

#[test]
fn every_variable_has_its_effect() {
    let default = made_with(&[], TEST);
    for effect in EFFECTS {
        let changed = made_with(&[&format!("{}={}", effect.variable, effect.set_to)], TEST);
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for at in effect.seen_at {
            assert_eq!(
                see(&default, at),
                json(effect.from),
                "{} by default",
                effect.variable
            );
            assert_eq!(see(&changed, at), json(effect.to), "{}", effect.variable);
        }
    }
}

/// And on nothing else.
#[test]
fn no_variable_has_another_effect() {
    let default = made_with(&[], TEST);
    for effect in EFFECTS {
        let changed = made_with(&[&format!("{}={}", effect.variable, effect.set_to)], TEST);
        for (stem, object) in default.objects() {
            let here = |at: &&str| match at.starts_with("env:") {
                true => stem.ends_with("-job"),
                false => at.starts_with(&format!("{stem}/")),
            };
            let touched = effect.seen_at.iter().any(here);
            let mut now = changed.at(stem, "").clone();
            let bundle = &object["metadata"]["annotations"]["locust.io/bundle"];
            assert_ne!(
                &now["metadata"]["annotations"]["locust.io/bundle"], bundle,
                "the digest names the values too"
            );
            now["metadata"]["annotations"]["locust.io/bundle"] = bundle.clone();
            assert_eq!(&now != object, touched, "{} on {stem}", effect.variable);
        }
    }
}

/// A variable that is read is in the table, or in the one of the Secret below.
#[test]
fn no_variable_is_left_out() {
    let read: BTreeMap<String, Value> = serde_saphyr::from_str(&file("environment.yaml")).unwrap();
    let mut known: BTreeSet<&str> = EFFECTS.iter().map(|effect| effect.variable).collect();
    // Tested where Secrets are: contract_differs.
    known.extend([
        "KAFKA_CREDENTIALS_SECRET_NAME",
        "KAFKA_CREDENTIALS_USERNAME_KEY",
        "KAFKA_CREDENTIALS_PASSWORD_KEY",
        "KAFKA_CREDENTIALS_JAAS_CONFIG_KEY",
    ]);
    assert_eq!(
        read.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        known
    );
}

#[test]
fn an_empty_variable_is_not_set() {
    let default = made_with(&[], TEST);
    let empty: Vec<String> = EFFECTS
        .iter()
        .map(|effect| format!("{}=", effect.variable))
        .collect();
    let variables: Vec<&str> = empty.iter().map(String::as_str).collect();
    assert_eq!(load(&variables).1, [""; 0]);
    let made = made_with(&variables, TEST);
    assert!(made.objects().eq(default.objects()));
}

#[test]
fn a_bad_quantity_refuses_to_load() {
    let quantities = EFFECTS.iter().filter(|effect| {
        effect.variable.ends_with("REQUEST") || effect.variable.ends_with("LIMIT")
    });
    let mut tried = 0;
    for effect in quantities {
        for bad in ["lots", "1 Gi", "1gi", "0x1", "1,5", "-", "1Mi "] {
            assert_refused(effect.variable, bad, "quantity");
        }
        tried += 1;
    }
    assert_eq!(tried, 24);
}

#[test]
fn a_bad_runtime_class_refuses_to_load() {
    for bad in [
        "G Visor",
        "gVisor",
        "-a",
        "a-",
        "a..b",
        "a/b",
        &"a".repeat(254),
    ] {
        assert_refused("DEFAULT_RUNTIME_CLASS_NAME", bad, "name");
    }
    assert_refused("KAFKA_CREDENTIALS_SECRET_NAME", "My Secret", "name");
}

#[track_caller]
fn assert_refused(variable: &str, bad: &str, expected: &str) {
    let problems = Bundle::load(
        &[Layer::built_in()],
        &settings(&[&format!("{variable}={bad}")]),
    )
    .unwrap_err();
    let [problem] = problems.as_slice() else {
        panic!("one problem expected, not {problems:?}");
    };
    let text = problem.to_string();
    for part in [variable, bad, expected] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn all_bad_variables_are_named_at_once() {
    let problems = Bundle::load(
        &[Layer::built_in()],
        &settings(&[
            "POD_CPU_REQUEST=x",
            "POD_MEM_LIMIT=y",
            "DEFAULT_RUNTIME_CLASS_NAME=Z",
        ]),
    );
    assert_eq!(problems.unwrap_err().len(), 3);
}

#[test]
fn a_bad_boolean_or_integer_warns_and_the_default_holds() {
    let default = made_with(&[], TEST);
    for (variable, bad) in [
        ("ENABLE_AFFINITY_CR_INJECTION", "maybe"),
        ("ENABLE_TAINT_TOLERATIONS_CR_INJECTION", "yes"),
        ("KAFKA_SECURITY_ENABLED", "on"),
        ("JOB_TTL_SECONDS_AFTER_FINISHED", "1h"),
        ("JOB_TTL_SECONDS_AFTER_FINISHED", "1.5"),
        ("METRICS_EXPORTER_PORT", "http"),
        ("METRICS_EXPORTER_PORT", "99999999999"),
    ] {
        let setting = format!("{variable}={bad}");
        let (_, warnings) = load(&[&setting]);
        let [warning] = warnings.as_slice() else {
            panic!("one warning expected, not {warnings:?}");
        };
        assert!(
            warning.contains(variable) && warning.contains(bad),
            "{warning}"
        );
        assert!(
            made_with(&[&setting], TEST).objects().eq(default.objects()),
            "{setting}"
        );
    }
}

/// The spellings that Go's ParseBool takes: the variables were written for it.
#[test]
fn booleans_in_all_their_spellings() {
    for (spellings, expected) in [
        (["1", "t", "T", "true", "TRUE", "True"], "true"),
        (["0", "f", "F", "false", "FALSE", "False"], "false"),
    ] {
        for spelling in spellings {
            let made = made_with(&[&format!("KAFKA_SECURITY_ENABLED={spelling}")], "{}");
            assert_eq!(
                see(&made, "env:KAFKA_SECURITY_ENABLED"),
                expected,
                "{spelling}"
            );
        }
    }
}

#[test]
fn a_ttl_of_zero_is_a_value() {
    let made = made_with(&["JOB_TTL_SECONDS_AFTER_FINISHED=0"], "{}");
    assert_eq!(made.job("master", "/spec/ttlSecondsAfterFinished"), 0);
    assert_eq!(made.job("worker", "/spec/ttlSecondsAfterFinished"), 0);
}

/// Prometheus, the Service and the exporter itself must agree.
#[test]
fn the_exporters_port_is_one_everywhere() {
    let made = made_with(&["METRICS_EXPORTER_PORT=9999"], "{}");
    assert_eq!(
        made.pod("master", "/metadata/annotations/prometheus.io~1port"),
        "9999"
    );
    let exporter = |pointer| made.pod("master", &format!("/spec/initContainers/0{pointer}"));
    assert_eq!(exporter("/env/1/value"), ":9999");
    assert_eq!(exporter("/ports/0/containerPort"), 9999);
    assert_eq!(made.service("/spec/ports/2/port"), 9999);
}

#[test]
fn variables_of_others_mean_nothing() {
    let made = made_with(&["PATH=/bin", "POD_CPU=9", "pod_cpu_request=9"], TEST);
    assert!(made.objects().eq(made_with(&[], TEST).objects()));
}
