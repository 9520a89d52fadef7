//! From one bundle to the next while tests run: new watches list everything anew, as when the operator starts, and until
//! all lists are in nothing is decided. What was decided before, and the work under way, goes on with what it had.

use super::reconcile::{Context, Outcome};
use super::reload::Offer;
use super::watch::Change;
use super::{Controller, Offers, children};
use crate::bundle::Bundle;
use crate::engine::facts::Test;
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
        // What the old watches have seen is seen once: the last state of a child that is gone is in no list.
        while self.synced
            && let Ok(change) = self.incoming.try_recv()
        {
            self.apply(change);
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
        let uid = text(test, "/metadata/uid");
        let is_same = |known: &Test| text(&known.object, "/metadata/uid") == uid;
        if let Some(known) = self.index.get(&key) {
            if !is_same(known) {
                self.queue.forget(&key);
            }
            return;
        }
        let before = self.before.as_ref().and_then(|before| before.get(&key));
        if !before.is_some_and(is_same) {
            self.queue.forget(&key);
            // They came with those of all others.
            if before.is_some() {
                self.index.forget_children(&key);
            }
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

#[cfg(test)]
mod tests {
    use super::super::metrics::Metrics;
    use super::super::standing::Board;
    use super::*;
    use crate::bundle::Layer;
    use kube::Client;
    use serde_json::json;
    use std::collections::BTreeMap;

    /// A controller whose first lists are in, in a cluster that cannot be reached.
    fn controller() -> Controller {
        let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let metrics = Arc::new(Metrics::default());
        let bundle = bundle();
        let board = Board::new(Arc::clone(&metrics), bundle.digest(), Vec::new());
        let namespaces = Vec::new();
        let mut controller = Controller::new(client, bundle, namespaces, metrics, Arc::new(board));
        controller.synced = true;
        controller
    }

    fn bundle() -> Arc<Bundle> {
        let (bundle, _) = Bundle::load(&[Layer::built_in()], &BTreeMap::new()).unwrap();
        Arc::new(bundle)
    }

    fn offer() -> Arc<Offer> {
        Arc::new(Offer {
            bundle: bundle(),
            layers: Vec::new(),
            number: 1,
        })
    }

    fn test(uid: &str) -> Value {
        json!({
            "apiVersion": "locust.io/v2", "kind": "LocustTest", "spec": {},
            "metadata": {"name": "t", "namespace": "n", "uid": uid, "resourceVersion": "1"},
        })
    }

    fn job(owner: &str, stem: &str) -> Value {
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "status": {"succeeded": 1},
            "metadata": {
                "name": "t-worker", "namespace": "n", "uid": "job", "resourceVersion": "2",
                "labels": {"locust.io/child": stem},
                "ownerReferences": [{"kind": "LocustTest", "name": "t", "uid": owner, "controller": true}],
            },
        })
    }

    #[tokio::test]
    async fn what_the_old_watches_have_seen_is_not_lost() {
        let mut controller = controller();
        controller.apply(Change::Test(test("t1")));
        for change in [
            Change::Child(job("t1", "worker-job")),
            Change::ChildGone(job("t1", "worker-job")),
        ] {
            controller.watches.changes.send(change).await.unwrap();
        }
        controller.renew(offer());
        controller.apply(Change::Test(test("t1")));
        controller.apply(Change::Synced);
        let test = controller.index.get(&Key::of(&test("t1"))).unwrap();
        let gone = test.gone("worker-job").unwrap();
        assert_eq!(gone["status"]["succeeded"], 1);
    }

    #[tokio::test]
    async fn nothing_keeps_a_bundle_that_runs_no_more() {
        let mut controller = controller();
        controller.apply(Change::Test(test("t1")));
        controller.apply(Change::Child(job("t1", "worker-job")));
        let bundle = Arc::downgrade(&controller.context.bundle);
        let templates = Arc::downgrade(&controller.context.bundle.templates);
        controller.renew(offer());
        controller.apply(Change::Test(test("t1")));
        controller.apply(Change::Synced);
        assert_eq!(bundle.strong_count(), 0);
        assert_eq!(templates.strong_count(), 0);
    }

    #[tokio::test]
    async fn a_test_that_was_made_again_meanwhile_has_none_of_the_children_before() {
        let mut controller = controller();
        controller.apply(Change::Test(test("t1")));
        controller.apply(Change::Child(job("t1", "worker-job")));
        controller.renew(offer());
        controller.apply(Change::Test(test("t2")));
        // The same object, adopted, under a name of its own.
        controller.apply(Change::Child(job("t2", "another")));
        // Said once more, as a watch does: the test knows its own by then.
        controller.apply(Change::Test(test("t2")));
        controller.apply(Change::Child(job("t2", "worker-job")));
        controller.apply(Change::Synced);
        let test = controller.index.get(&Key::of(&test("t2"))).unwrap();
        assert!(test.children.get("another").is_some(), "{}", test.children);
        assert!(
            test.children.get("worker-job").is_none(),
            "{}",
            test.children
        );
    }
}
