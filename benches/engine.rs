//! What one event costs: rendering a test's children, matching one pod, concluding about one test. `make bench`
//! prints the times beside their goals.

// The allowance in clippy.toml is for tests; a bench is one too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use lotest::api::convert::convert;
use lotest::bundle::{Bundle, Files, Layer};
use lotest::engine::admit::admit;
use lotest::engine::golden;
use lotest::engine::matcher::match_pod;
use lotest::engine::render::render;
use lotest::engine::verdict::evaluate;
use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use world::{LATE, SMALL, SOON, World, at, bundle, in_trouble, pending, pod, running, test};

const COMPREHENSIVE: &str = include_str!("../demo/comprehensive-test.yaml");

fn rendering(c: &mut Criterion) {
    let bundle = bundle();
    let mut group = c.benchmark_group("render");
    for (name, written) in [("small", SMALL), ("comprehensive", COMPREHENSIVE)] {
        let test = test(written);
        assert_eq!(render(&bundle, &test).unwrap().children.len(), 3);
        group.bench_function(name, |b| b.iter(|| render(&bundle, black_box(&test))));
    }
    group.finish();
}

fn converting(c: &mut Criterion) {
    let v2 = test(COMPREHENSIVE);
    let v1 = convert(v2.clone(), "locust.io/v1").unwrap();
    assert_eq!(convert(v1.clone(), "locust.io/v2"), Ok(v2.clone()));
    let mut group = c.benchmark_group("convert");
    for (name, from, to) in [
        ("v2-to-v1", v2, "locust.io/v1"),
        ("v1-to-v2", v1, "locust.io/v2"),
    ] {
        group.bench_function(name, |b| {
            b.iter_batched(
                || from.clone(),
                |from| convert(from, to).unwrap(),
                BatchSize::SmallInput,
            )
        });
    }
    group.finish();
}

fn matching(c: &mut Criterion) {
    let bundle = bundle();
    let children = render(&bundle, &test(COMPREHENSIVE)).unwrap().children;
    let worker_job = children.iter().find(|c| c.stem == "worker-job").unwrap();
    let pod = pod(&running(worker_job, true), 0);
    let mut group = c.benchmark_group("match");
    for (name, pod, hits) in [
        ("running", pod.clone(), 0),
        // Two rules: one warns of it, the other fails the test when it lasts.
        ("pending", pending(pod.clone()), 2),
        ("in-trouble", in_trouble(pod, "ImagePullBackOff"), 1),
    ] {
        let now = at(SOON);
        let matched = match_pod(&bundle, "worker-job", &pod, now);
        assert_eq!(matched.hits.len(), hits, "{matched:?}");
        group.bench_function(name, |b| {
            b.iter(|| match_pod(&bundle, "worker-job", black_box(&pod), now));
        });
    }
    group.finish();
}

fn concluding(c: &mut Criterion) {
    let bundle = Arc::new(bundle());
    let mut group = c.benchmark_group("verdict");
    for (name, healthy, now, phase) in [
        ("healthy", true, LATE, "Running"),
        ("in-trouble", false, SOON, "Running"),
        ("failed", false, LATE, "Failed"),
    ] {
        for workers in [5, 500] {
            let mut world = World::new(&bundle, workers, healthy, at(now));
            assert_eq!(*world.phase(), phase);
            let mut turn = 0;
            let id = BenchmarkId::new(name, workers);
            group.bench_function(id, |b| {
                let World {
                    bundle,
                    index,
                    key,
                    event,
                    now,
                } = &mut world;
                b.iter_batched(
                    || {
                        turn += 1;
                        event[turn % 2].clone()
                    },
                    |pod| {
                        index.apply_pod(&pod, *now);
                        evaluate(bundle, index.get(key).unwrap(), *now)
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn loading(c: &mut Criterion) {
    let layers = [Layer::built_in()];
    let settings = BTreeMap::new();
    let mut group = c.benchmark_group("load");
    group.bench_function("built-in", |b| {
        b.iter(|| Bundle::load(black_box(&layers), &settings));
    });
    group.finish();
}

/// Adds the files below a directory.
fn read(directory: &Path, files: &mut Files) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, files);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            files.insert(path.display().to_string(), text);
        }
    }
}

/// What a reload does: the layers are read by then, and the bundle is swapped in within microseconds.
fn reloading(c: &mut Criterion) {
    let mut top = Layer {
        name: "top".to_string(),
        ..Layer::default()
    };
    read(Path::new("golden"), &mut top.files);
    let cases = golden::cases(&top).len();
    assert!(cases >= 200, "{cases}");
    let layers = [Layer::built_in(), top];
    let settings = BTreeMap::new();
    let admitted = admit(&layers, &settings);
    assert!(admitted.is_ok(), "{:#?}", admitted.err());
    let mut group = c.benchmark_group("reload");
    group.sample_size(10);
    group.bench_function("200-golden-cases", |b| {
        b.iter(|| admit(black_box(&layers), &settings));
    });
    group.finish();
}

criterion_group! {
    name = engine;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = rendering, converting, matching, concluding, loading, reloading
}
criterion_main!(engine);
