//! The controller: keeps a cluster as the bundle says. One task owns the index
//! and decides ([`run`]); short tasks do the writing ([`reconcile`]) and report
//! back. No lock, no finalizer, no polling.

mod apply;
mod children;
mod deeds;
mod events;
mod http;
mod metrics;
mod plan;
mod queue;
mod reconcile;
mod revision;
mod watch;

use crate::bundle::Bundle;
use crate::engine::index::{Index, Key};
use crate::engine::render::text;
use children::Claims;
use jiff::Timestamp;
use kube::client::ClientBuilder;
use kube::client::retry::RetryPolicy;
use kube::{Client, Config};
use metrics::Metrics;
use queue::Queue;
use reconcile::{Context, Outcome};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch as signal};
use tokio::task::{Id, JoinError, JoinSet};
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;
use watch::Change;

/// The field manager of every write.
pub const MANAGER: &str = "lotest";

/// So many tests are written for at the same time.
const CONCURRENCY: usize = 16;

/// After a status write, the next one for the same test waits this long, so
/// that hundreds of pods changing at once make one write.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// How long writes under way may take when the operator is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// What keeps the operator from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot reach a cluster: {0}")]
    Config(String),
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

/// Runs until `stop` changes: for the tests of the whole cluster, or of `namespaces` when there are some.
pub async fn run(
    client: Client,
    bundle: Bundle,
    namespaces: Vec<String>,
    addresses: Addresses,
    mut stop: signal::Receiver<bool>,
) -> Result<(), Error> {
    let metrics = Arc::new(Metrics::default());
    let (ready, is_ready) = signal::channel(false);
    http::serve(&addresses, Arc::clone(&metrics), is_ready).await?;

    let bundle = Arc::new(bundle);
    let (changes, incoming) = mpsc::channel(1024);
    let kinds = children::kinds(&bundle);
    // In a set, so that they end with this future, however it ends.
    let mut watches = JoinSet::new();
    watches.spawn(watch::run(
        client.clone(),
        namespaces,
        kinds,
        bundle.pod_selector().to_string(),
        changes,
    ));
    let mut controller = Controller {
        index: Index::new(Arc::clone(&bundle)),
        queue: Queue::default(),
        tasks: JoinSet::new(),
        running: HashMap::new(),
        context: Arc::new(Context {
            client,
            bundle,
            claims: Claims::default(),
        }),
        metrics,
        synced: false,
    };
    controller.serve(incoming, &ready, &mut stop).await;
    watches.abort_all();
    controller.finish().await;
    Ok(())
}

/// A client that retries what the API server was too busy for.
pub fn client(config: Config) -> Result<Client, Error> {
    let builder = ClientBuilder::try_from(config).map_err(|e| Error::Config(e.to_string()))?;
    Ok(builder
        .with_layer(&BufferLayer::new(256))
        .with_layer(&RetryLayer::new(RetryPolicy::default()))
        .build())
}

struct Controller {
    index: Index,
    queue: Queue,
    tasks: JoinSet<Outcome>,
    /// Which test each of the tasks is for.
    running: HashMap<Id, Key>,
    context: Arc<Context>,
    metrics: Arc<Metrics>,
    /// All first lists are in: what is missing is really missing.
    synced: bool,
}

impl Controller {
    async fn serve(
        &mut self,
        mut incoming: mpsc::Receiver<Change>,
        ready: &signal::Sender<bool>,
        stop: &mut signal::Receiver<bool>,
    ) {
        loop {
            let due = self.queue.next_due().filter(|_| self.may_start());
            tokio::select! {
                _ = stop.changed() => return,
                Some(done) = self.tasks.join_next_with_id() => match done {
                    Ok((id, outcome)) => {
                        self.running.remove(&id);
                        self.take(outcome);
                    }
                    Err(e) => self.broke(&e),
                },
                Some(change) = incoming.recv() => {
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
                let key = Key::of(&object);
                if !self.is_current(&key, text(&object, "/metadata/uid")) {
                    self.queue.forget(&key);
                }
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
            Change::Children(kind, listed) => self.index.retain_children(&kind, &listed),
            Change::Pod(object) => self.index.apply_pod(object, now).into_iter().collect(),
            Change::PodGone(object) => self.index.delete_pod(&object).into_iter().collect(),
            Change::Pods(listed) => self.index.retain_pods(&listed),
            Change::Synced => {
                self.synced = true;
                self.index.keys().cloned().collect()
            }
        };
        for key in dirty {
            self.queue.add(&key, Instant::now());
        }
        self.metrics.depth(self.queue.len());
    }

    fn child_gone(&mut self, object: &serde_json::Value, now: Timestamp) -> Vec<Key> {
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
            let mut plan = plan::plan(bundle, test, &work.warned, Timestamp::now());
            if work.deeds_after.is_some_and(|at| at > Instant::now()) {
                plan.hold_deeds();
            }
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
    fn take(&mut self, outcome: Outcome) {
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
            self.index.set_text(key, question, answer);
            self.queue.add(key, Instant::now());
        }
        if let Some(run) = outcome.run {
            self.index.set_run(key, run);
            self.queue.add(key, Instant::now());
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
                tracing::warn!(test = %key, retry_in = ?wait, "{reason}");
                self.queue.add(key, Instant::now() + wait);
                if outcome.deeds_failed {
                    self.queue.work(key).deeds_after = Some(Instant::now() + wait);
                }
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

/// An error with what is behind it, as far as its own text leaves it out.
pub(crate) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = said(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = said(error);
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The API server's own words, without the object they came in.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    match error.downcast_ref() {
        Some(kube::Error::Api(status)) => format!("{} ({})", status.message, status.code),
        _ => error.to_string(),
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
