//! Reading a cluster, as kubectl would: the objects that belong to a test, once or as they change.

use super::Failure;
use crate::bundle::Bundle;
use crate::controller;
use crate::engine::index::controller_uid;
use crate::engine::render::{MANAGED_BY, text};
use futures::StreamExt;
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Config};
use serde_json::Value;
use std::path::PathBuf;
use tokio::sync::mpsc;

/// Which cluster and namespace.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Options {
    /// The namespace of the test; that of the kubeconfig by default
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// The kubeconfig; $KUBECONFIG or ~/.kube/config by default
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig; its current one by default
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

impl Options {
    /// Whether somebody said anything of a cluster.
    pub fn are_given(&self) -> bool {
        self.namespace.is_some() || self.kubeconfig.is_some() || self.context.is_some()
    }

    /// Runs work with a connection.
    pub fn with<T>(
        &self,
        work: impl AsyncFnOnce(&Cluster) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::Other(format!("cannot start: {e}")))?;
        runtime.block_on(async { work(&self.connect().await?).await })
    }

    async fn connect(&self) -> Result<Cluster, Failure> {
        let unreachable =
            |e: &dyn std::fmt::Display| Failure::Other(format!("cannot reach a cluster: {e}"));
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match (&self.kubeconfig, &self.context) {
            (None, None) => Config::infer().await.map_err(|e| unreachable(&e))?,
            (None, Some(_)) => Config::from_kubeconfig(&options)
                .await
                .map_err(|e| unreachable(&e))?,
            (Some(file), _) => {
                let kubeconfig = Kubeconfig::read_from(file).map_err(|e| unreachable(&e))?;
                let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
                config.map_err(|e| unreachable(&e))?
            }
        };
        let namespace = self.namespace.clone();
        Ok(Cluster {
            namespace: namespace.unwrap_or_else(|| config.default_namespace.clone()),
            client: controller::client(config).map_err(|e| unreachable(&e))?,
        })
    }
}

/// A connection, and the namespace that is looked at.
pub struct Cluster {
    client: Client,
    pub namespace: String,
}

/// Something that was seen.
#[derive(Debug)]
pub enum Change {
    /// With when the API server says that it was written, in whole seconds.
    Applied(Value, Option<Timestamp>),
    Deleted(Value),
}

/// When an object was written last, as far as the API server says it.
fn written(object: &DynamicObject) -> Option<Timestamp> {
    let fields = object.metadata.managed_fields.iter().flatten();
    fields.filter_map(|f| Some(f.time.as_ref()?.0)).max()
}

/// What is looked at.
struct Kind {
    resource: ApiResource,
    labels: Option<String>,
    fields: Option<String>,
}

impl Kind {
    fn new(group: &str, version: &str, kind: &str) -> Kind {
        Kind {
            resource: ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)),
            labels: None,
            fields: None,
        }
    }

    fn test() -> Kind {
        Kind::new("locust.io", "v2", "LocustTest")
    }
}

/// The kinds of what belongs to tests, apart from the tests.
fn kinds(bundle: &Bundle) -> Vec<Kind> {
    let ours = format!("{}={}", MANAGED_BY.0, MANAGED_BY.1);
    let mut kinds: Vec<Kind> = Vec::new();
    for child in bundle.children() {
        let (group, version) = child
            .api_version
            .split_once('/')
            .unwrap_or(("", &child.api_version));
        let mut kind = Kind::new(group, version, &child.kind);
        kind.labels = Some(ours.clone());
        if !kinds.iter().any(|k| k.resource == kind.resource) {
            kinds.push(kind);
        }
    }
    let mut pods = Kind::new("", "v1", "Pod");
    pods.labels = Some(bundle.pod_selector().to_string());
    kinds.push(pods);
    kinds.push(Kind::new("", "v1", "Event"));
    kinds
}

