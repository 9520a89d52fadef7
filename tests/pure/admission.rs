//! What whoever applies a test is warned of: each rule of rules/admission.yaml where it is to speak, and where not.

use crate::support::{base, load, merge, yaml};
use lotest::api::v2::LocustTest;
use lotest::bundle::{Bundle, Files, Layer};
use lotest::engine::admission::{CREATE, Request, warnings};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The smallest test with a patch of its spec, as the API server stores it.
fn test(patch: &str) -> Value {
    let mut test = base();
    merge(&mut test["spec"], &serde_saphyr::from_str(patch).unwrap());
    LocustTest::from_value(test).unwrap().to_value()
}

fn new(bundle: &Bundle, patch: &str) -> Vec<String> {
    let request = Request {
        test: &test(patch),
        old: None,
        operation: CREATE,
    };
    warnings(bundle, &request)
}

/// The built-in layer with one admission rule alone.
fn only(id: &str, settings: &[&str]) -> Bundle {
    let mut rules = yaml("rules/admission.yaml");
    let rules = rules.as_array_mut().unwrap();
    rules.retain(|rule| rule["id"] == id);
    assert_eq!(rules.len(), 1, "{id}");
    let mut files: Files = Layer::built_in().files;
    files.insert("rules/admission.yaml".into(), json!(rules).to_string());
    let settings = crate::support::settings(settings);
    Bundle::load(&[files.into()], &settings).unwrap().0
}

/// For each rule about a new test: the operator's environment, specs of which it warns, and specs of which it does not.
type Case = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

const CASES: &[Case] = &[
    (
        "affinity-dropped",
        &["ENABLE_AFFINITY_CR_INJECTION=false"],
        &["{scheduling: {affinity: {nodeAffinity: {}}}}"],
        &["{scheduling: {nodeSelector: {a: b}}}", "{}"],
    ),
    (
        "affinity-dropped",
        &[],
        &[],
        &["{scheduling: {affinity: {nodeAffinity: {}}}}"],
    ),
    (
        "tolerations-dropped",
        &["ENABLE_TAINT_TOLERATIONS_CR_INJECTION=false"],
        &["{scheduling: {tolerations: [{operator: Exists}]}}"],
        &["{scheduling: {tolerations: []}}", "{}"],
    ),
    (
        "tolerations-dropped",
        &[],
        &[],
        &["{scheduling: {tolerations: [{operator: Exists}]}}"],
    ),
    (
        "command-expect-workers",
        &[],
        &[
            "{master: {command: -f x --expect-workers 3}}",
            "{master: {command: -f x --expect-workers=3}}",
            "{master: {command: -f x '--expect-workers' 3}}",
            "{master: {command: \"--expect-workers\\t3\"}}",
        ],
        &[
            "{}",
            "{master: {command: -f x --expect-workers-max-wait 3}}",
            "{master: {command: -f x --host=http://a/--expect-workers}}",
            "{master: {extraArgs: [--expect-workers=3]}}",
            "{worker: {command: -f x --expect-workers 3}}",
        ],
    ),
    (
        "extra-args-expect-workers",
        &[],
        &[
            "{master: {extraArgs: [--html, --expect-workers=3]}}",
            "{master: {extraArgs: [--expect-workers, '3']}}",
        ],
        &[
            "{}",
            "{master: {extraArgs: [--expect-workers-max-wait=3]}}",
            "{master: {command: --expect-workers 3}}",
        ],
    ),
    (
        "command-autoquit",
        &[],
        &["{master: {command: -f x --autoquit 3}}"],
        &[
            "{}",
            "{master: {command: -f x --autoquit 3, autoquit: {enabled: false}}}",
        ],
    ),
    (
        "extra-args-autoquit",
        &[],
        &["{master: {extraArgs: [--autoquit=3]}}"],
        &[
            "{}",
            "{master: {extraArgs: [--autoquit=3], autoquit: {enabled: false}}}",
        ],
    ),
    (
        "autostart-anyway",
        &[],
        &[
            "{master: {command: -f x --autostart, autostart: false}}",
            "{master: {extraArgs: [--autostart], autostart: false}}",
        ],
        &[
            "{master: {command: -f x --autostart}}",
            "{master: {autostart: false}}",
        ],
    ),
    (
        "command-ports",
        &[],
        &[
            "{master: {command: --master-port=1 -f x}}",
            "{worker: {command: -f x --master-port 1}}",
        ],
        &["{}", "{master: {extraArgs: [--master-port=1]}}"],
    ),
    (
        "extra-args-ports",
        &[],
        &[
            "{master: {extraArgs: [--master-port=1]}}",
            "{worker: {extraArgs: [--master-port, '1']}}",
        ],
        &["{}", "{worker: {command: -f x --master-port 1}}"],
    ),
    (
        "command-master-host",
        &[],
        &["{worker: {command: -f x --master-host a}}"],
        &[
            "{}",
            "{worker: {command: -f x --master-hosts a}}",
            "{master: {command: --master-host a}}",
        ],
    ),
    (
        "extra-args-master-host",
        &[],
        &["{worker: {extraArgs: [--master-host=a]}}"],
        &["{}", "{worker: {extraArgs: [--host=a]}}"],
    ),
    (
        "other-role",
        &[],
        &[
            "{master: {command: -f x --worker}}",
            "{master: {extraArgs: [--worker]}}",
            "{worker: {command: --master -f x}}",
            "{worker: {extraArgs: [--master]}}",
        ],
        &[
            "{}",
            "{master: {command: --master}}",
            "{worker: {command: --master-host a}}",
            "{worker: {extraArgs: [--worker]}}",
        ],
    ),
];

