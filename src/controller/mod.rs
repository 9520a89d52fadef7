//! The controller: keeps a cluster as the bundle says. One task owns the index
//! and decides ([`run`]); short tasks do the writing ([`reconcile`]) and report
//! back. No lock, no finalizer, no polling. Of several replicas all know
//! everything, and the one that leads writes ([`election`], [`lead`]).

mod adopted;
mod apply;
mod attempts;
mod causes;
mod children;
mod client;
mod deeds;
mod election;
mod events;
pub(crate) mod http;
mod layers;
mod lead;
pub mod lease;
mod list;
mod make;
mod metrics;
mod mounts;
mod next;
mod object;
mod plan;
mod queue;
mod reconcile;
mod recreate;
mod reload;
mod renew;
mod revision;
mod rights;
mod standing;
mod start;
mod status;
mod term;
mod watch;
mod watched;
mod work;

use crate::bundle::Bundle;
use crate::bundle::problem::Problem;
use crate::engine::index::{Index, Key};
use crate::engine::render::text;
use crate::webhook;
use arc_swap::ArcSwap;
pub(crate) use causes::with_causes;
pub use client::{client, client_of};
use election::Election;
use jiff::Timestamp;
use kube::Client;
use kube::api::PatchParams;
pub use layers::{Stack, Start};
pub use lead::Lead;
use metrics::Metrics;
pub(crate) use mounts::Mounts;
use next::{Next, tell};
use object::Taken;
use queue::Queue;
pub(crate) use queue::backoff;
use reconcile::{Context, Outcome};
pub(crate) use reload::Offer;
use reload::Reload;
use serde_json::Value;
pub(crate) use standing::Board;
pub use standing::{Mistake, Standing};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch as signal};
use tokio::task::{Id, JoinSet};
use watch::{Change, Seen, Watches, Watching};

/// The field manager of every write.
pub const MANAGER: &str = "lotest";

/// Those of a patch that is not applied.
pub fn patch_params() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_string()),
        ..PatchParams::default()
    }
}

/// Pods and Jobs change several times within moments; one look sees it all.
const SETTLING: Duration = Duration::from_millis(100);

/// So many changes are taken in before the loop turns to what else there is.
const AT_ONCE: usize = 64;

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
    /// How it takes part in the election of a leader; `None` leads always.
    pub election: Option<lease::Settings>,
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
    let lead = Lead::always();
    let controller = Controller::new(client, Arc::new(bundle), namespaces, metrics, board, lead);
    let (_, offers) = signal::channel(None);
    controller.run(&ready, offers, stop).await;
    Ok(())
}

/// Runs with the layers of a stack, and takes up what changes in them, until `stop` changes. `connect` makes the client of
/// a replica that leads or does not.
pub async fn run_layers(
    connect: impl FnOnce(&Arc<Lead>) -> Result<Client, Error>,
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
        election,
    } = scope;
    let metrics = Arc::new(Metrics::default());
    let layers = stack.used(start.used);
    let board = Board::new(Arc::clone(&metrics), start.bundle.digest(), layers);
    let board = Arc::new(board);
    let (ready, is_ready) = signal::channel(false);
    let shown = (Arc::clone(&metrics), Arc::clone(&board));
    let lead = election
        .as_ref()
        .map_or_else(Lead::always, |_| Lead::standby());
    let client = connect(&lead)?;
    let mut election = election.map(|settings| {
        let (board, metrics) = (Arc::clone(&board), Arc::clone(&metrics));
        Election::new(client.clone(), settings, Arc::clone(&lead), board, metrics)
    });
    // Before the cluster is asked for anything: what the operator waits for can be seen.
    http::serve(&addresses, shown.0, is_ready.clone(), shown.1).await?;
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
    let shown = Arc::clone(&board);
    let controller = Controller::new(client, bundle, namespaces, metrics, shown, lead);
    let has_ended = tokio::select! {
        has_ended = controller.run(&ready, offers, stop) => has_ended,
        () = reload::keep_looking(reload.run(), &board) => false,
        () = take_part(election.as_mut(), is_ready) => false,
    };
    // With writes under way the next leader has to wait.
    if let Some(election) = election.filter(|_| has_ended) {
        election.release().await;
    }
    Ok(())
}

/// Takes part in the election as soon as the first lists are in: who leads has to know what it writes about.
async fn take_part(election: Option<&mut Election>, mut ready: signal::Receiver<bool>) {
    let is_ready = ready.wait_for(|ready| *ready).await.is_ok();
    match election.filter(|_| is_ready) {
        Some(election) => election.run().await,
        None => std::future::pending().await,
    }
}

