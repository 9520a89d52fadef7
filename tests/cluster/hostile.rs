//! Whatever text a test holds, it is text: in the pods, in the conditions and events, and in the operator's log.

use crate::failing::until_not_ready;
use crate::older::{ANY_VARIABLE, minor};
use crate::shell::Shell;
use crate::support::{Room, test, until};
use regex::Regex;
use serde_json::{Value, json};

/// Text that would be something else in a shell, a template, YAML, JSON, a log or on a terminal.
fn hostile() -> Vec<String> {
    let controls: String = (1..=0x1f)
        .chain(0x7f..=0x9f)
        .filter_map(char::from_u32)
        .collect();
    [
        r#"both "double" and 'single', `back` and \"escaped\" \\ \n $X $(X) ${X} $$(X)"#,
        "lines\nand\r\nmore\n\n  indented\ttabs",
        "{{ 7 * 7 }} {{ test.spec }} {% for x in values %}{% endfor %} {# no comment #} {%- raw %}",
        "x: [a, {b: c}] # y\n- &anchor *alias !!binary | >\n---\nkind: Pod\n...\n? a\n: <<: b",
        "x\", \"privileged\": true, \"y\": \"",
        "x\n2026-01-01T00:00:00.000000Z ERROR lotest::controller: forged",
        "\u{1b}[31mred\u{1b}[0m \u{1b}]0;title\u{7} \u{8}\u{8}",
        "\u{202e}right to left\u{2066} עברית العربية \u{200f}\u{2028}\u{2029}\u{85}\u{feff}.",
        "😀 e\u{301} \u{fffd}\u{10ffff} \u{fffe} \u{e000}",
    ]
    .into_iter()
    .map(str::to_string)
    .chain([format!("x{controls}x"), "a\0b".to_string()])
    .collect()
}

/// Text that YAML takes for something else when it is not quoted.
const LOOK_ALIKES: &[&str] = &[
    "null",
    "true",
    "off",
    "0x10",
    "1e3",
    "012",
    ".5",
    "~",
    "=",
    "<<",
    "2026-01-01",
    "-",
    "?",
    "!",
    "%",
    "@",
    "| x",
    "",
    " ",
    "[",
    "}",
    "#",
];

/// One word of a command line, as a user must write it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}

/// The name of a variable.
fn variable(minor: u32) -> &'static str {
    match minor >= ANY_VARIABLE {
        true => "A b{{c}}\"': #",
        false => "A-b.c_d",
    }
}

/// A test with the text in every field that takes any text.
fn holding(name: &str, text: &str, variable: &str) -> Value {
    let mut test = test(name);
    let spec = &mut test["spec"];
    // An image may not begin or end with white space.
    spec["image"] = format!("x{text}x").into();
    for role in ["master", "worker"] {
        spec[role]["command"] = format!("--first {}", quoted(text)).into();
        spec[role]["extraArgs"] = json!([text, format!("--last={text}")]);
        spec[role]["annotations"]["text"] = text.into();
    }
    spec["testFiles"] = json!({
        "configMapRef": "files", "srcMountPath": format!("/src/{text}"),
        "libConfigMapRef": "libs", "libMountPath": format!("/lib/{text}"),
    });
    spec["env"] = json!({
        "variables": [{"name": "TEXT", "value": text}, {"name": variable, "value": "name"}],
        "secretMounts": [{"name": "s", "mountPath": format!("/secret/{text}")}],
    });
    spec["volumes"] = json!([{"name": "a", "hostPath": {"path": format!("/host/{text}")}}]);
    spec["volumeMounts"] =
        json!([{"name": "a", "mountPath": format!("/a/{text}"), "subPath": format!("sub/{text}")}]);
    spec["observability"] = json!({"openTelemetry": {
        "enabled": true, "endpoint": format!("x{text}"), "extraEnvVars": {"EXTRA": text},
    }});
    spec["security"] =
        json!({"containerSecurityContext": {"seLinuxOptions": {"level": text, "user": text}}});
    test
}

