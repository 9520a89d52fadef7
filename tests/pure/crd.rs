//! The CRD file is what the types say, and the types, the schema and the rules say the same.

use lotest::api::{FieldError, check, crd_yaml, schema, v1, v2::LocustTest, validate};
use lotest::engine::types::types_json;
use serde_json::{Value, json};

use crate::support::{base, file, merge, yaml};

const CRD: &str = "crds/locusttests.locust.io.yaml";
const TYPES: &str = "src/engine/types.json";

/// What the API server does with `default:` in a schema.
pub fn fill_in(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = inner.get("default").filter(|_| !object.contains_key(name)) {
                    object.insert(name.clone(), default.clone());
                }
                if let Some(value) = object.get_mut(name) {
                    fill_in(inner, value);
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| fill_in(&schema["items"], item)),
        _ => {}
    }
}

#[test]
fn what_is_made_of_the_types_is_current() {
    for (path, made) in [(CRD, crd_yaml()), (TYPES, types_json())] {
        assert!(
            file(path) == made,
            "{path} is stale: run `make crds` and commit the result"
        );
    }
}

#[test]
fn the_schemas_are_read_from_the_crd_as_they_were_made() {
    assert_eq!(*schema::locust_test(), schema::of_v2());
    assert_eq!(*schema::locust_test_v1(), schema::of_v1());
}

#[test]
fn the_crd_fits_into_the_annotation_of_kubectl_apply() {
    assert!(lotest::api::crd().to_string().len() < 200 * 1024);
}

#[test]
fn valid_specs_are_accepted() {
    for case in yaml("tests/specs.yaml")["valid"].as_array().unwrap() {
        let mut test = base();
        merge(&mut test, &case["patch"]);
        assert_eq!(
            LocustTest::parse_strict(test).err(),
            None,
            "{}",
            case["name"]
        );
    }
}

#[test]
fn invalid_specs_are_refused_where_they_are_wrong() {
    for case in yaml("tests/specs.yaml")["invalid"].as_array().unwrap() {
        let mut test = base();
        merge(&mut test, &case["patch"]);
        let errors = LocustTest::parse_strict(test).err().unwrap_or_default();
        let [FieldError { path, message }] = errors.as_slice() else {
            panic!("{}: one error expected, not {errors:?}", case["name"]);
        };
        assert_eq!(path, &case["field"], "{}", case["name"]);
        assert!(
            message.contains(case["message"].as_str().unwrap()),
            "{}: {message}",
            case["name"]
        );
    }
}

#[test]
fn v1_is_judged_by_its_schema() {
    let specs = yaml("tests/specs-v1.yaml");
    let judge = |case: &Value| {
        let mut test = specs["base"].clone();
        merge(&mut test, &case["patch"]);
        let schema = schema::locust_test_v1();
        let findings = check::against(schema, &test, "", check::Unknown::Deny);
        (test, findings)
    };
    for case in specs["valid"].as_array().unwrap() {
        let (mut test, findings) = judge(case);
        assert_eq!(findings, [], "{}", case["name"]);
        let parsed: v1::LocustTest = serde_json::from_value(test.clone()).unwrap();
        fill_in(schema::locust_test_v1(), &mut test);
        assert_eq!(json!(parsed), test, "{}", case["name"]);
    }
    for case in specs["invalid"].as_array().unwrap() {
        let (_, findings) = judge(case);
        // Rules about names are CEL, for the API server.
        if case["field"] == "metadata.name" {
            continue;
        }
        let [FieldError { path, message }] = findings.as_slice() else {
            panic!("{}: one error expected, not {findings:?}", case["name"]);
        };
        assert_eq!(path, &case["field"], "{}", case["name"]);
        let expected = case["message"].as_str().unwrap();
        assert!(message.contains(expected), "{}: {message}", case["name"]);
    }
}

