//! What a Role must allow for a bundle: the rights to its children. What else the operator does is the same for every
//! bundle, and stands in deploy/base/rbac.yaml.

use crate::bundle::Bundle;
use crate::bundle::templates::ChildTemplate;
use kube::api::{ApiResource, GroupVersionKind};
use serde::{Deserialize, Serialize};

/// What the operator does with children.
pub const VERBS: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

/// A rule of a Role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub verbs: Vec<String>,
}

/// The rules that some children need.
pub fn rules<'a>(children: impl IntoIterator<Item = &'a ChildTemplate>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for child in children {
        let ApiResource { group, plural, .. } = resource(&child.api_version, &child.kind);
        match rules.iter_mut().find(|r| r.api_groups[0] == group) {
            Some(rule) if rule.resources.contains(&plural) => {}
            Some(rule) => rule.resources.push(plural),
            None => rules.push(Rule {
                api_groups: vec![group],
                resources: vec![plural],
                verbs: VERBS.map(str::to_string).to_vec(),
            }),
        }
    }
    for rule in &mut rules {
        rule.resources.sort();
    }
    rules.sort();
    rules
}

/// The resource of a kind, whose plural follows from it as for all kinds of Kubernetes itself.
pub fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

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
        let resource = resource(&child.api_version, &child.kind);
        add(&mut rules, &resource.group, &resource.plural, &VERBS);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Layer, yaml};
    use std::collections::BTreeMap;

    /// Whoever installs the operator as it is needs no other Role.
    #[test]
    fn the_role_in_deploy_is_what_the_built_in_bundle_needs() {
        let (bundle, _) = Bundle::load(&[Layer::built_in()], &BTreeMap::new()).unwrap();
        let deployed = include_str!("../../deploy/base/rbac.yaml");
        let role = deployed
            .split("\n---\n")
            .find(|d| d.contains("kind: ClusterRole\n"));
        let role: serde_json::Value = yaml::from_str("rbac.yaml", role.unwrap()).unwrap();
        let allowed: Vec<Rule> = serde_json::from_value(role["rules"].clone()).unwrap();
        let needed = rules(bundle.children());
        let resources: Vec<_> = needed.iter().map(|r| r.resources.join(" ")).collect();
        assert_eq!(resources, ["services", "jobs"]);
        for rule in needed {
            assert!(allowed.contains(&rule), "{rule:?}");
        }
    }
}
