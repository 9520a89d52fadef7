//! What signals and conditions are called is for people alone: with other reasons everything happens as before.

use lotest::bundle::{Bundle, Layer};
use lotest::engine::golden::{Bundles, Case};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Before every reason.
const PREFIX: &str = "Renamed";

fn timelines() -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/timeline");
    let cases = fs::read_dir(directory).unwrap().map(|case| {
        let case = case.unwrap();
        let files = fs::read_dir(case.path()).unwrap().map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, fs::read_to_string(file.path()).unwrap())
        });
        Case {
            name: case.file_name().into_string().unwrap(),
            files: files.collect(),
        }
    });
    cases.collect()
}

/// Of a layer on the built-in one that puts the prefix before reasons, what the timelines say: the same but for that.
fn same_but_for_the_reasons(file: &str, rules: String) {
    let layer = Layer {
        name: "renamed".into(),
        files: BTreeMap::from([(file.to_string(), rules)]),
    };
    let layers = [Layer::built_in(), layer];
    let mut bundles = Bundles::new(&layers);
    let mut renamed = 0;
    for case in timelines() {
        let said = bundles.run(&case).unwrap().text;
        let unchanged = said.replace(PREFIX, "");
        assert_eq!(unchanged, case.files["verdicts.yaml"], "{}", case.name);
        renamed += said.matches(PREFIX).count();
    }
    assert!(renamed > 50, "{renamed} reasons are said");
}

fn written(file: &str) -> Value {
    serde_saphyr::from_str(&Layer::built_in().files[file]).unwrap()
}

#[test]
fn no_rule_depends_on_what_the_reason_of_a_signal_is() {
    let (bundle, _) = Bundle::load(&[Layer::built_in()], &BTreeMap::new()).unwrap();
    let file = "rules/signals.yaml";
    let signals = written(file);
    let rules = signals.as_array().unwrap().iter().map(|signal| {
        let (id, reason) = (&signal["id"], signal["reason"].as_str().unwrap());
        format!("- {{id: {id}, reason: {PREFIX}{reason}}}\n")
    });
    let rules: String = rules.collect();
    assert_eq!(rules.lines().count(), bundle.rules.signals.len());
    same_but_for_the_reasons(file, rules);
}

#[test]
fn no_rule_depends_on_what_the_reason_of_a_condition_is() {
    let file = "rules/conditions.yaml";
    let mut rules = String::new();
    for condition in written(file).as_array().unwrap() {
        rules += &format!("- type: {}\n  cases:\n", condition["type"]);
        for case in condition["cases"].as_array().unwrap() {
            let reason = case["reason"].as_str().unwrap();
            rules += &format!("  - {{id: {}, reason: \"{PREFIX}{reason}\"}}\n", case["id"]);
        }
    }
    same_but_for_the_reasons(file, rules);
}
