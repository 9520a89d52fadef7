//! From one bundle to the next while tests run. The one that runs decides and writes until all is known that the rules of
//! the next need (see [`super::next`]); then that one runs, and what was decided before goes on with what it had.

use super::list::{Lists, Part};
use super::next::Next;
use super::reconcile::{Context, Outcome};
use super::reload::Offer;
use super::watch::{Change, What};
use super::{Controller, Offers, children};
use crate::bundle::problem::Problem;
use crate::bundle::{Bundle, selector};
use crate::engine::facts::Test;
use crate::engine::index::Index;
use crate::engine::render::text;
use crate::engine::run::Run;
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// So many changes wait to be taken in.
const CHANGES: usize = 1024;

/// So many labels of pods are watched for at most. More than a few come of nobody's layers.
const SELECTORS: usize = 16;

impl Controller {
    /// Begins with a bundle: nothing is known yet.
    pub(super) fn begin(&mut self, bundle: &Arc<Bundle>) {
        self.set_bundle(bundle);
        self.index = Index::new(Arc::clone(bundle));
        self.late = false;
        let (changes, incoming) = mpsc::channel(CHANGES);
        self.incoming = incoming;
        self.watches.changes = changes;
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

    /// Begins to gather what the rules of a bundle need.
    fn prepare(&mut self, bundle: &Arc<Bundle>, offer: Option<Arc<Offer>>) {
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

    /// What is watched for a bundle, and for the tests that run, whatever they were started with.
    fn wanted(&self, bundle: &Bundle) -> Vec<What> {
        let mut wanted = whats(bundle);
        let tests = self.index.keys().filter_map(|key| self.index.get(key));
        for what in tests.flat_map(|test| whats_of(&test.run)) {
            add(&mut wanted, what);
        }
        wanted
    }

    /// Watches what only a running test has, which was started with another bundle.
    pub(super) fn watch_also(&mut self, run: &Run) {
        for what in whats_of(run) {
            let is_known = |all: &[super::watch::Watching]| all.iter().any(|w| w.what == what);
            let is_full = matches!(what, What::Pods(_)) && self.selectors() >= SELECTORS;
            if !is_known(&self.watching) && !is_full {
                let (watching, _) = self.watches.begin(what);
                self.watching.push(watching);
            }
        }
    }

    fn selectors(&self) -> usize {
        let all = self.watching.iter();
        all.filter(|w| matches!(w.what, What::Pods(_))).count()
    }

    /// Whether the pods of a test are not listed yet: it was started with other labels than those of now, by an operator
    /// that ran before.
    pub(super) fn is_blind(&self, test: &Test) -> bool {
        let Some(selector) = &test.run.pod_selector else {
            return false;
        };
        let is_it = |what: &What| matches!(what, What::Pods(s) if s == selector);
        let mut watching = self.watching.iter();
        watching.any(|w| is_it(&w.what) && w.unlisted > 0)
    }

    /// Pods with some labels were listed; says whether no others are watched. If there are, it is not known whose those
    /// are that the list lacks, and all are listed.
    pub(super) fn pods_listed(&mut self, selector: &str) -> bool {
        let is_alone = self.selectors() <= 1;
        let is_it = |what: &What| matches!(what, What::Pods(s) if s == selector);
        let Some(watching) = self.watching.iter_mut().find(|w| is_it(&w.what)) else {
            return is_alone;
        };
        if watching.unlisted > 0 {
            watching.unlisted -= 1;
            return is_alone;
        }
        if !is_alone {
            match &mut self.next {
                Some(next) => next.interrupted(),
                None => self.prepare(&Arc::clone(&self.context.bundle), None),
            }
        }
        is_alone
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
        if let Some(offer) = offer {
            self.set_bundle(&bundle);
            self.runs(&offer);
            tracing::info!(bundle = bundle.digest(), "bundle runs");
        }
        self.drop_unwanted();
        self.look_at_all();
        self.go_on();
    }

    /// Ends the watches that nobody needs any more.
    fn drop_unwanted(&mut self) {
        let wanted = self.wanted(&self.context.bundle);
        self.watching
            .retain(|w| w.what == What::Tests || wanted.contains(&w.what));
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
}

/// The kinds of children of a bundle, and its pods.
fn whats(bundle: &Bundle) -> Vec<What> {
    let mut whats: Vec<What> = children::kinds(bundle)
        .into_iter()
        .map(What::Children)
        .collect();
    whats.push(What::Pods(bundle.pod_selector().to_string()));
    whats
}

/// The same of what a test was started with.
fn whats_of(run: &Run) -> Vec<What> {
    let kind = |child: &Value| {
        let kind = children::resource(text(child, "/apiVersion"), text(child, "/kind"));
        What::Children(kind)
    };
    let mut whats: Vec<What> = run.started.values().map(kind).collect();
    // Others than lotest may have written it.
    let selector = run
        .pod_selector
        .iter()
        .filter(|s| selector::parse(s).is_ok());
    whats.extend(selector.cloned().map(What::Pods));
    whats
}

fn add(whats: &mut Vec<What>, what: What) {
    if !whats.contains(&what) {
        whats.push(what);
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

/// Waits for what comes of the lists for the next bundle; forever where there is none.
pub(super) async fn part(next: &mut Option<Next>) -> Part {
    match next {
        Some(next) => next.part().await,
        None => std::future::pending().await,
    }
}

/// A place for changes before there are watches.
pub(super) fn no_changes() -> (mpsc::Sender<Change>, mpsc::Receiver<Change>) {
    mpsc::channel(CHANGES)
}
