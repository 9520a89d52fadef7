//! Every place in a LocustTest where a user may write text, found in its schema.

use lotest::api::schema;
use serde_json::{Map, Value, json};

/// What a place for text takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Any,
    /// The key of a map.
    Key,
    /// `500m`, `1Gi`: the schema has a pattern.
    Quantity,
    /// One of a few words.
    Enum,
}

/// A place for text. `[0]` is the one entry of a list that [`build`] makes, `{key}` and `{value}` those of a map.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub path: String,
    pub takes: Takes,
    pub longest: Option<usize>,
}

/// A test in which everything is set that can be set; `text` says what stands in each place. A list or a map has
/// one entry.
pub fn build(text: &mut dyn FnMut(Leaf) -> String) -> Value {
    let spec = node(&schema::locust_test()["properties"]["spec"], "spec", text);
    let mut test = json!({
        "apiVersion": "locust.io/v2",
        "kind": "LocustTest",
        "metadata": { "name": "load" },
        "spec": spec,
    });
    // A mount names the volume.
    test["spec"]["volumeMounts"][0]["name"] = test["spec"]["volumes"][0]["name"].clone();
    test
}

/// A place that has no text of its own: it repeats [`NAMED`].
pub const ALIAS: &str = "spec.volumeMounts[0].name";
pub const NAMED: &str = "spec.volumes[0].name";

fn node(schema: &Value, path: &str, text: &mut dyn FnMut(Leaf) -> String) -> Value {
    let mut leaf = |path: &str, takes| {
        let longest = schema["maxLength"].as_u64().map(|max| max as usize);
        text(Leaf {
            path: path.to_owned(),
            takes,
            longest,
        })
    };
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return leaf(path, Takes::Quantity).into();
    }
    match schema["type"].as_str() {
        Some("string") if path == ALIAS => Value::Null,
        Some("string") if schema.get("enum").is_some() => leaf(path, Takes::Enum).into(),
        Some("string") => leaf(path, Takes::Any).into(),
        Some("integer") => schema["minimum"]
            .as_f64()
            .map_or(1, |min| (min as i64).max(1))
            .into(),
        Some("boolean") => true.into(),
        Some("array") => json!([node(&schema["items"], &format!("{path}[0]"), text)]),
        Some("object") => match (&schema["properties"], &schema["additionalProperties"]) {
            (Value::Object(properties), _) => properties
                .iter()
                .map(|(name, inner)| (name.clone(), node(inner, &format!("{path}.{name}"), text)))
                .collect::<Map<_, _>>()
                .into(),
            (_, Value::Null) => json!({}),
            (_, inner) => {
                let key = leaf(&format!("{path}{{key}}"), Takes::Key);
                json!({ key: node(inner, &format!("{path}{{value}}"), text) })
            }
        },
        other => panic!("{path}: what is {other:?}?"),
    }
}

/// Does a mistake at `reported`, a path as the API writes it, concern this place?
impl Leaf {
    pub fn is_at(&self, reported: &str) -> bool {
        match self.path.split_once('{') {
            None => self.path == reported,
            // Below it stands the key, whatever it is.
            Some((map, _)) => reported.starts_with(map),
        }
    }
}
