//! Which fields the Kubernetes types have, so that a misspelt one in a template
//! is an error here and not a field that the API server drops.

use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The fields below a value: what of a JSON schema is needed to find a name.
#[derive(Debug)]
enum Fields {
    /// Maps with free keys, scalars, and whatever is not described.
    Any,
    Known(HashMap<String, Fields>),
    Each(Box<Fields>),
}

macro_rules! known_types {
    ($($api_version:literal: $($kind:ident),+;)+) => {
        fn schema(api_version: &str, kind: &str) -> Option<schemars::Schema> {
            match (api_version, kind) {
                $($(($api_version, stringify!($kind)) => Some(inlined::<$kind>()),)+)+
                _ => None,
            }
        }
        const KINDS: &[(&str, &str)] = &[$($(($api_version, stringify!($kind)),)+)+];
    };
}

known_types! {
    "v1": ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount;
    "batch/v1": CronJob, Job;
    "networking.k8s.io/v1": Ingress, NetworkPolicy;
    "policy/v1": PodDisruptionBudget;
}

type Known =
    HashMap<(&'static str, &'static str), LazyLock<Fields, Box<dyn FnOnce() -> Fields + Send>>>;

/// Made when a kind is first rendered: a schema is large before it is reduced.
static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    KINDS
        .iter()
        .map(|(api_version, kind)| {
            let make: Box<dyn FnOnce() -> Fields + Send> = Box::new(move || {
                let schema = schema(api_version, kind).map(schemars::Schema::to_value);
                schema.as_ref().map_or(Fields::Any, reduce)
            });
            ((*api_version, *kind), LazyLock::new(make))
        })
        .collect()
});

fn inlined<T: schemars::JsonSchema>() -> schemars::Schema {
    let mut settings = schemars::generate::SchemaSettings::default();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<T>()
}

fn reduce(schema: &Value) -> Fields {
    if let Some(Value::Object(properties)) = schema.get("properties") {
        let fields = properties.iter().map(|(name, s)| (name.clone(), reduce(s)));
        return Fields::Known(fields.collect());
    }
    for list in ["items", "additionalProperties"] {
        if let Some(each @ Value::Object(_)) = schema.get(list) {
            return match reduce(each) {
                Fields::Any => Fields::Any,
                fields => Fields::Each(Box::new(fields)),
            };
        }
    }
    Fields::Any
}

/// The path of the first field of `object` that its type does not have. Kinds
/// that are not Kubernetes' own are left to the API server.
pub fn first_unknown(api_version: &str, kind: &str, object: &Value) -> Option<String> {
    let fields = KNOWN.get(&(api_version, kind))?;
    unknown(fields, object)
}

fn unknown(fields: &Fields, value: &Value) -> Option<String> {
    match (fields, value) {
        (Fields::Known(known), Value::Object(entries)) => {
            entries
                .iter()
                .find_map(|(name, value)| match known.get(name) {
                    None => Some(name.clone()),
                    Some(below) => unknown(below, value).map(|path| join(name, &path)),
                })
        }
        (Fields::Each(each), Value::Object(entries)) => entries
            .iter()
            .find_map(|(name, value)| Some(join(name, &unknown(each, value)?))),
        (Fields::Each(each), Value::Array(entries)) => entries
            .iter()
            .enumerate()
            .find_map(|(n, value)| Some(join(&format!("[{n}]"), &unknown(each, value)?))),
        _ => None,
    }
}

fn join(name: &str, path: &str) -> String {
    if path.starts_with('[') {
        format!("{name}{path}")
    } else {
        format!("{name}.{path}")
    }
}
