//! Conversion between v1 and v2 loses nothing, of any object that a schema of the CRD accepts.

use lotest::api::convert::{Error, convert};
use lotest::api::{check, schema};
use serde_json::{Value, json};

use crate::crd::fill_in;
use crate::objects::{Objects, Random};
use crate::support::base;

pub const V1: &str = "locust.io/v1";
pub const V2: &str = "locust.io/v2";
pub const V1_SPEC: &str = "locust.io/v1-spec";
pub const V2_SPEC: &str = "locust.io/v2-spec";

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// As many as the product promises.
const MANY: usize = 100_000;
pub const SEED: u64 = 6;

#[track_caller]
pub fn to(version: &str, object: &Value) -> Value {
    convert(object.clone(), version).unwrap_or_else(|error| panic!("{error}: {object}"))
}

pub fn other(version: &str) -> &'static str {
    if version == V1 { V2 } else { V1 }
}

pub fn schema_of(version: &str) -> &'static Value {
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
    let mut annotations = json!({ LAST_APPLIED: last });
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

/// There and back; as back is the same, there again would be too.
fn lose_nothing(object: &Value, n: usize) -> Value {
    let version = object["apiVersion"].as_str().unwrap();
    let there = to(other(version), object);
    let back = to(version, &there);
    assert!(
        back == *object,
        "seed {SEED}, object {n}: {object}\nbecame {there}\nand then {back}"
    );
    there
}

fn lose_nothing_of(version: &str) {
    let mut objects = Objects::of(schema_of(version), SEED);
    for n in 0..MANY {
        let mut object = objects.next(n);
        dress(&mut object, version, n, &mut objects);
        lose_nothing(&object, n);
    }
    for (leaf, hits) in objects.leaves.iter().zip(&objects.hits) {
        assert!(*hits > 0, "no object had {leaf}");
    }
}

#[test]
fn v1_to_v2_and_back_is_the_same() {
    lose_nothing_of(V1);
}

#[test]
fn v2_to_v1_and_back_is_the_same() {
    lose_nothing_of(V2);
}

/// What is valid in one version is valid in the other, or nobody could write what they have read. Only the annotations
/// differ from what was there.
#[test]
fn a_valid_test_is_valid_in_the_other_version() {
    for version in [V1, V2] {
        let mut objects = Objects::of(schema_of(version), SEED + 1);
        for n in 0..2000 {
            let mut object = objects.next(n);
            dress(&mut object, version, n, &mut objects);
            fill_in(schema_of(version), &mut object);
            let there = lose_nothing(&object, n);
            let findings =
                check::against(schema_of(other(version)), &there, "", check::Unknown::Deny);
            let findings: Vec<_> = findings
                .iter()
                .filter(|f| !f.path.starts_with("metadata"))
                .collect();
            assert!(
                findings.is_empty(),
                "{findings:?} of {object}\nbecame {there}"
            );
            assert_eq!(there["apiVersion"], other(version));
            assert_eq!(there.get("status"), object.get("status"));
            let without = |object: &Value| {
                let mut metadata = object["metadata"].clone();
                metadata.as_object_mut().unwrap().remove("annotations");
                metadata
            };
            assert_eq!(without(&there), without(&object));
            let applied = |object: &Value| object["metadata"]["annotations"][LAST_APPLIED].clone();
            assert_eq!(applied(&there), applied(&object));
            assert_eq!(there.to_string(), to(other(version), &object).to_string());
        }
    }
}

/// The API server fills in defaults when it is given a test and when it reads one.
#[test]
fn a_v1_test_carries_nothing_through_the_api_server() {
    let mut objects = Objects::of(schema::locust_test_v1(), SEED + 2);
    for n in 0..2000 {
        let mut given = objects.next(n);
        given["apiVersion"] = V1.into();
        given.as_object_mut().unwrap().remove("metadata");
        drop_empty(&mut given["spec"]);
        fill_in(schema::locust_test_v1(), &mut given);
        let stored = to(V2, &given);
        assert_eq!(stored.get("metadata"), None, "{given}");
        let mut read = stored.clone();
        fill_in(schema::locust_test(), &mut read);
        // The policy is v1's to say, and it has.
        assert_eq!(read, stored);
        assert_eq!(to(V1, &read), given);
    }
}

