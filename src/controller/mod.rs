//! The controller: keeps a cluster as the bundle says. One task owns the index
//! and decides ([`run`]); short tasks do the writing ([`reconcile`]) and report
//! back. No lock, no finalizer, no polling.

mod apply;
mod attempts;
mod causes;
mod children;
mod client;
mod deeds;
mod events;
pub(crate) mod http;
mod layers;
mod list;
mod metrics;
mod mounts;
mod next;
mod plan;
mod queue;
mod reconcile;
mod reload;
mod renew;
mod revision;
mod rights;
mod standing;
mod watch;
mod watched;
mod work;

use crate::bundle::Bundle;
use crate::bundle::problem::Problem;
use crate::engine::index::{Index, Key};
use crate::engine::render::text;
use crate::webhook;
pub(crate) use causes::with_causes;
pub use client::client;
use jiff::Timestamp;
use kube::Client;
pub use layers::{Stack, Start};
use metrics::Metrics;
pub(crate) use mounts::Mounts;
use next::{Next, tell};
use queue::Queue;
pub(crate) use queue::backoff;
use reconcile::{Context, Outcome};
pub(crate) use reload::Offer;
use reload::Reload;
use serde_json::Value;
pub(crate) use standing::Board;
pub use standing::{Mistake, Standing};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch as signal};
use tokio::task::{Id, JoinSet};
pub(crate) use watch::plain;
use watch::{Change, Watches, Watching};

/// The field manager of every write.
pub const MANAGER: &str = "lotest";

/// So many tests are written for at the same time.
const CONCURRENCY: usize = 16;

/// How long writes under way may take when the operator is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// Bundles to run in place of the one that runs; the last counts.
type Offers = signal::Receiver<Option<Arc<Offer>>>;

/// What keeps the operator from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot reach a cluster: {0}")]
    Config(String),
    /// A setting in the environment.
    #[error("{}", crate::bundle::problem::join(.0))]
    Layers(Vec<Problem>),
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: String,
        source: std::io::Error,
    },
}

/// Where the operator listens. `None` is off.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub health: Option<String>,
    pub metrics: Option<String>,
}

/// What an operator looks after and where it says how it is.
#[derive(Debug, Clone)]
pub struct Scope {
    /// The whole cluster when there are none.
    pub namespaces: Vec<String>,
    pub addresses: Addresses,
    /// The operator's own pod, if it is one: what events about the bundle are about.
    pub pod: Option<Value>,
    /// Nothing where nobody could reach them.
    pub webhook: Option<webhook::Settings>,
}

/// Runs with one bundle until `stop` changes.
pub async fn run(
    client: Client,
    bundle: Bundle,
    namespaces: Vec<String>,
    addresses: Addresses,
    stop: signal::Receiver<bool>,
) -> Result<(), Error> {
    let metrics = Arc::new(Metrics::default());
    let board = Arc::new(Board::new(
        Arc::clone(&metrics),
        bundle.digest(),
        Vec::new(),
    ));
    let (ready, is_ready) = signal::channel(false);
    http::serve(
        &addresses,
        Arc::clone(&metrics),
        is_ready,
        Arc::clone(&board),
    )
    .await?;
    let controller = Controller::new(client, Arc::new(bundle), namespaces, metrics, board);
    let (_, offers) = signal::channel(None);
    controller.run(&ready, offers, stop).await;
    Ok(())
}

/// Runs with the layers of a stack, and takes up what changes in them, until `stop` changes.
pub async fn run_layers(
    client: Client,
    stack: Stack,
    start: Start,
    scope: Scope,
    mut stop: signal::Receiver<bool>,
) -> Result<(), Error> {
    let Scope {
        namespaces,
        addresses,
        pod,
        webhook,
    } = scope;
    let metrics = Arc::new(Metrics::default());
    let layers = stack.used(start.used);
    let board = Board::new(Arc::clone(&metrics), start.bundle.digest(), layers);
    let board = Arc::new(board);
    let (ready, is_ready) = signal::channel(false);
    let shown = (Arc::clone(&metrics), Arc::clone(&board));
    // Before the cluster is asked for anything: what the operator waits for can be seen.
    http::serve(&addresses, shown.0, is_ready, shown.1).await?;
    let mut webhook = match webhook {
        Some(settings) => {
            let bundle = Arc::clone(&start.bundle);
            Some(webhook::start(&client, settings, bundle, &board).await?)
        }
        None => None,
    };
    let begun = Reload::new(
        client.clone(),
        namespaces.clone(),
        stack,
        start,
        pod,
        Arc::clone(&board),
    );
    let (reload, offers) = tokio::select! {
        begun = begun => begun.map_err(Error::Layers)?,
        _ = stop.changed() => return Ok(()),
    };
    let bundle = reload.bundle();
    tracing::info!(bundle = bundle.digest(), "bundle loaded");
    if let Some(webhook) = &mut webhook {
        webhook.follow(Arc::clone(&bundle), offers.clone());
    }
    let controller = Controller::new(client, bundle, namespaces, metrics, Arc::clone(&board));
    tokio::select! {
        () = controller.run(&ready, offers, stop) => {}
        () = reload::keep_looking(reload.run(), &board) => {}
    }
    Ok(())
}

