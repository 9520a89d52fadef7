//! Timelines: what a cluster held over time, played to the rules as the controller would see it, with what they
//! concluded at each step and each timer between the steps.

mod cluster;

use super::explain::Trace;
use super::index::{Index, Key};
use super::notice::{self, Notice};
use super::patch::merge;
use super::render::render;
use super::rule::Occasion;
use super::run::Revision;
use super::timeline::{
    BEGINNING, Entry, KubernetesEvent, LONGEST, Step, Stopped, Timeline, changes, line,
    since_beginning, written,
};
use super::verdict::{evaluate, explain};
use crate::api::v2::LocustTest;
use crate::bundle::Bundle;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a digest is called here: that of a bundle changes with every comment in it.
const DIGEST: &str = "digest of the bundle";

/// More writes than this at one time mean that the rules never come to rest.
const MAX_WRITES: usize = 10;

/// Plays the whole timeline.
pub fn replay(bundle: &Arc<Bundle>, timeline: &Timeline) -> Result<Vec<Entry>, Stopped> {
    let mut player = Player::start(bundle, timeline, false)?;
    player.play(timeline)?;
    Ok(player.entries)
}

/// One time of a timeline: what changed, and which rules decided it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    /// As it holds from then on.
    pub phase: String,
    #[serde(flatten)]
    pub entry: Entry,
    /// The rule of each change, by the name of the change: `phase`, or a type of condition.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, String>,
}

/// Plays the whole timeline and says for each time what decided.
pub fn over_time(bundle: &Arc<Bundle>, timeline: &Timeline) -> Result<Vec<Moment>, Stopped> {
    let mut player = Player::start(bundle, timeline, true)?;
    player.play(timeline)?;
    let mut phase = String::new();
    let mut moments = Vec::new();
    for (entry, decided) in player.entries.into_iter().zip(player.decided) {
        if let Some(changed) = entry.changes.get("phase") {
            phase = changed.as_str().unwrap_or_default().to_string();
        }
        let changed = |(what, _): &(String, String)| entry.changes.contains_key(what);
        moments.push(Moment {
            phase: phase.clone(),
            rules: decided.into_iter().filter(changed).collect(),
            entry,
        });
    }
    Ok(moments)
}

/// The status at the end of a timeline.
pub fn last_status(bundle: &Arc<Bundle>, timeline: &Timeline) -> Result<Value, Stopped> {
    let mut player = Player::start(bundle, timeline, false)?;
    player.play(timeline)?;
    Ok(player.test["status"].take())
}

/// Plays the whole timeline and explains its last state.
pub fn explain_end(bundle: &Arc<Bundle>, timeline: &Timeline) -> Result<Trace, Stopped> {
    let mut player = Player::start(bundle, timeline, false)?;
    player.play(timeline)?;
    let test = player
        .index
        .get(&player.key)
        .ok_or_else(|| "the test is gone".to_string())?;
    let at = timeline.steps.last().map_or(SignedDuration::ZERO, |s| s.at);
    Ok(explain(bundle, test, BEGINNING + at).1)
}

struct Player<'a> {
    bundle: &'a Arc<Bundle>,
    index: Index,
    key: Key,
    test: Value,
    /// As they are now, by stem.
    children: BTreeMap<String, Value>,
    pods: BTreeMap<String, Value>,
    /// With when they occurred.
    kubernetes_events: Vec<(SignedDuration, KubernetesEvent)>,
    /// The API server answers no lookup of events.
    lookups_fail: bool,
    /// The watches are interrupted: nobody is told of what happens.
    unwatched: bool,
    started: Revision,
    version: u64,
    next: Option<Timestamp>,
    entries: Vec<Entry>,
    /// The signals of severity `warn` that count, each of which is said once.
    warned: BTreeSet<String>,
    /// Notes which rules decide, which takes longer.
    explains: bool,
    /// For each entry the rules that held, by what they decide.
    decided: Vec<BTreeMap<String, String>>,
}

