//! What a test was started with, kept in one ControllerRevision owned by the test and written
//! before the first child. Whatever happens later, a test is what this says.

use super::MANAGER;
use crate::engine::render::{MANAGED_BY, owner_reference, text};
use crate::engine::run::Revision;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

/// One for each test, not for each name: a test that is deleted and made again
/// starts anew while the old one is still being cleaned up.
pub fn name(test: &Value) -> String {
    let uid = text(test, "/metadata/uid");
    let short = uid.split('-').next().unwrap_or(uid);
    format!("{}-{short}", text(test, "/metadata/name"))
}

fn api(client: &Client, test: &Value) -> Api<ControllerRevision> {
    Api::namespaced(client.clone(), text(test, "/metadata/namespace"))
}

pub async fn read(client: &Client, test: &Value) -> Result<Option<Revision>, kube::Error> {
    let stored = api(client, test).get_opt(&name(test)).await?;
    let ours = |r: &ControllerRevision| {
        let owners = r.metadata.owner_references.iter().flatten();
        owners
            .into_iter()
            .any(|o| o.uid == text(test, "/metadata/uid"))
    };
    let data = stored.filter(ours).and_then(|r| r.data);
    Ok(data.and_then(|d| serde_json::from_value(d.0).ok()))
}

/// Writes what the test is started with. When it was written before, by an
/// operator that was stopped right after, that holds and is returned.
pub async fn create(
    client: &Client,
    test: &Value,
    proposed: &Revision,
) -> Result<Option<Revision>, kube::Error> {
    let object = json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name(test),
            "labels": {MANAGED_BY.0: MANAGED_BY.1},
            "ownerReferences": [owner_reference(test)],
        },
        "revision": 1,
        "data": proposed,
    });
    let object = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    let params = PostParams {
        field_manager: Some(MANAGER.to_string()),
        ..PostParams::default()
    };
    match api(client, test).create(&params, &object).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(e)) if e.reason == "AlreadyExists" => {
            match read(client, test).await? {
                Some(stored) => Ok(Some(stored)),
                None => Err(kube::Error::Api(e)),
            }
        }
        Err(kube::Error::Api(mut e)) => {
            e.message = format!(
                "what the test starts with cannot be recorded in a ControllerRevision: {}",
                e.message
            );
            Err(kube::Error::Api(e))
        }
        Err(e) => Err(e),
    }
}
