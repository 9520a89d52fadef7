//! Releases in a real control plane: accepted, changed, removed; and the operator as a process with the flags, the
//! environment and the rights that the chart gives it.

use crate::cluster::{Cluster, cluster, until};
use crate::dashboard;
use crate::helm::{Rendered, at_home, file, template};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

const CHART: &str = "deploy/chart";

/// What the Prometheus Operator adds to a cluster, as far as the chart's objects need it.
const POD_MONITORS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: podmonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: PodMonitor, plural: podmonitors, singular: podmonitor}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"#;

const DEFINITION: &[&str] = &["customresourcedefinition", "locusttests.locust.io"];

fn values(name: &str) -> String {
    format!("tests/chart/values/{name}.yaml")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (headers, body) = answer.split_once("\r\n\r\n")?;
    Some((headers.split(' ').nth(1)?.parse().ok()?, body.to_string()))
}

/// A running operator of a release; killed when it goes out of scope.
struct Operator {
    process: Child,
    directory: PathBuf,
    health: u16,
    metrics: u16,
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Operator {
    /// What the kubelet would start, ready.
    fn of(cluster: &Cluster, namespace: &str) -> Operator {
        let deployment = cluster.get(&["deployment", "locust-operator", "-n", namespace]);
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("release-{namespace}"));
        std::fs::create_dir_all(&directory).unwrap();
        mount(cluster, namespace, pod, &directory);
        let account = pod["serviceAccountName"].as_str().unwrap();
        let kubeconfig = directory.join("kubeconfig");
        std::fs::write(&kubeconfig, cluster.kubeconfig_of(namespace, account)).unwrap();
        let (health, metrics) = (free_port(), free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_lotest"));
        for argument in container["args"].as_array().unwrap() {
            let argument = argument.as_str().unwrap();
            if !knows(argument) {
                continue;
            }
            let argument = match argument.split_once("-bind-address=:") {
                Some(("--metrics", _)) => format!("--metrics-bind-address=127.0.0.1:{metrics}"),
                Some((name, _)) => format!("{name}-bind-address=127.0.0.1:{}", free_port()),
                None => match argument.strip_prefix("/etc/lotest/") {
                    Some(mounted) => directory.join(mounted).display().to_string(),
                    None => argument.to_string(),
                },
            };
            command.arg(argument);
        }
        for variable in container["env"].as_array().unwrap() {
            if let Some(value) = variable["value"].as_str() {
                command.env(variable["name"].as_str().unwrap(), value);
            }
        }
        let process = command
            .arg(format!("--health-probe-bind-address=127.0.0.1:{health}"))
            .env("KUBECONFIG", &kubeconfig)
            .env("POD_NAME", "locust-operator-0")
            .env("POD_NAMESPACE", namespace)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let operator = Operator {
            process,
            directory,
            health,
            metrics,
        };
        until("readiness", || {
            get(health, "/readyz").filter(|(code, _)| *code == 200)
        });
        operator
    }

    /// Neither its layers nor its webhooks lack anything.
    fn is_content(&self) {
        until("content", || {
            get(self.health, "/readyz").filter(|(_, body)| body == "ok")
        });
    }

    /// What `helm test` runs.
    fn status(&self) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_lotest"))
            .args(["status", &format!("http://127.0.0.1:{}", self.health)])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Whether the operator has a flag.
fn knows(argument: &str) -> bool {
    static HELP: LazyLock<String> = LazyLock::new(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lotest"));
        let output = command.args(["operator", "--help"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    });
    let flag = argument.split('=').next().unwrap();
    !flag.starts_with("--") || HELP.contains(flag)
}

/// Writes what the ConfigMaps of a pod's volumes hold to where they are mounted.
fn mount(cluster: &Cluster, namespace: &str, pod: &Value, directory: &Path) {
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|m| m["name"] == volume["name"]).unwrap();
        let place = mount["mountPath"].as_str().unwrap();
        let place = directory.join(place.strip_prefix("/etc/lotest/").unwrap());
        for source in volume["projected"]["sources"].as_array().unwrap() {
            let name = source["configMap"]["name"].as_str().unwrap();
            let map = cluster.get(&["configmap", "-n", namespace, name]);
            for item in source["configMap"]["items"].as_array().unwrap() {
                let path = place.join(item["path"].as_str().unwrap());
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                let text = map["data"][item["key"].as_str().unwrap()].as_str().unwrap();
                std::fs::write(path, text).unwrap();
            }
        }
    }
}

/// Nothing was refused to an operator, and it asked for nothing outside these namespaces.
fn kept_to(cluster: &Cluster, account: &str, namespaces: &[&str]) {
    let requests = cluster.requests(&format!("system:serviceaccount:{account}"));
    assert!(requests.len() > 10, "{account}: {}", requests.len());
    for request in requests {
        let code = &request["responseStatus"]["code"];
        assert_ne!(code, 403, "{request}");
        let of = &request["objectRef"];
        let is_named = of["name"].is_string()
            || request["requestURI"]
                .as_str()
                .unwrap()
                .contains("metadata.name%3D");
        let is_inside = match of["namespace"].as_str() {
            Some(namespace) => namespaces.contains(&namespace),
            // A review asks what the operator itself may do.
            None => is_named || of["resource"] == "selfsubjectaccessreviews",
        };
        assert!(is_inside, "{request}");
    }
}

#[test]
fn all_objects_are_accepted() {
    let cluster = cluster();
    for namespace in ["perf", "team-a", "team-b"] {
        cluster.namespace(namespace);
    }
    cluster.kubectl_with(&["apply", "-f", "-"], POD_MONITORS);
    cluster.kubectl(&[
        "wait",
        "--for=condition=Established",
        "customresourcedefinition/podmonitors.monitoring.coreos.com",
    ]);
    for name in ["default", "everything", "legacy", "list", "namespaced"] {
        let objects = template(&file(&values(name)), &[]).unwrap();
        // Unknown fields are mistakes.
        let apply = [
            "apply",
            "--server-side",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
        ];
        cluster.kubectl_with(&apply, &objects);
    }
}

#[test]
fn a_release_goes_and_the_tests_stay() {
    let cluster = cluster();
    cluster.namespace("perf");
    cluster.kubectl_with(&["apply", "-f", "-"], POD_MONITORS);
    let release = cluster.release("load", "perf");
    let notes = release.apply(CHART, &[]);
    assert!(
        notes.contains("looks after LocustTests in all namespaces"),
        "{notes}"
    );
    assert!(notes.contains("stays, and with it every test"), "{notes}");
    cluster.kubectl(&["wait", "--for=condition=Established", &DEFINITION.join("/")]);
    cluster.create_test("perf", "stays");
    let trusts = || {
        let definition = cluster.get(DEFINITION);
        let path = "/spec/conversion/webhook/clientConfig/caBundle";
        definition.pointer(path).cloned()
    };
    {
        let operator = Operator::of(&cluster, "perf");
        cluster.until_succeeded("perf", "stays");
        until("trust in the certificate", trusts);
        operator.is_content();
        assert!(
            operator.status().contains("bundle"),
            "{}",
            operator.status()
        );
    }
    let notes = release.apply(CHART, &["--values", &values("everything")]);
    for said in [
        "locust-operator-layer-rules",
        "Secret kafka-user",
        "has no cert-manager",
        "port 4317",
    ] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
    assert!(
        trusts().is_some(),
        "the upgrade takes away what the operator set"
    );
    let before = cluster.get(&["locusttest.v2.locust.io", "-n", "perf", "stays"]);
    release.uninstall();
    assert!(
        !cluster
            .try_kubectl(&["get", "deployment", "-n", "perf", "locust-operator"], "")
            .status
            .success()
    );
    let after = cluster.get(&["locusttest.v2.locust.io", "-n", "perf", "stays"]);
    assert_eq!(before, after);
    // It comes back to what it left.
    release.apply(CHART, &[]);
    assert_eq!(
        cluster.get(&["locusttest.v2.locust.io", "-n", "perf", "stays"]),
        before
    );
}

/// The older chart, as far as an upgrade meets it: the definition among its templates, without the policy that keeps it.
#[test]
fn an_upgrade_of_the_older_chart_keeps_the_tests_from_then_on() {
    let cluster = cluster();
    cluster.namespace("older");
    let release = cluster.release("locust", "older");
    release.apply("tests/chart/older", &["--set", "replicaCount=1"]);
    cluster.kubectl(&["wait", "--for=condition=Established", &DEFINITION.join("/")]);
    cluster.create_test("older", "stays");
    let why = release.try_apply(CHART, &["--reuse-values"]).unwrap_err();
    assert!(why.contains("Use --reset-then-reuse-values"), "{why}");
    release.apply(CHART, &["--reset-then-reuse-values"]);
    let deployment = cluster.get(&["deployment", "locust-operator", "-n", "older"]);
    assert_eq!(deployment["spec"]["replicas"], 1, "a value of before");
    release.uninstall();
    let after = cluster.get(&["locusttest.v2.locust.io", "-n", "older", "stays"]);
    assert_eq!(after["spec"]["worker"]["replicas"], 2);
    let definition = cluster.get(DEFINITION);
    assert_eq!(
        definition["metadata"]["annotations"]["helm.sh/resource-policy"],
        "keep"
    );
    let service = &definition["spec"]["conversion"]["webhook"]["clientConfig"]["service"];
    assert_eq!(service["name"], "locust-operator-webhook");
    assert_eq!(service["namespace"], "older");
}

/// With just the rights that the chart gives, and nothing refused.
#[test]
fn the_operator_works_in_each_scope_and_touches_nothing_else() {
    let cluster = cluster();
    for namespace in ["whole", "alone", "listed", "team-a", "team-b"] {
        cluster.namespace(namespace);
    }
    {
        let whole = cluster.release("whole", "whole");
        whole.apply(CHART, &["--set", "metrics.enabled=true"]);
        cluster.kubectl(&["wait", "--for=condition=Established", &DEFINITION.join("/")]);
        let operator = Operator::of(&cluster, "whole");
        cluster.create_test("team-a", "whole");
        cluster.until_succeeded("team-a", "whole");
        has_what_the_dashboard_asks_for(&operator);
    }
    let requests = cluster.requests("system:serviceaccount:whole:locust-operator");
    let refused = requests
        .iter()
        .filter(|r| r["responseStatus"]["code"] == 403);
    assert_eq!(refused.collect::<Vec<_>>(), [&Value::Null; 0]);

    // Two that share the cluster; one of them has the definition, which the last one left.
    let listed = cluster.release("listed", "listed");
    listed.apply(CHART, &["--take-ownership", "--values", &values("list")]);
    let alone = cluster.release("alone", "alone");
    alone.apply(CHART, &["--values", &values("namespaced")]);
    let operators = [
        Operator::of(&cluster, "alone"),
        Operator::of(&cluster, "listed"),
    ];
    for namespace in ["whole", "alone", "listed", "team-a", "team-b"] {
        cluster.create_test(namespace, "one");
    }
    for namespace in ["alone", "team-a", "team-b"] {
        cluster.until_succeeded(namespace, "one");
    }
    for namespace in ["whole", "listed"] {
        let test = cluster.get(&["locusttest.v2.locust.io", "-n", namespace, "one"]);
        assert_eq!(test["status"], Value::Null, "{namespace}");
    }
    // What refers to the webhooks trusts them.
    until("trust in the certificates", || {
        let definition = cluster.get(DEFINITION);
        let client = &definition["spec"]["conversion"]["webhook"]["clientConfig"];
        assert_eq!(client["service"]["namespace"], "listed");
        let warnings = cluster.get(&[
            "validatingwebhookconfiguration",
            "locust-operator-validating",
        ]);
        let bundle = &warnings["webhooks"][0]["clientConfig"]["caBundle"];
        (bundle.is_string() && client["caBundle"] == *bundle).then_some(())
    });
    operators.iter().for_each(Operator::is_content);
    kept_to(&cluster, "alone:locust-operator", &["alone"]);
    kept_to(
        &cluster,
        "listed:locust-operator",
        &["listed", "team-a", "team-b"],
    );
}

fn has_what_the_dashboard_asks_for(operator: &Operator) {
    let (code, text) = get(operator.metrics, "/metrics").unwrap();
    assert_eq!(code, 200);
    for wanted in dashboard::of_the_operator() {
        let has = |line: &&str| {
            let name = line.split(['{', ' ']).next().unwrap();
            name == wanted.metric && wanted.labels.iter().all(|l| line.contains(l.as_str()))
        };
        assert!(text.lines().any(|l| has(&l)), "{wanted:?}\n{text}");
    }
    // Counted as the dashboards of other controllers count.
    for result in ["success", "error", "requeue", "requeue_after"] {
        let sample = format!(
            r#"controller_runtime_reconcile_total{{controller="locusttest",result="{result}"}}"#
        );
        assert!(text.contains(&sample), "{sample}\n{text}");
    }
}

/// What the test pod of `helm test` asks is what the operator serves.
#[test]
fn the_test_of_a_release_asks_the_operator() {
    let rendered = Rendered::of("{}");
    let pod = rendered.get("Pod", "locust-operator-test");
    let service = rendered.get("Service", "locust-operator-test");
    for object in [pod, service] {
        assert_eq!(object["metadata"]["annotations"]["helm.sh/hook"], "test");
    }
    let args = &pod["spec"]["containers"][0]["args"];
    assert_eq!(args[0], "status");
    let port = &service["spec"]["ports"][0];
    assert_eq!(
        args[1],
        format!("http://locust-operator-test:{}", port["port"])
    );
    let ports = rendered.container()["ports"].as_array().unwrap();
    let probes = ports.iter().find(|p| p["name"] == port["targetPort"]);
    assert_eq!(probes.unwrap()["containerPort"], 8081);
}

/// Each command as it stands there, in its order.
#[test]
fn the_commands_of_the_page_work() {
    let cluster = cluster();
    let page = file("docs/install.md");
    let mut commands = 0;
    for block in page.split("```sh\n").skip(1) {
        for line in block.split("\n```").next().unwrap().lines() {
            let mut command = cluster.command(at_home(Command::new("bash")));
            let output = command.args(["-ec", line]).output().unwrap();
            assert!(output.status.success(), "{line}: {output:?}");
            commands += 1;
        }
    }
    assert!(commands > 5, "{commands}");
    cluster.kubectl(&["delete", "-k", "deploy"]);
}
