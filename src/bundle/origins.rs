//! Which layer every effective template, rule and value comes from.

use super::layer::{Layer, Sources};
use super::merge;
use super::problem::Problem;
use super::templates;
use super::tree::{At, Node};
use super::values;
use serde::Serialize;
use std::collections::BTreeMap;

/// A part of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// `template`, `rule` or `value`.
    pub kind: &'static str,
    /// The template's file, the rule's id or the path of the value.
    pub name: String,
    /// `built-in`, the directory of a layer, or the environment variable that sets the value.
    pub layer: String,
    /// `path:line` in the layer, where there is one.
    pub place: String,
    /// What of it another layer wrote: fields of a rule with their places, a template below that this one may extend.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub also: BTreeMap<String, String>,
    /// It is switched off: a rule that is disabled, a child that is removed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
}

/// All parts of the bundle of some layers, templates first, then rules as they are asked, then values.
pub fn parts(
    layers: &[Layer],
    settings: &BTreeMap<String, String>,
) -> Result<Vec<Part>, Vec<Problem>> {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mut sources = Sources::default();
    let mut parts = templates(layers, &mut problems);
    let merged = merge::merge(layers, &mut sources, &mut problems);
    let values = values::load(layers, settings, &mut sources, &mut problems, &mut warnings);
    let origin = Origins { layers, sources };
    for file in merge::RULE_FILES {
        if let Some(document) = merged.get(file) {
            origin.rules(document, &mut parts);
        }
    }
    for merge::Disabled { id, at, .. } in &merged.disabled {
        let mut part = origin.part("rule", id, *at);
        part.off = true;
        parts.push(part);
    }
    if let Some(values) = &values {
        origin.values(&values.tree, "", &values.set_by, &mut parts);
    }
    match problems.is_empty() {
        true => Ok(parts),
        false => Err(problems),
    }
}

fn templates(layers: &[Layer], problems: &mut Vec<Problem>) -> Vec<Part> {
    let (_, templates) = templates::compile(layers, problems);
    let layer_of = |file: &str, name: &str| {
        let layer = layers.iter().find(|l| l.path(name) == file);
        layer.map_or("", Layer::title).to_string()
    };
    let mut parts = Vec::new();
    for (name, file) in templates.versions.all() {
        let below = templates.versions.below(file);
        let also = below.map(|below| ("below".to_string(), below.to_string()));
        parts.push(Part {
            kind: "template",
            name: name.to_string(),
            layer: layer_of(file, name),
            place: file.to_string(),
            also: also.into_iter().collect(),
            off: false,
        });
    }
    for (stem, file) in &templates.removed {
        let name = format!("templates/{stem}.yaml");
        parts.push(Part {
            kind: "template",
            layer: layer_of(file, &name),
            name,
            place: file.clone(),
            also: BTreeMap::new(),
            off: true,
        });
    }
    parts
}

struct Origins<'a> {
    layers: &'a [Layer],
    sources: Sources,
}

impl Origins<'_> {
    fn part(&self, kind: &'static str, name: &str, at: At) -> Part {
        let layer = self.sources.get(at).and_then(|s| self.layers.get(s.layer));
        Part {
            kind,
            name: name.to_string(),
            layer: layer.map_or("", Layer::title).to_string(),
            place: self.sources.place(at),
            also: BTreeMap::new(),
            off: false,
        }
    }

    /// Every map with an id in a document of rules.
    fn rules(&self, node: &Node, parts: &mut Vec<Part>) {
        let id = ["id", "field", "type"].iter().find_map(|key| {
            let id = node.get(key)?.as_str()?;
            // An event has a type too, and no cases.
            (*key != "type" || node.get("cases").is_some()).then_some(id)
        });
        if let Some(id) = id {
            let mut part = self.part("rule", id, node.at);
            for entry in node.entries() {
                let has_rules = ["cases", "transitions"].contains(&entry.key.as_str());
                if entry.at.file != node.at.file && !has_rules {
                    let place = self.sources.place(entry.at);
                    part.also.insert(entry.key.clone(), place);
                }
            }
            parts.push(part);
        }
        for key in ["cases", "transitions"] {
            let inner = node.get(key).map_or(&[][..], Node::items);
            inner.iter().for_each(|rule| self.rules(rule, parts));
        }
        node.items().iter().for_each(|rule| self.rules(rule, parts));
    }

    fn values(
        &self,
        node: &Node,
        path: &str,
        set_by: &BTreeMap<String, String>,
        parts: &mut Vec<Part>,
    ) {
        for entry in node.entries() {
            let path = match path {
                "" => entry.key.clone(),
                path => format!("{path}.{}", entry.key),
            };
            if !entry.value.entries().is_empty() {
                self.values(&entry.value, &path, set_by, parts);
                continue;
            }
            let mut part = self.part("value", &path, entry.value.at);
            if let Some(variable) = set_by.get(&path) {
                part.layer.clone_from(variable);
                part.place = values::SETTINGS.to_string();
            }
            parts.push(part);
        }
    }
}
