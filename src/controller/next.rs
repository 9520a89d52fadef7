//! A bundle that is about to run. What its rules say of the objects is gathered in an index of its own, from lists and
//! from the watches that go on for the bundle that runs; nothing is decided by it before it knows as much as that one.

use super::list::{Lists, Part};
use super::reload::Offer;
use super::watch::Change;
use crate::bundle::Bundle;
use crate::engine::index::{Index, Key};
use crate::engine::render::text;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Lists are younger than what the watches have said, mostly by nothing. So long it is waited for them to say the same;
/// a watch that is interrupted may never do.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct Next {
    /// What is said when it runs; `None` when it is the bundle that runs, to be asked anew.
    pub offer: Option<Arc<Offer>>,
    pub bundle: Arc<Bundle>,
    /// The number of what is taken in of objects since the rules of the bundle are to be asked.
    wanted: u64,
    index: Index,
    /// The uids of what a watch has told of since the last list was asked for: it has nothing newer to say.
    told: HashSet<String>,
    parts: mpsc::Receiver<Part>,
    /// In a set, so that it ends with this.
    _listing: JoinSet<()>,
    asked: bool,
    /// When all lists were in.
    complete: Option<Instant>,
    /// A watch had to list anew: what went meanwhile nobody tells, and lists that were under way may still have it.
    cut: bool,
    /// A list fails.
    pub late: bool,
}

impl Next {
    pub fn new(
        offer: Option<Arc<Offer>>,
        bundle: &Arc<Bundle>,
        running: &Index,
        lists: Lists,
    ) -> Next {
        let wanted = lists.watches.taken.load().number;
        let (parts, run) = lists.begin();
        let mut listing = JoinSet::new();
        listing.spawn(run);
        Next {
            offer,
            bundle: Arc::clone(bundle),
            wanted,
            index: running.renewed(Arc::clone(bundle)),
            told: HashSet::new(),
            asked: false,
            parts,
            _listing: listing,
            complete: None,
            cut: false,
            late: false,
        }
    }

    /// The next that comes of the lists.
    pub async fn part(&mut self) -> Part {
        match self.complete {
            Some(at) => {
                tokio::time::sleep_until(at + PATIENCE).await;
                Part::Overdue
            }
            None => match self.parts.recv().await {
                Some(part) => part,
                // The task that lists has broken.
                None => std::future::pending().await,
            },
        }
    }

    /// Takes what came of the lists.
    pub fn take(&mut self, part: Part) {
        match part {
            Part::Begins => self.cut = false,
            Part::Asks(go) => {
                self.told.clear();
                self.asked = true;
                let _ = go.send(());
            }
            Part::Objects(what, objects) => {
                self.late = false;
                let now = Timestamp::now();
                for object in objects {
                    if !self.told.contains(text(&object, "/metadata/uid")) {
                        tell(&mut self.index, what.apply(object), now);
                    }
                }
            }
            Part::Late(_) => self.late = true,
            Part::Complete => self.complete = Some(Instant::now()),
            Part::Overdue => {}
        }
    }

    /// Takes what a watch has seen; `wanted` is the number of what it took in.
    pub fn hear(&mut self, change: &Change, wanted: u64, now: Timestamp) {
        match change {
            // Taken in for other rules: a list that is asked for after that has all of it.
            Change::Child(_) | Change::Pod(_) if wanted < self.wanted => return,
            Change::Child(object)
            | Change::ChildGone(object)
            | Change::Pod(object)
            | Change::PodGone(object)
                if self.asked =>
            {
                self.told.insert(text(object, "/metadata/uid").to_string());
            }
            Change::Tests(_) | Change::Children(..) | Change::Pods(..) => self.cut = true,
            _ => {}
        }
        tell(&mut self.index, change.clone(), now);
    }

    /// Takes a child as a write was answered.
    pub fn wrote(&mut self, child: &Value, now: Timestamp) {
        self.hear(&Change::Child(child.clone()), u64::MAX, now);
    }

    /// A watch had to list anew.
    pub fn interrupted(&mut self) {
        self.cut = true;
    }

    /// Whether the lists are in and worth nothing.
    pub fn is_spoilt(&self) -> bool {
        self.cut && self.complete.is_some()
    }

    /// Whether everything is known that the bundle that runs knows.
    pub fn is_ready(&self, running: &Index) -> bool {
        let Some(complete) = self.complete else {
            return false;
        };
        if self.index.agrees_with(running) {
            return true;
        }
        let is_overdue = complete.elapsed() >= PATIENCE;
        if is_overdue {
            let bundle = self.bundle.digest();
            tracing::warn!(
                bundle,
                "watches do not say what lists say; they are not waited for any longer"
            );
        }
        is_overdue
    }

    pub fn into_index(self) -> Index {
        self.index
    }
}

/// Waits for what comes of the lists for the next bundle; forever where there is none.
pub(super) async fn part(next: &mut Option<Next>) -> Part {
    match next {
        Some(next) => next.part().await,
        None => std::future::pending().await,
    }
}

/// What a change means for an index.
#[derive(Debug, Default)]
pub struct Told {
    /// The tests that are to be looked at.
    pub due: Vec<Key>,
    /// The tests that are gone.
    pub gone: Vec<Key>,
}

/// Takes what a watch has seen into an index.
pub fn tell(index: &mut Index, change: Change, now: Timestamp) -> Told {
    let mut gone = Vec::new();
    let due = match change {
        Change::Test(object) => index.apply_test(object).into_iter().collect(),
        Change::TestGone(object) => {
            let key = Key::of(&object);
            index.delete_test(&key);
            gone.push(key);
            Vec::new()
        }
        Change::Tests(listed) => {
            gone = index.retain_tests(&listed);
            Vec::new()
        }
        Change::Child(object) => index.apply_child(&object, now).into_iter().collect(),
        Change::ChildGone(object) => child_gone(index, &object, now),
        Change::Children(of, listed) => index.retain_children(&of.group, &of.kind, &listed),
        Change::Pod(object) => index.apply_pod(&object, now).into_iter().collect(),
        Change::PodGone(object) => index.delete_pod(&object).into_iter().collect(),
        Change::Pods(_, listed) => index.retain_pods(&listed),
        Change::Late(_) | Change::Synced => Vec::new(),
    };
    Told { due, gone }
}

fn child_gone(index: &mut Index, object: &Value, now: Timestamp) -> Vec<Key> {
    // Its last state may be the end of the test; the watch may say both at once.
    index.apply_child(object, now);
    match index.delete_child(object) {
        Some(key) => vec![key],
        // It may have been in the way of another test.
        None => index.freed(object),
    }
}
