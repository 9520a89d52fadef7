//! The operator as a process: how it starts, what it serves, how it stops.

use crate::operators::{Operator, operator_command};
use crate::support::{Room, until};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

/// A port nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Status code, headers and body; `None` while nobody listens.
pub fn get(port: u16, path: &str) -> Option<(u16, String, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (headers, body) = answer.split_once("\r\n\r\n")?;
    let code = headers.split(' ').nth(1)?.parse().ok()?;
    Some((code, headers.to_string(), body.to_string()))
}

/// The operator's command with its ports; `namespaces` as it takes them.
fn command(namespaces: &[&str], health: u16, metrics: u16) -> Command {
    let mut command = operator_command(&[]);
    for namespace in namespaces {
        command.args(["--namespace", namespace]);
    }
    let health = format!("127.0.0.1:{health}");
    let metrics = format!("127.0.0.1:{metrics}");
    command.args(["--health-probe-bind-address", &health]);
    command.args(["--metrics-bind-address", &metrics]);
    command
}

/// Runs an operator that is expected not to start: its exit code and what it said.
fn refuses(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test]
async fn sigterm_lets_the_writes_under_way_end() {
    let room = Room::new("stop").await;
    let mut operator = room.operator();
    room.create_test("load").await;
    until("the first write", async || {
        let revisions = room.list("ControllerRevision").await;
        (!revisions.is_empty()).then_some(())
    })
    .await;
    assert_eq!(operator.terminate().await, Some(0));
    for (kind, name) in [
        ("Service", "load-master"),
        ("Job", "load-master"),
        ("Job", "load-worker"),
    ] {
        assert!(room.get(kind, name).await.is_some(), "{kind} {name}");
    }
    let events = room.events("load").await;
    let created = events.iter().filter(|e| e.starts_with("Normal Created: "));
    assert_eq!(created.count(), 3, "{events:?}");
}

#[tokio::test]
async fn probes_and_metrics_say_how_it_is() {
    let room = Room::new("probes").await;
    let (health, metrics) = (free_port(), free_port());
    let mut operator = Operator(
        command(&[&room.namespace], health, metrics)
            .spawn()
            .unwrap(),
    );
    until("readiness", async || {
        get(health, "/readyz").filter(|(code, ..)| *code == 200)
    })
    .await;
    assert_eq!(get(health, "/healthz").unwrap().0, 200);
    assert_eq!(
        get(health, "/metrics").unwrap().0,
        404,
        "metrics have a port of their own"
    );
    room.create_test("load").await;
    room.until_phase("load", "Succeeded").await;

    // One that is refused, for the errors.
    let taken = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "refused-master"}, "spec": {"ports": [{"port": 80}]},
    });
    room.create(taken).await;
    room.create_test("refused").await;
    let samples = until("an error in the metrics", async || {
        let (code, headers, text) = get(metrics, "/metrics").unwrap();
        assert_eq!(code, 200);
        assert!(
            headers.contains("application/openmetrics-text"),
            "{headers}"
        );
        let samples: Vec<(String, f64)> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name.to_string(), value.parse().unwrap()))
            .collect();
        let error = r#"controller_runtime_reconcile_errors_total{controller="locusttest"}"#;
        let errors = samples.iter().any(|(n, value)| n == error && *value > 0.0);
        errors.then_some(samples)
    })
    .await;
    for (name, least) in [
        (
            r#"controller_runtime_reconcile_total{controller="locusttest",result="success"}"#,
            4.0,
        ),
        (
            r#"controller_runtime_reconcile_total{controller="locusttest",result="requeue"}"#,
            0.0,
        ),
        (
            r#"controller_runtime_reconcile_total{controller="locusttest",result="requeue_after"}"#,
            1.0,
        ),
        (
            r#"controller_runtime_reconcile_total{controller="locusttest",result="error"}"#,
            1.0,
        ),
        (
            r#"controller_runtime_reconcile_errors_total{controller="locusttest"}"#,
            1.0,
        ),
        (
            r#"controller_runtime_reconcile_time_seconds_count{controller="locusttest"}"#,
            5.0,
        ),
        (
            r#"workqueue_depth{controller="locusttest",name="locusttest"}"#,
            0.0,
        ),
        (
            r#"workqueue_adds_total{controller="locusttest",name="locusttest"}"#,
            6.0,
        ),
    ] {
        let sample = samples.iter().find(|(n, _)| n == name);
        assert!(
            sample.is_some_and(|(_, value)| *value >= least),
            "{name}: {samples:#?}"
        );
    }
    assert_eq!(operator.terminate().await, Some(0));
}

