//! Pods and Jobs as no API server would hold them: fields removed, of other types, in other places, with unknown and
//! with huge values. They are matched without a panic, and no rule is turned on by what is not there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use jsonpath_rust::JsonPath;
use lotest::bundle::Bundle;
use lotest::engine::clause::{Clause, Operator};
use lotest::engine::index::Index;
use lotest::engine::lookup::{Answer, Said};
use lotest::engine::matcher::{PodFacts, match_child, match_pod};
use lotest::engine::path::Scope;
use lotest::engine::rule::Each;
use lotest::engine::verdict::evaluate;
use lotest::engine::wanted::Wanted;
use serde::de::DeserializeSeed;
use serde_json::{Value, json};

use crate::play::{BEGINNING, BUNDLES, Cluster, JOBS, STATES, Step};

/// xorshift64*: quick, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % n
    }

    /// One time in `n`.
    fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn value(&mut self) -> Value {
        match self.below(14) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(-1),
            3 => json!(u64::MAX),
            4 => json!(0.5),
            5 => json!([]),
            6 => json!({}),
            7 => json!([[{"reason": "ErrImagePull"}], null]),
            8 => json!({"waiting": {"reason": "ErrImagePull"}, "status": "True"}),
            9 if self.once_in(20) => "Huge\u{202e}\n".repeat(10_000).into(),
            _ => self.string().into(),
        }
    }

    fn string(&mut self) -> &'static str {
        const STRINGS: [&str; 16] = [
            "",
            " ",
            "\u{0}",
            "NewInTheNextRelease",
            "errimagepull",
            "ErrImagePull",
            "True",
            "true",
            "False",
            "Failed",
            "Pending",
            "2026-01-01T00:00:01.5Z",
            "9999-12-31T23:59:59.999999999Z",
            "-009999-01-02T01:59:59Z",
            "2026-02-30T00:00:00Z",
            "{{ values }}",
        ];
        STRINGS[self.below(STRINGS.len())]
    }
}

/// Changes one thing somewhere in `value`.
fn mutate(value: &mut Value, random: &mut Random) {
    let mut at = value;
    loop {
        let inner = match &*at {
            Value::Array(all) => all.len(),
            Value::Object(all) => all.len(),
            _ => 0,
        };
        if inner == 0 || random.once_in(5) {
            break;
        }
        let n = random.below(inner);
        at = match at {
            Value::Array(all) => &mut all[n],
            Value::Object(all) => all.iter_mut().nth(n).unwrap().1,
            _ => unreachable!("it has no entries"),
        };
    }
    match (random.below(8), &mut *at) {
        // Remove one entry.
        (0..3, Value::Object(all)) if !all.is_empty() => {
            let key = all.keys().nth(random.below(all.len())).unwrap().clone();
            all.remove(&key);
        }
        (0..2, Value::Array(all)) if !all.is_empty() => {
            all.remove(random.below(all.len()));
        }
        // The same key twice, with something else about it.
        (2, Value::Array(all)) if !all.is_empty() => {
            let mut again = all[random.below(all.len())].clone();
            mutate(&mut again, random);
            all.push(again);
        }
        (3, at) => *at = json!([at.take()]),
        (4, at) => *at = json!({"status": at.take()}),
        // What is inside takes its place.
        (5, Value::Object(all)) if !all.is_empty() => {
            let n = random.below(all.len());
            *at = all.iter_mut().nth(n).unwrap().1.take();
        }
        (5, Value::Array(all)) if !all.is_empty() => *at = all[0].take(),
        // A time that is not a whole second; of other texts an unknown one.
        (6, Value::String(text)) => match text.strip_suffix('Z') {
            Some(time) => *text = format!("{time}.5Z"),
            None => text.push('x'),
        },
        (_, at) => *at = random.value(),
    }
}

/// What a mutation starts from: the child's stem and the object.
fn originals() -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    let pods = STATES["pods"].as_array().unwrap().iter();
    for state in pods.chain([&STATES["healthy"]]) {
        for (n, stem) in JOBS.into_iter().enumerate() {
            let mut cluster = Cluster::new(&BUNDLES[0], 0);
            cluster.happen(&Step::Pod(n, state.clone()));
            let mut pod = cluster.pods.remove(&format!("pod-{n}")).unwrap();
            // Rules read no more of a container than this.
            for containers in ["initContainers", "containers"] {
                for container in pod["spec"][containers].as_array_mut().unwrap() {
                    let fields = container.as_object_mut().unwrap();
                    fields.retain(|key, _| {
                        ["name", "image", "resources", "restartPolicy"].contains(&key.as_str())
                    });
                }
            }
            all.push((stem, pod));
        }
    }
    let jobs = ["jobs", "ends"].map(|list| STATES[list].as_array().unwrap());
    for state in jobs.into_iter().flatten() {
        for stem in JOBS {
            let mut cluster = Cluster::new(&BUNDLES[0], 0);
            cluster.happen(&Step::Job(stem, state.clone()));
            let mut job = cluster.children.remove(stem).unwrap();
            job["spec"].as_object_mut().unwrap().remove("template");
            all.push((stem, job));
        }
    }
    all
}

