//! Conversion between v1 and v2 loses nothing, of any object that a schema of the CRD accepts.

use lotest::api::convert::{Error, convert};
use lotest::api::schema;
use serde_json::{Value, json};

use crate::objects::Objects;
use crate::support::{base, merge, yaml};

const V1: &str = "locust.io/v1";
const V2: &str = "locust.io/v2";
const V1_SPEC: &str = "locust.io/v1-spec";
const V2_SPEC: &str = "locust.io/v2-spec";

/// As many as the product promises.
const MANY: usize = 100_000;
const SEED: u64 = 6;

#[track_caller]
fn to(version: &str, object: &Value) -> Value {
    convert(object.clone(), version).unwrap_or_else(|error| panic!("{error}: {object}"))
}

fn other(version: &str) -> &'static str {
    if version == V1 { V2 } else { V1 }
}

fn schema_of(version: &str) -> &'static Value {
    match version {
        V1 => schema::locust_test_v1(),
        _ => schema::locust_test(),
    }
}

/// Metadata as they may be, the annotations of the conversion among them where they are somebody's text.
fn dress(object: &mut Value, version: &str, n: usize, objects: &mut Objects) {
    let random = &mut objects.random;
    let last = json!({ "apiVersion": version, "spec": { "image": "x" } }).to_string();
    let texts = [
        "",
        "{}",
        "null",
        "{\"spec\":1}",
        "{\"spec\":{},\"x\":1}",
        "[",
        "some text",
        last.as_str(),
    ];
    let mut annotations = json!({ "kubectl.kubernetes.io/last-applied-configuration": last });
    if random.one_in(2) {
        annotations["note"] = (*random.pick(&texts)).into();
    }
    for name in [V1_SPEC, V2_SPEC] {
        if random.one_in(8) {
            annotations[name] = (*random.pick(&texts)).into();
        }
    }
    // One that reads like the conversion's own is somebody's in the version that it is not for.
    let own = if version == V1 { V1_SPEC } else { V2_SPEC };
    if random.one_in(8) {
        let ours = [
            "{\"spec\":{}}",
            "{\"annotation\":\"a\"}",
            "{\"spec\":{\"image\":\"old\",\"labels\":{}}}",
        ];
        annotations[own] = (*random.pick(&ours)).into();
    }
    let metadata = json!({
        "name": format!("test-{n}"), "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 2,
        "creationTimestamp": "2026-01-01T12:00:00Z",
    });
    object["apiVersion"] = version.into();
    object["kind"] = "LocustTest".into();
    object["metadata"] = metadata;
    let metadata = &mut object["metadata"];
    match random.below(4) {
        0 => {}
        1 => metadata["annotations"] = json!({}),
        _ => metadata["annotations"] = annotations,
    }
    if random.one_in(3) {
        metadata["labels"] = json!({ "a": "", "é": "b" });
        metadata["finalizers"] = json!(["locust.io/cleanup"]);
        metadata["ownerReferences"] =
            json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "1" }]);
        metadata["managedFields"] = json!([{ "apiVersion": other(version), "manager": "kubectl", "fieldsV1": { "f:spec": { "f:image": {} } } }]);
    }
}

/// There, back, and there again.
fn lose_nothing(object: &Value, why: &str) {
    let version = object["apiVersion"].as_str().unwrap();
    let there = to(other(version), object);
    assert_eq!(there["apiVersion"], other(version), "{why}");
    assert_eq!(there.get("status"), object.get("status"), "{why}");
    let back = to(version, &there);
    assert!(
        back == *object,
        "{why}: {object}\nbecame {there}\nand then {back}"
    );
    let again = to(other(version), &back);
    assert!(
        again.to_string() == there.to_string(),
        "{why}: {there}\nis now {again}"
    );
}

fn lose_nothing_of(version: &str) {
    let mut objects = Objects::of(schema_of(version), SEED);
    let mut carried = 0;
    for n in 0..MANY {
        let mut object = objects.next(n);
        dress(&mut object, version, n, &mut objects);
        lose_nothing(&object, &format!("seed {SEED}, object {n}"));
        carried += usize::from(
            n < 1000
                && to(other(version), &object)
                    .to_string()
                    .contains("-spec\":\"{\\\"spec"),
        );
    }
    for (leaf, hits) in objects.leaves.iter().zip(&objects.hits) {
        assert!(*hits > 0, "no object had {leaf}");
    }
    assert!((1..1000).contains(&carried), "{carried}");
}

#[test]
fn v1_to_v2_and_back_is_the_same() {
    lose_nothing_of(V1);
}

#[test]
fn v2_to_v1_and_back_is_the_same() {
    lose_nothing_of(V2);
}
