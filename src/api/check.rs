//! JSON against a structural schema, for the part of the dialect that the CRD uses. It finds what the API
//! server would, in embedded Kubernetes types too, with no API server at hand.

use serde_json::{Map, Value};

use super::{FieldError, schema};

/// What to do with a field that the schema does not know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Say so, as `kubectl apply` does.
    Deny,
    /// Leave it, as the API server does, which drops it.
    Allow,
}

/// Everything in `value` that `schema` does not allow; `path` is where `value` is.
pub fn against(schema: &Value, value: &Value, path: &str, unknown: Unknown) -> Vec<FieldError> {
    let mut check = Check {
        unknown,
        findings: Vec::new(),
    };
    check.value(schema, value, path);
    check.findings
}

struct Check {
    unknown: Unknown,
    findings: Vec<FieldError>,
}

impl Check {
    fn value(&mut self, schema: &Value, value: &Value, path: &str) {
        let int_or_string = schema.get("x-kubernetes-int-or-string").is_some();
        match (schema["type"].as_str(), value) {
            // `fieldsV1` and the like: any JSON.
            (None, _) if !int_or_string => {}
            (Some("object"), Value::Object(object)) => self.object(schema, object, path),
            (Some("array"), Value::Array(items)) => self.array(schema, items, path),
            (Some("string"), Value::String(text)) => self.text(schema, text, path),
            (None, Value::String(text)) => self.text(schema, text, path),
            (Some("boolean"), Value::Bool(_)) | (Some("number"), Value::Number(_)) => {}
            (Some("integer"), Value::Number(number)) if !number.is_f64() => {
                self.integer(schema, value, path)
            }
            (None, Value::Number(number)) if !number.is_f64() => {}
            (kind, _) => {
                let expected = kind.unwrap_or("integer or string");
                self.say(
                    path,
                    format!("invalid type: {}, expected {expected}", describe(value)),
                );
            }
        }
    }

    fn object(&mut self, schema: &Value, object: &Map<String, Value>, path: &str) {
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
        {
            if !object.contains_key(name) {
                self.say(&join(path, name), "required".into());
            }
        }
        let open = schema.get("x-kubernetes-preserve-unknown-fields").is_some()
            // No properties at all: an object whose content is not ours to judge.
            || (schema.get("properties").is_none() && schema.get("additionalProperties").is_none());
        for (name, value) in object {
            let inner = schema["properties"]
                .get(name)
                .or_else(|| schema.get("additionalProperties"));
            match inner {
                Some(inner) => self.value(inner, value, &join(path, name)),
                None if open || self.unknown == Unknown::Allow => {}
                None => self.say(&join(path, name), "unknown field".into()),
            }
        }
    }

    fn array(&mut self, schema: &Value, items: &[Value], path: &str) {
        if let Some(max) = schema["maxItems"]
            .as_u64()
            .filter(|max| items.len() as u64 > *max)
        {
            self.say(path, format!("must have at most {max} items"));
        }
        for (i, item) in items.iter().enumerate() {
            self.value(&schema["items"], item, &format!("{path}[{i}]"));
        }
    }

    fn text(&mut self, schema: &Value, text: &str, path: &str) {
        let length = text.chars().count() as u64;
        if schema["minLength"].as_u64().is_some_and(|min| length < min) {
            self.say(path, "should be at least 1 chars long".into());
        }
        if let Some(max) = schema["maxLength"].as_u64().filter(|max| length > *max) {
            self.say(path, format!("may not be more than {max} characters long"));
        }
        // The one pattern in the schema, compiled once.
        if schema.get("pattern").is_some() && !schema::is_quantity(text) {
            self.say(path, format!("{text:?} is not a quantity; write a number with a unit, for example 500m or 1Gi"));
        }
        if let Some(values) = schema["enum"]
            .as_array()
            .filter(|values| !values.iter().any(|value| value == text))
        {
            let values: Vec<String> = values.iter().map(Value::to_string).collect();
            self.say(
                path,
                format!(
                    "Unsupported value: {text:?}: supported values: {}",
                    values.join(", ")
                ),
            );
        }
    }

    fn integer(&mut self, schema: &Value, value: &Value, path: &str) {
        let bound = |key: &str| schema[key].as_f64().map(|bound| bound as i64);
        let number = value.as_i64().unwrap_or(i64::MAX);
        if let Some(min) = bound("minimum").filter(|min| number < *min) {
            self.say(path, format!("should be greater than or equal to {min}"));
        }
        if let Some(max) = bound("maximum").filter(|max| number > *max) {
            self.say(path, format!("should be less than or equal to {max}"));
        }
    }

    fn say(&mut self, path: &str, message: String) {
        self.findings.push(FieldError {
            path: path.to_owned(),
            message,
        });
    }
}

/// `path.name`, or `path[name]` where the name of a label or resource has dots of its own.
fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        _ if name.contains(['.', '/']) => format!("{path}[{name}]"),
        _ => format!("{path}.{name}"),
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => format!("boolean `{value}`"),
        Value::Number(value) => format!("number `{value}`"),
        Value::String(value) => format!("string {value:?}"),
        Value::Array(_) => "array".into(),
        Value::Object(_) => "object".into(),
    }
}