impl Cluster {
    fn api(&self, kind: &Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource)
    }

    /// The test of a name.
    pub async fn test(&self, name: &str) -> Result<Value, Failure> {
        let kind = Kind::test();
        let found = self.api(&kind).get_opt(name).await;
        let found = found.map_err(|e| self.failed(&kind.resource, &e))?;
        let test = found.map(|t| plain(t, &kind.resource));
        test.ok_or_else(|| {
            let Cluster { namespace, .. } = self;
            Failure::Other(format!(
                "there is no LocustTest `{name}` in the namespace `{namespace}`"
            ))
        })
    }

    /// The version of Kubernetes, such as `v1.34.4`.
    pub async fn version(&self) -> Result<String, Failure> {
        let version = self.client.apiserver_version().await;
        let version = version.map(|v| v.git_version);
        version.map_err(|e| Failure::Other(format!("cannot read the version of the cluster: {e}")))
    }

    /// A test with everything that belongs to it, and the events about that.
    pub async fn state(&self, name: &str, bundle: &Bundle) -> Result<Vec<Value>, Failure> {
        let test = self.test(name).await?;
        let mut kinds = kinds(bundle);
        let mut revisions = Kind::new("apps", "v1", "ControllerRevision");
        revisions.labels = Some(format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
        kinds.push(revisions);
        let mut owners = vec![text(&test, "/metadata/uid").to_string()];
        let mut objects = vec![test];
        for kind in kinds {
            let parameters = ListParams {
                label_selector: kind.labels.clone(),
                ..ListParams::default()
            };
            let listed = self.api(&kind).list(&parameters).await;
            let listed = listed.map_err(|e| self.failed(&kind.resource, &e))?;
            for object in listed.items {
                let object = plain(object, &kind.resource);
                let is_ours =
                    controller_uid(&object).is_some_and(|uid| owners.iter().any(|o| o == uid));
                if is_ours {
                    owners.push(text(&object, "/metadata/uid").to_string());
                }
                let about = text(&object, "/involvedObject/uid");
                if is_ours || owners.iter().any(|o| o == about) {
                    objects.push(object);
                }
            }
        }
        Ok(objects)
    }

    /// The test of a name and everything in its namespace that may belong to it, as it changes, for as long as the
    /// receiver is there.
    pub fn watch(&self, name: &str, bundle: &Bundle) -> mpsc::Receiver<Result<Change, Failure>> {
        let (sender, receiver) = mpsc::channel(256);
        let mut test = Kind::test();
        test.fields = Some(format!("metadata.name={name}"));
        for kind in std::iter::once(test).chain(kinds(bundle)) {
            let config = watcher::Config {
                label_selector: kind.labels.clone(),
                field_selector: kind.fields.clone(),
                ..watcher::Config::default()
            };
            let (api, sender, resource) = (self.api(&kind), sender.clone(), kind.resource);
            let namespace = self.namespace.clone();
            tokio::spawn(async move {
                let mut changes = Box::pin(watcher(api, config).default_backoff());
                while let Some(change) = changes.next().await {
                    let change = match change {
                        Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                            let at = written(&object);
                            Ok(Change::Applied(plain(object, &resource), at))
                        }
                        Ok(watcher::Event::Delete(object)) => {
                            Ok(Change::Deleted(plain(object, &resource)))
                        }
                        Ok(_) => continue,
                        // Whoever may not list will not be allowed to by trying again.
                        Err(watcher::Error::InitialListFailed(e)) => {
                            Err(failed(&resource, &namespace, &e))
                        }
                        Err(_) => continue,
                    };
                    if sender.send(change).await.is_err() {
                        return;
                    }
                }
            });
        }
        receiver
    }

    fn failed(&self, resource: &ApiResource, error: &kube::Error) -> Failure {
        failed(resource, &self.namespace, error)
    }
}

fn failed(resource: &ApiResource, namespace: &str, error: &kube::Error) -> Failure {
    let error = controller::with_causes(error);
    let plural = &resource.plural;
    Failure::Other(format!(
        "cannot read {plural} of the namespace `{namespace}`: {error}"
    ))
}

/// The object as plain JSON, without managed fields. Items of a list carry no
/// kind of their own.
fn plain(mut object: DynamicObject, resource: &ApiResource) -> Value {
    object.metadata.managed_fields = None;
    let mut value = object.data;
    if let (Some(map), Ok(metadata)) = (
        value.as_object_mut(),
        serde_json::to_value(&object.metadata),
    ) {
        map.insert("metadata".into(), metadata);
        map.insert("apiVersion".into(), resource.api_version.clone().into());
        map.insert("kind".into(), resource.kind.clone().into());
    }
    value
}
