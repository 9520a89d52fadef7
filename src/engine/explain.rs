//! Why a test is in the state it is in: for each condition and the phase which
//! rule decided, which lost, what was found, and when to look again.

use super::facts::{Span, Test};
use super::path::Scope;
use super::render::text;
use super::rule::{Act, Action, Case, Condition, Signal, Target, Transition};
use super::text::escape;
use super::verdict::Verdict;
use crate::bundle::Bundle;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What came of asking one rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    Holds,
    False,
    /// Something that it asks about is not there.
    Unknown,
    /// It holds, but not for long enough; it will at this time.
    Waiting(Timestamp),
    /// An earlier rule had decided.
    NotAsked,
    Error(String),
}

/// How a verdict came about.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    pub test: String,
    pub at: Timestamp,
    pub bundle: String,
    pub signals: Vec<SignalLine>,
    pub phase: Asked,
    pub conditions: BTreeMap<String, Asked>,
    pub actions: Vec<Line>,
    pub next: Option<Timestamp>,
    /// So many of the signals count now; they come first.
    #[serde(skip)]
    counting: usize,
}

/// The rules for the phase or for one condition, in the order in which they are asked.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Asked {
    /// The value that holds.
    pub value: String,
    /// The test has ended and the value stays; the rules were asked again, from the start, about what is still there.
    pub kept: bool,
    /// Of a value that stays: the rules that say such a thing, of which one decided, each with its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub came_of: Vec<String>,
    pub rules: Vec<Line>,
}

/// One rule that was asked.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub id: String,
    pub place: String,
    pub outcome: Outcome,
    /// What the rule concludes, when it holds.
    pub says: String,
}

/// A signal of some pods.
#[derive(Debug, Clone, Serialize)]
pub struct SignalLine {
    pub id: String,
    pub place: String,
    pub reason: String,
    pub severity: String,
    pub state: String,
    pub pods: String,
    pub message: String,
}

impl Trace {
    pub fn new(bundle: &Bundle, test: &Test, at: Timestamp) -> Trace {
        let mut trace = Trace {
            test: super::index::Key::of(&test.object).to_string(),
            at,
            bundle: bundle.digest().to_string(),
            signals: Vec::new(),
            phase: Asked::default(),
            conditions: BTreeMap::new(),
            actions: Vec::new(),
            next: None,
            counting: 0,
        };
        for (pod, hit) in test.hits() {
            let Some(signal) = bundle.rules.signals.get(hit.rule) else {
                continue;
            };
            // The signals that count are added by the evaluation itself.
            let state = if let Some(from) = hit.from.filter(|from| *from > at) {
                format!("counts from {from}")
            } else if hit.from.is_none() {
                continue;
            } else if let Some(winner) = winner(pod, hit.rule, at) {
                let winner = bundle.rules.signals.get(winner);
                let id = winner.map_or("", |s| s.guard.origin.id.as_str());
                format!("shadowed by {id}")
            } else {
                continue;
            };
            trace.signals.push(line(
                signal,
                state,
                pod.name.clone(),
                hit.reason.clone(),
                hit.message.clone(),
            ));
        }
        trace
    }

    pub(crate) fn signal(&mut self, signal: &Signal, report: &Value, from: Option<Timestamp>) {
        let state = match from {
            Some(from) => format!("counts since {from}"),
            None => "counts".to_string(),
        };
        let said = |pointer| text(report, pointer).to_string();
        let line = line(
            signal,
            state,
            said("/pods"),
            said("/reason"),
            said("/message"),
        );
        self.signals.insert(self.counting, line);
        self.counting += 1;
    }

    /// A signal that the status dates and that does not count yet.
    pub(crate) fn signal_to_come(
        &mut self,
        signal: &Signal,
        pod: &str,
        span: &Span,
        from: Timestamp,
    ) {
        self.signals.push(line(
            signal,
            format!("counts from {from}"),
            pod.trim_end_matches('/').to_string(),
            span.reason.clone(),
            span.message.clone(),
        ));
    }

    pub(crate) fn action(&mut self, action: &Action, outcome: &Outcome) {
        let origin = &action.guard.origin;
        let on = match &action.on {
            Target::Test => "the test".to_string(),
            Target::Children(stems) => stems.join(", "),
        };
        let says = match &action.act {
            Act::Patch(patch) => format!("patch {on} with {patch}"),
            Act::Delete => format!("delete {on}"),
        };
        self.actions.push(Line {
            id: origin.id.clone(),
            place: format!("{}:{}", origin.file, origin.line),
            outcome: outcome.clone(),
            says,
        });
    }

    pub(crate) fn transition(&mut self, transition: &Transition, outcome: &Outcome) {
        let origin = &transition.guard.origin;
        self.phase.rules.push(Line {
            id: origin.id.clone(),
            place: format!("{}:{}", origin.file, origin.line),
            outcome: outcome.clone(),
            says: format!("→ {}", transition.to),
        });
    }

    pub(crate) fn case(
        &mut self,
        condition: &Condition,
        case: &Case,
        outcome: &Outcome,
        scope: &dyn Scope,
    ) {
        let origin = &case.guard.origin;
        let mut says = format!("→ {:?}", case.status);
        if *outcome == Outcome::Holds {
            let reason = case.reason.render(scope);
            says = format!("{says} {reason}: {}", case.message.render(scope));
        }
        let line = Line {
            id: origin.id.clone(),
            place: format!("{}:{}", origin.file, origin.line),
            outcome: outcome.clone(),
            says,
        };
        let asked = self.conditions.entry(condition.kind.clone()).or_default();
        asked.rules.push(line);
    }

