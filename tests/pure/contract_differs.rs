//! Where lotest is right and its predecessor was not, as far as rendering shows it.

use std::collections::BTreeSet;

use lotest::api::{v2::LocustTest, validate};
use serde_json::{Value, json};

use crate::support::{Made, ROLES, base, load, made, made_of, made_with, merge, names, yaml};

// Secrets stay secret.

#[test]
fn kafka_credentials_come_from_the_secret_that_the_operator_names() {
    let made = made_with(
        &[
            "KAFKA_CREDENTIALS_SECRET_NAME=kafka",
            "KAFKA_CREDENTIALS_USERNAME_KEY=user",
            "KAFKA_CREDENTIALS_PASSWORD_KEY=pass",
            "KAFKA_CREDENTIALS_JAAS_CONFIG_KEY=jaas",
        ],
        "{}",
    );
    for role in ROLES {
        for (variable, key) in [
            ("KAFKA_USERNAME", "user"),
            ("KAFKA_PASSWORD", "pass"),
            ("KAFKA_SASL_JAAS_CONFIG", "jaas"),
        ] {
            assert_eq!(
                made.variable(role, variable),
                &json!({"name": variable, "valueFrom": {"secretKeyRef": {"name": "kafka", "key": key}}})
            );
        }
    }
}

#[test]
fn a_secret_name_alone_means_the_keys_username_and_password() {
    let made = made_with(&["KAFKA_CREDENTIALS_SECRET_NAME=kafka"], "{}");
    for role in ROLES {
        let key =
            |variable| made.variable(role, variable)["valueFrom"]["secretKeyRef"]["key"].clone();
        assert_eq!(key("KAFKA_USERNAME"), "username");
        assert_eq!(key("KAFKA_PASSWORD"), "password");
        assert_eq!(made.variable(role, "KAFKA_SASL_JAAS_CONFIG")["value"], "");
    }
}

#[test]
fn a_plain_credential_never_stands_beside_the_secret() {
    let variables = [
        "KAFKA_PASSWORD=hunter2",
        "KAFKA_CREDENTIALS_SECRET_NAME=kafka",
    ];
    let made = made_with(&variables, "{}");
    for (stem, object) in made.objects() {
        assert!(!object.to_string().contains("hunter2"), "{stem}");
    }
}

#[test]
fn a_plain_credential_is_copied_with_a_warning_at_start() {
    for variable in ["KAFKA_PASSWORD", "KAFKA_SASL_JAAS_CONFIG"] {
        let setting = format!("{variable}=hunter2");
        let (_, warnings) = load(&[&setting]);
        let [warning] = warnings.as_slice() else {
            panic!("one warning expected, not {warnings:?}");
        };
        assert!(
            warning.starts_with(variable) && warning.contains("Secret"),
            "{warning}"
        );
        assert!(!warning.contains("hunter2"), "{warning}");
        let made = made_with(&[&setting], "{}");
        for role in ROLES {
            assert_eq!(made.variable(role, variable)["value"], "hunter2");
        }
    }
    assert_eq!(load(&[]).1, [""; 0]);
}

// No duplicate keys.

