//! Why a test is in the state it is in: for each condition and the phase which
//! rule decided, which lost, what was found, and when to look again.

use super::index::{Span, Test};
use super::path::Scope;
use super::rule::{Case, Condition, Signal, Transition};
use crate::bundle::Bundle;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
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
    pub phase: Vec<Line>,
    pub conditions: Vec<(String, Vec<Line>)>,
    pub next: Option<Timestamp>,
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
            phase: Vec::new(),
            conditions: Vec::new(),
            next: None,
        };
        for (pod, hit) in test.hits() {
            let Some(signal) = bundle.rules.signals.get(hit.rule) else {
                continue;
            };
            // The signals that count are added by the evaluation itself.
            let state = if hit.from > at {
                format!("counts from {}", hit.from)
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

    pub(crate) fn signal(&mut self, signal: &Signal, count: usize, names: &[&str], span: &Span) {
        let more = count - names.len();
        let mut pods = names.join(", ");
        if more > 0 {
            pods = format!("{pods} and {more} more");
        }
        let state = format!("counts since {}", span.from);
        let line = line(
            signal,
            state,
            pods,
            span.reason.clone(),
            span.message.clone(),
        );
        self.signals.insert(0, line);
    }

    pub(crate) fn transition(&mut self, transition: &Transition, outcome: &Outcome) {
        let origin = &transition.guard.origin;
        self.phase.push(Line {
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
        let mut says = format!("{:?}", case.status);
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
        self.lines(&condition.kind).push(line);
    }

    pub(crate) fn kept(&mut self, kind: &str, stored: Option<&Value>, phase: &str) {
        let field = |name| super::render::text(stored.unwrap_or(&Value::Null), name).to_string();
        let says = match stored {
            Some(_) => format!(
                "{} {}: {}",
                field("/status"),
                field("/reason"),
                field("/message")
            ),
            None => "absent".to_string(),
        };
        let line = Line {
            id: format!("kept since the phase is {phase}"),
            place: "status".into(),
            outcome: Outcome::Holds,
            says,
        };
        self.lines(kind).push(line);
    }

    fn lines(&mut self, kind: &str) -> &mut Vec<Line> {
        let at = match self.conditions.iter().position(|(k, _)| k == kind) {
            Some(at) => at,
            None => {
                self.conditions.push((kind.to_string(), Vec::new()));
                self.conditions.len() - 1
            }
        };
        &mut self.conditions[at].1
    }
}

/// The hit of higher priority that counts on the same pod at that time.
fn winner(pod: &super::matcher::PodFacts, rule: usize, at: Timestamp) -> Option<usize> {
    let counting = pod.hits.iter().filter(|h| h.from <= at && h.rule < rule);
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

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} at {} (bundle {})", self.test, self.at, self.bundle)?;
        if self.signals.is_empty() {
            writeln!(f, "\nSignals: none")?;
        } else {
            writeln!(f, "\nSignals")?;
        }
        for s in &self.signals {
            writeln!(
                f,
                "  {} ({}, {}), {}: {}",
                s.id, s.reason, s.severity, s.state, s.pods
            )?;
            writeln!(f, "      {}  [{}]", s.message, s.place)?;
        }
        writeln!(f, "\nPhase")?;
        if self.phase.is_empty() {
            writeln!(f, "  terminal: a test never leaves it")?;
        }
        lines(f, &self.phase)?;
        for (kind, cases) in &self.conditions {
            writeln!(f, "\n{kind}")?;
            lines(f, cases)?;
        }
        match self.next {
            Some(next) => writeln!(f, "\nLooks again at {next}, or when something changes"),
            None => writeln!(f, "\nLooks again when something changes"),
        }
    }
}

fn lines(f: &mut fmt::Formatter<'_>, all: &[Line]) -> fmt::Result {
    for line in all {
        let mark = if line.outcome == Outcome::Holds {
            "*"
        } else {
            " "
        };
        writeln!(f, "{mark} {} ({}): {}", line.id, line.outcome, line.says)?;
        if line.outcome == Outcome::Holds {
            writeln!(f, "      [{}]", line.place)?;
        }
    }
    Ok(())
}