#[tokio::test]
async fn an_operator_of_two_namespaces_leaves_a_third_alone() {
    let rooms = [
        Room::new("one").await,
        Room::new("two").await,
        Room::new("three").await,
    ];
    let namespaces = [rooms[0].namespace.as_str(), rooms[1].namespace.as_str()];
    let child = command(&namespaces, free_port(), free_port())
        .spawn()
        .unwrap();
    let _operator = Operator(child);
    for room in rooms.iter().rev() {
        room.create_test("load").await;
    }
    for room in &rooms[..2] {
        room.until_phase("load", "Succeeded").await;
    }
    let third = rooms[2].get("LocustTest", "load").await.unwrap();
    assert_eq!(third.get("status"), None);
    assert_eq!(rooms[2].list("Job").await, [Value::Null; 0]);
    assert_eq!(rooms[2].requests(), [Value::Null; 0]);
}

#[tokio::test]
async fn without_a_cluster_it_lives_is_not_ready_and_says_why() {
    let closed = free_port();
    let kubeconfig = std::env::temp_dir().join(format!("lotest-unreachable-{closed}.yaml"));
    let text = format!(
        r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{{"name": "c", "cluster": {{"server": "http://127.0.0.1:{closed}"}}}}],
        "contexts": [{{"name": "c", "context": {{"cluster": "c", "user": "c"}}}}],
        "users": [{{"name": "c", "user": {{}}}}]}}"#
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let (health, metrics) = (free_port(), free_port());
    let mut command = command(&["any"], health, metrics);
    command
        .env("KUBECONFIG", &kubeconfig)
        .stderr(Stdio::piped());
    let mut operator = Operator(command.spawn().unwrap());
    let (code, _, body) = until("an answer", async || get(health, "/readyz")).await;
    assert_eq!(code, 503);
    assert!(body.contains("first lists"), "{body}");
    assert_eq!(get(health, "/healthz").unwrap().0, 200);
    // What it says of it comes within its first attempts.
    let stderr = operator.0.stderr.take().unwrap();
    let said = tokio::task::spawn_blocking(move || {
        let lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
        lines
            .map_while(Result::ok)
            .find(|line| line.contains("WARN"))
    });
    let said = said.await.unwrap().unwrap();
    assert!(said.contains("LocustTest"), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
    assert_eq!(operator.terminate().await, Some(0));
    std::fs::remove_file(kubeconfig).unwrap();
}

#[test]
fn it_does_not_start_without_a_configuration_of_a_cluster() {
    let mut command = operator_command(&[]);
    command
        .env("KUBECONFIG", "/does/not/exist")
        .env("HOME", "/does/not/exist");
    let (code, said) = refuses(&mut command);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("cannot reach a cluster"), "{said}");
    assert!(said.contains("/does/not/exist"), "{said}");
}

#[test]
fn it_does_not_start_with_a_setting_that_cannot_be() {
    for (variable, value) in [
        ("POD_CPU_REQUEST", "ten"),
        ("WORKER_POD_MEM_LIMIT", "1 GB"),
        ("DEFAULT_RUNTIME_CLASS_NAME", "No_Such_Name"),
    ] {
        let (code, said) = refuses(&mut operator_command(&[(variable, value)]));
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(variable), "{said}");
        assert!(said.contains(value), "{said}");
    }
}

#[test]
fn it_does_not_start_where_it_cannot_listen() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (code, said) = refuses(&mut command(&["any"], port, free_port()));
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{said}"
    );
}
