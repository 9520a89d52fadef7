//! Taking part in the election of a leader: one Lease, which the leader renews and which all others watch.
//!
//! Every write of it is a `replace` of the version that was seen, so of two replicas that take it at once one does. All
//! replicas watch tests, answer probes and take up layers; the leader alone writes (see [`super::lead`]).

use super::events;
use super::lead::Lead;
use super::lease::{self, Decision, NAME, Settings, Terms, decide};
use super::metrics::Metrics;
use super::standing::{Board, Leader};
use super::{MANAGER, with_causes};
use crate::bundle::rules::EventType;
use crate::engine::notice::Notice;
use crate::engine::text::escape;
use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep_until, timeout_at};

/// How long giving the lease back may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

pub struct Election {
    client: Client,
    api: Api<Lease>,
    namespace: String,
    identity: String,
    terms: Terms,
    lead: Arc<Lead>,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    /// The lease as it was seen last, and since when its record is as it is; nothing before the first look.
    seen: Option<(Option<Lease>, Instant)>,
    /// A write of the lease was not answered.
    unanswered: bool,
}

impl Election {
    pub fn new(
        client: Client,
        settings: Settings,
        lead: Arc<Lead>,
        board: Arc<Board>,
        metrics: Arc<Metrics>,
    ) -> Election {
        let namespace = settings.namespace;
        let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_string());
        metrics.leads(false);
        let election = Election {
            api: Api::namespaced(client.clone(), &namespace),
            client,
            namespace,
            identity: settings.identity,
            terms: settings.terms,
            lead,
            board,
            metrics,
            seen: None,
            unanswered: false,
        };
        election.show();
        election
    }

    /// Takes part until it is dropped.
    pub async fn run(&mut self) {
        loop {
            let begun = self.stand_by().await;
            self.gain(begun);
            let why = self.hold(begun).await;
            self.lose(&why);
        }
    }

    /// Waits until the lease is ours; when the write that made it so was sent.
    async fn stand_by(&mut self) -> Instant {
        // By its name alone: the Role allows no other.
        let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
        let events = watch(self.api.clone(), config).default_backoff();
        pin_mut!(events);
        let mut not_before = Instant::now();
        let mut listed = None;
        loop {
            let at = self.due().map(|at| at.max(not_before));
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(Event::Init)) => listed = None,
                    Some(Ok(Event::InitApply(lease))) => listed = Some(lease),
                    Some(Ok(Event::InitDone)) => self.see(listed.take()),
                    Some(Ok(Event::Apply(lease))) => self.see(Some(lease)),
                    Some(Ok(Event::Delete(_))) => self.see(None),
                    Some(Err(e)) => {
                        let error = with_causes(&e);
                        tracing::warn!(lease = self.lease(), error, "the lease cannot be watched; this is tried again");
                    }
                    None => std::future::pending().await,
                },
                () = until(at), if at.is_some() => {
                    let patience = Instant::now() + self.terms.deadline / 2;
                    let taken = self.renew(patience).await;
                    not_before = Instant::now() + self.terms.retry;
                    match taken {
                        Ok(Some(begun)) => return begun,
                        // Somebody was faster, and is waited for.
                        Ok(None) => {}
                        Err(error) => tracing::warn!(lease = self.lease(), error, "the lease cannot be taken; this is tried again"),
                    }
                }
            }
        }
    }

    /// Renews the lease as long as that succeeds; why it is not ours any more.
    async fn hold(&mut self, mut renewed: Instant) -> String {
        let mut tried = renewed;
        loop {
            let deadline = renewed + self.terms.deadline;
            let next = (tried + self.terms.retry).min(deadline);
            tokio::select! {
                () = sleep_until(next.into()) => {}
                () = self.lead.doubted() => {}
            }
            tried = Instant::now();
            if tried >= deadline {
                return format!("it was not renewed for {:?}", self.terms.deadline);
            }
            // A request that hangs leaves time for another one.
            let patience = (tried + self.terms.deadline / 2).min(deadline);
            let doubts = self.lead.doubts();
            match self.renew(patience).await {
                Ok(Some(begun)) => {
                    renewed = begun;
                    self.lead.renewed(begun + self.terms.deadline, doubts);
                }
                Ok(None) => {
                    let holder = self.holder().unwrap_or_default();
                    return match holder {
                        "" => "somebody has taken it away".to_string(),
                        other => format!("{} has it", escape(other)),
                    };
                }
                Err(error) => {
                    tracing::warn!(
                        lease = self.lease(),
                        error,
                        "the lease is not renewed; this is tried again"
                    );
                }
            }
        }
    }

    /// Takes the lease or renews it, by `patience`; when what was written was sent. `None` when another one has it, or when
    /// we had it and it is gone.
    async fn renew(&mut self, patience: Instant) -> Result<Option<Instant>, String> {
        let had = self.holder() == Some(self.identity.as_str());
        let patience = tokio::time::Instant::from(patience);
        let work = async {
            loop {
                let may = match self.decide() {
                    Decision::Renew => true,
                    Decision::Acquire => !had,
                    Decision::Wait(_) => false,
                };
                if !may {
                    return Ok(None);
                }
                let begun = Instant::now();
                let spec =
                    lease::held(self.record(), &self.identity, &self.terms, Timestamp::now());
                match self.write(spec).await {
                    Ok(()) => return Ok(Some(begun)),
                    Err(e) if self.is_other(&e) => self.look().await?,
                    Err(e) => return Err(e),
                }
            }
        };
        match timeout_at(patience, work).await {
            Ok(done) => done.map_err(|e| with_causes(&e)),
            Err(_) => Err("the API server does not answer".to_string()),
        }
    }

    /// Gives the lease back, so that others need not wait for its end. Call it when no write is under way any more.
    pub async fn release(mut self) {
        self.lead.lose();
        let release = async {
            if self.unanswered {
                self.look().await?;
            }
            while let Some(record) = self.record()
                && lease::holder(record) == Some(&self.identity)
            {
                let free = lease::released(record, Timestamp::now());
                match self.write(free).await {
                    Ok(()) => tracing::info!(lease = self.lease(), "lease given back"),
                    Err(e) if self.is_other(&e) => self.look().await?,
                    Err(e) => return Err(e),
                }
            }
            Ok(())
        };
        let released = tokio::time::timeout(RELEASE_TIMEOUT, release).await;
        let error = match released {
            Ok(Ok(())) => return,
            Ok(Err(e)) => with_causes(&e),
            Err(_) => "the API server does not answer".to_string(),
        };
        tracing::warn!(
            error,
            "the lease is not given back; others wait for its end"
        );
    }

    async fn write(&mut self, spec: LeaseSpec) -> Result<(), kube::Error> {
        let params = PostParams {
            field_manager: Some(MANAGER.to_string()),
            ..PostParams::default()
        };
        let seen = self.seen.as_ref().and_then(|(lease, _)| lease.clone());
        self.unanswered = true;
        let written = match seen {
            Some(mut lease) => {
                lease.spec = Some(spec);
                self.api.replace(NAME, &params, &lease).await
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(NAME.to_string()),
                    ..ObjectMeta::default()
                };
                let spec = Some(spec);
                self.api.create(&params, &Lease { metadata, spec }).await
            }
        };
        self.unanswered = !matches!(written, Ok(_) | Err(kube::Error::Api(_)));
        self.see(Some(written?));
        Ok(())
    }

    async fn look(&mut self) -> Result<(), kube::Error> {
        let lease = self.api.get_opt(NAME).await?;
        self.unanswered = false;
        self.see(lease);
        Ok(())
    }

    /// Whether a write failed because the lease was changed, made or deleted since it was seen.
    fn is_other(&self, error: &kube::Error) -> bool {
        let was_there = matches!(self.seen, Some((Some(_), _)));
        let kube::Error::Api(status) = error else {
            return false;
        };
        // Without the namespace there is nothing to be seen either.
        status.code == 409 || status.code == 404 && was_there
    }

    fn see(&mut self, lease: Option<Lease>) {
        let record = |lease: &Option<Lease>| lease.as_ref().and_then(|l| l.spec.clone());
        let since = match &self.seen {
            Some((before, since)) if record(before) == record(&lease) => *since,
            _ => Instant::now(),
        };
        self.seen = Some((lease, since));
        self.show();
    }

    fn record(&self) -> Option<&LeaseSpec> {
        let (lease, _) = self.seen.as_ref()?;
        lease.as_ref()?.spec.as_ref()
    }

    fn holder(&self) -> Option<&str> {
        self.record().and_then(lease::holder)
    }

    fn decide(&self) -> Decision {
        let now = Instant::now();
        let since = self.seen.as_ref().map_or(now, |(_, since)| *since);
        decide(self.record(), &self.identity, &self.terms, since, now)
    }

    /// When the lease may be taken, if nothing changes.
    fn due(&self) -> Option<Instant> {
        self.seen.as_ref()?;
        Some(match self.decide() {
            Decision::Wait(until) => until,
            Decision::Acquire | Decision::Renew => Instant::now(),
        })
    }

    fn lease(&self) -> String {
        format!("{}/{NAME}", self.namespace)
    }

    fn gain(&self, begun: Instant) {
        self.lead.gain(begun + self.terms.deadline);
        self.metrics.leads(true);
        self.show();
        tracing::info!(
            lease = self.lease(),
            identity = self.identity,
            "this replica leads"
        );
        let transitions = self.record().and_then(|r| r.lease_transitions);
        let uid = self
            .seen
            .iter()
            .find_map(|(lease, _)| lease.as_ref()?.metadata.uid.clone());
        let about = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NAME, "namespace": self.namespace, "uid": uid},
        });
        let occurrence = format!("{} {transitions:?}", self.identity);
        let notice = Notice {
            kind: EventType::Normal,
            reason: "LeaderElection".to_string(),
            message: format!("{} became leader", self.identity),
            occurrence: None,
        };
        let client = self.client.clone();
        // The lease is renewed meanwhile.
        tokio::spawn(
            async move { events::send_about(&client, &about, &occurrence, &notice).await },
        );
    }

    fn lose(&self, why: &str) {
        self.lead.lose();
        self.metrics.leads(false);
        self.show();
        tracing::warn!(
            lease = self.lease(),
            identity = self.identity,
            "this replica leads no more: {why}"
        );
    }

    fn show(&self) {
        self.board.led(Leader {
            lease: self.lease(),
            holder: self.holder().unwrap_or_default().to_string(),
            identity: self.identity.clone(),
            leads: self.lead.term().is_some(),
        });
    }
}

async fn until(at: Option<Instant>) {
    if let Some(at) = at {
        sleep_until(at.into()).await;
    }
}
