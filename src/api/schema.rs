//! The structural schema of a LocustTest: what schemars makes of the types, in the dialect of a CRD. It is made once, for the
//! file of the CustomResourceDefinition; what runs reads it there.

use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use regex::Regex;
use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    CRD,
    rules::{self, Rule},
    v1, v2,
};

/// What Kubernetes parses as a quantity. With it, `cpu: 1 core` is refused when the test is applied and not
/// later, when the pod is.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

static V2: LazyLock<Value> = LazyLock::new(|| stored(0));
static V2_SPEC: LazyLock<Value> = LazyLock::new(|| {
    let mut spec = stored(0)["properties"]["spec"].take();
    leave_out_descriptions(&mut spec);
    spec
});
static V1: LazyLock<Value> = LazyLock::new(|| stored(1));

/// The schema of a version, by its place in the CustomResourceDefinition.
fn stored(version: usize) -> Value {
    let mut crd: Value = serde_saphyr::from_str(CRD).unwrap_or_default();
    crd["spec"]["versions"][version]["schema"]["openAPIV3Schema"].take()
}

/// Is this a number that Kubernetes takes for an amount, such as `500m` or `1Gi`?
pub fn is_quantity(text: &str) -> bool {
    static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(QUANTITY).ok());
    PATTERN
        .as_ref()
        .is_some_and(|pattern| pattern.is_match(text))
}

/// The schema of a whole LocustTest v2.
pub fn locust_test() -> &'static Value {
    &V2
}

/// What a spec v2 is held against: the same without a word for people.
pub fn spec() -> &'static Value {
    &V2_SPEC
}

/// The schema of a whole LocustTest v1.
pub fn locust_test_v1() -> &'static Value {
    &V1
}

/// The schema of a whole LocustTest v2, from its type.
pub fn of_v2() -> Value {
    root("locust.io/v2", of::<v2::LocustTestSpec>(), rules::ROOT)
}

/// The schema of a whole LocustTest v1, from its type.
pub fn of_v1() -> Value {
    root("locust.io/v1", of::<v1::LocustTestSpec>(), rules::ROOT_V1)
}

fn root(version: &str, spec: Value, rules: &[&Rule]) -> Value {
    json!({
        "description": spec["description"],
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": { "type": "string", "description": format!("Always `{version}`.") },
            "kind": { "type": "string", "description": "Always `LocustTest`." },
            // The bound is the API server's own; without it the rules about the name look too expensive.
            "metadata": { "type": "object", "properties": { "name": { "type": "string", "maxLength": 253 } } },
            "spec": spec,
            "status": status(),
        },
        "x-kubernetes-validations": rules::to_json(rules),
    })
}

fn leave_out_descriptions(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // A property may have this name.
            if fields.get("description").is_some_and(Value::is_string) {
                fields.remove("description");
            }
            fields.values_mut().for_each(leave_out_descriptions);
        }
        Value::Array(entries) => entries.iter_mut().for_each(leave_out_descriptions),
        _ => {}
    }
}

/// The status that every bundle writes. A bundle may add fields and phases of its own.
fn status() -> Value {
    let mut condition = of::<Condition>();
    condition["properties"]["status"]["enum"] = json!(["True", "False", "Unknown"]);
    json!({
        "description": "What the operator has seen. Written by the operator only.",
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "phase": {
                "type": "string",
                "description": "Where the test is in its life: `Pending`, `Running`, `Succeeded` or `Failed`.",
            },
            "observedGeneration": {
                "type": "integer", "format": "int64",
                "description": "The generation of the spec that the status is about.",
            },
            "expectedWorkers": {
                "type": "integer", "format": "int32",
                "description": "Number of workers that the test was started with.",
            },
            "connectedWorkers": {
                "type": "integer", "format": "int32",
                "description": "Number of workers that are ready.",
            },
            "startTime": {
                "type": "string", "format": "date-time",
                "description": "When the test became Running.",
            },
            "completionTime": {
                "type": "string", "format": "date-time",
                "description": "When the test became Succeeded or Failed.",
            },
            "stoppedTime": {
                "type": "string", "format": "date-time",
                "description": "When the last pod of a failed test had ended, and with it the load.",
            },
            "firstSeen": {
                "type": "object",
                "description": "Since when there is trouble that Kubernetes does not date, by the rule that found it.",
                "additionalProperties": { "type": "string", "format": "date-time" },
            },
            "bundle": {
                "type": "string",
                "description": "Digest of the templates, rules and values that the test was started with.",
            },
            "conditions": {
                "type": "array",
                "description": "Ready, WorkersConnected, TestCompleted, PodsHealthy and SpecDrifted.",
                "items": condition,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        },
    })
}

/// The structural schema of `T`, with everything inlined.
pub fn of<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::openapi3();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    each_schema(&mut schema, &mut structural);
    schema.to_value()
}

/// Removes the descriptions below the top.
pub fn strip_descriptions(schema: &mut Schema) {
    let top = schema.remove("description");
    each_schema(schema, &mut |object| {
        object.remove("description");
    });
    if let Some(description) = top {
        schema.insert("description".into(), description);
    }
}

/// An absent optional field is absent, not null, and a quantity may be written as a number. The API server does not
/// enforce `format: int32`: without the bounds it would store what no Pod can hold.
fn structural(schema: &mut Map<String, Value>) {
    schema.remove("nullable");
    schema.remove("title");
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
    if schema.contains_key("x-kubernetes-int-or-string") {
        schema.insert(
            "anyOf".into(),
            json!([{ "type": "integer" }, { "type": "string" }]),
        );
        schema.insert("pattern".into(), QUANTITY.into());
    }
    if schema.get("format").is_some_and(|format| format == "int32") {
        schema.entry("minimum").or_insert(i32::MIN.into());
        schema.entry("maximum").or_insert(i32::MAX.into());
    }
}

fn each_schema(schema: &mut Schema, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    if let Some(object) = schema.as_object_mut() {
        each(object, visit);
    }
}

/// Visits a schema and those inside it; only schemas, not a property that happens to be called `default`.
fn each(schema: &mut Map<String, Value>, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    visit(schema);
    for key in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(key) {
            each(inner, visit);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for inner in properties.values_mut().filter_map(Value::as_object_mut) {
            each(inner, visit);
        }
    }
}
