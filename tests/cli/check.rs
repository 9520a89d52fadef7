//! `lotest check`.

use super::{MINIMAL, file, run};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// An empty directory for one test.
pub fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("cli")
        .join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn check_compares_and_updates() {
    let root = directory("check");
    let case = root.join("some/case");
    fs::create_dir_all(&case).unwrap();
    let (test, children) = (case.join("test.yaml"), case.join("children.yaml"));
    fs::write(&test, file(MINIMAL)).unwrap();
    let golden = file("golden/render/minimal/children.yaml");
    let root = root.to_str().unwrap();
    let help = "  = help: when a change is meant, run `lotest check --update` and review it";

    let ran = run(&["check", root]);
    assert_eq!(
        ran.out,
        format!("error: {} is missing\n\n", children.display())
    );
    assert_eq!(
        ran.err,
        format!("error: 1 of 1 golden cases failed\n{help}\n")
    );
    assert_eq!(ran.code, 1);
    assert!(!children.exists());

    let out = run(&["check", "--update", root]).fine();
    assert!(
        out.ends_with("golden cases: 0 passed, 1 written; review with git diff\n"),
        "{out}"
    );
    assert_eq!(fs::read_to_string(&children).unwrap(), golden);
    let out = run(&["check", root]).fine();
    assert!(
        out.starts_with("bundle ") && out.ends_with("golden cases: 1 passed\n"),
        "{out}"
    );

    fs::write(&children, golden.replace('\n', "\r\n")).unwrap();
    let out = run(&["check", root]).fine();
    assert!(out.ends_with("golden cases: 1 passed\n"), "{out}");

    let changed = golden.replace("parallelism: 1\n  podFail", "parallelism: 7\n  podFail");
    fs::write(&children, &changed).unwrap();
    let ran = run(&["check", root]);
    assert!(
        ran.out
            .starts_with(&format!("--- {}\n+++ ", children.display())),
        "{}",
        ran.out
    );
    let differing: Vec<&str> = ran
        .out
        .lines()
        .skip(2)
        .filter(|l| l.starts_with(['+', '-']))
        .collect();
    assert_eq!(differing, ["-  parallelism: 7", "+  parallelism: 1"]);
    assert_eq!(
        (ran.code, fs::read_to_string(&children).unwrap()),
        (1, changed)
    );

    // A mistake in a case cannot be written away.
    fs::write(&test, "kind: LocustTest\n").unwrap();
    let ran = run(&["check", "--update", root]);
    assert!(ran.out.contains("error: spec: required"), "{}", ran.out);
    assert_eq!(
        (ran.code, ran.err.as_str()),
        (2, "error: 1 of 1 golden cases cannot be read\n")
    );
}

#[test]
fn check_never_passes_on_nothing() {
    run(&["check", "no-such-directory"]).fails(
        2,
        "error: cannot read no-such-directory: No such file or directory (os error 2)",
    );
    let empty = directory("empty");
    let ran = run(&["check", "golden/render/minimal", empty.to_str().unwrap()]);
    assert!(
        ran.err.contains("there is no golden case below"),
        "{}",
        ran.err
    );
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
}

#[test]
fn a_case_has_values_of_its_own() {
    let root = directory("values");
    fs::write(root.join("test.yaml"), file(MINIMAL)).unwrap();
    let golden = file("golden/render/minimal/children.yaml");
    fs::write(root.join("children.yaml"), &golden).unwrap();
    let values = root.join("values.yaml");
    let root = root.to_str().unwrap();

    fs::write(&values, "workerLosses: 3\nports: {worker: 8081}\n").unwrap();
    let ran = run(&["check", root]);
    let differing: Vec<&str> = ran
        .out
        .lines()
        .skip(2)
        .filter(|l| l.starts_with(['+', '-']))
        .map(str::trim_end)
        .collect();
    assert_eq!(
        differing,
        [
            "-  backoffLimit: 0",
            "+  backoffLimit: 3",
            "-        - containerPort: 8080",
            "+        - containerPort: 8081",
        ]
    );

    fs::write(&values, "grace:\n  rooms: 2m\nretention: never\nzzz: 1\n").unwrap();
    let ran = run(&["check", "--update", root]);
    for expected in [
        format!(
            "error: there is no value `grace.rooms`\n  --> {}:2:3\n",
            values.display()
        ),
        "  = help: did you mean `room`?\n".to_string(),
        "error: `retention` is a map\n".to_string(),
        "error: there is no value `zzz`\n".to_string(),
        "  = help: values here are podSelector, grace, ".to_string(),
    ] {
        assert!(ran.out.contains(&expected), "{expected}\n{}", ran.out);
    }
    assert_eq!(ran.code, 2);
}

