//! Matches one pod (or one child) against the signal rules. What comes out is
//! all that is kept of the pod: some hundred bytes of facts.

use super::index::version;
use super::path::{Path, Scope};
use super::rule::{Class, Each, Signal};
use crate::bundle::{Bundle, Secrets};
use jiff::Timestamp;
use serde_json::Value;

/// What is kept of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct PodFacts {
    pub name: String,
    pub uid: String,
    /// The resource version; 0: not known.
    pub version: u64,
    /// Of a pod: `Pending`, `Running`, `Succeeded`, `Failed`, or empty. Of a child: empty.
    pub phase: String,
    pub created: Timestamp,
    /// The stem of the child that made the pod.
    pub role: String,
    pub hits: Vec<Hit>,
    /// Rules that could not be evaluated on this pod.
    pub errors: Vec<String>,
}

/// A signal rule that is true of a pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The rule's place in [`crate::engine::rule::Rules::signals`].
    pub rule: usize,
    /// From when on it counts: `since` and `for` added. `None`: dated in the test's status.
    pub from: Option<Timestamp>,
    pub since: Timestamp,
    pub reason: String,
    pub message: String,
}

/// Matches a pod of the child `role`. `now` dates what has no creation time,
/// which only a hand-written object can lack.
pub fn match_pod(bundle: &Bundle, stem: &str, pod: &Value, now: Timestamp) -> PodFacts {
    let mut facts = PodFacts::of(pod, stem, now);
    facts.phase = string(pod, &["status", "phase"]).to_string();
    let role = Value::from(stem);
    let scope = ObjectScope {
        object: pod,
        role: &role,
        bundle,
    };
    for (n, signal) in candidates(bundle, Each::Pod, stem) {
        facts.try_signal(n, signal, &scope);
    }
    let rules: Vec<_> = candidates(bundle, Each::Container, stem).collect();
    for (class, specs, statuses) in [
        (Class::Init, "initContainers", "initContainerStatuses"),
        (Class::Main, "containers", "containerStatuses"),
    ] {
        for spec in list(pod, &["spec", specs]) {
            let status = status_of(pod, statuses, spec);
            let class = match class {
                Class::Init if string(spec, &["restartPolicy"]) == "Always" => Class::Sidecar,
                class => class,
            };
            let scope = ContainerScope {
                pod,
                spec,
                status,
                role: &role,
                class: class_value(class),
                bundle,
            };
            for (n, signal) in &rules {
                if signal.classes.as_ref().is_none_or(|c| c.contains(&class)) {
                    facts.try_signal(*n, signal, &scope);
                }
            }
        }
    }
    facts
}

/// Matches a child against the rules that are about children.
pub fn match_child(bundle: &Bundle, stem: &str, child: &Value, now: Timestamp) -> PodFacts {
    let mut facts = PodFacts::of(child, stem, now);
    let role = Value::from(stem);
    let scope = ObjectScope {
        object: child,
        role: &role,
        bundle,
    };
    for (n, signal) in candidates(bundle, Each::Child, stem) {
        facts.try_signal(n, signal, &scope);
    }
    facts
}

