//! The signals of a test's pods at a time: which count, on which pods, what Kubernetes' events and the test's spec say
//! more about them, and when the next one will count.

use super::explain::Trace;
use super::facts::{Span, Test};
use super::lookup::{Question, Said, Subject};
use super::notice::Notice;
use super::pattern::Pattern;
use super::render::text;
use super::rule::{EventType, Severity, Signal};
use super::text::escape;
use super::verdict::earliest;
use crate::bundle::Bundle;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};

/// The field of the status that dates what Kubernetes does not date: a time for each rule.
pub const FIRST_SEEN: &str = "firstSeen";

/// So many pods are named in a message; of the rest the number is said.
const MAX_NAMES: usize = 3;

/// All signals at a time.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Those that count, the highest priority first: the root `signals`.
    pub active: Vec<Value>,
    /// The highest of severity `info` on the pods of each child, by its stem: the root `evidence`. How one Job ended
    /// is nothing that another one's pods could say.
    pub evidence: Map<String, Value>,
    /// Signals of severity `warn`, by rule.
    pub warnings: Vec<(String, Notice)>,
    pub first_seen: Map<String, Value>,
    pub questions: Vec<Question>,
    pub next: Option<Timestamp>,
}

impl Signals {
    /// The highest of severity `fatal`, or else `degraded`: the root `worst`.
    pub fn worst(&self) -> Option<Value> {
        let is = |severity| move |s: &&Value| text(s, "/severity") == severity;
        let fatal = self.active.iter().find(is("fatal"));
        fatal
            .or_else(|| self.active.iter().find(is("degraded")))
            .cloned()
    }
}

/// Gathers the signals of `test` at `now`; `stored` is its status.
pub(crate) fn gather(
    bundle: &Bundle,
    test: &Test,
    stored: &Value,
    now: Timestamp,
    mut trace: Option<&mut Trace>,
) -> Signals {
    let mut signals = Signals::default();
    let has_ended = bundle.rules.phase.is_terminal(text(stored, "/phase"));
    // Pods whose signal is one that the status dates: `until` of their other spans does not know of it.
    let mut taken = HashSet::new();
    for (rule, pods) in &test.spans {
        let Some(signal) = bundle.rules.signals.get(*rule) else {
            continue;
        };
        // The status of a test that has ended dates nothing any more.
        if has_ended && signal.dated_when_seen {
            continue;
        }
        let dated = signals.date(signal, stored, now);
        let counting = signals.counting(pods, dated, &taken, now);
        if signal.dated_when_seen {
            taken.extend(counting.iter().map(|(pod, _)| *pod));
        }
        if let (Some(trace), Some(from), Some((pod, span))) =
            (trace.as_deref_mut(), dated, pods.first_key_value())
            && from > now
        {
            trace.signal_to_come(signal, pod, span, from);
        }
        let Some((first_pod, first)) = counting.first() else {
            continue;
        };
        let mut event = None;
        if !signal.events.is_empty()
            && let Some(uid) = test.uid_of(first_pod)
        {
            let about = Subject {
                name: first_pod.to_string(),
                uid: uid.to_string(),
            };
            let from = dated.or(first.from).unwrap_or(now);
            event = signals.ask(*rule, signal, about, from, test, now);
        }
        let report = report(signal, &counting, event, test);
        if let Some(trace) = trace.as_deref_mut() {
            trace.signal(signal, &report, dated.or(first.from));
        }
        if signal.severity == Severity::Warn {
            let id = signal.guard.origin.id.clone();
            let stored = signals.first_seen.get(&id).and_then(Value::as_str);
            let since = counting.iter().map(|(_, span)| span.since).min();
            let since = stored.map_or_else(|| since.map(|s| s.to_string()), |s| Some(s.into()));
            let notice = Notice {
                kind: EventType::Warning,
                reason: first.reason.clone(),
                message: format!("{} [{}]", text(&report, "/message"), text(&report, "/pods")),
                occurrence: since.map(|since| format!("{id} since {since}")),
            };
            signals.warnings.push((id, notice));
        }
        if signal.severity == Severity::Info {
            signals.explain_ends(signal, &counting, event, test);
        }
        signals.active.push(report);
    }
    signals
}

/// What rules read of a signal.
fn report(signal: &Signal, counting: &[(&str, &Span)], event: Option<&Said>, test: &Test) -> Value {
    let first = counting.first().map(|(_, span)| *span);
    let shown = counting.iter().take(MAX_NAMES);
    let names: Vec<&str> = shown.map(|(pod, _)| test.name_of(pod)).collect();
    let mut report = json!({
        "id": signal.guard.origin.id,
        "reason": first.map(|span| &span.reason),
        "severity": signal.severity,
        "message": first.map(|span| message(signal, &span.message, event, test)),
        "count": counting.len(),
        "pods": listed(&names, counting.len()),
        "since": first.map(|span| span.since.to_string()),
    });
    if let Some(at) = event.and_then(|e| e.at) {
        report["said"] = json!(at.to_string());
    }
    report
}

