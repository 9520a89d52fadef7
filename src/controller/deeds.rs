//! Deeds on the API server: what the actions of the bundle ask for.

use super::watch;
use crate::engine::action::Deed;
use crate::engine::render::text;
use crate::engine::rule::Act;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams,
    Preconditions,
};
use serde_json::{Value, json};

/// Does one deed; the object as it is after a patch. One that is gone, or that is another by now, needs nothing.
pub async fn act(client: &Client, test: &Value, deed: &Deed) -> Result<Option<Value>, kube::Error> {
    let object = &deed.object;
    let (group, version) = object
        .api_version
        .split_once('/')
        .unwrap_or(("", &object.api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &object.kind));
    let namespace = text(test, "/metadata/namespace");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let done = match &deed.act {
        Act::Patch(patch) => {
            let mut patch = patch.clone();
            // The API server refuses a patch for another object of this name.
            patch["metadata"]["uid"] = json!(object.uid);
            let params = PatchParams {
                field_manager: Some(super::MANAGER.to_string()),
                ..PatchParams::default()
            };
            let patched = api
                .patch(&object.name, &params, &Patch::Merge(&patch))
                .await;
            patched.map(|patched| Some(watch::plain(patched, &resource)))
        }
        Act::Delete => {
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(object.uid.clone()),
                    resource_version: None,
                }),
                ..DeleteParams::background()
            };
            api.delete(&object.name, &params).await.map(|_| None)
        }
    };
    match done {
        Err(kube::Error::Api(e)) if e.code == 404 || e.code == 409 => Ok(None),
        other => other,
    }
}
