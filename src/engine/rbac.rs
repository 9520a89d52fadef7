//! The rights that an operator needs for a bundle: the fixed ones, and those over the kinds of its children.

use crate::bundle::Bundle;
use crate::bundle::templates::ChildTemplate;
use kube::core::{ApiResource, GroupVersionKind};
use serde::Serialize;

/// What is done to children: server-side apply is a patch, and a create where the object is not there yet.
pub const VERBS: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

/// A PolicyRule of Kubernetes' RBAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub verbs: Vec<String>,
}

/// The rights for a bundle, one rule for each resource.
pub fn rules_for(bundle: &Bundle) -> Vec<Rule> {
    let tests = "locust.io";
    let mut rules = vec![
        rule(tests, "locusttests", &["list", "watch", "patch", "delete"]),
        rule(tests, "locusttests/status", &["patch"]),
        rule(tests, "locusttests/finalizers", &["update"]),
    ];
    rules.extend(rules_of(bundle.children()));
    let fixed = [
        rule("", "pods", &["list", "watch"]),
        rule("apps", "controllerrevisions", &["get", "create", "delete"]),
        rule("", "events", &["create", "list"]),
    ];
    for Rule {
        api_groups,
        resources,
        verbs,
    } in fixed
    {
        let same = |r: &&mut Rule| r.api_groups == api_groups && r.resources == resources;
        match rules.iter_mut().find(same) {
            // A child of this kind.
            Some(rule) => {
                let new = verbs.into_iter().filter(|v| !rule.verbs.contains(v));
                let new: Vec<String> = new.collect();
                rule.verbs.extend(new);
            }
            None => rules.push(Rule {
                api_groups,
                resources,
                verbs,
            }),
        }
    }
    rules
}

/// The rights in the operator's own namespace, where there are no tests: events about its pod say which layers are taken.
pub fn rules_at_home() -> Vec<Rule> {
    vec![rule("", "events", &["create"])]
}

/// The rights over some children.
pub fn rules_of<'a>(children: impl IntoIterator<Item = &'a ChildTemplate>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for child in children {
        let resource = resource(&child.api_version, &child.kind);
        let rule = rule(&resource.group, &resource.plural, &VERBS);
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
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

/// The resource of a kind, whose plural follows from it as for all kinds of Kubernetes itself.
pub fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> Rule {
    Rule {
        api_groups: vec![group.to_string()],
        resources: vec![resource.to_string()],
        verbs: verbs.iter().map(ToString::to_string).collect(),
    }
}
