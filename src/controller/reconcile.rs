//! The reading and writing that a plan asks for.

use super::adopted;
use super::children::{self, Claim, Claims, Found};
use super::deeds::{self, Done};
use super::events;
use super::plan::{Plan, Step};
use super::revision::{self, Stored, Written};
use super::status;
use crate::api::v2::LocustTest;
use crate::bundle::Bundle;
use crate::engine::action;
use crate::engine::drift::asked;
use crate::engine::index::Key;
use crate::engine::lookup::{Answer, Question};
use crate::engine::notice::{self, Notice};
use crate::engine::packed::Packed;
use crate::engine::render::{CHILD_LABEL, Child, MANAGED_BY, render, text};
use crate::engine::rule::Occasion;
use crate::engine::run::{Revision, Run};
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What every task needs.
pub struct Context {
    pub client: Client,
    pub bundle: Arc<Bundle>,
    pub claims: Arc<Claims>,
    /// Other tests are being started as well.
    pub crowded: Arc<AtomicBool>,
}

/// What is to be said about a child that was made.
#[derive(Debug)]
pub struct Created {
    uid: String,
    notices: Vec<Notice>,
}

/// What came of a plan.
#[derive(Debug)]
pub struct Outcome {
    pub key: Key,
    /// The test's uid: there may be another one of its name by now.
    pub uid: String,
    /// What decided the plan: another bundle may run by now.
    pub bundle: Arc<Bundle>,
    /// What the test asked for (see [`asked`]): it may ask for something else by now.
    pub asked: u64,
    pub run: Option<Run>,
    /// Children as the API server answered.
    pub applied: Vec<Value>,
    /// Those of them that were not there before.
    pub created: Vec<Created>,
    /// The uids of what was deleted.
    pub deleted: Vec<String>,
    /// The test as the API server answered the status write.
    pub status: Option<Value>,
    /// What events say about signals.
    pub answers: Vec<(Question, Answer)>,
    /// The test is another by now than the plan was made for.
    pub overtaken: bool,
    /// Why to try again.
    pub retry: Option<String>,
    pub took: Duration,
}

/// Does what a plan asks for. Events go first: one that was sent twice has the
/// same name and is one, one that was never sent is lost.
pub async fn execute(context: &Context, key: Key, plan: Plan) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome {
        key,
        uid: text(&plan.test, "/metadata/uid").to_string(),
        bundle: Arc::clone(&context.bundle),
        asked: asked(&plan.test),
        run: None,
        applied: Vec::new(),
        created: Vec::new(),
        deleted: Vec::new(),
        status: None,
        answers: Vec::new(),
        overtaken: false,
        retry: None,
        took: Duration::ZERO,
    };
    for question in &plan.questions {
        let answer = events::look_up(&context.client, &plan.test, question).await;
        outcome.answers.push((question.clone(), answer));
    }
    announce(context, &plan.test, &plan.created).await;
    for notice in &plan.events {
        events::send(&context.client, &plan.test, notice).await;
    }
    if let Some(status) = &plan.status {
        match status::write(&context.client, &context.bundle, &plan.test, status).await {
            Ok(written) => outcome.status = Some(written),
            // Changed or deleted meanwhile, or another test of the same name by now: the watch will say so, and
            // what else follows from the test as it was is not done.
            Err(kube::Error::Api(e)) if e.code == 404 || e.code == 409 => {
                outcome.overtaken = true;
                outcome.took = began.elapsed();
                return outcome;
            }
            Err(e) => {
                let error = super::with_causes(&e);
                outcome.retry = Some(format!("cannot write the status: {error}"));
            }
        }
    }
    let step = match &plan.step {
        Step::Nothing => Ok(()),
        Step::Start => start(context, &plan, &mut outcome).await,
        Step::Finish(rest) => finish(context, &plan, rest, &mut outcome).await,
        Step::LookFor(stems) => look_for(context, &plan, stems, &mut outcome).await,
        Step::Recreate(missing) => recreate(context, &plan, missing, &mut outcome).await,
    };
    if let Err(e) = step {
        // What the API server says is for the user too, such as that the test is too large to be recorded.
        if let kube::Error::Api(status) = &e
            && ![409, 429].contains(&status.code)
        {
            let mut run = outcome.run.take().unwrap_or_else(|| plan.run.clone());
            run.errors = vec![format!(
                "the API server refuses a request: {}",
                status.message
            )];
            outcome.run = Some(run);
        }
        outcome.retry = Some(super::with_causes(&e));
    }
    for deed in &plan.deeds {
        match deeds::act(&context.client, &plan.test, deed).await {
            Ok(Done::Patched(object)) => outcome.applied.push(object),
            Ok(Done::Deleted) => outcome.deleted.push(deed.object.uid.clone()),
            Ok(Done::Needless) => {}
            Err(e) => {
                outcome.retry = Some(format!("{}: {}", deed.rule, super::with_causes(&e)));
            }
        }
    }
    outcome.conceal();
    outcome.took = began.elapsed();
    outcome
}

