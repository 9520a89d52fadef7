//! Operators that run in a test's namespace, and what they asked of the API server.

use crate::support::{Room, config, from_with_cluster, until};
use kube::Client;
use lotest::bundle::Bundle;
use lotest::controller::{self, Addresses};
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use tokio::sync::watch;
use tokio::task::JoinHandle;

impl Room {
    /// The real operator as its own ServiceAccount, for this namespace.
    pub fn operator(&self) -> Operator {
        self.operator_with(&[])
    }

    /// The same with settings in its environment.
    pub fn operator_with(&self, settings: &[(&str, &str)]) -> Operator {
        Operator(self.operator_command(settings).spawn().unwrap())
    }

    /// The same with its log in a file.
    pub fn operator_logging_to(&self, log: std::fs::File) -> Operator {
        Operator(self.operator_command(&[]).stderr(log).spawn().unwrap())
    }

    fn operator_command(&self, settings: &[(&str, &str)]) -> Command {
        let mut command = operator_command(settings);
        command
            .args(["--namespace", &self.namespace])
            .args(["--health-probe-bind-address", "0"])
            .args(["--metrics-bind-address", "0"]);
        command
    }

    /// An operator that runs another bundle, in this process.
    pub async fn operator_of(&self, bundle: Bundle) -> InProcess {
        let config = config("LOTEST_TEST_OPERATOR_KUBECONFIG").await;
        let client = controller::client(config).unwrap();
        self.operator_with_client(client, bundle)
    }

    /// The same with a client of one's own.
    pub fn operator_with_client(&self, client: Client, bundle: Bundle) -> InProcess {
        let addresses = Addresses {
            health: None,
            metrics: None,
        };
        let namespaces = vec![self.namespace.clone()];
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(async move {
            controller::run(client, bundle, namespaces, addresses, stopped)
                .await
                .unwrap();
        });
        InProcess {
            _stop: stop,
            running,
        }
    }

    /// The writes among the requests, apart from events: `<verb> <resource>/<name>`, the first first.
    pub fn writes(&self) -> Vec<String> {
        let line = |r: &Value| {
            let text = |key: &str| r["objectRef"][key].as_str().unwrap_or_default().to_string();
            let verb = r["verb"].as_str().unwrap().to_string();
            match text("subresource").as_str() {
                "" => format!("{verb} {}/{}", text("resource"), text("name")),
                sub => format!("{verb} {}/{}/{sub}", text("resource"), text("name")),
            }
        };
        let requests = self.requests().into_iter();
        let writes = requests.filter(|r| !["get", "list"].contains(&r["verb"].as_str().unwrap()));
        let all = writes.map(|r| line(&r));
        all.filter(|w| !w.contains(" events/")).collect()
    }

    /// The requests of operators for objects of this namespace so far, as the API server logged them, without
    /// the watches.
    pub fn requests(&self) -> Vec<Value> {
        audit()
            .into_iter()
            .filter(|r| r["user"]["username"] == OPERATOR)
            .filter(|r| r["objectRef"]["namespace"] == self.namespace.as_str())
            .filter(|r| r["verb"] != "watch")
            .collect()
    }
}

/// The user that operators are.
pub const OPERATOR: &str = "system:serviceaccount:lotest-system:lotest";

/// Every request that the API server has logged so far.
pub fn audit() -> Vec<Value> {
    let log = std::fs::read_to_string(from_with_cluster("LOTEST_TEST_AUDIT_LOG")).unwrap();
    // The last line may be half written.
    let lines = log.lines().map(serde_json::from_str);
    lines.filter_map(Result::ok).collect()
}

/// The command of the operator as its own ServiceAccount, to be completed.
pub fn operator_command(settings: &[(&str, &str)]) -> Command {
    let built = || env!("CARGO_BIN_EXE_lotest").to_string();
    let mut command =
        Command::new(std::env::var("LOTEST_TEST_OPERATOR").unwrap_or_else(|_| built()));
    let kubeconfig = from_with_cluster("LOTEST_TEST_OPERATOR_KUBECONFIG");
    command
        .env("KUBECONFIG", kubeconfig)
        .envs(settings.iter().copied())
        .arg("operator")
        .stdin(Stdio::null());
    command
}

/// A running operator; killed when it goes out of scope.
pub struct Operator(pub Child);

impl Operator {
    /// SIGKILL, and gone.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Sends a signal by its name, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let (name, pid) = (format!("-{name}"), self.0.id().to_string());
        let sent = Command::new("kill").args([name, pid]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGTERM; the exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM");
        until("the end of the operator", async || {
            self.0.try_wait().unwrap()
        })
        .await
        .code()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An operator in this process; ends when it goes out of scope.
pub struct InProcess {
    _stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.running.abort();
    }
}