#[test]
fn a_case_that_cannot_be_read_is_bad_input() {
    let root = directory("unreadable");
    let test = root.join("test.yaml");
    let case = root.to_str().unwrap();
    let v1 = file(MINIMAL).replace("locust.io/v2", "locust.io/v1");
    for (text, expected) in [("a: [", "test.yaml:"), (v1.as_str(), "test.yaml:3:1")] {
        fs::write(&test, text).unwrap();
        let ran = run(&["check", case]);
        assert!(ran.out.contains(expected), "{}", ran.out);
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (2, "error: 1 of 1 golden cases cannot be read\n")
        );
    }
    fs::write(&test, file(MINIMAL)).unwrap();
    fs::write(root.join("timeline.yaml"), "a: b\n").unwrap();
    let ran = run(&["check", case]);
    assert!(ran.out.contains("a case has either"), "{}", ran.out);
    assert_eq!(ran.code, 2);
}

#[test]
fn check_says_what_to_name() {
    run(&["check", "tests/layers/team"]).fails(
        2,
        "error: tests/layers/team is a layer: write --layer tests/layers/team",
    );
    let empty = directory("no-golden");
    let ran = super::lotest(&["check"])
        .current_dir(empty)
        .output()
        .unwrap();
    super::Ran::of(ran).fails(
        2,
        "error: there is no directory ./golden: name a layer with --layer DIR, or directories with golden cases",
    );
}

/// What a program asked for is printed for a program, when the bundle is broken too.
#[test]
fn a_broken_bundle_is_said_to_programs() {
    let layer = directory("broken-json");
    fs::write(layer.join("values.yaml"), "grace:\n  rooms: 2m\nzzz: 1\n").unwrap();
    let path = layer.to_str().unwrap();
    let ran = run(&["check", "--layer", path, "-o", "json"]);
    let err = "error: the bundle cannot be loaded; `problems` says why\n";
    assert_eq!((ran.code, ran.err.as_str()), (2, err));
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let problems = report["problems"].as_array().unwrap();
    assert_eq!((problems.len(), report.get("bundle")), (2, None));
    let first = json!({
        "file": format!("{path}/values.yaml"), "line": 2, "column": 3,
        "message": "there is no value `grace.rooms`", "help": "did you mean `room`?",
        "text": problems[0]["text"],
    });
    assert_eq!(problems[0], first);
    let yaml = run(&["check", "--layer", path, "-o", "yaml"]);
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml.out).unwrap(), report);
    assert_eq!(yaml.code, 2);
    // A directory that is not there is no other case.
    let gone = layer.join("gone");
    let ran = run(&["check", "--layer", gone.to_str().unwrap(), "-o", "json"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["problems"][0]["file"], gone.to_str().unwrap());
    let fine = run(&["check", "golden/render/minimal", "-o", "json"]).fine();
    assert!(!fine.contains("\"problems\""), "{fine}");
}

#[test]
fn of_very_many_mistakes_the_first_are_shown_and_all_are_counted() {
    let layer = directory("many-mistakes");
    let unknown: String = (0..2000).map(|n| format!("zzz{n}: 1\n")).collect();
    fs::write(layer.join("values.yaml"), unknown).unwrap();
    let path = layer.to_str().unwrap();
    let ran = run(&["check", "--layer", path]);
    assert_eq!((ran.code, ran.err.matches("error: ").count()), (2, 101));
    let last = format!(
        "error: and 1900 more mistakes\n  --> {path}/values.yaml\n  = help: they are shown when those before them are mended\n"
    );
    assert!(ran.err.ends_with(&last), "{}", ran.err);
    let ran = run(&["check", "--layer", path, "-o", "json"]);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["problems"].as_array().unwrap().len(), 101);
    assert_eq!(report["problems"][100]["message"], "and 1900 more mistakes");
}

#[test]
fn rights_over_core_kinds_can_be_pasted() {
    let layer = directory("core-kind");
    fs::create_dir_all(layer.join("templates")).unwrap();
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ test.metadata.name }}\n";
    fs::write(layer.join("templates/x.yaml"), template).unwrap();
    let out = run(&["check", "--layer", layer.to_str().unwrap()]).fine();
    let expected = "- {apiGroups: [\"\"], resources: [configmaps], verbs: [";
    assert!(out.contains(expected), "{out}");
}
