//! Which tests are due for a look, and when. A test is worked on by one task at
//! a time; what happens meanwhile makes it due again.

use super::attempts::Attempts;
use crate::engine::index::Key;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

const FIRST_RETRY: Duration = Duration::from_secs(1);
pub const LAST_RETRY: Duration = Duration::from_secs(300);

/// How long to wait after so many failures before the last one: doubled each time.
pub fn backoff(failures: u32) -> Duration {
    let wait = FIRST_RETRY.saturating_mul(1 << failures.min(16));
    wait.min(LAST_RETRY)
}

#[derive(Debug, Default)]
pub struct Queue {
    due: BTreeSet<(Instant, Key)>,
    work: HashMap<Key, Work>,
    added: u64,
}

/// What is known of the work for one test.
#[derive(Debug, Default)]
pub struct Work {
    due: Option<Instant>,
    busy: bool,
    /// The test is gone; only the task that still runs keeps this entry.
    forgotten: bool,
    pub failures: u32,
    /// The look that is under way asked for another one at a time.
    pub again: bool,
    status_written: Option<Instant>,
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
        if let Some(due) = before
            && !work.busy
        {
            self.due.remove(&(due, key.clone()));
        }
        if !work.busy {
            self.due.insert((at, key.clone()));
        }
    }

    pub fn work(&mut self, key: &Key) -> &mut Work {
        self.work.entry(key.clone()).or_default()
    }

    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The first test that is due. It is busy until it is released.
    pub fn take(&mut self, now: Instant) -> Option<Key> {
        let (at, _) = self.due.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        let work = self.work(&key);
        work.due = None;
        work.busy = true;
        Some(key)
    }

    pub fn release(&mut self, key: &Key) {
        let Some(work) = self.work.get_mut(key) else {
            return;
        };
        work.busy = false;
        if let Some(due) = work.due {
            self.due.insert((due, key.clone()));
        } else if work.forgotten {
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
            self.due.remove(&(due, key.clone()));
        }
        if work.busy {
            let left = Work {
                busy: true,
                forgotten: true,
                ..Work::default()
            };
            self.work.insert(key.clone(), left);
        }
    }

    pub fn len(&self) -> usize {
        self.due.len()
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

    #[test]
    fn nothing_is_left_of_a_forgotten_test() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let key = key();
        queue.add(&key, now);
        queue.forget(&key);
        assert!(queue.work.is_empty() && queue.due.is_empty());
        queue.add(&key, now);
        queue.take(now);
        queue.forget(&key);
        queue.release(&key);
        assert!(queue.work.is_empty() && queue.due.is_empty());
    }

    #[test]
    fn retries_back_off_to_five_minutes() {
        let mut work = Work::default();
        let waits: Vec<u64> = (0..10).map(|_| work.failed().as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    }
}