#[test]
fn a_variable_given_twice_is_set_once_in_the_place_of_the_last() {
    let made = made(
        "spec:
          env: {variables: [{name: A, value: '1'}, {name: KAFKA_USERNAME, value: me}, {name: B, value: '2'}, {name: A, value: '3'}]}
          observability:
            openTelemetry: {enabled: true, endpoint: e, extraEnvVars: {B: x, OTEL_TRACES_EXPORTER: none, KAFKA_PASSWORD: p}}",
    );
    for role in ROLES {
        assert_eq!(
            names(made.container(role, "/env")),
            [
                "KAFKA_BOOTSTRAP_SERVERS",
                "KAFKA_SECURITY_ENABLED",
                "KAFKA_SECURITY_PROTOCOL_CONFIG",
                "KAFKA_SASL_MECHANISM",
                "KAFKA_SASL_JAAS_CONFIG",
                "OTEL_METRICS_EXPORTER",
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "KAFKA_PASSWORD",
                "OTEL_TRACES_EXPORTER",
                "KAFKA_USERNAME",
                "B",
                "A",
            ]
        );
        for (name, value) in [
            ("A", "3"),
            ("B", "2"),
            ("KAFKA_USERNAME", "me"),
            ("KAFKA_PASSWORD", "p"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert_eq!(made.variable(role, name)["value"], value);
        }
    }
}

/// The value and where it comes from belong together: an overridden Secret reference leaves nothing behind.
#[test]
fn a_users_variable_replaces_a_secret_reference_whole() {
    let made = made_with(
        &["KAFKA_CREDENTIALS_SECRET_NAME=kafka"],
        "spec: {env: {variables: [{name: KAFKA_PASSWORD, value: mine}]}}",
    );
    assert_eq!(
        made.variable("master", "KAFKA_PASSWORD"),
        &json!({"name": "KAFKA_PASSWORD", "value": "mine"})
    );
}

#[test]
fn a_secret_mounted_twice_is_one_volume() {
    let made = made(
        "spec: {env: {secretMounts: [{name: s, mountPath: /a}, {name: t, mountPath: /b}, {name: s, mountPath: /c}]}}",
    );
    for role in ROLES {
        assert_eq!(made.names(role, "/spec/volumes"), ["secret-s", "secret-t"]);
        assert_eq!(
            names(made.container(role, "/volumeMounts")),
            ["secret-s", "secret-t", "secret-s"]
        );
    }
}

#[test]
fn a_pull_secret_given_twice_is_there_once() {
    let made = made("spec: {imagePullSecrets: [{name: a}, {name: b}, {name: a}]}");
    for role in ROLES {
        assert_eq!(made.names(role, "/spec/imagePullSecrets"), ["b", "a"]);
    }
}

/// Names that differ only where a volume name has no letter for it must not fall together.
#[test]
fn secrets_that_cannot_name_a_volume_get_valid_names_of_their_own() {
    let long = "x".repeat(253);
    let secrets = ["a.b", "a-b", "a.b.", "A-B", "a_b", &long[..252], &long];
    let mounts: Vec<Value> = secrets
        .iter()
        .enumerate()
        .map(|(n, name)| json!({"name": name, "mountPath": format!("/{n}")}))
        .collect();
    let patch = json!({"spec": {"env": {"secretMounts": mounts}}}).to_string();
    let made = made(&patch);
    for role in ROLES {
        let volumes = made.names(role, "/spec/volumes");
        let distinct: BTreeSet<_> = volumes.iter().collect();
        assert_eq!(distinct.len(), secrets.len());
        for (volume, secret) in made
            .pod(role, "/spec/volumes")
            .as_array()
            .unwrap()
            .iter()
            .zip(secrets)
        {
            assert_eq!(volume["secret"]["secretName"], secret);
        }
        for name in &volumes {
            let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(
                name.len() <= 63 && name.chars().all(valid) && !name.ends_with('-'),
                "{name}"
            );
        }
        assert_eq!(volumes[1], "secret-a-b");
        assert_eq!(names(made.container(role, "/volumeMounts")), volumes);
    }
    // Stable: the same name at each rendering.
    let again = crate::support::made(&patch);
    assert_eq!(
        again.pod("master", "/spec/volumes"),
        made.pod("master", "/spec/volumes")
    );
}

/// Of volumes and mounts that meet none may silently win: the test is refused, and the field is named.
#[test]
fn volumes_and_mounts_that_meet_are_refused() {
    let cases = [
        (
            "{volumes: [{name: a, emptyDir: {}}, {name: a, hostPath: {path: /}}]}",
            "spec.volumes[1].name",
        ),
        (
            "{volumes: [{name: locust-lib, emptyDir: {}}]}",
            "spec.volumes[0].name",
        ),
        (
            "{volumes: [{name: load-master, emptyDir: {}}]}",
            "spec.volumes[0].name",
        ),
        (
            "{volumes: [{name: secret-s, emptyDir: {}}]}",
            "spec.volumes[0].name",
        ),
        (
            "{env: {secretMounts: [{name: s, mountPath: /s}, {name: t, mountPath: /s}]}}",
            "spec.env.secretMounts[1].mountPath",
        ),
        (
            "{env: {secretMounts: [{name: s, mountPath: /s}]}, volumes: [{name: a, emptyDir: {}}], volumeMounts: [{name: a, mountPath: /s}]}",
            "spec.volumeMounts[0].mountPath",
        ),
        (
            "{testFiles: {configMapRef: c}, volumes: [{name: a, emptyDir: {}}], volumeMounts: [{name: a, mountPath: /lotest/src}]}",
            "spec.volumeMounts[0].mountPath",
        ),
        (
            "{testFiles: {libConfigMapRef: c}, env: {secretMounts: [{name: s, mountPath: /opt/locust/lib}]}}",
            "spec.env.secretMounts[0].mountPath",
        ),
        (
            "{testFiles: {configMapRef: c, libConfigMapRef: d, libMountPath: /lotest/src}}",
            "spec.testFiles.libMountPath",
        ),
    ];
    for (spec, field) in cases {
        let mut test = base();
        merge(&mut test["spec"], &serde_saphyr::from_str(spec).unwrap());
        let test = LocustTest::from_value(test).unwrap();
        let fields: Vec<_> = validate(&test).into_iter().map(|e| e.path).collect();
        assert_eq!(fields, [field], "{spec}");
    }
}

/// Server-side apply refuses a list with two entries of one key.
#[test]
fn no_list_has_two_entries_of_one_key() {
    let mut test = yaml("tests/everything.yaml");
    let more = json!({"spec": {
        "imagePullSecrets": [{"name": "a"}, {"name": "a"}],
        "observability": {"openTelemetry": {
            "enabled": true, "endpoint": "e", "extraEnvVars": {"A": "", "OTEL_TRACES_EXPORTER": ""},
        }},
    }});
    for otel in [false, true] {
        if otel {
            merge(&mut test, &more);
        }
        let (bundle, _) = load(&[]);
        let made = made_of(
            &bundle,
            &LocustTest::parse_strict(test.clone()).unwrap().to_value(),
        );
        for role in ROLES {
            assert_unique(made.pod(role, "/spec/imagePullSecrets"), "name");
            assert_unique(made.pod(role, "/spec/volumes"), "name");
            assert_unique(made.container(role, "/env"), "name");
            assert_unique(made.container(role, "/ports"), "containerPort");
            assert_unique(made.container(role, "/volumeMounts"), "mountPath");
        }
        assert_unique(made.service("/spec/ports"), "port");
        assert_unique(made.service("/spec/ports"), "name");
    }
}

#[track_caller]
fn assert_unique(list: &Value, key: &str) {
    let entries: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e[key].to_string())
        .collect();
    let distinct: BTreeSet<_> = entries.iter().collect();
    assert_eq!(distinct.len(), entries.len(), "{key}: {entries:?}");
}

