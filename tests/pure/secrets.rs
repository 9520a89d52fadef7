//! A credential is in no message, excerpt or warning, whatever else is wrong.

use lotest::bundle::{Bundle, Files, Layer};
use lotest::engine::admit::admit;
use lotest::engine::render::render;
use lotest::engine::replay::{explain_end, last_status, replay};
use lotest::engine::timeline::Timeline;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::base;
use lotest::api::v2::LocustTest;
use serde_json::{Value, json};

const MARK: &str = "m4rk'd";

fn test() -> Value {
    LocustTest::parse_strict(base()).unwrap().to_value()
}

/// Names with their texts.
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn said(files: Pairs, settings: Pairs) -> String {
    let mut built_in = Layer::built_in();
    let mut layer = Layer {
        name: "cluster".into(),
        files: Files::new(),
    };
    for (file, text) in files {
        let files = match *file == "types.yaml" {
            true => &mut built_in.files,
            false => &mut layer.files,
        };
        files.insert(file.to_string(), text.replace("MARK", MARK));
    }
    let own = |(name, text): &(&str, &str)| (name.to_string(), text.replace("MARK", MARK));
    let settings: BTreeMap<String, String> = settings.iter().map(own).collect();
    match admit(&[built_in, layer], &settings) {
        Ok((bundle, warnings)) => {
            let rendered = render(&bundle, &test()).unwrap();
            [warnings, rendered.warnings].concat().join("\n")
        }
        Err(problems) => {
            let text: Vec<String> = problems
                .iter()
                .map(|p| format!("{p}\n{}", p.one_line()))
                .collect();
            text.join("\n")
        }
    }
}

const CHILD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n";

#[test]
fn a_credential_is_never_said() {
    let twice = format!("{CHILD}data:\n  a: b\n  a: {{{{ values.kafka.password }}}}\n");
    let elsewhere = format!("{CHILD}  namespace: {{{{ values.kafka.password }}}}\n");
    let warns = format!("{{% do warn(\"it is \" ~ values.kafka.password) %}}\n{CHILD}");
    let templates = [
        (twice.as_str(), "does not render to YAML"),
        (&elsewhere, "a child lives in the namespace"),
        (&warns, "it is ***"),
    ];
    let values = "kafka: {password: MARK}\n";
    for (template, expected) in templates {
        let template = ("templates/x.yaml", template);
        let ways: [[Pairs; 2]; 2] = [
            [&[template], &[("KAFKA_PASSWORD", "MARK")]],
            [&[template, ("values.yaml", values)], &[]],
        ];
        for [files, settings] in ways {
            check(&said(files, settings), expected);
        }
    }
    let rule = "- id: image-pull\n  for: MARK\n";
    let test = include_str!("../../golden/render/minimal/test.yaml");
    let jaas = "kafka:\n  jaasConfig: >-\n    some.long.LoginModule required username=\"me\"\n    password=\"MARK\" and=\"so on\" and=\"further on\";\n";
    for (files, expected) in [
        (
            vec![("values.yaml", "kafka: {password: MARK, port: 1}")],
            "there is no value `kafka.port`",
        ),
        (
            vec![("values.yaml", "kafka: {pasword: MARK}")],
            "did you mean `password`?",
        ),
        (
            vec![("values.yaml", "kafkaPassword: MARK")],
            "there is no value `kafkaPassword`",
        ),
        (
            vec![("values.yaml", "kafka:\n  password:\n    value: MARK\n")],
            "is not a string",
        ),
        (
            vec![("values.yaml", "kafka:\n  password:\n  - MARK\n")],
            "is not a string",
        ),
        (
            vec![("values.yaml", "kafka:\n  password: MARK: x\n")],
            "values.yaml:2:",
        ),
        (
            vec![("values.yaml", "kafka:\n  password: |\n    a\n   MARK\n")],
            "values.yaml:",
        ),
        (
            vec![("values.yaml", values), ("rules/signals.yaml", rule)],
            "***",
        ),
        (
            vec![
                ("values.yaml", values),
                ("golden/a/test.yaml", test),
                ("golden/a/children.yaml", "a: b\n"),
            ],
            "something else than was reviewed",
        ),
        (
            vec![
                ("values.yaml", jaas),
                ("golden/a/test.yaml", test),
                ("golden/a/children.yaml", "a: b\n"),
            ],
            "something else than was reviewed",
        ),
    ] {
        check(&said(&files, &[]), expected);
    }
    let types = "secret: [kafka.password]\nduration: [kafka.password]\n";
    let said = said(&[("types.yaml", types)], &[("KAFKA_PASSWORD", "MARK")]);
    check(
        &said,
        "KAFKA_PASSWORD is not a duration such as 90s, 2m or 1h30m: a credential",
    );
}

