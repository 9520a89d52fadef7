//! Layers that change while the operator runs: taken up whole, or refused for everybody to see, and in both cases tests
//! that run keep what they have.

use crate::mount::{Directory, Live, events, until_counted, versions};
use crate::support::{Room, condition, endless, until};
use lotest::bundle::Layer;
use serde_json::Value;
use std::process::Command;

const CPU: (&str, &str) = (
    "values.yaml",
    "resources: {worker: {requests: {cpu: 300m}}}\n",
);

const RENAMED: (&str, &str) = (
    "rules/conditions.yaml",
    "- type: WorkersConnected
  cases:
  - id: workers-all
    reason: EveryWorkerIsThere
",
);

const MISSPELT: (&str, &str) = (
    "rules/conditions.yaml",
    "- type: WorkersConnected
  cases:
  - id: workers-all
    reson: EveryWorkerIsThere
",
);

const NETWORK_POLICY: (&str, &str) = (
    "templates/network-policy.yaml",
    "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ test.metadata.name }}
spec:
  podSelector: {matchLabels: {performance-test-name: {{ test.metadata.name }}}}
",
);

/// The built-in Service with an annotation.
fn annotated() -> String {
    let service = &Layer::built_in().files["templates/service.yaml"];
    let named = "  name: {{ master }}\n";
    assert!(service.contains(named));
    service.replacen(
        named,
        &format!("{named}  annotations: {{example.com/from: layer}}\n"),
        1,
    )
}

