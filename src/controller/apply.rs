//! Server-side apply, which is how children are written.

use super::MANAGER;
use super::object::Object;
use crate::bundle::yaml;
use kube::Client;
use kube::api::{ApiResource, Patch, PatchParams, ValidationDirective};
use kube::core::{Request, Resource};
use serde_json::Value;

/// Applies `object`; the answer of the API server.
pub async fn apply(
    client: &Client,
    resource: &ApiResource,
    (namespace, name): (&str, &str),
    object: &Value,
) -> Result<Value, kube::Error> {
    let request = Request::new(Object::url_path(resource, Some(namespace)));
    let mut params = PatchParams::apply(MANAGER).force();
    params.field_validation = Some(ValidationDirective::Strict);
    let built = request.patch(name, &params, &Patch::Apply(object));
    let mut request = built.map_err(kube::Error::BuildRequest)?;
    let mut body = String::new();
    // The API server reads this JSON as YAML: it would refuse some characters, and fold others.
    if let Ok(json) = std::str::from_utf8(request.body())
        && yaml::write_json(&mut body, json).is_ok()
    {
        *request.body_mut() = body.into_bytes();
    }
    let applied: Object = client.request(request).await?;
    Ok(applied.into_value(resource))
}
