//! The rights that an operator needs for a bundle: the fixed ones, and those over the kinds of its children.

use crate::bundle::Bundle;
use kube::core::{ApiResource, GroupVersionKind};
use serde::Serialize;

/// A PolicyRule of Kubernetes' RBAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub verbs: Vec<String>,
}

/// What is done to children: server-side apply is a patch, and a create where the object is not there yet.
const OF_CHILDREN: &[&str] = &["get", "list", "watch", "create", "patch", "delete"];

/// The rights for a bundle, one rule for each resource.
pub fn rules_for(bundle: &Bundle) -> Vec<Rule> {
    let mut rules = Vec::new();
    let tests = "locust.io";
    add(
        &mut rules,
        tests,
        "locusttests",
        &["list", "watch", "patch", "delete"],
    );
    add(&mut rules, tests, "locusttests/status", &["patch"]);
    add(&mut rules, tests, "locusttests/finalizers", &["update"]);
    for child in bundle.children() {
        let (group, version) = child
            .api_version
            .split_once('/')
            .unwrap_or(("", &child.api_version));
        let kind = GroupVersionKind::gvk(group, version, &child.kind);
        let resource = ApiResource::from_gvk(&kind);
        add(&mut rules, group, &resource.plural, OF_CHILDREN);
    }
    add(&mut rules, "", "pods", &["list", "watch"]);
    add(
        &mut rules,
        "apps",
        "controllerrevisions",
        &["get", "create"],
    );
    add(&mut rules, "", "events", &["create", "list"]);
    rules
}

/// What is needed and not granted.
pub fn beyond(needed: &[Rule], granted: &[Rule]) -> Vec<Rule> {
    let mut missing = Vec::new();
    for rule in needed {
        let same = |g: &&Rule| g.api_groups == rule.api_groups && g.resources == rule.resources;
        let has = granted.iter().find(same);
        let lacks = |verb: &&String| !has.is_some_and(|g| g.verbs.contains(verb));
        let verbs: Vec<String> = rule.verbs.iter().filter(lacks).cloned().collect();
        if !verbs.is_empty() {
            missing.push(Rule {
                verbs,
                ..rule.clone()
            });
        }
    }
    missing
}

fn add(rules: &mut Vec<Rule>, group: &str, resource: &str, verbs: &[&str]) {
    let known = rules
        .iter_mut()
        .find(|r| r.api_groups == [group] && r.resources == [resource]);
    match known {
        Some(rule) => {
            for verb in verbs {
                if !rule.verbs.iter().any(|v| v == verb) {
                    rule.verbs.push((*verb).to_string());
                }
            }
        }
        None => rules.push(Rule {
            api_groups: vec![group.to_string()],
            resources: vec![resource.to_string()],
            verbs: verbs.iter().map(ToString::to_string).collect(),
        }),
    }
}
