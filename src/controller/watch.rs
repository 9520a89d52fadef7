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
use tokio::task::JoinSet;

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

/// What all watches have in common.
#[derive(Clone)]
pub struct Watches {
    pub client: Client,
    /// The whole cluster when there are none.
    pub namespaces: Vec<String>,
    pub changes: mpsc::Sender<Change>,
}

impl Watches {
    /// Watches tests, children of these kinds, and pods, until it is aborted.
    pub async fn run(self, kinds: Vec<ApiResource>, pod_selector: String) {
        let pods = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        let mut watches = JoinSet::new();
        self.add(tests(), None, What::Tests, &mut watches).await;
        for kind in kinds {
            self.add_children(kind, &mut watches).await;
        }
        let selector = Some(pod_selector);
        self.add(pods, selector, What::Pods, &mut watches).await;
        let _ = self.changes.send(Change::Synced).await;
        while watches.join_next().await.is_some() {}
    }

    /// Watches children of one more kind, until it is aborted.
    pub async fn run_for(self, kind: ApiResource) {
        let mut watches = JoinSet::new();
        self.add_children(kind, &mut watches).await;
        while watches.join_next().await.is_some() {}
    }

    async fn add_children(&self, kind: ApiResource, watches: &mut JoinSet<()>) {
        let ours = format!("{}={}", MANAGED_BY.0, MANAGED_BY.1);
        let what = What::Children(kind.clone());
        self.add(kind, Some(ours), what, watches).await;
    }

    /// Adds the watches of one kind; returns when its first lists are in.
    async fn add(
        &self,
        resource: ApiResource,
        selector: Option<String>,
        what: What,
        watches: &mut JoinSet<()>,
    ) {
        let scopes: Vec<Option<String>> = match self.namespaces.as_slice() {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        };
        let mut lists = Vec::new();
        for namespace in scopes {
            let (listed, is_listed) = oneshot::channel();
            lists.push(is_listed);
            let watch = Watch {
                resource: resource.clone(),
                selector: selector.clone(),
                what: what.clone(),
                namespace,
            };
            watches.spawn(watch.run(self.client.clone(), self.changes.clone(), listed));
        }
        for is_listed in lists {
            // A watch that ended has nobody to tell, and neither has this.
            let _ = is_listed.await;
        }
    }
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
