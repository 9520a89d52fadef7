//! Children that should be there and are not: they are looked for, made again from what the test was started with, or given
//! up for a test that starts anew.

use super::children::{self, Found};
use super::deeds::{self, Done};
use super::events;
use super::make::{claim, make, refuse};
use super::plan::Plan;
use super::reconcile::{Context, Outcome};
use super::revision::{self, Stored};
use crate::engine::action;
use crate::engine::drift::asked;
use crate::engine::notice;
use crate::engine::render::{CHILD_LABEL, Child, MANAGED_BY, text};
use crate::engine::rule::Occasion;
use crate::engine::run::{Revision, Run};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Looks for children by name that no list showed, and adopts those that are there.
pub async fn look_for(
    context: &Context,
    plan: &Plan,
    stems: &[String],
    outcome: &mut Outcome,
) -> Result<(), kube::Error> {
    let test = &plan.test;
    let child = |stem: &String| {
        let mut object = plan.run.started.get(stem)?.unpack();
        object["metadata"]["namespace"] = text(test, "/metadata/namespace").into();
        object["metadata"]["labels"] = json!({MANAGED_BY.0: MANAGED_BY.1, CHILD_LABEL: stem});
        let stem = stem.clone();
        Some(Child { stem, object })
    };
    let mut wanted: Vec<Child> = stems.iter().filter_map(child).collect();
    let found = children::look(&context.client, test, &wanted).await?;
    let mut run = plan.run.clone();
    if !found.refused.is_empty() {
        refuse(outcome, run, found.refused);
        return Ok(());
    }
    wanted.retain(|c| found.ours.iter().any(|(stem, _)| *stem == c.stem));
    let is_there = |stem: &&String| wanted.iter().any(|c| c.stem == **stem);
    run.looked_for
        .extend(stems.iter().filter(|s| !is_there(s)).cloned());
    make(context, wanted.iter(), &found.ours, run, outcome).await
}

pub async fn recreate(
    context: &Context,
    plan: &Plan,
    missing: &[(String, Option<Value>)],
    outcome: &mut Outcome,
) -> Result<(), kube::Error> {
    let test = &plan.test;
    let Some(stored) = revision::read(&context.client, test).await? else {
        let message = "what the test was started with is not known any more (its ControllerRevision is gone); its children cannot be made again. Delete the test and create it anew";
        let mut run = plan.run.clone();
        run.errors = vec![message.to_string()];
        run.retry = Some((Timestamp::MAX, asked(test)));
        outcome.run = Some(run);
        return Ok(());
    };
    let revision = &stored.revision;
    let wanted: Vec<Child> = revision
        .children
        .iter()
        .filter(|c| missing.iter().any(|(stem, _)| *stem == c.stem))
        .cloned()
        .collect();
    let Some(_claim) = claim(context, test, &wanted, || stored.run(), outcome) else {
        return Ok(());
    };
    let found = children::look(&context.client, test, &wanted).await?;
    if is_corrected(plan, revision, missing, &found) {
        return start_anew(context, test, &stored, outcome).await;
    }
    for (stem, gone) in missing {
        let is_there = found.ours.iter().any(|(ours, _)| ours == stem);
        let was_said = plan.run.refused.iter().any(|r| text(r, "/child") == stem);
        if let Some(gone) = gone.as_ref().filter(|_| !is_there && !was_said) {
            tell_gone(context, test, gone).await;
        }
    }
    let mut run = stored.run();
    run.looked_for = found.absent(&wanted);
    if !found.refused.is_empty() {
        refuse(outcome, run, found.refused);
        return Ok(());
    }
    make(context, wanted.iter(), &found.ours, run, outcome).await
}

/// Whether the spec was changed after children of it were refused, and nothing that runs pods was made of it: not by an
/// operator that ran before, not by this one, and not by another one meanwhile. Then what was to be started is
/// nothing that could run a second time.
fn is_corrected(
    plan: &Plan,
    revision: &Revision,
    missing: &[(String, Option<Value>)],
    found: &Found,
) -> bool {
    let was_made = |child: &&Child| {
        let is_there = found.ours.iter().any(|(stem, _)| *stem == child.stem);
        let never = |(stem, gone): &(String, Option<Value>)| *stem == child.stem && gone.is_none();
        is_there || !missing.iter().any(never)
    };
    let mut run_pods = revision.children.iter().filter(|c| c.runs_pods());
    !plan.run.taken_over
        && !plan.run.refused.is_empty()
        && !plan.run.drift.is_empty()
        && !run_pods.any(|c| was_made(&c))
}

/// Removes what was made for a test that never ran, and what it was to be started with: it starts as it is now.
async fn start_anew(
    context: &Context,
    test: &Value,
    stored: &Stored,
    outcome: &mut Outcome,
) -> Result<(), kube::Error> {
    let mut others = stored.revision.children.clone();
    others.retain(|child| !child.runs_pods());
    let made = children::look(&context.client, test, &others).await?;
    for (_, object) in &made.ours {
        let deed = action::deletion("spec corrected", object);
        if let Done::Deleted = deeds::act(&context.client, test, &deed).await? {
            outcome.deleted.push(deed.object.uid);
        }
    }
    revision::delete(&context.client, test, stored).await?;
    outcome.run = Some(Run::default());
    Ok(())
}

/// Sends the events about a child that is gone.
async fn tell_gone(context: &Context, test: &Value, child: &Value) {
    let uid = text(child, "/metadata/uid");
    for notice in notice::about_child(&context.bundle, Occasion::Deleted, child) {
        events::send_about(&context.client, test, uid, &notice).await;
    }
}
