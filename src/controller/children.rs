//! Children on the API server: looking before the first write, applying.

use super::apply::{self, Part};
use crate::bundle::Bundle;
use crate::engine::index::controller;
use crate::engine::render::{CHILD_LABEL, Child, text};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

/// The kinds of children that a bundle makes, each once.
pub fn kinds(bundle: &Bundle) -> Vec<ApiResource> {
    let mut kinds: Vec<ApiResource> = Vec::new();
    for child in bundle.children() {
        let kind = resource(&child.api_version, &child.kind);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

fn api(client: &Client, child: &Child) -> Api<DynamicObject> {
    let resource = resource(child.api_version(), child.kind());
    let namespace = text(&child.object, "/metadata/namespace");
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// What exists under the names of children.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that the test controls, by stem, and whether they carry our labels: a child
    /// that another operator made for the test does not.
    pub ours: Vec<(String, bool)>,
    /// Those of somebody else, and those that the operator may not look at, as refusals.
    pub refused: Vec<Value>,
}

/// Looks up each child by name: server-side apply would take over an object
/// without a controller, without a word.
pub async fn look(client: &Client, test: &Value, children: &[Child]) -> Result<Found, kube::Error> {
    let uid = text(test, "/metadata/uid");
    let mut found = Found::default();
    for child in children {
        let api = api(client, child);
        let existing = match api.get_metadata_opt(child.name()).await {
            Ok(Some(existing)) => existing,
            Ok(None) => continue,
            Err(kube::Error::Api(e)) if is_refusal(e.code) => {
                found.refused.push(refusal(child, &e.message));
                continue;
            }
            Err(e) => return Err(e),
        };
        let owner = json!({"metadata": {"ownerReferences": existing.metadata.owner_references}});
        match controller(&owner) {
            Some(owner) if owner == uid => {
                let labels = existing.metadata.labels.unwrap_or_default();
                let labelled = labels.get(CHILD_LABEL) == Some(&child.stem);
                found.ours.push((child.stem.clone(), labelled));
            }
            Some(_) => {
                let owners = existing.metadata.owner_references.unwrap_or_default();
                let owner = owners.iter().find(|o| o.controller == Some(true));
                let owner = owner.map_or_else(String::new, |o| format!("{} {}", o.kind, o.name));
                let message = format!("it exists and belongs to {owner}; it is left as it is");
                found.refused.push(refusal(child, &message));
            }
            None => {
                let message = "it exists and does not belong to this test; it is left as it is. Delete it, or give the test another name";
                found.refused.push(refusal(child, message));
            }
        }
    }
    Ok(found)
}

/// A child that could not be made: `child`, `kind`, `name` and `message`.
pub fn refusal(child: &Child, message: &str) -> Value {
    // The API server begins with `jobs.batch "NAME" is ...`, and the name is said already.
    let name = format!("\"{}\" is ", child.name());
    let message = match message.split_once(&name) {
        Some((resource, rest)) if !resource.trim_end().contains(' ') => rest,
        _ => message,
    };
    json!({
        "child": child.stem,
        "kind": child.kind(),
        "name": child.name(),
        "message": message,
    })
}

/// Whether the API server refused an object, as opposed to being out of reach.
pub fn is_refusal(code: u16) -> bool {
    (400..500).contains(&code) && ![408, 409, 429].contains(&code)
}

/// Applies a child that does not exist yet.
pub async fn apply(client: &Client, child: &Child) -> Result<Value, kube::Error> {
    patch(client, child, &child.object).await
}

/// Gives a child that runs already our labels, by which it is watched, and leaves the rest alone.
pub async fn adopt(client: &Client, child: &Child) -> Result<Value, kube::Error> {
    let labels_only = json!({
        "apiVersion": child.api_version(),
        "kind": child.kind(),
        "metadata": {
            "name": child.name(),
            "labels": child.object.pointer("/metadata/labels"),
        },
    });
    patch(client, child, &labels_only).await
}

async fn patch(client: &Client, child: &Child, object: &Value) -> Result<Value, kube::Error> {
    let resource = resource(child.api_version(), child.kind());
    let key = (text(&child.object, "/metadata/namespace"), child.name());
    apply::apply(client, &resource, key, Part::Object, object).await
}
