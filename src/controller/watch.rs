//! Watches: one for each kind, filtered by label on the server. At the start tests are listed before children and
//! children before pods, so that each finds what it belongs to.

use super::children::is_refusal;
use super::object::{Kind, Object, Taken, WATCHING};
use crate::engine::index::{Key, Listed};
use crate::engine::render::MANAGED_BY;
use arc_swap::ArcSwap;
use futures::{StreamExt, pin_mut};
use kube::Client;
use kube::api::{Api, ApiResource, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch as signal};
use tokio::task::JoinSet;

/// What a watch has seen.
#[derive(Debug, Clone)]
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
    /// Of the pods with these labels.
    Pods(String, Listed),
    /// A first list fails, for this reason; it is asked for again.
    Late(String),
    /// Every first list is in.
    Synced,
}

/// A change, and the number of what was taken in of the object (see [`Taken`]).
#[derive(Debug)]
pub struct Seen {
    pub change: Change,
    pub wanted: u64,
}

impl From<Change> for Seen {
    /// Of something whole.
    fn from(change: Change) -> Seen {
        let wanted = u64::MAX;
        Seen { change, wanted }
    }
}

/// What one watch is for.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Tests,
    Children(ApiResource),
    /// With these labels.
    Pods(String),
}

impl What {
    pub fn resource(&self) -> ApiResource {
        match self {
            What::Tests => tests(),
            What::Children(kind) => kind.clone(),
            What::Pods(_) => ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod")),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            What::Tests => Kind::Test,
            What::Children(_) => Kind::Child,
            What::Pods(_) => Kind::Pod,
        }
    }

    pub fn selector(&self) -> Option<String> {
        match self {
            What::Tests => None,
            What::Children(_) => Some(format!("{}={}", MANAGED_BY.0, MANAGED_BY.1)),
            What::Pods(selector) => Some(selector.clone()),
        }
    }

    pub fn apply(&self, object: Value) -> Change {
        match self {
            What::Tests => Change::Test(object),
            What::Children(_) => Change::Child(object),
            What::Pods(_) => Change::Pod(object),
        }
    }

    fn gone(&self, object: Value) -> Change {
        match self {
            What::Tests => Change::TestGone(object),
            What::Children(_) => Change::ChildGone(object),
            What::Pods(_) => Change::PodGone(object),
        }
    }

    fn all(&self, listed: Listed) -> Change {
        match self {
            What::Tests => Change::Tests(listed),
            What::Children(kind) => Change::Children(kind.clone(), listed),
            What::Pods(selector) => Change::Pods(selector.clone(), listed),
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
    pub changes: mpsc::Sender<Seen>,
    /// What is taken in of children and pods from now on.
    pub taken: Arc<ArcSwap<Taken>>,
}

/// The watches of one thing, in all namespaces; they end with this.
#[derive(Debug)]
pub struct Watching {
    pub what: What,
    /// So many first lists are not in yet.
    pub unlisted: usize,
    tasks: JoinSet<()>,
}

/// Resolves when a first list is in, or its watch has ended.
pub type First = oneshot::Receiver<()>;

/// When it is a watch's turn: as soon as so many before it have listed.
type Turn = (usize, signal::Receiver<usize>);

impl Watches {
    /// Watches one thing after the other, and says when all first lists are in.
    pub fn begin_all(&self, order: Vec<What>) -> Vec<Watching> {
        let (turn, _) = signal::channel(0);
        let mut firsts = Vec::new();
        let begin = |(n, what)| {
            let (watching, first) = self.begin_at(what, Some((n, turn.subscribe())));
            firsts.push(first);
            watching
        };
        let mut all: Vec<Watching> = order.into_iter().enumerate().map(begin).collect();
        let changes = self.changes.clone();
        let in_order = async move {
            for first in firsts {
                for listed in first {
                    let _ = listed.await;
                }
                turn.send_modify(|n| *n += 1);
            }
            let _ = changes.send(Change::Synced.into()).await;
        };
        if let Some(first) = all.first_mut() {
            first.tasks.spawn(in_order);
        }
        all
    }

    /// Watches one thing more.
    pub fn begin(&self, what: What) -> (Watching, Vec<First>) {
        self.begin_at(what, None)
    }

    fn begin_at(&self, what: What, turn: Option<Turn>) -> (Watching, Vec<First>) {
        let mut tasks = JoinSet::new();
        let mut firsts = Vec::new();
        let kind = what.kind();
        for namespace in self.scopes() {
            let (listed, first) = oneshot::channel();
            firsts.push(first);
            let what = what.clone();
            let watch = Watch { what, namespace };
            let (client, changes) = (self.client.clone(), self.changes.clone());
            let watching = (kind, Arc::clone(&self.taken));
            let turn = turn.clone();
            tasks.spawn(async move {
                if let Some((n, mut turn)) = turn {
                    let _ = turn.wait_for(|at| *at >= n).await;
                }
                let run = watch.run(client, changes, listed);
                WATCHING.scope(watching, run).await;
            });
        }
        let unlisted = firsts.len();
        let watching = Watching {
            what,
            unlisted,
            tasks,
        };
        (watching, firsts)
    }

    /// The namespaces; `None` is all of them.
    pub fn scopes(&self) -> Vec<Option<String>> {
        match self.namespaces.as_slice() {
            [] => vec![None],
            some => some.iter().cloned().map(Some).collect(),
        }
    }

    pub fn api(&self, resource: &ApiResource, namespace: Option<&str>) -> Api<Object> {
        api(self.client.clone(), resource, namespace)
    }
}

fn api(client: Client, resource: &ApiResource, namespace: Option<&str>) -> Api<Object> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, resource),
        None => Api::all_with(client, resource),
    }
}

/// One watch: in one namespace or in all.
struct Watch {
    what: What,
    namespace: Option<String>,
}

impl Watch {
    async fn run(self, client: Client, changes: mpsc::Sender<Seen>, listed: oneshot::Sender<()>) {
        let Watch { what, namespace } = self;
        let resource = what.resource();
        let api = api(client, &resource, namespace.as_deref());
        let config = watcher::Config {
            label_selector: what.selector(),
            ..watcher::Config::default()
        };
        let stream = watcher(api, config).default_backoff();
        pin_mut!(stream);
        let mut listed = Some(listed);
        let mut seen = Listed::default();
        while let Some(event) = stream.next().await {
            let wanted = match &event {
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                    object.wanted
                }
                _ => u64::MAX,
            };
            let change = match event {
                Ok(watcher::Event::Init) => {
                    seen = Listed {
                        namespace: namespace.clone(),
                        ..Listed::default()
                    };
                    continue;
                }
                Ok(watcher::Event::InitApply(object)) => {
                    let object = object.into_value(&resource);
                    seen.seen.insert(Key::of(&object));
                    what.apply(object)
                }
                Ok(watcher::Event::InitDone) => what.all(std::mem::take(&mut seen)),
                Ok(watcher::Event::Apply(object)) => what.apply(object.into_value(&resource)),
                Ok(watcher::Event::Delete(object)) => what.gone(object.into_value(&resource)),
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
                    if listed.is_none() {
                        continue;
                    }
                    Change::Late(format!("{} cannot be listed: {error}", resource.plural))
                }
            };
            let complete = matches!(
                change,
                Change::Tests(_) | Change::Children(..) | Change::Pods(..)
            );
            if changes.send(Seen { change, wanted }).await.is_err() {
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
