//! Pods in trouble, as tests/cluster/README.md lists them: what the test says of it, when, and when it fails.

use crate::support::{Room, bundle_with, condition, test, until};
use jiff::Timestamp;
use lotest::bundle::{Bundle, Files};
use regex::Regex;
use serde_json::{Value, json};

/// Trouble may last this long.
const GRACE: i64 = 5;

fn bundle(grace: i64) -> Bundle {
    bundle_with(|files| {
        let values = files.get_mut("values.yaml").unwrap();
        *values = values
            .replace("pods: 2m", &format!("pods: {grace}s"))
            .replace("room: 10m", &format!("room: {}s", grace + 1));
        init_container(files);
    })
}

/// An init container in the workers of the tests that are labelled for it: the built-in pods have none.
fn init_container(files: &mut Files) {
    let pod = files.get_mut("templates/_pod.yaml").unwrap();
    let block = "      {% block initContainers %}\n";
    assert!(pod.contains(block));
    let init = format!(
        "{block}      {{% if role == \"worker\" and test.metadata.labels and test.metadata.labels.init %}}\n      - {{name: prepare, image: {{{{ test.spec.image }}}}}}\n      {{% endif %}}\n"
    );
    *pod = pod.replace(block, &init);
}

/// A test whose pods of one role behave so.
fn behaving(name: &str, role: &str, behaviour: &str) -> Value {
    let mut test = test(name);
    for role in ["master", "worker"] {
        test["spec"][role]["annotations"] = json!({"kwok.lotest/behaviour": "run-forever"});
    }
    test["spec"][role]["annotations"] =
        json!({"kwok.lotest/behaviour": behaviour, "kwok.lotest/run-for": "1s"});
    test
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

async fn events(room: &Room, test: &str, reason: &str) -> Vec<Value> {
    let mut events = room.list("Event").await;
    events.retain(|e| e["regarding"]["name"] == test && e["reason"] == reason);
    events
}

/// The trouble of a test that failed for it.
struct Trouble {
    name: &'static str,
    role: &'static str,
    behaviour: &'static str,
    reason: &'static str,
    /// A regular expression.
    detail: &'static str,
    grace: i64,
}

const TROUBLES: &[Trouble] = &[
    Trouble {
        name: "pull",
        role: "worker",
        behaviour: "image-pull",
        reason: "ImagePullError",
        detail: r#"locustio/locust:2\.20\.0: (ErrImagePull|ImagePullBackOff: Back-off pulling image "locustio/locust:2\.20\.0": ErrImagePull): rpc error: .*: not found"#,
        grace: GRACE,
    },
    Trouble {
        name: "name",
        role: "master",
        behaviour: "invalid-image-name",
        reason: "ImagePullError",
        detail: "locustio/locust:2\\.20\\.0: InvalidImageName: Failed to apply default image tag .*: invalid reference format",
        // It cannot become a name by waiting.
        grace: 0,
    },
    Trouble {
        name: "config",
        role: "worker",
        behaviour: "config-error",
        reason: "ConfigurationError",
        detail: r#"config-worker: configmap "app-config" not found"#,
        grace: GRACE,
    },
    Trouble {
        name: "secret",
        role: "master",
        behaviour: "config-error",
        reason: "ConfigurationError",
        detail: r#"secret-master: secret "api-credentials" not found"#,
        grace: GRACE,
    },
    Trouble {
        name: "crash",
        role: "master",
        behaviour: "crash-loop",
        reason: "CrashLoopBackOff",
        detail: r"sidecar container locust-metrics-exporter was restarted 3 times, last after exit code 1 \(Error\)",
        grace: GRACE,
    },
    Trouble {
        name: "nowhere",
        role: "worker",
        behaviour: "run",
        reason: "SchedulingError",
        detail: r"0/\d+ nodes are available: .* node\(s\) didn't match Pod's node affinity/selector.*",
        grace: GRACE + 1,
    },
    // Nothing starts such a container again: there is nothing to wait for.
    Trouble {
        name: "init",
        role: "worker",
        behaviour: "init-error",
        reason: "InitializationError",
        detail: r"prepare ended with exit code 1 \(Error\)",
        grace: 0,
    },
];

#[tokio::test]
async fn trouble_that_lasts_fails_the_test_and_says_why() {
    let room = Room::new("trouble").await;
    let _operator = room.operator_of(bundle(GRACE)).await;
    for trouble in TROUBLES {
        let mut test = behaving(trouble.name, trouble.role, trouble.behaviour);
        match trouble.name {
            "secret" => {
                let message = r#"secret "api-credentials" not found"#;
                test["spec"]["master"]["annotations"]["kwok.lotest/message"] = message.into();
            }
            "nowhere" => {
                test["spec"]["scheduling"] = json!({"nodeSelector": {"disktype": "quantum"}})
            }
            "init" => test["metadata"]["labels"] = json!({"init": "yes"}),
            _ => {}
        }
        room.create(test).await;
    }
    for trouble in TROUBLES {
        let Trouble { name, role, .. } = trouble;
        let failed = room.until_phase(name, "Failed").await;
        let healthy = condition(&failed, "PodsHealthy");
        assert_eq!(healthy["status"], "False", "{name}: {healthy}");
        assert_eq!(healthy["reason"], trouble.reason, "{name}: {healthy}");
        let message = healthy["message"].as_str().unwrap();
        let pod = if *name == "nowhere" {
            "(master|worker)"
        } else {
            role
        };
        let form = format!(
            r"^{}: (\d) pod\(s\) affected \[({name}-{pod}-[a-z0-9]{{5}}(, )?)+\]: {}$",
            trouble.reason, trouble.detail
        );
        assert!(
            Regex::new(&form).unwrap().is_match(message),
            "{name}: {message}\nis not\n{form}"
        );

        let completed = condition(&failed, "TestCompleted");
        assert_eq!(completed["reason"], "TestFailed");
        let why = match *name {
            // Its Job failed with it.
            "init" => {
                let (pods, ended) = message.split_once("]: ").unwrap();
                let (_, pods) = pods.split_once('[').unwrap();
                format!(
                    "Test failed: its workers failed while the master was running: \
                     Job init-worker: Job has reached the specified backoff limit. {pods}: {ended}"
                )
            }
            _ => format!("Test failed: {message}"),
        };
        assert_eq!(completed["message"], why, "{name}");
        assert_eq!(condition(&failed, "Ready")["reason"], "ResourcesFailed");

        // Its pods are gone by now, and none was made before the test.
        let created = time(&failed["metadata"]["creationTimestamp"]);
        let lasted = time(&failed["status"]["completionTime"]).duration_since(created);
        assert!(
            lasted.as_secs() >= trouble.grace,
            "{name} failed after {lasted:?}"
        );

        let said = until("the event", async || {
            let said = events(&room, name, "PodFailure").await;
            (!said.is_empty()).then_some(said)
        })
        .await;
        let [said] = &said[..] else {
            panic!("{name}: one event, not {said:?}");
        };
        assert_eq!(said["type"], "Warning");
        assert_eq!(said["note"], message);
    }
}

/// How pods ended is evidence, whatever the grace: the Jobs decide.
#[tokio::test]
async fn how_pods_end_decides_with_no_grace() {
    let room = Room::new("ends").await;
    let _operator = room.operator_of(bundle(3600)).await;
    let mut oom = behaving("oom", "master", "oom");
    oom["spec"]["worker"]["annotations"] = json!({"kwok.lotest/run-for": "30s"});
    room.create(oom).await;
    for (name, role) in [("requests", "master"), ("workers", "worker")] {
        let mut test = behaving(name, role, "fail");
        // What ends sooner has crashed at its start.
        test["spec"][role]["annotations"]["kwok.lotest/run-for"] = "7s".into();
        room.create(test).await;
    }
    room.create(behaving("crash", "master", "fail")).await;
    // Workers that are evicted again and again are replaced; the master ends well.
    let mut disrupted = behaving("disrupted", "worker", "disrupted");
    disrupted["spec"]["worker"]["annotations"]["kwok.lotest/run-for"] = "1s".into();
    // The Job controller waits ten seconds and more before it replaces a pod.
    disrupted["spec"]["master"]["annotations"] = json!({"kwok.lotest/run-for": "40s"});
    room.create(disrupted).await;

    let limit = "Job has reached the specified backoff limit";
    let pods = Regex::new("(workers-worker-[a-z0-9]{5}(, )?)+").unwrap();
    for (name, before, evidence, after, unhealthy) in [
        (
            "oom",
            format!("Job oom-master: {limit}. "),
            "oom-master ran out of memory; its limit is 1Gi",
            "",
            true,
        ),
        (
            "crash",
            format!("Job crash-master: {limit}. "),
            "crash-master ended as soon as it had started, with exit code 1 (Error); its log says more",
            "",
            true,
        ),
        (
            "requests",
            String::new(),
            "requests-master ended with exit code 1 (Error); its log says more",
            ". Locust ends so when requests failed",
            false,
        ),
        (
            "workers",
            format!(
                "its workers failed while the master was running: Job workers-worker: {limit}. PODS: "
            ),
            "workers-worker ended with exit code 1 (Error); its log says more",
            "",
            false,
        ),
    ] {
        let failed = room.until_phase(name, "Failed").await;
        let completed = condition(&failed, "TestCompleted");
        assert_eq!(completed["reason"], "TestFailed");
        let said = format!("Test failed: {before}{evidence}{after}");
        let message = completed["message"].as_str().unwrap();
        assert_eq!(pods.replace(message, "PODS"), said, "{name}");
        let event = &until("the event", async || {
            events(&room, name, "TestFailed").await.pop()
        })
        .await;
        assert!(
            event["note"].as_str().unwrap().ends_with(evidence),
            "{event}"
        );
        // What Locust itself ended with is no fault of the pods.
        let healthy = condition(&failed, "PodsHealthy");
        let (status, reason) = match unhealthy {
            true => ("False", "CrashLoopBackOff"),
            false => ("True", "PodsHealthy"),
        };
        assert_eq!(
            (&healthy["status"], &healthy["reason"]),
            (&json!(status), &json!(reason)),
            "{name}"
        );
        let said = usize::from(unhealthy);
        assert_eq!(
            events(&room, name, "PodFailure").await.len(),
            said,
            "{name}"
        );
    }
    let ended = room.until_phase("disrupted", "Succeeded").await;
    assert_eq!(condition(&ended, "PodsHealthy")["status"], "True");
    let pods = room.list("Pod").await;
    let replaced = pods
        .iter()
        .filter(|p| p["metadata"]["labels"]["performance-test-pod-name"] == "disrupted-worker");
    assert!(replaced.count() > 2, "a disrupted worker is replaced");
    assert_eq!(
        events(&room, "disrupted", "PodFailure").await,
        [] as [Value; 0]
    );
}

/// The grace passes while the test runs: a timer that was left behind would fail it.
#[tokio::test]
async fn trouble_that_goes_away_leaves_nothing_behind() {
    let room = Room::new("passing").await;
    let _operator = room.operator_of(bundle(15)).await;
    let mut test = behaving("load", "worker", "config-error");
    test["spec"]["worker"]["replicas"] = 1.into();
    test["spec"]["worker"]["annotations"]["kwok.lotest/run-for"] = "17s".into();
    test["spec"]["master"]["annotations"] = json!({"kwok.lotest/run-for": "18s"});
    room.create(test).await;

    let waiting = "/status/containerStatuses/0/state/waiting/reason";
    let pod = until("a worker in trouble", async || {
        let pods = room.list("Pod").await;
        pods.into_iter().find(|p| {
            p.pointer(waiting)
                .is_some_and(|r| r == "CreateContainerConfigError")
        })
    })
    .await;
    let name = pod["metadata"]["name"].as_str().unwrap();
    // Somebody makes the ConfigMap: the kubelet tries again.
    for (resource, patch) in [
        (
            "",
            r#"{"metadata":{"annotations":{"kwok.lotest/behaviour":"run"}}}"#,
        ),
        (
            "--subresource=status",
            r#"[{"op":"replace","path":"/status/containerStatuses/0/state","value":{"waiting":{"reason":"ContainerCreating"}}}]"#,
        ),
    ] {
        let kind = if resource.is_empty() {
            "--type=merge"
        } else {
            "--type=json"
        };
        let mut arguments = vec!["patch", "pod", name, kind, "-p", patch];
        arguments.extend(Some(resource).filter(|r| !r.is_empty()));
        let output = room.kubectl(&arguments);
        assert!(output.status.success(), "{output:?}");
    }
    let ended = room.until_phase("load", "Succeeded").await;
    let healthy = condition(&ended, "PodsHealthy");
    assert_eq!(healthy["status"], "True");
    // It never was another: the time of its last transition is that of the first status.
    assert_eq!(
        healthy["lastTransitionTime"],
        condition(&ended, "Ready")["lastTransitionTime"]
    );
    assert_eq!(events(&room, "load", "PodFailure").await, [] as [Value; 0]);
}
