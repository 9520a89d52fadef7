//! What is true of every verdict, whatever happens in a cluster and in whichever order an operator is told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use lotest::engine::matcher::{Hit, match_child, match_pod};
use lotest::engine::render::text;
use lotest::engine::rule::Severity;
use lotest::engine::signals::FIRST_SEEN;
use lotest::engine::verdict::explain;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use crate::play::{BUNDLES, Cluster, JOBS, PODS, STATES, Step};
use crate::replica::{Look, Replica};

/// One of the list `name` of tests/states.yaml.
fn state(name: &'static str) -> impl Strategy<Value = Value> {
    proptest::sample::select(STATES[name].as_array().unwrap().as_slice())
}

fn pod_step() -> impl Strategy<Value = Step> {
    let healthy = Just(STATES["healthy"].clone());
    prop_oneof![
        6 => (0..PODS, state("pods")).prop_map(|(n, state)| Step::Pod(n, state)),
        2 => (0..PODS, healthy).prop_map(|(n, state)| Step::Pod(n, state)),
        2 => (0..PODS).prop_map(Step::PodGone),
    ]
}

/// Whatever happens while a test runs.
fn step() -> impl Strategy<Value = Step> {
    let job = || proptest::sample::select(&JOBS[..]);
    prop_oneof![
        10 => pod_step(),
        4 => (job(), state("jobs")).prop_map(|(stem, state)| Step::Job(stem, state)),
        1 => (1..9u32).prop_map(Step::Replicas),
    ]
}

/// Also its end, and what should not happen.
fn any_step() -> impl Strategy<Value = Step> {
    let job = || proptest::sample::select(&JOBS[..]);
    prop_oneof![
        12 => step(),
        2 => (job(), state("ends")).prop_map(|(stem, state)| Step::Job(stem, state)),
        1 => job().prop_map(Step::JobGone),
    ]
}

/// Seconds that pass before something happens: often none, sometimes more than a grace period.
fn wait() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0i64), 4 => 1..50i64, 2 => 50..200i64, 1 => 200..700i64]
}

fn play(cluster: &mut Cluster, replica: &mut Replica, history: &[(i64, Step)]) -> Option<Look> {
    let mut last = None;
    for (wait, step) in history {
        cluster.later(*wait);
        cluster.happen(step);
        replica.hear_all(cluster);
        last = Some(replica.look(cluster));
        replica.hear_all(cluster);
    }
    last
}

/// Fails with what differs.
fn same<T: std::fmt::Debug + PartialEq>(one: &T, other: &T) -> Result<(), TestCaseError> {
    if one == other {
        return Ok(());
    }
    let (one, other) = (format!("{one:#?}"), format!("{other:#?}"));
    let diff = similar::TextDiff::from_lines(&one, &other);
    Err(TestCaseError::fail(
        diff.unified_diff().context_radius(3).to_string(),
    ))
}

/// What of a verdict does not depend on when it was first reached.
fn said(status: &Value) -> BTreeMap<String, String> {
    let conditions = status["conditions"].as_array().unwrap().iter();
    let mut said: BTreeMap<String, String> = conditions
        .map(|c| {
            (
                text(c, "/type").to_string(),
                format!(
                    "{} {}: {}",
                    text(c, "/status"),
                    text(c, "/reason"),
                    text(c, "/message")
                ),
            )
        })
        .collect();
    said.insert("phase".into(), text(status, "/phase").into());
    said
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let all = status["conditions"].as_array().unwrap();
    all.iter()
        .find(|c| c["type"] == kind)
        .unwrap_or(&Value::Null)
}

