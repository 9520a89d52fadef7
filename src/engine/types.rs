//! Writes `types.json`: what of the types of Kubernetes and of a LocustTest [`super::fields`] asks for. To make it of the Rust
//! types whenever the operator starts would take a MiB of program.

use crate::api::schema;
use k8s_openapi::api::{
    batch::v1::{CronJob, Job},
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

/// The keywords that count.
const KEPT: &[&str] = &[
    "$ref",
    "additionalProperties",
    "format",
    "items",
    "properties",
    "type",
    "x-kubernetes-int-or-string",
];

macro_rules! kinds {
    ($($api_version:literal: $($kind:ident),+;)+) => {
        /// Their schemas by `apiVersion/kind`, and the definitions that these share.
        fn schemas() -> (Map<String, Value>, Map<String, Value>) {
            let mut generator = SchemaGenerator::default();
            let mut kinds = Map::new();
            $($(
                let schema = generator.subschema_for::<$kind>().to_value();
                kinds.insert(concat!($api_version, "/", stringify!($kind)).into(), schema);
            )+)+
            (kinds, generator.take_definitions(true))
        }
    };
}

kinds! {
    "v1": ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount;
    "batch/v1": CronJob, Job;
    "networking.k8s.io/v1": Ingress, NetworkPolicy;
    "policy/v1": PodDisruptionBudget;
}

const METADATA: &str = "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The content of `types.json`, a type a line, byte for byte equal each time.
pub fn types_json() -> String {
    let (mut kinds, definitions) = schemas();
    let mut test = schema::of_v2();
    // The CustomResourceDefinition leaves it to the API server.
    test["properties"]["metadata"] = json!({"$ref": METADATA});
    kinds.insert("locust.io/v2/LocustTest".into(), test);
    let lines = |schemas: Map<String, Value>| {
        let line = |(name, mut schema): (String, Value)| {
            keep(&mut schema);
            format!("{}: {schema}", Value::from(name))
        };
        schemas
            .into_iter()
            .map(line)
            .collect::<Vec<_>>()
            .join(",\n")
    };
    format!(
        "{{\"kinds\": {{\n{}\n}}, \"$defs\": {{\n{}\n}}}}\n",
        lines(kinds),
        lines(definitions)
    )
}

/// Leaves of a schema what counts.
fn keep(schema: &mut Value) {
    let Value::Object(keywords) = schema else {
        return;
    };
    keywords.retain(|keyword, _| KEPT.contains(&keyword.as_str()));
    for keyword in ["additionalProperties", "items"] {
        keywords.get_mut(keyword).into_iter().for_each(keep);
    }
    let properties = keywords
        .get_mut("properties")
        .and_then(Value::as_object_mut);
    properties
        .into_iter()
        .flatten()
        .for_each(|(_, schema)| keep(schema));
}
