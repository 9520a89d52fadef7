//! Which tests are due for a look, and when. A test is worked on by one task at a time; what happens meanwhile makes it
//! due again.
//!
//! When many tests are created at once, all of them are prepared before the first gets what runs pods. Pods keep the API
//! server and everyone else busy: a Service, whose address is found under a lock there, takes 5 ms before there are pods
//! and 60 ms once there are, on two cores. What only tells of a test waits until the load of all has been started.

use super::attempts::Attempts;
use super::reconcile::Created;
use crate::engine::index::Key;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// So many tests are prepared at the same time.
const PREPARED: usize = 32;

/// So many are given what runs pods: the pods of the first take the API server's time from the last.
const FINISHED: usize = 32;

/// So many other tests are written for at the same time, and so many while some are being started.
const OTHERS: usize = 16;
const OTHERS_BESIDE_STARTS: usize = 2;

/// So long a test that is prepared waits for others that are not.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far a test is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was made for it.
    #[default]
    New,
    /// It has everything but what runs pods.
    Prepared,
    /// What was to be made was made, or was tried.
    Started,
}

/// The tests of one stage.
#[derive(Debug, Default)]
struct Lane {
    due: BTreeSet<(Instant, Key)>,
    busy: usize,
}

const FIRST_RETRY: Duration = Duration::from_secs(1);
pub const LAST_RETRY: Duration = Duration::from_secs(300);

/// How long to wait after so many failures before the last one: doubled each time.
pub fn backoff(failures: u32) -> Duration {
    let wait = FIRST_RETRY.saturating_mul(1 << failures.min(16));
    wait.min(LAST_RETRY)
}

#[derive(Debug, Default)]
pub struct Queue {
    new: Lane,
    prepared: Lane,
    started: Lane,
    work: HashMap<Key, Box<Work>>,
    added: u64,
}

/// What is known of the work for one test.
#[derive(Debug, Default)]
pub struct Work {
    due: Option<Instant>,
    stage: Stage,
    /// In which stage it is worked on.
    busy: Option<Stage>,
    /// The test is gone; only the task that still runs keeps this entry.
    forgotten: bool,
    pub failures: u32,
    /// The look that is under way asked for another one at a time.
    pub again: bool,
    status_written: Option<Instant>,
    /// What was made and not told of yet.
    pub created: Vec<Created>,
    /// What actions asked for.
    pub attempts: Attempts,
    /// Since when the status differs from the stored one.
    pub status_differs: Option<Instant>,
    /// The signals that were warned of and still count.
    pub warned: BTreeSet<String>,
}

/// How soon a status is written.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Urgency {
    /// The phase changes.
    AtOnce,
    /// A condition becomes another: not more often than once in a while.
    Soon,
    /// Only numbers and messages change. They may change again in a moment, as when workers connect: the Job controller
    /// counts them once a second, so two seconds see them all.
    #[default]
    Settled,
}

impl Work {
    /// How long to wait before trying again.
    pub fn failed(&mut self) -> Duration {
        let wait = backoff(self.failures);
        self.failures += 1;
        wait
    }

    /// How long until a status that differs from the stored one may be written.
    pub fn status_wait(&mut self, urgency: Urgency, interval: Duration) -> Duration {
        let after = |at: Option<Instant>| {
            at.map_or(Duration::ZERO, |at| interval.saturating_sub(at.elapsed()))
        };
        match urgency {
            Urgency::AtOnce => Duration::ZERO,
            Urgency::Soon => after(self.status_written),
            Urgency::Settled => {
                let since = *self.status_differs.get_or_insert_with(Instant::now);
                let settled = (2 * interval).saturating_sub(since.elapsed());
                after(self.status_written).max(settled)
            }
        }
    }

    /// Notes that the status was written.
    pub fn wrote_status(&mut self) {
        self.status_written = Some(Instant::now());
        self.status_differs = None;
    }
}

impl Lane {
    /// When the first that is due may be taken, with room for so many.
    fn opens(&self, room: usize) -> Option<Instant> {
        let (at, _) = self.due.first().filter(|_| self.busy < room)?;
        Some(*at)
    }

    fn is_idle(&self) -> bool {
        self.busy == 0 && self.due.is_empty()
    }
}