fn cpu(job: &Value) -> &Value {
    &job["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
}

/// Waits until a test runs and all that it leads to is written.
async fn until_settled(room: &Room, name: &str) -> Value {
    let settled = |t: &Value| {
        condition(t, "WorkersConnected")["status"] == "True" && t["status"]["phase"] == "Running"
    };
    until_counted(room, name).await;
    room.until("LocustTest", name, settled).await
}

#[tokio::test]
async fn what_changes_is_live_for_a_new_test_and_a_running_one_keeps_what_it_has() {
    let room = Room::new("reload").await;
    let layer = Directory::new();
    layer.mount(&[("values.yaml", "{}\n")]);
    let live = Live::new(&room, &[&layer]).await;
    let first = live.digest();
    room.create(endless("old")).await;
    until_settled(&room, "old").await;
    let before = versions(&room).await;

    // A value and a template: neither is anything to a test that runs.
    let service = annotated();
    layer.mount(&[CPU, ("templates/service.yaml", &service)]);
    let second = live.until_other(&first).await;
    room.create(endless("new")).await;
    let new = until_settled(&room, "new").await;
    assert_eq!(new["status"]["bundle"], *second);
    assert_eq!(cpu(&room.get("Job", "new-worker").await.unwrap()), "300m");
    let service = room.get("Service", "new-master").await.unwrap();
    assert_eq!(
        service["metadata"]["annotations"]["example.com/from"],
        "layer"
    );
    assert_eq!(
        service["metadata"]["annotations"]["locust.io/bundle"],
        *second
    );
    let after = versions(&room).await;
    for object in &before {
        assert!(after.contains(object), "{object}\n{after:#?}");
    }
    let old = room.get("LocustTest", "old").await.unwrap();
    assert_eq!(old["status"]["bundle"], *first);

    // A child that is made again is the one that the test was started with.
    room.delete("Service", "old-master").await;
    let again = room.until("Service", "old-master", |s| {
        s["metadata"]["deletionTimestamp"].is_null()
    });
    let again = again.await;
    assert_eq!(again["metadata"]["annotations"]["locust.io/bundle"], *first);
    assert_eq!(
        again["metadata"]["annotations"]["example.com/from"],
        Value::Null
    );

    // A rule is asked about every test.
    layer.mount(&[RENAMED]);
    live.until_other(&second).await;
    for name in ["old", "new"] {
        let renamed =
            |t: &Value| condition(t, "WorkersConnected")["reason"] == "EveryWorkerIsThere";
        let test = room.until("LocustTest", name, renamed).await;
        assert_eq!(test["status"]["phase"], "Running");
    }
    assert_eq!(
        live.metric("lotest_bundle_reloads_total{result=\"success\"}"),
        2.0
    );
    assert_eq!(
        live.metric("lotest_bundle_reloads_total{result=\"failure\"}"),
        0.0
    );
    assert!(live.status(&[]).status.success());
}

#[tokio::test]
async fn a_broken_layer_leaves_the_last_good_bundle_and_everybody_says_so() {
    let room = Room::new("broken").await;
    let layer = Directory::new();
    layer.mount(&[CPU]);
    let live = Live::new(&room, &[&layer]).await;
    let good = live.digest();
    let info = format!("lotest_bundle_info{{digest=\"{good}\"}}");
    assert_eq!(live.metric(&info), 1.0);
    assert_eq!(live.readyz(), (200, "ok".to_string()));

    layer.mount(&[CPU, MISSPELT]);
    let standing = live.until_stale().await;
    let place = format!("{}:4:5", layer.path("rules/conditions.yaml"));
    let excerpt = "4 |     reson: EveryWorkerIsThere";

    assert_eq!(standing["bundle"], *good);
    let output = live.status(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&good) && text.contains(&place) && text.contains(excerpt),
        "{text}"
    );
    let output = live.status(&["-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["mistakes"][0]["line"], 4, "{json:#}");
    assert_eq!(
        json["mistakes"][0]["file"],
        layer.path("rules/conditions.yaml")
    );

    let (code, body) = live.readyz();
    assert_eq!(code, 200, "it works on as before");
    assert!(body.contains(&place) && body.contains(excerpt), "{body}");
    let log = live.log();
    assert!(log.contains(&place) && log.contains(excerpt), "{log}");
    assert_eq!(live.metric("lotest_bundle_stale"), 1.0);
    assert_eq!(
        live.metric("lotest_bundle_reloads_total{result=\"failure\"}"),
        1.0
    );
    assert_eq!(live.metric(&info), 1.0);
    let said = until("the event", async || {
        events(&room)
            .await
            .into_iter()
            .find(|e| e.starts_with("Warning BundleRefused"))
    })
    .await;
    assert!(said.contains(&place), "{said}");

    room.create(endless("load")).await;
    let test = until_settled(&room, "load").await;
    assert_eq!(test["status"]["bundle"], *good);
    assert_eq!(cpu(&room.get("Job", "load-worker").await.unwrap()), "300m");

    let nobody = Command::new(env!("CARGO_BIN_EXE_lotest"))
        .args(["status", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(2));

    // What ran before is right again.
    layer.mount(&[CPU]);
    until("the end of it", async || {
        (live.standing()["stale"] == false).then_some(())
    })
    .await;
    assert_eq!(live.digest(), good);
    assert_eq!(live.readyz(), (200, "ok".to_string()));
    assert_eq!(live.metric("lotest_bundle_stale"), 0.0);
}

#[tokio::test]
async fn an_operator_starts_with_the_layers_that_are_in_order() {
    let room = Room::new("start").await;
    let (platform, cluster, missing) = (Directory::new(), Directory::new(), Directory::new());
    platform.write(&[CPU]);
    cluster.write(&[MISSPELT]);
    std::fs::remove_dir(&missing.0).unwrap();
    let live = Live::new(&room, &[&platform, &cluster, &missing]).await;
    let standing = live.until_stale().await;
    let used = |standing: &Value| -> Vec<bool> {
        let layers = standing["layers"].as_array().unwrap();
        layers
            .iter()
            .map(|l| l["used"].as_bool().unwrap())
            .collect()
    };
    assert_eq!(used(&standing), [true, true, false, false], "{standing:#}");
    let text = String::from_utf8(live.status(&[]).stdout).unwrap();
    assert!(text.contains("(not used)"), "{text}");
    assert!(
        live.log().contains("the layers are refused"),
        "{}",
        live.log()
    );
    room.create(endless("load")).await;
    until_settled(&room, "load").await;
    assert_eq!(cpu(&room.get("Job", "load-worker").await.unwrap()), "300m");

    // The one that is missing comes, and the other is put right.
    missing.write(&[("values.yaml", "{}\n")]);
    until("the other mistake", async || {
        let said = live.standing()["mistakes"].to_string();
        said.contains("conditions.yaml").then_some(())
    })
    .await;
    cluster.write(&[RENAMED]);
    live.until_other(standing["bundle"].as_str().unwrap()).await;
    assert_eq!(used(&live.standing()), [true; 4]);
    let renamed = |t: &Value| condition(t, "WorkersConnected")["reason"] == "EveryWorkerIsThere";
    room.until("LocustTest", "load", renamed).await;
}

#[tokio::test]
async fn a_kind_that_the_role_does_not_allow_is_refused_with_the_rule_to_add() {
    let room = Room::new("kind").await;
    let layer = Directory::new();
    layer.mount(&[NETWORK_POLICY]);
    // Whether it starts with it or is given it later.
    let started = Live::new(&room, &[&layer]).await;
    let rule = "- apiGroups:
  - networking.k8s.io
  resources:
  - networkpolicies
  verbs:
  - get
  - list
  - watch
  - create
  - patch
  - delete";
    let place = format!("{}:2:1", layer.path("templates/network-policy.yaml"));
    let refused = |live: &Live| {
        let text = String::from_utf8(live.status(&[]).stdout).unwrap();
        assert!(text.contains(rule) && text.contains(&place), "{text}");
        assert!(live.log().contains(rule), "{}", live.log());
    };
    started.until_stale().await;
    refused(&started);
    drop(started);
    layer.mount(&[("values.yaml", "{}\n")]);
    let live = Live::new(&room, &[&layer]).await;
    let before = live.digest();
    layer.mount(&[NETWORK_POLICY]);
    live.until_stale().await;
    refused(&live);
    assert_eq!(live.digest(), before);
    room.create(endless("old")).await;
    until_settled(&room, "old").await;
    let versions_before = versions(&room).await;

    // With the right it is taken up; nobody has to touch the files.
    let policies = [
        "create",
        "role",
        "policies",
        "--resource=networkpolicies.networking.k8s.io",
        "--verb=get,list,watch,create,patch,delete",
    ];
    let bound = [
        "create",
        "rolebinding",
        "policies",
        "--role=policies",
        "--serviceaccount=lotest-system:lotest",
    ];
    for command in [&policies[..], &bound[..]] {
        let output = room.kubectl(command);
        assert!(output.status.success(), "{output:?}");
    }
    until(
        "another bundle, though files are touched all the time",
        async || {
            layer.write(&[(".touched", "")]);
            (live.digest() != before).then_some(())
        },
    )
    .await;
    // It is said when it runs.
    until("the event", async || {
        let said = events(&room).await;
        let taken = format!("taken as bundle {}", live.digest());
        said.iter()
            .any(|event| event.contains(&taken))
            .then_some(())
    })
    .await;
    room.create(endless("new")).await;
    until_settled(&room, "new").await;
    let policy = |name: &str| room.kubectl(&["get", "networkpolicy", name, "-o", "name"]);
    assert!(policy("new").status.success());
    assert!(!policy("old").status.success());
    let now = versions(&room).await;
    for object in &versions_before {
        assert!(now.contains(object), "{object}\n{now:#?}");
    }

    // Its kind is watched, and still is when only a running test has it.
    layer.mount(&[("values.yaml", "ports: {web: 8090}\n")]);
    live.until_other(&live.digest()).await;
    for _ in 0..2 {
        assert!(
            room.kubectl(&["delete", "networkpolicy", "new"])
                .status
                .success()
        );
        until("the policy made again", async || {
            policy("new").status.success().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn files_that_are_written_again_or_by_halves_change_nothing_but_what_they_end_with() {
    let room = Room::new("halves").await;
    let layer = Directory::new();
    layer.write(&[CPU, RENAMED]);
    let live = Live::new(&room, &[&layer]).await;
    let first = live.digest();

    // The same again, in place; then a change that shows that it was looked at.
    layer.write(&[CPU, RENAMED]);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let other = (
        "values.yaml",
        "resources: {worker: {requests: {cpu: 400m}}}\n",
    );
    layer.write(&[other]);
    let second = live.until_other(&first).await;
    let success = "lotest_bundle_reloads_total{result=\"success\"}";
    assert_eq!(live.metric(success), 1.0);

    // Cut off in the middle, for longer than a change is waited for.
    layer.write(&[("rules/conditions.yaml", &RENAMED.1[..30])]);
    live.until_stale().await;
    assert_eq!(live.digest(), second);
    layer.write(&[("rules/conditions.yaml", "")]);
    layer.write(&[RENAMED, CPU]);
    let third = live.until_other(&second).await;
    assert_eq!(third, first);

    // A directory that is removed and comes again.
    std::fs::remove_dir_all(&layer.0).unwrap();
    live.until_stale().await;
    assert_eq!(live.digest(), first);
    layer.write(&[other, RENAMED]);
    assert_eq!(live.until_other(&first).await, second);
    room.create(endless("load")).await;
    let test = until_settled(&room, "load").await;
    assert_eq!(test["status"]["bundle"], *second);
}
