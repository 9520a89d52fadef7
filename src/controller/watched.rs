//! What is watched: for the bundle that runs, and for the tests that were started with others, as long as they are there.

use super::watch::What;
use super::{Controller, children};
use crate::bundle::{Bundle, selector};
use crate::engine::facts::Test;
use crate::engine::packed::Packed;
use crate::engine::render::text;
use crate::engine::run::Run;
use std::sync::Arc;

/// So many labels of pods are watched for at most. More than a few come of nobody's layers.
const SELECTORS: usize = 16;

impl Controller {
    /// What is watched for a bundle, and for the tests that run, whatever they were started with.
    pub(super) fn wanted(&self, bundle: &Bundle) -> Vec<What> {
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

    pub(super) fn selectors(&self) -> usize {
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

    /// Ends the watches that nobody needs any more.
    pub(super) fn drop_unwanted(&mut self) {
        let wanted = self.wanted(&self.context.bundle);
        self.watching
            .retain(|w| w.what == What::Tests || wanted.contains(&w.what));
    }
}

/// The kinds of children of a bundle, and its pods.
pub(super) fn whats(bundle: &Bundle) -> Vec<What> {
    let mut whats: Vec<What> = children::kinds(bundle)
        .into_iter()
        .map(What::Children)
        .collect();
    whats.push(What::Pods(bundle.pod_selector().to_string()));
    whats
}

/// The same of what a test was started with.
fn whats_of(run: &Run) -> Vec<What> {
    let kind = |child: &Packed| {
        let child = child.unpack();
        let kind = children::resource(text(&child, "/apiVersion"), text(&child, "/kind"));
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

pub(super) fn add(whats: &mut Vec<What>, what: What) {
    if !whats.contains(&what) {
        whats.push(what);
    }
}