    /// The rules that decided, by what they decide: `phase`, or a type of condition.
    pub(crate) fn deciding(&self) -> impl Iterator<Item = (String, String)> {
        let phase = std::iter::once(("phase", &self.phase));
        let conditions = self
            .conditions
            .iter()
            .map(|(kind, asked)| (kind.as_str(), asked));
        let all = phase.chain(conditions).filter(|(_, asked)| !asked.kept);
        all.filter_map(|(what, asked)| {
            let decided = asked
                .rules
                .iter()
                .find(|line| line.outcome == Outcome::Holds)?;
            Some((what.to_string(), decided.id.clone()))
        })
    }

    /// Takes the rules that were asked again for a test that has ended.
    pub(crate) fn asked_again(&mut self, again: Trace) {
        self.phase.kept = true;
        self.phase.rules = again.phase.rules;
        for (kind, asked) in again.conditions {
            let ours = self.conditions.entry(kind).or_default();
            if ours.rules.is_empty() {
                ours.kept = true;
                ours.rules = asked.rules;
            }
        }
    }

    /// Notes which rules the conditions that stay may have come of: what they are about is gone, what they said is not.
    pub(crate) fn came_of(&mut self, bundle: &Bundle, stored: &[Value]) {
        for condition in &bundle.rules.conditions {
            let said = stored.iter().find(|c| text(c, "/type") == condition.kind);
            let asked = self.conditions.get_mut(&condition.kind);
            let (Some(said), Some(asked)) = (said, asked.filter(|a| a.kept)) else {
                continue;
            };
            let cases = condition.cases.iter().filter(|c| c.may_have_said(said));
            let origins = cases.map(|c| &c.guard.origin);
            asked.came_of = origins
                .map(|o| format!("{} [{}:{}]", o.id, o.file, o.line))
                .collect();
        }
    }

    /// Notes what came of it all.
    pub(crate) fn conclude(&mut self, verdict: &Verdict) {
        let status = |pointer: &str| verdict.status.get(pointer);
        self.phase.value = status("phase")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_string();
        for condition in status("conditions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let field = |pointer| super::render::text(condition, pointer);
            let asked = self
                .conditions
                .entry(field("/type").to_string())
                .or_default();
            asked.value = format!(
                "{} {}: {}",
                field("/status"),
                field("/reason"),
                field("/message")
            );
        }
        self.next = verdict.next;
    }
}

/// The hit of higher priority that counts on the same pod at that time.
fn winner(pod: &super::matcher::PodFacts, rule: usize, at: Timestamp) -> Option<usize> {
    let counting = pod
        .hits
        .iter()
        .filter(|h| h.from.is_some_and(|f| f <= at) && h.rule < rule);
    counting.map(|h| h.rule).min()
}

fn line(
    signal: &Signal,
    state: String,
    pods: String,
    reason: String,
    message: String,
) -> SignalLine {
    let origin = &signal.guard.origin;
    SignalLine {
        id: origin.id.clone(),
        place: format!("{}:{}", origin.file, origin.line),
        reason,
        severity: format!("{:?}", signal.severity).to_lowercase(),
        state,
        pods,
        message,
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Holds => f.write_str("decided"),
            Outcome::False => f.write_str("false"),
            Outcome::Unknown => f.write_str("unknown"),
            Outcome::Waiting(until) => write!(f, "waits until {until}"),
            Outcome::NotAsked => f.write_str("not asked"),
            Outcome::Error(message) => write!(f, "error: {message}"),
        }
    }
}

/// A line each: what stands in an object may hold anything, and what is kept was perhaps written by somebody else.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let test = escape(&self.test);
        writeln!(f, "{test} at {} (bundle {})", self.at, self.bundle)?;
        if self.signals.is_empty() {
            writeln!(f, "\nSignals: none")?;
        } else {
            writeln!(f, "\nSignals")?;
        }
        for s in &self.signals {
            writeln!(
                f,
                "  {} ({}, {}), {}: {}",
                s.id,
                escape(&s.reason),
                s.severity,
                s.state,
                escape(&s.pods)
            )?;
            writeln!(f, "      {}  [{}]", escape(&s.message), s.place)?;
        }
        asked(f, "Phase", &self.phase)?;
        for (kind, condition) in &self.conditions {
            asked(f, kind, condition)?;
        }
        if !self.actions.is_empty() {
            writeln!(f, "\nActions")?;
        }
        lines(f, &self.actions)?;
        match self.next {
            Some(next) => writeln!(f, "\nLooks again at {next}, or when something changes"),
            None => writeln!(f, "\nLooks again when something changes"),
        }
    }
}

fn asked(f: &mut fmt::Formatter<'_>, what: &str, asked: &Asked) -> fmt::Result {
    let value = match asked.value.as_str() {
        "" => "absent".to_string(),
        value => escape(value),
    };
    writeln!(f, "\n{what}: {value}")?;
    if !asked.came_of.is_empty() {
        writeln!(f, "  It was decided by {}", asked.came_of.join(" or "))?;
    }
    if asked.kept {
        writeln!(
            f,
            "  It stays, as the test has ended. The rules asked again, from the start, about what is still there:"
        )?;
    }
    lines(f, &asked.rules)
}

fn lines(f: &mut fmt::Formatter<'_>, all: &[Line]) -> fmt::Result {
    for line in all {
        let mark = match line.outcome {
            Outcome::Holds => "*",
            _ => " ",
        };
        writeln!(
            f,
            "{mark} {} ({}): {}  [{}]",
            line.id,
            escape(&line.outcome.to_string()),
            escape(&line.says),
            line.place
        )?;
    }
    Ok(())
}
