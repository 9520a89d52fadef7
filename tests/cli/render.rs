//! `lotest render`.

use super::{MINIMAL, Ran, STATE, file, lotest, pipe, run};
use serde_json::Value;

const DOTS: &str = "golden/render/name-with-dots/test.yaml";

/// The names of the objects in a stream of YAML documents.
fn names(yaml: &str) -> Vec<String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    let name = |d: &Value| format!("{} {}", d["kind"], d["metadata"]["name"]).replace('"', "");
    documents.iter().map(name).collect()
}

const LOAD: [&str; 3] = ["Service load-master", "Job load-master", "Job load-worker"];
const CHECKOUT: [&str; 3] = [
    "Service checkout-smoke-v2-master",
    "Job checkout-smoke-v2-master",
    "Job checkout-smoke-v2-worker",
];

#[test]
fn render_reads_files_documents_lists_and_pipes() {
    let both = [LOAD, CHECKOUT].concat();
    assert_eq!(names(&run(&["render", MINIMAL]).fine()), LOAD);
    assert_eq!(names(&run(&["render", MINIMAL, DOTS]).fine()), both);
    let documents = format!("---\n{}---\n\n---\n{}", file(MINIMAL), file(DOTS));
    assert_eq!(names(&pipe(&["render"], &documents).fine()), both);
    assert_eq!(names(&pipe(&["render", "-"], &documents).fine()), both);
    assert_eq!(
        names(&pipe(&["render", DOTS, "-"], &file(MINIMAL)).fine()),
        [CHECKOUT, LOAD].concat()
    );
    let item = |path| serde_saphyr::from_str::<Value>(&file(path)).unwrap();
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [item(MINIMAL), item(DOTS)]});
    assert_eq!(names(&pipe(&["render"], &list.to_string()).fine()), both);
}

#[test]
fn render_prints_what_golden_cases_hold() {
    let printed = run(&["render", MINIMAL]).fine();
    // The digest is the one annotation of the children themselves, and not in golden files.
    let digest = printed.split("locust.io/bundle: ").nth(1).unwrap();
    let digest = format!("  annotations:\n    locust.io/bundle: {}\n", &digest[..16]);
    let printed = printed.replace(&digest, "");
    let golden = file("golden/render/minimal/children.yaml");
    assert_eq!(printed, golden);
}

#[test]
fn render_prints_json() {
    let list: Value =
        serde_json::from_str(&run(&["render", "-o", "json", MINIMAL]).fine()).unwrap();
    assert_eq!(list["kind"], "List");
    let yaml: Vec<Value> = serde_saphyr::from_multiple(&run(&["render", MINIMAL]).fine()).unwrap();
    assert_eq!(list["items"], Value::from(yaml));
}