fn is_pod(original: &Value) -> bool {
    original["kind"] == "Pod"
}

fn mutant(original: &Value, random: &mut Random) -> Value {
    let mut object = original.clone();
    for _ in 0..=random.below(3) {
        let part = ["status", "status", "status", "spec", "metadata", ""][random.below(6)];
        match object.get_mut(part) {
            Some(part) => mutate(part, random),
            None => mutate(&mut object, random),
        }
    }
    object
}

/// The roots of a rule about `object`, found anew.
struct Roots<'a> {
    fields: Vec<&'a Value>,
    named: BTreeMap<&'static str, &'a Value>,
}

impl Scope for Roots<'_> {
    fn root(&self, name: &str) -> Option<&Value> {
        let named = self.named.get(name).copied();
        named.or_else(|| self.fields.iter().find_map(|object| object.get(name)))
    }
}

/// The scopes in which a rule is asked: one for the object, or one for each of its containers.
fn scopes<'a>(bundle: &'a Bundle, each: Each, object: &'a Value) -> Vec<Roots<'a>> {
    if each != Each::Container {
        let named = BTreeMap::from([("values", &bundle.values)]);
        return vec![Roots {
            fields: vec![object],
            named,
        }];
    }
    let mut all = Vec::new();
    for (specs, statuses) in [
        ("initContainers", "initContainerStatuses"),
        ("containers", "containerStatuses"),
    ] {
        for spec in object["spec"][specs].as_array().into_iter().flatten() {
            let mut known = object["status"][statuses].as_array().into_iter().flatten();
            let status =
                known.find(|s| s.get("name").is_some() && s.get("name") == spec.get("name"));
            let mut named = BTreeMap::from([
                ("values", &bundle.values),
                ("pod", object),
                ("container", spec),
            ]);
            named.extend(spec.get("name").map(|name| ("name", name)));
            all.push(Roots {
                fields: status.into_iter().collect(),
                named,
            });
        }
    }
    all
}

/// Whether everything is there that must be for the clause to be true (or, `negated`, to be false).
fn has_what_it_names(clause: &Clause, scope: &dyn Scope, negated: bool) -> bool {
    let of = |clause: &Clause| has_what_it_names(clause, scope, negated);
    match clause {
        Clause::All(all) if negated => all.iter().any(of),
        Clause::Any(all) if !negated => all.iter().any(of),
        Clause::All(all) | Clause::Any(all) => all.iter().all(of),
        Clause::Not(clause) => has_what_it_names(clause, scope, !negated),
        Clause::Test {
            operator: Operator::Exists,
            ..
        } if negated => true,
        Clause::Test {
            operator: Operator::Absent,
            ..
        } if !negated => true,
        clause => clause
            .paths()
            .into_iter()
            .all(|path| !path.select(scope).unwrap().is_empty()),
    }
}

fn matched(bundle: &Bundle, stem: &str, original: &Value, object: &Value) -> PodFacts {
    match is_pod(original) {
        true => match_pod(bundle, stem, object, BEGINNING),
        false => match_child(bundle, stem, object, BEGINNING),
    }
}

const MUTANTS: usize = 100_000;
const SEED: u64 = 0x10_7E57;

#[test]
fn no_rule_is_turned_on_by_what_is_not_there() {
    let bundle = &BUNDLES[0];
    let originals = originals();
    let fired = AtomicUsize::new(0);
    let turned_off = AtomicUsize::new(0);
    // What is taken in of a watched object is enough for all of them.
    let pods = Wanted::of_pods(&bundle.rules);
    let children = Wanted::of_children(&bundle.rules);
    let threads = 4;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (originals, fired, turned_off) = (&originals, &fired, &turned_off);
            let (pods, children) = (&pods, &children);
            scope.spawn(move || {
                for n in (thread..MUTANTS).step_by(threads) {
                    // Each mutant can be made again by its number alone.
                    let mut random =
                        Random(SEED + 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(n as u64 + 1));
                    let (stem, original) = &originals[n % originals.len()];
                    let object = mutant(original, &mut random);
                    let facts = matched(bundle, stem, original, &object);
                    if n % 4 == 0 {
                        let wanted = if is_pod(original) { pods } else { children };
                        let taken = wanted.deserialize(&object).unwrap().unwrap_or_default();
                        assert_eq!(
                            matched(bundle, stem, original, &taken),
                            facts,
                            "mutant {n}: {object:#} {taken:#}"
                        );
                    }
                    for hit in &facts.hits {
                        let signal = &bundle.rules.signals[hit.rule];
                        let when = signal.guard.when.as_ref().unwrap();
                        let scopes = scopes(bundle, signal.each, &object);
                        assert!(
                            scopes
                                .iter()
                                .any(|scope| has_what_it_names(when, scope, false)),
                            "mutant {n} lacks what {} names: {object:#}",
                            signal.guard.origin
                        );
                        assert!(hit.message.chars().count() <= 1001, "mutant {n}");
                    }
                    fired.fetch_add(facts.hits.len(), Ordering::Relaxed);
                    turned_off.fetch_add(usize::from(facts.hits.is_empty()), Ordering::Relaxed);
                }
            });
        }
    });
    // Enough of both, or the mutants would prove nothing.
    let (fired, turned_off) = (fired.into_inner(), turned_off.into_inner());
    assert!(
        fired > MUTANTS / 3 && turned_off > MUTANTS / 5,
        "{fired} {turned_off}"
    );
}

