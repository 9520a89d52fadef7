//! Both versions of the API, with all that kubectl does with them, and what one version must not take from the other.

use crate::harness::{Place, install, turn, version_1};
use crate::shell::{Shell, said};
use crate::support::{Room, endless, uid, until};
use futures::StreamExt;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use serde_json::{Value, json};

const OLD: &str = "
apiVersion: locust.io/v1
kind: LocustTest
metadata: {name: old}
spec:
  masterCommandSeed: --locustfile /lotest/src/test.py
  workerCommandSeed: --locustfile /lotest/src/test.py
  workerReplicas: 3
  image: locustio/locust:2.20.0
  labels: {master: {team: shop}}
";

const DEPRECATED: &str = "Warning: locust.io/v1 LocustTest is deprecated, migrate to locust.io/v2";

/// A v2 test of which v1 can say little, under the name of the old manifest.
fn rich() -> Value {
    let mut test = endless("old");
    let spec = &mut test["spec"];
    spec["env"] = json!({"variables": [{"name": "A", "value": "b"}]});
    spec["volumes"] = json!([{"name": "cache", "emptyDir": {}}]);
    spec["volumeMounts"] = json!([{"name": "cache", "mountPath": "/cache"}]);
    spec["master"]["extraArgs"] = json!(["--html", "report"]);
    spec["master"]["autoquit"] = json!({"enabled": true, "timeout": 5});
    spec["scheduling"] = json!({"nodeSelector": {"a": "b"}});
    test
}

#[tokio::test]
async fn kubectl_does_everything_with_both_versions() {
    let _turn = turn().await;
    let room = Room::new("versions").await;
    let place = Place::new();
    let _operator = place.operator(&room, &[]);
    install(&room, &place).await;
    let shell = Shell::new(&room);
    shell.write("old.yaml", OLD);

    let seen = watcher(version_1(&room), watcher::Config::default());
    let created = shell.run("kubectl create -f old.yaml");
    assert!(
        created.status.success() && said(&created).contains(DEPRECATED),
        "{}",
        said(&created)
    );
    let stored = room.get("LocustTest", "old").await.unwrap();
    assert_eq!(stored["apiVersion"], "locust.io/v2");
    assert_eq!(stored["spec"]["worker"]["replicas"], 3);
    assert_eq!(stored["spec"]["master"]["labels"], json!({"team": "shop"}));
    // It runs as any other.
    room.until_phase("old", "Running").await;

    let rows = shell.ok("kubectl get locusttests.v1.locust.io");
    assert!(
        rows.contains("MASTER_CMD") && rows.contains("old"),
        "{rows}"
    );
    let rows = shell.ok("kubectl get locusttests.v2.locust.io");
    assert!(rows.contains("CONNECTED") && rows.contains("old"), "{rows}");
    let replicas = "jsonpath={.spec.workerReplicas} {.status.phase}";
    let line = format!("kubectl get locusttests.v1.locust.io old -o '{replicas}'");
    assert_eq!(shell.ok(&line), "3 Running");

    // Changed through each, and seen through the other.
    shell.ok("kubectl patch locusttests.v1.locust.io old --type merge -p '{\"spec\": {\"image\": \"a\"}}'");
    assert_eq!(
        room.get("LocustTest", "old").await.unwrap()["spec"]["image"],
        "a"
    );
    shell.ok("kubectl patch locusttests.v2.locust.io old --type json -p '[{\"op\": \"replace\", \"path\": \"/spec/image\", \"value\": \"b\"}]'");
    shell.ok("kubectl annotate locusttests.v1.locust.io old a=b");
    let mut seen = Box::pin(seen);
    until("the change in a watch of v1", async || {
        match seen.next().await?.unwrap() {
            watcher::Event::Apply(o) | watcher::Event::InitApply(o) => {
                assert_eq!(o.types.as_ref().unwrap().api_version, "locust.io/v1");
                (o.data["spec"]["image"] == "b").then_some(())
            }
            _ => None,
        }
    })
    .await;

    // Applied in both ways and both versions.
    shell.ok("kubectl apply -f old.yaml");
    assert_eq!(shell.ok("kubectl diff -f old.yaml"), "");
    shell.ok("kubectl apply --server-side --force-conflicts -f old.yaml");
    shell.ok("kubectl get locusttests.v2.locust.io old -o yaml >new.yaml && sed -i 's/replicas: 3/replicas: 4/; /resourceVersion/d; /managedFields/d' new.yaml");
    shell.ok("kubectl apply --server-side --force-conflicts -f new.yaml");
    assert_eq!(shell.ok(&line), "4 Running");
    shell.ok("kubectl delete locusttests.v1.locust.io old");
    room.until_gone("LocustTest", "old").await;
}

