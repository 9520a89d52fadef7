//! What is known of one test: the object as stored, its children and pods as far as rules may read them, when
//! signals count, and what the operator knows of its own doing.

use super::children::{Children, Known};
use super::drift::changed_fields;
use super::lookup::Lookups;
use super::matcher::{Hit, PodFacts, of_object};
use super::packed::{Packed, Stored};
use super::run::Run;
use crate::bundle::Bundle;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What is known of one test.
#[derive(Debug, Clone, Default)]
pub struct Test {
    /// The object as stored, without managed fields.
    pub object: Stored,
    pub(super) version: u64,
    pub children: Children,
    // In boxes: a map has room for eleven, and few tests have as many.
    pub(super) pods: BTreeMap<String, Box<PodFacts>>,
    pub(super) child_facts: BTreeMap<String, Box<PodFacts>>,
    /// For each signal rule the pods on which it counts, or will, and when.
    pub(crate) spans: BTreeMap<usize, BTreeMap<String, Box<Span>>>,
    /// What Kubernetes' events have to say about signals.
    pub(super) lookups: Lookups,
    /// What the operator knows of its own doing: the root `run` of rules.
    pub run: Run,
}

/// When a hit is the highest of its pod.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    /// `None`: dated in the test's status.
    pub from: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub since: Timestamp,
    pub reason: String,
    pub message: String,
}

impl Test {
    /// What stood in the way of its children does not matter any more when all of them are there.
    pub(super) fn forgive(&mut self, bundle: &Bundle) {
        if self.run.spec.is_some() && self.missing(bundle).is_empty() {
            self.run.refused.clear();
            self.run.errors.clear();
        }
    }

    /// Notes where the spec differs from what the test was started with.
    pub(super) fn compare(&mut self) {
        if let (Some(started), Some(spec)) = (&self.run.spec, self.object.get("spec")) {
            self.run.drift = match *started == Packed::new(spec) {
                true => Vec::new(),
                false => changed_fields(&started.unpack(), spec),
            };
        }
    }

    /// Counts and times of the pods: the root `pods` of rules.
    pub fn pods(&self) -> Value {
        let oldest = self.pods.values().map(|p| p.created).min();
        let count = |phases: &[&str]| {
            let facts = self.pods.values();
            facts.filter(|p| phases.contains(&p.phase.as_str())).count()
        };
        let total = self.pods.len();
        let ended = count(&["Succeeded", "Failed"]);
        let running = count(&["Running"]);
        json!({
            "total": total,
            "running": running,
            "pending": total - ended - running,
            "active": total - ended,
            "oldest": oldest.map(|t| t.to_string()),
        })
    }

    /// Rules that could not be evaluated on a pod or a child.
    pub fn errors(&self) -> impl Iterator<Item = &String> {
        let facts = self.pods.values().chain(self.child_facts.values());
        facts.flat_map(|f| &f.errors)
    }

    /// A child that is not there any more, as it last was.
    pub fn gone(&self, stem: &str) -> Option<Value> {
        let known = self.children.get(stem).filter(|child| child.gone);
        known.map(Known::state)
    }

    /// Stems of children that the test was started with and that are not there. One that was done when it was last
    /// seen is not missed.
    pub fn missing(&self, bundle: &Bundle) -> Vec<String> {
        let is_missing = |child: &Known| child.gone && !is_done(bundle, &child.state());
        let started = self.run.children.iter();
        started
            .filter(|stem| self.children.get(stem).is_none_or(is_missing))
            .cloned()
            .collect()
    }

    /// Those of them that nobody saw go: while no operator was running, or between a watch and the next. They may
    /// have done their work meanwhile.
    fn vanished(&self, bundle: &Bundle) -> Vec<String> {
        let mut missing = self.missing(bundle);
        missing.retain(|stem| self.children.get(stem).is_none_or(|child| child.unseen));
        missing
    }

    /// Vanished children that nobody has looked for by name yet.
    pub fn to_look_for(&self, bundle: &Bundle) -> Vec<String> {
        let mut vanished = self.vanished(bundle);
        vanished.retain(|stem| !self.run.looked_for.contains(stem));
        vanished
    }

    /// Vanished children that are really not there.
    pub fn unseen(&self, bundle: &Bundle) -> Vec<String> {
        let mut vanished = self.vanished(bundle);
        vanished.retain(|stem| self.run.looked_for.contains(stem));
        vanished
    }

