//! A cluster with one test: what the API server, the Job controller and the kubelets do, without any of them. For the
//! properties in `verdicts`; [`crate::replica`] is the operator.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock};

use jiff::{SignedDuration, Timestamp};
use lotest::api::v2::LocustTest;
use lotest::bundle::{Bundle, Layer};
use lotest::engine::index::Key;
use lotest::engine::lookup::{Answer, Question, Said};
use lotest::engine::render::{Child, render, text};
use lotest::engine::run::Revision;
use serde_json::{Value, json};

use crate::support::{base, merge, yaml};

/// 2026-01-01T00:00:00Z.
pub const BEGINNING: Timestamp = Timestamp::constant(1_767_225_600, 0);

pub static STATES: LazyLock<Value> = LazyLock::new(|| yaml("tests/states.yaml"));

/// The built-in bundle, and one with rules for pods that the status dates between those that Kubernetes dates, and
/// with a retention; and one in which nothing that pods suffer from is fatal.
pub static BUNDLES: LazyLock<[Arc<Bundle>; 3]> = LazyLock::new(|| {
    let files = Layer::built_in().files;
    let mut other = files.clone();
    let signals = other.get_mut("rules/signals.yaml").unwrap();
    signals.push_str(
        r"
- {id: seen-pending, on: {each: pod}, when: {path: $.status.phase, eq: Pending}, since: seen, for: 5m,
   reason: SeenPending, severity: degraded, priority: 718, message: pending}
- {id: seen-waiting, on: {each: container}, when: {path: $.state.waiting.reason, exists: true}, since: seen, for: 45s,
   reason: SeenWaiting, severity: degraded, priority: 618, message: '{{ name }} waits'}
- {id: seen-failed, on: {each: pod}, when: {path: $.status.phase, eq: Failed}, since: seen,
   reason: SeenFailed, severity: warn, priority: 335, message: failed}
",
    );
    let values = other.get_mut("values.yaml").unwrap();
    *values = values.replace(
        "failed: {children: never, test: never}",
        "failed: {children: 90s, test: never}",
    );
    let mut patient = other.clone();
    let signals = patient.get_mut("rules/signals.yaml").unwrap();
    *signals = signals.replace("severity: fatal", "severity: degraded");
    [files, other, patient].map(|files| {
        Arc::new(
            Bundle::load(&[files.clone().into()], &BTreeMap::new())
                .unwrap()
                .0,
        )
    })
});

/// The test as created, and what it is started with.
pub static STARTED: LazyLock<(Value, Revision)> = LazyLock::new(|| {
    let mut test = base();
    test["spec"]["worker"]["replicas"] = 3.into();
    let mut test = LocustTest::parse_strict(test).unwrap().to_value();
    merge(
        &mut test["metadata"],
        &json!({"namespace": "n", "uid": "test", "generation": 1, "creationTimestamp": BEGINNING.to_string()}),
    );
    let revision = Revision {
        spec: test["spec"].clone(),
        bundle: "digest".into(),
        pod_selector: None,
        children: render(&BUNDLES[0], &test).unwrap().children,
    };
    (test, revision)
});

pub const JOBS: [&str; 2] = ["master-job", "worker-job"];
pub const PODS: usize = 5;

