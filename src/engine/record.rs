//! Makes a timeline of what is seen in a cluster: what happened to a test, its children, its pods and what events say
//! about them, as merge patches with times since the creation of the test. Of all that, what rules may read.

use super::index::controller_uid;
use super::patch;
use super::reads::Names;
use super::render::{CHILD_LABEL, text};
use super::timeline::{BEGINNING, written};
use crate::bundle::problem::Problem;
use crate::bundle::{Bundle, yaml};
use jiff::{RoundMode, SignedDuration, Timestamp, TimestampRound, Unit};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Fields that the engine itself reads, or that make a status legible.
const OURS: &[&str] = &[
    "name",
    "state",
    "containerStatuses",
    "initContainerStatuses",
    "phase",
    "conditions",
    "type",
    "status",
    "reason",
    "message",
    "restartPolicy",
    "image",
];

/// What kubectl keeps for itself.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Times in a recording are multiples of this.
const PRECISION: SignedDuration = SignedDuration::from_millis(100);

/// When a change that is seen now is taken to have occurred; `written` is when the API server says that it was written,
/// in whole seconds (`metadata.managedFields[].time`).
///
/// A watch that lags does not move a change out of the second it was written in, which is what timers count from. It is
/// rounded up: what follows from a timer, such as the end of the pods of a test that has failed, is never at its time.
pub fn occurred(seen: Timestamp, written: Option<Timestamp>) -> Timestamp {
    let up = TimestampRound::new()
        .smallest(Unit::Millisecond)
        .increment(100)
        .mode(RoundMode::Ceil);
    let rounded = seen.round(up).unwrap_or(seen);
    match written {
        Some(second) => rounded.clamp(second + PRECISION, second + PRECISION * 9),
        None => rounded,
    }
}

/// A LocustTest as somebody wrote it: without its status and what the API server added.
pub fn as_written(test: &Value) -> Value {
    let mut metadata = Map::new();
    for key in ["name", "labels", "annotations"] {
        if let Some(value) = test.get("metadata").and_then(|m| m.get(key)) {
            metadata.insert(key.to_string(), value.clone());
        }
    }
    if let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    json!({
        "apiVersion": test["apiVersion"],
        "kind": test["kind"],
        "metadata": metadata,
        "spec": test["spec"],
    })
}

/// One step, as it is written.
#[derive(Debug, Default, Serialize)]
struct Step {
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    children: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pods: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<Value>,
    #[serde(skip)]
    time: SignedDuration,
}

#[derive(Serialize)]
struct Recorded<'a> {
    test: &'a Value,
    steps: &'a [Step],
}

/// A child that is there.
#[derive(Debug)]
struct Known {
    stem: String,
    /// What is recorded of it so far.
    recorded: Value,
    /// The spec that its pods are made with.
    pods: Value,
}

/// Takes what is seen, in the order in which it is seen.
#[derive(Debug)]
pub struct Recorder {
    names: Names,
    /// The reasons of events that rules ask for.
    reasons: BTreeSet<String>,
    uid: String,
    created: Timestamp,
    written: Value,
    test: Value,
    /// By uid.
    children: HashMap<String, Known>,
    /// Stems of children that were there once.
    seen: BTreeSet<String>,
    /// By name.
    pods: BTreeMap<String, Value>,
    uids_of_pods: HashMap<String, String>,
    /// What belongs to something that is not seen yet.
    waiting: Vec<Value>,
    steps: Vec<Step>,
}

impl Recorder {
    /// Begins with the test as it is first seen.
    pub fn new(bundle: &Bundle, test: &Value) -> Recorder {
        let created = text(test, "/metadata/creationTimestamp").parse();
        let signals = bundle.rules.signals.iter();
        let mut recorder = Recorder {
            names: Names::of(&bundle.rules),
            reasons: signals.flat_map(|s| s.events.iter().cloned()).collect(),
            uid: text(test, "/metadata/uid").to_string(),
            created: created.unwrap_or(BEGINNING),
            written: as_written(test),
            test: Value::Null,
            children: HashMap::new(),
            seen: BTreeSet::new(),
            pods: BTreeMap::new(),
            uids_of_pods: HashMap::new(),
            waiting: Vec::new(),
            steps: Vec::new(),
        };
        recorder.test = recorder.of_test(test);
        recorder
    }

