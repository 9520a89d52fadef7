//! The manifests in deploy/overlays, as kubectl applies them; the operator runs from what the API server then holds, as a
//! process: with the arguments of the Deployment, the data of the ConfigMaps where the kubelet would put it, and the rights
//! of its own ServiceAccount.

use crate::mount::Directory;
use crate::operators::Operator;
use crate::process::{free_port, get};
use crate::support::{Room, endless, from_with_cluster, until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the manifests want layers.
const LAYERS: &str = "/etc/lotest/layers/";

/// An overlay in a namespace of its own, so that it stands beside others.
struct Installed {
    namespace: String,
    prefix: String,
    deployment: Value,
    /// The mounted layers by their path in the container.
    layers: BTreeMap<String, Directory>,
    wrapper: Directory,
}

#[track_caller]
fn kubectl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("kubectl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

fn object(arguments: &[&str]) -> Value {
    serde_json::from_slice(&kubectl(&[arguments, &["-o", "json"]].concat())).unwrap()
}

impl Installed {
    fn new(overlay: &str) -> Installed {
        let path = format!("{}/deploy/overlays/{overlay}", env!("CARGO_MANIFEST_DIR"));
        // As it is, but for a Role that the other tests have made in another way.
        kubectl(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "-k",
            &path,
        ]);
        let wrapper = Directory::new();
        let up = "../".repeat(wrapper.0.components().count() - 1);
        let (namespace, prefix) = (format!("lotest-{overlay}"), format!("{overlay}-"));
        // What all tests share stays as it is, and nobody answers webhooks here.
        let kustomization = format!(
            "namespace: {namespace}\nnamePrefix: {prefix}\nresources: [{up}{}]\npatches:\n\
            - target: {{kind: CustomResourceDefinition}}\n  \
              patch: '{{$patch: delete, kind: any, metadata: {{name: any}}}}'\n\
            - target: {{kind: ValidatingWebhookConfiguration}}\n  \
              patch: '{{$patch: delete, kind: any, metadata: {{name: any}}}}'\n",
            path.trim_start_matches('/')
        );
        wrapper.write(&[("kustomization.yaml", &kustomization)]);
        let directory = wrapper.0.display().to_string();
        kubectl(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            "-k",
            &directory,
        ]);
        let name = format!("{prefix}lotest");
        let deployment = object(&["get", "deployment", "-n", &namespace, &name]);
        let mut installed = Installed {
            namespace,
            prefix,
            deployment,
            layers: BTreeMap::new(),
            wrapper,
        };
        installed.mount();
        installed
    }

    /// Writes the ConfigMaps as they are now to where the Deployment mounts them, as the kubelet does.
    fn mount(&mut self) {
        let pod = &self.deployment["spec"]["template"]["spec"];
        let list = |value: &Value| value.as_array().unwrap().clone();
        for mount in list(&pod["containers"][0]["volumeMounts"]) {
            let volumes = list(&pod["volumes"]);
            let volume = volumes.iter().find(|v| v["name"] == mount["name"]).unwrap();
            let mut files = Vec::new();
            for source in list(&volume["projected"]["sources"]) {
                let map = &source["configMap"];
                let name = map["name"].as_str().unwrap();
                let data =
                    object(&["get", "configmap", "-n", &self.namespace, name])["data"].take();
                for item in list(&map["items"]) {
                    let text = data[item["key"].as_str().unwrap()].as_str().unwrap();
                    files.push((item["path"].as_str().unwrap().to_string(), text.to_string()));
                }
            }
            let files: Vec<(&str, &str)> = files.iter().map(|(f, t)| (&**f, &**t)).collect();
            let path = mount["mountPath"].as_str().unwrap().to_string();
            let directory = self.layers.entry(path).or_insert_with(Directory::new);
            directory.mount(&files);
        }
    }

    /// The operator for the namespace of a room, and where it says how it is.
    async fn operator(&self, room: &Room) -> (Operator, u16) {
        let account = format!("{}lotest", self.prefix);
        let token = kubectl(&["create", "token", "-n", &self.namespace, &account]);
        let admin = std::fs::read_to_string(from_with_cluster("LOTEST_TEST_KUBECONFIG")).unwrap();
        let mut kubeconfig: Value = serde_saphyr::from_str(&admin).unwrap();
        let token = String::from_utf8(token).unwrap();
        kubeconfig["users"][0]["user"] = serde_json::json!({"token": token.trim()});
        let path = self.wrapper.0.join("kubeconfig");
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        let container = &self.deployment["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"].as_array().unwrap().iter();
        let arguments = arguments
            .map(|a| a.as_str().unwrap())
            // There are others on this machine, and this one leads.
            .filter(|a| !a.contains("-bind-address=") && *a != "--leader-elect")
            .map(|a| match self.layers.get(a) {
                Some(directory) => directory.0.display().to_string(),
                None => a.to_string(),
            });
        let health = free_port();
        let operator = Command::new(env!("CARGO_BIN_EXE_lotest"))
            .args(arguments)
            .args([
                "--namespace",
                &room.namespace,
                "--metrics-bind-address=0",
                "--webhook-bind-address=0",
            ])
            .args([
                "--health-probe-bind-address",
                &format!("127.0.0.1:{health}"),
            ])
            .env("KUBECONFIG", path)
            .env("POD_NAME", "lotest-0")
            .env("POD_NAMESPACE", &self.namespace)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let operator = Operator(operator);
        until("readiness", async || {
            get(health, "/readyz").filter(|(code, _, body)| *code == 200 && body == "ok")
        })
        .await;
        (operator, health)
    }
}

