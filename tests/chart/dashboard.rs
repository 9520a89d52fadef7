//! What the dashboard asks for.

use crate::helm::file;
use serde_json::Value;
use std::collections::BTreeSet;

/// What the exporter beside a master has.
const EXPORTER: [&str; 9] = [
    "locust_requests_total",
    "locust_requests_current_rps",
    "locust_requests_current_fail_per_sec",
    "locust_requests_avg_response_time",
    "locust_requests_min_response_time",
    "locust_requests_max_response_time",
    "locust_requests_avg_content_length",
    "locust_users",
    "locust_errors",
];

const WORDS: [&str; 3] = ["by", "without", "on"];

pub fn queries() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_str(&file("deploy/chart/files/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|p| p["targets"].as_array().cloned().unwrap_or_default());
    targets
        .map(|t| t["expr"].as_str().unwrap().to_string())
        .collect()
}

/// A metric of a query, with the labels that the query wants of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub metric: String,
    pub labels: Vec<String>,
}

/// The metrics that a query asks for. Of PromQL this knows what the dashboard uses.
pub fn wanted(query: &str) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    let mut rest = query;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphabetic() || "{[(\"".contains(c)) {
        rest = &rest[start..];
        let until = |end: char| rest[1..].find(end).map_or(rest.len(), |n| n + 2);
        if rest.starts_with('{') {
            let end = until('}');
            let matchers = rest[1..end - 1].split(',');
            all.last_mut().unwrap().labels = matchers.map(str::to_string).collect();
            rest = &rest[end..];
        } else if rest.starts_with('[') {
            rest = &rest[until(']')..];
        } else if rest.starts_with('(') {
            rest = &rest[1..];
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after;
            if WORDS.contains(&word) {
                // The labels that follow are no metrics.
                rest = &rest[rest.find(')').unwrap()..];
            } else if !rest.trim_start().starts_with('(') && !is_function(rest) {
                all.push(Wanted {
                    metric: word.to_string(),
                    labels: Vec::new(),
                });
            }
        }
    }
    all
}

/// `sum by (le) (...)`: the word before is a function all the same.
fn is_function(rest: &str) -> bool {
    WORDS
        .iter()
        .any(|w| rest.trim_start().starts_with(&format!("{w} (")))
}

/// The metrics of the operator that the dashboard asks for.
pub fn of_the_operator() -> BTreeSet<Wanted> {
    let all = queries()
        .iter()
        .flat_map(|q| wanted(q))
        .collect::<BTreeSet<_>>();
    all.into_iter()
        .filter(|w| !w.metric.starts_with("locust_"))
        .collect()
}

#[test]
fn metrics_are_found_in_queries() {
    let query = r#"histogram_quantile(0.95, sum by (le) (rate(a_bucket{controller="x",b="y"}[5m]))) / max(c_d)"#;
    let labels = ["controller=\"x\"", "b=\"y\""].map(str::to_string).to_vec();
    let expected = [("a_bucket", labels), ("c_d", vec![])];
    let expected = expected.map(|(metric, labels)| Wanted {
        metric: metric.to_string(),
        labels,
    });
    assert_eq!(wanted(query), expected);
}

#[test]
fn of_tests_the_dashboard_asks_for_what_the_exporter_has() {
    let all: BTreeSet<String> = queries()
        .iter()
        .flat_map(|q| wanted(q))
        .map(|w| w.metric)
        .filter(|m| m.starts_with("locust_"))
        .collect();
    assert!(all.len() > 4, "{all:?}");
    for metric in all {
        assert!(EXPORTER.contains(&metric.as_str()), "{metric}");
    }
}

/// Those that people have dashboards on.
#[test]
fn the_dashboard_has_the_known_metrics_of_the_operator() {
    let all: Vec<String> = of_the_operator().into_iter().map(|w| w.metric).collect();
    for metric in [
        "controller_runtime_reconcile_total",
        "controller_runtime_reconcile_errors_total",
        "controller_runtime_reconcile_time_seconds_bucket",
        "workqueue_depth",
        "workqueue_adds_total",
    ] {
        assert!(all.iter().any(|m| m == metric), "{metric}: {all:?}");
    }
}
