//! Objects as the API server sends them. kube's `DynamicObject` is read twice over and keeps what nobody reads: of a Job
//! that was applied, managed fields are half.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::ApiResource;
use kube::core::DynamicResourceScope;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// An object without managed fields.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its version alone, for watches.
    metadata: ObjectMeta,
    fields: Map<String, Value>,
}

impl Object {
    /// The object as JSON. Items of a list carry no kind of their own.
    pub fn into_value(self, resource: &ApiResource) -> Value {
        let mut fields = self.fields;
        fields.insert("apiVersion".into(), resource.api_version.clone().into());
        fields.insert("kind".into(), resource.kind.clone().into());
        fields.into()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        let fields = deserializer.deserialize_map(Fields)?;
        let version = fields
            .get("metadata")
            .and_then(|m| m.get("resourceVersion"));
        let metadata = ObjectMeta {
            resource_version: version.and_then(Value::as_str).map(str::to_string),
            ..ObjectMeta::default()
        };
        Ok(Object { metadata, fields })
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Map<String, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = match key.as_str() {
                "metadata" => map.next_value::<Metadata>()?.0.into(),
                _ => map.next_value()?,
            };
            fields.insert(key, value);
        }
        Ok(fields)
    }
}

struct Metadata(Map<String, Value>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Metadata, D::Error> {
        deserializer.deserialize_map(MetadataFields).map(Metadata)
    }
}

struct MetadataFields;

impl<'de> Visitor<'de> for MetadataFields {
    type Value = Map<String, Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == "managedFields" {
                map.next_value::<IgnoredAny>()?;
            } else {
                fields.insert(key, map.next_value()?);
            }
        }
        Ok(fields)
    }
}

impl Resource for Object {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        of.kind.as_str().into()
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        of.group.as_str().into()
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        of.version.as_str().into()
    }

    fn api_version(of: &ApiResource) -> Cow<'_, str> {
        of.api_version.as_str().into()
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        of.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn managed_fields_are_left_out_and_all_else_is_kept() {
        let sent = json!({
            "kind": "Job",
            "metadata": {"name": "load", "resourceVersion": "7", "managedFields": [{"manager": "lotest"}], "labels": {"managedFields": "a"}},
            "spec": {"managedFields": 1, "none": null},
        });
        let object: Object = serde_json::from_str(&sent.to_string()).unwrap();
        assert_eq!(object.meta().resource_version.as_deref(), Some("7"));
        let resource = crate::controller::watch::tests();
        assert_eq!(
            object.into_value(&resource),
            json!({
                "apiVersion": "locust.io/v2",
                "kind": "LocustTest",
                "metadata": {"name": "load", "resourceVersion": "7", "labels": {"managedFields": "a"}},
                "spec": {"managedFields": 1, "none": null},
            })
        );
    }
}