/// Where the text of [`holding`] is in a pod.
fn assert_holds(job: &Value, role: &str, text: &str, variable: &str) {
    let template = &job["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let named = |list: &Value, name: &str| {
        list.as_array()
            .unwrap()
            .iter()
            .find(|e| e["name"] == name)
            .cloned()
            .unwrap()
    };
    let env = |name: &str| named(&container["env"], name)["value"].take();
    let mount = |name: &str| named(&container["volumeMounts"], name)["mountPath"].take();
    let arguments = container["args"].as_array().unwrap();
    for (what, found, wanted) in [
        ("image", container["image"].clone(), format!("x{text}x")),
        ("command", arguments[1].clone(), text.to_string()),
        (
            "extraArgs",
            arguments[arguments.len() - 2].clone(),
            text.to_string(),
        ),
        (
            "extraArgs",
            arguments[arguments.len() - 1].clone(),
            format!("--last={text}"),
        ),
        (
            "annotation",
            template["metadata"]["annotations"]["text"].clone(),
            text.to_string(),
        ),
        ("variable", env("TEXT"), text.to_string()),
        ("name of a variable", env(variable), "name".to_string()),
        (
            "endpoint",
            env("OTEL_EXPORTER_OTLP_ENDPOINT"),
            format!("x{text}"),
        ),
        ("extraEnvVars", env("EXTRA"), text.to_string()),
        (
            "srcMountPath",
            mount(job["metadata"]["name"].as_str().unwrap()),
            format!("/src/{text}"),
        ),
        ("libMountPath", mount("locust-lib"), format!("/lib/{text}")),
        ("secretMounts", mount("secret-s"), format!("/secret/{text}")),
        ("volumeMounts", mount("a"), format!("/a/{text}")),
        (
            "subPath",
            named(&container["volumeMounts"], "a")["subPath"].take(),
            format!("sub/{text}"),
        ),
        (
            "hostPath",
            named(&template["spec"]["volumes"], "a")["hostPath"]["path"].take(),
            format!("/host/{text}"),
        ),
        (
            "level",
            container["securityContext"]["seLinuxOptions"]["level"].clone(),
            text.to_string(),
        ),
    ] {
        assert_eq!(found, wanted.as_str(), "{role}: {what}");
    }
}

async fn assert_pods_hold(room: &Room, name: &str, text: &str, variable: &str) {
    for role in ["master", "worker"] {
        let job = until("a Job", async || {
            room.get("Job", &format!("{name}-{role}")).await
        })
        .await;
        assert_holds(&job, role, text, variable);
    }
}

/// What nothing may contain that is shown on a terminal or in a log.
fn assert_harmless(shown: &str) {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!shown.contains(bad), "{shown:?}");
}

fn assert_log_is_clean(log: &str) {
    let line_of_ours = Regex::new(r"^\d{4}-\d\d-\d\dT[0-9:.]+Z +(INFO|WARN) lotest::").unwrap();
    for line in log.lines() {
        assert_harmless(line);
        assert!(
            line_of_ours.is_match(line),
            "a line that is not ours: {line}"
        );
    }
}

#[tokio::test]
async fn any_text_arrives_in_the_pods_as_it_is() {
    let room = Room::new("hostile").await;
    let variable = variable(minor(&room).await);
    let shell = Shell::new(&room);
    let bystander = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bystander"}, "data": {"a": "b"}});
    let bystander = room.create(bystander).await;
    let _operator = room.operator_logging_to(shell.file("log"));
    let texts = hostile();
    for (n, text) in texts.iter().enumerate() {
        let wanted = holding(&format!("text-{n}"), text, variable);
        let stored = room.create(wanted.clone()).await;
        for pointer in [
            "/image",
            "/master/command",
            "/worker/extraArgs",
            "/env/variables",
            "/testFiles",
            "/security",
        ] {
            assert_eq!(
                stored["spec"].pointer(pointer),
                wanted["spec"].pointer(pointer),
                "{text:?}"
            );
        }
    }
    for (n, text) in texts.iter().enumerate() {
        assert_pods_hold(&room, &format!("text-{n}"), text, variable).await;
    }
    room.create_test("good").await;
    room.until_phase("good", "Succeeded").await;

    assert_eq!(room.get("ConfigMap", "bystander").await.unwrap(), bystander);
    let mut expected: Vec<String> = (0..texts.len()).map(|n| format!("text-{n}")).collect();
    expected.push("good".into());
    for kind in ["Job", "Service"] {
        for child in room.list(kind).await {
            let owner = child["metadata"]["ownerReferences"][0]["name"]
                .as_str()
                .unwrap();
            assert!(expected.iter().any(|n| n == owner), "{kind} of {owner}");
        }
    }
    for request in room.requests() {
        let Some(name) = request["objectRef"]["name"].as_str() else {
            continue;
        };
        assert!(
            expected.iter().any(|n| name.starts_with(n.as_str())),
            "{request}"
        );
    }
    assert_log_is_clean(&shell.read("log"));
}