/// What kubectl shows, and says, of v1.
#[test]
fn v1_is_served_and_deprecated() {
    let crd = lotest::api::crd();
    let [v2, v1] = crd["spec"]["versions"].as_array().unwrap().as_slice() else {
        panic!("{crd}");
    };
    for (version, name, storage) in [(v2, "v2", true), (v1, "v1", false)] {
        assert_eq!(version["name"], name);
        assert_eq!(
            (&version["served"], &version["storage"]),
            (&json!(true), &json!(storage))
        );
        assert_eq!(version["subresources"], json!({ "status": {} }));
    }
    let status =
        |version: &Value| version["schema"]["openAPIV3Schema"]["properties"]["status"].clone();
    assert_eq!(status(v1), status(v2));
    assert_eq!(v2.get("deprecated"), None);
    assert_eq!(
        (&v1["deprecated"], &v1["deprecationWarning"]),
        (
            &json!(true),
            &json!("locust.io/v1 LocustTest is deprecated, migrate to locust.io/v2")
        )
    );
    let columns = |version: &Value| {
        let columns = version["additionalPrinterColumns"].as_array().unwrap();
        let column = |c: &Value| {
            format!(
                "{} {}",
                c["name"].as_str().unwrap(),
                c["jsonPath"].as_str().unwrap()
            )
        };
        columns.iter().map(column).collect::<Vec<_>>()
    };
    assert_eq!(
        columns(v1),
        [
            "master_cmd .spec.masterCommandSeed",
            "worker_replica_count .spec.workerReplicas",
            "Image .spec.image",
            "Age .metadata.creationTimestamp",
        ]
    );
    let service = json!({ "namespace": "lotest-system", "name": "lotest-webhook", "path": "/convert", "port": 443 });
    assert_eq!(crd["spec"]["conversion"]["strategy"], "Webhook");
    assert_eq!(
        crd["spec"]["conversion"]["webhook"]["clientConfig"],
        json!({ "service": service })
    );
}

/// A file and a cluster start from the same object.
#[test]
fn serde_and_the_schema_have_the_same_defaults() {
    for test in [base(), yaml("tests/everything.yaml")] {
        let mut filled = test.clone();
        fill_in(schema::locust_test(), &mut filled);
        assert_eq!(LocustTest::parse_strict(test).unwrap().to_value(), filled);
    }
}

#[test]
fn nulls_are_absent_fields() {
    let mut test = base();
    test["spec"]["imagePullPolicy"] = Value::Null;
    test["spec"]["master"]["resources"] = json!({ "limits": { "cpu": null } });
    test["spec"]["volumes"] = json!([{ "name": "a", "emptyDir": null }]);
    let spec = LocustTest::parse_strict(test).unwrap().to_value()["spec"].take();
    assert_eq!(spec["imagePullPolicy"], "IfNotPresent");
    assert_eq!(spec["master"]["resources"], json!({ "limits": {} }));
    assert_eq!(spec["volumes"], json!([{ "name": "a" }]));
}

#[test]
fn an_error_names_its_field() {
    let mut test = base();
    test["spec"]["worker"]["replicas"] = "x".into();
    let error = LocustTest::from_value(test).unwrap_err();
    assert_eq!(
        error.to_string(),
        "spec.worker.replicas: invalid type: string \"x\", expected i32"
    );
}

/// The operator reads what newer or older operators have stored.
#[test]
fn the_operator_ignores_what_it_does_not_know() {
    let mut test = base();
    test["spec"]["later"] = json!({ "version": true });
    test["spec"]["volumes"] = json!([{ "name": "a", "later": {} }]);
    let test = LocustTest::from_value(test).unwrap();
    assert_eq!(validate(&test), []);
    assert_eq!(
        test.to_value()["spec"]["volumes"],
        json!([{ "name": "a", "later": {} }])
    );
}

#[test]
fn bounds_hold_for_the_operator_too() {
    let mut test = base();
    test["spec"]["worker"]["replicas"] = json!(501);
    let errors = validate(&LocustTest::from_value(test).unwrap());
    assert_eq!(errors[0].path, "spec.worker.replicas");
}

#[test]
fn every_mistake_in_a_file_is_said_at_once() {
    let mut test = base();
    merge(
        &mut test,
        &json!({ "metadata": { "nam": "x" }, "spec": { "image": 1, "worker": { "replicas": 0 } } }),
    );
    let errors = LocustTest::parse_strict(test).unwrap_err();
    let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        ["metadata.nam", "spec.image", "spec.worker.replicas"]
    );
}

#[test]
fn a_file_of_another_kind_is_refused() {
    for (key, value) in [("kind", "Pod"), ("apiVersion", "v1")] {
        let mut test = base();
        test[key] = value.into();
        assert_eq!(LocustTest::parse_strict(test).unwrap_err()[0].path, key);
    }
}
