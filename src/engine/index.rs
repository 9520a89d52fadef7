//! The index: what is known of every test. A synchronous state machine with
//! `apply_*`, `delete_*` and `retain_*`; each says which test it concerns. It
//! keeps facts, not objects: of a pod its hits, of a child its spec without the
//! pod template and its status.

use super::facts::Test;
use super::lookup::{Answer, Question};
use super::matcher::{PodFacts, match_child, match_pod};
use super::packed::Stored;
use super::render::{CHILD_LABEL, group, text};
use super::run::Run;
use crate::bundle::Bundle;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Namespace and name of an object. Its copies share them: there are a dozen of each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    pub fn of(object: &Value) -> Key {
        Key {
            namespace: text(object, "/metadata/namespace").into(),
            name: text(object, "/metadata/name").into(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A complete list of the objects of one kind, in one namespace or in all of them.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    pub namespace: Option<String>,
    pub seen: HashSet<Key>,
}

impl Listed {
    /// Whether the object would have been in the list and was not.
    fn lacks(&self, namespace: &str, name: &str) -> bool {
        let listed = self.namespace.as_deref().is_none_or(|n| n == namespace);
        let key = Key {
            namespace: namespace.into(),
            name: name.into(),
        };
        listed && !self.seen.contains(&key)
    }
}

/// What is kept of a pod that is seen before the child that made it, or whose owner is nobody's: little, as there may
/// be as many as pods in the cluster, and none may be left out.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The uid of the owner.
    owner: String,
    facts: PodFacts,
    /// What is known of it instead when it is a pod of this child: rules may ask for that.
    by_stem: Vec<PodFacts>,
}

impl Waiting {
    fn new(bundle: &Bundle, owner: &str, pod: &Value, now: Timestamp) -> Waiting {
        let facts = match_pod(bundle, "", pod, now);
        let children = bundle.children().iter();
        let mut by_stem: Vec<_> = children
            .map(|child| match_pod(bundle, &child.stem, pod, now))
            .collect();
        by_stem.retain(|f| f.hits != facts.hits || f.errors != facts.errors);
        Waiting {
            owner: owner.to_string(),
            facts,
            by_stem,
        }
    }

    fn facts_of(self, stem: &str) -> PodFacts {
        let mut by_stem = self.by_stem.into_iter();
        let own = by_stem.find(|f| f.role == stem);
        own.unwrap_or(PodFacts {
            role: stem.to_string(),
            ..self.facts
        })
    }
}

#[derive(Debug)]
pub struct Index {
    pub(super) bundle: Arc<Bundle>,
    // In boxes: a map has up to twice the room that it needs.
    pub(super) tests: HashMap<Key, Box<Test>>,
    /// The uid of a test.
    pub(super) uids: HashMap<String, Key>,
    /// The uid of a child: its test and its stem.
    pub(super) owners: HashMap<String, (Key, String)>,
    /// Pods whose owner is not known yet.
    pub(super) waiting: HashMap<Key, Waiting>,
}

impl Index {
    pub fn new(bundle: Arc<Bundle>) -> Index {
        Index {
            bundle,
            tests: HashMap::new(),
            uids: HashMap::new(),
            owners: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    pub fn get(&self, key: &Key) -> Option<&Test> {
        self.tests.get(key).map(|test| &**test)
    }

    /// Whether the test of this name is the one with this uid.
    pub fn is_of(&self, key: &Key, uid: &str) -> bool {
        self.uids.get(uid) == Some(key)
    }

    /// Keeps a test as small as may be, until it is looked at again.
    pub fn let_go(&mut self, key: &Key) {
        if let Some(test) = self.tests.get_mut(key) {
            test.object.let_go();
        }
    }

    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.tests.keys()
    }

    /// Takes a test as the API server has it. An older version than the one
    /// known changes nothing: a write's answer may overtake the watch.
    pub fn apply_test(&mut self, mut object: Value) -> Option<Key> {
        let key = Key::of(&object);
        let version = version(&object);
        let uid = text(&object, "/metadata/uid").to_string();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        let is_same = self.is_of(&key, &uid);
        match self.tests.get_mut(&key) {
            Some(test) if is_same => {
                if version <= test.version && version > 0 {
                    return None;
                }
                test.version = version;
                test.object = Stored::new(object);
                test.compare();
            }
            _ => {
                self.delete_test(&key);
                self.uids.insert(uid, key.clone());
                let test = Test {
                    object: Stored::new(object),
                    version,
                    ..Test::default()
                };
                self.tests.insert(key.clone(), Box::new(test));
            }
        }
        Some(key)
    }

    /// Forgets a test and everything that belongs to it.
    pub fn delete_test(&mut self, key: &Key) {
        if self.tests.remove(key).is_some() {
            self.uids.retain(|_, k| k != key);
            self.owners.retain(|_, (k, _)| k != key);
        }
    }

    /// Forgets every test that a complete list did not have.
    pub fn retain_tests(&mut self, listed: &Listed) -> Vec<Key> {
        let gone: Vec<Key> = self
            .tests
            .keys()
            .filter(|k| listed.lacks(&k.namespace, &k.name))
            .cloned()
            .collect();
        for key in &gone {
            self.delete_test(key);
        }
        gone
    }

    /// Takes a child; `None` when it belongs to no known test.
    pub fn apply_child(&mut self, object: &Value, now: Timestamp) -> Option<Key> {
        let (key, stem) = self.child_of(object)?;
        let test = self.tests.get_mut(&key)?;
        if let Some(known) = test.children.get(&stem) {
            // One that is gone was deleted after it was what is known of it.
            let first_new = known.version + u64::from(known.gone);
            if version(object) > 0 && version(object) < first_new {
                return None;
            }
        }
        let uid = text(object, "/metadata/uid").to_string();
        let facts = match_child(&self.bundle, &stem, object, now);
        test.children.set(&stem, object);
        test.set_spans(&format!("{stem}/"), Some(&facts));
        test.child_facts.insert(stem.clone(), Box::new(facts));
        test.run.looked_for.remove(&stem);
        test.forgive(&self.bundle);
        let is_new = self.owners.insert(uid.clone(), (key.clone(), stem.clone()));
        if is_new.is_none() {
            self.take_waiting(&key, &stem, &uid);
        }
        Some(key)
    }

    pub fn delete_child(&mut self, object: &Value) -> Option<Key> {
        let (key, stem) = self.child_of(object)?;
        let test = self.tests.get_mut(&key)?;
        let known = test.children.there(&stem)?;
        // The one that was made again in its place is another.
        if known.uid() != text(object, "/metadata/uid") {
            return None;
        }
        self.forget_child(&key, &stem);
        Some(key)
    }

    /// Forgets every child of a kind that a complete list did not have. Two groups (`of`) may have kinds of one name.
    pub fn retain_children(&mut self, of: &str, kind: &str, listed: &Listed) -> Vec<Key> {
        let gone: Vec<(Key, String)> = self
            .tests
            .iter()
            .flat_map(|(key, test)| test.children.iter().map(move |child| (key, child)))
            .filter(|(_, (_, known))| !known.gone)
            .filter(|(key, (_, known))| {
                let state = known.state();
                text(&state, "/kind") == kind
                    && group(text(&state, "/apiVersion")) == of
                    && listed.lacks(&key.namespace, text(&state, "/metadata/name"))
            })
            .map(|(key, (stem, _))| (key.clone(), stem.clone()))
            .collect();
        for (key, stem) in &gone {
            self.forget_child(key, stem);
            if let Some(test) = self.tests.get_mut(key) {
                test.children.vanished(stem);
            }
        }
        gone.into_iter().map(|(key, _)| key).collect()
    }

    fn forget_child(&mut self, key: &Key, stem: &str) {
        if let Some(test) = self.tests.get_mut(key) {
            test.children.went(stem);
            test.child_facts.remove(stem);
            test.set_spans(&format!("{stem}/"), None);
        }
    }

    /// Takes a pod; `None` when it belongs to no known test, when it is as well as before, and when the version known is a
    /// later one: a list may overtake the watch.
    pub fn apply_pod(&mut self, pod: &Value, now: Timestamp) -> Option<Key> {
        let of = Key::of(pod);
        if self.knows_later(&of, pod) {
            return None;
        }
        self.waiting.remove(&of);
        let Some(owner) = controller_uid(pod) else {
            return self.disown_pod(pod);
        };
        let Some((key, stem)) = self.owners.get(owner) else {
            let concerned = self.disown_pod(pod);
            let waiting = Waiting::new(&self.bundle, owner, pod, now);
            self.waiting.insert(of, waiting);
            return concerned;
        };
        let test = self.tests.get_mut(key)?;
        let facts = match_pod(&self.bundle, stem, pod, now);
        test.set_pod(facts).then(|| key.clone())
    }

    fn knows_later(&self, of: &Key, pod: &Value) -> bool {
        let owner = controller_uid(pod).and_then(|uid| self.owners.get(uid));
        let in_test = || Some(&**self.tests.get(&owner?.0)?.pods.get(&*of.name)?);
        let waiting = self.waiting.get(of).map(|w| &w.facts);
        let known = waiting.or_else(in_test);
        known.is_some_and(|k| k.is_later_than(pod))
    }

    pub fn delete_pod(&mut self, pod: &Value) -> Option<Key> {
        self.waiting.remove(&Key::of(pod));
        let Some(owner) = controller_uid(pod) else {
            return self.disown_pod(pod);
        };
        let (key, _) = self.owners.get(owner)?;
        let key = key.clone();
        self.forget_pod(&key, text(pod, "/metadata/name"));
        Some(key)
    }

    /// A pod may lose its owner (`kubectl delete job --cascade=orphan`) or find another; it is no longer the test's.
    fn disown_pod(&mut self, pod: &Value) -> Option<Key> {
        let of = Key::of(pod);
        let mut tests = self.tests.iter();
        let (key, _) =
            tests.find(|(k, t)| k.namespace == of.namespace && t.pods.contains_key(&*of.name))?;
        let key = key.clone();
        self.forget_pod(&key, &of.name);
        Some(key)
    }

    /// Forgets every pod that a complete list did not have.
    pub fn retain_pods(&mut self, listed: &Listed) -> Vec<Key> {
        self.waiting
            .retain(|key, _| !listed.lacks(&key.namespace, &key.name));
        let gone: Vec<(Key, String)> = self
            .tests
            .iter()
            .flat_map(|(key, test)| test.pods.keys().map(move |pod| (key, pod)))
            .filter(|(key, pod)| listed.lacks(&key.namespace, pod))
            .map(|(key, pod)| (key.clone(), pod.clone()))
            .collect();
        for (key, pod) in &gone {
            self.forget_pod(key, pod);
        }
        gone.into_iter().map(|(key, _)| key).collect()
    }

    fn forget_pod(&mut self, key: &Key, pod: &str) {
        if let Some(test) = self.tests.get_mut(key) {
            test.pods.remove(pod);
            test.set_spans(pod, None);
        }
    }

    /// Notes that the test, or a child of it, was deleted: the watch may say so later than the next look.
    pub fn deleting(&mut self, key: &Key, uid: &str, now: Timestamp) {
        let is_test = self.is_of(key, uid);
        let Some(test) = self.tests.get_mut(key) else {
            return;
        };
        if !test.children.deleting(uid, now) && is_test {
            let mut object = Value::clone(&test.object);
            object["metadata"]["deletionTimestamp"] = now.to_string().into();
            test.object = Stored::new(object);
        }
    }

    /// Notes that a test has no other children than those that are known: they were looked for.
    pub fn has_no_more(&mut self, key: &Key) {
        if let Some(test) = self.tests.get_mut(key) {
            let vanished = test.to_look_for(&self.bundle);
            test.run.looked_for.extend(vanished);
        }
    }

    /// Notes what the operator knows of its own doing for a test.
    pub fn set_run(&mut self, key: &Key, run: Run) {
        if let Some(test) = self.tests.get_mut(key) {
            test.run = run;
            let Test { run, children, .. } = &mut **test;
            run.looked_for.retain(|stem| children.there(stem).is_none());
            test.compare();
        }
    }

    /// Notes what Kubernetes' events have to say about a signal. The subject may be another by now, or be fine.
    pub fn answer(&mut self, key: &Key, question: Question, answer: Answer, now: Timestamp) {
        let signal = self.bundle.rules.signals.get(question.rule);
        if let (Some(test), Some(signal)) = (self.tests.get_mut(key), signal) {
            let spans = test.spans.get(&question.rule);
            let suffers = spans.is_some_and(|pods| pods.contains_key(&question.about.name));
            if suffers && test.uid_of(&question.about.name) == Some(&question.about.uid) {
                test.lookups.note(question, signal, answer, now);
            }
        }
    }

    /// Notes when to try again what failed for a test that asked for this (see [`super::drift::asked`]).
    pub fn retry_at(&mut self, key: &Key, at: Timestamp, asked: u64) {
        if let Some(test) = self.tests.get_mut(key) {
            test.run.retry = Some((at, asked));
        }
    }

    /// The tests that were refused a child of this name, which is free now: they need not wait any more.
    pub fn freed(&mut self, object: &Value) -> Vec<Key> {
        let of = Key::of(object);
        let kind = |o: &Value| {
            let group = group(text(o, "/apiVersion")).to_string();
            (group, text(o, "/kind").to_string())
        };
        let freed = kind(object);
        let waits = |test: &Test| {
            let mut refused = test.run.refused.iter();
            refused.any(|r| text(r, "/name") == &*of.name && kind(r) == freed)
        };
        let tests = self.tests.iter_mut();
        let waiting = tests.filter(|(k, t)| k.namespace == of.namespace && waits(t));
        let free = waiting.map(|(key, test)| {
            test.run.retry = None;
            key.clone()
        });
        free.collect()
    }

    fn child_of(&self, object: &Value) -> Option<(Key, String)> {
        let key = self.uids.get(controller_uid(object)?)?;
        // A child that is known stays what it is, even when somebody takes its label.
        let known = self.owners.get(text(object, "/metadata/uid"));
        let label = || {
            object
                .get("metadata")?
                .get("labels")?
                .get(CHILD_LABEL)?
                .as_str()
        };
        let stem = known.map(|(_, stem)| stem.as_str()).or_else(label)?;
        Some((key.clone(), stem.to_string()))
    }

    /// Takes the pods that waited for a child.
    fn take_waiting(&mut self, test: &Key, stem: &str, owner: &str) {
        let Some(test) = self.tests.get_mut(test) else {
            return;
        };
        for (_, waiting) in self.waiting.extract_if(|_, w| w.owner == owner) {
            test.set_pod(waiting.facts_of(stem));
        }
    }
}

/// The reference of an object to its controller.
pub fn controller(object: &Value) -> Option<&Value> {
    let owners = object.get("metadata")?.get("ownerReferences")?.as_array()?;
    let controller = |o: &&Value| o.get("controller") == Some(&Value::Bool(true));
    owners.iter().find(controller)
}

pub fn controller_uid(object: &Value) -> Option<&str> {
    controller(object)?.get("uid")?.as_str()
}

/// Resource versions are ordered since Kubernetes 1.35 (KEP-5504), and have been
/// numbers since long before. 0: not known, for objects that were never stored.
pub(super) fn version(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion")
        .parse()
        .unwrap_or_default()
}
