//! What one pod event costs as tests and workers become more, and what the facts of 100,000 pods take. Prints lines of
//! name, value, goal and unit, tabs between them.

// The allowance in clippy.toml is for tests; a bench is one too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use jiff::Timestamp;
use lotest::bundle::Bundle;
use lotest::engine::index::{Index, Key};
use lotest::engine::verdict::evaluate;
use serde_json::Value;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use world::{LATE, SOON, at, bundle, join};

/// So many events are measured for each point; each round is one event of every test.
const EVENTS: usize = 20_000;

fn main() {
    let bundle = Arc::new(bundle());
    // `cargo bench` gives `--bench`.
    if let Some(name) = std::env::args()
        .nth(1)
        .filter(|name| !name.starts_with('-'))
    {
        return fill(&bundle, &name);
    }
    memory();
    let workers = [5, 50, 500].map(|workers| (workers, event(&bundle, 1, workers)));
    let tests = [1, 10, 100, 1000].map(|tests| (tests, event(&bundle, tests, 5)));
    for (name, points) in [("workers", &workers[..]), ("tests", &tests[..])] {
        for (n, cost) in points {
            row(
                &format!("event/{n}-{name}"),
                cost.as_nanos() as f64 / 1000.0,
                "-",
                "µs",
            );
        }
        row(
            &format!("event/slope-of-{name}"),
            slope(points),
            "0.1",
            "log-log",
        );
    }
}

fn row(name: &str, value: f64, goal: &str, unit: &str) {
    println!("{name}\t{value:.2}\t{goal}\t{unit}");
}

/// The median time that one event of one pod takes, from the pod as it comes to the verdict.
fn event(bundle: &Arc<Bundle>, tests: usize, workers: usize) -> Duration {
    let now = at(LATE);
    let mut index = Index::new(Arc::clone(bundle));
    let crowd: Vec<_> = (0..tests)
        .map(|n| join(bundle, &mut index, &format!("test-{n}"), workers, true, now))
        .collect();
    let mut times: Vec<Duration> = (0..EVENTS)
        .map(|n| {
            let (key, states) = &crowd[n % tests];
            // It comes from the API server at that moment, so it is in the processor's cache.
            let pod = states[(n / tests) % 2].clone();
            timed(bundle, &mut index, key, &pod, now)
        })
        .collect();
    times.sort_unstable();
    times[EVENTS / 2]
}

fn timed(bundle: &Bundle, index: &mut Index, key: &Key, pod: &Value, now: Timestamp) -> Duration {
    let began = Instant::now();
    index.apply_pod(pod, now);
    let verdict = evaluate(bundle, index.get(key).unwrap(), now);
    let took = began.elapsed();
    assert!(verdict.errors.is_empty());
    took
}

/// The slope of the line that fits best through the logarithms of both.
fn slope(points: &[(usize, Duration)]) -> f64 {
    let logs: Vec<(f64, f64)> = points
        .iter()
        .map(|(n, cost)| ((*n as f64).ln(), (cost.as_nanos() as f64).ln()))
        .collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (x, y) = (mean(|l| l.0), mean(|l| l.1));
    let along: f64 = logs.iter().map(|l| (l.0 - x) * (l.1 - y)).sum();
    let spread: f64 = logs.iter().map(|l| (l.0 - x).powi(2)).sum();
    along / spread
}

/// What an index is filled with, to see what it takes: its name, tests, workers of each, and whether they are healthy.
const FILLS: &[(&str, usize, usize, bool, &str)] = &[
    ("100000-pods-healthy", 200, 499, true, "64"),
    ("100000-pods-in-trouble", 200, 499, false, "-"),
    ("1000-tests-running", 1000, 1, true, "-"),
];

/// Each in a process of its own: what one gave back the next would take without asking for more.
fn memory() {
    for (name, ..) in FILLS {
        let myself = std::env::current_exe().unwrap();
        let status = Command::new(myself).arg(name).status().unwrap();
        assert!(status.success(), "{name}: {status}");
    }
}

fn fill(bundle: &Arc<Bundle>, name: &str) {
    let fill = FILLS.iter().find(|fill| fill.0 == name);
    let (_, tests, workers, healthy, goal) = *fill.expect("the name of a fill");
    let Some(before) = resident() else {
        eprintln!("facts: memory is not measured: it is read from /proc, which only Linux has");
        return;
    };
    let mut index = Index::new(Arc::clone(bundle));
    for n in 0..tests {
        let name = format!("test-{n}");
        join(bundle, &mut index, &name, workers, healthy, at(SOON));
    }
    let more = resident().unwrap().saturating_sub(before);
    row(
        &format!("memory/{name}"),
        more as f64 / 1024.0,
        goal,
        "MiB more",
    );
    drop(index);
}

/// The memory that this process has for itself, in KiB.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
