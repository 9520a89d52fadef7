//! Several operators that look after one namespace and elect a leader, each under a name of its own in the audit log.

use crate::operators::{Operator, audit, operator_command};
use crate::process::{free_port, get};
use crate::support::{Room, from_with_cluster, until};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub const LEASE: &str = "locust-k8s-operator.locust.io";

/// Terms that are over soon.
pub const BRIEF: &[&str] = &[
    "--leader-election-lease-duration=4s",
    "--leader-election-renew-deadline=3s",
    "--leader-election-retry-period=500ms",
];

pub struct Replica {
    pub operator: Operator,
    user: String,
    namespace: String,
    health: u16,
    metrics: u16,
    log: PathBuf,
}

impl Drop for Replica {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}:\n{}", self.user, self.log());
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

/// A request that was answered.
#[derive(Debug)]
pub struct Answered {
    pub what: String,
    pub code: i64,
    pub asked: Timestamp,
    pub answered: Timestamp,
}

impl Room {
    /// Allows a ServiceAccount, `namespace:name`, what the deployed Roles allow, in this namespace.
    pub async fn allow(&self, account: &str) {
        let role = self.kubectl(&[
            "get",
            "role",
            "-n",
            "lotest-system",
            "lotest-leader",
            "-o",
            "json",
        ]);
        let mut role: Value = serde_json::from_slice(&role.stdout).unwrap();
        role["metadata"] = json!({"name": "lotest-leader"});
        // Replicas of one room have the same Role.
        let _ = self.try_create(role).await;
        let account = format!("--serviceaccount={account}");
        for (kind, role) in [("--clusterrole", "lotest"), ("--role", "lotest-leader")] {
            let name = format!("{role}-{}", account.rsplit(':').next().unwrap());
            let role = format!("{kind}={role}");
            let made = self.kubectl(&["create", "rolebinding", &name, &role, &account]);
            assert!(made.status.success(), "{made:?}");
        }
    }

    /// Starts an operator under the name of a ServiceAccount that is made for it.
    pub async fn replica(&self, name: &str, flags: &[&str]) -> Replica {
        self.replica_behind(name, flags, None).await
    }

    /// The same behind a way to the API server that can be cut.
    pub async fn replica_behind(&self, name: &str, flags: &[&str], way: Option<&Way>) -> Replica {
        let made = self.kubectl(&["create", "serviceaccount", name]);
        assert!(made.status.success(), "{made:?}");
        let namespace = &self.namespace;
        self.allow(&format!("{namespace}:{name}")).await;
        let token = self.kubectl(&["create", "token", name, "--duration=24h"]);
        let token = String::from_utf8(token.stdout).unwrap();

        let config = std::fs::read_to_string(from_with_cluster("LOTEST_TEST_OPERATOR_KUBECONFIG"));
        let mut config = config.unwrap();
        let old = config.split("token: \"").nth(1).unwrap();
        let old = old.split('"').next().unwrap().to_string();
        config = config.replace(&old, token.trim());
        if let Some(way) = way {
            config = config.replace(&api_port(&config), &way.port.to_string());
        }
        let file =
            |what: &str| std::env::temp_dir().join(format!("lotest-{namespace}-{name}.{what}"));
        let (kubeconfig, log) = (file("kubeconfig"), file("log"));
        std::fs::write(&kubeconfig, config).unwrap();

        let (health, metrics) = (free_port(), free_port());
        let mut command = operator_command(&[("POD_NAME", name), ("POD_NAMESPACE", namespace)]);
        command
            .env("KUBECONFIG", &kubeconfig)
            .args(["--namespace", namespace, "--leader-elect"])
            .args(["--webhook-bind-address", "0"])
            .arg(format!("--health-probe-bind-address=127.0.0.1:{health}"))
            .arg(format!("--metrics-bind-address=127.0.0.1:{metrics}"))
            .args(flags)
            .stderr(std::fs::File::create(&log).unwrap());
        let mut replica = Replica {
            operator: Operator(command.spawn().unwrap()),
            user: format!("system:serviceaccount:{namespace}:{name}"),
            namespace: namespace.clone(),
            health,
            metrics,
            log,
        };
        until("readiness", async || {
            let ended = replica.operator.0.try_wait().unwrap();
            assert!(ended.is_none(), "it has ended: {}", replica.log());
            let (code, ..) = get(health, "/readyz")?;
            (code == 200).then_some(())
        })
        .await;
        std::fs::remove_file(kubeconfig).unwrap();
        replica
    }

