//! From one bundle to the next: an index keeps what rules have made of objects, so other rules need the objects again.
//! They are listed anew for an index of their own, which the one that runs takes over when they are all in.

use super::facts::Test;
use super::index::Index;
use super::run::Run;
use crate::bundle::Bundle;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

impl Index {
    /// An index for another bundle with the same tests, of whose children and pods nothing is known yet but where they
    /// belong: children stay what they are known as, whatever became of their labels.
    pub fn renewed(&self, bundle: Arc<Bundle>) -> Index {
        let mut index = Index::new(bundle);
        index.uids.clone_from(&self.uids);
        index.owners.clone_from(&self.owners);
        let tests = self.tests.iter().map(|(key, test)| {
            let test = Test {
                object: test.object.clone(),
                version: test.version,
                ..Test::default()
            };
            (key.clone(), Box::new(test))
        });
        index.tests = tests.collect();
        index
    }

    /// The versions of all children and pods of tests that are there, by uid.
    fn versions(&self) -> HashMap<&str, u64> {
        let tests = self.tests.values();
        let facts = tests.flat_map(|t| t.pods.values().chain(t.child_facts.values()));
        facts.map(|f| (f.uid.as_str(), f.version)).collect()
    }

    /// Whether both know the same objects, and the same versions of them.
    pub fn agrees_with(&self, other: &Index) -> bool {
        self.versions() == other.versions()
    }

    /// Takes the bundle of `next` and what its rules have made of all objects; `next` was told of the same tests. What
    /// no object says stays: how a child that is gone was, and what the operator did.
    pub fn adopt(&mut self, next: Index) {
        let rules = next.same_signals(&self.bundle);
        let Index {
            bundle,
            tests: mut found,
            owners,
            waiting,
            ..
        } = next;
        self.bundle = bundle;
        self.owners = owners;
        self.waiting = waiting;
        for (key, test) in &mut self.tests {
            let found = found.remove(key).unwrap_or_default();
            test.take_facts(*found, &rules);
            // Where a test could not be started, another bundle may do better, and at once.
            if test.run.spec.is_none() {
                test.run = Run::default();
            }
            test.forgive(&self.bundle);
        }
    }

    /// The numbers of signals that ask Kubernetes' events the same as a signal of this id did.
    fn same_signals(&self, before: &Bundle) -> BTreeMap<usize, usize> {
        let now = &self.bundle.rules.signals;
        let numbered = before.rules.signals.iter().enumerate();
        let same = numbered.filter_map(|(number, was)| {
            let is_same = |is: &super::rule::Signal| {
                is.guard.origin.id == was.guard.origin.id && is.events == was.events
            };
            Some((number, now.iter().position(is_same)?))
        });
        same.collect()
    }
}

impl Test {
    /// Takes what other rules have made of the pods and children; `rules` are the new numbers of signals.
    fn take_facts(&mut self, found: Test, rules: &BTreeMap<usize, usize>) {
        let known = std::mem::replace(&mut self.child_facts, found.child_facts);
        for stem in known.keys() {
            // No list has it. It may be there all the same, and is looked for by its name.
            if !self.child_facts.contains_key(stem) {
                self.children.vanished(stem);
            }
        }
        self.pods = found.pods;
        self.spans = found.spans;
        let spans = &self.spans;
        let before = std::mem::replace(&mut self.lookups, found.lookups);
        self.lookups.inherit(before, |rule, about| {
            let rule = rules.get(&rule)?;
            spans.get(rule)?.contains_key(&about.name).then_some(*rule)
        });
    }
}
