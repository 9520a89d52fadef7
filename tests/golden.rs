//! The golden cases: they pass, they can fail, and together they touch whatever a test or the operator can be told.

// The allowance in clippy.toml ends at `#[test]`; these helpers are tests too.
#![allow(clippy::unwrap_used, clippy::panic)]

use lotest::api::schema;
use lotest::bundle::{Files, Layer};
use lotest::engine::golden::Case;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The least number of cases of each kind.
const RENDER_CASES: usize = 25;
const TIMELINES: usize = 20;

/// What of values.yaml is not for templates: rules and the operator itself read it.
const NOT_FOR_TEMPLATES: [&str; 4] = [
    "/podSelector",
    "/grace/",
    "/retention/",
    "/finalizersToRemove",
];

#[test]
fn every_case_gives_what_was_reviewed() {
    let layers = [Layer::built_in()];
    let failures: Vec<String> = all()
        .iter()
        .filter_map(|case| judge(case, &layers).err())
        .collect();
    assert!(
        failures.is_empty(),
        "{}\nRun `make golden` and read the difference.",
        failures.join("\n")
    );
}

#[test]
fn there_are_enough_cases() {
    let (renders, timelines): (Vec<Case>, Vec<Case>) = all()
        .into_iter()
        .partition(|case| case.files.contains_key("test.yaml"));
    assert!(renders.len() >= RENDER_CASES, "{} renders", renders.len());
    assert!(
        timelines.len() >= TIMELINES,
        "{} timelines",
        timelines.len()
    );
}

#[test]
fn a_broken_case_fails() {
    let layers = [Layer::built_in()];
    let cases = all();
    for (input, output) in [
        ("test.yaml", "children.yaml"),
        ("timeline.yaml", "verdicts.yaml"),
    ] {
        let case = cases.iter().find(|c| c.files.contains_key(input)).unwrap();
        let expected = &case.files[output];
        let without_its_end = &expected[..expected.trim_end().rfind('\n').unwrap_or(0)];
        let other_image = case.files[input].replacen("image: ", "image: x", 1);
        for (file, text) in [
            (output, Some(without_its_end)),
            (output, Some("")),
            (output, None),
            (input, Some("not a test")),
            (input, None),
            ("children.yml", Some("")),
        ] {
            let broken = with(case, file, text);
            assert!(judge(&broken, &layers).is_err(), "{}: {file}", case.name);
        }
        if input == "test.yaml" {
            let broken = with(case, input, Some(&other_image));
            assert!(judge(&broken, &layers).is_err(), "{}: image", case.name);
        }
    }
}

/// Touched means: without the field some case renders to something else, or is no valid test any more.
#[test]
fn every_spec_field_is_touched() {
    let layers = [Layer::built_in()];
    let mut fields = Vec::new();
    leaves(
        &schema::locust_test()["properties"]["spec"],
        "spec",
        &mut fields,
    );
    assert!(fields.len() > 100, "the schema was not walked: {fields:?}");
    let cases = rendered(&layers);
    let touched = |field: &String| {
        cases.iter().any(|(case, before)| {
            let mut test = yaml(&case.files["test.yaml"]);
            let path: Vec<&str> = field.split('.').collect();
            remove(&mut test, &path)
                && children(&with(case, "test.yaml", Some(&test.to_string())), &layers) != *before
        })
    };
    let missing: Vec<&String> = fields.iter().filter(|field| !touched(field)).collect();
    assert!(missing.is_empty(), "no case is about {missing:#?}");
}

/// Touched means: some case sets the variable and renders to something else without it.
#[test]
fn every_setting_is_touched() {
    let layers = [Layer::built_in()];
    let known = yaml(&layers[0].files["environment.yaml"]);
    let known = known.as_object().unwrap();
    let mut touched = Vec::new();
    for (case, before) in rendered(&layers) {
        let Some(text) = case.files.get("environment.yaml") else {
            continue;
        };
        let settings = yaml(text);
        for variable in settings.as_object().unwrap().keys() {
            let mut without = settings.clone();
            without.as_object_mut().unwrap().remove(variable);
            let without = with(&case, "environment.yaml", Some(&without.to_string()));
            if children(&without, &layers) != before {
                touched.push(variable.clone());
            }
        }
    }
    let missing: Vec<&String> = known.keys().filter(|v| !touched.contains(v)).collect();
    assert!(missing.is_empty(), "no case is about {missing:#?}");
}

