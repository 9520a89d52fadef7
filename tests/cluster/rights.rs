//! The rights that `lotest rbac` prints are those that an operator needs, and are enough.

use crate::mount::Directory;
use crate::operators::{Operator, operator_command};
use crate::support::{Room, from_with_cluster, until};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

/// Makes what `lotest rbac` prints.
fn grant(arguments: &[&str]) {
    let lotest = env!("CARGO_BIN_EXE_lotest");
    let roles = Command::new(lotest)
        .arg("rbac")
        .args(arguments)
        .output()
        .unwrap();
    assert!(roles.status.success(), "{roles:?}");
    let mut kubectl = Command::new("kubectl");
    kubectl.env("KUBECONFIG", from_with_cluster("LOTEST_TEST_KUBECONFIG"));
    kubectl
        .args(["apply", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut kubectl = kubectl.spawn().unwrap();
    kubectl
        .stdin
        .take()
        .unwrap()
        .write_all(&roles.stdout)
        .unwrap();
    assert!(kubectl.wait().unwrap().success());
}

/// A kubeconfig of the account `operator` of a namespace.
fn kubeconfig(home: &Room, directory: &Directory) -> String {
    let made = home.kubectl(&["create", "serviceaccount", "operator"]);
    assert!(made.status.success(), "{made:?}");
    let token = home.kubectl(&["create", "token", "operator"]);
    let token = String::from_utf8(token.stdout).unwrap();
    let admin = fs::read_to_string(from_with_cluster("LOTEST_TEST_KUBECONFIG")).unwrap();
    let mut config: Value = serde_saphyr::from_str(&admin).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    let path = directory.0.join("kubeconfig");
    fs::write(&path, config.to_string()).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn an_operator_with_the_roles_of_some_namespaces_says_in_its_own_what_is_wrong_with_its_layers()
 {
    let (home, room) = (Room::new("home").await, Room::new("tenant").await);
    let account = format!("{}/operator", home.namespace);
    let arguments = [
        "-n",
        &room.namespace,
        "--service-account",
        &account,
        "--name",
        "operator",
    ];
    grant(&arguments);
    let (layer, files) = (Directory::new(), Directory::new());
    layer.write(&[("values.yaml", "zzz: 1\n")]);
    let pod = [("POD_NAME", "lotest-0"), ("POD_NAMESPACE", &home.namespace)];
    let mut command = operator_command(&pod);
    command.env("KUBECONFIG", kubeconfig(&home, &files));
    command
        .args(["--namespace", &room.namespace, "--layer"])
        .arg(&layer.0);
    command.args([
        "--health-probe-bind-address",
        "0",
        "--metrics-bind-address",
        "0",
    ]);
    let _operator = Operator(command.spawn().unwrap());
    let event = until("the event about the layers", async || {
        let events = home.list("Event").await;
        events.into_iter().find(|e| e["reason"] == "BundleRefused")
    })
    .await;
    assert!(event["note"].as_str().unwrap().contains("zzz"), "{event}");
    // And it does there what it is there for.
    room.create_test("load").await;
    room.until_phase("load", "Succeeded").await;
}