/// Sends the events about children that were made.
pub async fn announce(context: &Context, test: &Value, created: &[Created]) {
    for child in created {
        for notice in &child.notices {
            events::send_about(&context.client, test, &child.uid, notice).await;
        }
    }
}

impl Outcome {
    /// The API server quotes what it refuses, and in that may be a credential: it is in no log, and in nothing that is
    /// kept for a status.
    fn conceal(&mut self) {
        let secrets = self.bundle.secrets();
        let conceal = |text: &mut String| {
            if let Cow::Owned(masked) = secrets.mask_told(text) {
                *text = masked;
            }
        };
        self.retry.iter_mut().for_each(conceal);
        if let Some(run) = &mut self.run {
            run.errors.iter_mut().for_each(conceal);
            let messages = run.refused.iter_mut().filter_map(|r| r.get_mut("message"));
            messages.for_each(|message| secrets.mask_value(message));
        }
    }
}

async fn start(context: &Context, plan: &Plan, outcome: &mut Outcome) -> Result<(), kube::Error> {
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
async fn finish(
    context: &Context,
    plan: &Plan,
    rest: &Packed,
    outcome: &mut Outcome,
) -> Result<(), kube::Error> {
    let children: Vec<Child> = rest.read();
    let run = plan.run.clone();
    make(context, children.iter(), &[], run, outcome).await
}

/// Looks for children by name that no list showed, and adopts those that are there.
async fn look_for(
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

async fn recreate(
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

/// Makes the children that are not there yet, one after the other up to the first that
/// is refused, and adopts those that are there without our labels. Of two tests whose
/// children have the same names, one thus makes all of them and the other none.
async fn make(
    context: &Context,
    wanted: impl Iterator<Item = &Child>,
    ours: &[(String, Value)],
    run: Run,
    outcome: &mut Outcome,
) -> Result<(), kube::Error> {
    for child in wanted {
        let exists = ours.iter().find(|(stem, _)| *stem == child.stem);
        let written = match exists {
            None => children::apply(&context.client, child).await,
            // A second apply would say nothing new.
            Some((_, existing)) if children::is_labelled(child, existing) => Ok(existing.clone()),
            Some((_, existing)) => children::adopt(&context.client, child, existing).await,
        };
        match written {
            Ok(applied) => {
                if exists.is_none() {
                    outcome.created.push(Created {
                        uid: text(&applied, "/metadata/uid").to_string(),
                        notices: notice::about_child(&context.bundle, Occasion::Created, &applied),
                    });
                }
                outcome.applied.push(applied);
            }
            Err(kube::Error::Api(e)) if children::is_refusal(e.code) => {
                refuse(outcome, run, vec![children::refusal(child, &e.message)]);
                return Ok(());
            }
            Err(e) => {
                outcome.run = Some(run);
                return Err(e);
            }
        }
    }
    outcome.run = Some(run);
    Ok(())
}

/// Claims the names of children; notes it when another test has one of them.
fn claim<'a>(
    context: &'a Context,
    test: &Value,
    children: &[Child],
    run: impl FnOnce() -> Run,
    outcome: &mut Outcome,
) -> Option<Claim<'a>> {
    match context.claims.claim(test, children) {
        Ok(claim) => Some(claim),
        Err(taken) => {
            let message = "it is being made for another test, whose objects have the same names";
            refuse(outcome, run(), vec![children::refusal(taken, message)]);
            None
        }
    }
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

/// Sends the events about a child that is gone.
async fn tell_gone(context: &Context, test: &Value, child: &Value) {
    let uid = text(child, "/metadata/uid");
    for notice in notice::about_child(&context.bundle, Occasion::Deleted, child) {
        events::send_about(&context.client, test, uid, &notice).await;
    }
}
