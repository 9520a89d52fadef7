//! From one bundle to the next while tests run. The one that runs decides and writes until all is known that the rules of
//! the next need (see [`super::next`]); then that one runs, and what was decided before goes on with what it had.

use super::list::{Lists, Part};
use super::next::Next;
use super::object::Taken;
use super::reconcile::Context;
use super::reload::Offer;
use super::watch::{Seen, What};
use super::watched::{add, whats};
use super::{Controller, Offers};
use crate::bundle::Bundle;
use crate::bundle::problem::Problem;
use crate::engine::index::Index;
use std::sync::Arc;
use tokio::sync::mpsc;

/// So many changes wait to be taken in.
const CHANGES: usize = 256;

impl Controller {
    /// Begins with a bundle: nothing is known yet.
    pub(super) fn begin(&mut self, bundle: &Arc<Bundle>) {
        self.set_bundle(bundle);
        self.index = Index::new(Arc::clone(bundle));
        self.late = false;
        let (changes, incoming) = mpsc::channel(CHANGES);
        self.incoming = incoming;
        self.watches.changes = changes;
        self.take_in(|taken| taken.only(bundle));
        let mut order = vec![What::Tests];
        order.extend(whats(bundle));
        // Dropped, the old ones end.
        self.watching = self.watches.begin_all(order);
    }

    fn set_bundle(&mut self, bundle: &Arc<Bundle>) {
        self.context = Arc::new(Context {
            client: self.context.client.clone(),
            bundle: Arc::clone(bundle),
            claims: Arc::clone(&self.context.claims),
            crowded: Arc::clone(&self.context.crowded),
        });
    }

    /// Takes up another bundle as soon as may be. One that is under way comes first, so that layers that change all the
    /// time are taken up too, unless its lists fail: then the next may do better.
    pub(super) fn renew(&mut self, offer: Arc<Offer>) {
        if Arc::ptr_eq(&self.context.bundle, &offer.bundle) {
            self.queued = None;
            self.starting = None;
            if self.next.take_if(|next| next.offer.is_some()).is_some() {
                self.drop_unwanted();
            }
            return self.runs(&offer);
        }
        self.queued = Some(offer);
        self.go_on();
    }

    fn go_on(&mut self) {
        let is_busy = match &self.next {
            Some(next) => !next.late,
            None => !self.synced && !self.late,
        };
        if is_busy {
            return;
        }
        let Some(offer) = self.queued.take() else {
            return;
        };
        let bundle = Arc::clone(&offer.bundle);
        if self.synced {
            self.prepare(&bundle, Some(offer));
        } else {
            self.begin(&bundle);
            self.starting = Some(offer);
        }
    }

    /// Takes in something else of children and pods from now on.
    fn take_in(&self, taken: impl FnOnce(&Taken) -> Taken) {
        let shared = &self.watches.taken;
        shared.store(Arc::new(taken(&shared.load())));
    }

    /// Begins to gather what the rules of a bundle need.
    pub(super) fn prepare(&mut self, bundle: &Arc<Bundle>, offer: Option<Arc<Offer>>) {
        self.take_in(|taken| taken.and(bundle));
        let mut firsts = Vec::new();
        for what in whats(bundle) {
            if !self.watching.iter().any(|w| w.what == what) {
                let (watching, first) = self.watches.begin(what);
                self.watching.push(watching);
                firsts.extend(first);
            }
        }
        let mut order = self.wanted(bundle);
        // Tests that are started meanwhile are started with the bundle that runs.
        for what in whats(&self.context.bundle) {
            add(&mut order, what);
        }
        order.retain(|what| self.watching.iter().any(|w| w.what == *what));
        order.sort_by_key(|what| matches!(what, What::Pods(_)));
        let lists = Lists {
            watches: self.watches.clone(),
            firsts,
            order,
        };
        self.next = Some(Next::new(offer, bundle, &self.index, lists));
    }

    /// Takes what came of the lists for the next bundle.
    pub(super) fn take_part(&mut self, part: Part) {
        // What the first lists of new watches have shown comes before what follows them.
        while matches!(part, Part::Begins)
            && let Ok(change) = self.incoming.try_recv()
        {
            self.apply(change);
        }
        if let Some(next) = &mut self.next {
            let why = match &part {
                Part::Late(why) => Some(why.clone()),
                _ => None,
            };
            next.take(part);
            if let Some(why) = why {
                self.is_late(&why);
            }
        }
    }

    /// A list that is waited for fails. What runs goes on.
    pub(super) fn is_late(&mut self, why: &str) {
        match &mut self.next {
            Some(next) => {
                next.late = true;
                if let Some(offer) = &next.offer {
                    let bundle = offer.bundle.digest();
                    let message = format!("bundle {bundle} is in order, and waits: {why}");
                    let help = "what ran before runs until the API server answers; nothing has to be changed for that";
                    let problem = Problem::new("layers", message).help(help);
                    self.board.waits(offer.number, &problem);
                }
            }
            None => self.late = true,
        }
        self.go_on();
    }

    /// Runs the next bundle, if everything is known that it needs.
    pub(super) fn swap(&mut self) {
        let Some(next) = &self.next else {
            return;
        };
        if next.is_spoilt() {
            let (bundle, offer) = (Arc::clone(&next.bundle), next.offer.clone());
            return self.prepare(&bundle, offer);
        }
        if !self.incoming.is_empty() || !next.is_ready(&self.index) {
            return;
        }
        let Some(next) = self.next.take() else {
            return;
        };
        let offer = next.offer.clone();
        let bundle = Arc::clone(&next.bundle);
        self.index.adopt(next.into_index());
        self.take_in(|taken| taken.only(&bundle));
        if let Some(offer) = offer {
            self.set_bundle(&bundle);
            self.runs(&offer);
            tracing::info!(bundle = bundle.digest(), "bundle runs");
        }
        self.drop_unwanted();
        self.look_at_all();
        self.go_on();
    }

    fn runs(&self, offer: &Offer) {
        let Offer { number, layers, .. } = offer;
        self.board.runs(*number, offer.bundle.digest(), layers);
    }

    /// All first lists are in.
    pub(super) fn synced(&mut self) {
        self.synced = true;
        if let Some(offer) = self.starting.take() {
            self.runs(&offer);
            tracing::info!(bundle = offer.bundle.digest(), "bundle runs");
        }
        self.look_at_all();
        self.go_on();
    }
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
pub(super) fn no_changes() -> (mpsc::Sender<Seen>, mpsc::Receiver<Seen>) {
    mpsc::channel(CHANGES)
}

#[cfg(test)]
mod tests;