/// As YAML reads it the text of a number is another.
#[test]
fn a_number_is_not_shown_as_it_is_written() {
    let said = said(&[("values.yaml", "kafka:\n  password: 0o7654\n")], &[]);
    assert!(said.contains("`kafka.password` is not a string"), "{said}");
    assert!(!said.contains("7654") && !said.contains("4012"), "{said}");
}

/// What a pod was given can be read from it again, and a rule may quote whatever it reads.
#[test]
fn what_rules_quote_of_a_cluster_is_masked() {
    const RULES: [(&str, &str); 2] = [
        (
            "rules/signals.yaml",
            "- {id: quotes, on: {each: container}, when: {path: $.state.running, exists: true}, reason: Quotes,
   severity: warn, priority: 999, message: 'with {{ container.env }}'}\n",
        ),
        (
            "rules/conditions.yaml",
            "- type: Quoted
  cases:
  - {id: quoted, status: \"True\", reason: Quoted, message: 'it is {{ values.kafka.password }}',
     event: {type: Normal, reason: Quoted, message: 'it is {{ values.kafka.password }}'}}\n",
        ),
    ];
    let mut layer = Layer {
        name: "cluster".into(),
        files: Files::new(),
    };
    for (file, text) in RULES {
        layer.files.insert(file.into(), text.into());
    }
    let status = "- {field: settings, path: $.values.kafka}\n";
    layer
        .files
        .insert("rules/status.yaml".into(), status.into());
    let settings = BTreeMap::from([("KAFKA_PASSWORD".to_string(), MARK.to_string())]);
    let layers = [Layer::built_in(), layer];
    let (bundle, _) = Bundle::load(&layers, &settings).unwrap_or_else(|p| panic!("{p:#?}"));
    let bundle = Arc::new(bundle);
    let mut object = base();
    object["spec"]["env"] = json!({"variables": [{"name": "A", "value": MARK}]});
    let timeline = json!({
        "test": object,
        "steps": [{"at": "1s", "pods": {"load-worker-a": {"of": "worker-job", "status": {
            "phase": "Running",
            "containerStatuses": [{"name": "load-worker", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
        }}}}],
    });
    let timeline: Timeline = serde_json::from_value(timeline).unwrap();
    let entries = serde_json::to_string_pretty(&replay(&bundle, &timeline).unwrap()).unwrap();
    let status = last_status(&bundle, &timeline).unwrap().to_string();
    let trace = explain_end(&bundle, &timeline).unwrap();
    let trace = format!("{trace}\n{}", serde_json::to_string(&trace).unwrap());
    check(&entries, "Warning Quotes: ");
    check(&entries, "Normal Quoted: it is ***");
    check(&status, "it is ***");
    check(&status, r#""password":"***""#);
    check(&trace, "it is ***");
}

#[track_caller]
fn check(said: &str, expected: &str) {
    assert!(said.contains(expected), "{expected}\n{said}");
    assert!(!said.contains("m4rk"), "{said}");
}

#[test]
fn other_lines_are_shown() {
    let said = said(
        &[("values.yaml", "kafka:\n  password: x\ngrace: {pod: 5m}\n")],
        &[],
    );
    assert!(said.contains("3 | grace: {pod: 5m}"), "{said}");
}

#[test]
fn pods_get_it() {
    let settings = BTreeMap::from([("KAFKA_PASSWORD".to_string(), MARK.to_string())]);
    let (bundle, _) = Bundle::load(&[Layer::built_in()], &settings).unwrap();
    let children = render(&bundle, &test()).unwrap().children;
    assert!(format!("{children:?}").contains(MARK));
}
