//! JSON to [`LocustTest`]: with the defaults filled in, and with the path of what does not fit.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{FieldError, check, schema, v2::LocustTest, validate};

const API_VERSION: &str = "locust.io/v2";

impl LocustTest {
    /// The test in `value`, with defaults. Fields that this version does not know are dropped, as the API
    /// server does; a test that breaks a rule is not an error here but in [`validate`].
    pub fn from_value(mut value: Value) -> Result<Self, FieldError> {
        drop_nulls(&mut value);
        serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            FieldError::new(
                if path == "." {
                    "the test".to_owned()
                } else {
                    path
                },
                error.inner().to_string(),
            )
        })
    }

    /// The test in a file that somebody is writing: a field that nobody knows is a mistake, and everything
    /// that is wrong is said at once.
    pub fn parse_strict(mut value: Value) -> Result<Self, Vec<FieldError>> {
        if let Some(error) = wrong_kind(&value) {
            return Err(vec![error]);
        }
        drop_nulls(&mut value);
        let mut findings = check::against(&STRICT, &value, "", check::Unknown::Deny);
        if findings.is_empty() {
            let test = Self::from_value(value).map_err(|error| vec![error])?;
            findings = validate(&test);
            if findings.is_empty() {
                return Ok(test);
            }
        }
        Err(findings)
    }

    /// The test as templates and rules see it: every default, nothing else.
    pub fn to_value(&self) -> Value {
        // Maps with string keys and numbers: nothing in these types that JSON could refuse.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// The schema of the CRD, which leaves the metadata to the API server, with a schema for them.
static STRICT: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = schema::locust_test().clone();
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    schema["properties"]["metadata"] =
        schema::of::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>();
    schema["properties"]["metadata"]["required"] = json!(["name"]);
    schema
});

fn wrong_kind(value: &Value) -> Option<FieldError> {
    if !value.is_object() {
        return Some(FieldError::new("the test", "this is not an object"));
    }
    let (version, kind) = (value["apiVersion"].as_str(), value["kind"].as_str());
    let wrong = |path, found: &str, expected| {
        Some(FieldError::new(
            path,
            format!("this is {found:?}, expected {expected:?}"),
        ))
    };
    match (version, kind) {
        (_, Some(kind)) if kind != "LocustTest" => wrong("kind", kind, "LocustTest"),
        (Some(version), _) if version != API_VERSION => wrong("apiVersion", version, API_VERSION),
        _ => None,
    }
}

/// A null is an absent field, as it is for the API server, which removes it before it fills in the defaults.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
