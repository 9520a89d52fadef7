//! The commands of the API reference, as written there, and what they print. The page's test is `my-test`, its
//! file `locusttest.yaml`.

use crate::older::{NAMESPACE_OF_DELETED, minor};
use crate::shell::{Shell, said, stdout, table};
use crate::support::{Room, condition, longer, test, until};
use serde_json::{Value, json};

/// The page's "Generic shell script example".
const CI_SCRIPT: &str = r#"#!/bin/bash
set -e

# Apply test
kubectl apply -f locusttest.yaml

# Wait for completion (either Succeeded or Failed)
echo "Waiting for test to complete..."
while true; do
  PHASE=$(kubectl get locusttest my-test -o jsonpath='{.status.phase}' 2>/dev/null)
  case "$PHASE" in
    Succeeded)
      echo "Test passed!"
      exit 0
      ;;
    Failed)
      echo "Test failed!"
      kubectl describe locusttest my-test
      exit 1
      ;;
    *)
      echo "Phase: $PHASE - waiting..."
      sleep 10
      ;;
  esac
done
"#;

/// The page's "Complete v2 Example"; the demo runs the same file.
const EXAMPLE: &str = include_str!("../../demo/comprehensive-test.yaml");
const EXAMPLE_CLUSTER: &str = include_str!("../../demo/cluster.yaml");

fn my_test() -> Value {
    longer(test("my-test"))
}

fn my_failing_test() -> Value {
    let mut test = my_test();
    test["spec"]["master"]["annotations"]["kwok.lotest/behaviour"] = "fail".into();
    test
}

fn with_file(room: &Room, test: &Value) -> Shell {
    let shell = Shell::new(room);
    // JSON is YAML.
    shell.write("locusttest.yaml", &test.to_string());
    shell
}

/// "Checking Status", "Kubectl Commands", "Printer Columns".
#[tokio::test]
async fn kubectl_shows_what_the_page_documents() {
    let room = Room::new("kubectl").await;
    let shell = with_file(&room, &my_test());
    shell.ok("kubectl apply -f locusttest.yaml");

    // Before any operator has seen it.
    let listed = shell.ok("kubectl get locusttests");
    assert_eq!(
        table(&listed)[0],
        ["NAME", "PHASE", "WORKERS", "CONNECTED", "AGE"]
    );
    assert_eq!(table(&listed)[1][..2], ["my-test", "2"], "{listed}");

    let _watch = shell.start("kubectl get locusttest my-test -w", "watch");
    let _operator = room.operator();
    until("the last line of the watch", async || {
        shell.read("watch").contains("Succeeded").then_some(())
    })
    .await;
    let watched = shell.read("watch");
    let phases: Vec<&str> = table(&watched).iter().skip(2).map(|row| row[1]).collect();
    let order = |phase: &&str| {
        ["Pending", "Running", "Succeeded"]
            .iter()
            .position(|p| p == phase)
    };
    assert!(phases.is_sorted_by_key(order), "{watched}");
    assert!(phases.contains(&"Running"), "{watched}");

    for command in [
        "kubectl get locusttests",
        "kubectl get lotest  # short name",
        "kubectl get locusttest my-test",
    ] {
        let listed = shell.ok(command);
        let [head, row] = &table(&listed)[..] else {
            panic!("{command}: {listed}");
        };
        assert_eq!(head[..], ["NAME", "PHASE", "WORKERS", "CONNECTED", "AGE"]);
        assert_eq!(row[..4], ["my-test", "Succeeded", "2", "2"]);
        assert!(
            row[4].ends_with('s') || row[4].contains('m'),
            "an age: {listed}"
        );
    }
    let wide = shell.ok("kubectl get lotest -o wide");
    assert_eq!(
        table(&wide)[0],
        ["NAME", "PHASE", "WORKERS", "CONNECTED", "IMAGE", "AGE"]
    );
    assert_eq!(table(&wide)[1][4], "locustio/locust:2.20.0");

    let status: Value =
        serde_json::from_str(&shell.ok("kubectl get locusttest my-test -o jsonpath='{.status}'"))
            .expect("what `jq .` reads");
    assert_eq!(status["phase"], "Succeeded");
    assert_eq!(
        shell.ok(
            r#"kubectl get locusttest my-test -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}'"#
        ),
        "True"
    );
    assert_eq!(
        shell.ok(
            "kubectl get locusttest my-test -o jsonpath='{.status.connectedWorkers}/{.status.expectedWorkers}'"
        ),
        "2/2"
    );

    let described = shell.ok("kubectl describe locusttest my-test");
    for line in [
        "Phase:                   Succeeded",
        "Message:               Test completed successfully",
        "Normal  Created        ",
        "Created Service my-test-master",
        "Created Job my-test-master",
        "Created Job my-test-worker",
        "Normal  TestStarted    ",
        "Normal  TestCompleted  ",
    ] {
        assert!(described.contains(line), "no {line:?} in {described}");
    }

    // It has not always named the namespace.
    let place = match minor(&room).await >= NAMESPACE_OF_DELETED {
        true => format!(" from {} namespace", room.namespace),
        false => String::new(),
    };
    assert_eq!(
        shell.ok("kubectl delete locusttest my-test"),
        format!("locusttest.locust.io \"my-test\" deleted{place}\n")
    );
    let nothing = shell.run("kubectl get locusttests");
    assert!(
        said(&nothing).contains("No resources found"),
        "{}",
        said(&nothing)
    );
}

