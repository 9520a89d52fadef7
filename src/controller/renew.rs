//! From one bundle to the next while tests run: new watches list everything anew, as when the operator starts, and until
//! all lists are in nothing is decided. What was decided before, and the work under way, goes on with what it had.

use super::reconcile::{Context, Outcome};
use super::reload::Offer;
use super::watch::Change;
use super::{Controller, Offers, children};
use crate::bundle::Bundle;
use crate::engine::index::Key;
use crate::engine::render::text;
use kube::api::ApiResource;
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// So many changes wait to be taken in.
const CHANGES: usize = 1024;

impl Controller {
    /// Begins to watch for a bundle: the kinds of its children, and those of children that running tests have.
    pub(super) fn watch(&mut self, bundle: &Bundle) {
        let (changes, incoming) = mpsc::channel(CHANGES);
        self.incoming = incoming;
        self.watches.changes = changes;
        self.watched = children::kinds(bundle);
        let known = self.before.as_ref().unwrap_or(&self.index);
        for key in known.keys() {
            let run = known.get(key).map(|test| &test.run);
            let started = run.into_iter().flat_map(|run| run.started.values());
            for kind in started.map(kind_of) {
                if !self.watched.contains(&kind) {
                    self.watched.push(kind);
                }
            }
        }
        let watches = self.watches.clone();
        let run = watches.run(self.watched.clone(), bundle.pod_selector().to_string());
        // Dropped, the old ones end.
        self.watching = JoinSet::new();
        self.watching.spawn(run);
    }

    /// Watches kinds of children that only a running test has, which was started with another bundle.
    pub(super) fn watch_also<'a>(&mut self, started: impl Iterator<Item = &'a Value>) {
        for kind in started.map(kind_of) {
            if !self.watched.contains(&kind) {
                self.watched.push(kind.clone());
                self.watching.spawn(self.watches.clone().run_for(kind));
            }
        }
    }

    /// Begins to take up another bundle. The lists are younger than whatever was seen or written so far, so that no
    /// verdict goes back.
    pub(super) fn renew(&mut self, offer: Arc<Offer>) {
        if self.next.is_none() && Arc::ptr_eq(&self.context.bundle, &offer.bundle) {
            let Offer { number, layers, .. } = &*offer;
            return self.board.runs(*number, offer.bundle.digest(), layers);
        }
        let known = self.before.as_ref().unwrap_or(&self.index);
        let next = known.renewed(Arc::clone(&offer.bundle));
        let last = std::mem::replace(&mut self.index, next);
        // An index that was still being filled knows nothing that is worth keeping.
        if self.synced {
            self.before = Some(last);
        }
        self.synced = false;
        self.watch(&offer.bundle);
        self.next = Some(offer);
    }

    /// All lists are in.
    pub(super) fn synced(&mut self) {
        if let Some(before) = self.before.take() {
            for key in self.index.inherit(before) {
                self.queue.forget(&key);
            }
        }
        if let Some(offer) = self.next.take() {
            let Offer { number, layers, .. } = &*offer;
            self.context = Arc::new(Context {
                client: self.context.client.clone(),
                bundle: Arc::clone(&offer.bundle),
                claims: Arc::clone(&self.context.claims),
            });
            self.board.runs(*number, offer.bundle.digest(), layers);
            tracing::info!(bundle = offer.bundle.digest(), "bundle runs");
        }
        self.synced = true;
    }

    /// What was found out for rules and templates that run no more says nothing about those that do.
    pub(super) fn discard_outdated(&mut self, outcome: &mut Outcome) {
        if Arc::ptr_eq(&outcome.bundle, &self.context.bundle) {
            return;
        }
        outcome.answers.clear();
        if outcome.run.take_if(|run| run.spec.is_none()).is_some() {
            outcome.retry = None;
        }
        self.queue.add(&outcome.key, Instant::now());
    }

    /// Forgets the work for the test that had this name before.
    pub(super) fn meet(&mut self, test: &Value) {
        let key = Key::of(test);
        let known = self.index.get(&key);
        let known = known.or_else(|| self.before.as_ref()?.get(&key));
        let uid = text(test, "/metadata/uid");
        if known.is_none_or(|known| text(&known.object, "/metadata/uid") != uid) {
            self.queue.forget(&key);
        }
    }
}

fn kind_of(child: &Value) -> ApiResource {
    children::resource(text(child, "/apiVersion"), text(child, "/kind"))
}

/// Waits for an offer; forever where there is nobody who makes any.
pub(super) async fn offered(offers: &mut Offers) -> Arc<Offer> {
    while offers.changed().await.is_ok() {
        if let Some(offer) = &*offers.borrow_and_update() {
            return Arc::clone(offer);
        }
    }
    std::future::pending().await
}

/// A place for changes before there are watches.
pub(super) fn no_changes() -> (mpsc::Sender<Change>, mpsc::Receiver<Change>) {
    mpsc::channel(CHANGES)
}
