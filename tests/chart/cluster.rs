//! A control plane of the chart's own: a release changes what all tests of a cluster share, the CustomResourceDefinition.

use crate::helm::{helm, path, run};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take before it is taken for never.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Cluster {
    /// It goes down when its input ends: with this process at the latest.
    _running: Child,
    environment: BTreeMap<String, String>,
}

/// The cluster, for one test at a time, which finds it without the CustomResourceDefinition.
pub fn cluster() -> MutexGuard<'static, Cluster> {
    static CLUSTER: OnceLock<Mutex<Cluster>> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| Mutex::new(Cluster::start()));
    let cluster = cluster.lock().unwrap_or_else(PoisonError::into_inner);
    cluster.kubectl(&[
        "delete",
        "customresourcedefinition",
        "locusttests.locust.io",
        "--ignore-not-found",
    ]);
    cluster
}

impl Cluster {
    fn start() -> Cluster {
        let file = std::env::temp_dir().join(format!("lotest-chart-{}", std::process::id()));
        let _ = std::fs::remove_file(&file);
        let script = format!("env >{0}.new && mv {0}.new {0} && cat", file.display());
        let running = Command::new(path("tests/cluster/with-cluster"))
            .args(["bash", "-c", &script])
            .env("LOTEST_TEST_NODES", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let text = until("the cluster", || std::fs::read_to_string(&file).ok());
        std::fs::remove_file(file).unwrap();
        let lines = text.lines().filter_map(|l| l.split_once('='));
        let wanted =
            |name: &str| name == "PATH" || name == "KUBECONFIG" || name.starts_with("LOTEST_TEST_");
        let environment = lines.filter(|(name, _)| wanted(name));
        Cluster {
            _running: running,
            environment: environment
                .map(|(n, v)| (n.to_string(), v.to_string()))
                .collect(),
        }
    }

    /// Runs a command in the repository with the cluster in its environment.
    pub fn command(&self, mut command: Command) -> Command {
        command.envs(&self.environment).current_dir(path(""));
        command
    }

    pub fn try_kubectl(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(Command::new("kubectl"));
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    }

    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl_with(arguments, "")
    }

    #[track_caller]
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.try_kubectl(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    pub fn get(&self, arguments: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// What Helm says; an error is what it says when it fails.
    pub fn helm(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.command(helm());
        let output = run(command.args(arguments));
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8(output.stderr).unwrap()),
        }
    }

    /// Removes a release when the test ends, however it does.
    pub fn release<'a>(&'a self, name: &'a str, namespace: &'a str) -> Release<'a> {
        Release {
            cluster: self,
            name,
            namespace,
        }
    }

    pub fn namespace(&self, name: &str) {
        let _ = self.try_kubectl(&["create", "namespace", name], "");
        until("the default ServiceAccount", || {
            let got = self.try_kubectl(&["get", "serviceaccount", "default", "-n", name], "");
            got.status.success().then_some(())
        });
    }

    /// A test whose pods run for a second.
    pub fn create_test(&self, namespace: &str, name: &str) {
        let role = |replicas: Option<u8>| {
            let mut role = json!({
                "command": "--locustfile /lotest/src/test.py",
                "annotations": {"kwok.lotest/run-for": "1s"},
            });
            if let Some(replicas) = replicas {
                role["replicas"] = replicas.into();
            }
            role
        };
        let test = json!({
            "apiVersion": "locust.io/v2",
            "kind": "LocustTest",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"image": "locustio/locust:2.20.0", "master": role(None), "worker": role(Some(2))},
        });
        self.kubectl_with(&["create", "-f", "-"], &test.to_string());
    }

    pub fn until_succeeded(&self, namespace: &str, name: &str) {
        until(&format!("the end of {namespace}/{name}"), || {
            let test = self.get(&["locusttest.v2.locust.io", "-n", namespace, name]);
            (test["status"]["phase"] == "Succeeded").then_some(())
        });
    }

    /// The requests of a user so far.
    pub fn requests(&self, user: &str) -> Vec<Value> {
        let log = std::fs::read_to_string(&self.environment["LOTEST_TEST_AUDIT_LOG"]).unwrap();
        // The last line may be half written.
        let all = log
            .lines()
            .filter_map(|l| serde_json::from_str::<Value>(l).ok());
        all.filter(|r| r["user"]["username"] == user).collect()
    }

    /// A kubeconfig with the rights of a ServiceAccount.
    pub fn kubeconfig_of(&self, namespace: &str, account: &str) -> String {
        let token = self.kubectl(&["create", "token", "-n", namespace, account]);
        let admin = std::fs::read_to_string(&self.environment["LOTEST_TEST_KUBECONFIG"]).unwrap();
        let mut kubeconfig: Value = serde_saphyr::from_str(&admin).unwrap();
        kubeconfig["users"][0]["user"] = json!({"token": token.trim()});
        kubeconfig.to_string()
    }
}

pub struct Release<'a> {
    cluster: &'a Cluster,
    name: &'a str,
    namespace: &'a str,
}

impl Release<'_> {
    /// Installs or upgrades; what Helm says.
    #[track_caller]
    pub fn apply(&self, chart: &str, arguments: &[&str]) -> String {
        self.try_apply(chart, arguments).unwrap()
    }

    pub fn try_apply(&self, chart: &str, arguments: &[&str]) -> Result<String, String> {
        let command = [
            "upgrade",
            "--install",
            self.name,
            chart,
            "--namespace",
            self.namespace,
        ];
        self.cluster.helm(&[&command, arguments].concat())
    }

    #[track_caller]
    pub fn uninstall(&self) {
        let command = ["uninstall", self.name, "--namespace", self.namespace];
        self.cluster.helm(&command).unwrap();
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        let mut command = self.cluster.command(helm());
        command.args([
            "uninstall",
            self.name,
            "--namespace",
            self.namespace,
            "--ignore-not-found",
        ]);
        let _ = command.output();
    }
}

/// Asks until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "{what} never comes");
        std::thread::sleep(Duration::from_millis(100));
    }
}
