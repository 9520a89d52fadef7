//! What a Lease says and what follows from it, without a client and without a clock.
//!
//! Clocks of different machines differ, so no time in a record is ever compared with a clock of ours: a holder is taken
//! for gone when its record has not changed for as long as it promised, by the monotonic clock of whoever watches. That
//! clock goes on while the process is stopped.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

/// The name of the Lease. Other operators of the same tests have it too: of all of them one works.
pub const NAME: &str = "locust-k8s-operator.locust.io";

/// More than this is forever.
const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Who takes part in an election, where, and how fast.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespace of the Lease; `None` is that of the client.
    pub namespace: Option<String>,
    pub identity: String,
    pub terms: Terms,
}

/// How long everything lasts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// So long others wait for a holder that renews no more. Whole seconds.
    pub lease: Duration,
    /// A holder that could not renew for so long leads no more.
    pub deadline: Duration,
    /// A holder renews so often; others try so often where something fails.
    pub retry: Duration,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            lease: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

impl Terms {
    /// What is wrong with them: a leader has to know that it leads no more before others may lead.
    pub fn mistake(&self) -> Option<&'static str> {
        if self.lease < Duration::from_secs(1) || self.lease.subsec_nanos() > 0 || self.lease > YEAR
        {
            Some("the lease duration is in whole seconds, at least 1s")
        } else if self.deadline >= self.lease {
            Some("the renew deadline is shorter than the lease duration")
        } else if self.retry.is_zero() || self.retry * 6 / 5 >= self.deadline {
            // Of two tries the second comes in time.
            Some(
                "the retry period is above zero, and 1.2 times it is shorter than the renew deadline",
            )
        } else {
            None
        }
    }
}

/// A name for this very process: one that is started again in the same pod is another.
pub fn identity(pod: &str) -> String {
    // Each has keys from the system's random numbers.
    let random = || RandomState::new().build_hasher().finish();
    format!("{pod}_{:016x}{:016x}", random(), random())
}

/// What to do about a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision {
    /// Nobody holds it, or nobody does any more.
    Acquire,
    /// We hold it.
    Renew,
    /// Somebody holds it, until then if nothing changes.
    Wait(Instant),
}

/// Decides about a record that was first seen as it is at `observed`.
pub fn decide(
    record: Option<&LeaseSpec>,
    me: &str,
    terms: &Terms,
    observed: Instant,
    now: Instant,
) -> Decision {
    let Some((record, holder)) = record.and_then(|r| Some((r, holder(r)?))) else {
        return Decision::Acquire;
    };
    if holder == me {
        return Decision::Renew;
    }
    // The holder's own promise.
    let promised = match record.lease_duration_seconds {
        Some(seconds) => Duration::from_secs(u64::try_from(seconds).unwrap_or_default()).min(YEAR),
        None => terms.lease,
    };
    match observed + promised {
        until if until <= now => Decision::Acquire,
        until => Decision::Wait(until),
    }
}

/// Who holds a lease.
pub fn holder(record: &LeaseSpec) -> Option<&str> {
    record.holder_identity.as_deref().filter(|h| !h.is_empty())
}

/// The record of a lease that we hold.
pub fn held(before: Option<&LeaseSpec>, me: &str, terms: &Terms, now: Timestamp) -> LeaseSpec {
    let mut record = before.cloned().unwrap_or_default();
    if holder(&record) != Some(me) {
        let transitions = before.map(|b| b.lease_transitions.unwrap_or(0).saturating_add(1));
        record.lease_transitions = Some(transitions.unwrap_or(0));
        record.acquire_time = Some(MicroTime(now));
        record.holder_identity = Some(me.to_string());
    }
    record.lease_duration_seconds = i32::try_from(terms.lease.as_secs()).ok();
    record.renew_time = Some(MicroTime(now));
    record
}

