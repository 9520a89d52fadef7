//! From one bundle to the next: an index keeps what rules have made of objects, so other rules need the objects again.
//! They are listed anew into an index of their own, which then takes over what no list says.

use super::facts::{GONE, Test, UNSEEN, is_gone};
use super::index::{Index, Key};
use super::render::text;
use super::run::Run;
use crate::bundle::Bundle;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Index {
    /// An index for another bundle, without tests yet. Children stay what they are known as, whatever became of their
    /// labels.
    pub fn renewed(&self, bundle: Arc<Bundle>) -> Index {
        let mut index = Index::new(bundle);
        index.owners.clone_from(&self.owners);
        index
    }

    /// Forgets the children of the test that had this name before: they do not tell where pods belong any more, and a child
    /// of the next one is what its own label says.
    pub fn forget_children(&mut self, of: &Key) {
        self.owners.retain(|_, (key, _)| key != of);
    }

    /// Takes over what was known `before` all lists came in anew; says which tests are gone.
    pub fn inherit(&mut self, before: Index) -> Vec<Key> {
        let rules = self.same_signals(&before.bundle);
        let mut gone = Vec::new();
        for (key, known) in before.tests {
            let Some(test) = self.tests.get_mut(&key) else {
                self.owners.retain(|_, (of, _)| *of != key);
                gone.push(key);
                continue;
            };
            let uid = |t: &Test| text(&t.object, "/metadata/uid").to_string();
            if uid(test) != uid(&known) {
                continue;
            }
            let children = known.children.as_object().into_iter().flatten();
            for (stem, child) in children {
                if test.children.get(stem).is_none() {
                    // What a child last was stays, as when it goes between two watches.
                    let mut last = child.clone();
                    if !is_gone(child) {
                        last[UNSEEN] = json!(true);
                    }
                    last[GONE] = json!(true);
                    test.children[stem.as_str()] = last;
                }
            }
            let Test { lookups, spans, .. } = test;
            lookups.inherit(known.lookups, |rule, about| {
                let rule = rules.get(&rule)?;
                spans.get(rule)?.contains_key(&about.name).then_some(*rule)
            });
            // Where a test could not be started, another bundle may do better, and at once.
            let run = match known.run.spec {
                Some(_) => known.run,
                None => Run::default(),
            };
            self.set_run(&key, run);
            if let Some(test) = self.tests.get_mut(&key) {
                test.forgive(&self.bundle);
            }
        }
        gone
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
