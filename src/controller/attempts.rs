//! What actions asked for lately, per object and rule. What somebody else undoes is done again, but each time later:
//! two controllers that want different things of one object must not keep an API server busy.

use super::queue::{LAST_RETRY, backoff};
use crate::engine::action::Deed;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Attempts(BTreeMap<(String, String), Attempt>);

#[derive(Debug)]
struct Attempt {
    /// How often in a row.
    count: u32,
    /// The last one.
    at: Timestamp,
    /// When the object was first seen not to be as wanted after it.
    wanting: Option<Timestamp>,
}

impl Attempts {
    /// Leaves in `deeds` those that may be done now and notes them as tried; says when the first of the others may be.
    pub fn hold_back(&mut self, deeds: &mut Vec<Deed>, now: Timestamp) -> Option<Timestamp> {
        let mut next = None;
        deeds.retain(|deed| {
            let key = (deed.rule.clone(), deed.object.uid.clone());
            let attempt = self.0.entry(key).or_insert(Attempt {
                count: 0,
                at: now,
                wanting: None,
            });
            let wanting = *attempt.wanting.get_or_insert(now);
            if wanting.duration_since(attempt.at) >= steady() {
                attempt.count = 0;
            }
            let due = attempt.due();
            if due > now {
                next = Some(next.map_or(due, |next: Timestamp| next.min(due)));
                return false;
            }
            *attempt = Attempt {
                count: attempt.count + 1,
                at: now,
                wanting: None,
            };
            true
        });
        next
    }
}

impl Attempt {
    /// When the next one may be.
    fn due(&self) -> Timestamp {
        match self.count {
            0 => self.at,
            count => self
                .at
                .saturating_add(backoff(count - 1))
                .unwrap_or(self.at),
        }
    }
}

/// An object that stayed as wanted for so long is not fought about.
fn steady() -> SignedDuration {
    SignedDuration::try_from(LAST_RETRY).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::action::Object;
    use crate::engine::rule::Act;

    fn deed(rule: &str, uid: &str) -> Deed {
        Deed {
            rule: rule.into(),
            object: Object {
                api_version: "batch/v1".into(),
                kind: "Job".into(),
                name: "load".into(),
                uid: uid.into(),
            },
            act: Act::Delete,
        }
    }

    /// The seconds at which the deed is done, when it is asked for at each of `asked`.
    fn done(attempts: &mut Attempts, asked: impl Iterator<Item = i64>) -> Vec<i64> {
        let may = |at: &i64| {
            let mut deeds = vec![deed("stop", "a")];
            attempts.hold_back(&mut deeds, Timestamp::from_second(*at).unwrap());
            !deeds.is_empty()
        };
        asked.filter(may).collect()
    }

    #[test]
    fn what_is_undone_at_once_is_done_ever_later() {
        let done = done(&mut Attempts::default(), 0..1200);
        assert_eq!(done, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811, 1111]);
    }

    /// Undone every ten seconds: the object is as wanted most of the time, and still is no reason to write each time.
    #[test]
    fn what_is_undone_now_and_then_is_done_ever_later() {
        let done = done(&mut Attempts::default(), (0..1200).step_by(10));
        assert_eq!(done, [0, 10, 20, 30, 40, 60, 100, 170, 300, 560, 860, 1160]);
    }

    #[test]
    fn an_object_that_stayed_as_wanted_is_forgotten() {
        let mut attempts = Attempts::default();
        assert_eq!(done(&mut attempts, 0..4), [0, 1, 3]);
        assert_eq!(done(&mut attempts, 303..307), [303, 304, 306]);
    }

    #[test]
    fn others_do_not_wait_and_the_first_that_does_is_told() {
        let mut attempts = Attempts::default();
        let now = Timestamp::UNIX_EPOCH;
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut deeds = vec![deed("stop", "a"), deed("stop", "b")];
        assert_eq!(attempts.hold_back(&mut deeds, now), None);
        let mut deeds = vec![deed("stop", "b")];
        assert_eq!(attempts.hold_back(&mut deeds, at(1)), None);
        let mut deeds = vec![
            deed("stop", "b"),
            deed("stop", "a"),
            deed("remove", "b"),
            deed("stop", "c"),
        ];
        assert_eq!(attempts.hold_back(&mut deeds, at(2)), Some(at(3)));
        let left: Vec<_> = deeds
            .iter()
            .map(|d| (d.rule.as_str(), d.object.uid.as_str()))
            .collect();
        assert_eq!(left, [("stop", "a"), ("remove", "b"), ("stop", "c")]);
    }
}
