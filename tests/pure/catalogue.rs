//! The catalogue of trouble (tests/catalogue.yaml) against the rules: every row is seen by its rules, and every rule has
//! its place in it.

use super::support::{file, merge};
use jiff::Timestamp;
use lotest::bundle::{Bundle, Files, Layer};
use lotest::engine::matcher::{PodFacts, match_child, match_pod};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many rows there are: one that is taken out is missed.
const ROWS: usize = 29;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    row: String,
    #[serde(default)]
    timelines: Vec<String>,
    #[serde(default)]
    phase: Vec<String>,
    #[serde(default)]
    shows: Vec<Shown>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    child: Option<Value>,
    pod: Option<Value>,
    container: Option<Value>,
    #[serde(default = "main")]
    class: String,
    #[serde(default = "worker")]
    role: String,
    /// Of memory, of the container.
    limit: Option<String>,
    rules: Vec<String>,
}

fn main() -> String {
    "main".into()
}

fn worker() -> String {
    "worker-job".into()
}

fn catalogue() -> Vec<Row> {
    serde_saphyr::from_str(&file("tests/catalogue.yaml")).unwrap()
}

fn load(layer: &Files) -> Bundle {
    Bundle::load(&[layer.clone().into()], &BTreeMap::new())
        .unwrap_or_else(|problems| panic!("{problems:#?}"))
        .0
}

impl Shown {
    /// The rules that hold, the highest first.
    fn seen_by(&self, bundle: &Bundle) -> Vec<String> {
        let metadata =
            json!({"name": "x", "uid": "x", "creationTimestamp": "2026-01-01T00:00:00Z"});
        let mut object = json!({"metadata": metadata});
        let facts: PodFacts = match (&self.child, &self.pod, &self.container) {
            (Some(child), None, None) => {
                merge(&mut object, child);
                match_child(bundle, &self.role, &object, Timestamp::UNIX_EPOCH)
            }
            (None, Some(pod), None) => {
                merge(&mut object, pod);
                match_pod(bundle, &self.role, &object, Timestamp::UNIX_EPOCH)
            }
            (None, None, Some(state)) => {
                merge(&mut object, &self.pod_with(state));
                match_pod(bundle, &self.role, &object, Timestamp::UNIX_EPOCH)
            }
            _ => panic!("one of child, pod and container"),
        };
        assert_eq!(facts.errors, Vec::<String>::new());
        let id = |rule: usize| bundle.rules.signals[rule].guard.origin.id.clone();
        let rules: BTreeSet<usize> = facts.hits.iter().map(|hit| hit.rule).collect();
        rules.into_iter().map(id).collect()
    }

    fn pod_with(&self, state: &Value) -> Value {
        let mut spec = json!({"name": "c"});
        if let Some(limit) = &self.limit {
            spec["resources"] = json!({"limits": {"memory": limit}});
        }
        if self.class == "sidecar" {
            spec["restartPolicy"] = "Always".into();
        }
        let mut status = json!({"name": "c"});
        merge(&mut status, state);
        match self.class.as_str() {
            "main" => {
                json!({"spec": {"containers": [spec]}, "status": {"containerStatuses": [status]}})
            }
            _ => json!({
                "spec": {"initContainers": [spec]},
                "status": {"initContainerStatuses": [status]},
            }),
        }
    }
}

#[test]
fn every_row_is_seen_by_its_rules() {
    let bundle = load(&Layer::built_in().files);
    let rows = catalogue();
    assert_eq!(rows.len(), ROWS);
    let mut wrong = Vec::new();
    for row in &rows {
        for (n, shown) in row.shows.iter().enumerate() {
            let seen = shown.seen_by(&bundle);
            if seen != shown.rules {
                wrong.push(format!("{}, {n}: {seen:?}, not {:?}", row.row, shown.rules));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_row_names_what_it_comes_to() {
    let bundle = load(&Layer::built_in().files);
    let transitions = bundle.rules.phase.transitions.iter();
    let phases: Vec<&str> = transitions.map(|t| t.guard.origin.id.as_str()).collect();
    for row in catalogue() {
        let rules: Vec<&String> = row.shows.iter().flat_map(|s| &s.rules).collect();
        let comes_to = rules.len()
            + row.phase.len()
            + row.timelines.len()
            + usize::from(row.row.contains("ephemeral"));
        assert!(comes_to > 0, "{}", row.row);
        for phase in &row.phase {
            assert!(phases.contains(&phase.as_str()), "{}: {phase}", row.row);
        }
        for timeline in &row.timelines {
            // Nothing is said, so nothing of the pods is wrong at any time.
            let verdicts = file(&format!("golden/timeline/{timeline}/verdicts.yaml"));
            assert!(!verdicts.contains("PodsHealthy: \"False"), "{timeline}");
            assert!(!verdicts.contains("phase: Failed"), "{timeline}");
        }
    }
}

#[test]
fn every_signal_rule_has_a_place_in_the_catalogue() {
    let bundle = load(&Layer::built_in().files);
    let rows = catalogue();
    let shown = rows.iter().flat_map(|row| &row.shows);
    let named: BTreeSet<&String> = shown.flat_map(|shown| &shown.rules).collect();
    let signals = bundle.rules.signals.iter().map(|s| &s.guard.origin.id);
    let missing: Vec<&String> = signals.filter(|id| !named.contains(id)).collect();
    assert!(missing.is_empty(), "no row is about {missing:?}");
}