struct Controller {
    index: Index,
    queue: Queue,
    tasks: JoinSet<Outcome>,
    /// Which test each of the tasks is for.
    running: HashMap<Id, Key>,
    context: Arc<Context>,
    /// The tests that were seen or looked at last.
    recent: VecDeque<Key>,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    lead: Arc<Lead>,
    /// The term in which this replica leads.
    term: Option<u64>,
    /// All first lists are in: what is missing is really missing.
    synced: bool,
    /// A first list fails; it is asked for again.
    late: bool,
    watches: Watches,
    watching: Vec<Watching>,
    incoming: mpsc::Receiver<Seen>,
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
        lead: Arc<Lead>,
    ) -> Controller {
        let (changes, incoming) = renew::no_changes();
        Controller {
            index: Index::new(Arc::clone(&bundle)),
            queue: Queue::default(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            recent: VecDeque::new(),
            watches: Watches {
                client: client.clone(),
                namespaces,
                taken: Arc::new(ArcSwap::from_pointee(Taken::of(&bundle))),
                changes,
            },
            context: Arc::new(Context {
                client: lead.fence(client),
                bundle,
                claims: Arc::default(),
                crowded: Arc::default(),
            }),
            metrics,
            board,
            term: lead.term(),
            lead,
            synced: false,
            late: false,
            watching: Vec::new(),
            incoming,
            next: None,
            queued: None,
            starting: None,
        }
    }

    /// Runs until `stop` changes; whether all writes have ended.
    async fn run(
        mut self,
        ready: &signal::Sender<bool>,
        offers: Offers,
        stop: signal::Receiver<bool>,
    ) -> bool {
        let bundle = Arc::clone(&self.context.bundle);
        self.begin(&bundle);
        self.serve(ready, offers, stop).await;
        self.watching.clear();
        self.next = None;
        self.finish().await
    }

    async fn serve(
        &mut self,
        ready: &signal::Sender<bool>,
        mut offers: Offers,
        mut stop: signal::Receiver<bool>,
    ) {
        let lead = Arc::clone(&self.lead);
        loop {
            let due = self
                .queue
                .next_due(Instant::now())
                .filter(|_| self.may_start());
            tokio::select! {
                _ = stop.changed() => return,
                term = lead.other_than(self.term) => self.follow(term),
                offer = renew::offered(&mut offers) => self.renew(offer),
                part = next::part(&mut self.next) => self.take_part(part),
                Some(done) = self.tasks.join_next_with_id() => match done {
                    Ok((id, outcome)) => {
                        self.running.remove(&id);
                        self.take(outcome);
                    }
                    Err(e) => self.broke(&e),
                },
                Some(seen) = self.incoming.recv() => {
                    self.apply(seen);
                    for _ in 1..AT_ONCE {
                        match self.incoming.try_recv() {
                            Ok(seen) => self.apply(seen),
                            Err(_) => break,
                        }
                    }
                    if self.synced {
                        ready.send_replace(true);
                    }
                }
                () = sleep_until(due), if due.is_some() => self.start(),
            }
            let is_crowded = self.queue.is_crowded(Instant::now());
            self.context.crowded.store(is_crowded, Ordering::Relaxed);
            self.swap();
        }
    }

    /// Takes what a watch has seen into the index, and into that of the next bundle.
    fn apply(&mut self, seen: impl Into<Seen>) {
        let Seen { change, wanted } = seen.into();
        let now = Timestamp::now();
        match &change {
            Change::Synced => return self.synced(),
            Change::Late(why) => return self.is_late(why),
            Change::Pods(selector, _) if !self.pods_listed(selector) => return self.look_at_all(),
            Change::Test(object) => self.meet(object),
            _ => {}
        }
        if let Some(next) = &mut self.next {
            next.hear(&change, wanted, now);
        }
        let settling = match &change {
            Change::Child(_) | Change::Pod(_) => SETTLING,
            _ => Duration::ZERO,
        };
        let told = tell(&mut self.index, change, now);
        for key in &told.gone {
            self.queue.forget(key);
        }
        for key in &told.due {
            self.queue.add(key, Instant::now() + settling);
            self.touch(key);
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
        if !self.index.is_of(&key, text(test, "/metadata/uid")) {
            self.queue.forget(&key);
        }
    }

    fn look_at_all(&mut self) {
        for key in self.index.keys() {
            self.queue.add(key, Instant::now());
        }
        self.measure();
    }

    /// Lets the writes under way end; whether they did.
    async fn finish(mut self) -> bool {
        let all = async {
            while let Some(done) = self.tasks.join_next().await {
                if let Ok(outcome) = done {
                    self.queue
                        .work(&outcome.key)
                        .created
                        .extend(outcome.created);
                }
            }
            for (key, created) in self.queue.take_created() {
                if let Some(test) = self.index.get(&key) {
                    reconcile::announce(&self.context, &test.object, &created).await;
                }
            }
        };
        let has_ended = tokio::time::timeout(STOP_TIMEOUT, all).await.is_ok();
        if !has_ended {
            tracing::warn!("stopped with writes under way");
        }
        has_ended
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}
