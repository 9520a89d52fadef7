//! `lotest init`, `schema` and `record` of a file: what a person starts a layer with.

use super::check::directory;
use super::{MINIMAL, file, lotest, pipe, run, seen};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

#[test]
fn init_writes_a_layer_that_passes() {
    let root = directory("init");
    let layer = root.join("team");
    let path = layer.to_str().unwrap();
    let out = run(&["init", path]).fine();
    assert_eq!(
        out,
        format!("{path} has 8 files; next: lotest check --layer {path}\n")
    );
    // As somebody does who stands beside it: nothing depends on where it is.
    let check = |arguments: &[&str]| {
        let output = lotest(arguments).current_dir(&root).output().unwrap();
        super::Ran::of(output)
    };
    seen("init_check", &check(&["check", "--layer", "team"]));
    seen(
        "init_bundle",
        &check(&["bundle", "--layer", "team", "--changed"]),
    );
    let verdicts = fs::read_to_string(layer.join("golden/timeline/example/verdicts.yaml")).unwrap();
    for told in [
        "Warning SlowStart: ",
        "LargeTest: \"True ManyWorkers: 50 workers",
    ] {
        assert!(verdicts.contains(told), "{told} in {verdicts}");
    }
    run(&["init", path]).fails(2, &format!("error: {path} is not empty"));
}

/// Every first line names a schema that is there and that the file fits.
#[test]
fn the_files_of_init_fit_the_schemas_that_they_name() {
    let root = directory("init-schemas");
    let layer = root.join("team");
    run(&["init", layer.to_str().unwrap()]).fine();
    let mut checked = 0;
    for name in [
        "values.yaml",
        "rules/signals.yaml",
        "rules/conditions.yaml",
        "golden/render/example/test.yaml",
        "golden/timeline/example/timeline.yaml",
    ] {
        let path = layer.join(name);
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap();
        let named = first
            .strip_prefix("# yaml-language-server: $schema=")
            .unwrap();
        let schema = fs::read_to_string(path.parent().unwrap().join(named)).unwrap();
        fits(
            &serde_json::from_str(&schema).unwrap(),
            &parsed(&text),
            name,
        );
        checked += 1;
    }
    assert_eq!(checked, 5);
}

fn parsed(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn mistakes(schema: &Value, value: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors = validator.iter_errors(value);
    errors
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect()
}

#[track_caller]
fn fits(schema: &Value, value: &Value, name: &str) {
    let mistakes = mistakes(schema, value);
    assert!(mistakes.is_empty(), "{name}: {mistakes:#?}");
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&run(&["schema", name]).fine()).unwrap()
}