    /// The uid of the pod, or of the child (`stem/`), that a span is about.
    pub(crate) fn uid_of(&self, name: &str) -> Option<&str> {
        let facts = match name.strip_suffix('/') {
            Some(stem) => self.child_facts.get(stem),
            None => self.pods.get(name),
        };
        facts.map(|f| f.uid.as_str())
    }

    /// The name of the pod, or of the child (`stem/`), that a span is about.
    pub(crate) fn name_of<'a>(&'a self, name: &'a str) -> &'a str {
        let child = name.strip_suffix('/').and_then(|s| self.child_facts.get(s));
        child.map_or(name, |facts| facts.name.as_str())
    }

    /// The stem of the child that a span is about, or whose pod it is about.
    pub(crate) fn role_of<'a>(&'a self, name: &'a str) -> &'a str {
        let pod = || self.pods.get(name).map(|facts| facts.role.as_str());
        name.strip_suffix('/').or_else(pod).unwrap_or_default()
    }

    /// Replaces the spans of one pod. Of the hits that count at a time the one with
    /// the highest priority is the pod's signal; rules are sorted by priority.
    pub(super) fn set_spans(&mut self, pod: &str, facts: Option<&PodFacts>) {
        for pods in self.spans.values_mut() {
            pods.remove(pod);
        }
        for hit in facts.iter().flat_map(|f| &f.hits) {
            let facts = facts.map_or(&[][..], |f| &f.hits);
            let higher = facts.iter().filter(|other| other.rule < hit.rule);
            let until = higher.filter_map(|other| other.from).min();
            if let (Some(until), Some(from)) = (until, hit.from)
                && until <= from
            {
                continue;
            }
            let span = Span {
                from: hit.from,
                until,
                since: hit.since,
                reason: hit.reason.clone(),
                message: hit.message.clone(),
            };
            // Two containers of a pod may suffer from the same; the one that counts first names the pod.
            let pods = self.spans.entry(hit.rule).or_default();
            if pods.get(pod).is_none_or(|known| span.from < known.from) {
                pods.insert(pod.to_string(), Box::new(span));
            }
        }
        self.spans.retain(|_, pods| !pods.is_empty());
        let Test { spans, lookups, .. } = self;
        lookups.changed(pod, facts.map(|f| f.uid.as_str()), |rule| {
            let pods = spans.get(&rule);
            pods.is_some_and(|pods| pods.contains_key(pod))
        });
    }

    /// Takes what is known of a pod; whether that is anything new. Of a pod in trouble every change is: there may be more
    /// to look up about it.
    pub(super) fn set_pod(&mut self, facts: PodFacts) -> bool {
        if let Some(known) = self.pods.get_mut(&facts.name) {
            known.version = facts.version;
            if **known == facts && facts.hits.is_empty() {
                return false;
            }
        }
        self.set_spans(&facts.name, Some(&facts));
        self.pods.insert(facts.name.clone(), Box::new(facts));
        true
    }

    /// Every hit of every pod and child, for explain.
    pub fn hits(&self) -> impl Iterator<Item = (&PodFacts, &Hit)> {
        let facts = self.pods.values().chain(self.child_facts.values());
        facts.flat_map(|f| f.hits.iter().map(move |h| (&**f, h)))
    }
}

/// Whether a child that is gone has done what it was there for.
fn is_done(bundle: &Bundle, child: &Value) -> bool {
    let done = bundle.rules.phase.done.as_ref();
    done.is_some_and(|done| done.holds(&of_object(child, bundle)) == Ok(Some(true)))
}

/// What rules may read of a child.
pub(crate) fn state(object: &Value) -> Value {
    let metadata = object.get("metadata");
    let mut kept = Map::new();
    for key in [
        "name",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
    ] {
        if let Some(value) = metadata.and_then(|m| m.get(key)) {
            kept.insert(key.into(), value.clone());
        }
    }
    let mut state = json!({"metadata": kept});
    for key in ["apiVersion", "kind", "status"] {
        if let Some(value) = object.get(key) {
            state[key] = value.clone();
        }
    }
    if let Some(Value::Object(spec)) = object.get("spec") {
        let spec = spec.iter().filter(|(key, _)| *key != "template");
        state["spec"] = spec.map(|(k, v)| (k.clone(), v.clone())).collect();
    }
    state
}