// `0` and `false` are values.

#[test]
fn an_autoquit_timeout_of_zero_reaches_the_master() {
    let made = made("spec: {master: {autoquit: {timeout: 0}}}");
    let args = made.args("master");
    let at = args.iter().position(|arg| *arg == "--autoquit").unwrap();
    assert_eq!(args[at + 1], "0");
}

#[test]
fn a_secret_mount_may_be_writable() {
    let made = made(
        "spec: {env: {secretMounts: [{name: a, mountPath: /a, readOnly: false}, {name: b, mountPath: /b}]}}",
    );
    for role in ROLES {
        assert_eq!(made.container(role, "/volumeMounts/0/readOnly"), false);
        assert_eq!(made.container(role, "/volumeMounts/1/readOnly"), true);
    }
}

#[test]
fn false_in_autostart_and_autoquit_leaves_the_flags_out() {
    let made = made("spec: {master: {autostart: false, autoquit: {enabled: false}}}");
    let args = made.args("master");
    assert!(
        !args.contains(&"--autostart") && !args.contains(&"--autoquit"),
        "{args:?}"
    );
}

// A refused child is said, and two tests never share a child: what of it can be seen without a cluster.

#[test]
fn a_name_that_no_service_can_have_is_refused_before_anything_is_made() {
    let mut test = base();
    test["metadata"]["name"] = "1st-load".into();
    let test = LocustTest::from_value(test).unwrap();
    let [error] = &validate(&test)[..] else {
        panic!("one error expected");
    };
    assert_eq!(error.path, "metadata.name");
}