impl Signals {
    /// From when on a signal counts that is dated in the status, and its date.
    fn date(&mut self, signal: &Signal, stored: &Value, now: Timestamp) -> Option<Timestamp> {
        if !signal.dated_when_seen {
            return None;
        }
        let id = &signal.guard.origin.id;
        let seen = stored.get(FIRST_SEEN).and_then(|seen| seen.get(id));
        let seen = seen.and_then(|s| s.as_str()?.parse().ok()).unwrap_or(now);
        self.first_seen.insert(id.clone(), seen.to_string().into());
        Some(seen.saturating_add(signal.guard.lasting).unwrap_or(seen))
    }

    /// What an event is known to say about a signal that counts since `from`; notes what is to be looked up, and when.
    fn ask<'a>(
        &mut self,
        rule: usize,
        signal: &Signal,
        about: Subject,
        from: Timestamp,
        test: &'a Test,
        now: Timestamp,
    ) -> Option<&'a Said> {
        let word = test.lookups.word(rule, &about, from);
        match word.due {
            Some(due) if due <= now => self.questions.push(Question {
                rule,
                about,
                reasons: signal.events.clone(),
            }),
            Some(due) => self.next = earliest(self.next, due),
            None => {}
        }
        word.said
    }

    /// Notes what the pods of each child ended with, unless a higher signal has said it.
    fn explain_ends(
        &mut self,
        signal: &Signal,
        counting: &[(&str, &Span)],
        event: Option<&Said>,
        test: &Test,
    ) {
        let mut by_child: BTreeMap<&str, Vec<(&str, &Span)>> = BTreeMap::new();
        for (pod, span) in counting {
            by_child
                .entry(test.role_of(pod))
                .or_default()
                .push((pod, span));
        }
        for (stem, counting) in by_child {
            self.evidence
                .entry(stem)
                .or_insert_with(|| report(signal, &counting, event, test));
        }
    }

    /// The pods on which a signal counts now; notes when that may change.
    fn counting<'a>(
        &mut self,
        pods: &'a BTreeMap<String, Box<Span>>,
        dated: Option<Timestamp>,
        taken: &HashSet<&str>,
        now: Timestamp,
    ) -> Vec<(&'a str, &'a Span)> {
        let mut counting = Vec::new();
        for (pod, span) in pods {
            let Some(from) = dated.or(span.from) else {
                continue;
            };
            if from > now {
                self.next = earliest(self.next, from);
                continue;
            }
            match span.until {
                Some(until) if until <= now => continue,
                Some(until) => self.next = earliest(self.next, until),
                None => {}
            }
            if !taken.contains(pod.as_str()) {
                counting.push((pod.as_str(), &**span));
            }
        }
        counting
    }
}

/// The message of a signal with what an event says, and with the fields of the test that name what it is about.
fn message(signal: &Signal, message: &str, event: Option<&Said>, test: &Test) -> String {
    let mut message = message.to_string();
    if let Some(event) = event {
        message = format!("{message}: {}", escape(&event.message));
    }
    let spec = OnceCell::new();
    let spec = || {
        spec.get_or_init(|| match &test.run.spec {
            Some(started) => started.unpack(),
            None => test.object.get("spec").cloned().unwrap_or_default(),
        })
    };
    let mut fields = Vec::new();
    for names in &signal.names {
        let pattern = names.message.get();
        for found in pattern.iter().flat_map(|p| p.captures_iter(&message)) {
            if let Some(value) = found.get(1) {
                let named = Named {
                    value: value.as_str(),
                    beside: found.name("beside").map(|b| b.as_str()),
                    fields: &names.fields,
                };
                named.find("spec", spec(), &mut fields);
            }
        }
    }
    if !fields.is_empty() {
        message = format!("{message} ({})", fields.join(", "));
    }
    message
}

/// Fields of a test to be named.
struct Named<'a> {
    value: &'a str,
    /// Another field of the same map has this value.
    beside: Option<&'a str>,
    fields: &'a Pattern,
}

impl Named<'_> {
    /// The paths of all such fields that are not found yet.
    fn find(&self, path: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text)
                if text == self.value
                    && self.fields.is_match(path)
                    && !found.iter().any(|f| f == path) =>
            {
                found.push(path.to_string());
            }
            Value::Array(entries) => {
                for (n, entry) in entries.iter().enumerate() {
                    self.find(&format!("{path}[{n}]"), entry, found);
                }
            }
            Value::Object(entries) => {
                let is_beside = |b: &str| entries.values().any(|v| v.as_str() == Some(b));
                let fits = self.beside.is_none_or(is_beside);
                let inner = entries.iter().filter(|(_, v)| fits || !v.is_string());
                for (key, entry) in inner {
                    self.find(&format!("{path}.{key}"), entry, found);
                }
            }
            _ => {}
        }
    }
}

fn listed(names: &[&str], count: usize) -> String {
    let shown = names.join(", ");
    match count.saturating_sub(names.len()) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
