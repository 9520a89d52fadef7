//! What is made from the chart, and what the chart is made of, is up to date.

use crate::helm::{file, path, run, yaml};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

#[test]
fn deploy_base_is_what_the_chart_gives() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy-base");
    std::fs::create_dir_all(&directory).unwrap();
    let output = run(Command::new(path("deploy/base/generate")).arg(&directory));
    assert!(output.status.success(), "{output:?}");
    for name in ["rbac.yaml", "operator.yaml", "webhook.yaml"] {
        let made = std::fs::read_to_string(directory.join(name)).unwrap();
        let is = file(&format!("deploy/base/{name}"));
        assert!(
            made == is,
            "deploy/base/{name} is not what deploy/chart gives: run `make deploy`"
        );
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn the_chart_has_the_definition_of_this_version() {
    let made = file("crds/locusttests.locust.io.yaml");
    let is = file("deploy/chart/files/crd.yaml");
    assert!(
        made == is,
        "deploy/chart/files/crd.yaml is not that of crds/: run `make deploy`"
    );
    let chart = yaml(&file("deploy/chart/Chart.yaml"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

/// Every leaf of values.yaml has a line in the table of docs/install.md, with its default.
#[test]
fn the_page_lists_all_values() {
    let page = file("docs/install.md");
    let table = page.split("<!-- values -->").nth(1).unwrap();
    let mut listed = Vec::new();
    for line in table.lines().filter(|l| l.starts_with("| `")) {
        let mut cells = line.split(" | ");
        let name = cells
            .next()
            .unwrap()
            .trim_start_matches("| ")
            .trim_matches('`');
        let default = cells.next().unwrap().trim_matches('`');
        let default: Value = match default {
            "" => Value::Null,
            text => yaml(text),
        };
        listed.push((name.to_string(), default));
    }
    let defaults = yaml(&file("deploy/chart/values.yaml"));
    let mut paths = Vec::new();
    for (name, default) in &listed {
        let pointer = format!("/{}", name.replace('.', "/"));
        let value = defaults
            .pointer(&pointer)
            .unwrap_or_else(|| panic!("{name} is no value"));
        // The text of the collector's configuration is too long for a table.
        if name != "otelCollector.config" {
            assert_eq!(value, default, "{name}");
        }
        paths.push(name.as_str());
    }
    let mut all = Vec::new();
    missing(&defaults, "", &paths, &mut all);
    assert_eq!(all, [""; 0], "not in docs/install.md");
}

/// The leaves that neither are listed nor stand in something that is.
fn missing(value: &Value, path: &str, listed: &[&str], all: &mut Vec<String>) {
    if listed.contains(&path) {
        return;
    }
    match value.as_object().filter(|map| !map.is_empty()) {
        Some(map) => {
            for (key, value) in map {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                missing(value, &path, listed, all);
            }
        }
        None => all.push(path.to_string()),
    }
}
