//! Children on the API server: looking before the first write, applying.

use super::apply;
use super::object::Object;
use super::patch_params;
use crate::bundle::Bundle;
use crate::engine::index::controller;
pub use crate::engine::rbac::resource;
use crate::engine::render::{CHILD_LABEL, Child, MANAGED_BY, group, text};
use kube::Client;
use kube::api::{Api, ApiResource, Patch};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

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

fn api(client: &Client, child: &Child) -> (Api<Object>, ApiResource) {
    let resource = resource(child.api_version(), child.kind());
    let namespace = text(&child.object, "/metadata/namespace");
    let api = Api::namespaced_with(client.clone(), namespace, &resource);
    (api, resource)
}

/// What exists under the names of children.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that the test controls, by stem.
    pub ours: Vec<(String, Value)>,
    /// Those of somebody else, and what cannot be looked up, as refusals.
    pub refused: Vec<Value>,
}

/// The names under which children are being made now, and for which test (its uid). Two tests whose children have the
/// same names may be started at the same time; the second would take over what the first has just made.
#[derive(Debug, Default)]
pub struct Claims(Mutex<HashMap<[String; 4], String>>);

/// What one test has claimed, until it is dropped.
#[derive(Debug)]
pub struct Claim<'a> {
    claims: &'a Claims,
    names: Vec<[String; 4]>,
}

impl Claims {
    /// Claims the names of `children` for a test; the first child whose name another test has, otherwise.
    pub fn claim<'c>(&self, test: &Value, children: &'c [Child]) -> Result<Claim<'_>, &'c Child> {
        let uid = text(test, "/metadata/uid");
        let mut claimed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |c: &Child| {
            let namespace = text(&c.object, "/metadata/namespace");
            [namespace, group(c.api_version()), c.kind(), c.name()].map(str::to_string)
        };
        let is_taken = |c: &&Child| claimed.get(&name(c)).is_some_and(|by| by != uid);
        if let Some(taken) = children.iter().find(is_taken) {
            return Err(taken);
        }
        let names: Vec<_> = children.iter().map(name).collect();
        claimed.extend(names.iter().map(|name| (name.clone(), uid.to_string())));
        let claims = self;
        Ok(Claim { claims, names })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let claimed = self.claims.0.lock();
        let mut claimed = claimed.unwrap_or_else(PoisonError::into_inner);
        for name in &self.names {
            claimed.remove(name);
        }
    }
}

impl Found {
    /// The stems of those among `children` that were looked for and that the test does not have.
    pub fn absent(&self, children: &[Child]) -> BTreeSet<String> {
        let stems = children.iter().map(|c| &c.stem);
        stems
            .filter(|stem| !self.ours.iter().any(|(ours, _)| ours == *stem))
            .cloned()
            .collect()
    }
}

/// Looks up each child by name: server-side apply would take over an object
/// without a controller, without a word.
pub async fn look(client: &Client, test: &Value, children: &[Child]) -> Result<Found, kube::Error> {
    let uid = text(test, "/metadata/uid");
    let mut found = Found::default();
    // One after the other: many tests are looked at together, and each request on the way needs a connection of its own.
    for child in children {
        let (api, resource) = api(client, child);
        let existing = match api.get_opt(child.name()).await {
            Ok(None) => continue,
            Ok(Some(existing)) => existing,
            Err(kube::Error::Api(e)) if is_refusal(e.code) => {
                found.refused.push(refusal(child, &e.message));
                continue;
            }
            Err(e) => return Err(e),
        };
        let existing = existing.into_value(&resource);
        match controller(&existing) {
            Some(owner) if text(owner, "/uid") == uid => {
                found.ours.push((child.stem.clone(), existing));
            }
            Some(owner) => {
                let (kind, name) = (text(owner, "/kind"), text(owner, "/name"));
                let message = if kind == text(test, "/kind") && name == text(test, "/metadata/name")
                {
                    "it belongs to an earlier test of this name and is still being removed"
                        .to_string()
                } else {
                    format!("it exists and belongs to {kind} {name}; it is left as it is")
                };
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

/// Whether a child has the labels by which it is watched. One that another operator
/// made for the test does not, nor one from which somebody took them.
pub fn is_labelled(child: &Child, existing: &Value) -> bool {
    let labels = existing.pointer("/metadata/labels");
    let has = |key, value: &str| {
        let label = labels.and_then(|l| l.get(key));
        label.and_then(Value::as_str) == Some(value)
    };
    has(MANAGED_BY.0, MANAGED_BY.1) && has(CHILD_LABEL, &child.stem)
}

/// A child that could not be made: `child`, `apiVersion`, `kind`, `name` and `message`.
pub fn refusal(child: &Child, message: &str) -> Value {
    // The API server begins with `jobs.batch "NAME" is ...`, and the name is said already.
    let name = format!("\"{}\" is ", child.name());
    let message = match message.split_once(&name) {
        Some((resource, rest)) if !resource.trim_end().contains(' ') => rest,
        _ => message,
    };
    json!({
        "child": child.stem,
        "apiVersion": child.api_version(),
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
    let resource = resource(child.api_version(), child.kind());
    let key = (text(&child.object, "/metadata/namespace"), child.name());
    apply::apply(client, &resource, key, &child.object).await
}

/// Gives a child that runs already our labels, by which it is watched, and leaves the rest alone:
/// to apply the labels alone would take away what was applied before.
pub async fn adopt(client: &Client, child: &Child, existing: &Value) -> Result<Value, kube::Error> {
    let (api, resource) = api(client, child);
    let labels = json!({
        "metadata": {
            "uid": text(existing, "/metadata/uid"),
            "labels": child.object.pointer("/metadata/labels"),
        },
    });
    let adopted = api
        .patch(child.name(), &patch_params(), &Patch::Merge(&labels))
        .await?;
    Ok(adopted.into_value(&resource))
}