    /// Something was made or has changed.
    pub fn apply(&mut self, at: Timestamp, object: &Value) {
        if !self.take(at, object) {
            let uid = text(object, "/metadata/uid");
            self.waiting.retain(|o| text(o, "/metadata/uid") != uid);
            self.waiting.push(object.clone());
            return;
        }
        // One that waited may be what another waits for: an event waits for its pod, and that for its Job.
        let mut before = usize::MAX;
        while self.waiting.len() < before {
            before = self.waiting.len();
            for object in std::mem::take(&mut self.waiting) {
                if !self.take(at, &object) {
                    self.waiting.push(object);
                }
            }
        }
    }

    /// Something is gone.
    pub fn delete(&mut self, at: Timestamp, object: &Value) {
        let uid = text(object, "/metadata/uid");
        self.waiting.retain(|o| text(o, "/metadata/uid") != uid);
        match text(object, "/kind") {
            "Pod" => {
                let name = text(object, "/metadata/name");
                if self.pods.remove(name).is_some() {
                    self.step(at, |s| s.pods.contains_key(name))
                        .pods
                        .insert(name.to_string(), Value::Null);
                }
            }
            "Event" | "LocustTest" => {}
            _ => {
                if let Some(child) = self.children.remove(uid) {
                    let stem = child.stem;
                    self.step(at, |s| s.children.contains_key(&stem))
                        .children
                        .insert(stem, Value::Null);
                }
            }
        }
    }

    /// The recording ends: what timers do until then belongs to it.
    pub fn end(&mut self, at: Timestamp) {
        self.step(at, |_| false);
    }

    /// How many steps there are, and how long they take.
    pub fn extent(&self) -> (usize, SignedDuration) {
        let last = self.steps.last().map_or(SignedDuration::ZERO, |s| s.time);
        (self.steps.len(), last)
    }

    /// Pods that have not ended.
    pub fn active_pods(&self) -> usize {
        let ended = |pod: &&Value| ["Succeeded", "Failed"].contains(&text(pod, "/status/phase"));
        self.pods.values().filter(|pod| !ended(pod)).count()
    }

    /// The file timeline.yaml.
    pub fn timeline(&self) -> Result<String, Box<Problem>> {
        let recorded = Recorded {
            test: &self.written,
            steps: &self.steps,
        };
        yaml::to_string(&recorded)
    }

    /// Whether the object is none that has to wait for another.
    fn take(&mut self, at: Timestamp, object: &Value) -> bool {
        match text(object, "/kind") {
            "LocustTest" => self.take_test(at, object),
            "Pod" => return self.take_pod(at, object),
            "Event" => return self.take_event(at, object),
            _ => self.take_child(at, object),
        }
        true
    }

    fn take_test(&mut self, at: Timestamp, object: &Value) {
        if text(object, "/metadata/uid") != self.uid {
            return;
        }
        let now = self.of_test(object);
        if let Some(patch) = patch::between(&self.test, &now) {
            self.step(at, |s| s.test.is_some()).test = Some(patch);
            self.test = now;
        }
    }

    fn take_child(&mut self, at: Timestamp, object: &Value) {
        if controller_uid(object) != Some(&self.uid) {
            return;
        }
        let label = object
            .pointer("/metadata/labels")
            .and_then(|l| l.get(CHILD_LABEL));
        let Some(stem) = label.and_then(Value::as_str).map(str::to_string) else {
            return;
        };
        let uid = text(object, "/metadata/uid").to_string();
        let now = self.of_child(object);
        let before = match self.children.get(&uid) {
            Some(known) => known.recorded.clone(),
            // As a replay makes it.
            None => {
                let mut made = json!({"spec": now["spec"]});
                if self.seen.insert(stem.clone()) {
                    made["metadata"] = json!({"creationTimestamp": BEGINNING.to_string()});
                }
                made
            }
        };
        if let Some(patch) = patch::between(&before, &now) {
            self.step(at, |s| s.children.contains_key(&stem))
                .children
                .insert(stem.clone(), patch);
        }
        let pods = object.pointer("/spec/template/spec").cloned();
        let known = Known {
            stem,
            recorded: now,
            pods: pods.unwrap_or_default(),
        };
        self.children.insert(uid, known);
    }

    fn take_pod(&mut self, at: Timestamp, object: &Value) -> bool {
        let Some(child) = controller_uid(object).and_then(|uid| self.children.get(uid)) else {
            return false;
        };
        let now = self.of_pod(object, &child.pods);
        let name = text(object, "/metadata/name").to_string();
        let of = child.stem.clone();
        let uid = text(object, "/metadata/uid").to_string();
        self.uids_of_pods.insert(uid, name.clone());
        let change = match self.pods.get(&name) {
            Some(before) => patch::between(before, &now),
            None => {
                let mut new = now.clone();
                new["of"] = of.into();
                Some(new)
            }
        };
        if let Some(change) = change {
            self.step(at, |s| s.pods.contains_key(&name))
                .pods
                .insert(name.clone(), change);
        }
        self.pods.insert(name, now);
        true
    }

