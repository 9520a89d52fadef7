//! What the chart gives for whole files of values: review it with `git diff` after `INSTA_UPDATE=always cargo test --test chart`.

use crate::helm::{file, helm, path, run, template};

const FILES: [&str; 5] = ["default", "everything", "legacy", "list", "namespaced"];

/// What a cluster with cert-manager knows.
const CERT_MANAGER: [&str; 2] = ["--api-versions", "cert-manager.io/v1"];

/// Without the schemas in the CustomResourceDefinition and the panels of the dashboard: both are files.
fn shortened(text: &str) -> String {
    let mut kept = String::new();
    let mut is_long = false;
    for line in text.lines() {
        if line == "---" || (is_long && line.starts_with('#')) {
            is_long = false;
        }
        if !is_long {
            kept.push_str(line.trim_end());
            kept.push('\n');
        }
        if line == "  versions:" || line == "  lotest.json: |" {
            kept.push_str("    ...\n");
            is_long = true;
        }
    }
    kept
}

fn seen(name: &str, values: &str, arguments: &[&str]) {
    let text = template(values, arguments).unwrap_or_else(|e| panic!("{name}: {e}"));
    insta::with_settings!({snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!(name, shortened(&text));
    });
}

#[test]
fn the_chart_gives_what_was_reviewed() {
    for name in FILES {
        let values = file(&format!("tests/chart/values/{name}.yaml"));
        seen(name, &values, &[]);
    }
    let values = file("tests/chart/values/list.yaml");
    seen("list_with_cert_manager", &values, &CERT_MANAGER);
}

#[test]
fn helm_lint_has_nothing_to_say() {
    for name in FILES {
        let values = format!("tests/chart/values/{name}.yaml");
        let mut command = helm();
        command.args(["lint", "--strict", "deploy/chart", "--values", &values]);
        let output = run(command.current_dir(path("")));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {said}");
        assert!(!said.contains("[WARNING]"), "{name}: {said}");
    }
}