#[test]
fn the_built_in_files_fit_their_schemas() {
    seen("schema_list", &run(&["schema"]));
    for (name, path) in [
        ("values", "values.yaml"),
        ("signals", "rules/signals.yaml"),
        ("phase", "rules/phase.yaml"),
        ("conditions", "rules/conditions.yaml"),
        ("status", "rules/status.yaml"),
        ("events", "rules/events.yaml"),
        ("actions", "rules/actions.yaml"),
        ("admission", "rules/admission.yaml"),
        ("test", MINIMAL),
        ("conditions", "tests/layers/team/rules/conditions.yaml"),
        ("values", "tests/layers/team/values.yaml"),
    ] {
        fits(&schema(name), &parsed(&file(path)), path);
    }
    let timeline = schema("golden");
    assert_eq!(timeline, schema("timeline"));
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/timeline");
    let mut checked = 0;
    for case in fs::read_dir(cases).unwrap() {
        let path = case.unwrap().path().join("timeline.yaml");
        let text = fs::read_to_string(&path).unwrap();
        fits(&timeline, &parsed(&text), &path.display().to_string());
        checked += 1;
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn schemas_find_what_is_wrong() {
    let new = json!([{"id": "x", "on": {"each": "pods"}, "when": {"path": "$.a", "eqal": 1}, "priority": "high"}]);
    let found = mistakes(&schema("signals"), &new).join("\n");
    for word in ["/0/on", "/0/when", "/0/priority"] {
        assert!(found.contains(word), "{word} in {found}");
    }
    // Only the id is required, null removes a field, and a rule may be switched off.
    let changes = json!([{"id": "x", "for": null}, {"id": "y", "disable": true}]);
    fits(&schema("signals"), &changes, "changes");
    assert!(!mistakes(&schema("signals"), &json!([{"for": "2m"}])).is_empty());
    fits(
        &schema("phase"),
        &json!({"transitions": [{"id": "running", "to": "Up"}]}),
        "phase",
    );
    let values = json!({"grace": {"pod": "2m"}, "workerLosses": "3"});
    let found = mistakes(&schema("values"), &values).join("\n");
    assert!(
        found.contains("/grace") && found.contains("/workerLosses"),
        "{found}"
    );
    let step = json!({"test": parsed(&file(MINIMAL)), "steps": [{"at": "1s", "pod": {}}]});
    assert!(!mistakes(&schema("timeline"), &step).is_empty());
}

#[test]
fn schemas_know_the_values_of_layers_and_are_written_together() {
    let layered = run(&["schema", "values", "--layer", "tests/layers/team"]).fine();
    let layered: Value = serde_json::from_str(&layered).unwrap();
    assert_eq!(layered["properties"]["extra"]["default"]["team"], "shop");
    let rules = schema("rules");
    assert_eq!(rules["rules/signals.yaml"], schema("signals"));
    let root = directory("schemas");
    let path = root.to_str().unwrap();
    assert_eq!(
        run(&["schema", "--write", path]).fine(),
        format!("10 schemas are in {path}\n")
    );
    let written = fs::read_to_string(root.join("signals.json")).unwrap();
    assert_eq!(written, run(&["schema", "signals"]).fine());
    run(&["schema", "rule"]).fails(
        2,
        "error: there is no schema `rule`; there are values, signals, phase, conditions, status, events, actions, admission, test, timeline, rules and golden",
    );
}

#[test]
fn what_was_written_is_said_to_programs() {
    let root = directory("written");
    let path = |name: &str| root.join(name).display().to_string();
    let written = |arguments: &[&str]| -> Value {
        let out = run(&[arguments, &["-o", "json"]].concat()).fine();
        serde_json::from_str(&out).unwrap()
    };
    let team = path("team");
    let layer = written(&["init", &team]);
    assert_eq!(layer["directory"], team.as_str());
    let files = layer["files"].as_array().unwrap();
    assert_eq!(files.len(), 8 + 10);
    for file in files {
        assert!(
            root.join("team").join(file.as_str().unwrap()).is_file(),
            "{file}"
        );
    }
    let case = path("case");
    assert_eq!(
        written(&["record", "-f", MINIMAL, &case]),
        json!({"directory": case, "files": ["test.yaml", "children.yaml"]})
    );
    let schemas = path("schemas");
    let files = &written(&["schema", "--write", &schemas])["files"];
    assert_eq!(files.as_array().unwrap().len(), 10);
    assert!(files.as_array().unwrap().contains(&json!("values.json")));
}

#[test]
fn schemas_are_printed_as_asked() {
    let yaml = run(&["schema", "signals", "-o", "yaml"]).fine();
    assert!(
        yaml.starts_with("$schema: ") || yaml.contains("\n$schema: "),
        "{yaml}"
    );
    assert_eq!(parsed(&yaml), schema("signals"));
    assert_eq!(
        run(&["schema", "signals", "-o", "json"]).fine(),
        run(&["schema", "signals"]).fine()
    );
    let list = run(&["schema", "-o", "json"]).fine();
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list[0], json!({"name": "values", "file": "values.yaml"}));
    assert_eq!(parsed(&run(&["schema", "-o", "yaml"]).fine()), list);
}

#[test]
fn the_schema_of_a_selector_takes_what_is_one() {
    let schema = schema("values");
    let is_one = |text: &str| mistakes(&schema, &json!({"podSelector": text})).is_empty();
    let long = "a".repeat(63);
    for good in [
        "a=b",
        "x.io/a == b, c=",
        "managed-by=locust-k8s-operator",
        &format!("{long}={long}"),
    ] {
        assert!(is_one(good), "{good}");
    }
    for bad in [
        "",
        "a",
        "a b=c",
        "a=b c",
        "a in (b)",
        "a!=b",
        "-a=b",
        "a=b,",
        "/a=b",
        &format!("a={long}a"),
    ] {
        assert!(!is_one(bad), "{bad}");
    }
}

#[test]
fn record_makes_a_case_of_a_file() {
    let root = directory("record");
    let case = root.join("a/case");
    let path = case.to_str().unwrap();
    let out = pipe(&["record", "-f", "-", path], &file(MINIMAL)).fine();
    assert_eq!(
        out,
        format!("{path}/test.yaml and {path}/children.yaml are written; review them\n")
    );
    let children = fs::read_to_string(case.join("children.yaml")).unwrap();
    assert_eq!(children, file("golden/render/minimal/children.yaml"));
    // What the API server adds is left out, what a default says too.
    let written = parsed(&fs::read_to_string(case.join("test.yaml")).unwrap());
    assert_eq!(written, parsed(&file(MINIMAL)));
    run(&["check", path]).fine();

    let again = ["record", "-f", MINIMAL, path];
    run(&again).fails(
        2,
        &format!("error: there is a case already ({path}/test.yaml); --force writes over it"),
    );
    run(&[&again[..], &["--force", "--layer", "tests/layers/team"]].concat()).fine();
    let children = fs::read_to_string(case.join("children.yaml")).unwrap();
    assert!(children.contains("kind: NetworkPolicy"), "{children}");
    let ran = run(&["record", path]);
    assert!(
        ran.err
            .starts_with("error: name the test and the directory of the case"),
        "{}",
        ran.err
    );
    assert_eq!(ran.code, 2);
}

#[test]
fn record_looks_where_it_writes_before_it_watches() {
    let root = directory("record-where");
    fs::write(root.join("timeline.yaml"), "").unwrap();
    fs::write(root.join("file"), "").unwrap();
    let below = root.join("file/case");
    for (path, expected) in [(&root, "there is a case already"), (&below, "cannot make")] {
        let ran = run(&["record", "load", path.to_str().unwrap(), "--until-done"]);
        assert!(ran.err.contains(expected), "{}", ran.err);
        assert_eq!(ran.code, 2);
    }
}
