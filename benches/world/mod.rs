//! What the benches measure with: tests, pods, and an index that knows them as an operator does.

// Each bench uses a part of it.
#![allow(dead_code)]

use jiff::Timestamp;
use lotest::api::v2::LocustTest;
use lotest::bundle::{Bundle, Layer, yaml};
use lotest::engine::index::{Index, Key};
use lotest::engine::render::{Child, owner_reference, render};
use lotest::engine::run::Revision;
use lotest::engine::verdict::evaluate;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

const CREATED: &str = "2026-01-01T12:00:00Z";

/// A minute later: no grace period has ended.
pub const SOON: &str = "2026-01-01T12:01:00Z";

/// Every grace period has ended.
pub const LATE: &str = "2026-01-01T13:00:00Z";

pub const SMALL: &str = "
apiVersion: locust.io/v2
kind: LocustTest
metadata: {name: small}
spec:
  image: locustio/locust:2.20.0
  master: {command: --locustfile /lotest/src/test.py --host https://example.com}
  worker: {command: --locustfile /lotest/src/test.py, replicas: 5}
";

pub fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

pub fn bundle() -> Bundle {
    let (bundle, _) =
        Bundle::load(&[Layer::built_in()], &BTreeMap::new()).expect("the built-in bundle");
    bundle
}

/// The test in a file, as the API server would store it.
pub fn test(written: &str) -> Value {
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
pub fn pod(job: &Value, n: usize) -> Value {
    let template = &job["spec"]["template"];
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": template["metadata"],
        "spec": template["spec"],
    });
    let job_name = job["metadata"]["name"].as_str().unwrap();
    stored(&mut pod, &uid(job_name, n));
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
pub fn pending(mut pod: Value) -> Value {
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
pub fn in_trouble(mut pod: Value, reason: &str) -> Value {
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
pub struct World {
    pub bundle: Arc<Bundle>,
    pub index: Index,
    pub key: Key,
    /// Two states of one worker, which it takes in turn.
    pub event: [Value; 2],
    pub now: Timestamp,
}

impl World {
    pub fn new(bundle: &Arc<Bundle>, workers: usize, healthy: bool, now: Timestamp) -> World {
        let mut index = Index::new(Arc::clone(bundle));
        let (key, event) = join(bundle, &mut index, "small", workers, healthy, now);
        World {
            bundle: Arc::clone(bundle),
            index,
            key,
            event,
            now,
        }
    }

    pub fn phase(&self) -> &Value {
        &self.index.get(&self.key).unwrap().object["status"]["phase"]
    }
}

/// Adds a test with so many workers, and gives two states that one of them takes in turn.
pub fn join(
    bundle: &Arc<Bundle>,
    index: &mut Index,
    name: &str,
    workers: usize,
    healthy: bool,
    now: Timestamp,
) -> (Key, [Value; 2]) {
    let mut test = test(SMALL);
    test["metadata"]["name"] = name.into();
    test["metadata"]["uid"] = uid(name, 0).into();
    test["spec"]["worker"]["replicas"] = workers.into();
    let key = Key::of(&test);
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
    let worker_job = job("worker-job");
    for n in 0..workers {
        index.apply_pod(&state(&worker_job, n, "ErrImagePull"), now);
    }
    store_verdict(bundle, index, &key, test, now);
    // In the middle, where neither the first nor the last is special.
    let event =
        ["ImagePullBackOff", "ErrImagePull"].map(|reason| state(&worker_job, workers / 2, reason));
    (key, event)
}

/// As the operator does, until nothing is left to write.
fn store_verdict(bundle: &Bundle, index: &mut Index, key: &Key, mut test: Value, now: Timestamp) {
    for version in 1001.. {
        let verdict = evaluate(bundle, index.get(key).unwrap(), now);
        assert!(verdict.errors.is_empty(), "{:?}", verdict.errors);
        if !verdict.changed {
            return;
        }
        test["status"] = Value::Object(verdict.status);
        test["metadata"]["resourceVersion"] = version.to_string().into();
        index.apply_test(test.clone());
    }
}

/// As long as the API server's are, and the same for the same object.
fn uid(name: &str, n: usize) -> String {
    let mut hash = DefaultHasher::new();
    name.hash(&mut hash);
    format!("{:016x}-0000-4000-{n:08}", hash.finish())
}

/// A child as the API server has it while its pods run, or do not.
pub fn running(child: &Child, healthy: bool) -> Value {
    let mut object = child.object.clone();
    stored(&mut object, &uid(child.name(), child.stem.len()));
    if let Some(pods) = object["spec"].get("parallelism").cloned() {
        let ready = if healthy { pods.clone() } else { 0.into() };
        object["status"] = json!({"active": pods, "ready": ready, "startTime": CREATED,
            "terminating": 0, "uncountedTerminatedPods": {}});
    }
    object
}