/// What the engine walks by itself is what a library for JSONPath finds.
#[test]
fn paths_select_what_the_standard_says() {
    let bundle = &BUNDLES[0];
    let originals = originals();
    let mut random = Random(SEED);
    let mut found = 0;
    for n in 0..600 {
        let (_, original) = &originals[n % originals.len()];
        let object = mutant(original, &mut random);
        for signal in &bundle.rules.signals {
            for scope in scopes(bundle, signal.each, &object) {
                let roots = scope
                    .fields
                    .first()
                    .map_or(json!({}), |fields| (*fields).clone());
                let paths = signal.guard.when.iter().flat_map(Clause::paths);
                for path in paths.filter(|path| !scope.named.contains_key(path.root())) {
                    let nodes = path.select(&scope).unwrap();
                    let all = roots.query(path.as_str()).unwrap();
                    let expected: Vec<&Value> = all.into_iter().filter(|v| !v.is_null()).collect();
                    assert_eq!(
                        nodes.iter().collect::<Vec<_>>(),
                        expected,
                        "{} in {object:#}",
                        path.as_str()
                    );
                    found += expected.len();
                }
            }
        }
    }
    assert!(found > 1000, "{found}");
}

/// A verdict about mutants is one that can be stored, and then stays; the next look is later than this one.
#[test]
fn verdicts_about_mutants_come_to_rest() {
    let originals = originals();
    let mut random = Random(SEED);
    for n in 0..1500 {
        let bundle = &BUNDLES[n % BUNDLES.len()];
        let mut cluster = Cluster::new(bundle, 1);
        cluster.later(n as i64 % 150);
        let mut index = Index::new(std::sync::Arc::clone(bundle));
        index.apply_test(cluster.test.clone());
        for child in cluster.children.values() {
            index.apply_child(child, cluster.now);
        }
        for _ in 0..4 {
            let (stem, original) = &originals[random.below(originals.len())];
            let mut object = mutant(original, &mut random);
            // It must be somebody's, or it is nobody's concern.
            let own = &cluster.children[*stem]["metadata"];
            if !object.is_object() {
                object = json!({});
            }
            if !object.get("metadata").is_some_and(Value::is_object) {
                object["metadata"] = json!({});
            }
            if is_pod(original) {
                object["metadata"]["ownerReferences"] =
                    json!([{"controller": true, "uid": own["uid"]}]);
                index.apply_pod(&object, cluster.now);
            } else {
                for field in ["uid", "ownerReferences", "labels"] {
                    object["metadata"][field] = own[field].clone();
                }
                index.apply_child(&object, cluster.now);
            }
        }
        // Now, and at the next two timers.
        for _ in 0..3 {
            match rest(&mut cluster, &mut index, n) {
                Some(next) => cluster.now = next,
                None => break,
            }
        }
    }
}

/// Looks until nothing changes; returns when to look again.
fn rest(cluster: &mut Cluster, index: &mut Index, round: usize) -> Option<Timestamp> {
    let key = cluster.key();
    for _ in 0..8 {
        let verdict = evaluate(&cluster.bundle, index.get(&key).unwrap(), cluster.now);
        if let Some(next) = verdict.next {
            assert!(
                next > cluster.now,
                "round {round}: {next} is no later than {}",
                cluster.now
            );
        }
        if !verdict.questions.is_empty() {
            for question in verdict.questions {
                let said = Said {
                    message: "an event\n".repeat(500),
                    at: None,
                };
                let answer = Answer::Events(vec![said]);
                index.answer(&key, question, answer, cluster.now);
            }
            continue;
        }
        for condition in verdict.status["conditions"].as_array().unwrap() {
            let reason = condition["reason"].as_str().unwrap();
            assert!(
                !reason.is_empty() && reason.chars().all(|c| c.is_ascii_alphanumeric()),
                "{condition}"
            );
            assert!(
                condition["message"].as_str().unwrap().len() <= 32_768,
                "{condition}"
            );
        }
        if !verdict.changed {
            assert_eq!(verdict.events, []);
            return verdict.next;
        }
        let mut test = cluster.test.clone();
        test["status"] = Value::Object(verdict.status);
        cluster.store(test);
        index.apply_test(cluster.test.clone());
    }
    panic!(
        "round {round} does not come to rest: {:#}",
        cluster.test["status"]
    );
}
