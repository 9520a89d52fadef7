//! A LocustTest of one version as one of the other, without loss: JSON to JSON.
//!
//! What the other version cannot say travels in one annotation, `locust.io/v2-spec` on the v1 form and
//! `locust.io/v1-spec` on the v2 form, and only when there is such a thing. An annotation of that name that is none of
//! these is somebody's text and stays. In reading order:
//!
//! - [`fields`]: which field is which.
//! - [`spec`]: a whole spec, and what is left of it.
//! - [`carrier`]: the annotation.
//!
//! A failure here would make every list of tests fail. There is none for what is stored, valid or not.

mod carrier;
mod fields;
mod spec;

use serde_json::Value;

use super::schema;
use carrier::Carrier;
use fields::Object;

const REPLICAS: &str = "workerReplicas";

/// A version of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

impl Version {
    /// The `apiVersion` of its objects.
    pub fn api_version(self) -> &'static str {
        match self {
            Version::V1 => "locust.io/v1",
            Version::V2 => "locust.io/v2",
        }
    }

    pub fn of(api_version: &str) -> Option<Version> {
        let mut all = [Version::V1, Version::V2].into_iter();
        all.find(|version| version.api_version() == api_version)
    }

    fn other(self) -> Version {
        match self {
            Version::V1 => Version::V2,
            Version::V2 => Version::V1,
        }
    }
}

/// What to do about fields that only v2 has and that nobody has set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Defaults {
    /// Set them, as the API server does in all tests that it stores.
    FillIn,
    /// Leave them out, in files that people write.
    LeaveOut,
}

/// Why there is no conversion.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("this is not an object")]
    NotAnObject,
    #[error("there is no version {0:?} of LocustTest; write locust.io/v1 or locust.io/v2")]
    Version(String),
    /// A write through v1 of a test that v1 can only show.
    #[error(
        "the LocustTest {name:?} cannot be changed as locust.io/v1: what only locust.io/v2 can say of it is larger than the {limit} bytes that annotations may have; change it as locust.io/v2, for example with kubectl edit locusttests.v2.locust.io",
        limit = carrier::LIMIT
    )]
    TooLarge { name: String },
}

/// The object as `to` (an `apiVersion`) says it. `metadata` stays as it is, but for the annotation.
///
/// Fails only for what is no LocustTest of a known version, and for a v1 object that is marked as too large to be
/// written.
pub fn convert(object: Value, to: &str) -> Result<Value, Error> {
    let to = Version::of(to).ok_or_else(|| Error::Version(to.to_owned()))?;
    let (converted, _) = with(object, to, Defaults::FillIn)?;
    Ok(converted)
}

/// The annotation that holds, in an object of version `of`, what only the other version can say.
pub fn annotation(of: Version) -> &'static str {
    carrier::name(of.other())
}

/// The same for a file: what its writer left out is left out, except for the one field of v1 that has a default and that
/// v2 requires. Also the paths of all that `to` cannot say and that the annotation holds.
pub fn convert_file(mut object: Value, to: Version) -> Result<(Value, Vec<String>), Error> {
    if object["apiVersion"] == Version::V1.api_version()
        && to == Version::V2
        && let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
    {
        let replicas = &schema::locust_test_v1()["properties"]["spec"]["properties"][REPLICAS];
        let replicas = || replicas["default"].clone();
        spec.entry(REPLICAS).or_insert_with(replicas);
    }
    let (converted, unsaid) = with(object, to, Defaults::LeaveOut)?;
    match converted.pointer("/metadata/annotations") {
        Some(annotations) if annotations[carrier::name(to.other())] == carrier::TOO_LARGE => {
            Err(too_large(&converted))
        }
        _ => Ok((converted, unsaid)),
    }
}

fn with(mut object: Value, to: Version, defaults: Defaults) -> Result<(Value, Vec<String>), Error> {
    let from = object.get("apiVersion").unwrap_or(&Value::Null);
    let from = from.as_str().unwrap_or_default();
    let from = Version::of(from).ok_or_else(|| Error::Version(from.to_owned()));
    if is_marked(&object) && to == Version::V2 && from == Ok(Version::V1) {
        return Err(too_large(&object));
    }
    let Some(fields) = object.as_object_mut() else {
        return Err(Error::NotAnObject);
    };
    if from? == to {
        return Ok((object, Vec::new()));
    }
    let unsaid = turn(fields, to, defaults);
    Ok((object, unsaid))
}

/// Converts in place, from the other version to `to`.
fn turn(object: &mut Object, to: Version, defaults: Defaults) -> Vec<String> {
    let from = to.other();
    let carried = Carrier::take(object, to).unwrap_or_default();
    let mut leaving = Carrier::default();
    let before = match object.get("spec") {
        Some(Value::Object(spec)) => Some(spec.clone()),
        // A test without a spec, in the middle of a server-side apply.
        None if carried.spec.is_some() => Some(Object::new()),
        _ => None,
    };
    if let Some(before) = before {
        let after = spec::translate(&before, carried.spec, to, defaults);
        leaving.spec = spec::rest(&before, &after, from, defaults);
        object.insert("spec".to_owned(), Value::Object(after));
    }
    object.insert("apiVersion".to_owned(), to.api_version().into());
    leave(object, leaving, from)
}

/// Adds what only `from` can say; returns the paths of it.
fn leave(object: &mut Object, mut leaving: Carrier, from: Version) -> Vec<String> {
    let unsaid = leaving.spec.as_ref().map(|spec| spec::paths(spec, from));
    let own = carrier::annotations(object).and_then(|all| all.get(carrier::name(from)));
    if let Some(Value::String(own)) = own {
        // Left where it is, it would be read as a carrier, or be in the place of one.
        if leaving.spec.is_some() || looks_like_ours(own) {
            leaving.annotation = Some(own.clone());
        }
    }
    if leaving != Carrier::default()
        && leaving.add(object, from).is_err()
        // Of what v1 accepts, v2 can say all but empty fields: those are not worth a test that cannot be written.
        && from == Version::V2
    {
        carrier::set(object, from, carrier::TOO_LARGE);
    }
    unsaid.unwrap_or_default()
}

fn looks_like_ours(text: &str) -> bool {
    text == carrier::TOO_LARGE || carrier::parse(&text.into()).is_some()
}

fn is_marked(object: &Value) -> bool {
    let annotations = object.pointer("/metadata/annotations");
    annotations.is_some_and(|all| all[carrier::name(Version::V2)] == carrier::TOO_LARGE)
}

fn too_large(object: &Value) -> Error {
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    Error::TooLarge {
        name: name.unwrap_or_default().to_owned(),
    }
}
