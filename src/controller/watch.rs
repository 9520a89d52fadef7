//! Watches: one for each kind, filtered by label on the server. Tests are
//! listed before children and children before pods, so that each finds what it
//! belongs to.

use super::children::is_refusal;
use crate::engine::index::{Key, Listed};
use crate::engine::render::MANAGED_BY;
use futures::{StreamExt, pin_mut};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

/// What a watch has seen.
#[derive(Debug)]
pub enum Change {
    Test(Value),
    TestGone(Value),
    /// A complete list of what there is.
    Tests(Listed),
    Child(Value),
    ChildGone(Value),
    Children(ApiResource, Listed),
    Pod(Value),
    PodGone(Value),
    Pods(Listed),
    /// Every first list is in.
    Synced,
}

#[derive(Debug, Clone)]
enum What {
    Tests,
    Children(ApiResource),
    Pods,
}

impl What {
    fn apply(&self, object: Value) -> Change {
        match self {
            What::Tests => Change::Test(object),
            What::Children(_) => Change::Child(object),
            What::Pods => Change::Pod(object),
        }
    }

    fn gone(&self, object: Value) -> Change {
        match self {
            What::Tests => Change::TestGone(object),
            What::Children(_) => Change::ChildGone(object),
            What::Pods => Change::PodGone(object),
        }
    }

    fn all(&self, listed: Listed) -> Change {
        match self {
            What::Tests => Change::Tests(listed),
            What::Children(kind) => Change::Children(kind.clone(), listed),
            What::Pods => Change::Pods(listed),
        }
    }
}

pub fn tests() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("locust.io", "v2", "LocustTest"))
}

/// Watches until it is aborted: the whole cluster, or `namespaces` when there are some.
pub async fn run(
    client: Client,
    namespaces: Vec<String>,
    kinds: Vec<ApiResource>,
    pod_selector: String,
    changes: mpsc::Sender<Change>,
) {
    let pods = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
    let ours = format!("{}={}", MANAGED_BY.0, MANAGED_BY.1);
    let mut stages = vec![(tests(), None, What::Tests)];
    for kind in kinds {
        let what = What::Children(kind.clone());
        stages.push((kind, Some(ours.clone()), what));
    }
    stages.push((pods, Some(pod_selector), What::Pods));
    let scopes: Vec<Option<String>> = match namespaces {
        none if none.is_empty() => vec![None],
        some => some.into_iter().map(Some).collect(),
    };

    let mut watches = tokio::task::JoinSet::new();
    for (resource, selector, what) in stages {
        let mut lists = Vec::new();
        for scope in &scopes {
            let (listed, is_listed) = oneshot::channel();
            lists.push(is_listed);
            let watch = Watch {
                resource: resource.clone(),
                selector: selector.clone(),
                what: what.clone(),
                namespace: scope.clone(),
            };
            watches.spawn(watch.run(client.clone(), changes.clone(), listed));
        }
        for is_listed in lists {
            if is_listed.await.is_err() {
                return;
            }
        }
    }
    let _ = changes.send(Change::Synced).await;
    while watches.join_next().await.is_some() {}
}

/// One watch: of a kind, in one namespace or in all.
struct Watch {
    resource: ApiResource,
    selector: Option<String>,
    what: What,
    namespace: Option<String>,
}

impl Watch {
    async fn run(self, client: Client, changes: mpsc::Sender<Change>, listed: oneshot::Sender<()>) {
        let Watch {
            resource,
            selector,
            what,
            namespace,
        } = self;
        let api: Api<DynamicObject> = match &namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let config = watcher::Config {
            label_selector: selector,
            ..watcher::Config::default()
        };
        let stream = watcher(api, config).default_backoff();
        pin_mut!(stream);
        let mut listed = Some(listed);
        let mut seen = Listed::default();
        while let Some(event) = stream.next().await {
            let change = match event {
                Ok(watcher::Event::Init) => {
                    seen = Listed {
                        namespace: namespace.clone(),
                        ..Listed::default()
                    };
                    continue;
                }
                Ok(watcher::Event::InitApply(object)) => {
                    let object = plain(object, &resource);
                    seen.seen.insert(Key::of(&object));
                    what.apply(object)
                }
                Ok(watcher::Event::InitDone) => what.all(std::mem::take(&mut seen)),
                Ok(watcher::Event::Apply(object)) => what.apply(plain(object, &resource)),
                Ok(watcher::Event::Delete(object)) => what.gone(plain(object, &resource)),
                Err(e) => {
                    let error = super::with_causes(&e);
                    tracing::warn!(
                        kind = resource.kind,
                        error,
                        "watch interrupted; it will be taken up again"
                    );
                    // A kind that the Role or the cluster does not know: the tests that need it say so when their
                    // children are made. The others do not wait for it.
                    if matches!(what, What::Children(_)) && is_refused(&e) {
                        listed.take().map(|listed| listed.send(()));
                    }
                    continue;
                }
            };
            let complete = matches!(
                change,
                Change::Tests(_) | Change::Children(..) | Change::Pods(_)
            );
            if changes.send(change).await.is_err() {
                return;
            }
            if complete && let Some(listed) = listed.take() {
                let _ = listed.send(());
            }
        }
    }
}

fn is_refused(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(e)) if is_refusal(e.code))
}

/// The object as plain JSON, without managed fields. Items of a list carry no
/// kind of their own.
pub fn plain(mut object: DynamicObject, resource: &ApiResource) -> Value {
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
