//! The verdict: what the rules conclude about a test from its stored status,
//! the facts and the time, and when to look again.

use super::action::{Deed, deeds};
use super::clause::{Clause, Operand};
use super::explain::{Outcome, Trace};
use super::facts::Test;
use super::lookup::Question;
use super::matcher::time;
use super::notice::Notice;
use super::packed::Stored;
use super::path::{Path, Scope};
use super::render::{at, text};
use super::rule::{Case, Condition, ConditionStatus, Guard, Source};
use super::signals::{FIRST_SEEN, Signals, gather};
use crate::bundle::{Bundle, Secrets};
use jiff::{SignedDuration, Timestamp, Unit};
use serde_json::{Map, Value, json};
use std::cell::OnceCell;
use std::collections::BTreeSet;

/// What the rules conclude.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// The whole status as it should be stored.
    pub status: Map<String, Value>,
    /// Whether that differs from what is stored.
    pub changed: bool,
    /// The phase is one that a test never leaves.
    pub terminal: bool,
    /// Events for the transitions from the stored status to this one.
    pub events: Vec<Notice>,
    /// Signals of severity `warn`: an event each, when they appear.
    pub warnings: Vec<(String, Notice)>,
    /// What to look up before this is reported.
    pub questions: Vec<Question>,
    /// What to do to the test and its children.
    pub deeds: Vec<Deed>,
    /// When the verdict may become another one by time alone.
    pub next: Option<Timestamp>,
    /// Rules that could not be evaluated.
    pub errors: Vec<String>,
}

/// Evaluates all rules for one test.
pub fn evaluate(bundle: &Bundle, test: &Test, now: Timestamp) -> Verdict {
    conclude(bundle, test, now, None)
}

/// The same, and how it came about.
pub fn explain(bundle: &Bundle, test: &Test, now: Timestamp) -> (Verdict, Trace) {
    let mut trace = Trace::new(bundle, test, now);
    let verdict = conclude(bundle, test, now, Some(&mut trace));
    let ended = text(&test.object, "/status/phase");
    if bundle.rules.phase.is_terminal(ended) {
        let mut object = Value::clone(&test.object);
        object["status"] = json!({"phase": bundle.rules.phase.initial});
        let afresh = Test {
            object: Stored::new(object),
            ..test.clone()
        };
        let mut again = Trace::new(bundle, test, now);
        conclude(bundle, &afresh, now, Some(&mut again));
        trace.asked_again(again);
        let stored = at(&test.object, "/status/conditions").and_then(Value::as_array);
        trace.came_of(bundle, stored.map_or(&[], Vec::as_slice));
    }
    trace.conclude(&verdict);
    (verdict, trace)
}

fn conclude(bundle: &Bundle, test: &Test, now: Timestamp, trace: Option<&mut Trace>) -> Verdict {
    // Times in the status have whole seconds, as those of the API server.
    let now = now.round(Unit::Second).map_or(now, |rounded| {
        if rounded > now {
            now_floor(now)
        } else {
            rounded
        }
    });
    let mut run = test.run.clone();
    run.missing = test.missing(bundle);
    run.unseen = test.unseen(bundle);
    // A rule that fails on one pod mostly fails on all of them.
    let errors: BTreeSet<&String> = test.errors().collect();
    run.errors.extend(errors.into_iter().take(3).cloned());
    let mut evaluation = Evaluation::new(bundle, test, &run, now);
    let mut verdict = evaluation.run(None);
    if !evaluation.errors.is_empty() {
        // A rule that fails shows in the conditions, so they are made again.
        run.errors.append(&mut evaluation.errors);
        evaluation = Evaluation::new(bundle, test, &run, now);
        verdict = evaluation.run(None);
    }
    if let Some(trace) = trace {
        evaluation = Evaluation::new(bundle, test, &run, now);
        verdict = evaluation.run(Some(trace));
    }
    verdict.errors = run.errors;
    verdict
}

