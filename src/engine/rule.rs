//! Rules as compiled: nothing in here can fail for a structural reason.

use super::clause::{Clause, Operand};
use super::path::Path;
use super::pattern::Pattern;
use super::render::text;
use super::text::Text;
pub use crate::bundle::rules::{Class, ConditionStatus, Each, EventType, Occasion, Severity};
use jiff::SignedDuration;
use serde_json::Value;

/// All rules of a bundle.
#[derive(Debug, Default)]
pub struct Rules {
    /// By falling priority.
    pub signals: Vec<Signal>,
    pub phase: PhaseRules,
    pub conditions: Vec<Condition>,
    pub fields: Vec<Field>,
    pub notices: Vec<Notice>,
    pub actions: Vec<Action>,
    pub admission: Vec<Admission>,
}

/// Where a rule stands: its id, file and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub id: String,
    pub file: String,
    pub line: usize,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: rule `{}`", self.file, self.line, self.id)
    }
}

/// When a rule holds: what it asks, and for how long it must have held.
#[derive(Debug)]
pub struct Guard {
    pub origin: Origin,
    /// Always, when `None`.
    pub when: Option<Clause>,
    pub lasting: SignedDuration,
    pub since: Option<Path>,
}

#[derive(Debug)]
pub struct Signal {
    pub guard: Guard,
    pub roles: Option<Vec<String>>,
    pub each: Each,
    pub classes: Option<Vec<Class>>,
    /// A time before which this could not begin.
    pub not_before: Option<Path>,
    /// Dated in the test's status, not by the API server.
    pub dated_when_seen: bool,
    /// Reasons of the Kubernetes events that say more.
    pub events: Vec<String>,
    pub names: Vec<Names>,
    pub reason: Text,
    pub severity: Severity,
    pub priority: u32,
    pub message: Text,
}

/// Which fields of the test a message is about.
#[derive(Debug)]
pub struct Names {
    pub message: Pattern,
    pub fields: Pattern,
}

#[derive(Debug, Default)]
pub struct PhaseRules {
    pub initial: String,
    pub terminal: Vec<String>,
    pub done: Option<Clause>,
    pub transitions: Vec<Transition>,
}

impl PhaseRules {
    pub fn is_terminal(&self, phase: &str) -> bool {
        self.terminal.iter().any(|t| t == phase)
    }
}

#[derive(Debug)]
pub struct Transition {
    pub guard: Guard,
    pub from: Vec<String>,
    pub to: String,
    pub event: Option<Event>,
}

#[derive(Debug)]
pub struct Event {
    pub kind: EventType,
    pub reason: Text,
    pub message: Text,
}

#[derive(Debug)]
pub struct Condition {
    pub kind: String,
    pub kept: bool,
    pub when: Option<Clause>,
    pub cases: Vec<Case>,
}

#[derive(Debug)]
pub struct Case {
    pub guard: Guard,
    pub status: ConditionStatus,
    pub reason: Text,
    pub message: Text,
    pub event: Option<Event>,
}

impl Case {
    /// Whether a stored condition may have come of this case.
    pub fn may_have_said(&self, stored: &Value) -> bool {
        format!("{:?}", self.status) == text(stored, "/status")
            && self.reason.may_say(text(stored, "/reason"))
            && self.message.may_say(text(stored, "/message"))
    }
}

#[derive(Debug)]
pub struct Field {
    pub origin: Origin,
    pub field: String,
    pub when: Option<Clause>,
    pub source: Source,
    pub default: Option<Operand>,
    pub once: bool,
}

#[derive(Debug)]
pub enum Source {
    Path(Path),
    Now,
}

#[derive(Debug)]
pub struct Notice {
    pub origin: Origin,
    pub on: Occasion,
    pub event: Event,
}

/// What to say to whoever applies a test.
#[derive(Debug)]
pub struct Admission {
    pub origin: Origin,
    pub when: Clause,
    pub message: Text,
}

#[derive(Debug)]
pub struct Action {
    pub guard: Guard,
    pub on: Target,
    pub act: Act,
}

#[derive(Debug)]
pub enum Target {
    Children(Vec<String>),
    Test,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// A JSON merge patch.
    Patch(Value),
    Delete,
}