    fn take_event(&mut self, at: Timestamp, object: &Value) -> bool {
        let uid = text(object, "/involvedObject/uid");
        let child = self.children.get(uid).map(|c| c.stem.clone());
        let Some(about) = child.or_else(|| self.uids_of_pods.get(uid).cloned()) else {
            return false;
        };
        let reason = text(object, "/reason");
        if !self.reasons.contains(reason) {
            return true;
        }
        let event = json!({"about": about, "reason": reason, "message": text(object, "/message")});
        // Kubernetes counts what happens again.
        if !self.steps.iter().any(|s| s.events.contains(&event)) {
            self.step(at, |_| false).events.push(event);
        }
        true
    }

    /// The step for a time: the last one when it is of that time and not `taken`.
    fn step(&mut self, at: Timestamp, taken: impl Fn(&Step) -> bool) -> &mut Step {
        let since = at.duration_since(self.created);
        let last = self.steps.last().map_or(SignedDuration::ZERO, |s| s.time);
        // The clock here need not be that of the API server.
        let time = since.max(last);
        let fits = self
            .steps
            .last()
            .is_some_and(|s| s.time == time && !taken(s));
        if !fits {
            self.steps.push(Step {
                at: written(time),
                time,
                ..Step::default()
            });
        }
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    fn of_test(&self, test: &Value) -> Value {
        let mut kept = as_written(test);
        if let Some(time) = test.pointer("/metadata/deletionTimestamp") {
            kept["metadata"]["deletionTimestamp"] = self.moved(time);
        }
        kept
    }

    fn of_child(&self, child: &Value) -> Value {
        let mut spec = self.pruned(&child["spec"]);
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("template");
            spec.remove("selector");
        }
        json!({"metadata": self.dates(child), "spec": spec, "status": self.pruned(&child["status"])})
    }

    /// A pod, whose template has the spec `made`.
    fn of_pod(&self, pod: &Value, made: &Value) -> Value {
        let mut spec = Map::new();
        for (key, value) in pod["spec"].as_object().into_iter().flatten() {
            let differs = match key.as_str() {
                "containers" | "initContainers" => names(value) != names(&made[key]),
                "volumes" => false,
                key => self.names.contain(key) && made.get(key) != Some(value),
            };
            if differs {
                spec.insert(key.clone(), self.pruned(value));
            }
        }
        let mut kept = json!({"metadata": self.dates(pod), "status": self.pruned(&pod["status"])});
        if !spec.is_empty() {
            kept["spec"] = spec.into();
        }
        kept
    }

    fn dates(&self, object: &Value) -> Value {
        let mut dates = Map::new();
        for key in ["creationTimestamp", "deletionTimestamp"] {
            if let Some(time) = object["metadata"].get(key).filter(|t| !t.is_null()) {
                dates.insert(key.to_string(), self.moved(time));
            }
        }
        dates.into()
    }

    /// Without fields that nobody reads, and with times as they are in timelines.
    fn pruned(&self, value: &Value) -> Value {
        self.kept(value, false)
    }

    fn kept(&self, value: &Value, whole: bool) -> Value {
        match value {
            Value::Object(entries) => {
                let read = |key: &str| whole || OURS.contains(&key) || self.names.contain(key);
                let entries = entries.iter().filter(|(key, v)| read(key) && !v.is_null());
                let entries = entries.map(|(key, value)| {
                    let whole = whole || self.names.contain_all_of(key);
                    (key.clone(), self.kept(value, whole))
                });
                entries.collect()
            }
            Value::Array(items) => items.iter().map(|item| self.kept(item, whole)).collect(),
            // In a merge patch null would remove something.
            Value::Null => json!({}),
            other => self.moved(other),
        }
    }

    /// A time as far from the beginning of timelines as it was from the creation of the test.
    fn moved(&self, value: &Value) -> Value {
        let time = value.as_str().and_then(|t| t.parse::<Timestamp>().ok());
        match time.map(|t| BEGINNING + t.duration_since(self.created)) {
            Some(moved) => moved.to_string().into(),
            None => value.clone(),
        }
    }
}

fn names(containers: &Value) -> Vec<&str> {
    let all = containers.as_array().into_iter().flatten();
    all.map(|c| text(c, "/name")).collect()
}
