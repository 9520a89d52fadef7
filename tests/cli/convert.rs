//! `lotest convert`.

use super::{file, pipe, run, seen};
use serde_json::Value;

const V1: &str = "\
# Run by the nightly build.
apiVersion: locust.io/v1
kind: LocustTest
metadata:
  name: basic-test # short
spec:
  image: locustio/locust:2.20.0
  masterCommandSeed: --locustfile /lotest/src/test.py --host https://example.com
  workerCommandSeed: --locustfile /lotest/src/test.py
  workerReplicas: 3
  configMap: test-scripts
";

const OTHER: &str = "\
# As it is, with its quotes.
apiVersion: v1
kind: ConfigMap
metadata: {name: 'test-scripts'}
data:
  test.py: |
    # ---
";

fn parse(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

#[test]
fn convert_reads_old_manifests() {
    let stream = format!(
        "{OTHER}---\n{V1}---\n# Nothing.\n--- # Another.\n{}",
        file("demo/comprehensive-test.yaml")
    );
    seen("convert-manifests", &pipe(&["convert", "-f", "-"], &stream));
}

#[test]
fn convert_says_what_v1_cannot_say_and_keeps_it() {
    let v2 = "demo/comprehensive-test.yaml";
    let ran = run(&["convert", "-f", v2, "--to", "v1"]);
    seen("convert-to-v1", &ran);
    let back = pipe(&["convert", "-f", "-"], &ran.fine()).fine();
    assert!(!back.contains('#'), "{back}");
    assert_eq!(parse(&back), parse(&file(v2)));
}

/// Every field of the API, there and back in files.
#[test]
fn convert_loses_nothing() {
    let everything = "tests/everything.yaml";
    let v1 = run(&["convert", "-f", everything, "--to", "v1"]).fine();
    assert_eq!(parse(&v1)["apiVersion"], "locust.io/v1");
    let back = pipe(&["convert", "-f", "-", "--to", "v2"], &v1).fine();
    assert_eq!(parse(&back), parse(&file(everything)));
    assert_eq!(run(&["convert", "-f", everything]).fine(), file(everything));
}

#[test]
fn convert_prints_json_and_reads_lists() {
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": [parse(OTHER), parse(V1)] });
    let printed = pipe(&["convert", "-f", "-", "-o", "json"], &list.to_string()).fine();
    let converted: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(converted["items"][0], list["items"][0]);
    let test = &converted["items"][1];
    assert_eq!(test["apiVersion"], "locust.io/v2");
    assert_eq!(test["spec"]["testFiles"]["configMapRef"], "test-scripts");
    // What is a comment in YAML.
    let labels = V1.replace("spec:\n", "spec:\n  labels: {}\n");
    let ran = pipe(&["convert", "-f", "-", "-o", "json"], &labels);
    assert_eq!(
        ran.err,
        "warning: standard input: locust.io/v2 cannot say spec.labels: it is kept in the annotation locust.io/v1-spec\n"
    );
    assert_eq!(ran.code, 0);
}

#[test]
fn convert_leaves_out_what_was_left_out_but_for_what_v2_requires() {
    let brief = V1.replace("  workerReplicas: 3\n  configMap: test-scripts\n", "");
    let converted = parse(&pipe(&["convert", "-f", "-"], &brief).fine());
    assert_eq!(
        converted["spec"],
        parse(
            "\
image: locustio/locust:2.20.0
master: {command: --locustfile /lotest/src/test.py --host https://example.com}
worker: {command: --locustfile /lotest/src/test.py, replicas: 1}"
        )
    );
    assert_eq!(converted["metadata"], parse("name: basic-test"));
}

#[test]
fn convert_says_what_is_wrong_with_a_file() {
    pipe(&["convert", "-f", "-"], &format!("{OTHER}---\n{}", V1.replace("io/v1", "io/v7"))).fails(
        2,
        "\
error: apiVersion: there is no version \"locust.io/v7\" of LocustTest; write locust.io/v1 or locust.io/v2
  --> standard input:10:1
   |
10 | apiVersion: locust.io/v7
   | ^",
    );
    run(&["convert", "-f", "no-such-file.yaml"]).fails(
        2,
        "error: cannot read no-such-file.yaml: No such file or directory (os error 2)",
    );
}