    pub async fn lease(&self) -> Option<Value> {
        self.get("Lease", LEASE).await
    }
}

impl Replica {
    /// What `/readyz` says.
    pub fn readiness(&self) -> String {
        let (code, _, body) = get(self.health, "/readyz").unwrap();
        format!("{code} {body}")
    }

    /// What `/status` says of the leader.
    pub fn leader(&self) -> Value {
        let (_, _, body) = get(self.health, "/status").unwrap();
        let standing: Value = serde_json::from_str(&body).unwrap();
        standing["leader"].clone()
    }

    /// What the metrics say; `None` while it does not answer.
    pub fn leads(&self) -> Option<bool> {
        let (_, _, text) = get(self.metrics, "/metrics")?;
        let metric = format!("leader_election_master_status{{name=\"{LEASE}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&metric));
        Some(value.unwrap() == "1")
    }

    pub async fn until_leads(&self, leads: bool) {
        until("another leader", async || {
            (self.leads() == Some(leads)).then_some(())
        })
        .await;
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// What it wrote in its namespace, the first first, events and the lease too: `<verb> <resource>/<name>`.
    pub fn all_writes(&self) -> Vec<Answered> {
        let ours = |r: &Value| {
            r["user"]["username"] == self.user.as_str()
                && r["objectRef"]["namespace"] == self.namespace.as_str()
                && !["get", "list", "watch"].contains(&r["verb"].as_str().unwrap())
        };
        let answered = |r: Value| {
            let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
            let time = |key: &str| text(&r[key]).parse().unwrap();
            let about = &r["objectRef"];
            Answered {
                what: format!(
                    "{} {}/{}{}",
                    text(&r["verb"]),
                    text(&about["resource"]),
                    text(&about["name"]),
                    text(&about["subresource"]),
                ),
                code: r["responseStatus"]["code"].as_i64().unwrap(),
                asked: time("requestReceivedTimestamp"),
                answered: time("stageTimestamp"),
            }
        };
        audit().into_iter().filter(ours).map(answered).collect()
    }

    /// What it wrote about tests.
    pub fn writes(&self) -> Vec<Answered> {
        let mut all = self.all_writes();
        all.retain(|w| !w.what.contains(" leases/"));
        all
    }

    /// When it was first told what the lease says.
    pub fn first_look(&self) -> Timestamp {
        let audit = audit();
        let mut looks = audit.iter().filter(|r| {
            r["user"]["username"] == self.user.as_str() && r["objectRef"]["resource"] == "leases"
        });
        let first = looks.next().unwrap();
        first["requestReceivedTimestamp"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// The successful writes of the lease.
    pub fn of_lease(&self) -> Vec<Answered> {
        let mut all = self.all_writes();
        all.retain(|w| w.what.contains(" leases/") && w.code < 300);
        all
    }
}

fn api_port(config: &str) -> String {
    let port = config.split("https://127.0.0.1:").nth(1).unwrap();
    port.chars().take_while(char::is_ascii_digit).collect()
}

/// A way to the API server on which everything can be held up.
pub struct Way {
    port: u16,
    held: Arc<AtomicBool>,
}

impl Way {
    pub fn new() -> Way {
        let config = std::fs::read_to_string(from_with_cluster("LOTEST_TEST_OPERATOR_KUBECONFIG"));
        let to = format!("127.0.0.1:{}", api_port(&config.unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let held = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&held);
        std::thread::spawn(move || {
            for here in listener.incoming().map_while(Result::ok) {
                let there = TcpStream::connect(&to).unwrap();
                let both = (here.try_clone().unwrap(), there.try_clone().unwrap());
                for (from, to) in [(here, there), (both.1, both.0)] {
                    let held = Arc::clone(&shared);
                    std::thread::spawn(move || carry(from, to, &held));
                }
            }
        });
        Way { port, held }
    }

    /// Nothing arrives any more; neither side is told.
    pub fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    /// What was held up arrives, and everything after it.
    pub fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, held: &AtomicBool) {
    let mut bytes = [0; 16384];
    while let Ok(n) = from.read(&mut bytes) {
        while held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        if n == 0 || to.write_all(&bytes[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
