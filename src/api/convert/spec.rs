//! The spec of one version as that of the other, and what the other cannot say of it.

use std::sync::LazyLock;

use serde_json::Value;

use super::fields::{FIELDS, Object, get, put, remove};
use super::{Defaults, Version};
use crate::api::schema;

/// `spec`, which is of the other version, as `to` says it.
///
/// `rest` is what [`rest`] found when a spec of `to` was converted last: of it all stays that the other version cannot
/// say, and of what it can, all that still reads the same there. So nothing is lost, and nothing old comes back.
pub fn translate(spec: &Object, rest: Option<Object>, to: Version, defaults: Defaults) -> Object {
    let fill_in = rest.is_none() && to == Version::V2 && defaults == Defaults::FillIn;
    let mut translated = rest.unwrap_or_default();
    for field in FIELDS {
        let path = field.path(to);
        let new = get(spec, field.path(to.other()));
        let kept = get(&translated, path);
        let shown = kept.and_then(|kept| field.translate(kept, to.other()));
        if new == shown.as_ref() {
            continue;
        }
        match field.merge(new, kept, to) {
            Some(value) => put(&mut translated, path, value),
            None => remove(&mut translated, path),
        }
    }
    if fill_in {
        fill_in_defaults(&mut translated);
    }
    translated
}

/// What `translated` does not say of `spec`, which is of version `from`: nothing when converting back gives all of it.
pub fn rest(
    spec: &Object,
    translated: &Object,
    from: Version,
    defaults: Defaults,
) -> Option<Object> {
    if translate(translated, None, from, defaults) == *spec {
        return None;
    }
    let mut rest = spec.clone();
    for field in FIELDS {
        let path = field.path(from);
        let said = get(translated, field.path(from.other()));
        let back = said.and_then(|said| field.translate(said, from));
        if back.is_some() && back.as_ref() == get(spec, path) {
            remove(&mut rest, path);
        }
    }
    Some(rest)
}

/// The paths of what is in a [`rest`], each as short as it can be.
pub fn paths(rest: &Object, version: Version) -> Vec<String> {
    let mut paths = Vec::new();
    collect(rest, version, &mut Vec::new(), &mut paths);
    paths
}

fn collect<'a>(
    object: &'a Object,
    version: Version,
    at: &mut Vec<&'a str>,
    paths: &mut Vec<String>,
) {
    for (name, value) in object {
        at.push(name);
        let shared = |path: &[&str]| path.len() > at.len() && path[..at.len()] == at[..];
        match value {
            Value::Object(inner)
                if !inner.is_empty() && FIELDS.iter().any(|f| shared(f.path(version))) =>
            {
                collect(inner, version, at, paths);
            }
            _ => paths.push(format!("spec.{}", at.join("."))),
        }
        at.pop();
    }
}

/// The defaults of what only v2 can say, next to what v1 has said: a test that was written as v1 is then, once the
/// API server has filled in its own, what it was converted to.
fn fill_in_defaults(spec: &mut Object) {
    for (part, name, default) in DEFAULTS.iter() {
        if let Some(Value::Object(part)) = spec.get_mut(part) {
            part.entry(name).or_insert_with(|| default.clone());
        }
    }
}

static DEFAULTS: LazyLock<Vec<(String, String, Value)>> = LazyLock::new(|| {
    let properties = |schema: &Value| schema["properties"].as_object().cloned().into_iter();
    let spec = schema::spec();
    let mut defaults = Vec::new();
    for (part, schema) in properties(spec).flatten() {
        for (name, schema) in properties(&schema).flatten() {
            if let Some(default) = schema.get("default") {
                defaults.push((part.clone(), name, default.clone()));
            }
        }
    }
    defaults
});