#[tokio::test]
async fn an_old_manifest_over_a_new_test_takes_nothing_from_it() {
    let _turn = turn().await;
    let room = Room::new("over").await;
    let place = Place::new();
    let _operator = place.operator(&room, &[]);
    install(&room, &place).await;
    let shell = Shell::new(&room);
    shell.write("old.yaml", OLD);
    for apply in [
        "kubectl apply -f old.yaml",
        "kubectl apply --server-side --force-conflicts -f old.yaml",
        "kubectl patch locusttests.v1.locust.io old --type merge -p '{\"spec\": {\"workerReplicas\": 3}}'",
    ] {
        let before = room.create(rich()).await;
        shell.ok(apply);
        let after = room.get("LocustTest", "old").await.unwrap();
        assert_eq!(uid(&after), uid(&before));
        assert_eq!(after["spec"]["worker"]["replicas"], 3, "{apply}");
        for field in ["env", "volumes", "volumeMounts", "scheduling"] {
            assert_eq!(
                after["spec"][field], before["spec"][field],
                "{apply}: {field}"
            );
        }
        for field in ["extraArgs", "autoquit"] {
            let (after, before) = (&after["spec"]["master"], &before["spec"]["master"]);
            assert_eq!(after[field], before[field], "{apply}: {field}");
        }
        room.delete("LocustTest", "old").await;
        room.until_gone("LocustTest", "old").await;
    }
}

#[tokio::test]
async fn versions_are_changed_at_the_same_time() {
    let _turn = turn().await;
    let room = Room::new("both").await;
    let place = Place::new();
    let _operator = place.operator(&room, &[]);
    install(&room, &place).await;
    room.create(rich()).await;
    let change = async |n: usize| {
        let api = match n % 2 {
            0 => version_1(&room),
            _ => room.api("LocustTest"),
        };
        let labels = json!({"metadata": {"labels": {format!("l{n}"): "x"}}});
        let patch = Patch::Merge(labels);
        until("a change", async || {
            api.patch("old", &PatchParams::default(), &patch).await.ok()
        })
        .await;
    };
    futures::future::join_all((0..20).map(change)).await;
    let after = room.get("LocustTest", "old").await.unwrap();
    assert_eq!(after["metadata"]["labels"].as_object().unwrap().len(), 20);
    assert_eq!(after["spec"]["volumes"], rich()["spec"]["volumes"]);
}

#[tokio::test]
async fn what_is_too_large_for_version_1_can_be_read_and_not_written() {
    let _turn = turn().await;
    let room = Room::new("large").await;
    let place = Place::new();
    let _operator = place.operator(&room, &[]);
    install(&room, &place).await;
    let mut large = endless("large");
    let value = "x".repeat(30 * 1024);
    let variables = (0..10).map(|n| json!({"name": format!("V{n}"), "value": value}));
    large["spec"]["env"] = json!({"variables": variables.collect::<Vec<_>>()});
    large["spec"]["image"] = "not/pulled".into();
    room.create(large).await;
    let read = version_1(&room).get("large").await.unwrap();
    assert_eq!(read.data["spec"]["image"], "not/pulled");
    assert_eq!(
        version_1(&room)
            .list(&Default::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    let patch = Patch::Merge(json!({"spec": {"image": "other"}}));
    let refused = version_1(&room)
        .patch("large", &PatchParams::default(), &patch)
        .await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("cannot be changed as locust.io/v1"),
        "{refused}"
    );
    room.patch("LocustTest", "large", json!({"spec": {"image": "other"}}))
        .await;
    let read = version_1(&room).get("large").await.unwrap();
    assert_eq!(read.data["spec"]["image"], "other");
}
