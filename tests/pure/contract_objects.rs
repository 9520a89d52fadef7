//! What is made for a test: objects, their names and metadata, Jobs, pods. One test for each thing that a user
//! relies on; containers are in [`contract_containers`](crate::contract_containers).

use serde_json::{Value, json};

use crate::support::{ROLES, made, made_with, names};

const OTEL: &str = "{observability: {openTelemetry: {enabled: true, endpoint: 'otel:4317'}}}";

fn with_otel() -> crate::support::Made {
    made(&format!("spec: {OTEL}"))
}

#[test]
fn three_objects_are_made() {
    let made = made("{}");
    let objects: Vec<_> = made
        .objects()
        .map(|(_, o)| {
            (
                o["apiVersion"].as_str().unwrap(),
                o["kind"].as_str().unwrap(),
                o["metadata"]["name"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        objects,
        [
            ("batch/v1", "Job", "load-master"),
            ("v1", "Service", "load-master"),
            ("batch/v1", "Job", "load-worker"),
        ]
    );
}

#[test]
fn dots_in_the_name_become_dashes() {
    let made = made("metadata: {name: a.b.c}");
    assert_eq!(made.service("/metadata/name"), "a-b-c-master");
    assert_eq!(
        made.service("/spec/selector/performance-test-pod-name"),
        "a-b-c-master"
    );
    assert!(made.args("worker").contains(&"--master-host=a-b-c-master"));
    for role in ROLES {
        let name = format!("a-b-c-{role}");
        assert_eq!(made.job(role, "/metadata/name"), &name);
        assert_eq!(made.container(role, "/name"), &name);
        assert_eq!(made.pod(role, "/metadata/labels/app"), "a-b-c");
        assert_eq!(
            made.pod(role, "/metadata/labels/performance-test-name"),
            "a-b-c"
        );
        assert_eq!(
            made.pod(role, "/metadata/labels/performance-test-pod-name"),
            &name
        );
    }
}

#[test]
fn the_longest_name_still_names_everything() {
    let name = "a".repeat(56);
    let made = made(&format!(
        "{{metadata: {{name: {name}}}, spec: {{testFiles: {{configMapRef: c}}}}}}"
    ));
    for role in ROLES {
        assert_eq!(
            made.pod(role, "/spec/volumes/0/name"),
            &format!("{name}-{role}")
        );
    }
}

#[test]
fn service_ports() {
    assert_eq!(
        made("{}").service("/spec/ports"),
        &json!([
            {"name": "port5557", "port": 5557, "protocol": "TCP"},
            {"name": "port5558", "port": 5558, "protocol": "TCP"},
            {"name": "prometheus-metrics", "port": 9646, "protocol": "TCP"},
        ])
    );
}

#[test]
fn service_has_no_metrics_port_with_otel() {
    assert_eq!(
        names(with_otel().service("/spec/ports")),
        ["port5557", "port5558"]
    );
}

#[test]
fn service_selects_the_master() {
    assert_eq!(
        made("{}").service("/spec/selector"),
        &json!({"performance-test-pod-name": "load-master"})
    );
}

#[test]
fn parallelism_is_one_master_and_all_workers() {
    let made = made("spec: {worker: {replicas: 17}}");
    assert_eq!(made.job("master", "/spec/parallelism"), 1);
    assert_eq!(made.job("worker", "/spec/parallelism"), 17);
}

#[test]
fn jobs_do_not_retry_nor_count_completions() {
    let made = made("{}");
    for role in ROLES {
        assert_eq!(made.job(role, "/spec/backoffLimit"), 0);
        assert_eq!(made.job(role, "/spec/completions"), &Value::Null);
        assert_eq!(made.pod(role, "/spec/restartPolicy"), "Never");
    }
}

#[test]
fn jobs_have_a_ttl_only_when_one_is_set() {
    for role in ROLES {
        let ttl = "/spec/ttlSecondsAfterFinished";
        assert_eq!(made("{}").job(role, ttl), &Value::Null);
        let variable = "JOB_TTL_SECONDS_AFTER_FINISHED";
        assert_eq!(
            made_with(&[&format!("{variable}=600")], "{}").job(role, ttl),
            600
        );
        assert_eq!(
            made_with(&[&format!("{variable}=0")], "{}").job(role, ttl),
            0
        );
    }
}

/// One lost worker is not a lost test; the master has no such policy: it cannot go on elsewhere.
#[test]
fn a_disrupted_pod_does_not_fail_the_worker_job() {
    let made = made("{}");
    assert_eq!(
        made.job("worker", "/spec/podFailurePolicy"),
        &json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]})
    );
    assert_eq!(made.job("master", "/spec/podFailurePolicy"), &Value::Null);
}

#[test]
fn every_object_has_the_controller_owner_reference() {
    let made = made("metadata: {namespace: perf, uid: 8d1c-uid}");
    for (stem, object) in made.objects() {
        assert_eq!(
            object["metadata"]["ownerReferences"],
            json!([{
                "apiVersion": "locust.io/v2",
                "kind": "LocustTest",
                "name": "load",
                "uid": "8d1c-uid",
                "controller": true,
                "blockOwnerDeletion": true,
            }]),
            "{stem}"
        );
        assert_eq!(object["metadata"]["namespace"], "perf", "{stem}");
    }
}

#[test]
fn pod_labels() {
    let made = made("{}");
    for role in ROLES {
        assert_eq!(
            made.pod(role, "/metadata/labels"),
            &json!({
                "app": "load",
                "performance-test-name": "load",
                "performance-test-pod-name": format!("load-{role}"),
                "managed-by": "locust-k8s-operator",
            })
        );
    }
}