impl<'a> Player<'a> {
    fn start(
        bundle: &'a Arc<Bundle>,
        timeline: &Timeline,
        explains: bool,
    ) -> Result<Player<'a>, String> {
        let test = LocustTest::parse_strict(timeline.test.clone()).map_err(|mistakes| {
            let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            format!("in `test`: {}", mistakes.join("; "))
        })?;
        let mut test = test.to_value();
        merge(
            &mut test["metadata"],
            &json!({
                "namespace": "default",
                "uid": "test",
                "generation": 1,
                "creationTimestamp": BEGINNING.to_string(),
            }),
        );
        let rendered = render(bundle, &test).map_err(|problem| problem.to_string())?;
        let started = Revision {
            spec: test["spec"].clone(),
            bundle: DIGEST.to_string(),
            pod_selector: None,
            children: rendered.children,
        };
        let key = Key::of(&test);
        let mut player = Player {
            bundle,
            index: Index::new(Arc::clone(bundle)),
            key,
            test,
            children: BTreeMap::new(),
            pods: BTreeMap::new(),
            kubernetes_events: Vec::new(),
            lookups_fail: false,
            unwatched: false,
            started,
            version: 0,
            next: None,
            entries: Vec::new(),
            warned: BTreeSet::new(),
            explains,
            decided: Vec::new(),
        };
        player.store();
        let warnings = rendered.warnings.iter();
        let mut events: Vec<Notice> = warnings
            .flat_map(|w| notice::about_warning(bundle, &player.test, w))
            .collect();
        for child in player.started.children.clone() {
            events.extend(player.make(&child, SignedDuration::ZERO));
        }
        player
            .index
            .set_run(&player.key, player.started.run(Some(BEGINNING)));
        player.look(SignedDuration::ZERO, events)?;
        Ok(player)
    }

    fn play(&mut self, timeline: &Timeline) -> Result<(), Stopped> {
        let mut now = SignedDuration::ZERO;
        for (n, step) in timeline.steps.iter().enumerate() {
            self.step(step, now).map_err(|message| Stopped {
                step: Some(n),
                message,
            })?;
            now = step.at;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, before: SignedDuration) -> Result<(), String> {
        if step.at < before {
            return Err(format!(
                "the step at {} comes after one at {}",
                written(step.at),
                written(before)
            ));
        }
        if step.at > LONGEST {
            return Err(format!(
                "the step at {} comes after the longest time, {}",
                written(step.at),
                written(LONGEST)
            ));
        }
        while let Some(timer) = self.next.map(since_beginning).filter(|t| *t < step.at) {
            self.look(timer, Vec::new())?;
        }
        let now = step.at;
        self.unwatched = step.restart || step.relist;
        self.apply(step)?;
        self.unwatched = false;
        if step.restart {
            self.restart(now);
        } else if step.relist {
            self.relist(now);
        }
        self.look(now, Vec::new())
    }

    /// Asks the rules, stores what they conclude and makes again what is missing, until nothing changes.
    fn look(&mut self, at: SignedDuration, events: Vec<Notice>) -> Result<(), String> {
        let mut events: Vec<String> = events.iter().map(line).collect();
        let mut actions = Vec::new();
        let before = self.test["status"].clone();
        let mut decided = BTreeMap::new();
        for _ in 0..MAX_WRITES {
            let Some(test) = self.index.get(&self.key) else {
                self.next = None;
                self.decided.push(decided);
                self.entries.push(Entry {
                    at: written(at),
                    actions,
                    ..Entry::default()
                });
                return Ok(());
            };
            let verdict = match self.explains {
                false => evaluate(self.bundle, test, BEGINNING + at),
                true => {
                    let (verdict, trace) = explain(self.bundle, test, BEGINNING + at);
                    decided.extend(trace.deciding());
                    verdict
                }
            };
            if !verdict.questions.is_empty() {
                for question in verdict.questions {
                    let answer = self.answer(&question);
                    let now = BEGINNING + at;
                    self.index.answer(&self.key, question, answer, now);
                }
                continue;
            }
            let missing = if verdict.terminal {
                Vec::new()
            } else {
                test.missing(self.bundle)
            };
            self.next = verdict.next;
            let counting = verdict.warnings.iter();
            let counting: BTreeSet<String> = counting.map(|(rule, _)| rule.clone()).collect();
            let new = verdict.warnings.iter();
            let new = new.filter(|(rule, _)| !self.warned.contains(rule));
            events.extend(new.map(|(_, notice)| line(notice)));
            self.warned = counting;
            if !verdict.changed && missing.is_empty() && verdict.deeds.is_empty() {
                self.decided.push(decided);
                self.entries.push(Entry {
                    at: written(at),
                    changes: changes(&before, &self.test["status"]),
                    events,
                    actions,
                    looks_again_at: self.next.map(|t| written(since_beginning(t))),
                });
                return Ok(());
            }
            let gone = missing.iter().filter_map(|stem| test.gone(stem));
            let said = gone.flat_map(|g| notice::about_child(self.bundle, Occasion::Deleted, &g));
            events.extend(said.map(|notice| line(&notice)));
            events.extend(verdict.events.iter().map(line));
            if verdict.changed {
                self.test["status"] = Value::Object(verdict.status);
                self.store();
            }
            let started = self.started.children.clone();
            for child in started.iter().filter(|c| missing.contains(&c.stem)) {
                events.extend(self.make(child, at).iter().map(line));
            }
            for deed in &verdict.deeds {
                actions.push(self.act(deed, at)?);
            }
        }
        Err(format!(
            "the rules do not come to rest at {}: each verdict changes the next",
            written(at)
        ))
    }
}
