//! The built-in bundle under other names: every reason, port, container, label and child renamed at random. That a
//! test still runs shows that the engine knows none of them. A name that is added to the bundle later is renamed
//! with the others, or makes the test fail.

use crate::support::{Room, bundle_with, condition, longer, test, until};
use lotest::api::v2::LocustTest;
use lotest::bundle::{Bundle, Files, Layer};
use lotest::engine::render::{Child, render};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// New words; the seed is printed, and LOTEST_TEST_SEED gives the same ones again.
struct Words {
    state: u64,
    used: BTreeSet<String>,
}

impl Words {
    fn new() -> Words {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let given = std::env::var("LOTEST_TEST_SEED").ok();
        let seed = given.map_or(now ^ u64::from(std::process::id()) << 32, |s| {
            s.parse().unwrap()
        });
        println!("LOTEST_TEST_SEED={seed}");
        Words {
            state: seed,
            used: BTreeSet::new(),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        // Knuth's constants for a linear congruential generator; the upper bits are the random ones.
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % bound
    }

    /// Nine letters without a vowel, which are in no text by chance.
    fn word(&mut self) -> String {
        loop {
            let letter = |_| char::from(b"bcdfghjklmnpqrstvwxz"[self.below(20) as usize]);
            let word: String = (0..9).map(letter).collect();
            if self.used.insert(word.clone()) {
                return word;
            }
        }
    }

    fn reason(&mut self) -> String {
        format!("R{}", self.word())
    }

    fn port(&mut self) -> u64 {
        loop {
            let port = 20_000 + self.below(40_000);
            if self.used.insert(port.to_string()) {
                return port;
            }
        }
    }
}

/// Old name to new name, by what they are names of.
#[derive(Default)]
struct Names {
    reasons: BTreeMap<String, String>,
    children: BTreeMap<String, String>,
}

fn rename(files: &mut Files, words: &mut Words) -> Names {
    let mut names = Names::default();
    let old = names_in(&rendered(&load(files), &test("load")));
    ports(files, words);
    labels(files, words, &old.labels);
    in_templates(files, words, old.containers.iter().chain(&old.port_names));
    object_names(files, words);
    children(files, words, &mut names);
    rules(files, words, &mut names);
    names
}

fn load(files: &Files) -> Bundle {
    bundle_with(|other| other.clone_from(files))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Every number under `ports`, and every value that is called `port`.
fn ports(files: &mut Files, words: &mut Words) {
    let mut values = yaml(&files["values.yaml"]);
    each(&mut values, &mut |keys, value| {
        let is_port = keys.last().is_some_and(|k| k == "port") || keys.iter().any(|k| k == "ports");
        if is_port && value.is_number() {
            *value = words.port().into();
        }
    });
    // JSON is YAML.
    files.insert("values.yaml".into(), values.to_string());
}

/// The labels of the pods, and the selector that finds them.
fn labels(files: &mut Files, words: &mut Words, old: &BTreeSet<String>) {
    let mut values = yaml(&files["values.yaml"]);
    let (key, value) = values["podSelector"]
        .as_str()
        .unwrap()
        .split_once('=')
        .unwrap();
    let (key, value) = (key.to_string(), value.to_string());
    let label = words.word();
    replace(
        files,
        "templates/",
        &format!("{value:?}"),
        &format!("{label:?}"),
    );
    for name in old {
        let new = words.word();
        if *name == key {
            values["podSelector"] = format!("{new}={label}").into();
        }
        replace(
            files,
            "templates/",
            &format!("{name:?}:"),
            &format!("{new:?}:"),
        );
        replace(
            files,
            "templates/",
            &format!("  {name}:"),
            &format!("  {new}:"),
        );
    }
    files.insert("values.yaml".into(), values.to_string());
}

/// Names that stand in the templates as they are; the others are made of pieces.
fn in_templates<'a>(files: &mut Files, words: &mut Words, old: impl Iterator<Item = &'a String>) {
    for name in old {
        replace(
            files,
            "templates/",
            &format!("name: {name}\n"),
            &format!("name: {}\n", words.word()),
        );
    }
    let prefix = &words.word()[..4];
    replace(files, "templates/", "\"port\" ~", &format!("{prefix:?} ~"));
}

/// The names of objects and of the main containers end in `-master` or `-worker`.
fn object_names(files: &mut Files, words: &mut Words) {
    let suffix = words.word();
    replace(
        files,
        "templates/",
        "~ \"-\" ~ role",
        &format!("~ \"-\" ~ role ~ {suffix:?}"),
    );
    replace(
        files,
        "templates/",
        "~ \"-master\"",
        &format!("~ \"-master{suffix}\""),
    );
}

/// The files of templates that make children, and whatever names them.
fn children(files: &mut Files, words: &mut Words, names: &mut Names) {
    for child in load(files).children() {
        let (old, new) = (&child.stem, words.word());
        let file = format!("templates/{new}.yaml");
        let source = files.remove(&child.file).unwrap();
        files.insert(file.clone(), source);
        replace(files, "", &child.file, &file);
        for root in ["children", "evidence", "run.started"] {
            let place = |stem: &str| format!("{root}['{stem}']");
            replace(files, "rules/", &place(old), &place(&new));
        }
        names.children.insert(old.clone(), new);
    }
}

/// The reasons, as structure: what Kubernetes calls the same stays.
fn rules(files: &mut Files, words: &mut Words, names: &mut Names) {
    let rules: Vec<String> = files
        .keys()
        .filter(|f| f.starts_with("rules/"))
        .cloned()
        .collect();
    for file in &rules {
        each(&mut yaml(&files[file]), &mut |keys, value| {
            let literal = value.as_str().filter(|text| !text.contains("{{"));
            if let (Some("reason"), Some(text)) = (keys.last().map(String::as_str), literal) {
                let new = names.reasons.entry(text.to_string());
                new.or_insert_with(|| words.reason());
            }
        });
    }
    for file in &rules {
        let mut rules = yaml(&files[file]);
        // What is compared to a reason of our own is one.
        operands(&mut rules, &mut |path, operand| {
            let ours = ["$.test.status.", "$.worst.", "$.signals"];
            if path.ends_with(".reason") && ours.iter().any(|start| path.starts_with(start)) {
                *operand = names.reasons[operand.as_str().unwrap()].as_str().into();
            }
            let child = operand.as_str().and_then(|o| names.children.get(o));
            if let Some(child) = child.filter(|_| path.starts_with("$.run.")) {
                *operand = child.as_str().into();
            }
        });
        each(&mut rules, &mut |keys, value| {
            let Some(text) = value.as_str() else { return };
            let role = keys.iter().rev().take(2);
            let role = role.into_iter().any(|k| k == "role" || k == "children");
            let new = match keys.last().map(String::as_str) {
                Some("reason") => names.reasons.get(text),
                _ if role => names.children.get(text),
                _ => None,
            };
            if let Some(new) = new {
                *value = new.as_str().into();
            }
        });
        files.insert(file.clone(), rules.to_string());
    }
}

fn replace(files: &mut Files, folder: &str, old: &str, new: &str) {
    for (_, text) in files
        .iter_mut()
        .filter(|(file, _)| file.starts_with(folder))
    {
        *text = text.replace(old, new);
    }
}

/// Every value with the keys that lead to it; of a list its number.
fn each(value: &mut Value, look: &mut impl FnMut(&[String], &mut Value)) {
    fn walk(
        keys: &mut Vec<String>,
        value: &mut Value,
        look: &mut impl FnMut(&[String], &mut Value),
    ) {
        look(keys, value);
        let inner: Vec<(String, &mut Value)> = match value {
            Value::Object(map) => map.iter_mut().map(|(k, v)| (k.clone(), v)).collect(),
            Value::Array(list) => list
                .iter_mut()
                .enumerate()
                .map(|(n, v)| (n.to_string(), v))
                .collect(),
            _ => Vec::new(),
        };
        for (key, value) in inner {
            keys.push(key);
            walk(keys, value, look);
            keys.pop();
        }
    }
    walk(&mut Vec::new(), value, look);
}

/// The literals that a clause compares its path to.
fn operands(rules: &mut Value, look: &mut impl FnMut(&str, &mut Value)) {
    each(rules, &mut |_, value| {
        let Some(path) = value["path"].as_str().map(str::to_string) else {
            return;
        };
        let clause = value.as_object_mut().unwrap();
        for (_, operand) in clause
            .iter_mut()
            .filter(|(key, _)| ["eq", "ne", "in", "notIn"].contains(&key.as_str()))
        {
            each(operand, &mut |_, literal| {
                if literal.is_string() {
                    look(&path, literal);
                }
            });
        }
    });
}

/// The names that are to be others.
#[derive(Debug, Default)]
struct Found {
    stems: BTreeSet<String>,
    objects: BTreeSet<String>,
    containers: BTreeSet<String>,
    labels: BTreeSet<String>,
    port_names: BTreeSet<String>,
    ports: BTreeSet<String>,
}

fn rendered(bundle: &Bundle, test: &Value) -> Vec<Child> {
    let test = LocustTest::parse_strict(test.clone()).unwrap();
    render(bundle, &test.to_value()).unwrap().children
}

fn names_in(children: &[Child]) -> Found {
    let mut found = Found::default();
    for child in children {
        found.stems.insert(child.stem.clone());
        found.objects.insert(child.name().to_string());
        let mut object = child.object.clone();
        if let Some(labels) = object.pointer("/spec/template/metadata/labels") {
            found
                .labels
                .extend(labels.as_object().unwrap().keys().cloned());
        }
        each(&mut object, &mut |keys, value| {
            let [.., list, _, key] = keys else { return };
            match (list.as_str(), key.as_str()) {
                ("containers" | "initContainers", "name") => &mut found.containers,
                ("ports", "name") => &mut found.port_names,
                ("ports", "port" | "containerPort") => {
                    found.ports.insert(value.to_string());
                    return;
                }
                _ => return,
            }
            .insert(value.as_str().unwrap().to_string());
        });
    }
    found
}

/// No name of the one is a name of the other, nor a part of any text in it.
fn assert_renamed(before: &[Child], after: &[Child]) {
    let (old, new) = (names_in(before), names_in(after));
    for (what, old, new) in [
        ("child", &old.stems, &new.stems),
        ("object", &old.objects, &new.objects),
        ("container", &old.containers, &new.containers),
        ("label", &old.labels, &new.labels),
        ("port", &old.port_names, &new.port_names),
        ("port", &old.ports, &new.ports),
    ] {
        assert!(
            !old.is_empty() && old.len() == new.len(),
            "{what}: {old:?} {new:?}"
        );
        assert!(
            old.is_disjoint(new),
            "a {what} that kept its name: {old:?} {new:?}"
        );
    }
    for child in after {
        let text = child.object["spec"].to_string();
        // Whole numbers: 35557 is not 5557.
        let numbers = text.split(|c: char| !c.is_ascii_digit());
        for number in numbers {
            assert!(
                !old.ports.contains(number),
                "port {number} is left in {text}"
            );
        }
    }
}

#[tokio::test]
async fn a_bundle_under_other_names_runs_as_well() {
    let mut words = Words::new();
    let mut files = Layer::built_in().files;
    let names = rename(&mut files, &mut words);
    let mut values = yaml(&files["values.yaml"]);
    values["grace"]["pods"] = "2s".into();
    files.insert("values.yaml".into(), values.to_string());
    let bundle = load(&files);
    let built_in = load(&Layer::built_in().files);
    // With telemetry there is no exporter.
    assert_renamed(
        &rendered(&built_in, &test("load")),
        &rendered(&bundle, &test("load")),
    );

    let room = Room::new("renamed").await;
    let after = rendered(&bundle, &test("good"));
    let _operator = room.operator_of(bundle).await;
    room.create(longer(test("good"))).await;
    for (name, behaviour) in [("bad", "fail"), ("ugly", "image-pull")] {
        let mut test = test(name);
        test["spec"]["master"]["annotations"]["kwok.lotest/behaviour"] = json!(behaviour);
        room.create(test).await;
    }
    let running = room.until_phase("good", "Running").await;
    assert_eq!(
        condition(&running, "Ready")["reason"],
        names.reasons["ResourcesCreated"].as_str()
    );
    for child in &after {
        let made = room
            .get(child.kind(), child.name())
            .await
            .expect("a child under its new name");
        assert_eq!(
            made["metadata"]["labels"]["locust.io/child"],
            child.stem.as_str()
        );
    }
    let good = room.until_phase("good", "Succeeded").await;
    let bad = room.until_phase("bad", "Failed").await;
    let ugly = room.until_phase("ugly", "Failed").await;
    for (test, kind, reason) in [
        (&good, "TestCompleted", "TestSucceeded"),
        (&good, "WorkersConnected", "AllWorkersConnected"),
        (&bad, "TestCompleted", "TestFailed"),
        (&ugly, "PodsHealthy", "ImagePullError"),
    ] {
        assert_eq!(
            condition(test, kind)["reason"],
            names.reasons[reason].as_str(),
            "{kind}"
        );
    }

    let new: BTreeSet<&str> = names.reasons.values().map(String::as_str).collect();
    let is_new = |reason: &Value| {
        assert!(
            new.contains(reason.as_str().unwrap()),
            "an old reason: {reason}"
        )
    };
    for test in [&good, &bad, &ugly] {
        for condition in test["status"]["conditions"].as_array().unwrap() {
            is_new(&condition["reason"]);
        }
    }
    let events = until("the events of the ends", async || {
        let events = room.list("Event").await;
        let mut ours: Vec<Value> = events
            .into_iter()
            .filter(|e| e["regarding"]["kind"] == "LocustTest")
            .collect();
        ours.retain(|e| e["reportingController"] == "lotest");
        let ended = |e: &&Value| e["reason"] == names.reasons["TestFailed"].as_str();
        (ours.iter().filter(ended).count() == 2).then_some(ours)
    })
    .await;
    for event in &events {
        is_new(&event["reason"]);
    }
}
