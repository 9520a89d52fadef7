//! The work for tests: begun when they are due, and what came of it taken into the index.

use super::Controller;
use super::plan;
use super::queue::Stage;
use super::reconcile::{self, Outcome};
use crate::engine::index::Key;
use crate::engine::text::escape;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinError;

/// After a status write, the next one for the same test waits this long, so
/// that hundreds of pods changing at once make one write.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// So many tests are ready to be looked at again; the others are packed.
const RECENT: usize = 16;

impl Controller {
    /// Starts the work for the tests that are due.
    pub(super) fn start(&mut self) {
        while let Some(key) = self.queue.take(Instant::now()) {
            let Some(test) = self.index.get(&key) else {
                self.queue.forget(&key);
                self.queue.release(&key);
                continue;
            };
            if self.is_blind(test) {
                self.queue.release(&key);
                continue;
            }
            let work = self.queue.work(&key);
            let bundle = &self.context.bundle;
            let now = Timestamp::now();
            let mut plan = plan::plan(bundle, test, &work.warned, now);
            plan.hold_back(&mut work.attempts, now);
            self.touch(&key);
            if !plan.starts() {
                self.queue.reached(&key, Stage::Started);
            }
            let work = self.queue.work(&key);
            let wait = match plan.only_status() {
                true => work.status_wait(plan.urgency, STATUS_INTERVAL),
                false => {
                    work.status_differs = None;
                    Duration::ZERO
                }
            };
            let next = plan.look_again();
            work.again = next.is_some();
            if let Some(next) = next {
                self.queue.add(&key, instant(next));
            }
            if wait > Duration::ZERO {
                self.queue.release(&key);
                self.queue.add(&key, Instant::now() + wait);
                continue;
            }
            let work = self.queue.work(&key);
            work.warned = std::mem::take(&mut plan.warned);
            // The load does not wait for what is said about it.
            if !plan.starts() {
                plan.created = std::mem::take(&mut work.created);
            }
            if plan.is_empty() {
                let result = match next {
                    Some(_) => "requeue_after",
                    None => "success",
                };
                self.metrics.reconciled(result, Duration::ZERO);
                self.queue.release(&key);
                continue;
            }
            let context = Arc::clone(&self.context);
            let of = key.clone();
            let task = self
                .tasks
                .spawn(async move { reconcile::execute(&context, key, plan).await });
            self.running.insert(task.id(), of);
        }
        self.measure();
    }

    /// Lets go of the test that was not seen or looked at for longest.
    pub(super) fn touch(&mut self, key: &Key) {
        if self.recent.contains(key) {
            return;
        }
        self.recent.push_back(key.clone());
        if self.recent.len() > RECENT
            && let Some(oldest) = self.recent.pop_front()
        {
            self.index.let_go(&oldest);
        }
    }

    /// A task that broke is a mistake of ours; its test is tried again, like one whose write failed.
    pub(super) fn broke(&mut self, error: &JoinError) {
        let Some(key) = self.running.remove(&error.id()) else {
            return;
        };
        self.queue.release(&key);
        let wait = self.queue.work(&key).failed();
        tracing::error!(test = %key, retry_in = ?wait, %error, "the work for a test ended unexpectedly");
        self.queue.add(&key, Instant::now() + wait);
    }

    /// Takes what a task has written into the index.
    pub(super) fn take(&mut self, mut outcome: Outcome) {
        self.discard_outdated(&mut outcome);
        let key = &outcome.key;
        let now = Timestamp::now();
        let again = self.queue.work(key).again;
        let stage = match &outcome.run {
            Some(run) if run.rest.is_some() => Stage::Prepared,
            _ => Stage::Started,
        };
        self.queue.reached(key, stage);
        self.queue.release(key);
        let result = match &outcome.retry {
            Some(_) => "error",
            None if outcome.overtaken => "requeue",
            None if again => "requeue_after",
            None => "success",
        };
        self.metrics.reconciled(result, outcome.took);
        // What was done for a test that was deleted meanwhile says nothing about the next one of its name.
        if !self.index.is_of(key, &outcome.uid) {
            return;
        }
        let created = std::mem::take(&mut outcome.created);
        self.queue.work(key).created.extend(created);
        for child in &outcome.applied {
            self.index.apply_child(child, now);
            if let Some(next) = &mut self.next {
                next.wrote(child, now);
            }
        }
        for uid in &outcome.deleted {
            self.index.deleting(key, uid, now);
        }
        if let Some(test) = outcome.status {
            self.queue.work(key).wrote_status();
            if self.index.apply_test(test).is_some() {
                self.queue.add(key, Instant::now());
            }
        }
        for (question, answer) in outcome.answers {
            self.index.answer(key, question, answer, now);
            self.queue.add(key, Instant::now());
        }
        if let Some(run) = outcome.run {
            self.watch_also(&run);
            self.index.set_run(key, run);
            self.queue.add(key, Instant::now());
        }
        if outcome.overtaken {
            // The watch makes it due. The time is for a watch that lags behind or is interrupted.
            let wait = self.queue.work(key).failed();
            tracing::debug!(test = %key, "the test has changed; it is looked at again");
            self.queue.add(key, Instant::now() + wait);
            return;
        }
        match outcome.retry {
            None => {
                let retry = self.index.get(key).and_then(|t| t.run.retry);
                if retry.is_none_or(|(until, _)| until <= now) {
                    self.queue.work(key).failures = 0;
                }
            }
            Some(reason) => {
                let wait = self.queue.work(key).failed();
                tracing::warn!(test = %key, retry_in = ?wait, "{}", escape(&reason));
                self.queue.add(key, Instant::now() + wait);
                let until = now.saturating_add(wait).unwrap_or(now);
                self.index.retry_at(key, until, outcome.asked);
            }
        }
    }

    /// What was found out for rules and templates that run no more says nothing about those that do.
    fn discard_outdated(&mut self, outcome: &mut Outcome) {
        if Arc::ptr_eq(&outcome.bundle, &self.context.bundle) {
            return;
        }
        outcome.answers.clear();
        if outcome.run.take_if(|run| run.spec.is_none()).is_some() {
            outcome.retry = None;
        }
        self.queue.add(&outcome.key, Instant::now());
    }
}

/// The moment of a time of day.
fn instant(at: Timestamp) -> Instant {
    let wait = at.duration_since(Timestamp::now());
    // Never early: a timer that fires before its second finds nothing to do.
    Instant::now() + Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(1)
}