#[test]
fn every_rule_warns_of_what_it_is_about_and_of_nothing_else() {
    for (id, settings, of, not_of) in CASES {
        let bundle = only(id, settings);
        for patch in *of {
            assert_eq!(new(&bundle, patch).len(), 1, "{id} says nothing of {patch}");
        }
        for patch in *not_of {
            assert_eq!(new(&bundle, patch), [""; 0], "{id}: {patch}");
        }
    }
    let rules = yaml("rules/admission.yaml");
    for rule in rules.as_array().unwrap() {
        let id = rule["id"].as_str().unwrap();
        assert!(
            id == EDIT || CASES.iter().any(|case| case.0 == id),
            "{id} has no case"
        );
        let message = rule["message"].as_str().unwrap();
        let says_where = message.starts_with("spec") && message.contains([':', ' ']);
        let says_what = ["remove", "recreate", "set "]
            .iter()
            .any(|w| message.contains(w));
        assert!(says_where && says_what, "{message}");
        // What the API server cuts off nobody reads.
        assert!(message.len() < 200, "{message}");
    }
}

const EDIT: &str = "edit-ignored";

#[test]
fn an_edit_that_will_be_ignored_is_said() {
    let bundle = only(EDIT, &[]);
    let refused = json!({"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}]});
    let made = json!({"phase": "Pending", "conditions": [{"type": "Ready", "status": "True"}]});
    let image = "{image: other}";
    for (status, patch, operation, warns) in [
        (json!({"phase": "Running"}), image, "UPDATE", true),
        (json!({"phase": "Succeeded"}), image, "UPDATE", true),
        (
            json!({"phase": "Failed", "conditions": refused["conditions"]}),
            image,
            "UPDATE",
            true,
        ),
        (json!({"phase": "Pending"}), image, "UPDATE", true),
        (made, image, "UPDATE", true),
        // Nothing has been started: the correction counts.
        (refused, image, "UPDATE", false),
        (json!({}), image, "UPDATE", false),
        (Value::Null, image, "UPDATE", false),
        (json!({"phase": "Running"}), "{}", "UPDATE", false),
        (json!({"phase": "Running"}), image, "DELETE", false),
    ] {
        let mut old = test("{}");
        old["status"] = status.clone();
        let mut changed = test(patch);
        changed["status"] = status.clone();
        changed["metadata"]["labels"] = json!({"a": "b"});
        let request = Request {
            test: &changed,
            old: Some(&old),
            operation,
        };
        let said = warnings(&bundle, &request);
        assert_eq!(
            said.len(),
            usize::from(warns),
            "{status} {patch} {operation}: {said:?}"
        );
    }
    assert_eq!(new(&bundle, image), [""; 0]);
}

#[test]
fn layers_change_what_is_said_and_secrets_stay_secret() {
    let rules = r#"
- {id: other-role, disable: true}
- {id: command-ports, message: "spec of {{ test.metadata.name }} says {{ values.kafka.password }}"}
- id: wants-a-team
  when: {path: $.test.metadata.labels.team, absent: true}
  message: "metadata.labels: set team"
"#;
    let files: Files = Files::from([("rules/admission.yaml".into(), rules.into())]);
    let settings = BTreeMap::from([("KAFKA_PASSWORD".to_string(), "hunter2hunter2".to_string())]);
    let (bundle, _) = Bundle::load(&[Layer::built_in(), files.into()], &settings).unwrap();
    let said = new(&bundle, "{master: {command: --master-port 1 --worker}}");
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("spec of load says ") && !said[0].contains("hunter2"),
        "{said:?}"
    );
    assert_eq!(said[1], "metadata.labels: set team");
}

#[test]
fn mistakes_in_admission_rules_are_said_where_they_are() {
    for (rule, wanted) in [
        (
            "{id: a, when: {path: $.tests.spec, exists: true}, message: x}",
            "did you mean `$.test`?",
        ),
        (
            "{id: a, when: {path: $.phase, exists: true}, message: x}",
            "here a path starts with $.test, $.oldTest, $.operation, $.values",
        ),
        (
            "{id: a, when: {path: $.test.spec.imag, exists: true}, message: x}",
            "did you mean `image`?",
        ),
        (
            "{id: a, when: {path: $.oldTest.status.phase, eq: Runing}, message: x}",
            "did you mean `Running`?",
        ),
        (
            "{id: a, message: x}",
            "there is no admission rule `a` in the layers below",
        ),
        (
            "{id: other-rule, disable: true}",
            "did you mean `other-role`?",
        ),
        (
            "{id: ready, when: {path: $.test, exists: true}, message: x}",
            "the rule id `ready` is used twice",
        ),
        (
            "{id: a, when: {path: $.test, exists: true}, message: x, severity: warn}",
            "severity",
        ),
    ] {
        let files = Files::from([("rules/admission.yaml".into(), format!("- {rule}\n"))]);
        let problems = Bundle::load(&[Layer::built_in(), files.into()], &BTreeMap::new());
        let problems: Vec<String> = problems
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        let said = problems.join("\n");
        assert!(
            said.contains(wanted) && said.contains("rules/admission.yaml:1"),
            "{said}"
        );
    }
}

/// A test is nobody's friend: a warning is one line, whatever is in it.
#[test]
fn text_of_a_test_stays_on_one_line() {
    let (bundle, _) = load(&[]);
    let mut old = test("{}");
    old["status"] = json!({"phase": "Running\n\u{1b}[31m\u{202e}"});
    let request = Request {
        test: &test("{image: other}"),
        old: Some(&old),
        operation: "UPDATE",
    };
    let said = warnings(&bundle, &request);
    assert_eq!(said.len(), 1);
    assert!(!said[0].contains(['\n', '\u{1b}', '\u{202e}']), "{said:?}");
}
