//! JSON Schemas of the files of a layer, for editors: rules from the types that read them, values from what stands in
//! values.yaml and types.yaml, golden cases from theirs.

use super::layer::{Layer, Sources};
use super::problem::Problem;
use super::rules;
use super::selector;
use super::tree::{Content, Node};
use super::types::{Kind, Types};
use super::values;
use crate::api;
use crate::engine::timeline::Timeline;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What schemas there are, and of which files.
pub const ALL: &[(&str, &str)] = &[
    ("values", "values.yaml"),
    ("signals", "rules/signals.yaml"),
    ("phase", "rules/phase.yaml"),
    ("conditions", "rules/conditions.yaml"),
    ("status", "rules/status.yaml"),
    ("events", "rules/events.yaml"),
    ("actions", "rules/actions.yaml"),
    ("admission", "rules/admission.yaml"),
    ("test", "golden/**/test.yaml"),
    ("timeline", "golden/**/timeline.yaml"),
];

/// The schema of a name in [`ALL`]; `layers` are for the values, of which each layer may have more.
pub fn of(name: &str, layers: &[Layer]) -> Result<Option<Value>, Vec<Problem>> {
    let schema = match name {
        "values" => of_values(layers)?,
        "signals" => list::<rules::Signal>(&[("Signal", "id")]),
        "conditions" => list::<rules::Condition>(&[("Condition", "type"), ("Case", "id")]),
        "status" => list::<rules::Field>(&[("Field", "field")]),
        "events" => list::<rules::Notice>(&[("Notice", "id")]),
        "actions" => list::<rules::Action>(&[("Action", "id")]),
        "admission" => list::<rules::Admission>(&[("Admission", "id")]),
        "phase" => {
            let mut schema = generate::<rules::Phase>();
            may_override(&mut schema, "Transition", "id");
            if let Some(schema) = schema.as_object_mut() {
                schema.remove("required");
            }
            schema
        }
        "test" => api::schema::locust_test().clone(),
        "timeline" => {
            let mut schema = generate::<Timeline>();
            schema["properties"]["test"] = api::schema::locust_test().clone();
            schema
        }
        _ => return Ok(None),
    };
    Ok(Some(titled(schema, name)))
}

fn titled(mut schema: Value, name: &str) -> Value {
    let file = ALL.iter().find(|(n, _)| *n == name).map(|(_, file)| *file);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = format!("lotest: {}", file.unwrap_or(name)).into();
    schema
}

/// The draft that editors know best.
fn generate<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    generator.into_root_schema_for::<T>().to_value()
}

/// A file that is a list of rules, each of which may be new or change one below it.
fn list<T: JsonSchema>(kinds: &[(&str, &str)]) -> Value {
    let mut schema = generate::<Vec<T>>();
    for (kind, key) in kinds {
        may_override(&mut schema, kind, key);
    }
    // A file may hold comments alone.
    schema["type"] = json!(["array", "null"]);
    schema
}

/// An upper layer says of a rule what changes: only what identifies it is required, null removes a field, and a rule may
/// be replaced or switched off.
fn may_override(schema: &mut Value, kind: &str, key: &str) {
    let Some(schema) = schema.pointer_mut(&format!("/definitions/{kind}")) else {
        return;
    };
    schema["required"] = json!([key]);
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (name, property) in properties.iter_mut() {
        if name != key {
            let description = property
                .as_object_mut()
                .and_then(|p| p.remove("description"));
            *property = json!({"anyOf": [property.take(), {"type": "null"}]});
            if let Some(description) = description {
                property["description"] = description;
            }
        }
    }
    let flag = |description: &str| json!({"const": true, "description": description});
    properties.insert(
        "replace".into(),
        flag("The rule below goes, and this one comes in its place with these fields alone."),
    );
    properties.insert("disable".into(), flag("The rule below goes."));
}

fn of_values(layers: &[Layer]) -> Result<Value, Vec<Problem>> {
    let mut sources = Sources::default();
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let types = values::types(layers, &mut sources, &mut problems);
    let settings = BTreeMap::new();
    let values = values::load(
        layers,
        &settings,
        &mut sources,
        &mut problems,
        &mut warnings,
    );
    match values.filter(|_| problems.is_empty()) {
        Some(values) => Ok(of_value("", &values.tree, &types)),
        None => Err(problems),
    }
}

fn of_value(path: &str, node: &Node, types: &Types) -> Value {
    let mut schema = match types.of(path, &node.content) {
        Kind::Fields => return of_fields(path, node, types),
        Kind::Duration => json!({
            "type": "string",
            "description": "A duration: 90s, 2m, 1h30m, 7d; or never",
        }),
        Kind::Quantity => json!({
            "type": ["string", "number"],
            "description": "A quantity of Kubernetes: 250m, 128Mi, 30M; \"\" is none",
        }),
        Kind::ObjectName => json!({
            "type": "string",
            "pattern": "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$",
            "description": "The name of an object; \"\" is none",
        }),
        Kind::Integer => json!({"type": ["integer", "null"]}),
        Kind::Map => json!({"type": "object"}),
        Kind::LabelSelector => json!({
            "type": "string",
            "pattern": selector::PATTERN,
            "description": "Labels that objects must have: label=value, several joined by commas",
        }),
        Kind::String => json!({"type": "string"}),
        Kind::Number => json!({"type": "number"}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::List => json!({"type": "array"}),
        Kind::Any => json!({}),
    };
    schema["default"] = node.to_value();
    schema
}

fn of_fields(path: &str, node: &Node, types: &Types) -> Value {
    let mut properties = Map::new();
    if let Content::Map(entries) = &node.content {
        for entry in entries {
            let path = values::below(path, &entry.key);
            properties.insert(entry.key.clone(), of_value(&path, &entry.value, types));
        }
    }
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}