fn drop_empty(value: &mut Value) {
    if let Value::Object(object) = value {
        object.values_mut().for_each(drop_empty);
        object.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    }
}

#[test]
fn v1_has_the_defaults_of_v2() {
    let v1 = json!({ "apiVersion": V1, "kind": "LocustTest", "metadata": { "name": "load" }, "spec": {
        "image": "locustio/locust:2.20.0", "masterCommandSeed": "--host x", "workerCommandSeed": "-f y",
        "workerReplicas": 3, "imagePullPolicy": "Always", "imagePullSecrets": ["a", "b"], "configMap": "files",
        "libConfigMap": "", "labels": { "master": { "a": "b" } }, "annotations": { "worker": {} },
        "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "zone": "a", "disk": "ssd" } } },
        "tolerations": [{ "key": "k", "operator": "Exists", "effect": "NoSchedule" }],
    } });
    let v2 = json!({ "apiVersion": V2, "kind": "LocustTest", "metadata": { "name": "load" }, "spec": {
        "image": "locustio/locust:2.20.0", "imagePullPolicy": "Always", "imagePullSecrets": [{ "name": "a" }, { "name": "b" }],
        "master": {
            "command": "--host x", "autostart": true, "autoquit": { "enabled": true, "timeout": 60 }, "labels": { "a": "b" },
        },
        "worker": { "command": "-f y", "replicas": 3, "annotations": {} },
        "testFiles": {
            "configMapRef": "files", "libConfigMapRef": "", "srcMountPath": "/lotest/src", "libMountPath": "/opt/locust/lib",
        },
        "scheduling": {
            "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{ "matchExpressions": [
                    { "key": "disk", "operator": "In", "values": ["ssd"] },
                    { "key": "zone", "operator": "In", "values": ["a"] },
                ] }],
            } } },
            "tolerations": [{ "key": "k", "operator": "Exists", "effect": "NoSchedule" }],
        },
    } });
    assert_eq!(to(V2, &v1), v2);
    assert_eq!(to(V1, &v2), v1);
}

/// Old objects may be anything.
#[test]
fn what_no_schema_accepts_is_kept_too() {
    let odd = [
        json!(null),
        json!(1),
        json!("x"),
        json!([]),
        json!([1, {}]),
        json!({}),
        json!({ "odd": [null] }),
    ];
    for version in [V1, V2] {
        let mut objects = Objects::of(schema_of(version), SEED + 3);
        for n in 0..5000 {
            let mut object = objects.next(n);
            dress(&mut object, version, n, &mut objects);
            for _ in 0..3 {
                spoil(&mut object["spec"], &odd, &mut objects.random);
            }
            lose_nothing(&object, n);
        }
        for spec in &odd {
            lose_nothing(
                &json!({ "apiVersion": version, "metadata": {}, "spec": spec }),
                0,
            );
        }
        for bare in [
            json!({}),
            json!({ "metadata": { "annotations": null } }),
            json!({ "spec": { "odd": 1 } }),
        ] {
            let mut object = bare;
            object["apiVersion"] = version.into();
            lose_nothing(&object, 0);
        }
    }
}

/// Puts something odd in the place of a value, or beside it.
fn spoil(value: &mut Value, odd: &[Value], random: &mut Random) {
    match value {
        Value::Object(object) if !object.is_empty() && !random.one_in(4) => {
            let n = random.below(object.len());
            if let Some(inner) = object.values_mut().nth(n) {
                spoil(inner, odd, random);
            }
        }
        Value::Object(object) if random.one_in(2) => {
            object.insert("odd".into(), random.pick(odd).clone());
        }
        _ => *value = random.pick(odd).clone(),
    }
}

