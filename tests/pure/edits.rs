//! The edits that platform teams ask for, each a layer of its own below tests/edits: it is admitted with its golden cases,
//! it is short, and what it is meant to change is as meant with it and is not without it.

use crate::support::{file, made_of, merge, yaml};
use lotest::api::v2::LocustTest;
use lotest::bundle::{Bundle, Layer};
use lotest::engine::admit::admit;
use lotest::engine::golden::{self, Case};
use lotest::layer_files;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The longest edit, in lines.
const LINES: usize = 20;

fn layer(edit: &str) -> Layer {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edits");
    layer_files::read(&directory.join(edit)).unwrap()
}

/// The layers of an operator without an edit, or with one.
fn layers(edit: Option<&str>) -> Vec<Layer> {
    let edit = edit.map(layer);
    std::iter::once(Layer::built_in()).chain(edit).collect()
}

fn effects() -> BTreeMap<String, Value> {
    serde_json::from_value(yaml("tests/edits/effects.yaml")).unwrap()
}

#[track_caller]
fn bundle(layers: &[Layer]) -> Bundle {
    match admit(layers, &BTreeMap::new()) {
        Ok((bundle, warnings)) => {
            assert_eq!(warnings, [""; 0]);
            bundle
        }
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{}", problems.join("\n"));
        }
    }
}

/// Without comments and empty lines.
fn lines(text: &str) -> usize {
    let counts =
        |line: &&str| !line.is_empty() && !line.starts_with('#') && !line.starts_with("{#");
    text.lines().map(str::trim).filter(counts).count()
}

#[test]
fn every_edit_is_admitted_and_short() {
    for edit in effects().keys() {
        let layer = layer(edit);
        let own = layer
            .files
            .iter()
            .filter(|(f, _)| !f.starts_with("golden/"));
        let lines: usize = own.map(|(_, text)| lines(text)).sum();
        assert!((1..=LINES).contains(&lines), "{edit} has {lines} lines");
        assert!(
            !golden::cases(&layer).is_empty(),
            "{edit} has no golden case"
        );
        bundle(&layers(Some(edit)));
    }
}

#[test]
fn every_edit_has_an_effect_that_is_tested() {
    let all = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edits"));
    let all: BTreeSet<String> = all
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let tested: BTreeSet<String> = effects().into_keys().collect();
    assert_eq!(all, tested);
    assert!(tested.len() >= 20, "{} edits", tested.len());
}

#[test]
fn an_edit_changes_what_it_is_meant_to_and_nothing_does_without_it() {
    for (edit, effect) in effects() {
        let shows = |layers: &[Layer]| match effect.get("child") {
            Some(child) => is_in_the_child(layers, child),
            None => is_in_the_verdict(layers, &edit, &effect["verdict"]),
        };
        assert!(shows(&layers(Some(&edit))), "{edit} changes nothing");
        assert!(!shows(&layers(None)), "{edit}: the same without it");
    }
}

/// Whether a child of a new test is as `effect` says.
fn is_in_the_child(layers: &[Layer], effect: &Value) -> bool {
    let mut test = crate::support::base();
    merge(
        &mut test,
        &json!({"metadata": {"labels": {"team": "checkout"}}}),
    );
    let test = LocustTest::parse_strict(test).unwrap().to_value();
    let made = made_of(&bundle(layers), &test);
    let of = effect["of"].as_str().unwrap();
    let Some((_, child)) = made.objects().find(|(stem, _)| *stem == of) else {
        return false;
    };
    let found = child.pointer(effect["at"].as_str().unwrap());
    let found = found.unwrap_or(&Value::Null);
    *found == effect["is"] || found.as_array().is_some_and(|l| l.contains(&effect["is"]))
}

/// Whether that is said which `effect` says, over a golden timeline of the edit.
fn is_in_the_verdict(layers: &[Layer], edit: &str, effect: &Value) -> bool {
    let case = effect["case"].as_str().unwrap();
    let directory = format!("tests/edits/{edit}/golden/{case}");
    let timeline = file(&format!("{directory}/timeline.yaml"));
    let case = Case {
        name: directory,
        files: BTreeMap::from([("timeline.yaml".to_string(), timeline)]),
    };
    let verdicts = case.run(layers).unwrap().text;
    let is_said = |key: &str| effect[key].as_str().map(|text| verdicts.contains(text));
    is_said("says") != Some(false) && is_said("noLonger") != Some(true)
}