impl PodFacts {
    /// What is known of an object before any rule is asked about it.
    fn of(object: &Value, stem: &str, now: Timestamp) -> PodFacts {
        PodFacts {
            name: string(object, &["metadata", "name"]).to_string(),
            uid: string(object, &["metadata", "uid"]).to_string(),
            version: version(object),
            phase: String::new(),
            created: created(object).unwrap_or(now),
            role: stem.to_string(),
            hits: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Whether this is known of a later version of the object; what was never stored has none.
    pub(super) fn is_later_than(&self, object: &Value) -> bool {
        let version = version(object);
        let is_same = string(object, &["metadata", "uid"]) == self.uid;
        is_same && version > 0 && version < self.version
    }

    fn try_signal(&mut self, n: usize, signal: &Signal, scope: &dyn Scope) {
        let holds = match &signal.guard.when {
            Some(when) => when.holds(scope),
            None => Ok(Some(true)),
        };
        match holds {
            Ok(Some(true)) => {}
            Ok(_) => return,
            Err(message) => {
                self.errors
                    .push(format!("{}: {message}", signal.guard.origin));
                return;
            }
        }
        let since = signal.guard.since.as_ref();
        let since = since
            .and_then(|path| time(path, scope))
            .unwrap_or(self.created);
        let not_before = signal.not_before.as_ref();
        let not_before = not_before.and_then(|path| time(path, scope));
        let since = not_before.map_or(since, |earliest| since.max(earliest));
        let from = since.saturating_add(signal.guard.lasting).unwrap_or(since);
        self.hits.push(Hit {
            rule: n,
            since,
            from: Some(from).filter(|_| !signal.dated_when_seen),
            reason: signal.reason.render(scope),
            message: signal.message.render(scope),
        });
    }
}

/// The time (RFC 3339) that a path selects.
pub fn time(path: &Path, scope: &dyn Scope) -> Option<Timestamp> {
    path.first(scope)?.as_str()?.parse().ok()
}

fn candidates<'a>(
    bundle: &'a Bundle,
    each: Each,
    role: &'a str,
) -> impl Iterator<Item = (usize, &'a Signal)> {
    let signals = bundle.rules.signals.iter().enumerate();
    signals.filter(move |(_, s)| {
        s.each == each
            && s.roles
                .as_ref()
                .is_none_or(|roles| roles.iter().any(|r| r == role))
    })
}

fn created(object: &Value) -> Option<Timestamp> {
    string(object, &["metadata", "creationTimestamp"])
        .parse()
        .ok()
}

fn string<'a>(value: &'a Value, keys: &[&str]) -> &'a str {
    get(value, keys).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, keys: &[&str]) -> &'a [Value] {
    get(value, keys)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn get<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().try_fold(value, |at, key| at.get(key))
}

fn status_of<'a>(pod: &'a Value, statuses: &str, spec: &Value) -> Option<&'a Value> {
    let name = spec.get("name")?;
    let all = list(pod, &["status", statuses]);
    all.iter().find(|s| s.get("name") == Some(name))
}

fn class_value(class: Class) -> &'static Value {
    use std::sync::LazyLock;
    static VALUES: LazyLock<[Value; 3]> =
        LazyLock::new(|| ["main", "init", "sidecar"].map(Value::from));
    match class {
        Class::Main => &VALUES[0],
        Class::Init => &VALUES[1],
        Class::Sidecar => &VALUES[2],
    }
}

/// An object as rules about objects see it.
pub(crate) fn of_object<'a>(object: &'a Value, bundle: &'a Bundle) -> impl Scope + 'a {
    ObjectScope {
        object,
        role: &Value::Null,
        bundle,
    }
}

struct ObjectScope<'a> {
    object: &'a Value,
    role: &'a Value,
    bundle: &'a Bundle,
}

impl Scope for ObjectScope<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "role" => Some(self.role),
            "values" => Some(&self.bundle.values),
            field => self.object.get(field),
        }
    }

    fn secrets(&self) -> Option<&Secrets> {
        Some(self.bundle.secrets())
    }
}

/// The spec and the status of one container, joined.
struct ContainerScope<'a> {
    pod: &'a Value,
    spec: &'a Value,
    status: Option<&'a Value>,
    role: &'a Value,
    class: &'a Value,
    bundle: &'a Bundle,
}

impl Scope for ContainerScope<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "pod" => Some(self.pod),
            "container" => Some(self.spec),
            "class" => Some(self.class),
            "role" => Some(self.role),
            "values" => Some(&self.bundle.values),
            "name" => self.spec.get("name"),
            field => self.status?.get(field),
        }
    }

    fn secrets(&self) -> Option<&Secrets> {
        Some(self.bundle.secrets())
    }
}