impl Queue {
    /// Makes a test due at a time, or earlier if it already is.
    pub fn add(&mut self, key: &Key, at: Instant) {
        let work = self.work.entry(key.clone()).or_default();
        work.forgotten = false;
        if work.due.is_some_and(|due| due <= at) {
            return;
        }
        let before = work.due.replace(at);
        if before.is_none() {
            self.added += 1;
        }
        if work.busy.is_some() {
            return;
        }
        let stage = work.stage;
        let lane = self.lane(stage);
        if let Some(due) = before {
            lane.due.remove(&(due, key.clone()));
        }
        lane.due.insert((at, key.clone()));
    }

    fn lane(&mut self, stage: Stage) -> &mut Lane {
        match stage {
            Stage::New => &mut self.new,
            Stage::Prepared => &mut self.prepared,
            Stage::Started => &mut self.started,
        }
    }

    /// Notes how far a test is that is being worked on.
    pub fn reached(&mut self, key: &Key, stage: Stage) {
        if let Some(work) = self.work.get_mut(key).filter(|work| work.busy.is_some()) {
            work.stage = stage;
        }
    }

    pub fn work(&mut self, key: &Key) -> &mut Work {
        self.work.entry(key.clone()).or_default()
    }

    /// When there is something to take.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let opens = self.opens(now).into_iter();
        opens.filter_map(|(_, at)| at).min()
    }

    /// The first test that is due. It is busy until it is released.
    pub fn take(&mut self, now: Instant) -> Option<Key> {
        let mut opens = self.opens(now).into_iter();
        let (stage, _) = opens.find(|(_, at)| at.is_some_and(|at| at <= now))?;
        let lane = self.lane(stage);
        let (_, key) = lane.due.pop_first()?;
        lane.busy += 1;
        let work = self.work(&key);
        work.due = None;
        work.busy = Some(stage);
        Some(key)
    }

    /// When the first test of each stage may be taken; the stage that comes first is first.
    fn opens(&self, now: Instant) -> [(Stage, Option<Instant>); 3] {
        let patience = match self.preparing(now) {
            0 => Duration::ZERO,
            _ => PATIENCE,
        };
        let prepared = self.prepared.opens(FINISHED);
        let others = match self.is_calm(now) {
            true => OTHERS,
            false => OTHERS_BESIDE_STARTS,
        };
        [
            (Stage::New, self.new.opens(PREPARED)),
            (Stage::Prepared, prepared.map(|at| at + patience)),
            (Stage::Started, self.started.opens(others)),
        ]
    }

    /// How many tests are being prepared; of those that are due for it one counts.
    fn preparing(&self, now: Instant) -> usize {
        let is_due = |(at, _): &(Instant, Key)| *at <= now;
        self.new.busy + usize::from(self.new.due.first().is_some_and(is_due))
    }

    /// Whether a test that is being prepared is not the only one.
    pub fn is_crowded(&self, now: Instant) -> bool {
        self.preparing(now) > 1
    }

    /// Whether no test is being started.
    fn is_calm(&self, now: Instant) -> bool {
        self.preparing(now) == 0 && self.prepared.is_idle()
    }

    pub fn release(&mut self, key: &Key) {
        let Some(work) = self.work.get_mut(key) else {
            return;
        };
        let Some(busy) = work.busy.take() else {
            return;
        };
        let (due, stage, forgotten) = (work.due, work.stage, work.forgotten);
        self.lane(busy).busy -= 1;
        if let Some(due) = due {
            self.lane(stage).due.insert((due, key.clone()));
        } else if forgotten {
            self.work.remove(key);
        }
    }

    /// Drops what is known of a test that is gone. While a task runs for it, the next
    /// test of the same name has to wait for that one too.
    pub fn forget(&mut self, key: &Key) {
        let Some(work) = self.work.remove(key) else {
            return;
        };
        if let Some(due) = work.due {
            self.lane(work.stage).due.remove(&(due, key.clone()));
        }
        if work.busy.is_some() {
            let left = Work {
                busy: work.busy,
                forgotten: true,
                ..Work::default()
            };
            self.work.insert(key.clone(), Box::new(left));
        }
    }

    pub fn len(&self) -> usize {
        let lanes = [&self.new, &self.prepared, &self.started];
        lanes.map(|lane| lane.due.len()).iter().sum()
    }

    /// What was made for each test and not told of.
    pub fn take_created(&mut self) -> Vec<(Key, Vec<Created>)> {
        let works = self.work.iter_mut();
        let created = works.map(|(key, work)| (key.clone(), std::mem::take(&mut work.created)));
        created.filter(|(_, all)| !all.is_empty()).collect()
    }

    /// How many tests became due since this was last asked.
    pub fn take_added(&mut self) -> u64 {
        std::mem::take(&mut self.added)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key {
            namespace: "a".into(),
            name: "b".into(),
        }
    }

    #[test]
    fn a_busy_test_is_due_again_after_it_is_released() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let key = key();
        queue.add(&key, now + Duration::from_secs(60));
        queue.add(&key, now);
        queue.add(&key, now + Duration::from_secs(30));
        assert_eq!((queue.len(), queue.take_added()), (1, 1));
        assert_eq!(queue.take(now), Some(key.clone()));
        queue.add(&key, now);
        assert_eq!(queue.take(now), None, "one task at a time");
        queue.release(&key);
        assert_eq!(queue.take(now), Some(key.clone()));
        queue.release(&key);
        assert_eq!(queue.take(now), None);
    }

    #[test]
    fn the_next_test_of_the_same_name_waits_for_the_task_of_the_one_before() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let key = key();
        queue.add(&key, now);
        assert_eq!(queue.take(now), Some(key.clone()));
        queue.forget(&key);
        queue.add(&key, now);
        assert_eq!(queue.take(now), None, "the old task still runs");
        queue.release(&key);
        assert_eq!(queue.take(now), Some(key.clone()));
    }

    fn keys<const N: usize>(names: [&str; N]) -> [Key; N] {
        names.map(|name| Key {
            name: name.into(),
            ..key()
        })
    }

    #[test]
    fn tests_are_prepared_before_any_gets_what_runs_pods() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let [first, second, old] = keys(["first", "second", "old"]);
        queue.add(&old, now);
        assert_eq!(queue.take(now), Some(old.clone()));
        assert!(!queue.is_crowded(now));
        queue.reached(&old, Stage::Started);
        queue.add(&old, now);
        queue.release(&old);
        queue.add(&first, now);
        queue.add(&second, now);
        assert_eq!(queue.take(now), Some(first.clone()));
        assert!(queue.is_crowded(now) && !queue.is_calm(now));
        queue.reached(&first, Stage::Prepared);
        queue.add(&first, now);
        queue.release(&first);
        assert_eq!(queue.take(now), Some(second.clone()));
        let [one, other] = [queue.take(now), queue.take(now)];
        assert_eq!((one, other), (Some(old.clone()), None), "first has to wait");
        assert_eq!(queue.next_due(now), Some(now + PATIENCE));
        queue.release(&old);
        queue.add(&old, now);
        queue.reached(&second, Stage::Prepared);
        queue.release(&second);
        assert_eq!(queue.next_due(now), Some(now));
        let taken = [queue.take(now), queue.take(now), queue.take(now)];
        assert_eq!(taken, [Some(first), Some(old), None]);
    }

    #[test]
    fn a_prepared_test_does_not_wait_for_ever() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let [first, second] = keys(["first", "second"]);
        queue.add(&first, now);
        queue.take(now);
        queue.reached(&first, Stage::Prepared);
        queue.add(&first, now);
        queue.release(&first);
        queue.add(&second, now);
        queue.take(now);
        assert_eq!(queue.take(now), None);
        assert_eq!(queue.take(now + PATIENCE), Some(first));
    }

    #[test]
    fn a_test_that_is_not_due_yet_keeps_nobody_waiting() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.add(&key(), now + Duration::from_secs(60));
        assert!(queue.is_calm(now));
        assert_eq!(queue.take(now), None);
    }

    #[test]
    fn nothing_is_left_of_a_forgotten_test() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let key = key();
        queue.add(&key, now);
        queue.forget(&key);
        assert!(queue.work.is_empty() && queue.len() == 0);
        queue.add(&key, now);
        queue.take(now);
        queue.forget(&key);
        queue.release(&key);
        assert!(queue.work.is_empty() && queue.len() == 0);
    }

    #[test]
    fn retries_back_off_to_five_minutes() {
        let mut work = Work::default();
        let waits: Vec<u64> = (0..10).map(|_| work.failed().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    }
}