/// Waits until the operator has another bundle, and is content with it.
async fn until_reloaded(health: u16, before: &str) {
    until("another bundle", async || {
        let (.., body) = get(health, "/status")?;
        let standing: Value = serde_json::from_str(&body).ok()?;
        (standing["bundle"] != before && standing["stale"] == false).then_some(())
    })
    .await;
}

fn bundle(health: u16) -> String {
    let (.., body) = get(health, "/status").unwrap();
    let standing: Value = serde_json::from_str(&body).unwrap();
    standing["bundle"].as_str().unwrap().to_string()
}

#[tokio::test]
async fn the_example_cluster_runs_from_its_manifests() {
    let mut installed = Installed::new("example-cluster");
    assert!(installed.layers.keys().all(|path| path.starts_with(LAYERS)));
    assert_eq!(installed.layers.len(), 2);
    let base = &installed.layers[&format!("{LAYERS}base")].0;
    assert!(Path::new(&base.join("..data/templates/_pod.yaml")).exists());
    let room = Room::new("example").await;
    let (_operator, health) = installed.operator(&room).await;
    room.create(endless("load")).await;
    let master = room.until("Job", "load-master", |_| true).await;
    let container = &master["spec"]["template"]["spec"]["containers"][0];
    let args = container["args"].as_array().unwrap();
    assert!(args.contains(&"--csv=/tmp/results".into()), "{args:?}");
    let policy = room.kubectl(&["get", "networkpolicy", "load-load"]);
    assert!(policy.status.success(), "{policy:?}");

    // Somebody applies the overlay with other values; the golden cases say so too.
    let before = bundle(health);
    let map = "configmap/example-cluster-lotest-example-cluster";
    let patch = r#"{"data": {"values.yaml": "grace: {pods: 5m}\nextraArgs: {master: [--csv=/tmp/results], worker: []}\nports: {web: 8089}\nextra: {stage: two}\n"}}"#;
    kubectl(&["patch", "-n", &installed.namespace, map, "--patch", patch]);
    installed.mount();
    until_reloaded(health, &before).await;
    room.create(endless("next")).await;
    let digest = Value::from(bundle(health));
    room.until("LocustTest", "next", |t| t["status"]["bundle"] == digest)
        .await;
}

#[tokio::test]
async fn the_shared_cluster_runs_from_its_manifests() {
    let installed = Installed::new("shared-cluster");
    let room = Room::new("shared").await;
    let (_operator, _) = installed.operator(&room).await;
    room.create(endless("load")).await;
    let master = room.until("Job", "load-master", |_| true).await;
    let pod = &master["spec"]["template"]["spec"];
    assert_eq!(pod["tolerations"][0]["key"], "dedicated");
    assert_eq!(pod["priorityClassName"], "load-tests");
    assert_eq!(pod["initContainers"], Value::Null);
}
