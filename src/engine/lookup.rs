//! What Kubernetes' events say about signals. They cannot be watched by label, so they are looked up when a signal
//! counts: the engine says about what and when, somebody else asks and brings the answer.

use super::rule::Signal;
use super::verdict::earliest;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// An event may come later than the trouble that it explains. So long after a lookup that found none the next one is
/// due, counted from when the signal began to count; after the last, only when the pod (or child) changes.
const AGAIN: [SignedDuration; 3] = [
    SignedDuration::from_secs(5),
    SignedDuration::from_secs(35),
    SignedDuration::from_secs(155),
];

/// After a lookup that failed, doubled each time.
const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(1);
const LAST_RETRY: SignedDuration = SignedDuration::from_secs(128);

/// The pod, or the child (`stem/`), on which a signal counts first: what its message is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub name: String,
    pub uid: String,
}

/// What is to be looked up before a signal is reported.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub rule: usize,
    /// The pod or child that the events are about.
    pub about: Subject,
    /// The reasons that say more.
    pub reasons: Vec<String>,
}

/// A Kubernetes event that a question was about.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub message: String,
    /// When it last occurred.
    pub at: Option<Timestamp>,
}

/// What came of a lookup.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// All events with one of the reasons, in any order.
    Events(Vec<Said>),
    /// The API server did not answer.
    Failed,
}

/// What is known of the events about one subject.
#[derive(Debug, Clone)]
struct Known {
    said: Option<Said>,
    /// When they were last looked up.
    asked: Timestamp,
    /// So many lookups in a row failed.
    failures: u32,
    /// The subject has changed since.
    changed: bool,
}

/// What is known of events, by signal rule and subject.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lookups(BTreeMap<(usize, Subject), Known>);

/// What an event says about a signal now, and when to look it up.
#[derive(Debug)]
pub(crate) struct Word<'a> {
    pub said: Option<&'a Said>,
    /// `None`: nothing more is to be found out.
    pub due: Option<Timestamp>,
}

impl Lookups {
    /// Notes what came of a lookup.
    pub fn note(&mut self, question: Question, signal: &Signal, answer: Answer, now: Timestamp) {
        let key = (question.rule, question.about);
        let failures = match (&answer, self.0.get(&key)) {
            (Answer::Events(_), _) => 0,
            (Answer::Failed, known) => known.map_or(0, |k| k.failures) + 1,
        };
        let said = match answer {
            Answer::Events(events) => most_telling(signal, events),
            Answer::Failed => None,
        };
        let known = Known {
            said,
            asked: now,
            failures,
            changed: false,
        };
        self.0.insert(key, known);
    }

    /// Takes over what was known under other numbers of the rules; `number` is the new one, of a signal that still asks
    /// and that the subject still suffers from.
    pub fn inherit(&mut self, before: Lookups, number: impl Fn(usize, &Subject) -> Option<usize>) {
        let known = before.0.into_iter();
        self.0.extend(known.filter_map(|((rule, about), known)| {
            let rule = number(rule, &about)?;
            Some(((rule, about), known))
        }));
    }

    /// What is said about a signal that counts on `about` since `from`.
    pub fn word(&self, rule: usize, about: &Subject, from: Timestamp) -> Word<'_> {
        let Some(known) = self.0.get(&(rule, about.clone())) else {
            let due = Some(from);
            return Word { said: None, due };
        };
        Word {
            said: known.said.as_ref(),
            due: known.due(from),
        }
    }

    /// Notes that a pod or child has changed. Of what it suffers from no more, events say something else the next time.
    pub fn changed(
        &mut self,
        name: &str,
        uid: Option<&str>,
        still_suffers: impl Fn(usize) -> bool,
    ) {
        self.0.retain(|(rule, about), known| {
            if about.name != name {
                return true;
            }
            known.changed = true;
            Some(about.uid.as_str()) == uid && still_suffers(*rule)
        });
    }
}

impl Known {
    fn due(&self, from: Timestamp) -> Option<Timestamp> {
        if self.said.is_some() {
            return None;
        }
        if self.failures > 0 {
            let wait = FIRST_RETRY.saturating_mul(1 << (self.failures - 1).min(16));
            return self.asked.saturating_add(wait.min(LAST_RETRY)).ok();
        }
        let mut again = AGAIN.iter().filter_map(|a| from.saturating_add(*a).ok());
        // Times are of whole seconds.
        let next = again.find(|at| earliest(None, *at) > Some(self.asked));
        next.or(Some(self.asked).filter(|_| self.changed))
    }
}

/// The latest event, among those from which a field of the test can be named if there are such: a kubelet also says
/// that it has given up waiting, and not for what.
fn most_telling(signal: &Signal, events: Vec<Said>) -> Option<Said> {
    let names_something = |said: &Said| {
        let mut names = signal.names.iter();
        names.any(|n| n.message.is_match(&said.message))
    };
    let told = events.into_iter().filter(|said| !said.message.is_empty());
    told.max_by_key(|said| (names_something(said), said.at))
}
