//! The reading and writing that a plan asks for.

use super::children::Claims;
use super::deeds::{self, Done};
use super::events;
use super::plan::{Plan, Step};
use super::recreate;
use super::start;
use super::status;
use crate::bundle::Bundle;
use crate::engine::drift::asked;
use crate::engine::index::Key;
use crate::engine::lookup::{Answer, Question};
use crate::engine::notice::Notice;
use crate::engine::render::text;
use crate::engine::run::Run;
use kube::Client;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
    pub uid: String,
    pub notices: Vec<Notice>,
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
        Step::Start => start::start(context, &plan, &mut outcome).await,
        Step::Finish(rest) => start::finish(context, &plan, rest, &mut outcome).await,
        Step::LookFor(stems) => recreate::look_for(context, &plan, stems, &mut outcome).await,
        Step::Recreate(missing) => recreate::recreate(context, &plan, missing, &mut outcome).await,
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