/// "CI/CD Integration": every condition can be waited for.
#[tokio::test]
async fn kubectl_waits_for_phases_and_conditions() {
    let room = Room::new("wait").await;
    let shell = with_file(&room, &my_test());
    let _operator = room.operator();
    shell.ok("kubectl apply -f locusttest.yaml");
    for wanted in [
        "condition=Ready",
        "condition=WorkersConnected",
        "condition=PodsHealthy",
        "condition=TestCompleted",
        "jsonpath='{.status.phase}'=Succeeded",
    ] {
        let said = shell.ok(&format!(
            "kubectl wait locusttest/my-test --for={wanted} --timeout=90s"
        ));
        assert_eq!(said, "locusttest.locust.io/my-test condition met\n");
    }
}

/// Locust's workers end before their master does. That is no loss.
#[tokio::test]
async fn the_status_of_a_test_that_ended_counts_its_workers() {
    let room = Room::new("workers").await;
    let mut test = my_test();
    test["spec"]["worker"]["annotations"]["kwok.lotest/run-for"] = "3s".into();
    test["spec"]["master"]["annotations"]["kwok.lotest/run-for"] = "6s".into();
    let _operator = room.operator();
    room.create(test).await;
    let done = |job: &Value| job["status"]["succeeded"] == 2;
    room.until("Job", "my-test-worker", done).await;
    let ended = room.until_phase("my-test", "Succeeded").await;
    assert_eq!(ended["status"]["connectedWorkers"], 2);
    let workers = condition(&ended, "WorkersConnected");
    assert_eq!(workers["reason"], "AllWorkersConnected");
    assert_eq!(workers["message"], "2/2 workers connected");
}

