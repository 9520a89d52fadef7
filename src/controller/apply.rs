//! Server-side apply, which is how everything but events and revisions is written.

use super::{MANAGER, watch};
use crate::bundle::yaml;
use kube::Client;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::{Request, Resource};
use serde_json::Value;

/// What of an object is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Part {
    Object,
    Status,
}

/// Applies `object`; the answer of the API server.
pub async fn apply(
    client: &Client,
    resource: &ApiResource,
    (namespace, name): (&str, &str),
    part: Part,
    object: &Value,
) -> Result<Value, kube::Error> {
    let request = Request::new(DynamicObject::url_path(resource, Some(namespace)));
    let mut params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(object);
    let built = match part {
        Part::Object => {
            params.field_validation = Some(ValidationDirective::Strict);
            request.patch(name, &params, &patch)
        }
        Part::Status => request.patch_subresource("status", name, &params, &patch),
    };
    let mut request = built.map_err(kube::Error::BuildRequest)?;
    let mut body = String::new();
    // The API server reads this JSON as YAML: it would refuse some characters, and fold others.
    if let Ok(json) = std::str::from_utf8(request.body())
        && yaml::write_json(&mut body, json).is_ok()
    {
        *request.body_mut() = body.into_bytes();
    }
    let applied: DynamicObject = client.request(request).await?;
    Ok(watch::plain(applied, resource))
}
