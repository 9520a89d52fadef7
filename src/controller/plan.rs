//! What one test needs now: decided without a client.

use super::queue::Urgency;
use crate::bundle::Bundle;
use crate::engine::action::{self, Deed};
use crate::engine::drift::asked;
use crate::engine::facts::Test;
use crate::engine::lookup::Question;
use crate::engine::notice::Notice;
use crate::engine::render::{at, text};
use crate::engine::run::Run;
use crate::engine::verdict::evaluate;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is to be done for a test now.
#[derive(Debug, Default)]
pub struct Plan {
    pub(super) run: Run,
    /// How soon the status is written.
    pub urgency: Urgency,
    pub(super) test: Arc<Value>,
    pub(super) step: Step,
    pub(super) events: Vec<Notice>,
    pub(super) status: Option<Map<String, Value>>,
    /// What to look up; then nothing else is done, as the answers may change all of it.
    pub(super) questions: Vec<Question>,
    pub(super) deeds: Vec<Deed>,
    pub(super) next: Option<Timestamp>,
    /// The signals of severity `warn` that count now.
    pub warned: BTreeSet<String>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) enum Step {
    #[default]
    Nothing,
    /// Read or write what the test is started with, and make its children.
    Start,
    /// Look for these children by name: nobody saw them go.
    LookFor(Vec<String>),
    /// Make these children again; each with how it last was, if it is known that it was there.
    Recreate(Vec<(String, Option<Value>)>),
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.step == Step::Nothing
            && self.events.is_empty()
            && self.status.is_none()
            && self.questions.is_empty()
            && self.deeds.is_empty()
    }

    pub fn only_status(&self) -> bool {
        self.step == Step::Nothing && self.deeds.is_empty() && self.status.is_some()
    }

    /// Leaves out what actions ask for, which failed a moment ago.
    pub fn hold_deeds(&mut self) {
        self.deeds.clear();
    }

    /// When time alone may change the plan.
    pub fn look_again(&self) -> Option<Timestamp> {
        self.next
    }
}

/// Decides what a test needs. `warned` are the signals that were warned of at the last look.
pub fn plan(bundle: &Bundle, test: &Test, warned: &BTreeSet<String>, now: Timestamp) -> Plan {
    let mut plan = Plan {
        run: test.run.clone(),
        test: Arc::clone(&test.object),
        ..Plan::default()
    };
    if at(&test.object, "/metadata/deletionTimestamp").is_some() {
        plan.deeds = action::when_deleted(bundle, test);
        return plan;
    }
    let generation = generation(&test.object);
    let waits = match plan.run.retry {
        Some((until, tried)) if tried == asked(&test.object) && until > now => {
            plan.next = Some(until).filter(|u| *u < Timestamp::MAX);
            true
        }
        _ => false,
    };
    if plan.run.spec.is_none() {
        if waits || has_ended(bundle, &test.object, generation) {
            conclude(&mut plan, bundle, test, warned, now);
        } else {
            plan.step = Step::Start;
        }
        return plan;
    }
    let vanished = test.to_look_for(bundle);
    let ended = bundle
        .rules
        .phase
        .is_terminal(text(&test.object, "/status/phase"));
    if !waits && !ended && !vanished.is_empty() {
        plan.step = Step::LookFor(vanished);
        return plan;
    }
    let missing = test.missing(bundle);
    let terminal = conclude(&mut plan, bundle, test, warned, now);
    if !waits && !terminal && !missing.is_empty() && plan.questions.is_empty() {
        let child = |stem: String| {
            let gone = test.gone(&stem).cloned();
            (stem, gone)
        };
        plan.step = Step::Recreate(missing.into_iter().map(child).collect());
    }
    plan
}

/// Whether everything about a test was said by an operator that ran before: it has ended, and its spec has not
/// changed since. Then nothing has to be read to know that nothing is to be done.
fn has_ended(bundle: &Bundle, test: &Value, generation: i64) -> bool {
    let observed = at(test, "/status/observedGeneration");
    bundle.rules.phase.is_terminal(text(test, "/status/phase"))
        && observed.and_then(Value::as_i64) == Some(generation)
}

/// Adds what the rules conclude; says whether the test has ended.
fn conclude(
    plan: &mut Plan,
    bundle: &Bundle,
    test: &Test,
    warned: &BTreeSet<String>,
    now: Timestamp,
) -> bool {
    let verdict = evaluate(bundle, test, now);
    plan.next = [plan.next, verdict.next].into_iter().flatten().min();
    if !verdict.questions.is_empty() {
        plan.questions = verdict.questions;
        return verdict.terminal;
    }
    plan.deeds = verdict.deeds;
    plan.urgency = urgency(&verdict.status, &test.object);
    plan.events.extend(verdict.events);
    for (id, notice) in verdict.warnings {
        if !warned.contains(&id) {
            plan.events.push(notice);
        }
        plan.warned.insert(id);
    }
    plan.status = verdict.changed.then_some(verdict.status);
    verdict.terminal
}

fn urgency(status: &Map<String, Value>, test: &Value) -> Urgency {
    if status.get("phase") != at(test, "/status/phase") {
        return Urgency::AtOnce;
    }
    let truths = |conditions: Option<&Value>| {
        let conditions = conditions.and_then(Value::as_array);
        let truth = |c: &Value| (text(c, "/type").to_string(), text(c, "/status").to_string());
        conditions
            .into_iter()
            .flatten()
            .map(truth)
            .collect::<BTreeSet<_>>()
    };
    let stored = truths(at(test, "/status/conditions"));
    if truths(status.get("conditions")) != stored {
        return Urgency::Soon;
    }
    Urgency::Settled
}

fn generation(test: &Value) -> i64 {
    at(test, "/metadata/generation")
        .and_then(Value::as_i64)
        .unwrap_or_default()
}