struct Controller {
    index: Index,
    queue: Queue,
    tasks: JoinSet<Outcome>,
    /// Which test each of the tasks is for.
    running: HashMap<Id, Key>,
    context: Arc<Context>,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    /// All first lists are in: what is missing is really missing.
    synced: bool,
    /// A first list fails; it is asked for again.
    late: bool,
    watches: Watches,
    watching: Vec<Watching>,
    incoming: mpsc::Receiver<Change>,
    /// What runs as soon as all is known that it needs, and what comes after it.
    next: Option<Next>,
    queued: Option<Arc<Offer>>,
    /// What is run, when the first lists are in, in place of what the operator began with.
    starting: Option<Arc<Offer>>,
}

impl Controller {
    fn new(
        client: Client,
        bundle: Arc<Bundle>,
        namespaces: Vec<String>,
        metrics: Arc<Metrics>,
        board: Arc<Board>,
    ) -> Controller {
        let (changes, incoming) = renew::no_changes();
        Controller {
            index: Index::new(Arc::clone(&bundle)),
            queue: Queue::default(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            watches: Watches {
                client: client.clone(),
                namespaces,
                changes,
            },
            context: Arc::new(Context {
                client,
                bundle,
                claims: Arc::default(),
            }),
            metrics,
            board,
            synced: false,
            late: false,
            watching: Vec::new(),
            incoming,
            next: None,
            queued: None,
            starting: None,
        }
    }

    async fn run(
        mut self,
        ready: &signal::Sender<bool>,
        offers: Offers,
        stop: signal::Receiver<bool>,
    ) {
        let bundle = Arc::clone(&self.context.bundle);
        self.begin(&bundle);
        self.serve(ready, offers, stop).await;
        self.watching.clear();
        self.next = None;
        self.finish().await;
    }

    async fn serve(
        &mut self,
        ready: &signal::Sender<bool>,
        mut offers: Offers,
        mut stop: signal::Receiver<bool>,
    ) {
        loop {
            let due = self.queue.next_due().filter(|_| self.may_start());
            tokio::select! {
                _ = stop.changed() => return,
                offer = renew::offered(&mut offers) => self.renew(offer),
                part = next::part(&mut self.next) => self.take_part(part),
                Some(done) = self.tasks.join_next_with_id() => match done {
                    Ok((id, outcome)) => {
                        self.running.remove(&id);
                        self.take(outcome);
                    }
                    Err(e) => self.broke(&e),
                },
                Some(change) = self.incoming.recv() => {
                    self.apply(change);
                    if self.synced {
                        ready.send_replace(true);
                    }
                }
                () = sleep_until(due), if due.is_some() => self.start(),
            }
            self.swap();
        }
    }

    fn may_start(&self) -> bool {
        self.synced && self.tasks.len() < CONCURRENCY
    }

    /// Takes what a watch has seen into the index, and into that of the next bundle.
    fn apply(&mut self, change: Change) {
        let now = Timestamp::now();
        match &change {
            Change::Synced => return self.synced(),
            Change::Late(why) => return self.is_late(why),
            Change::Pods(selector, _) if !self.pods_listed(selector) => return self.look_at_all(),
            Change::Test(object) => self.meet(object),
            _ => {}
        }
        if let Some(next) = &mut self.next {
            next.hear(change.clone(), now);
        }
        let told = tell(&mut self.index, change, now);
        for key in &told.gone {
            self.queue.forget(key);
        }
        for key in &told.due {
            self.queue.add(key, Instant::now());
        }
        self.measure();
    }

    fn measure(&mut self) {
        let added = self.queue.take_added();
        self.metrics.queue(self.queue.len(), added);
    }

    /// Forgets the work for the test that had this name before.
    fn meet(&mut self, test: &Value) {
        let key = Key::of(test);
        if !self.is_current(&key, text(test, "/metadata/uid")) {
            self.queue.forget(&key);
        }
    }

    fn look_at_all(&mut self) {
        for key in self.index.keys() {
            self.queue.add(key, Instant::now());
        }
        self.measure();
    }

    /// Whether the test of this name is still the one with this uid.
    fn is_current(&self, key: &Key, uid: &str) -> bool {
        let test = self.index.get(key);
        test.is_some_and(|t| text(&t.object, "/metadata/uid") == uid)
    }

    /// Lets the writes under way end.
    async fn finish(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, all).await.is_err() {
            tracing::warn!("stopped with writes under way");
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}