#[test]
fn user_labels_are_added_to_the_pods_of_their_role() {
    let made = made("spec: {master: {labels: {team: a}}, worker: {labels: {team: b}}}");
    assert_eq!(made.pod("master", "/metadata/labels/team"), "a");
    assert_eq!(made.pod("worker", "/metadata/labels/team"), "b");
}

#[test]
fn user_labels_never_replace_one_of_the_four() {
    let mine =
        "{app: x, performance-test-name: x, performance-test-pod-name: x, managed-by: x, y: z}";
    let made = made(&format!(
        "spec: {{master: {{labels: {mine}}}, worker: {{labels: {mine}}}}}"
    ));
    for role in ROLES {
        assert_eq!(
            made.pod(role, "/metadata/labels"),
            &json!({
                "app": "load",
                "performance-test-name": "load",
                "performance-test-pod-name": format!("load-{role}"),
                "managed-by": "locust-k8s-operator",
                "y": "z",
            })
        );
    }
}

#[test]
fn master_annotations_for_prometheus() {
    let made = made("{}");
    assert_eq!(
        made.pod("master", "/metadata/annotations"),
        &json!({"prometheus.io/scrape": "true", "prometheus.io/path": "/metrics", "prometheus.io/port": "9646"})
    );
    assert_eq!(made.pod("worker", "/metadata/annotations"), &Value::Null);
}

#[test]
fn no_annotations_for_prometheus_with_otel() {
    assert_eq!(
        with_otel().pod("master", "/metadata/annotations"),
        &Value::Null
    );
}

#[test]
fn user_annotations_win() {
    let made = made(
        "spec: {master: {annotations: {prometheus.io/port: '1', a: b}}, worker: {annotations: {prometheus.io/port: '2'}}}",
    );
    assert_eq!(
        made.pod("master", "/metadata/annotations"),
        &json!({"prometheus.io/scrape": "true", "prometheus.io/path": "/metrics", "prometheus.io/port": "1", "a": "b"})
    );
    assert_eq!(
        made.pod("worker", "/metadata/annotations"),
        &json!({"prometheus.io/port": "2"})
    );
}

#[test]
fn user_annotations_stay_with_otel() {
    let made = made(&format!(
        "spec: {}, master: {{annotations: {{a: b}}}}}}",
        OTEL.strip_suffix('}').unwrap()
    ));
    assert_eq!(
        made.pod("master", "/metadata/annotations"),
        &json!({"a": "b"})
    );
}

#[test]
fn pods_have_the_seccomp_profile_of_the_runtime() {
    let made = made("{}");
    for role in ROLES {
        assert_eq!(
            made.pod(role, "/spec/securityContext"),
            &json!({"seccompProfile": {"type": "RuntimeDefault"}})
        );
        assert_eq!(made.container(role, "/securityContext"), &Value::Null);
    }
}

#[test]
fn a_pod_security_context_replaces_the_default_whole() {
    for context in ["{runAsUser: 1000}", "{}"] {
        let made = made(&format!(
            "spec: {{security: {{podSecurityContext: {context}}}}}"
        ));
        let expected: Value = serde_saphyr::from_str(context).unwrap();
        for role in ROLES {
            assert_eq!(made.pod(role, "/spec/securityContext"), &expected);
        }
    }
}

#[test]
fn a_container_security_context_is_that_of_both_locust_containers() {
    let made = made("spec: {security: {containerSecurityContext: {runAsNonRoot: true}}}");
    for role in ROLES {
        assert_eq!(
            made.container(role, "/securityContext"),
            &json!({"runAsNonRoot": true})
        );
    }
    let exporter = made.pod("master", "/spec/initContainers/0/securityContext");
    assert_eq!(exporter["runAsNonRoot"], Value::Null);
}

#[test]
fn runtime_class_is_that_of_the_test_or_of_the_operator() {
    let class = |variables: &[&str], patch: &str| {
        let made = made_with(variables, patch);
        let [master, worker] = ROLES.map(|role| made.pod(role, "/spec/runtimeClassName").clone());
        assert_eq!(master, worker);
        master
    };
    let operator = ["DEFAULT_RUNTIME_CLASS_NAME=gvisor"];
    let own = "spec: {scheduling: {runtimeClassName: kata}}";
    assert_eq!(class(&[], "{}"), Value::Null);
    assert_eq!(class(&[], own), "kata");
    assert_eq!(class(&operator, "{}"), "gvisor");
    assert_eq!(
        class(&operator, "spec: {scheduling: {nodeSelector: {a: b}}}"),
        "gvisor"
    );
    assert_eq!(class(&operator, own), "kata");
}

#[test]
fn an_empty_runtime_class_opts_out() {
    let made = made_with(
        &["DEFAULT_RUNTIME_CLASS_NAME=gvisor"],
        "spec: {scheduling: {runtimeClassName: ''}}",
    );
    for role in ROLES {
        assert_eq!(made.pod(role, "/spec/runtimeClassName"), &Value::Null);
    }
}

#[test]
fn node_selector_and_pull_secrets_reach_both_pods() {
    let made = made(
        "spec: {scheduling: {nodeSelector: {disk: ssd}}, imagePullSecrets: [{name: a}, {name: b}]}",
    );
    for role in ROLES {
        assert_eq!(
            made.pod(role, "/spec/nodeSelector"),
            &json!({"disk": "ssd"})
        );
        assert_eq!(made.names(role, "/spec/imagePullSecrets"), ["a", "b"]);
    }
}
