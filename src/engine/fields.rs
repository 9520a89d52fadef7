//! What the Kubernetes types and a LocustTest have: a misspelt field or a value of another type in a template is an error
//! here, and not a field that the API server drops or an object that it refuses. Paths of rules are held against the same.

use crate::api::schema::is_quantity;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// What a value may be: what of a JSON schema is needed to find a name or a wrong type.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Whatever is not described.
    Any,
    /// Shared: a container is described once, and found in three lists of every pod.
    Fields(Arc<HashMap<String, Shape>>),
    /// A map with free keys.
    Each(Box<Shape>),
    List(Box<Shape>),
    Text,
    /// A whole number of so many bits.
    Integer(u32),
    Number,
    Boolean,
    /// A number or a string: `80` or `http`, `1` or `25%`.
    Amount,
    /// A number or a string such as `250m`.
    Quantity,
}

/// What [`super::types`] writes.
const TYPES: &str = include_str!("types.json");

static KNOWN: LazyLock<HashMap<String, Shape>> = LazyLock::new(|| {
    let types: Value = serde_json::from_str(TYPES).unwrap_or_default();
    let mut known = HashMap::new();
    let kinds = types["kinds"].as_object().into_iter().flatten();
    kinds
        .map(|(kind, schema)| (kind.clone(), reduce(schema, &types, &mut known)))
        .collect()
});

/// What objects of a kind have. Nothing for kinds that are not Kubernetes' own: they are left to the API server.
pub fn of_kind(api_version: &str, kind: &str) -> Option<&'static Shape> {
    KNOWN.get(&format!("{api_version}/{kind}"))
}

impl Shape {
    /// Of a JSON schema with its definitions.
    pub fn of_schema(schema: &Value) -> Shape {
        let mut known = HashMap::new();
        reduce(schema, schema, &mut known)
    }

    /// What is below a name.
    pub fn get(&self, name: &str) -> Option<&Shape> {
        match self {
            Shape::Any => Some(&Shape::Any),
            Shape::Fields(fields) => fields.get(name),
            Shape::Each(each) => Some(each),
            _ => None,
        }
    }

    /// What a value of it is called.
    pub fn title(&self) -> &'static str {
        match self {
            Shape::Any => "any value",
            Shape::Fields(_) | Shape::Each(_) => "a map",
            Shape::List(_) => "a list",
            Shape::Text => "a string",
            Shape::Integer(_) => "a whole number",
            Shape::Number => "a number",
            Shape::Boolean => "true or false",
            Shape::Amount => "a whole number or a string",
            Shape::Quantity => "a quantity, such as `250m` or `1Gi`",
        }
    }

    /// Whether a value is of this type; what is in maps and lists is not looked at.
    pub fn admits(&self, value: &Value) -> bool {
        match (self, value) {
            (Shape::Any, _) => true,
            (Shape::Fields(_) | Shape::Each(_), _) => value.is_object(),
            (Shape::List(_), _) => value.is_array(),
            (Shape::Text, _) => value.is_string(),
            (Shape::Boolean, _) => value.is_boolean(),
            (Shape::Number, _) => value.is_number(),
            (Shape::Integer(32), _) => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Shape::Integer(_), _) => value.is_i64(),
            (Shape::Amount, _) => value.is_i64() || value.is_string(),
            (Shape::Quantity, Value::String(text)) => is_quantity(text),
            (Shape::Quantity, _) => value.is_number(),
        }
    }
}

/// `known` are the definitions that were reduced before.
fn reduce<'s>(schema: &'s Value, root: &'s Value, known: &mut HashMap<&'s str, Shape>) -> Shape {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        if reference.ends_with(".Quantity") {
            return Shape::Quantity;
        }
        if let Some(shape) = known.get(reference) {
            return shape.clone();
        }
        let definition = root.pointer(reference.trim_start_matches('#'));
        let shape = definition.map_or(Shape::Any, |schema| reduce(schema, root, known));
        known.insert(reference, shape.clone());
        return shape;
    }
    if let Some(Value::Object(properties)) = schema.get("properties") {
        let fields = properties.iter();
        let fields = fields.map(|(name, schema)| (name.clone(), reduce(schema, root, known)));
        return Shape::Fields(Arc::new(fields.collect()));
    }
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return Shape::Amount;
    }
    let mut below = |key: &str| {
        let schema = schema.get(key).filter(|schema| schema.is_object());
        Box::new(schema.map_or(Shape::Any, |schema| reduce(schema, root, known)))
    };
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    match text("type") {
        // Without a word about what is in it, it may be whatever the API takes for JSON.
        Some("object") if schema.get("additionalProperties").is_some() => {
            Shape::Each(below("additionalProperties"))
        }
        Some("array") => Shape::List(below("items")),
        Some("string") => Shape::Text,
        Some("boolean") => Shape::Boolean,
        Some("number") => Shape::Number,
        Some("integer") if text("format") == Some("int32") => Shape::Integer(32),
        Some("integer") => Shape::Integer(64),
        _ => Shape::Any,
    }
}

