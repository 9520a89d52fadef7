//! Kubernetes' own types inside a LocustTest.

use std::{borrow::Cow, marker::PhantomData, ops::Deref};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema;

/// A Kubernetes object of type `T`, kept as the JSON that the user wrote.
///
/// The API server checks it against the schema of `T`; the operator hands it on untouched. Parsing it into
/// `T` would drop fields that are newer than the `T` this was built with and would rewrite quantities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct Embedded<T> {
    value: Value,
    #[serde(skip)]
    kind: PhantomData<fn() -> T>,
}

impl<T> Embedded<T> {
    pub fn new(value: Value) -> Self {
        Self {
            value,
            kind: PhantomData,
        }
    }

    /// The string at `key`, or `""`: what the name of a volume is for the rules when it has none.
    pub fn str(&self, key: &str) -> &str {
        self.value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

impl<T> Deref for Embedded<T> {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

impl<T: JsonSchema> JsonSchema for Embedded<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        // Kubernetes' descriptions are two thirds of the CRD, and `kubectl apply` puts all of it into one
        // annotation of at most 256 KiB. `kubectl explain pod.spec...` has them anyway.
        schema::strip_descriptions(&mut schema);
        schema
    }
}
