//! What one event costs: rendering a test's children, matching one pod, concluding about one test. `make bench`
//! prints the times beside their goals.

// The allowance in clippy.toml is for tests; a bench is one too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use lotest::api::convert::convert;
use lotest::api::v2::LocustTest;
use lotest::bundle::{Bundle, Files, Layer, yaml};
use lotest::engine::admit::admit;
use lotest::engine::golden;
use lotest::engine::index::{Index, Key};
use lotest::engine::matcher::match_pod;
use lotest::engine::render::{Child, owner_reference, render};
use lotest::engine::run::Revision;
use lotest::engine::verdict::evaluate;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const CREATED: &str = "2026-01-01T12:00:00Z";

/// A minute later: no grace period has ended.
const SOON: &str = "2026-01-01T12:01:00Z";

/// Every grace period has ended.
const LATE: &str = "2026-01-01T13:00:00Z";

const SMALL: &str = "
apiVersion: locust.io/v2
kind: LocustTest
metadata: {name: small}
spec:
  image: locustio/locust:2.20.0
  master: {command: --locustfile /lotest/src/test.py --host https://example.com}
  worker: {command: --locustfile /lotest/src/test.py, replicas: 5}
";
const COMPREHENSIVE: &str = include_str!("../demo/comprehensive-test.yaml");

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn bundle() -> Bundle {
    let (bundle, _) =
        Bundle::load(&[Layer::built_in()], &BTreeMap::new()).expect("the built-in bundle");
    bundle
}

/// The test in a file, as the API server would store it.
fn test(written: &str) -> Value {
    let parsed: Value = yaml::from_str("test.yaml", written).unwrap();
    let mut test = LocustTest::parse_strict(parsed).unwrap().to_value();
    stored(&mut test, "the-test");
    test
}

fn stored(object: &mut Value, uid: &str) {
    let metadata = &mut object["metadata"];
    metadata["namespace"] = "load-tests".into();
    metadata["uid"] = uid.into();
    metadata["generation"] = 1.into();
    metadata["resourceVersion"] = "1000".into();
    metadata["creationTimestamp"] = CREATED.into();
}

/// The `n`th pod that the job controller makes of a Job, running.
fn pod(job: &Value, n: usize) -> Value {
    let template = &job["spec"]["template"];
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": template["metadata"],
        "spec": template["spec"],
    });
    let job_name = job["metadata"]["name"].as_str().unwrap();
    stored(&mut pod, &format!("{job_name}-{n}"));
    pod["metadata"]["name"] = format!("{job_name}-{n:05}").into();
    pod["metadata"]["generateName"] = format!("{job_name}-").into();
    pod["metadata"]["ownerReferences"] = json!([owner_reference(job).unwrap()]);
    for (label, value) in [("job-name", "name"), ("controller-uid", "uid")] {
        let value = &job["metadata"][value];
        pod["metadata"]["labels"][format!("batch.kubernetes.io/{label}")] = value.clone();
        pod["metadata"]["labels"][label] = value.clone();
    }
    pod["spec"]["nodeName"] = "node-1".into();
    pod["spec"]["serviceAccountName"] = "default".into();
    let container = &pod["spec"]["containers"][0];
    let status = json!({
        "name": container["name"],
        "image": container["image"],
        "imageID": "docker.io/locustio/locust@sha256:0123456789abcdef",
        "containerID": format!("containerd://{n:064}"),
        "ready": true,
        "started": true,
        "restartCount": 0,
        "lastState": {},
        "state": {"running": {"startedAt": SOON}},
    });
    let conditions = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]
    .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": CREATED}));
    pod["status"] = json!({
        "phase": "Running",
        "conditions": conditions,
        "containerStatuses": [status],
        "hostIP": "10.0.0.1",
        "podIP": "10.128.0.1",
        "qosClass": "Burstable",
        "startTime": CREATED,
    });
    pod
}

