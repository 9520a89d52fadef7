//! Edits through one version of a test that says more in the other: they change what they change.

use lotest::api::schema;
use serde_json::{Value, json};

use crate::convert::{SEED, V1, V1_SPEC, V2, V2_SPEC, other, schema_of, to};
use crate::crd::fill_in;
use crate::objects::Objects;
use crate::support::yaml;

/// What v1 can say, in both versions, with two values of each: v2 says no more than v1 in them.
fn pairs() -> Vec<(&'static str, &'static str, [Value; 2], [Value; 2])> {
    let same = |v1, v2, a: Value, b: Value| (v1, v2, [a.clone(), b.clone()], [a, b]);
    let toleration =
        |key| json!([{ "key": key, "operator": "Equal", "effect": "NoExecute", "value": "v" }]);
    let selector = |value| json!({ "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "zone", "operator": "In", "values": [value] }] }] });
    vec![
        same("image", "image", json!("a"), json!("b")),
        same(
            "imagePullPolicy",
            "imagePullPolicy",
            json!("Never"),
            json!("Always"),
        ),
        same(
            "masterCommandSeed",
            "master/command",
            json!("a"),
            json!("b"),
        ),
        same(
            "workerCommandSeed",
            "worker/command",
            json!("a"),
            json!("b"),
        ),
        same("workerReplicas", "worker/replicas", json!(7), json!(8)),
        same("configMap", "testFiles/configMapRef", json!("c"), json!("")),
        same(
            "libConfigMap",
            "testFiles/libConfigMapRef",
            json!("c"),
            json!(""),
        ),
        same(
            "labels/master",
            "master/labels",
            json!({ "x": "y" }),
            json!({}),
        ),
        same(
            "labels/worker",
            "worker/labels",
            json!({ "x": "y" }),
            json!({}),
        ),
        same(
            "annotations/master",
            "master/annotations",
            json!({ "x": "y" }),
            json!({}),
        ),
        same(
            "annotations/worker",
            "worker/annotations",
            json!({ "x": "y" }),
            json!({}),
        ),
        (
            "imagePullSecrets",
            "imagePullSecrets",
            [json!(["n"]), json!([])],
            [json!([{ "name": "n" }]), json!([])],
        ),
        (
            "affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution",
            "scheduling/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution",
            [json!({ "zone": "a" }), json!({ "zone": "b" })],
            [selector("a"), selector("b")],
        ),
        same(
            "tolerations",
            "scheduling/tolerations",
            toleration("k"),
            toleration("l"),
        ),
    ]
}

fn set(object: &mut Value, path: &str, value: Value) {
    let place = path
        .split('/')
        .fold(&mut object["spec"], |at, name| &mut at[name]);
    *place = value;
}

/// Removes a field, and the maps around it that are empty then.
fn unset(object: &mut Value, path: &str) {
    let (around, name) = path
        .rsplit_once('/')
        .map_or(("", path), |(around, name)| (around, name));
    let pointer = if around.is_empty() {
        "/spec".into()
    } else {
        format!("/spec/{around}")
    };
    let Some(Value::Object(map)) = object.pointer_mut(&pointer) else {
        return;
    };
    map.remove(name);
    if map.is_empty() && !around.is_empty() {
        unset(object, around);
    }
}

fn stored_everything() -> Value {
    let mut test = yaml("tests/everything.yaml");
    fill_in(schema::locust_test(), &mut test);
    test
}

/// Without the entries that v1 cannot say, which stay whatever v1 does to a list.
fn everything_that_v1_can_say() -> Value {
    let mut test = stored_everything();
    test["spec"]["scheduling"]["tolerations"] = json!([]);
    test
}

#[test]
fn an_edit_through_v1_changes_what_it_changes() {
    for (v1_path, v2_path, olds, news) in pairs() {
        for (old, new) in olds.into_iter().zip(news) {
            let test = everything_that_v1_can_say();
            let mut seen = to(V1, &test);
            set(&mut seen, v1_path, old);
            let mut expected = test.clone();
            set(&mut expected, v2_path, new);
            assert_eq!(to(V2, &seen), expected, "{v1_path}");
        }
        let mut test = everything_that_v1_can_say();
        if v1_path.starts_with("affinity") {
            let labels = pairs()
                .into_iter()
                .find(|pair| pair.0 == v1_path)
                .unwrap()
                .3[0]
                .clone();
            set(&mut test, v2_path, labels);
        }
        let mut seen = to(V1, &test);
        unset(&mut seen, v1_path);
        unset(&mut test, v2_path);
        assert_eq!(to(V2, &seen), test, "without {v1_path}");
    }
}

/// The same for a v2 edit of a test of which v2 cannot say all.
#[test]
fn an_edit_through_v2_changes_what_it_changes() {
    let test = json!({ "apiVersion": V1, "kind": "LocustTest", "metadata": { "name": "load" }, "spec": {
        "image": "x", "imagePullPolicy": "IfNotPresent", "masterCommandSeed": "m", "workerCommandSeed": "w", "workerReplicas": 1,
        "labels": {}, "annotations": {}, "affinity": { "nodeAffinity": {} }, "odd": [1],
    } });
    for (v1_path, v2_path, news, olds) in pairs() {
        for (new, old) in news.into_iter().zip(olds) {
            let mut seen = to(V2, &test);
            assert!(seen["metadata"]["annotations"][V1_SPEC].is_string());
            set(&mut seen, v2_path, old);
            fill_in(schema::locust_test(), &mut seen);
            let mut expected = test.clone();
            set(&mut expected, v1_path, new);
            assert_eq!(to(V1, &seen), expected, "{v2_path}");
        }
    }
}

/// Two edits of which the second takes back the first leave nothing of what was before.
#[test]
fn what_an_edit_has_replaced_does_not_come_back() {
    let test = stored_everything();
    let path = "affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    let mut seen = to(V1, &test);
    assert_eq!(seen["spec"].get("affinity"), None);
    set(&mut seen, path, json!({ "zone": "a" }));
    let mut seen = to(V1, &to(V2, &seen));
    assert_eq!(
        seen["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            ["zone"],
        "a"
    );
    unset(&mut seen, path);
    let mut expected = test;
    unset(
        &mut expected,
        "scheduling/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution",
    );
    assert_eq!(to(V2, &seen), expected);
}

/// An old annotation next to a newer spec: the spec holds, and the annotation is as it should be from then on.
#[test]
fn an_annotation_of_another_time_is_no_harm() {
    for version in [V1, V2] {
        let mut objects = Objects::of(schema_of(version), SEED + 4);
        let mut others = Objects::of(schema_of(other(version)), SEED + 5);
        let name = if version == V1 { V2_SPEC } else { V1_SPEC };
        let mut stale = 0;
        for n in 0..2000 {
            let mut object = objects.next(n);
            object["apiVersion"] = version.into();
            object["metadata"] = json!({ "name": "load", "annotations": { "a": "b" } });
            let mut before = others.next(n);
            before["apiVersion"] = other(version).into();
            let before = to(version, &before);
            let Some(carried) = before
                .pointer("/metadata/annotations")
                .map(|all| &all[name])
            else {
                continue;
            };
            object["metadata"]["annotations"][name] = carried.clone();
            let there = to(other(version), &object);
            let back = to(version, &there);
            stale += usize::from(back != object);
            assert_eq!(back["spec"], object["spec"], "{carried}");
            assert_eq!(back["metadata"]["annotations"]["a"], "b");
            assert_eq!(to(other(version), &back), there, "{object}");
        }
        assert!(stale > 10, "{stale}");
    }
}

#[test]
fn lists_keep_what_v1_cannot_show() {
    let mut test = stored_everything();
    let brief =
        json!({ "key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30 });
    let all = json!({ "operator": "Exists" });
    assert_eq!(
        test["spec"]["scheduling"]["tolerations"],
        json!([brief, all])
    );
    test["spec"]["imagePullSecrets"] = json!([{}, { "name": "a" }]);
    let mut seen = to(V1, &test);
    let shown = json!({ "key": "a", "operator": "Exists", "effect": "NoExecute" });
    assert_eq!(seen["spec"]["tolerations"], json!([shown]));
    assert_eq!(seen["spec"]["imagePullSecrets"], json!(["a"]));
    let new = json!({ "key": "b", "operator": "Equal", "effect": "NoSchedule", "value": "" });
    seen["spec"]["tolerations"] = json!([new, shown]);
    seen["spec"]["imagePullSecrets"] = json!(["b"]);
    let spec = to(V2, &seen)["spec"].take();
    assert_eq!(spec["scheduling"]["tolerations"], json!([all, new, brief]));
    assert_eq!(spec["imagePullSecrets"], json!([{}, { "name": "b" }]));
    seen["spec"].as_object_mut().unwrap().remove("tolerations");
    assert_eq!(
        to(V2, &seen)["spec"]["scheduling"]["tolerations"],
        json!([all])
    );
}