/// The beginning of what is to be said of the pods, found by looking at each of them alone; `None` when all are well.
/// What the status does not date is new.
fn unhealthy(cluster: &Cluster) -> Option<String> {
    let signals = &cluster.bundle.rules.signals;
    let seen = &cluster.test["status"][FIRST_SEEN];
    let counts_from = |hit: &Hit| {
        let guard = &signals[hit.rule].guard;
        let seen = || match seen[&guard.origin.id].as_str() {
            Some(time) => time.parse::<Timestamp>().unwrap() + guard.lasting,
            None => cluster.now + guard.lasting,
        };
        hit.from.unwrap_or_else(seen)
    };
    let now = cluster.now;
    let children = cluster.children.iter();
    let of_children = children.map(|(stem, child)| match_child(&cluster.bundle, stem, child, now));
    let of_pods = cluster.pods.iter().map(|(name, pod)| {
        let stem = if name == "pod-0" { JOBS[0] } else { JOBS[1] };
        match_pod(&cluster.bundle, stem, pod, now)
    });
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for facts in of_children.chain(of_pods) {
        let counting = facts.hits.iter().filter(|hit| counts_from(hit) <= now);
        if let Some(highest) = counting.map(|hit| hit.rule).min() {
            *counts.entry(highest).or_default() += 1;
        }
    }
    let of = |severity| {
        let mut counts = counts
            .iter()
            .filter(move |(rule, _)| signals[**rule].severity == severity);
        counts.next().map(|(rule, count)| (*rule, *count))
    };
    let (rule, count) = of(Severity::Fatal).or_else(|| of(Severity::Degraded))?;
    let reason = signals[rule].reason.render(&Nothing);
    Some(format!("{reason}: {count} pod(s) affected ["))
}

/// Reasons of the rules under test are plain words.
struct Nothing;