/// Something that happens in the cluster.
#[derive(Debug, Clone)]
pub enum Step {
    /// The pod of this number is made, or becomes like this.
    Pod(usize, Value),
    PodGone(usize),
    Job(&'static str, Value),
    JobGone(&'static str),
    /// Somebody edits the test.
    Replicas(u32),
}

/// What a watch tells.
#[derive(Debug, Clone)]
pub enum News {
    Test(Value),
    Child(Value),
    ChildGone(Value),
    Pod(Value),
    PodGone(Value),
}

/// What the API server holds.
pub struct Cluster {
    pub bundle: Arc<Bundle>,
    pub now: Timestamp,
    pub test: Value,
    pub children: BTreeMap<String, Value>,
    pub pods: BTreeMap<String, Value>,
    version: u64,
    /// What was not told yet to each replica: of tests, children and pods, as these are watches of their own.
    pub untold: Vec<[VecDeque<News>; 3]>,
}

impl Cluster {
    /// With a test that was just created, and its children.
    pub fn new(bundle: &Arc<Bundle>, replicas: usize) -> Cluster {
        let mut cluster = Cluster {
            bundle: Arc::clone(bundle),
            now: BEGINNING,
            test: Value::Null,
            children: BTreeMap::new(),
            pods: BTreeMap::new(),
            version: 0,
            untold: vec![Default::default(); replicas],
        };
        cluster.store(STARTED.0.clone());
        for child in &STARTED.1.children {
            cluster.make(child);
        }
        cluster
    }

    pub fn key(&self) -> Key {
        Key::of(&self.test)
    }

    pub fn later(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    pub fn phase(&self) -> &str {
        text(&self.test, "/status/phase")
    }

    fn tell(&mut self, watch: usize, news: &News) {
        for replica in &mut self.untold {
            replica[watch].push_back(news.clone());
        }
    }

    fn stamp(&mut self, object: &mut Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
    }

    pub fn store(&mut self, mut test: Value) {
        self.stamp(&mut test);
        self.test = test;
        self.tell(0, &News::Test(self.test.clone()));
    }

    pub fn put_child(&mut self, stem: &str, mut child: Value) {
        self.stamp(&mut child);
        self.children.insert(stem.to_string(), child.clone());
        self.tell(1, &News::Child(child));
    }

    pub fn make(&mut self, child: &Child) {
        if self.children.contains_key(&child.stem) {
            return;
        }
        let mut object = child.object.clone();
        object["metadata"]["uid"] = format!("{}-{}", child.stem, self.version).into();
        object["metadata"]["creationTimestamp"] = self.now.to_string().into();
        self.put_child(&child.stem, object);
    }

    pub fn remove_child(&mut self, stem: &str) {
        if let Some(mut child) = self.children.remove(stem) {
            self.stamp(&mut child);
            let of = |pod: &Value| {
                pod["metadata"]["ownerReferences"][0]["uid"] == child["metadata"]["uid"]
            };
            let pods = self
                .pods
                .extract_if(.., |_, pod| of(pod))
                .collect::<Vec<_>>();
            self.tell(1, &News::ChildGone(child));
            for (_, mut pod) in pods {
                self.stamp(&mut pod);
                self.tell(2, &News::PodGone(pod));
            }
        }
    }

    pub fn happen(&mut self, step: &Step) {
        match step {
            Step::Pod(n, state) => self.put_pod(*n, state),
            Step::PodGone(n) => {
                if let Some(mut pod) = self.pods.remove(&format!("pod-{n}")) {
                    self.stamp(&mut pod);
                    self.tell(2, &News::PodGone(pod));
                }
            }
            Step::Job(stem, state) => {
                if let Some(mut child) = self.children.get(*stem).cloned() {
                    child["status"] = json!({});
                    merge(&mut child, &self.at_now(state));
                    let all = child["spec"]["parallelism"].clone();
                    for count in ["active", "ready"] {
                        if child["status"][count] == "all" {
                            child["status"][count] = all.clone();
                        }
                    }
                    self.put_child(stem, child);
                }
            }
            Step::JobGone(stem) => self.remove_child(stem),
            Step::Replicas(n) => {
                let mut test = self.test.clone();
                test["spec"]["worker"]["replicas"] = (*n).into();
                let generation = test["metadata"]["generation"].as_i64().unwrap();
                test["metadata"]["generation"] = (generation + 1).into();
                self.store(test);
            }
        }
    }

    /// Pod 0 is the master's, the others are workers.
    fn put_pod(&mut self, n: usize, state: &Value) {
        let name = format!("pod-{n}");
        let stem = JOBS[n.min(1)];
        let mut pod = match (self.pods.get(&name), self.children.get(stem)) {
            (Some(pod), _) => pod.clone(),
            (None, Some(job)) => self.new_pod(&name, job),
            (None, None) => return,
        };
        if pod["metadata"]["deletionTimestamp"].is_string() {
            // Such a pod comes back as another one only.
            return;
        }
        pod["status"] = json!({});
        let main = pod["spec"]["containers"][0]["name"].clone();
        merge(&mut pod, &self.at_now(state));
        let statuses = pod["status"]["containerStatuses"].as_array_mut();
        for status in statuses.into_iter().flatten() {
            if status["name"] == "main" {
                status["name"] = main.clone();
            }
        }
        self.stamp(&mut pod);
        self.pods.insert(name, pod.clone());
        self.tell(2, &News::Pod(pod));
    }

    fn new_pod(&self, name: &str, job: &Value) -> Value {
        let mut pod = job["spec"]["template"].clone();
        let own = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "n",
                "uid": format!("{name}-{}", self.version),
                "creationTimestamp": self.now.to_string(),
                "ownerReferences": [{
                    "apiVersion": "batch/v1", "kind": "Job", "controller": true,
                    "name": job["metadata"]["name"], "uid": job["metadata"]["uid"],
                }],
            },
        });
        merge(&mut pod, &own);
        for (containers, name) in [("initContainers", "prepare"), ("containers", "proxy")] {
            let mut all = pod["spec"][containers]
                .as_array()
                .cloned()
                .unwrap_or_default();
            all.push(json!({"name": name, "image": "mesh:1"}));
            pod["spec"][containers] = all.into();
        }
        pod
    }

    /// `@-30` as the time 30 seconds ago.
    fn at_now(&self, state: &Value) -> Value {
        match state {
            Value::String(text) => match text.strip_prefix('@') {
                Some(seconds) => {
                    let seconds = SignedDuration::from_secs(seconds.parse().unwrap());
                    (self.now + seconds).to_string().into()
                }
                None => state.clone(),
            },
            Value::Array(all) => all.iter().map(|entry| self.at_now(entry)).collect(),
            Value::Object(all) => {
                let entries = all
                    .iter()
                    .map(|(key, value)| (key.clone(), self.at_now(value)));
                Value::Object(entries.collect())
            }
            other => other.clone(),
        }
    }

    /// What Kubernetes' events say about an object. About some there is none; one names what is missing.
    pub fn answer(&self, question: &Question) -> Answer {
        let message = match question.about.uid.as_str() {
            uid if uid.starts_with("pod-1") => return Answer::Events(Vec::new()),
            uid if uid.starts_with("pod-2") => r#"secret "s" not found"#.into(),
            uid => format!("{} of {uid}", question.reasons.join("/")),
        };
        let at = Some(BEGINNING);
        Answer::Events(vec![Said { message, at }])
    }
}
