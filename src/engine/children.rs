//! The children of a test as rules may read them, by stem.

use super::facts::state;
use super::index::version;
use super::packed::Packed;
use super::render::text;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Marks a child that is gone and that nobody saw go.
const UNSEEN: &str = "unseen";

/// Marks the last state of a child that is not there any more.
const GONE: &str = "gone";

/// In the order of their stems. They are few, and a map has room for eleven.
#[derive(Debug, Clone, Default)]
pub struct Children(Vec<(String, Known)>);

/// What is known of a child: its state, and of that apart what is asked at every look.
#[derive(Debug, Clone)]
pub struct Known {
    state: Packed,
    pub version: u64,
    /// It is not there any more; this is what it last was.
    pub gone: bool,
    /// Nobody saw it go: it went while no operator was running, or between a watch and the next.
    pub unseen: bool,
}

impl Known {
    /// What rules may read of it.
    pub fn state(&self) -> Value {
        let mut state = self.state.unpack();
        for (mark, is_so) in [(GONE, self.gone), (UNSEEN, self.unseen)] {
            if is_so {
                state[mark] = true.into();
            }
        }
        state
    }

    pub fn uid(&self) -> String {
        text(&self.state.unpack(), "/metadata/uid").to_string()
    }
}

impl Children {
    /// Where a child is, or would be.
    fn find(&self, stem: &str) -> Result<usize, usize> {
        self.0
            .binary_search_by(|(known, _)| known.as_str().cmp(stem))
    }

    pub fn get(&self, stem: &str) -> Option<&Known> {
        self.find(stem).ok().map(|n| &self.0[n].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Known)> {
        self.0.iter().map(|(stem, known)| (stem, known))
    }

    /// One that is there.
    pub fn there(&self, stem: &str) -> Option<&Known> {
        self.get(stem).filter(|child| !child.gone)
    }

    /// The root `children` of rules.
    pub fn to_value(&self) -> Value {
        let states = self.0.iter();
        Value::Object(
            states
                .map(|(s, known)| (s.clone(), known.state()))
                .collect(),
        )
    }

    /// Takes a child as the API server has it.
    pub(super) fn set(&mut self, stem: &str, object: &Value) {
        let known = Known {
            state: Packed::new(&state(object)),
            version: version(object),
            gone: false,
            unseen: false,
        };
        self.put(stem, known);
    }

    fn put(&mut self, stem: &str, known: Known) {
        match self.find(stem) {
            Ok(n) => self.0[n].1 = known,
            Err(n) => self.0.insert(n, (stem.to_string(), known)),
        }
    }

    /// What a child last was stays until it is made again: a Job that is removed
    /// as soon as it has finished has still finished.
    pub(super) fn went(&mut self, stem: &str) {
        if let Ok(n) = self.find(stem) {
            self.0[n].1.gone = true;
        }
    }

    /// Notes that a child is not there, and that nobody saw it go.
    pub(super) fn vanished(&mut self, stem: &str) {
        let never_seen = || Known {
            state: Packed::new(&json!({})),
            version: 0,
            gone: true,
            unseen: true,
        };
        let mut known = self.get(stem).cloned().unwrap_or_else(never_seen);
        known.gone = true;
        known.unseen = true;
        self.put(stem, known);
    }

    /// Notes that the child with this uid was deleted; whether there is one.
    pub(super) fn deleting(&mut self, uid: &str, now: Timestamp) -> bool {
        let mut known = self.0.iter_mut().map(|(_, known)| known);
        let Some(known) = known.find(|known| known.uid() == uid) else {
            return false;
        };
        let mut state = known.state.unpack();
        state["metadata"]["deletionTimestamp"] = now.to_string().into();
        known.state = Packed::new(&state);
        true
    }
}