/// The steps of the "GitHub Actions example", each in a shell of its own, as a runner does it.
#[tokio::test]
async fn the_github_actions_steps_run() {
    let room = Room::new("actions").await;
    let shell = with_file(&room, &my_test());
    let _operator = room.operator();
    shell.ok("kubectl apply -f locusttest.yaml");
    shell.ok(r"kubectl wait locusttest/my-test \
  --for=jsonpath='{.status.phase}'=Succeeded \
  --timeout=30m
");
    shell.ok("kubectl delete locusttest my-test --ignore-not-found");
    room.until_gone("LocustTest", "my-test").await;
    shell.ok("kubectl delete locusttest my-test --ignore-not-found");
}

#[tokio::test]
async fn the_github_actions_steps_show_a_failure() {
    let room = Room::new("actions-fail").await;
    let shell = with_file(&room, &my_failing_test());
    let _operator = room.operator();
    shell.ok("kubectl apply -f locusttest.yaml");
    room.until_phase("my-test", "Failed").await;
    // The page waits for 30 minutes: a test that failed never becomes Succeeded.
    let wait = shell.run(
        "kubectl wait locusttest/my-test --for=jsonpath='{.status.phase}'=Succeeded --timeout=1s",
    );
    assert_eq!(wait.status.code(), Some(1));
    let failure =
        shell.ok("echo \"Test failed or timed out\"\nkubectl describe locusttest my-test");
    assert!(
        failure.contains("Reason:                TestFailed"),
        "{failure}"
    );
    // A simulated kubelet has no logs to give. The selector of `kubectl logs -l` finds the pods all the same.
    let logs = said(&shell.run("kubectl logs -l performance-test-name=my-test --tail=50"));
    assert!(!logs.contains("No resources found"), "{logs}");
    let pods = shell.ok("kubectl get pods -l performance-test-name=my-test -o name");
    assert_eq!(pods.lines().count(), 3, "{pods}");
    assert_eq!(
        shell.ok("kubectl get pods -l performance-test-name=other -o name"),
        ""
    );
}

#[tokio::test]
async fn the_ci_script_passes_with_the_test() {
    let room = Room::new("ci").await;
    let shell = with_file(&room, &my_test());
    shell.write("ci.sh", CI_SCRIPT);
    let _operator = room.operator();
    let output = shell.run("bash ci.sh");
    let printed = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(
        printed
            .starts_with("locusttest.locust.io/my-test created\nWaiting for test to complete...\n"),
        "{printed}"
    );
    assert!(printed.ends_with("Test passed!\n"), "{printed}");
}

#[tokio::test]
async fn the_ci_script_fails_with_the_test() {
    let room = Room::new("ci-fail").await;
    let shell = with_file(&room, &my_failing_test());
    shell.write("ci.sh", CI_SCRIPT);
    let _operator = room.operator();
    let output = shell.run("bash ci.sh");
    let printed = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    for line in [
        "Test failed!\n",
        "Reason:                TestFailed",
        "Warning  TestFailed",
    ] {
        assert!(printed.contains(line), "no {line:?} in {printed}");
    }
}

/// With what it refers to in the cluster: files, credentials, a volume, and nodes of the type it asks for, which are
/// tainted for it.
#[tokio::test]
async fn the_complete_example_runs_to_its_end() {
    let room = Room::new("example").await;
    let shell = Shell::new(&room);
    let namespace = &room.namespace;
    let objects = EXAMPLE_CLUSTER
        .replace("load-tests", namespace)
        .replace(
            "metadata: {name: test-data}",
            &format!("metadata: {{name: {namespace}}}"),
        )
        .replace("volumeName: test-data", &format!("volumeName: {namespace}"));
    shell.write("cluster.yaml", &objects);
    shell.write("node.yaml", &node(namespace).to_string());
    shell.write("example.yaml", EXAMPLE);
    shell.ok("kubectl apply -f cluster.yaml -f node.yaml");
    let _operator = room.operator();
    assert_eq!(
        shell.ok("kubectl apply -f example.yaml"),
        "locusttest.locust.io/comprehensive-test created\n"
    );
    let ended = room.until_phase("comprehensive-test", "Succeeded").await;
    assert_eq!(ended["status"]["connectedWorkers"], 10);
    assert_eq!(ended["status"]["expectedWorkers"], 10);
    for pod in room.list("Pod").await {
        assert_eq!(pod["spec"]["nodeName"], namespace.as_str());
    }
    shell.ok(&format!(
        "kubectl delete -f example.yaml && kubectl delete node/{namespace} pv/{namespace} --wait=false"
    ));
}

fn node(name: &str) -> Value {
    let capacity =
        json!({"cpu": "100", "memory": "1Ti", "ephemeral-storage": "1Ti", "pods": "100"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "node-type": "performance"},
        },
        "spec": {"taints": [{"key": "dedicated", "value": "performance", "effect": "NoSchedule"}]},
        "status": {"allocatable": capacity, "capacity": capacity},
    })
}

