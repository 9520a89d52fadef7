//! What one test needs now: decided without a client.

use super::attempts::Attempts;
use super::queue::Urgency;
use super::reconcile::Created;
use crate::bundle::Bundle;
use crate::engine::action::{self, Deed};
use crate::engine::drift::asked;
use crate::engine::facts::Test;
use crate::engine::lookup::Question;
use crate::engine::notice::Notice;
use crate::engine::packed::Packed;
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
    /// Children that were made and not told of yet.
    pub created: Vec<Created>,
    pub(super) events: Vec<Notice>,
    pub(super) status: Option<Map<String, Value>>,
    /// What to look up; then nothing else is done, as the answers may change all of it.
    pub(super) questions: Vec<Question>,
    pub(super) deeds: Vec<Deed>,
    pub(super) next: Option<Timestamp>,
    /// The signals of severity `warn` that count now, and were warned of.
    pub warned: BTreeSet<String>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) enum Step {
    #[default]
    Nothing,
    /// Read or write what the test is started with, and make its children.
    Start,
    /// Make what is left of what the test is started with.
    Finish(Packed),
    /// Look for these children by name: nobody saw them go.
    LookFor(Vec<String>),
    /// Make these children again; each with how it last was, if it is known that it was there.
    Recreate(Vec<(String, Option<Value>)>),
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.step == Step::Nothing
            && self.created.is_empty()
            && self.events.is_empty()
            && self.status.is_none()
            && self.questions.is_empty()
            && self.deeds.is_empty()
    }

    /// Whether the test is still being started.
    pub fn starts(&self) -> bool {
        matches!(self.step, Step::Start | Step::Finish(_))
    }

    pub fn only_status(&self) -> bool {
        self.step == Step::Nothing && self.deeds.is_empty() && self.status.is_some()
    }

    /// Leaves out what actions asked for a moment ago.
    pub fn hold_back(&mut self, attempts: &mut Attempts, now: Timestamp) {
        let next = attempts.hold_back(&mut self.deeds, now);
        self.next = [self.next, next].into_iter().flatten().min();
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
        test: test.object.share(),
        // What was warned of stays so until the rules have been asked again.
        warned: warned.clone(),
        ..Plan::default()
    };
    if at(&test.object, "/metadata/deletionTimestamp").is_some() {
        plan.deeds = action::when_deleted(bundle, test);
        return plan;
    }
    if let Some(rest) = plan.run.rest.take() {
        plan.step = Step::Finish(rest);
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
    // Whether what another operator made is missed or done is for the rules to say, which decide from the second status on.
    let is_judged = !plan.run.taken_over || !text(&test.object, "/status/phase").is_empty();
    let may_make = !waits && !terminal && is_judged && plan.questions.is_empty();
    if may_make && !missing.is_empty() {
        let child = |stem: String| {
            let gone = test.gone(&stem);
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
    plan.warned.clear();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Layer;
    use crate::engine::index::{Index, Key};
    use crate::engine::packed::Packed;
    use serde_json::json;
    use std::collections::BTreeMap;

    /// A look that asks for events concludes nothing; what was warned of before is warned of still.
    #[test]
    fn a_look_that_only_asks_forgets_no_warning() {
        let (bundle, _) = Bundle::load(&[Layer::built_in()], &BTreeMap::new()).unwrap();
        let bundle = Arc::new(bundle);
        let mut index = Index::new(Arc::clone(&bundle));
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let metadata = |name: &str, owner: Option<(&str, &str)>| {
            json!({
                "name": name, "namespace": "a", "uid": name, "resourceVersion": "1",
                "creationTimestamp": start.to_string(), "generation": 1,
                "labels": {crate::engine::render::CHILD_LABEL: "master-job"},
                "ownerReferences": owner.map(|(kind, uid)| json!([{"kind": kind, "name": uid, "uid": uid, "controller": true}])),
            })
        };
        let test = json!({"kind": "LocustTest", "metadata": metadata("load", None), "spec": {}, "status": {"phase": "Pending"}});
        let key = Key::of(&test);
        index.apply_test(test);
        let job = metadata("load-master", Some(("LocustTest", "load")));
        index.apply_child(&json!({"kind": "Job", "metadata": job, "spec": {}}), start);
        let time = start.to_string();
        let pod = metadata("load-master-m", Some(("Job", "load-master")));
        let conditions = json!([
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": time},
            {"type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": time},
        ]);
        let status = json!({"phase": "Pending", "conditions": conditions});
        index.apply_pod(
            &json!({"kind": "Pod", "metadata": pod, "status": status}),
            start,
        );
        let run = Run {
            spec: Some(Packed::default()),
            children: vec!["master-job".into()],
            ..Run::default()
        };
        index.set_run(&key, run);

        let warned = BTreeSet::from(["no-room".to_string()]);
        let late = "2026-01-01T00:03:00Z".parse().unwrap();
        let asking = plan(&bundle, index.get(&key).unwrap(), &warned, late);
        assert_eq!(asking.questions.len(), 1, "{asking:?}");
        assert_eq!(asking.warned, warned);
        index.answer(
            &key,
            asking.questions[0].clone(),
            crate::engine::lookup::Answer::Events(Vec::new()),
            late,
        );
        let concluding = plan(&bundle, index.get(&key).unwrap(), &warned, late);
        assert_eq!(concluding.warned, BTreeSet::new());
    }

    /// What is known of it would make a verdict about a test that is half made.
    #[test]
    fn a_test_that_is_being_started_is_only_finished() {
        let (bundle, _) = Bundle::load(&[Layer::built_in()], &BTreeMap::new()).unwrap();
        let bundle = Arc::new(bundle);
        let mut index = Index::new(Arc::clone(&bundle));
        let mut test = json!({"kind": "LocustTest", "metadata": {"name": "load", "namespace": "a", "uid": "u", "resourceVersion": "1"}, "spec": {}});
        let key = Key::of(&test);
        index.apply_test(test.clone());
        let rest = Packed::new(&json!([{"stem": "master-job", "object": {}}]));
        let run = Run {
            spec: Some(Packed::default()),
            children: vec!["master-job".into()],
            rest: Some(rest.clone()),
            ..Run::default()
        };
        index.set_run(&key, run);
        let now = Timestamp::now();
        let looked = plan(&bundle, index.get(&key).unwrap(), &BTreeSet::new(), now);
        assert_eq!(looked.step, Step::Finish(rest));
        assert!(looked.starts() && looked.status.is_none() && looked.events.is_empty());
        assert_eq!(looked.run.rest, None, "it is made once");

        test["metadata"]["deletionTimestamp"] = now.to_string().into();
        test["metadata"]["resourceVersion"] = "2".into();
        index.apply_test(test);
        let deleted = plan(&bundle, index.get(&key).unwrap(), &BTreeSet::new(), now);
        assert_eq!(deleted.step, Step::Nothing);
    }
}