/// The same pod before it was scheduled.
fn pending(mut pod: Value) -> Value {
    let spec = pod["spec"].as_object_mut().unwrap();
    spec.remove("nodeName");
    let scheduled = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient cpu.",
        "lastTransitionTime": CREATED,
    });
    pod["status"] = json!({"phase": "Pending", "conditions": [scheduled], "qosClass": "Burstable"});
    pod
}

/// The same pod while its image cannot be pulled.
fn in_trouble(mut pod: Value, reason: &str) -> Value {
    pod["status"]["phase"] = "Pending".into();
    for condition in pod["status"]["conditions"].as_array_mut().unwrap() {
        if condition["type"] == "Ready" || condition["type"] == "ContainersReady" {
            condition["status"] = "False".into();
            condition["reason"] = "ContainersNotReady".into();
        }
    }
    let status = &mut pod["status"]["containerStatuses"][0];
    status["ready"] = false.into();
    status["started"] = false.into();
    status["state"] = json!({"waiting": {
        "reason": reason,
        "message": "Back-off pulling image \"locustio/locust:2.20.0\": ErrImagePull: rpc error: code = NotFound",
    }});
    pod
}

/// A test with its children and pods, whose status is what the rules conclude.
struct World {
    bundle: Arc<Bundle>,
    index: Index,
    key: Key,
    /// Two states of one worker, which it takes in turn.
    event: [Value; 2],
    now: Timestamp,
}

impl World {
    fn new(bundle: &Arc<Bundle>, workers: usize, healthy: bool, now: Timestamp) -> World {
        let mut test = test(SMALL);
        test["spec"]["worker"]["replicas"] = workers.into();
        let key = Key::of(&test);
        let mut index = Index::new(Arc::clone(bundle));
        index.apply_test(test.clone());

        let children = render(bundle, &test).unwrap().children;
        for child in &children {
            index.apply_child(&running(child, healthy), now);
        }
        let revision = Revision {
            spec: test["spec"].clone(),
            bundle: bundle.digest().to_string(),
            pod_selector: None,
            children,
        };
        index.set_run(&key, revision.run(None));

        let state = |job: &Value, n: usize, reason| {
            let pod = pod(job, n);
            if healthy {
                pod
            } else {
                in_trouble(pod, reason)
            }
        };
        let job = |stem: &str| {
            let child = revision.children.iter().find(|c| c.stem == stem).unwrap();
            running(child, healthy)
        };
        index.apply_pod(&state(&job("master-job"), 0, "ErrImagePull"), now);
        for n in 0..workers {
            index.apply_pod(&state(&job("worker-job"), n, "ErrImagePull"), now);
        }
        // In the middle, where neither the first nor the last is special.
        let event = ["ImagePullBackOff", "ErrImagePull"]
            .map(|reason| state(&job("worker-job"), workers / 2, reason));

        let mut world = World {
            bundle: Arc::clone(bundle),
            index,
            key,
            event,
            now,
        };
        world.store_verdict(test);
        world
    }

    /// As the operator does, until nothing is left to write.
    fn store_verdict(&mut self, mut test: Value) {
        for version in 1001.. {
            let known = self.index.get(&self.key).unwrap();
            let verdict = evaluate(&self.bundle, known, self.now);
            assert!(verdict.errors.is_empty(), "{:?}", verdict.errors);
            if !verdict.changed {
                return;
            }
            test["status"] = Value::Object(verdict.status);
            test["metadata"]["resourceVersion"] = version.to_string().into();
            self.index.apply_test(test.clone());
        }
    }

    fn phase(&self) -> &Value {
        &self.index.get(&self.key).unwrap().object["status"]["phase"]
    }
}

/// A child as the API server has it while its pods run, or do not.
fn running(child: &Child, healthy: bool) -> Value {
    let mut object = child.object.clone();
    stored(&mut object, &child.stem);
    if let Some(pods) = object["spec"].get("parallelism").cloned() {
        let ready = if healthy { pods.clone() } else { 0.into() };
        object["status"] = json!({"active": pods, "ready": ready, "startTime": CREATED,
            "terminating": 0, "uncountedTerminatedPods": {}});
    }
    object
}

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
