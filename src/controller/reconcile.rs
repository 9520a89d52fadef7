//! One look at one test: [`plan`] decides, without a client; [`execute`] does
//! the reading and writing that the plan asks for.

use super::apply::{self, Part};
use super::children;
use super::events;
use super::revision::{self, Revision};
use super::watch;
use crate::api::v2::LocustTest;
use crate::bundle::Bundle;
use crate::engine::drift::asked;
use crate::engine::index::{Key, Run, Test};
use crate::engine::path::Scope;
use crate::engine::render::{Child, render, text};
use crate::engine::rule::Occasion;
use crate::engine::verdict::{Notice, evaluate};
use jiff::Timestamp;
use kube::Client;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What every task needs.
#[derive(Clone)]
pub struct Context {
    pub client: Client,
    pub bundle: Arc<Bundle>,
}

/// What is to be done for a test now.
#[derive(Debug, Default)]
pub struct Plan {
    run: Run,
    /// The phase changes: written without waiting.
    pub urgent: bool,
    test: Value,
    step: Step,
    events: Vec<Notice>,
    status: Option<Map<String, Value>>,
    next: Option<Timestamp>,
}

#[derive(Debug, Default, PartialEq)]
enum Step {
    #[default]
    Nothing,
    /// Read or write what the test is started with, and make its children.
    Start,
    /// Make these children again.
    Recreate(Vec<String>),
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.step == Step::Nothing && self.events.is_empty() && self.status.is_none()
    }

    pub fn only_status(&self) -> bool {
        self.step == Step::Nothing && self.status.is_some()
    }

    /// When time alone may change the plan.
    pub fn look_again(&self) -> Option<Timestamp> {
        self.next
    }
}

/// What came of a plan.
#[derive(Debug)]
pub struct Outcome {
    pub key: Key,
    pub run: Option<Run>,
    /// Children as the API server answered.
    pub applied: Vec<Value>,
    /// The test as the API server answered the status write.
    pub status: Option<Value>,
    /// Why to try again.
    pub retry: Option<String>,
    pub took: Duration,
}

/// Decides what a test needs. `gone` are children deleted since the last look.
pub fn plan(bundle: &Bundle, test: &Test, gone: &[Value], now: Timestamp) -> Plan {
    let mut plan = Plan {
        run: test.run.clone(),
        test: test.object.clone(),
        ..Plan::default()
    };
    if test.object.pointer("/metadata/deletionTimestamp").is_some() {
        return plan;
    }
    let generation = generation(&test.object);
    if plan.run.spec.is_none() && has_ended(bundle, &test.object, generation) {
        return plan;
    }
    let waits = match plan.run.retry {
        Some((until, tried)) if tried == asked(&test.object) && until > now => {
            plan.next = Some(until).filter(|u| *u < Timestamp::MAX);
            true
        }
        _ => false,
    };
    if plan.run.spec.is_none() {
        if !waits {
            plan.step = Step::Start;
        } else {
            conclude(&mut plan, bundle, test, now);
        }
        return plan;
    }
    let missing = test.missing();
    let terminal = conclude(&mut plan, bundle, test, now);
    if !terminal {
        for child in gone {
            plan.events
                .extend(about_child(bundle, Occasion::Deleted, child));
        }
        if !missing.is_empty() && !waits {
            plan.step = Step::Recreate(missing);
        }
    }
    plan
}

/// Whether everything about a test was said by an operator that ran before: it has ended, and its spec has not
/// changed since. Then nothing has to be read to know that nothing is to be done.
fn has_ended(bundle: &Bundle, test: &Value, generation: i64) -> bool {
    let observed = test.pointer("/status/observedGeneration");
    bundle.rules.phase.is_terminal(text(test, "/status/phase"))
        && observed.and_then(Value::as_i64) == Some(generation)
}

/// Adds what the rules conclude; says whether the test has ended.
fn conclude(plan: &mut Plan, bundle: &Bundle, test: &Test, now: Timestamp) -> bool {
    let verdict = evaluate(bundle, test, now);
    plan.next = [plan.next, verdict.next].into_iter().flatten().min();
    plan.urgent = verdict.status.get("phase") != test.object.pointer("/status/phase");
    plan.events.extend(verdict.events);
    plan.events
        .extend(verdict.warnings.into_iter().map(|(_, notice)| notice));
    plan.status = verdict.changed.then_some(verdict.status);
    verdict.terminal
}

