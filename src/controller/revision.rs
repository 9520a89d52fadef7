//! What a test was started with, kept in one ControllerRevision owned by the test and written
//! before the first child. Whatever happens later, a test is what this says.

use super::MANAGER;
use crate::engine::render::{MANAGED_BY, owner_reference, text};
use crate::engine::run::{Revision, Run};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::core::{Request, Resource};
use serde::Deserialize;
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

/// What is stored.
pub struct Stored {
    pub revision: Revision,
    uid: Option<String>,
    /// When the test was started.
    written: Timestamp,
}

/// What is asked of the answer: when it was made.
#[derive(Deserialize)]
struct Made {
    metadata: ObjectMeta,
}

/// Who wrote what a test is started with.
pub enum Written {
    /// We did, at this time.
    Now(Option<Timestamp>),
    /// An operator that ran before.
    Before(Stored),
}

impl Stored {
    /// The run of a test that was started with this.
    pub fn run(&self) -> Run {
        self.revision.run(Some(self.written))
    }

    /// The same of a test that was started by an operator that ran before.
    pub fn taken_over(&self) -> Run {
        self.revision.taken_over(self.written)
    }
}

pub async fn read(client: &Client, test: &Value) -> Result<Option<Stored>, kube::Error> {
    let stored = api(client, test).get_opt(&name(test)).await?;
    let ours = |r: &ControllerRevision| {
        let owners = r.metadata.owner_references.iter().flatten();
        owners
            .into_iter()
            .any(|o| o.uid == text(test, "/metadata/uid"))
    };
    Ok(stored.filter(ours).and_then(|stored| {
        let metadata = stored.metadata;
        Some(Stored {
            revision: serde_json::from_value(stored.data?.0).ok()?,
            uid: metadata.uid,
            written: metadata.creation_timestamp.map_or(Timestamp::MIN, |t| t.0),
        })
    }))
}

/// Forgets what a test was to be started with.
pub async fn delete(client: &Client, test: &Value, stored: &Stored) -> Result<(), kube::Error> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: stored.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::background()
    };
    let deleted = api(client, test).delete(&name(test), &params).await;
    deleted.map(|_| ())
}

/// Writes what the test is started with. When it was written before, by an
/// operator that was stopped right after, that holds and is returned.
pub async fn create(
    client: &Client,
    test: &Value,
    proposed: &Revision,
) -> Result<Written, kube::Error> {
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
    let params = PostParams {
        field_manager: Some(MANAGER.to_string()),
        ..PostParams::default()
    };
    let path = ControllerRevision::url_path(&(), Some(text(test, "/metadata/namespace")));
    let request = Request::new(path).create(&params, object.to_string().into_bytes());
    let request = request.map_err(kube::Error::BuildRequest)?;
    match client.request::<Made>(request).await {
        Ok(made) => Ok(Written::Now(made.metadata.creation_timestamp.map(|t| t.0))),
        Err(kube::Error::Api(e)) if e.reason == "AlreadyExists" => {
            match read(client, test).await? {
                Some(stored) => Ok(Written::Before(stored)),
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