#[test]
fn an_annotation_that_is_no_carrier_is_text() {
    for text in [
        "",
        "x",
        "null",
        "[]",
        "{}",
        "{\"spec\":[]}",
        "{\"spec\":{},\"more\":1}",
        "{\"spec\":{}",
    ] {
        let mut v1 = to(V1, &base_v2());
        v1["metadata"]["annotations"] = json!({ V2_SPEC: text });
        let v2 = to(V2, &v1);
        assert_eq!(v2["metadata"]["annotations"], json!({ V2_SPEC: text }));
        assert_eq!(v2["spec"], base_v2()["spec"]);
        // And when there is something to carry, it is carried as well.
        let mut more = v2.clone();
        more["spec"]["worker"]["extraArgs"] = json!(["x"]);
        assert_eq!(to(V2, &to(V1, &more)), more);
    }
}

/// As the API server stores it.
fn base_v2() -> Value {
    let mut test = base();
    fill_in(schema::locust_test(), &mut test);
    test
}

#[test]
fn what_is_too_large_for_annotations_can_be_read() {
    const LIMIT: usize = 262_144;
    let mut test = base_v2();
    test["metadata"]["annotations"] = json!({ "note": "é" });
    let with_args = |length: usize| {
        let mut test = test.clone();
        test["spec"]["worker"]["extraArgs"] = json!(["x".repeat(length)]);
        test
    };
    let annotations = |object: &Value| {
        let all = object["metadata"]["annotations"].as_object().unwrap();
        let size = |(key, value): (&String, &Value)| key.len() + value.as_str().unwrap().len();
        all.iter().map(size).sum::<usize>()
    };
    let beside = annotations(&to(V1, &with_args(0)));
    let largest = with_args(LIMIT - beside);
    assert_eq!(annotations(&to(V1, &largest)), LIMIT);
    assert_eq!(to(V2, &to(V1, &largest)), largest);
    let too_large = to(V1, &with_args(LIMIT - beside + 1));
    assert_eq!(too_large["spec"]["image"], test["spec"]["image"]);
    assert!(annotations(&too_large) < 200);
    let error = convert(too_large.clone(), V2).unwrap_err();
    assert_eq!(
        error,
        Error::TooLarge {
            name: "load".into()
        }
    );
    assert_eq!(
        error.to_string(),
        "the LocustTest \"load\" cannot be changed as locust.io/v1: what only locust.io/v2 can say of it is larger than the 262144 bytes that annotations may have; change it as locust.io/v2, for example with kubectl edit locusttests.v2.locust.io"
    );
    // The same words in a v2 test are somebody's.
    let mut hostile = test.clone();
    hostile["metadata"]["annotations"] = too_large["metadata"]["annotations"].clone();
    assert_eq!(to(V2, &to(V1, &hostile)), hostile);
}

/// What v1 leaves empty is not worth a test that nobody can write.
#[test]
fn a_v1_test_with_full_annotations_is_written() {
    let mut test = to(V1, &base_v2());
    test["spec"]["labels"] = json!({});
    test["metadata"]["annotations"] = json!({ "a": "x".repeat(262_143) });
    let there = to(V2, &test);
    assert_eq!(there["metadata"], test["metadata"]);
    assert_eq!(there["spec"], base_v2()["spec"]);
}

#[test]
fn only_versions_that_there_are_are_converted() {
    for wrong in ["v1", "locust.io/v3", ""] {
        assert_eq!(convert(base(), wrong), Err(Error::Version(wrong.into())));
        let mut test = base();
        test["apiVersion"] = wrong.into();
        assert_eq!(convert(test, V1), Err(Error::Version(wrong.into())));
    }
    assert_eq!(convert(json!([]), V1), Err(Error::NotAnObject));
    assert_eq!(to(V2, &base()), base());
}