/// Does what a plan asks for. Events go first: one that was sent twice has the
/// same name and is one, one that was never sent is lost.
pub async fn execute(context: &Context, key: Key, plan: Plan) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome {
        key,
        run: None,
        applied: Vec::new(),
        status: None,
        retry: None,
        took: Duration::ZERO,
    };
    for notice in &plan.events {
        events::send(&context.client, &plan.test, notice).await;
    }
    if let Some(status) = &plan.status {
        match write_status(&context.client, &plan.test, status).await {
            Ok(written) => outcome.status = Some(written),
            // Deleted meanwhile, or another test of the same name by now.
            Err(kube::Error::Api(e)) if e.code == 404 || e.code == 409 => {}
            Err(e) => outcome.retry = Some(format!("cannot write the status: {}", said(&e))),
        }
    }
    let step = match &plan.step {
        Step::Nothing => Ok(()),
        Step::Start => start(context, &plan, &mut outcome).await,
        Step::Recreate(stems) => recreate(context, &plan, stems, &mut outcome).await,
    };
    if let Err(e) = step {
        // What the API server says is for the user too, such as that the test is too large to be recorded.
        if let kube::Error::Api(status) = &e
            && ![409, 429].contains(&status.code)
        {
            let mut run = outcome.run.take().unwrap_or_else(|| plan.run.clone());
            run.errors = vec![format!(
                "the API server refuses a write: {}",
                status.message
            )];
            outcome.run = Some(run);
        }
        outcome.retry = Some(said(&e));
    }
    outcome.took = began.elapsed();
    outcome
}

async fn write_status(
    client: &Client,
    test: &Value,
    status: &Map<String, Value>,
) -> Result<Value, kube::Error> {
    let resource = watch::tests();
    let key = (
        text(test, "/metadata/namespace"),
        text(test, "/metadata/name"),
    );
    let object = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": key.1, "uid": text(test, "/metadata/uid")},
        "status": status,
    });
    apply::apply(client, &resource, key, Part::Status, &object).await
}

async fn start(context: &Context, plan: &Plan, outcome: &mut Outcome) -> Result<(), kube::Error> {
    let test = &plan.test;
    let known = !text(test, "/status/phase").is_empty();
    if known && let Some(revision) = revision::read(&context.client, test).await? {
        outcome.run = Some(revision.run());
        return Ok(());
    }
    let (children, warnings) = match children_of(&context.bundle, test) {
        Ok(made) => made,
        Err(errors) => {
            // Another spec or another bundle may mend it; trying again does not.
            let retry = Some((Timestamp::MAX, asked(test)));
            outcome.run = Some(Run {
                errors,
                retry,
                ..Run::default()
            });
            return Ok(());
        }
    };
    let found = children::look(&context.client, test, &children).await?;
    if !found.refused.is_empty() {
        refuse(outcome, Run::default(), found.refused);
        return Ok(());
    }
    let proposed = Revision {
        spec: test.get("spec").cloned().unwrap_or_default(),
        bundle: context.bundle.digest().to_string(),
        children,
    };
    let revision = revision::create(&context.client, test, proposed).await?;
    for message in warnings {
        let scope = Root("warning", json!({"message": message}), test);
        for notice in notices(&context.bundle, Occasion::Warning, &scope) {
            events::send(&context.client, test, &notice).await;
        }
    }
    let run = revision.run();
    let wanted = revision.children.iter();
    make(context, test, wanted, &found.ours, run, outcome).await
}