/// Something in an object that its type does not have.
#[derive(Debug, PartialEq)]
pub struct Wrong<'a> {
    /// Such as `spec.ports[0].port`.
    pub path: String,
    pub what: What<'a>,
}

#[derive(Debug, PartialEq)]
pub enum What<'a> {
    /// There is no such field.
    Unknown,
    /// It is of another type than this.
    Type(&'a Shape, &'a Value),
}

/// The first thing in `object` that is not as its shape says.
pub fn first_wrong<'a>(shape: &'a Shape, value: &'a Value) -> Option<Wrong<'a>> {
    if !shape.admits(value) {
        let what = What::Type(shape, value);
        let path = String::new();
        return Some(Wrong { path, what });
    }
    match (shape, value) {
        (Shape::Fields(fields), Value::Object(entries)) => {
            entries
                .iter()
                .find_map(|(name, value)| match fields.get(name) {
                    Some(shape) => Some(first_wrong(shape, value)?.below(name)),
                    None => Some(Wrong {
                        path: name.clone(),
                        what: What::Unknown,
                    }),
                })
        }
        (Shape::Each(each), Value::Object(entries)) if **each != Shape::Any => entries
            .iter()
            .find_map(|(name, value)| Some(first_wrong(each, value)?.below(name))),
        (Shape::List(each), Value::Array(entries)) if **each != Shape::Any => {
            let mut entries = entries.iter().enumerate();
            entries.find_map(|(n, value)| Some(first_wrong(each, value)?.below(&format!("[{n}]"))))
        }
        _ => None,
    }
}

impl Wrong<'_> {
    fn below(mut self, name: &str) -> Self {
        let dot = match self.path.is_empty() || self.path.starts_with('[') {
            true => "",
            false => ".",
        };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wrong(kind: (&str, &str), object: &Value) -> Option<String> {
        let wrong = first_wrong(of_kind(kind.0, kind.1)?, object)?;
        let expected = match wrong.what {
            What::Unknown => "unknown",
            What::Type(shape, _) => shape.title(),
        };
        Some(format!("{}: {expected}", wrong.path))
    }

    #[test]
    fn a_value_of_another_type_is_found_with_its_path() {
        let service = |spec: Value| json!({"metadata": {"name": "a"}, "spec": spec});
        for (spec, expected) in [
            (
                json!({"ports": [{"port": "80"}]}),
                "spec.ports[0].port: a whole number",
            ),
            (
                json!({"ports": [{"port": 2_147_483_648_u32}]}),
                "spec.ports[0].port: a whole number",
            ),
            (json!({"ports": {"port": 80}}), "spec.ports: a list"),
            (json!({"ports": [80]}), "spec.ports[0]: a map"),
            (
                json!({"ports": [{"targetPort": true}]}),
                "spec.ports[0].targetPort: a whole number or a string",
            ),
            (json!({"selector": {"a": 1}}), "spec.selector.a: a string"),
            (
                json!({"publishNotReadyAddresses": "yes"}),
                "spec.publishNotReadyAddresses: true or false",
            ),
            (json!({"port": 1}), "spec.port: unknown"),
        ] {
            let found = wrong(("v1", "Service"), &service(spec));
            assert_eq!(found.as_deref(), Some(expected));
        }
        let fine =
            json!({"ports": [{"port": 80, "targetPort": "http"}, {"port": 1, "targetPort": 1}]});
        assert_eq!(wrong(("v1", "Service"), &service(fine)), None);
    }

    #[test]
    fn quantities_are_read() {
        let pod = |quantity: Value| {
            let resources = json!({"requests": {"cpu": quantity}});
            json!({"spec": {"containers": [{"resources": resources}]}})
        };
        for fine in [
            json!(1),
            json!("1"),
            json!(0.5),
            json!("250m"),
            json!("1Gi"),
        ] {
            assert_eq!(wrong(("v1", "Pod"), &pod(fine)), None);
        }
        for bad in [json!("1 core"), json!(""), json!(true), json!({})] {
            let found = wrong(("v1", "Pod"), &pod(bad)).unwrap();
            assert!(found.starts_with("spec.containers[0].resources.requests.cpu: a quantity"));
        }
    }
}