#[tokio::test]
async fn text_that_looks_like_another_type_stays_text() {
    let room = Room::new("alike").await;
    let _operator = room.operator();
    let mut alike = test("load");
    alike["spec"]["worker"]["extraArgs"] = json!(LOOK_ALIKES);
    let variables = LOOK_ALIKES.iter().enumerate();
    let variables: Value = variables
        .map(|(n, text)| json!({"name": format!("V{n}"), "value": format!("{text}")}))
        .collect();
    alike["spec"]["env"] = json!({"variables": variables});
    room.create(alike).await;
    room.until_phase("load", "Succeeded").await;
    let job = room.get("Job", "load-worker").await.unwrap();
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().unwrap();
    assert_eq!(
        arguments[arguments.len() - LOOK_ALIKES.len()..],
        json!(LOOK_ALIKES).as_array().unwrap()[..]
    );
    let env = container["env"].as_array().unwrap();
    for (found, wanted) in env[env.len() - LOOK_ALIKES.len()..].iter().zip(LOOK_ALIKES) {
        // The API server stores an empty value as none.
        assert_eq!(found["value"].as_str().unwrap_or_default(), *wanted);
    }
}

#[tokio::test]
async fn a_hundred_kilobytes_arrive_in_the_pods() {
    let room = Room::new("large").await;
    let _operator = room.operator();
    let text = "0123456789 {{ x }}\n'\"\\\t".repeat(100 * 1024 / 24);
    let mut large = test("load");
    let master = &mut large["spec"]["master"];
    master["command"] = format!("--first {}", quoted(&text)).into();
    master["extraArgs"] = json!([text]);
    master["annotations"]["text"] = text.clone().into();
    large["spec"]["env"] = json!({"variables": [{"name": "TEXT", "value": text}]});
    room.create(large).await;
    room.until_phase("load", "Succeeded").await;
    let job = room.get("Job", "load-master").await.unwrap();
    let template = &job["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let arguments = container["args"].as_array().unwrap();
    assert!(arguments[1] == text.as_str());
    assert!(arguments[arguments.len() - 1] == text.as_str());
    assert!(template["metadata"]["annotations"]["text"] == text.as_str());
    let env = container["env"].as_array().unwrap();
    assert!(env[env.len() - 1]["value"] == text.as_str());
}

/// A test that is stored, but too large to be stored once more with its children.
#[tokio::test]
async fn a_test_that_is_too_large_to_run_is_told_so() {
    let room = Room::new("huge").await;
    let shell = Shell::new(&room);
    let _operator = room.operator_logging_to(shell.file("log"));
    let mut huge = test("load");
    huge["spec"]["master"]["extraArgs"] = json!(["x".repeat(900 * 1024)]);
    room.create(huge).await;
    let refused = until_not_ready(&room, "load").await;
    let said = crate::failing::message(&refused);
    assert_eq!(
        said,
        "the API server refuses a request: what the test starts with cannot be recorded in a ControllerRevision: etcdserver: request is too large"
    );
    room.create_test("good").await;
    room.until_phase("good", "Succeeded").await;
    let log = shell.read("log");
    assert!(
        log.contains("etcdserver: request is too large (500)"),
        "{log}"
    );
    assert_log_is_clean(&log);
}

/// What is said of a hostile test: a refusal in a condition and in the log, a warning in an event.
#[tokio::test]
async fn what_is_said_of_hostile_text_is_one_harmless_line() {
    let room = Room::new("said").await;
    let shell = Shell::new(&room);
    let _operator = room.operator_logging_to(shell.file("log"));
    let texts = hostile();
    for (n, text) in texts.iter().enumerate() {
        let mut refused = test(&format!("label-{n}"));
        refused["spec"]["master"]["labels"] = json!({"text": format!(" {text}")});
        room.create(refused).await;
        let mut refused = test(&format!("name-{n}"));
        refused["spec"]["env"] =
            json!({"variables": [{"name": format!("\n{text}="), "value": ""}]});
        room.create(refused).await;
        // Both kinds of quotes, or none, do not balance.
        let open = if text.contains('\'') { "" } else { "'" };
        let mut warned = test(&format!("quote-{n}"));
        warned["spec"]["master"]["command"] = format!("{open} {text}").into();
        room.create(warned).await;
    }
    let mut refusals = 0;
    for n in 0..texts.len() {
        for name in [format!("label-{n}"), format!("name-{n}")] {
            let refused = until_not_ready(&room, &name).await;
            assert_harmless(crate::failing::message(&refused));
            refusals += 1;
        }
        room.until_phase(&format!("quote-{n}"), "Succeeded").await;
    }
    let events = room.list("Event").await;
    let warnings: Vec<&Value> = events
        .iter()
        .filter(|e| e["reason"] == "SpecWarning")
        .collect();
    assert!(warnings.len() > texts.len() / 2, "{warnings:?}");
    for event in events
        .iter()
        .filter(|e| e["reportingController"] == "lotest")
    {
        assert_harmless(event["note"].as_str().unwrap());
    }
    let log = shell.read("log");
    assert!(log.lines().count() >= refusals, "{log}");
    assert_log_is_clean(&log);
}
