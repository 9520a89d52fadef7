//! What is in the pods: arguments, environment, volumes, the exporter, resources. One test for each thing that a
//! user relies on.

use serde_json::{Value, json};

use crate::support::{Made, ROLES, made, made_with, names};

#[test]
fn containers_are_named_after_their_pod_and_keep_the_entrypoint() {
    let made = made("spec: {image: 'locust:1', imagePullPolicy: Never}");
    for role in ROLES {
        assert_eq!(made.container(role, "/name"), &format!("load-{role}"));
        assert_eq!(made.container(role, "/image"), "locust:1");
        assert_eq!(made.container(role, "/imagePullPolicy"), "Never");
        assert_eq!(made.container(role, "/command"), &Value::Null);
        assert_eq!(
            made.pod(role, "/spec/containers").as_array().unwrap().len(),
            1
        );
    }
}

#[test]
fn container_ports() {
    let made = made("{}");
    let ports = |role| {
        let ports = made.container(role, "/ports").as_array().unwrap();
        ports
            .iter()
            .map(|p| p["containerPort"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(ports("master"), [5557, 5558, 8089]);
    assert_eq!(ports("worker"), [8080]);
}

/// Every optional argument, there and not there, in the order in which Locust gets them.
#[test]
fn master_args_in_order() {
    let seed = "--locustfile /lotest/src/test.py";
    for n in 0..16 {
        let [otel, autostart, autoquit, extra] = [n & 1, n & 2, n & 4, n & 8].map(|bit| bit != 0);
        let patch = json!({"spec": {
            "master": {
                "command": seed,
                "autostart": autostart,
                "autoquit": {"enabled": autoquit, "timeout": 120},
                "extraArgs": if extra { json!(["--users", "9"]) } else { json!([]) },
            },
            "worker": {"replicas": 3},
            "observability": {"openTelemetry": {"enabled": otel, "endpoint": "otel:4317"}},
        }});
        let mut expected: Vec<&str> = seed.split(' ').collect();
        expected.extend(otel.then_some("--otel"));
        expected.extend(["--master", "--master-port=5557", "--expect-workers=3"]);
        expected.extend(autostart.then_some("--autostart"));
        expected.extend(
            autoquit
                .then_some(["--autoquit", "120"])
                .into_iter()
                .flatten(),
        );
        expected.extend(["--enable-rebalancing", "--only-summary"]);
        expected.extend(extra.then_some(["--users", "9"]).into_iter().flatten());
        assert_eq!(made(&patch.to_string()).args("master"), expected);
    }
}

#[test]
fn autostart_and_autoquit_after_a_minute_are_the_default() {
    let made = made("{}");
    assert_eq!(
        made.args("master")[5..],
        [
            "--autostart",
            "--autoquit",
            "60",
            "--enable-rebalancing",
            "--only-summary"
        ]
    );
}

#[test]
fn worker_args_in_order() {
    for n in 0..4 {
        let [otel, extra] = [n & 1, n & 2].map(|bit| bit != 0);
        let patch = json!({"spec": {
            "worker": {"command": "-f a.py", "extraArgs": if extra { json!(["--users", "9"]) } else { json!([]) }},
            "observability": {"openTelemetry": {"enabled": otel, "endpoint": "otel:4317"}},
        }});
        let mut expected = vec!["-f", "a.py"];
        expected.extend(otel.then_some("--otel"));
        expected.extend([
            "--worker",
            "--master-port=5557",
            "--master-host=load-master",
        ]);
        expected.extend(extra.then_some(["--users", "9"]).into_iter().flatten());
        assert_eq!(made(&patch.to_string()).args("worker"), expected);
    }
}

/// Locust takes the last of two flags: what a user adds must come after what the operator sets.
#[test]
fn the_last_flag_wins() {
    let own = "[--master-port=1, --expect-workers=2]";
    let made = made(&format!(
        "spec: {{master: {{command: --master-port=0, extraArgs: {own}}}, worker: {{command: --master-port=0, extraArgs: {own}}}}}"
    ));
    for role in ROLES {
        let args = made.args(role);
        assert_eq!(args[0], "--master-port=0");
        assert_eq!(
            args[args.len() - 2..],
            ["--master-port=1", "--expect-workers=2"]
        );
    }
}

const KAFKA: [(&str, &str); 7] = [
    ("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
    ("KAFKA_SECURITY_ENABLED", "false"),
    ("KAFKA_SECURITY_PROTOCOL_CONFIG", "SASL_PLAINTEXT"),
    ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
    ("KAFKA_SASL_JAAS_CONFIG", ""),
    ("KAFKA_USERNAME", ""),
    ("KAFKA_PASSWORD", ""),
];

#[track_caller]
fn assert_env(made: &Made, expected: &[(&str, &str)]) {
    let expected: Vec<Value> = expected
        .iter()
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    for role in ROLES {
        assert_eq!(
            made.container(role, "/env"),
            &Value::from(expected.clone()),
            "{role}"
        );
    }
}

#[test]
fn env_is_kafka_by_default() {
    assert_env(&made("{}"), &KAFKA);
}

#[test]
fn env_in_order_is_kafka_otel_extra_env_vars_sorted_and_the_users() {
    let made = made(
        "spec:
          env: {variables: [{name: Z, value: '1'}, {name: A, value: '2'}]}
          observability:
            openTelemetry:
              {enabled: true, endpoint: 'otel:4317', insecure: true, extraEnvVars: {OTEL_Z: z, OTEL_A: a, B: b}}",
    );
    let telemetry = [
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "otel:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ("B", "b"),
        ("OTEL_A", "a"),
        ("OTEL_Z", "z"),
    ];
    let own = [("Z", "1"), ("A", "2")];
    assert_env(&made, &[&KAFKA[..], &telemetry, &own].concat());
}

#[test]
fn env_says_insecure_only_when_it_is() {
    let made = made(
        "spec: {observability: {openTelemetry: {enabled: true, endpoint: e, protocol: http/protobuf}}}",
    );
    for role in ROLES {
        assert_eq!(
            made.variable(role, "OTEL_EXPORTER_OTLP_INSECURE"),
            &Value::Null
        );
        assert_eq!(
            made.variable(role, "OTEL_EXPORTER_OTLP_PROTOCOL")["value"],
            "http/protobuf"
        );
    }
}

#[test]
fn env_has_nothing_of_otel_when_it_is_off() {
    let made = made(
        "spec: {observability: {openTelemetry: {enabled: false, endpoint: e, insecure: true, extraEnvVars: {A: b}}}}",
    );
    assert_env(&made, &KAFKA);
    assert!(!made.args("master").contains(&"--otel"));
}

#[test]
fn env_from_config_maps_then_secrets() {
    let made = made(
        "spec: {env: {secretRefs: [{name: s, prefix: S_}, {name: t}], configMapRefs: [{name: c}, {name: d, prefix: D_}]}}",
    );
    for role in ROLES {
        assert_eq!(
            made.container(role, "/envFrom"),
            &json!([
                {"configMapRef": {"name": "c"}},
                {"configMapRef": {"name": "d"}, "prefix": "D_"},
                {"secretRef": {"name": "s"}, "prefix": "S_"},
                {"secretRef": {"name": "t"}},
            ])
        );
    }
}

#[test]
fn volumes_and_mounts_in_order() {
    let made = made(
        "spec:
          testFiles: {configMapRef: tests, libConfigMapRef: libs}
          env: {secretMounts: [{name: tls, mountPath: /tls}]}
          volumes: [{name: data, emptyDir: {}}, {name: out, emptyDir: {}}]
          volumeMounts:
          - {name: out, mountPath: /out, subPath: o, target: master}
          - {name: data, mountPath: /data, readOnly: true}",
    );
    for role in ROLES {
        let own = format!("load-{role}");
        let mut volumes = vec![
            json!({"name": own, "configMap": {"name": "tests"}}),
            json!({"name": "locust-lib", "configMap": {"name": "libs"}}),
            json!({"name": "secret-tls", "secret": {"secretName": "tls"}}),
            json!({"name": "data", "emptyDir": {}}),
        ];
        let mut mounts = vec![
            json!({"name": own, "mountPath": "/lotest/src"}),
            json!({"name": "locust-lib", "mountPath": "/opt/locust/lib"}),
            json!({"name": "secret-tls", "mountPath": "/tls", "readOnly": true}),
            json!({"name": "data", "mountPath": "/data", "readOnly": true}),
        ];
        if role == "master" {
            volumes.push(json!({"name": "out", "emptyDir": {}}));
            mounts.insert(
                3,
                json!({"name": "out", "mountPath": "/out", "subPath": "o", "readOnly": false}),
            );
        }
        assert_eq!(
            made.pod(role, "/spec/volumes"),
            &Value::from(volumes),
            "{role}"
        );
        assert_eq!(
            made.container(role, "/volumeMounts"),
            &Value::from(mounts),
            "{role}"
        );
    }
}

#[test]
fn test_files_are_mounted_where_the_test_says() {
    let made = made(
        "spec: {testFiles: {configMapRef: c, libConfigMapRef: l, srcMountPath: /src, libMountPath: /lib}}",
    );
    for role in ROLES {
        assert_eq!(made.container(role, "/volumeMounts/0/mountPath"), "/src");
        assert_eq!(made.container(role, "/volumeMounts/1/mountPath"), "/lib");
    }
}

#[test]
fn a_role_gets_only_the_volumes_that_it_mounts() {
    let made = made(
        "spec:
          volumes: [{name: m, emptyDir: {}}, {name: w, emptyDir: {}}, {name: b, emptyDir: {}}, {name: none, emptyDir: {}}]
          volumeMounts:
          - {name: m, mountPath: /m, target: master}
          - {name: w, mountPath: /w, target: worker}
          - {name: b, mountPath: /b, target: both}",
    );
    for (role, expected) in [("master", ["m", "b"]), ("worker", ["w", "b"])] {
        assert_eq!(made.names(role, "/spec/volumes"), expected);
        assert_eq!(names(made.container(role, "/volumeMounts")), expected);
    }
}

#[test]
fn a_test_without_volumes_has_none() {
    let made = made("{}");
    for role in ROLES {
        assert_eq!(made.pod(role, "/spec/volumes"), &Value::Null);
        assert_eq!(made.container(role, "/volumeMounts"), &Value::Null);
    }
}

#[test]
fn the_metrics_exporter_in_full() {
    let made = made("{}");
    assert_eq!(
        made.pod("master", "/spec/initContainers"),
        &json!([{
            "name": "locust-metrics-exporter",
            "image": "containersol/locust_exporter:v0.5.0",
            "imagePullPolicy": "Always",
            "restartPolicy": "Always",
            "ports": [{"containerPort": 9646}],
            "env": [
                {"name": "LOCUST_EXPORTER_URI", "value": "http://localhost:8089"},
                {"name": "LOCUST_EXPORTER_WEB_LISTEN_ADDRESS", "value": ":9646"},
            ],
            "resources": {
                "requests": {"cpu": "250m", "memory": "128Mi", "ephemeral-storage": "30M"},
                "limits": {"cpu": "1000m", "memory": "1024Mi", "ephemeral-storage": "50M"},
            },
            "securityContext": {
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": true,
                "allowPrivilegeEscalation": false,
            },
        }])
    );
    assert_eq!(made.pod("worker", "/spec/initContainers"), &Value::Null);
}

#[test]
fn no_metrics_exporter_with_otel() {
    let made = made("spec: {observability: {openTelemetry: {enabled: true, endpoint: e}}}");
    assert_eq!(made.pod("master", "/spec/initContainers"), &Value::Null);
}

#[test]
fn resources_are_the_common_ones_by_default() {
    let made = made("{}");
    for role in ROLES {
        assert_eq!(
            made.container(role, "/resources"),
            &json!({
                "requests": {"cpu": "250m", "memory": "128Mi", "ephemeral-storage": "30M"},
                "limits": {"cpu": "1000m", "memory": "1024Mi", "ephemeral-storage": "50M"},
            })
        );
    }
}

/// Field by field: the role's operator value, else the common one.
#[test]
fn resources_of_the_operator_per_field() {
    const FIELDS: [(&str, &str); 6] = [
        ("CPU_REQUEST", "/requests/cpu"),
        ("MEM_REQUEST", "/requests/memory"),
        ("EPHEMERAL_REQUEST", "/requests/ephemeral-storage"),
        ("CPU_LIMIT", "/limits/cpu"),
        ("MEM_LIMIT", "/limits/memory"),
        ("EPHEMERAL_LIMIT", "/limits/ephemeral-storage"),
    ];
    for (variable, pointer) in FIELDS {
        for (role, other) in [("master", "worker"), ("worker", "master")] {
            let common = format!("POD_{variable}=7");
            let own = format!("{}_POD_{variable}=9", role.to_uppercase());
            let made = made_with(&[&common, &own], "{}");
            for (_, field) in FIELDS {
                let resource = |role| made.container(role, &format!("/resources{field}"));
                if field == pointer {
                    assert_eq!(resource(role), "9");
                    assert_eq!(resource(other), "7");
                } else {
                    assert_eq!(resource(role), resource(other));
                    assert!(resource(role) != "7" && resource(role) != "9");
                }
            }
        }
    }
}

#[test]
fn resources_of_the_test_replace_the_operators_whole() {
    for own in [
        "{requests: {cpu: 2}}",
        "{limits: {memory: 1Gi}}",
        "{requests: {cpu: '1'}, limits: {nvidia.com/gpu: 1}}",
    ] {
        let made = made_with(
            &["MASTER_POD_CPU_LIMIT=9"],
            &format!("spec: {{master: {{resources: {own}}}}}"),
        );
        let expected: Value = serde_saphyr::from_str(own).unwrap();
        assert_eq!(made.container("master", "/resources"), &expected);
        // One role's block says nothing about the other.
        assert_eq!(made.container("worker", "/resources/requests/cpu"), "250m");
    }
}

#[test]
fn resources_of_the_test_that_set_nothing_leave_the_operators() {
    for own in ["{}", "{requests: {}}", "{requests: {}, limits: {}}"] {
        let made = made(&format!("spec: {{worker: {{resources: {own}}}}}"));
        assert_eq!(
            made.container("worker", "/resources/requests/cpu"),
            "250m",
            "{own}"
        );
    }
}

/// A claim is no request: the operator's requests stay, and so does the claim.
#[test]
fn resource_claims_are_kept_beside_the_operators_requests() {
    let made = made("spec: {worker: {resources: {claims: [{name: gpu}]}}}");
    assert_eq!(
        made.container("worker", "/resources/claims"),
        &json!([{"name": "gpu"}])
    );
    assert_eq!(made.container("worker", "/resources/requests/cpu"), "250m");
}
