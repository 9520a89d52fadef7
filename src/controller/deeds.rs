//! Deeds on the API server: what the actions of the bundle ask for.

use super::children;
use super::object::Object;
use crate::engine::action::Deed;
use crate::engine::render::text;
use crate::engine::rule::Act;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, Preconditions};
use serde_json::{Value, json};

/// What came of a deed.
pub enum Done {
    /// The object as it is now.
    Patched(Value),
    Deleted,
    /// The object is gone, or is another by now.
    Needless,
}

/// Does one deed.
pub async fn act(client: &Client, test: &Value, deed: &Deed) -> Result<Done, kube::Error> {
    let object = &deed.object;
    let resource = children::resource(&object.api_version, &object.kind);
    let namespace = text(test, "/metadata/namespace");
    let api: Api<Object> = Api::namespaced_with(client.clone(), namespace, &resource);
    let done = match &deed.act {
        Act::Patch(patch) => {
            let mut patch = patch.clone();
            // The API server refuses a patch for another object of this name.
            patch["metadata"]["uid"] = json!(object.uid);
            let patched = api
                .patch(&object.name, &super::patch_params(), &Patch::Merge(&patch))
                .await;
            patched.map(|patched| Done::Patched(patched.into_value(&resource)))
        }
        Act::Delete => {
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(object.uid.clone()),
                    resource_version: None,
                }),
                ..DeleteParams::background()
            };
            api.delete(&object.name, &params)
                .await
                .map(|_| Done::Deleted)
        }
    };
    match done {
        Err(kube::Error::Api(e)) if e.code == 404 || e.code == 409 => Ok(Done::Needless),
        other => other,
    }
}