fn now_floor(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The root `run` without `started`; `age` is how many seconds ago the test was started.
fn run_facts(run: &super::run::Run, now: Timestamp) -> Value {
    let mut facts = serde_json::to_value(run).unwrap_or_default();
    if let Some(started) = run.since {
        facts["age"] = now.duration_since(started).as_secs().into();
    }
    facts
}

/// The root `cases`: by condition, the id of the case that the stored one came of. Reasons and messages are for people,
/// and a layer may change them.
fn cases(bundle: &Bundle, test: &Value) -> Value {
    let stored = at(test, "/status/conditions").and_then(Value::as_array);
    let stored = stored.map_or(&[][..], Vec::as_slice);
    let came_of = |condition: &Condition| {
        let said = stored.iter().find(|c| text(c, "/type") == condition.kind)?;
        let case = condition.cases.iter().find(|c| c.may_have_said(said))?;
        Some((condition.kind.clone(), case.guard.origin.id.clone().into()))
    };
    let conditions = bundle.rules.conditions.iter();
    Value::Object(conditions.filter_map(came_of).collect())
}

struct Evaluation<'a> {
    bundle: &'a Bundle,
    test: &'a Test,
    stored: &'a Value,
    now: Timestamp,
    scope: VerdictScope<'a>,
    next: Option<Timestamp>,
    errors: Vec<String>,
    found: Signals,
}

/// The roots that rules about a test start from.
struct VerdictScope<'a> {
    test: &'a Value,
    known: &'a Test,
    bundle: &'a Bundle,
    pods: Value,
    signals: Value,
    worst: Option<Value>,
    evidence: Value,
    run: Value,
    phase: Value,
    children: OnceCell<Value>,
    /// Few rules ask for these.
    run_with_started: OnceCell<Value>,
    cases: OnceCell<Value>,
}

impl Scope for VerdictScope<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "test" => Some(self.test),
            "children" => Some(self.children.get_or_init(|| self.known.children.to_value())),
            "values" => Some(&self.bundle.values),
            "pods" => Some(&self.pods),
            "signals" => Some(&self.signals),
            "worst" => self.worst.as_ref(),
            "evidence" => Some(&self.evidence),
            "run" => Some(
                self.run_with_started
                    .get_or_init(|| self.run_with_started()),
            ),
            "phase" => Some(&self.phase),
            "cases" => Some(self.cases.get_or_init(|| cases(self.bundle, self.test))),
            _ => None,
        }
    }

    fn root_with(&self, name: &str, next: Option<&str>) -> Option<&Value> {
        match (name, next) {
            ("run", Some(next)) if next != STARTED => Some(&self.run),
            _ => self.root(name),
        }
    }

    fn secrets(&self) -> Option<&Secrets> {
        Some(self.bundle.secrets())
    }
}

/// In the root `run`: what the children were started with, by stem.
const STARTED: &str = "started";

impl VerdictScope<'_> {
    fn run_with_started(&self) -> Value {
        let mut run = self.run.clone();
        let started = self.known.run.started.iter();
        let started: Map<_, _> = started.map(|(s, c)| (s.clone(), c.unpack())).collect();
        if !started.is_empty() {
            run[STARTED] = started.into();
        }
        run
    }
}

static NO_STATUS: Value = Value::Null;

