//! What the tests stand on: a namespace of one's own ([`Room`]), tests in it, and waiting.

use futures::StreamExt;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::runtime::watcher;
use kube::{Client, Config};
use lotest::bundle::{Bundle, Files, Layer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How long anything may take before it is taken for never.
const PATIENCE: Duration = Duration::from_secs(90);

/// The kinds that the tests look at.
const KINDS: &[(&str, &str, &str)] = &[
    ("LocustTest", "locust.io", "v2"),
    ("Job", "batch", "v1"),
    ("Service", "", "v1"),
    ("Pod", "", "v1"),
    ("ConfigMap", "", "v1"),
    ("ResourceQuota", "", "v1"),
    ("ControllerRevision", "apps", "v1"),
    ("Event", "events.k8s.io", "v1"),
    ("Lease", "coordination.k8s.io", "v1"),
    ("Role", "rbac.authorization.k8s.io", "v1"),
];

/// A path from the environment that `with-cluster` makes.
pub fn from_with_cluster(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run `make test`, or this command behind tests/cluster/with-cluster"))
}

pub async fn config(variable: &str) -> Config {
    let kubeconfig = Kubeconfig::read_from(from_with_cluster(variable)).unwrap();
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap()
}

/// A namespace of one's own, seen as an administrator.
pub struct Room {
    pub client: Client,
    pub namespace: String,
}

impl Room {
    /// A new namespace whose name starts with `name`, ready for pods.
    pub async fn new(name: &str) -> Room {
        let client = Client::try_from(config("LOTEST_TEST_KUBECONFIG").await).unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
        let namespaces: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": format!("{name}-")}});
        let made = namespaces
            .create(
                &PostParams::default(),
                &serde_json::from_value(object).unwrap(),
            )
            .await
            .unwrap();
        let room = Room {
            client,
            namespace: made.metadata.name.unwrap(),
        };
        let accounts = room.named("", "v1", "ServiceAccount");
        until("the default ServiceAccount", async || {
            accounts.get_opt("default").await.unwrap()
        })
        .await;
        room
    }

    fn named(&self, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        let (_, group, version) = KINDS
            .iter()
            .find(|(k, ..)| *k == kind)
            .expect("a kind of KINDS");
        self.named(group, version, kind)
    }

    /// Creates an object; the namespace is filled in.
    pub async fn create(&self, object: Value) -> Value {
        self.try_create(object).await.unwrap()
    }

    pub async fn try_create(&self, object: Value) -> Result<Value, kube::Error> {
        let api = self.api(object["kind"].as_str().unwrap());
        let object = serde_json::from_value(object).unwrap();
        let made = api.create(&PostParams::default(), &object).await?;
        Ok(serde_json::to_value(made).unwrap())
    }

    /// Creates a test that runs to its end in seconds.
    pub async fn create_test(&self, name: &str) -> Value {
        self.create(test(name)).await
    }

    pub async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let found = self.api(kind).get_opt(name).await.unwrap();
        found.map(|object| serde_json::to_value(object).unwrap())
    }

    pub async fn list(&self, kind: &str) -> Vec<Value> {
        let list = self.api(kind).list(&ListParams::default()).await.unwrap();
        let items = list.items.into_iter();
        items.map(|o| serde_json::to_value(o).unwrap()).collect()
    }

    /// Merges into an object; the status is left as it is.
    pub async fn patch(&self, kind: &str, name: &str, change: Value) -> Value {
        let parameters = PatchParams::default();
        let change = Patch::Merge(&change);
        let patched = self.api(kind).patch(name, &parameters, &change).await;
        serde_json::to_value(patched.unwrap()).unwrap()
    }

    pub async fn delete(&self, kind: &str, name: &str) {
        let parameters = DeleteParams::background();
        self.api(kind).delete(name, &parameters).await.unwrap();
    }

    /// The events about a test, as `<type> <reason>: <note>`, the oldest first. One that came twice is here twice.
    pub async fn events(&self, test: &str) -> Vec<String> {
        let mut events = self.list("Event").await;
        events.retain(|e| e["regarding"]["kind"] == "LocustTest" && e["regarding"]["name"] == test);
        events.sort_by_key(resource_version);
        let text = |e: &Value, key: &str| e[key].as_str().unwrap_or_default().to_string();
        let line = |e| {
            format!(
                "{} {}: {}",
                text(e, "type"),
                text(e, "reason"),
                text(e, "note")
            )
        };
        events.iter().map(line).collect()
    }

    /// Every state that a test goes through from now on.
    pub fn history(&self, test: &str) -> History {
        let config = watcher::Config::default().fields(&format!("metadata.name={test}"));
        let mut changes = Box::pin(watcher(self.api("LocustTest"), config));
        let states = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&states);
        let task = tokio::spawn(async move {
            while let Some(change) = changes.next().await {
                // A watch that the API server ends begins again with what there is.
                if let Ok(watcher::Event::Apply(test) | watcher::Event::InitApply(test)) = change {
                    let state = serde_json::to_value(test).unwrap();
                    seen.lock().unwrap().push(state);
                }
            }
        });
        History { states, task }
    }

    /// Waits until an object is as wanted; says how it was at last when it never is.
    pub async fn until(&self, kind: &str, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let started = Instant::now();
        loop {
            let now = self.get(kind, name).await;
            if now.as_ref().is_some_and(&wanted) {
                return now.unwrap();
            }
            last = now.or(last);
            if let Some(last) = &mut last {
                last["metadata"]["managedFields"].take();
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{kind} {name} is never as wanted; at last {}",
                serde_json::to_string_pretty(&last).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn until_phase(&self, name: &str, phase: &str) -> Value {
        self.until("LocustTest", name, |t| t["status"]["phase"] == phase)
            .await
    }

    pub async fn until_gone(&self, kind: &str, name: &str) {
        until(&format!("the end of {kind} {name}"), async || {
            self.get(kind, name).await.is_none().then_some(())
        })
        .await;
    }

    /// Runs kubectl in the namespace, as an administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        Command::new("kubectl")
            .env("KUBECONFIG", from_with_cluster("LOTEST_TEST_KUBECONFIG"))
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Another command of lotest for this namespace, as an administrator.
    pub fn lotest(&self, arguments: &[&str]) -> Command {
        let mut command = self.lotest_alone(arguments);
        command.args(["--namespace", &self.namespace]);
        command
    }

    /// The same for commands that know no namespace.
    pub fn lotest_alone(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lotest"));
        command
            .args(arguments)
            .env("KUBECONFIG", from_with_cluster("LOTEST_TEST_KUBECONFIG"))
            .stdin(Stdio::null());
        command
    }
}

/// See [`Room::history`].
pub struct History {
    states: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl History {
    pub fn states(&self) -> Vec<Value> {
        self.states.lock().unwrap().clone()
    }

    /// Waits until the phases came in this order, and none between them. The history may lag behind a look.
    pub async fn until_phases(&self, wanted: &[&str]) {
        until(&format!("the phases {wanted:?}"), async || {
            let phases = self.phases();
            let so_far = phases.len().min(wanted.len());
            assert_eq!(phases[..], wanted[..so_far]);
            (phases.len() == wanted.len()).then_some(())
        })
        .await;
    }

    /// The phases in their order, each once as long as it lasts; the time before the first is empty.
    pub fn phases(&self) -> Vec<String> {
        let states = self.states();
        let phase = |t: &Value| {
            t["status"]["phase"]
                .as_str()
                .unwrap_or_default()
                .to_string()
        };
        let mut phases: Vec<String> = states.iter().map(phase).collect();
        phases.dedup();
        phases
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asks until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "{what} never comes");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A small test: two workers, all pods run for a second (see README.md) and end well.
pub fn test(name: &str) -> Value {
    let briefly = json!({"kwok.lotest/run-for": "1s"});
    json!({
        "apiVersion": "locust.io/v2",
        "kind": "LocustTest",
        "metadata": {"name": name},
        "spec": {
            "image": "locustio/locust:2.20.0",
            "master": {"command": "--locustfile /lotest/src/test.py", "annotations": briefly},
            "worker": {"command": "--locustfile /lotest/src/test.py", "annotations": briefly, "replicas": 2},
        },
    })
}

/// The same test, but it runs long enough for the status to say that all workers were there: it is written once a
/// second.
pub fn longer(mut test: Value) -> Value {
    for role in ["master", "worker"] {
        test["spec"][role]["annotations"]["kwok.lotest/run-for"] = "4s".into();
    }
    test
}

/// A test whose pods run until they are deleted.
pub fn endless(name: &str) -> Value {
    let mut test = test(name);
    for role in ["master", "worker"] {
        test["spec"][role]["annotations"] = json!({"kwok.lotest/behaviour": "run-forever"});
    }
    test
}

/// The built-in bundle with its files changed.
pub fn bundle_with(change: impl FnOnce(&mut Files)) -> Bundle {
    let mut files = Layer::built_in().files;
    change(&mut files);
    match Bundle::load(&[files.clone().into()], &BTreeMap::new()) {
        Ok((bundle, _)) => bundle,
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{}", problems.join("\n"));
        }
    }
}

/// What was asked for of a Service or Job, without what the cluster chose for this very one.
pub fn shape(child: &Value) -> Value {
    let mut spec = child["spec"].clone();
    for key in ["selector", "clusterIP", "clusterIPs"] {
        spec.as_object_mut().unwrap().remove(key);
    }
    if let Some(labels) = spec.pointer_mut("/template/metadata/labels") {
        let chosen = |key: &str| key.contains("controller-uid") || key.contains("job-name");
        labels
            .as_object_mut()
            .unwrap()
            .retain(|key, _| !chosen(key));
    }
    let metadata = &child["metadata"];
    json!({"labels": metadata["labels"], "annotations": metadata["annotations"], "spec": spec})
}

/// The condition of a type.
pub fn condition<'a>(test: &'a Value, kind: &str) -> &'a Value {
    let conditions = test["status"]["conditions"].as_array();
    let mut found = conditions.into_iter().flatten();
    found.find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

/// Grows with every write in the cluster.
fn resource_version(object: &Value) -> u64 {
    let version = object["metadata"]["resourceVersion"].as_str().unwrap();
    version.parse().unwrap()
}