/// Touched means: with another value some case renders to something else.
#[test]
fn every_value_is_touched() {
    let layers = [Layer::built_in()];
    let cases = rendered(&layers);
    let values = yaml(&layers[0].files["values.yaml"]);
    let mut pointers = Vec::new();
    pointers_to_leaves(&values, "", &mut pointers);
    pointers.retain(|p| !NOT_FOR_TEMPLATES.iter().any(|other| p.starts_with(other)));
    let touched = |pointer: &String| {
        let mut values = values.clone();
        let value = values.pointer_mut(pointer).unwrap();
        *value = match value {
            Value::Bool(value) => json!(!*value),
            Value::String(_) if pointer.contains("/resources/") => json!("7"),
            Value::String(value) => json!(format!("other{value}")),
            _ => json!(4711),
        };
        let mut changed = layers.clone();
        changed[0]
            .files
            .insert("values.yaml".into(), values.to_string());
        cases
            .iter()
            .any(|(case, before)| children(case, &changed) != *before)
    };
    let missing: Vec<&String> = pointers.iter().filter(|p| !touched(p)).collect();
    assert!(missing.is_empty(), "no case is about {missing:#?}");
}

/// What `lotest check` says of one case, in short.
fn judge(case: &Case, layers: &[Layer]) -> Result<(), String> {
    let outcome = case
        .run(layers)
        .map_err(|problems| format!("{}: {problems:?}", case.name))?;
    match case.files.get(outcome.file) {
        None => Err(format!("{}/{} is missing", case.name, outcome.file)),
        Some(expected) if *expected != outcome.text => Err(format!(
            "{}/{} differs from what the case gives now",
            case.name, outcome.file
        )),
        Some(_) => Ok(()),
    }
}

/// What a case renders to, without what was warned of; `None` when it does not.
fn children(case: &Case, layers: &[Layer]) -> Option<String> {
    let outcome = case.run(layers).ok()?;
    let lines = outcome.text.lines();
    let lines: Vec<&str> = lines.filter(|l| !l.starts_with("# warning: ")).collect();
    Some(lines.join("\n"))
}

fn with(case: &Case, file: &str, text: Option<&str>) -> Case {
    let mut files = case.files.clone();
    match text {
        Some(text) => files.insert(file.into(), text.into()),
        None => files.remove(file),
    };
    Case {
        name: case.name.clone(),
        files,
    }
}

/// The paths of the fields below `schema`, `[]` for each item of a list. Of Kubernetes' own types, which are known
/// by having no descriptions inside, the first level.
fn leaves(schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let mut path = format!("{path}.{name}");
        let mut inner = field;
        if inner["items"]["properties"].is_object() {
            path.push_str("[]");
            inner = &inner["items"];
        }
        if field.get("description").is_some() && inner["properties"].is_object() {
            leaves(inner, &path, found);
        } else {
            found.push(path.trim_end_matches("[]").to_string());
        }
    }
}

/// Removes what is at the path, in each item of a list; whether there was any.
fn remove(value: &mut Value, path: &[&str]) -> bool {
    let [name, rest @ ..] = path else {
        return false;
    };
    if rest.is_empty() {
        return value
            .as_object_mut()
            .and_then(|o| o.remove(*name))
            .is_some();
    }
    let Some(inner) = value.get_mut(name.trim_end_matches("[]")) else {
        return false;
    };
    match inner.as_array_mut() {
        Some(items) => {
            let removed = items.iter_mut().map(|item| remove(item, rest));
            removed.filter(|removed| *removed).count() > 0
        }
        None => remove(inner, rest),
    }
}

fn pointers_to_leaves(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value.as_object() {
        Some(map) => {
            for (name, value) in map {
                pointers_to_leaves(value, &format!("{pointer}/{name}"), found);
            }
        }
        None => found.push(pointer.to_string()),
    }
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// The cases with a test, each with its children.
fn rendered(layers: &[Layer]) -> Vec<(Case, Option<String>)> {
    let mut cases = all();
    cases.retain(|case| case.files.contains_key("test.yaml"));
    let with_children = |case: Case| {
        let children = children(&case, layers);
        (case, children)
    };
    cases.into_iter().map(with_children).collect()
}

/// Every directory with files in it is a case.
fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("golden"),
        &mut cases,
    );
    assert!(!cases.is_empty());
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn collect(directory: &Path, cases: &mut Vec<Case>) {
    let mut files: Files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, cases);
        } else {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            files.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
    if !files.is_empty() {
        let name = directory.display().to_string();
        cases.push(Case { name, files });
    }
}