/// Applying again changes nothing; a change is seen in a diff, accepted, and said to be ignored.
#[tokio::test]
async fn a_file_can_be_applied_compared_and_edited() {
    let room = Room::new("edit").await;
    let mut file = my_test();
    file["spec"]["master"]["annotations"] = json!({"kwok.lotest/behaviour": "run-forever"});
    let shell = with_file(&room, &file);
    let _operator = room.operator();
    shell.ok("kubectl apply -f locusttest.yaml");
    room.until_phase("my-test", "Running").await;

    assert_eq!(
        shell.ok("kubectl apply -f locusttest.yaml"),
        "locusttest.locust.io/my-test unchanged\n"
    );
    assert_eq!(shell.ok("kubectl diff -f locusttest.yaml"), "");

    file["spec"]["worker"]["replicas"] = 3.into();
    shell.write("locusttest.yaml", &file.to_string());
    let diff = shell.run("kubectl diff -f locusttest.yaml");
    assert_eq!(diff.status.code(), Some(1), "{}", said(&diff));
    assert!(
        stdout(&diff).contains("\n-    replicas: 2\n+    replicas: 3\n"),
        "{}",
        stdout(&diff)
    );
    assert_eq!(
        shell.ok("kubectl apply -f locusttest.yaml"),
        "locusttest.locust.io/my-test configured\n"
    );
    let drifted = |t: &Value| condition(t, "SpecDrifted")["status"] == "True";
    let test = room.until("LocustTest", "my-test", drifted).await;
    let drift = condition(&test, "SpecDrifted");
    assert_eq!(drift["reason"], "SpecChangeIgnored");
    assert!(
        drift["message"]
            .as_str()
            .unwrap()
            .contains("spec.worker.replicas"),
        "{drift}"
    );

    // The same fields by another way, and back.
    let undrifted = |t: &Value| condition(t, "SpecDrifted").is_null();
    shell.ok("KUBE_EDITOR='sed -i s/replicas:.3/replicas:\\ 2/' kubectl edit locusttest my-test");
    room.until("LocustTest", "my-test", undrifted).await;
    shell
        .ok(r#"kubectl patch lotest my-test --type merge -p '{"spec":{"worker":{"replicas":3}}}'"#);
    room.until("LocustTest", "my-test", drifted).await;
    shell.ok(r#"kubectl patch lotest my-test --type json -p '[{"op":"replace","path":"/spec/worker/replicas","value":2}]'"#);
    room.until("LocustTest", "my-test", undrifted).await;
    let job = room.get("Job", "my-test-worker").await.unwrap();
    assert_eq!(job["spec"]["parallelism"], 2);
}

#[tokio::test]
async fn server_side_apply_runs_a_test_too() {
    let room = Room::new("ssa").await;
    let shell = with_file(&room, &my_test());
    let _operator = room.operator();
    for _ in 0..2 {
        assert_eq!(
            shell.ok("kubectl apply --server-side -f locusttest.yaml"),
            "locusttest.locust.io/my-test serverside-applied\n"
        );
    }
    room.until_phase("my-test", "Succeeded").await;
    // The operator owns the status and nothing else: no conflict with the owner of the spec.
    shell.ok("kubectl apply --server-side -f locusttest.yaml");
    assert_eq!(
        shell.ok("kubectl diff --server-side -f locusttest.yaml"),
        ""
    );
}

#[tokio::test]
async fn kubectl_explains_the_fields() {
    let room = Room::new("explain").await;
    let shell = Shell::new(&room);
    let master = shell.ok("kubectl explain locusttest.spec.master");
    for text in [
        "command\t<string> -required-",
        "autoquit\t<Object>",
        "DESCRIPTION:\n    The master pod",
    ] {
        assert!(master.contains(text), "no {text:?} in {master}");
    }
    // Every field of the page has a word of explanation.
    let all = shell.ok("kubectl explain locusttest.spec --recursive");
    for field in [
        "image",
        "master",
        "worker",
        "testFiles",
        "scheduling",
        "env",
        "volumes",
        "volumeMounts",
        "observability",
    ] {
        assert!(
            all.contains(&format!("\n  {field}\t")),
            "no {field} in {all}"
        );
        let text = shell.ok(&format!("kubectl explain locusttest.spec.{field}"));
        let description = text.split("DESCRIPTION:\n").nth(1).unwrap_or_default();
        assert!(
            !description.trim_start().starts_with("<empty>"),
            "{field}: {text}"
        );
    }
}