#[test]
fn names_with_dots_and_dashes_give_the_same_children() {
    let identities = |made: &Made| -> Vec<String> {
        let identity = |o: &Value| format!("{} {}", o["kind"], o["metadata"]["name"]);
        made.objects().map(|(_, object)| identity(object)).collect()
    };
    let dots = made("metadata: {name: a.b, uid: '1'}");
    let dashes = made("metadata: {name: a-b, uid: '2'}");
    assert_eq!(identities(&dots), identities(&dashes));
    // The owner tells them apart: that is what the second test is refused by.
    for (stem, object) in dots.objects() {
        let other = dashes.at(stem, "/metadata/ownerReferences/0");
        assert_ne!(&object["metadata"]["ownerReferences"][0], other);
    }
}

// Affinity and tolerations are applied.

const SCHEDULING: &str = "spec:
  scheduling:
    nodeSelector: {a: b}
    tolerations: [{key: dedicated, operator: Exists}]
    affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: k, operator: Exists}]}]}}}";

fn applied(made: &Made, field: &str) -> bool {
    let [master, worker] = ROLES.map(|role| !made.pod(role, &format!("/spec/{field}")).is_null());
    assert_eq!(master, worker);
    master
}

#[test]
fn affinity_and_tolerations_are_applied_when_nothing_is_set() {
    for variables in [
        &[][..],
        &[
            "ENABLE_AFFINITY_CR_INJECTION=",
            "ENABLE_TAINT_TOLERATIONS_CR_INJECTION=",
        ],
        &[
            "ENABLE_AFFINITY_CR_INJECTION=true",
            "ENABLE_TAINT_TOLERATIONS_CR_INJECTION=1",
        ],
    ] {
        let made = made_with(variables, SCHEDULING);
        assert!(applied(&made, "affinity") && applied(&made, "tolerations"));
        assert_eq!(made.warnings, [""; 0]);
    }
}

#[test]
fn false_in_so_many_words_drops_them_and_says_so_once() {
    for (variable, dropped, kept) in [
        ("ENABLE_AFFINITY_CR_INJECTION", "affinity", "tolerations"),
        (
            "ENABLE_TAINT_TOLERATIONS_CR_INJECTION",
            "tolerations",
            "affinity",
        ),
    ] {
        let made = made_with(&[&format!("{variable}=false")], SCHEDULING);
        assert!(!applied(&made, dropped) && applied(&made, kept));
        assert!(applied(&made, "nodeSelector"));
        let [warning] = made.warnings.as_slice() else {
            panic!("one warning expected, not {:?}", made.warnings);
        };
        assert!(
            warning.contains(&format!("spec.scheduling.{dropped}")),
            "{warning}"
        );
        // A test that asks for none has nothing to be warned of.
        assert_eq!(
            made_with(&[&format!("{variable}=false")], "{}").warnings,
            [""; 0]
        );
    }
}

#[test]
fn a_boolean_that_is_none_keeps_the_default() {
    for (variable, field) in [
        ("ENABLE_AFFINITY_CR_INJECTION", "affinity"),
        ("ENABLE_TAINT_TOLERATIONS_CR_INJECTION", "tolerations"),
    ] {
        let setting = format!("{variable}=nope");
        assert!(applied(&made_with(&[&setting], SCHEDULING), field));
        let (_, warnings) = load(&[&setting]);
        assert!(
            warnings.len() == 1 && warnings[0].contains(variable),
            "{warnings:?}"
        );
    }
}

#[test]
fn an_exporter_on_a_port_of_locust_is_warned_of_and_no_port_is_there_twice() {
    for port in ["5557", "5558"] {
        let made = made_with(&[&format!("METRICS_EXPORTER_PORT={port}")], "{}");
        assert_unique(made.service("/spec/ports"), "port");
        let [warning] = made.warnings.as_slice() else {
            panic!("{:?}", made.warnings);
        };
        assert!(
            warning.contains("its metrics cannot be scraped"),
            "{warning}"
        );
    }
}
