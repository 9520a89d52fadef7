//! `lotest operator`, told to stop before it has started.

use super::lotest;
use std::fs;
use std::io::Write;
use std::process::Command;

/// Nobody listens there.
const KUBECONFIG: &str = "apiVersion: v1
kind: Config
current-context: none
clusters: [{name: none, cluster: {server: \"http://127.0.0.1:9\"}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
users: [{name: none, user: {}}]
";

/// The first process of a container never gets a signal that it has not asked for.
#[test]
fn a_signal_counts_from_the_start() {
    let name = format!("kubeconfig-{}", std::process::id());
    let pipe = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let mut operator = lotest(&["operator"])
        .env("KUBECONFIG", &pipe)
        .args(["--health-probe-bind-address", "0"])
        .args(["--metrics-bind-address", "0"])
        .spawn()
        .unwrap();
    // Opens when the operator opens it too; it reads until this is closed, and does nothing else meanwhile.
    let mut kubeconfig = fs::File::options().write(true).open(&pipe).unwrap();
    let pid = operator.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
    // Without a handler it is gone by now, and so is the other end.
    let _ = kubeconfig.write_all(KUBECONFIG.as_bytes());
    drop(kubeconfig);
    let ended = operator.wait().unwrap();
    fs::remove_file(&pipe).unwrap();
    assert_eq!(ended.code(), Some(0), "{ended}");
}
