//! Helm, and what it makes of the chart.

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The release and its namespace in all tests.
pub const RELEASE: &str = "load";
pub const NAMESPACE: &str = "perf";

pub fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

pub fn file(relative: &str) -> String {
    std::fs::read_to_string(path(relative)).unwrap_or_else(|e| panic!("{relative}: {e}"))
}

pub fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Helm's command.
pub fn helm() -> Command {
    at_home(Command::new("helm"))
}

/// So that Helm reads nothing of who runs the tests.
pub fn at_home(mut command: Command) -> Command {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm");
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, home.join(variable));
    }
    command.env_remove("KUBECONFIG").stdin(Stdio::null());
    command
}

pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| {
        panic!(
            "{command:?}: {e}: run `make test`, or this command behind tests/cluster/with-cluster"
        )
    })
}

/// `helm template` with values from standard input: what it prints, or why it refuses.
pub fn template(values: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = helm();
    command
        .args([
            "template",
            RELEASE,
            "deploy/chart",
            "--namespace",
            NAMESPACE,
        ])
        .args(["--values", "-"])
        .args(arguments)
        .current_dir(path(""))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| {
        panic!(
            "{command:?}: {e}: run `make test`, or this command behind tests/cluster/with-cluster"
        )
    });
    let mut input = child.stdin.take().unwrap();
    input.write_all(values.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// The objects for some values.
#[derive(Debug)]
pub struct Rendered(pub Vec<Value>);

impl Rendered {
    #[track_caller]
    pub fn of(values: &str) -> Rendered {
        let text = template(values, &[]).unwrap_or_else(|e| panic!("{e}\n{values}"));
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        Rendered(objects.into_iter().filter(|o| !o.is_null()).collect())
    }

    /// With the values of a file in tests/chart/values.
    pub fn of_file(name: &str) -> Rendered {
        Rendered::of(&file(&format!("tests/chart/values/{name}.yaml")))
    }

    pub fn kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |o| o["kind"] == kind)
    }

    #[track_caller]
    pub fn get(&self, kind: &str, name: &str) -> &Value {
        let is_it = |o: &&Value| o["kind"] == kind && o["metadata"]["name"] == name;
        let found = self.0.iter().find(is_it);
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    pub fn operator(&self) -> &Value {
        self.get("Deployment", "locust-operator")
    }

    pub fn container(&self) -> &Value {
        &self.operator()["spec"]["template"]["spec"]["containers"][0]
    }

    /// The operator's settings.
    pub fn env(&self) -> BTreeMap<String, String> {
        let all = self.container()["env"].as_array().unwrap();
        let mut env = BTreeMap::new();
        for variable in all {
            let name = variable["name"].as_str().unwrap().to_string();
            let value = variable["value"].as_str().unwrap_or_default();
            assert_eq!(env.insert(name.clone(), value.to_string()), None, "{name}");
        }
        env
    }

    pub fn args(&self) -> Vec<&str> {
        let args = self.container()["args"].as_array().unwrap();
        args.iter().map(|a| a.as_str().unwrap()).collect()
    }

    /// The files of the layer, where the operator's volume puts them.
    pub fn layer(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let volumes = &self.operator()["spec"]["template"]["spec"]["volumes"];
        for volume in volumes.as_array().into_iter().flatten() {
            for source in volume["projected"]["sources"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let name = source["configMap"]["name"].as_str().unwrap();
                let map = self.get("ConfigMap", name);
                for item in source["configMap"]["items"].as_array().unwrap() {
                    let text = map["data"][item["key"].as_str().unwrap()].as_str().unwrap();
                    let path = item["path"].as_str().unwrap();
                    files.insert(path.to_string(), text.to_string());
                }
            }
        }
        files
    }
}
