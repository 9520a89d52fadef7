//! What the tests share: specs, rendering, and short ways to what was rendered.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use lotest::api::v2::LocustTest;
use lotest::bundle::{Bundle, Layer};
use lotest::engine::render::render;
use serde_json::{Value, json};

pub fn file(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

pub fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&file(path)).unwrap()
}

/// The smallest test there is; its name is `load`.
pub fn base() -> Value {
    yaml("tests/specs.yaml")["base"].take()
}

/// RFC 7386.
pub fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// The operator's environment: `NAME=value` each.
pub fn settings(variables: &[&str]) -> BTreeMap<String, String> {
    variables
        .iter()
        .map(|v| v.split_once('=').expect("NAME=value"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The built-in bundle under this environment, and what it warned of.
#[track_caller]
pub fn load(variables: &[&str]) -> (Bundle, Vec<String>) {
    Bundle::load(&[Layer::built_in()], &settings(variables)).unwrap_or_else(|p| panic!("{p:#?}"))
}

/// The children of a test, by their stem.
pub struct Made {
    children: BTreeMap<String, Value>,
    pub warnings: Vec<String>,
}

impl Made {
    /// What is at `pointer` in a child; null when there is nothing.
    #[track_caller]
    pub fn at(&self, stem: &str, pointer: &str) -> &Value {
        self.children[stem].pointer(pointer).unwrap_or(&Value::Null)
    }

    pub fn service(&self, pointer: &str) -> &Value {
        self.at("service", pointer)
    }

    /// In the Job of a role.
    #[track_caller]
    pub fn job(&self, role: &str, pointer: &str) -> &Value {
        self.at(&format!("{role}-job"), pointer)
    }

    /// In the pod template of a role.
    #[track_caller]
    pub fn pod(&self, role: &str, pointer: &str) -> &Value {
        self.job(role, &format!("/spec/template{pointer}"))
    }

    /// In the Locust container of a role.
    #[track_caller]
    pub fn container(&self, role: &str, pointer: &str) -> &Value {
        self.pod(role, &format!("/spec/containers/0{pointer}"))
    }

    /// The command line of a role, each argument as it is.
    #[track_caller]
    pub fn args(&self, role: &str) -> Vec<&str> {
        let args = self.container(role, "/args").as_array().unwrap();
        args.iter().map(|arg| arg.as_str().unwrap()).collect()
    }

    /// One variable of a role; null when it is not set.
    #[track_caller]
    pub fn variable(&self, role: &str, name: &str) -> &Value {
        let env = self.container(role, "/env").as_array().unwrap();
        let mut found = env.iter().filter(|variable| variable["name"] == name);
        let variable = found.next().unwrap_or(&Value::Null);
        assert!(found.next().is_none(), "{name} is set twice");
        variable
    }

    /// The names of a list of named entries, in order.
    #[track_caller]
    pub fn names(&self, role: &str, pointer: &str) -> Vec<&str> {
        names(self.pod(role, pointer))
    }

    pub fn objects(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.children
            .iter()
            .map(|(stem, object)| (stem.as_str(), object))
    }
}

/// The `name` of each entry; of no list, none.
pub fn names(list: &Value) -> Vec<&str> {
    let entries = list.as_array().into_iter().flatten();
    entries
        .map(|entry| entry["name"].as_str().unwrap())
        .collect()
}

static BUILT_IN: LazyLock<Bundle> = LazyLock::new(|| load(&[]).0);

/// The children of the smallest test with this patch (YAML), under the default settings.
#[track_caller]
pub fn made(patch: &str) -> Made {
    made_with(&[], patch)
}

/// The same with these environment variables of the operator.
#[track_caller]
pub fn made_with(variables: &[&str], patch: &str) -> Made {
    let mut test = base();
    merge(&mut test, &serde_saphyr::from_str(patch).unwrap());
    let test = LocustTest::parse_strict(test).unwrap_or_else(|errors| panic!("{errors:#?}"));
    match variables {
        [] => made_of(&BUILT_IN, &test.to_value()),
        _ => made_of(&load(variables).0, &test.to_value()),
    }
}

/// The children of a test (v2, with its defaults), as this bundle makes them.
#[track_caller]
pub fn made_of(bundle: &Bundle, test: &Value) -> Made {
    let rendered = render(bundle, test).unwrap_or_else(|problem| panic!("{problem}"));
    let children = rendered.children.into_iter();
    Made {
        children: children.map(|child| (child.stem, child.object)).collect(),
        warnings: rendered.warnings,
    }
}

pub const ROLES: [&str; 2] = ["master", "worker"];