#[test]
fn render_says_what_is_wrong_with_a_file() {
    run(&["render", "no-such-file.yaml"]).fails(
        2,
        "error: cannot read no-such-file.yaml: No such file or directory (os error 2)",
    );
    pipe(&["render"], "kind: LocustTest\n  spec: {\n").fails(
        2,
        "\
error: mapping values are not allowed in this context
  --> standard input:2:7
  |
2 |   spec: {
  |       ^
  = help: text with `: ` in it is written in quotes; or the line is indented too far",
    );
    pipe(&["render"], "apiVersion: v1\nkind: Pod\n").fails(
        2,
        "\
error: kind: this is no LocustTest: kind is `Pod`
  --> standard input:2:1
  |
2 | kind: Pod
  | ^",
    );
    pipe(&["render"], "apiVersion: locust.io/v1\nkind: LocustTest\n").fails(
        2,
        "\
error: apiVersion: this is \"locust.io/v1\", expected \"locust.io/v2\"
  --> standard input:1:1
  |
1 | apiVersion: locust.io/v1
  | ^",
    );
    pipe(&["render"], "just text").fails(
        2,
        "error: the test: this is not an object\n  --> standard input",
    );
    pipe(&["render"], "# nothing\n").fails(
        2,
        "error: there is no LocustTest in it\n  --> standard input",
    );
}

#[test]
fn render_says_every_mistake_at_once() {
    let good = file(MINIMAL);
    let bad = good
        .replace("image: locustio/locust:2.20.0", "imag: x")
        .replace("replicas: 1", "replicas: 0");
    let lines = |text: &str| {
        let line = bad.lines().position(|l| l.contains(text)).unwrap();
        good.lines().count() + 2 + line
    };
    let ran = pipe(&["render"], &format!("{good}---\n{bad}"));
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    let errors: Vec<&str> = ran
        .err
        .lines()
        .filter(|l| l.starts_with("error:"))
        .collect();
    assert_eq!(
        errors,
        [
            "error: spec.image: required",
            "error: spec.imag: unknown field",
            "error: spec.worker.replicas: should be greater than or equal to 1",
        ]
    );
    let places: Vec<&str> = ran
        .err
        .lines()
        .filter_map(|l| l.strip_prefix("  --> "))
        .collect();
    assert_eq!(
        places,
        [
            format!("standard input:{}:1", lines("spec:")),
            format!("standard input:{}:3", lines("imag: x")),
            format!("standard input:{}:55", lines("replicas: 0")),
        ]
    );
}

#[test]
fn warnings_are_no_part_of_the_output() {
    let case = "golden/render/affinity-off/test.yaml";
    let command = |setting| {
        let mut command = lotest(&["render", case]);
        Ran::of(
            command
                .env("ENABLE_AFFINITY_CR_INJECTION", setting)
                .output()
                .unwrap(),
        )
    };
    let ran = command("false");
    assert_eq!(
        ran.err,
        format!(
            "warning: {case}: spec.scheduling.affinity is left out: this cluster's operator does not apply affinity; remove it, or have affinityInjection set to true\n"
        )
    );
    assert_eq!(
        (ran.code, names(&ran.out)),
        (0, LOAD.map(String::from).to_vec())
    );
    let ran = command("perhaps");
    assert_eq!(
        ran.err,
        "warning: ENABLE_AFFINITY_CR_INJECTION is not true or false: `perhaps`; the default true holds\n"
    );
    assert!(ran.out.contains("nodeAffinity"));
    let ran = command("per\x1b[31m\nhaps");
    assert_eq!(
        ran.err,
        "warning: ENABLE_AFFINITY_CR_INJECTION is not true or false: `per\\u{1b}[31m\\nhaps`; the default true holds\n"
    );
}

#[test]
fn json_is_the_same_without_what_a_terminal_obeys() {
    let command = "locust csi \u{9b}31m turned \u{202e}";
    let test = file(MINIMAL);
    let mut test: serde_json::Value = serde_saphyr::from_str(&test).unwrap();
    test["spec"]["master"]["command"] = command.into();
    let test = serde_saphyr::to_string(&test).unwrap();
    let out = pipe(&["render", "-o", "json"], &test).fine();
    assert!(!out.contains(['\u{9b}', '\u{202e}']), "{out:?}");
    let made: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(made.to_string().contains("\u{9b}31m"));
    assert!(made.to_string().contains('\u{202e}'));
}

#[test]
fn settings_come_from_the_environment() {
    let command = |value| {
        let mut command = lotest(&["render", MINIMAL]);
        Ran::of(command.env("POD_CPU_REQUEST", value).output().unwrap())
    };
    assert!(command("123m").fine().contains("cpu: 123m"));
    for arguments in [&["render", MINIMAL][..], &["explain", STATE], &["operator"]] {
        let mut command = lotest(arguments);
        let ran = Ran::of(command.env("POD_CPU_REQUEST", "lots").output().unwrap());
        assert!(
            ran.err.contains(
                "error: POD_CPU_REQUEST is not a quantity such as 250m, 128Mi or 30M: `lots`"
            ),
            "{}",
            ran.err
        );
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    }
}

#[test]
fn what_is_no_test_is_said_once() {
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\n";
    for command in [&["render"][..], &["diff"], &["record", "-f", "-", "x"]] {
        let ran = pipe(command, job);
        assert!(
            ran.err.starts_with(
                "error: kind: this is no LocustTest: kind is `Job`\n  --> standard input:2:1"
            ),
            "{}",
            ran.err
        );
        assert_eq!((ran.code, ran.err.matches("error").count()), (2, 1));
    }
}
