//! Starting a test: its templates are rendered and recorded, and its children made.

use super::adopted;
use super::children;
use super::events;
use super::make::{claim, make, refuse};
use super::plan::Plan;
use super::reconcile::{Context, Outcome};
use super::revision::{self, Written};
use crate::api::v2::LocustTest;
use crate::bundle::Bundle;
use crate::engine::drift::asked;
use crate::engine::notice;
use crate::engine::packed::Packed;
use crate::engine::render::{Child, render, text};
use crate::engine::run::{Revision, Run};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

pub async fn start(
    context: &Context,
    plan: &Plan,
    outcome: &mut Outcome,
) -> Result<(), kube::Error> {
    let test = &plan.test;
    let phase = text(test, "/status/phase");
    if !phase.is_empty()
        && let Some(stored) = revision::read(&context.client, test).await?
    {
        outcome.run = Some(stored.taken_over());
        return Ok(());
    }
    if context.bundle.rules.phase.is_terminal(phase) {
        // Another operator ran it, or somebody removed what it was started with. It has ended,
        // and whatever is edited now never starts it again.
        outcome.run = Some(Run {
            bundle: Some(text(test, "/status/bundle").to_string()).filter(|b| !b.is_empty()),
            spec: Some(test.get("spec").map(Packed::new).unwrap_or_default()),
            ..Run::default()
        });
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
    let Some(_claim) = claim(context, test, &children, Run::default, outcome) else {
        return Ok(());
    };
    let found = children::look(&context.client, test, &children).await?;
    if !found.refused.is_empty() {
        refuse(outcome, Run::default(), found.refused);
        return Ok(());
    }
    let has_started = !phase.is_empty() && phase != context.bundle.rules.phase.initial;
    if has_started && found.ours.len() < children.len() {
        // It may have run to its end: to make what is missing could start its load a second time.
        let message = "the test has started, but what it was started with is not known (it has no ControllerRevision), and not all of its objects are there; they are not made again. Delete the test and create it anew";
        outcome.run = Some(Run {
            errors: vec![message.to_string()],
            retry: Some((Timestamp::MAX, asked(test))),
            ..Run::default()
        });
        return Ok(());
    }
    let proposed = Revision {
        spec: test.get("spec").cloned().unwrap_or_default(),
        bundle: context.bundle.digest().to_string(),
        pod_selector: Some(context.bundle.pod_selector().to_string()),
        // Nothing of it is ours yet: what is there another operator has made.
        children: adopted::as_they_run(children, &found),
    };
    let written = match revision::create(&context.client, test, &proposed).await {
        Ok(written) => written,
        Err(kube::Error::Api(e)) if children::is_refusal(e.code) => {
            let refused = json!({
                "kind": "ControllerRevision",
                "name": revision::name(test),
                "message": e.message,
            });
            refuse(outcome, Run::default(), vec![refused]);
            return Ok(());
        }
        Err(e) => return Err(e),
    };
    for message in warnings {
        for notice in notice::about_warning(&context.bundle, test, &message) {
            events::send(&context.client, test, &notice).await;
        }
    }
    let started = match written {
        Written::Now(started) => started,
        Written::Before(stored) => {
            // By an operator that was stopped before it could say so. Its children are the ones that count.
            outcome.run = Some(stored.taken_over());
            return Ok(());
        }
    };
    let mut run = proposed.run(started);
    run.looked_for = found.absent(&proposed.children);
    let children = &proposed.children;
    if !context.crowded.load(Ordering::Relaxed) || !found.ours.is_empty() {
        return make(context, children.iter(), &found.ours, run, outcome).await;
    }
    // What runs pods comes last: with the others the names are taken.
    let run_pods = children.iter().position(Child::runs_pods);
    let (first, rest) = children.split_at(run_pods.filter(|n| *n > 0).unwrap_or(children.len()));
    make(context, first.iter(), &[], run, outcome).await?;
    if let Some(run) = outcome.run.as_mut().filter(|run| run.refused.is_empty()) {
        run.rest = (!rest.is_empty()).then(|| Packed::new(&rest));
    }
    Ok(())
}

/// Makes what is left when all tests that came together are prepared (see [`super::queue`]).
pub async fn finish(
    context: &Context,
    plan: &Plan,
    rest: &Packed,
    outcome: &mut Outcome,
) -> Result<(), kube::Error> {
    let children: Vec<Child> = rest.read();
    let run = plan.run.clone();
    make(context, children.iter(), &[], run, outcome).await
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