impl<'a> Evaluation<'a> {
    fn new(
        bundle: &'a Bundle,
        test: &'a Test,
        run: &super::run::Run,
        now: Timestamp,
    ) -> Evaluation<'a> {
        let stored = test.object.get("status").unwrap_or(&NO_STATUS);
        let phase = match text(stored, "/phase") {
            "" => bundle.rules.phase.initial.as_str(),
            phase => phase,
        };
        let scope = VerdictScope {
            test: &test.object,
            known: test,
            bundle,
            pods: test.pods(),
            signals: Value::Null,
            worst: None,
            evidence: Value::Null,
            run: run_facts(run, now),
            phase: phase.into(),
            children: OnceCell::new(),
            run_with_started: OnceCell::new(),
            cases: OnceCell::new(),
        };
        Evaluation {
            bundle,
            test,
            stored,
            now,
            scope,
            next: None,
            errors: Vec::new(),
            found: Signals::default(),
        }
    }

    fn run(&mut self, mut trace: Option<&mut Trace>) -> Verdict {
        self.signals(trace.as_deref_mut());
        let mut events = Vec::new();
        let was_terminal = self.bundle.rules.phase.is_terminal(self.phase());
        if was_terminal {
            // No signal changes a test that has ended: nothing is looked up, and nothing waited for.
            self.next = None;
            self.found.questions.clear();
            self.found.warnings.clear();
        }
        // A test is in its first phase for as long as it takes to say so: whoever watches it sees every phase.
        let is_known = !text(self.stored, "/phase").is_empty();
        if is_known && !was_terminal {
            self.transitions(&mut events, trace.as_deref_mut());
        }
        let mut status = Map::new();
        status.insert("phase".into(), self.phase().into());
        for field in &self.bundle.rules.fields {
            if let Some(value) = self.field(field) {
                status.insert(field.field.clone(), value);
            }
        }
        let mut conditions = Vec::new();
        for condition in &self.bundle.rules.conditions {
            let stored = self.stored_condition(&condition.kind);
            let kept =
                was_terminal && condition.kept || !self.holds(&condition.when, &condition.kind);
            if kept && (was_terminal || stored.is_some()) {
                conditions.extend(stored.cloned());
                continue;
            }
            let made = self.condition(condition, stored, &mut events, trace.as_deref_mut());
            conditions.extend(made);
        }
        status.insert("conditions".into(), Value::Array(conditions));
        let terminal = self.bundle.rules.phase.is_terminal(self.phase());
        if !terminal && !self.found.first_seen.is_empty() {
            let seen = std::mem::take(&mut self.found.first_seen);
            status.insert(FIRST_SEEN.into(), Value::Object(seen));
        }
        let deeds = self.actions(trace);
        Verdict {
            changed: self.differs(&status),
            terminal,
            status,
            events,
            warnings: std::mem::take(&mut self.found.warnings),
            questions: std::mem::take(&mut self.found.questions),
            deeds,
            next: self.next,
            errors: Vec::new(),
        }
    }

    fn phase(&self) -> &str {
        self.scope.phase.as_str().unwrap_or_default()
    }

    /// Gathers the signals that count now.
    fn signals(&mut self, trace: Option<&mut Trace>) {
        let mut signals = gather(self.bundle, self.test, self.stored, self.now, trace);
        self.scope.worst = signals.worst();
        self.scope.evidence = Value::Object(std::mem::take(&mut signals.evidence));
        self.scope.signals = Value::Array(std::mem::take(&mut signals.active));
        self.next = signals.next;
        self.found = signals;
    }

    fn transitions(&mut self, events: &mut Vec<Notice>, mut trace: Option<&mut Trace>) {
        let phase = self.phase().to_string();
        let mut to = None;
        for transition in &self.bundle.rules.phase.transitions {
            if !transition.from.contains(&phase) {
                continue;
            }
            let outcome = match to {
                None => self.guard(&transition.guard),
                Some(_) => Outcome::NotAsked,
            };
            if outcome == Outcome::Holds {
                to = Some(transition);
            }
            if let Some(trace) = trace.as_deref_mut() {
                trace.transition(transition, &outcome);
            }
        }
        if let Some(transition) = to {
            self.scope.phase = transition.to.as_str().into();
            events.extend(transition.event.as_ref().map(|e| e.notice(&self.scope)));
        }
    }

    fn condition(
        &mut self,
        condition: &Condition,
        stored: Option<&Value>,
        events: &mut Vec<Notice>,
        mut trace: Option<&mut Trace>,
    ) -> Option<Value> {
        let mut decided: Option<&Case> = None;
        for case in &condition.cases {
            let outcome = match decided {
                None => self.guard(&case.guard),
                Some(_) => Outcome::NotAsked,
            };
            if outcome == Outcome::Holds {
                decided = Some(case);
            }
            if let Some(trace) = trace.as_deref_mut() {
                trace.case(condition, case, &outcome, &self.scope);
            } else if decided.is_some() {
                break;
            }
        }
        let case = decided?;
        let status = match case.status {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
            ConditionStatus::Unknown => "Unknown",
        };
        let reason = case.reason.render(&self.scope);
        let was = |pointer| stored.map_or("", |s| text(s, pointer));
        if was("/status") != status || was("/reason") != reason {
            events.extend(case.event.as_ref().map(|e| e.notice(&self.scope)));
        }
        let since = match was("/lastTransitionTime") {
            stored if was("/status") == status && !stored.is_empty() => stored.to_string(),
            _ => self.now.to_string(),
        };
        let mut made = json!({
            "type": condition.kind,
            "status": status,
            "reason": reason,
            "message": case.message.render(&self.scope),
            "lastTransitionTime": since,
        });
        if let Some(generation) = at(&self.test.object, "/metadata/generation") {
            made["observedGeneration"] = generation.clone();
        }
        Some(made)
    }

    fn actions(&mut self, mut trace: Option<&mut Trace>) -> Vec<Deed> {
        let mut all = Vec::new();
        for action in &self.bundle.rules.actions {
            let outcome = self.guard(&action.guard);
            if let Some(trace) = trace.as_deref_mut() {
                trace.action(action, &outcome);
            }
            if outcome == Outcome::Holds {
                all.extend(deeds(action, self.test));
            }
        }
        all
    }

    fn field(&mut self, field: &super::rule::Field) -> Option<Value> {
        let stored = self.stored.get(&field.field).filter(|v| !v.is_null());
        if field.once && stored.is_some() {
            return stored.cloned();
        }
        let wanted = self.holds(&field.when, &field.origin);
        let found = |path: &Path| {
            let mut found = path.first(&self.scope)?.clone();
            self.bundle.secrets().mask_value(&mut found);
            Some(found)
        };
        let value = match &field.source {
            _ if !wanted => None,
            Source::Now => Some(self.now.to_string().into()),
            Source::Path(path) => found(path),
        };
        let kept = || if wanted { None } else { stored.cloned() };
        let default = || match field.default.as_ref()? {
            Operand::Literal(value) => Some(value.clone()),
            Operand::Path(path) => found(path),
        };
        value.or_else(kept).or_else(default)
    }

    /// Whether what a rule asks is true; an error is noted under its name.
    fn holds(&mut self, when: &Option<Clause>, rule: &dyn std::fmt::Display) -> bool {
        let holds = when
            .as_ref()
            .map_or(Ok(Some(true)), |when| when.holds(&self.scope));
        match holds {
            Ok(holds) => holds == Some(true),
            Err(message) => {
                self.errors.push(format!("{rule}: {message}"));
                false
            }
        }
    }

    fn guard(&mut self, guard: &Guard) -> Outcome {
        let holds = match &guard.when {
            None => Ok(Some(true)),
            Some(when) => when.holds(&self.scope),
        };
        match holds {
            Ok(Some(false)) => return Outcome::False,
            Ok(None) => return Outcome::Unknown,
            Err(message) => {
                let message = self.bundle.secrets().mask_told(&message);
                let message = format!("{}: {message}", guard.origin);
                self.errors.push(message.clone());
                return Outcome::Error(message);
            }
            Ok(Some(true)) => {}
        }
        let Some(since) = &guard.since else {
            return Outcome::Holds;
        };
        let Some(since) = time(since, &self.scope) else {
            return Outcome::Unknown;
        };
        let from = since.saturating_add(guard.lasting).unwrap_or(since);
        if from <= self.now {
            return Outcome::Holds;
        }
        self.next = earliest(self.next, from);
        Outcome::Waiting(from)
    }

    fn stored_condition(&self, kind: &str) -> Option<&'a Value> {
        let stored = self.stored.get("conditions")?.as_array()?;
        stored.iter().find(|c| text(c, "/type") == kind)
    }

    /// Whether what the rules own differs from what is stored. What others
    /// wrote into the status is theirs.
    fn differs(&self, status: &Map<String, Value>) -> bool {
        let fields = self.bundle.rules.fields.iter().map(|f| f.field.as_str());
        let field = |name: &str| self.stored.get(name) != status.get(name);
        if fields.chain(["phase", FIRST_SEEN]).any(field) {
            return true;
        }
        let made = status.get("conditions").and_then(Value::as_array);
        let kinds = self.bundle.rules.conditions.iter().map(|c| &c.kind);
        kinds.into_iter().any(|kind| {
            let made = made.and_then(|all| all.iter().find(|c| text(c, "/type") == kind));
            self.stored_condition(kind) != made
        })
    }
}

/// A verdict is of a whole second: what begins within one counts from the next on.
pub(crate) fn earliest(a: Option<Timestamp>, b: Timestamp) -> Option<Timestamp> {
    let b = match now_floor(b) {
        floor if floor < b => floor
            .saturating_add(SignedDuration::from_secs(1))
            .unwrap_or(b),
        whole => whole,
    };
    Some(a.map_or(b, |a| a.min(b)))
}
