//! The annotation in which a test carries what its version cannot say.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Version;
use super::fields::Object;

/// The bytes of keys and values that the API server allows in all annotations of an object together.
pub const LIMIT: usize = 256 * 1024;

/// In the place of a carrier that would be too large: the test can be read, and not be written.
pub const TOO_LARGE: &str = "too large for an annotation: change this test as locust.io/v2";

/// What the other version says and this one cannot. All fields are absent as a rule.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carrier {
    /// Of the spec. Absent when there is nothing but the defaults of the other version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Object>,

    /// The annotation of the carrier's name that the object has in the other version, where it is somebody's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation: Option<String>,

    /// `metadata.annotations` before there was a carrier in them, if that was neither absent nor a map with entries.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "any"
    )]
    pub annotations: Option<Value>,

    /// There was no metadata at all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bare: bool,
}

/// A null is a value here.
fn any<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

/// The annotation for what only `version` can say.
pub fn name(version: Version) -> &'static str {
    match version {
        Version::V1 => "locust.io/v1-spec",
        Version::V2 => "locust.io/v2-spec",
    }
}

/// What an annotation carries; nothing if it is no carrier but somebody's text.
pub fn parse(text: &Value) -> Option<Carrier> {
    let carrier: Carrier = serde_json::from_str(text.as_str()?).ok()?;
    (carrier.spec.is_some() || carrier.annotation.is_some()).then_some(carrier)
}

impl Carrier {
    /// Removes the carrier for what only `version` can say.
    pub fn take(object: &mut Object, version: Version) -> Option<Carrier> {
        let annotations = annotations(object)?;
        let carrier = parse(annotations.get(name(version))?)?;
        annotations.remove(name(version));
        if let Some(own) = &carrier.annotation {
            annotations.insert(name(version).to_owned(), own.as_str().into());
        }
        if annotations.is_empty() {
            restore(object, &carrier);
        }
        Some(carrier)
    }

    /// Adds itself for what only `version` can say. It is left out, and the bytes of all annotations with it are
    /// returned, when they would be too many.
    pub fn add(mut self, object: &mut Object, version: Version) -> Result<(), usize> {
        self.bare = !object.contains_key("metadata");
        let metadata = object
            .entry("metadata")
            .or_insert_with(|| Value::Object(Object::new()));
        let Some(metadata) = metadata.as_object_mut() else {
            return Ok(()); // No API server has such an object.
        };
        let annotations = metadata.get("annotations");
        self.annotations = annotations
            .filter(|a| a.as_object().is_none_or(Object::is_empty))
            .cloned();
        // Maps with string keys: nothing that JSON could refuse.
        let text = serde_json::to_string(&self).unwrap_or_default();
        let others = annotations.and_then(Value::as_object).into_iter().flatten();
        let size = name(version).len()
            + text.len()
            + others
                .filter(|(key, _)| *key != name(version))
                .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
                .sum::<usize>();
        if size > LIMIT {
            if self.bare {
                object.remove("metadata");
            }
            return Err(size);
        }
        set(object, version, &text);
        Ok(())
    }
}

/// Sets the annotation for what only `version` can say.
pub fn set(object: &mut Object, version: Version, text: &str) {
    super::fields::put(
        object,
        &["metadata", "annotations", name(version)],
        text.into(),
    );
}

pub fn annotations(object: &mut Object) -> Option<&mut Object> {
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    metadata.get_mut("annotations")?.as_object_mut()
}

/// Without annotations the object is again as it was before it carried something.
fn restore(object: &mut Object, carrier: &Carrier) {
    let Some(Value::Object(metadata)) = object.get_mut("metadata") else {
        return;
    };
    match &carrier.annotations {
        Some(before) => drop(metadata.insert("annotations".to_owned(), before.clone())),
        None => drop(metadata.remove("annotations")),
    }
    if carrier.bare && metadata.is_empty() {
        object.remove("metadata");
    }
}