impl lotest::engine::path::Scope for Nothing {
    fn root(&self, _: &str) -> Option<&Value> {
        None
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever starts now and is told of everything in another order concludes the same, to the letter.
    #[test]
    fn a_verdict_is_of_the_status_the_facts_and_the_time(
        other in 0..BUNDLES.len(),
        history in vec((wait(), step()), 1..14),
        order in vec(any::<usize>(), 8),
        later in wait(),
    ) {
        let bundle = &BUNDLES[other];
        let mut cluster = Cluster::new(bundle, 1);
        let mut replica = Replica::new(&cluster, 0);
        for step in &history {
            play(&mut cluster, &mut replica, std::slice::from_ref(step));
            let mut fresh = Replica::start(&cluster, &order);
            same(&fresh.judge(&cluster), &replica.judge(&cluster))?;
        }
        cluster.later(later);
        let mut fresh = Replica::start(&cluster, &order);
        same(&fresh.judge(&cluster), &replica.judge(&cluster))?;
    }

    /// Each pod counts for the highest of its signals, from the time on that its own objects or the status give.
    #[test]
    fn pods_are_unhealthy_as_each_of_them_is(
        other in 0..BUNDLES.len(),
        history in vec((wait(), step()), 1..14),
    ) {
        let mut cluster = Cluster::new(&BUNDLES[other], 1);
        let mut replica = Replica::new(&cluster, 0);
        for (wait, step) in &history {
            cluster.later(*wait);
            cluster.happen(step);
            let expected = unhealthy(&cluster);
            replica.hear_all(&mut cluster);
            replica.look(&mut cluster);
            // Nothing but pods can end the test here.
            let ended = cluster.bundle.rules.phase.is_terminal(cluster.phase());
            let found = condition(&cluster.test["status"], if ended { "TestCompleted" } else { "PodsHealthy" });
            match expected {
                Some(expected) => prop_assert!(text(found, "/message").contains(&expected), "{found} is not {expected}"),
                None => prop_assert!(!ended && found["status"] == "True", "{found}"),
            }
            if ended {
                break;
            }
        }
    }

    /// What came between two states of the pods, and the order in which they are told, is forgotten.
    #[test]
    fn the_final_state_of_the_pods_decides(
        other in 0..2usize,
        before in vec((wait(), step()), 0..6),
        between in vec((wait(), pod_step()), 1..12),
        order in vec(any::<usize>(), 8),
        later in wait(),
    ) {
        let bundle = &BUNDLES[other];
        let begin = || {
            let mut cluster = Cluster::new(bundle, 1);
            let mut replica = Replica::new(&cluster, 0);
            play(&mut cluster, &mut replica, &before);
            (cluster, replica)
        };
        // One is told of everything and says nothing, one is told of the last states only.
        let (mut cluster, mut told) = begin();
        for (wait, step) in &between {
            cluster.later(*wait);
            cluster.happen(step);
            told.hear_all(&mut cluster);
        }
        cluster.later(later);
        let mut fresh = Replica::start(&cluster, &order);
        same(&fresh.judge(&cluster), &told.judge(&cluster))?;
        // One says what it sees at each state. What is dated by when it was seen it may date earlier, so only the
        // built-in rules, which date no pod so, must come to the same.
        let (mut seen, mut replica) = begin();
        play(&mut seen, &mut replica, &between);
        seen.later(later);
        replica.look(&mut seen);
        if other == 0 && !bundle.rules.phase.is_terminal(seen.phase()) {
            told.look(&mut cluster);
            same(&said(&seen.test["status"]), &said(&cluster.test["status"]))?;
        }
    }

    /// When all is well again, nothing is left of what was not.
    #[test]
    fn a_condition_never_survives_its_cause(
        other in 0..BUNDLES.len(),
        history in vec((wait(), step()), 1..14),
        gone in vec(any::<bool>(), PODS),
        later in wait(),
    ) {
        let mut cluster = Cluster::new(&BUNDLES[other], 1);
        let mut replica = Replica::new(&cluster, 0);
        play(&mut cluster, &mut replica, &history);
        if cluster.bundle.rules.phase.is_terminal(cluster.phase()) {
            return Ok(());
        }
        for (n, gone) in gone.iter().enumerate() {
            let being_deleted = |c: &Cluster| {
                c.pods.get(&format!("pod-{n}")).is_some_and(|p| p["metadata"]["deletionTimestamp"].is_string())
            };
            if *gone || being_deleted(&cluster) {
                cluster.happen(&Step::PodGone(n));
            } else {
                cluster.happen(&Step::Pod(n, STATES["healthy"].clone()));
            }
        }
        for stem in JOBS {
            let mut well = STATES["running"].clone();
            well["spec"] = serde_json::json!({"suspend": false});
            cluster.happen(&Step::Job(stem, well));
        }
        cluster.later(later);
        replica.hear_all(&mut cluster);
        let look = replica.look(&mut cluster);
        let stored = &cluster.test["status"];
        prop_assert_eq!(text(condition(stored, "PodsHealthy"), "/status"), "True");
        prop_assert_eq!(&stored[FIRST_SEEN], &Value::Null);
        prop_assert_eq!(&look.verdict.warnings, &[]);
        let test = replica.index.get(&cluster.key()).unwrap();
        let (_, trace) = explain(&cluster.bundle, test, cluster.now);
        prop_assert!(trace.signals.is_empty(), "{:#?}", trace.signals);
    }

    /// Pods, Jobs, deletions, edits and the rules of another bundle change nothing about a test that has ended.
    #[test]
    fn what_has_ended_stays_so(
        before in vec((wait(), step()), 0..8),
        end in (proptest::sample::select(&JOBS[..]), state("ends")),
        after in vec((wait(), any_step(), 0..3usize), 1..14),
    ) {
        let mut cluster = Cluster::new(&BUNDLES[0], 1);
        let mut replica = Replica::new(&cluster, 0);
        play(&mut cluster, &mut replica, &before);
        play(&mut cluster, &mut replica, &[(1, Step::Job(end.0, end.1)), (2, Step::Replicas(4))]);
        let last = |cluster: &Cluster| {
            ["phase", "startTime", "completionTime", "connectedWorkers"].map(|f| cluster.test["status"][f].clone())
        };
        let ended = last(&cluster);
        prop_assume!(cluster.bundle.rules.phase.is_terminal(cluster.phase()));
        let how = |c: &Cluster| ["TestCompleted", "PodsHealthy"].map(|kind| condition(&c.test["status"], kind)["reason"].clone());
        let conditions = how(&cluster);
        let mut stopped = Value::Null;
        for (wait, step, restart) in after {
            cluster.later(wait);
            cluster.happen(&step);
            if let Some(bundle) = BUNDLES.get(restart) {
                cluster.bundle = Arc::clone(bundle);
                replica = Replica::restart(&mut cluster, 0, &[]);
            }
            replica.hear_all(&mut cluster);
            let look = replica.look(&mut cluster);
            prop_assert_eq!(&last(&cluster), &ended);
            prop_assert_eq!(&how(&cluster), &conditions);
            prop_assert_eq!(&look.events, &[]);
            if !stopped.is_null() {
                prop_assert_eq!(&cluster.test["status"]["stoppedTime"], &stopped);
            }
            stopped = cluster.test["status"]["stoppedTime"].clone();
        }
    }

    /// A time is written once. Events are said when something happens, not when somebody looks.
    #[test]
    fn times_are_written_once_and_nothing_is_said_twice(
        other in 0..2usize,
        history in vec((wait(), any_step()), 1..16),
    ) {
        let mut cluster = Cluster::new(&BUNDLES[other], 1);
        let mut replica = Replica::new(&cluster, 0);
        let mut times: BTreeMap<&str, Value> = BTreeMap::new();
        for step in &history {
            let look = play(&mut cluster, &mut replica, std::slice::from_ref(step)).unwrap();
            for time in ["startTime", "completionTime", "stoppedTime"] {
                let now = &cluster.test["status"][time];
                let known = times.entry(time).or_insert_with(|| now.clone());
                if known.is_null() {
                    *known = now.clone();
                }
                prop_assert_eq!(known, now);
            }
            let different: BTreeSet<String> = look.events.iter().map(|e| format!("{e:?}")).collect();
            prop_assert_eq!(different.len(), look.events.len(), "{:?}", look.events);
            prop_assert_eq!(&replica.look(&mut cluster).events, &[]);
        }
    }

    /// With nothing but time, the rules ask to be asked at later and later times, and then no more.
    #[test]
    fn timers_run_out(other in 0..2usize, history in vec((wait(), any_step()), 1..14)) {
        let mut cluster = Cluster::new(&BUNDLES[other], 1);
        let mut replica = Replica::new(&cluster, 0);
        play(&mut cluster, &mut replica, &history);
        for _ in 0..40 {
            let look = replica.look(&mut cluster);
            let Some(next) = look.verdict.next else {
                return Ok(());
            };
            cluster.now = next;
        }
        prop_assert!(false, "after 40 timers there is another");
    }

    /// Replicas that are told the same at different times, and of which now one and now the other writes, agree as
    /// soon as they know the same; one that starts later reaches the verdicts of their timers at the same second.
    #[test]
    fn replicas_agree(
        other in 0..2usize,
        history in vec((wait(), step(), 0..2usize, (0..3usize, 0..2usize, 0..4usize)), 1..14),
        order in vec(any::<usize>(), 8),
        late in 0..100i64,
    ) {
        let mut cluster = Cluster::new(&BUNDLES[other], 3);
        let mut replicas = vec![Replica::new(&cluster, 0), Replica::new(&cluster, 1)];
        for (wait, step, leader, (watch, listener, news)) in &history {
            cluster.later(*wait);
            cluster.happen(step);
            replicas[*listener].hear(&mut cluster, *watch, *news);
            replicas[*leader].look(&mut cluster);
        }
        replicas[0].hear_all(&mut cluster);
        replicas[0].look(&mut cluster);
        cluster.later(late);
        replicas.push(Replica::restart(&mut cluster, 2, &order));
        for n in 0..12 {
            for replica in &mut replicas {
                replica.hear_all(&mut cluster);
            }
            let verdict = replicas[0].judge(&cluster);
            same(&replicas[1].judge(&cluster), &verdict)?;
            same(&replicas[2].judge(&cluster), &verdict)?;
            // A second before, none of them was there yet.
            let before = cluster.now - jiff::SignedDuration::from_secs(1);
            let early = replicas[2].judge_at(&cluster, before);
            same(&replicas[1].judge_at(&cluster, before), &early)?;
            let leader = n % replicas.len();
            replicas[leader].look(&mut cluster);
            let Some(next) = verdict.next else { break };
            cluster.now = cluster.now.max(next);
        }
    }
}