/// The record of a lease that we give back. Others need not wait; those that look at the times alone wait a second.
pub fn released(before: &LeaseSpec, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: None,
        lease_duration_seconds: Some(1),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        ..before.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(holder: Option<&str>, seconds: Option<i32>) -> LeaseSpec {
        LeaseSpec {
            holder_identity: holder.map(str::to_string),
            lease_duration_seconds: seconds,
            ..LeaseSpec::default()
        }
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn what_follows_from_a_record() {
        let (start, terms) = (Instant::now(), Terms::default());
        let decide = |record: Option<&LeaseSpec>, after: u64| {
            decide(record, "me", &terms, start, at(start, after))
        };
        assert_eq!(decide(None, 0), Decision::Acquire);
        for nobody in [None, Some("")] {
            assert_eq!(
                decide(Some(&record(nobody, Some(15))), 0),
                Decision::Acquire
            );
        }
        for after in [0, 100] {
            assert_eq!(
                decide(Some(&record(Some("me"), Some(1))), after),
                Decision::Renew
            );
        }
        let waits = |seconds: Option<i32>, until: u64| {
            let other = record(Some("pod_1c1b8a6e-0b61-4a4a-9a52-0f5e2f1f6a55"), seconds);
            let wait = Decision::Wait(at(start, until));
            assert_eq!(decide(Some(&other), until - 1), wait);
            assert_eq!(decide(Some(&other), until), Decision::Acquire);
        };
        waits(Some(15), 15);
        waits(Some(60), 60);
        waits(None, 15);
        for never in [0, -1, i32::MIN] {
            let other = record(Some("other"), Some(never));
            assert_eq!(decide(Some(&other), 0), Decision::Acquire);
        }
        let long = record(Some("other"), Some(i32::MAX));
        assert!(matches!(decide(Some(&long), 1_000_000), Decision::Wait(_)));
    }

    #[test]
    fn the_times_of_a_record_are_those_of_its_holder() {
        let terms = Terms::default();
        let time = |second| Timestamp::from_second(second).unwrap();
        let first = held(None, "a", &terms, time(1));
        assert_eq!(first.lease_transitions, Some(0));
        let renewed = held(Some(&first), "a", &terms, time(9));
        assert_eq!(renewed.acquire_time, Some(MicroTime(time(1))));
        assert_eq!(renewed.renew_time, Some(MicroTime(time(9))));
        assert_eq!(renewed.lease_transitions, Some(0));
        let free = released(&renewed, time(10));
        assert_eq!(
            (holder(&free), free.lease_duration_seconds),
            (None, Some(1))
        );
        let next = held(Some(&free), "b", &terms, time(11));
        assert_eq!(
            (holder(&next), next.lease_transitions),
            (Some("b"), Some(1))
        );
        assert_eq!(next.acquire_time, Some(MicroTime(time(11))));
        assert_eq!(next.lease_duration_seconds, Some(15));
    }

    #[test]
    fn terms_leave_time_to_stop() {
        let terms = |lease: f64, deadline: f64, retry: f64| Terms {
            lease: Duration::from_secs_f64(lease),
            deadline: Duration::from_secs_f64(deadline),
            retry: Duration::from_secs_f64(retry),
        };
        assert_eq!(Terms::default().mistake(), None);
        assert_eq!(terms(2.0, 1.5, 0.2).mistake(), None);
        for (wrong, says) in [
            (terms(1.5, 1.0, 0.1), "whole seconds"),
            (terms(0.0, 0.0, 0.0), "whole seconds"),
            (terms(10.0, 10.0, 1.0), "shorter than the lease"),
            (terms(10.0, 6.0, 5.0), "retry"),
            (terms(10.0, 6.0, 0.0), "retry"),
        ] {
            assert!(wrong.mistake().unwrap().contains(says), "{wrong:?}");
        }
    }

    #[test]
    fn every_process_has_a_name_of_its_own() {
        let (a, b) = (identity("pod"), identity("pod"));
        assert!(a.starts_with("pod_") && b.starts_with("pod_"));
        assert_ne!(a, b);
    }

    proptest! {
        /// However wrong the clock of a holder is: nobody acts before it has been seen to be silent for as long as it
        /// promised, and then at once.
        #[test]
        fn clocks_do_not_matter(renewed in -1_000_000_000_i64..4_000_000_000, promised in 1..100_000_i32, silent in 0..200_000_u64) {
            let start = Instant::now();
            let mut other = record(Some("other"), Some(promised));
            other.renew_time = Some(MicroTime(Timestamp::from_second(renewed).unwrap()));
            other.acquire_time.clone_from(&other.renew_time);
            let decision = decide(Some(&other), "me", &Terms::default(), start, at(start, silent));
            let until = at(start, promised.unsigned_abs().into());
            match silent < promised.unsigned_abs().into() {
                true => prop_assert_eq!(decision, Decision::Wait(until)),
                false => prop_assert_eq!(decision, Decision::Acquire),
            }
        }

        /// A leader that stops in time has stopped before anybody takes its lease, whenever its last renewal was seen.
        #[test]
        fn a_leader_stops_before_another_leads(lease in 1..1_000_u64, deadline in 0.1..0.999, retry in 0.01..0.8, seen_after in 0..100_000_u64) {
            let millis = Duration::from_millis;
            let whole = Duration::from_secs(lease);
            let part = |of: Duration, part: f64| Duration::from_secs_f64(of.as_secs_f64() * part);
            let deadline = part(whole, deadline);
            let terms = Terms { lease: whole, deadline, retry: part(deadline, retry) };
            prop_assert_eq!(terms.mistake(), None);
            let sent = Instant::now();
            let ours = held(None, "me", &terms, Timestamp::UNIX_EPOCH);
            let seen = sent + millis(seen_after);
            let decision = decide(Some(&ours), "other", &terms, seen, seen);
            prop_assert!(matches!(decision, Decision::Wait(until) if until > sent + terms.deadline));
        }
    }
}