async fn recreate(
    context: &Context,
    plan: &Plan,
    stems: &[String],
    outcome: &mut Outcome,
) -> Result<(), kube::Error> {
    let test = &plan.test;
    let Some(revision) = revision::read(&context.client, test).await? else {
        let message = "what the test was started with is not known any more (its ControllerRevision is gone); its children cannot be made again";
        let mut run = plan.run.clone();
        run.errors = vec![message.to_string()];
        run.retry = Some((Timestamp::MAX, asked(test)));
        outcome.run = Some(run);
        return Ok(());
    };
    let missing: Vec<Child> = revision
        .children
        .iter()
        .filter(|c| stems.contains(&c.stem))
        .cloned()
        .collect();
    let found = children::look(&context.client, test, &missing).await?;
    let run = revision.run();
    if !found.refused.is_empty() {
        refuse(outcome, run, found.refused);
        return Ok(());
    }
    make(context, test, missing.iter(), &found.ours, run, outcome).await
}

/// Makes the children that are not there yet, one after the other, and adopts those
/// that are there without our labels.
async fn make(
    context: &Context,
    test: &Value,
    wanted: impl Iterator<Item = &Child>,
    ours: &[(String, bool)],
    run: Run,
    outcome: &mut Outcome,
) -> Result<(), kube::Error> {
    let mut refused = Vec::new();
    for child in wanted {
        let exists = ours.iter().find(|(stem, _)| *stem == child.stem);
        let written = match exists {
            None => children::apply(&context.client, child).await,
            Some((_, false)) => children::adopt(&context.client, child).await,
            // It is watched: a second apply would say nothing new.
            Some((_, true)) => continue,
        };
        match written {
            Ok(applied) => {
                if exists.is_none() {
                    for notice in about_child(&context.bundle, Occasion::Created, &applied) {
                        events::send(&context.client, test, &notice).await;
                    }
                }
                outcome.applied.push(applied);
            }
            Err(kube::Error::Api(e)) if children::is_refusal(e.code) => {
                refused.push(children::refusal(child, &e.message));
                // Workers do not wait for a master that cannot be made.
                break;
            }
            Err(e) => {
                outcome.run = Some(run);
                return Err(e);
            }
        }
    }
    if refused.is_empty() {
        outcome.run = Some(run);
    } else {
        refuse(outcome, run, refused);
    }
    Ok(())
}

/// Notes children that could not be made, to be tried again.
fn refuse(outcome: &mut Outcome, mut run: Run, refused: Vec<Value>) {
    let names: Vec<String> = refused
        .iter()
        .map(|r| {
            format!(
                "{} {}: {}",
                text(r, "/kind"),
                text(r, "/name"),
                text(r, "/message")
            )
        })
        .collect();
    run.refused = refused;
    outcome.retry = Some(format!("children cannot be made: {}", names.join("; ")));
    outcome.run = Some(run);
}

/// Validates and renders; the errors name the field or the template's line.
fn children_of(bundle: &Bundle, test: &Value) -> Result<(Vec<Child>, Vec<String>), Vec<String>> {
    let typed = LocustTest::from_value(test.clone()).map_err(|e| vec![e.to_string()])?;
    let mistakes = crate::api::validate(&typed);
    if !mistakes.is_empty() {
        return Err(mistakes.iter().map(ToString::to_string).collect());
    }
    match render(bundle, &typed.to_value()) {
        Ok(rendered) => Ok((rendered.children, rendered.warnings)),
        Err(problem) => Err(vec![problem.one_line()]),
    }
}

/// The API server's own words, without the object they came in.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}

fn about_child(bundle: &Bundle, on: Occasion, child: &Value) -> Vec<Notice> {
    let facts = json!({
        "kind": text(child, "/kind"),
        "name": text(child, "/metadata/name"),
        "uid": text(child, "/metadata/uid"),
    });
    notices(bundle, on, &Root("child", facts, &Value::Null))
}

fn notices(bundle: &Bundle, on: Occasion, scope: &dyn Scope) -> Vec<Notice> {
    let rules = bundle.rules.notices.iter().filter(|n| n.on == on);
    rules.map(|n| n.event.notice(scope)).collect()
}

struct Root<'a>(&'static str, Value, &'a Value);

impl Scope for Root<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        match name {
            "test" => Some(self.2),
            name if name == self.0 => Some(&self.1),
            _ => None,
        }
    }
}

fn generation(test: &Value) -> i64 {
    test.pointer("/metadata/generation")
        .and_then(Value::as_i64)
        .unwrap_or_default()
}
