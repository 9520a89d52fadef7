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
mod http;
mod layers;
mod metrics;
mod mounts;
mod plan;
mod queue;
mod reconcile;
mod reload;
mod renew;
mod revision;
mod rights;
mod standing;
mod watch;

use crate::bundle::Bundle;
use crate::bundle::problem::Problem;
use crate::engine::index::{Index, Key};
use crate::engine::render::text;
use crate::engine::text::escape;
pub(crate) use causes::with_causes;
pub use client::client;
use jiff::Timestamp;
use kube::Client;
use kube::api::ApiResource;
pub use layers::{Stack, Start};
use metrics::Metrics;
use queue::Queue;
use reconcile::{Context, Outcome};
use reload::{Offer, Reload};
use serde_json::Value;
use standing::Board;
pub use standing::{Mistake, Standing};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch as signal};
use tokio::task::{Id, JoinError, JoinSet};
pub(crate) use watch::plain;
use watch::{Change, Watches};

/// The field manager of every write.
pub const MANAGER: &str = "lotest";

/// So many tests are written for at the same time.
const CONCURRENCY: usize = 16;

/// After a status write, the next one for the same test waits this long, so
/// that hundreds of pods changing at once make one write.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

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
    } = scope;
    let metrics = Arc::new(Metrics::default());
    let layers = stack.used(start.used);
    let board = Board::new(Arc::clone(&metrics), start.bundle.digest(), layers);
    let board = Arc::new(board);
    let (ready, is_ready) = signal::channel(false);
    let shown = (Arc::clone(&metrics), Arc::clone(&board));
    // Before the cluster is asked for anything: what the operator waits for can be seen.
    http::serve(&addresses, shown.0, is_ready, shown.1).await?;
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
    watches: Watches,
    /// In a set, so that they end with this, however it ends.
    watching: JoinSet<()>,
    incoming: mpsc::Receiver<Change>,
    /// The kinds of children that are watched.
    watched: Vec<ApiResource>,
    /// What runs as soon as all lists are in, and what was known before they were asked for.
    next: Option<Arc<Offer>>,
    before: Option<Index>,
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
            watching: JoinSet::new(),
            incoming,
            watched: Vec::new(),
            next: None,
            before: None,
        }
    }

    async fn run(
        mut self,
        ready: &signal::Sender<bool>,
        offers: Offers,
        stop: signal::Receiver<bool>,
    ) {
        let bundle = Arc::clone(&self.context.bundle);
        self.watch(&bundle);
        self.serve(ready, offers, stop).await;
        self.watching.abort_all();
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
                // While lists are under way the index lacks tests to which this belongs.
                Some(done) = self.tasks.join_next_with_id(), if self.synced => match done {
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
        }
    }

    fn may_start(&self) -> bool {
        self.synced && self.tasks.len() < CONCURRENCY
    }

    /// Takes what a watch has seen into the index.
    fn apply(&mut self, change: Change) {
        let now = Timestamp::now();
        let dirty = match change {
            Change::Test(object) => {
                self.meet(&object);
                self.index.apply_test(object).into_iter().collect()
            }
            Change::TestGone(object) => {
                let key = Key::of(&object);
                self.index.delete_test(&key);
                self.queue.forget(&key);
                Vec::new()
            }
            Change::Tests(listed) => {
                for key in self.index.retain_tests(&listed) {
                    self.queue.forget(&key);
                }
                Vec::new()
            }
            Change::Child(object) => self.index.apply_child(&object, now).into_iter().collect(),
            Change::ChildGone(object) => self.child_gone(&object, now),
            Change::Children(of, listed) => {
                self.index.retain_children(&of.group, &of.kind, &listed)
            }
            Change::Pod(object) => self.index.apply_pod(&object, now).into_iter().collect(),
            Change::PodGone(object) => self.index.delete_pod(&object).into_iter().collect(),
            Change::Pods(listed) => self.index.retain_pods(&listed),
            Change::Synced => {
                self.synced();
                self.index.keys().cloned().collect()
            }
        };
        for key in dirty {
            self.queue.add(&key, Instant::now());
        }
        self.metrics.depth(self.queue.len());
    }

    fn child_gone(&mut self, object: &Value, now: Timestamp) -> Vec<Key> {
        // Its last state may be the end of the test; the watch may say both at once.
        self.index.apply_child(object, now);
        match self.index.delete_child(object) {
            Some(key) => vec![key],
            // It may have been in the way of another test.
            None => self.index.freed(object),
        }
    }

    /// Whether the test of this name is still the one with this uid.
    fn is_current(&self, key: &Key, uid: &str) -> bool {
        let test = self.index.get(key);
        test.is_some_and(|t| text(&t.object, "/metadata/uid") == uid)
    }

    /// Starts the work for the tests that are due.
    fn start(&mut self) {
        while self.tasks.len() < CONCURRENCY {
            let Some(key) = self.queue.take(Instant::now()) else {
                break;
            };
            let Some(test) = self.index.get(&key) else {
                self.queue.forget(&key);
                self.queue.release(&key);
                continue;
            };
            let work = self.queue.work(&key);
            let bundle = &self.context.bundle;
            let now = Timestamp::now();
            let mut plan = plan::plan(bundle, test, &work.warned, now);
            plan.hold_back(&mut work.attempts, now);
            let wait = match plan.only_status() {
                true => work.status_wait(plan.urgency, STATUS_INTERVAL),
                false => {
                    work.status_differs = None;
                    Duration::ZERO
                }
            };
            if let Some(next) = plan.look_again() {
                self.queue.add(&key, instant(next));
            }
            if wait > Duration::ZERO {
                self.queue.release(&key);
                self.queue.add(&key, Instant::now() + wait);
                continue;
            }
            self.queue.work(&key).warned = std::mem::take(&mut plan.warned);
            if plan.is_empty() {
                self.metrics.reconciled("success", Duration::ZERO);
                self.queue.release(&key);
                continue;
            }
            let context = Arc::clone(&self.context);
            let of = key.clone();
            let task = self
                .tasks
                .spawn(async move { reconcile::execute(&context, key, plan).await });
            self.running.insert(task.id(), of);
        }
        self.metrics.depth(self.queue.len());
    }

    /// A task that broke is a mistake of ours; its test is tried again, like one whose write failed.
    fn broke(&mut self, error: &JoinError) {
        let Some(key) = self.running.remove(&error.id()) else {
            return;
        };
        self.queue.release(&key);
        let wait = self.queue.work(&key).failed();
        tracing::error!(test = %key, retry_in = ?wait, %error, "the work for a test ended unexpectedly");
        self.queue.add(&key, Instant::now() + wait);
    }

    /// Takes what a task has written into the index.
    fn take(&mut self, mut outcome: Outcome) {
        self.discard_outdated(&mut outcome);
        let key = &outcome.key;
        let now = Timestamp::now();
        self.queue.release(key);
        let result = outcome.retry.as_ref().map_or("success", |_| "error");
        self.metrics.reconciled(result, outcome.took);
        // What was done for a test that was deleted meanwhile says nothing about the next one of its name.
        if !self.is_current(key, &outcome.uid) {
            return;
        }
        for child in &outcome.applied {
            self.index.apply_child(child, now);
        }
        for uid in &outcome.deleted {
            self.index.deleting(key, uid, now);
        }
        if let Some(test) = outcome.status {
            self.queue.work(key).wrote_status();
            if self.index.apply_test(test).is_some() {
                self.queue.add(key, Instant::now());
            }
        }
        for (question, answer) in outcome.answers {
            self.index.answer(key, question, answer, now);
            self.queue.add(key, Instant::now());
        }
        if let Some(run) = outcome.run {
            self.watch_also(run.started.values());
            self.index.set_run(key, run);
            self.queue.add(key, Instant::now());
        }
        if outcome.overtaken {
            // The watch makes it due. The time is for a watch that lags behind or is interrupted.
            let wait = self.queue.work(key).failed();
            tracing::debug!(test = %key, "the test has changed; it is looked at again");
            self.queue.add(key, Instant::now() + wait);
            return;
        }
        match outcome.retry {
            None => {
                let retry = self.index.get(key).and_then(|t| t.run.retry);
                if retry.is_none_or(|(until, _)| until <= now) {
                    self.queue.work(key).failures = 0;
                }
            }
            Some(reason) => {
                let wait = self.queue.work(key).failed();
                tracing::warn!(test = %key, retry_in = ?wait, "{}", escape(&reason));
                self.queue.add(key, Instant::now() + wait);
                let until = now.saturating_add(wait).unwrap_or(now);
                self.index.retry_at(key, until, outcome.asked);
            }
        }
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

/// The moment of a time of day.
fn instant(at: Timestamp) -> Instant {
    let wait = at.duration_since(Timestamp::now());
    // Never early: a timer that fires before its second finds nothing to do.
    Instant::now() + Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(1)
}
