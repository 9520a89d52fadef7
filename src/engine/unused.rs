//! What of a bundle does nothing, or hides what it was made from: no mistakes, but seldom meant.

use super::path::{Path, Scope};
use super::reads;
use super::rule::{Case, Origin, Severity, Signal};
use super::text::Text;
use crate::bundle::{Bundle, Layer};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Something to have a look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `path:line`, or the path of a file or a layer.
    pub place: String,
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// All findings about the bundle of some layers.
pub fn findings(
    layers: &[Layer],
    bundle: &Bundle,
    settings: &BTreeMap<String, String>,
) -> Vec<Finding> {
    let mut findings = idle_layers(layers, settings);
    shadowed_templates(layers, bundle, &mut findings);
    unread_signals(bundle, &mut findings);
    for condition in &bundle.rules.conditions {
        unreachable(&condition.cases, &mut findings);
    }
    findings
}

/// Layers that leave the bundle as it is without them.
fn idle_layers(layers: &[Layer], settings: &BTreeMap<String, String>) -> Vec<Finding> {
    let digest = |layers: &[Layer]| {
        let bundle = Bundle::load(layers, settings).ok();
        bundle.map(|(bundle, _)| bundle.digest().to_string())
    };
    let mut findings = Vec::new();
    let mut below = digest(layers.get(..1).unwrap_or_default());
    for (n, layer) in layers.iter().enumerate().skip(1) {
        let with = digest(&layers[..=n]);
        // What these two say shows only once somebody sets a value.
        let about_values = ["types.yaml", "environment.yaml"];
        let says_more = about_values.iter().any(|f| layer.files.contains_key(*f));
        if with.is_some() && with == below && !says_more {
            findings.push(Finding {
                place: layer.title().to_string(),
                message: "the layer changes nothing".to_string(),
            });
        }
        below = with;
    }
    findings
}

/// Templates that hide one of a layer below whole.
fn shadowed_templates(layers: &[Layer], bundle: &Bundle, findings: &mut Vec<Finding>) {
    let versions = &bundle.templates.versions;
    for (name, file) in versions.all() {
        let mut file = file;
        while let Some(below) = versions.below(file) {
            let source = bundle.templates.files.get(file);
            let takes_it = source.is_some_and(|s| {
                let quoted = [format!("\"{name}\""), format!("'{name}'")];
                quoted.iter().any(|q| s.contains(q.as_str()))
            });
            if !takes_it {
                let owner = layers.iter().find(|l| l.path(name) == below);
                let owner = owner.map_or("another layer", Layer::title);
                findings.push(Finding {
                    place: file.to_string(),
                    message: format!(
                        "it replaces the whole template ({owner}), so changes there are not taken; to change a part, begin with {{% extends \"{name}\" %}}"
                    ),
                });
                break;
            }
            file = below;
        }
    }
}

/// Evidence that no rule asks for.
fn unread_signals(bundle: &Bundle, findings: &mut Vec<Finding>) {
    let paths = reads::of_tests(&bundle.rules);
    let stems: Vec<&str> = bundle.children().iter().map(|c| c.stem.as_str()).collect();
    for signal in &bundle.rules.signals {
        if signal.severity == Severity::Info && !paths.iter().any(|p| reads(p, signal, &stems)) {
            let message = "no rule reads it: a signal of severity `info` is for `evidence` or `signals` of other rules";
            findings.push(finding(&signal.guard.origin, message.to_string()));
        }
    }
}

/// Whether a path may select the signal. What cannot be told from how the path is written counts as read.
fn reads(path: &Path, signal: &Signal, stems: &[&str]) -> bool {
    let written = path.as_str();
    let names = |name: &str| {
        ["'", "\""]
            .iter()
            .any(|q| written.contains(&format!("{q}{name}{q}")))
    };
    match path.root() {
        "evidence" => {
            let named: Vec<&&str> = stems.iter().filter(|stem| names(stem)).collect();
            let concerns = |stem: &&&str| match &signal.roles {
                Some(roles) => roles.iter().any(|role| role == **stem),
                None => true,
            };
            named.is_empty() || named.iter().any(concerns)
        }
        "signals" if written.contains("@.id ==") => names(&signal.guard.origin.id),
        "signals" if written.contains("@.reason ==") => match literal(&signal.reason) {
            Some(reason) => names(&reason),
            None => true,
        },
        root => root == "signals",
    }
}

struct Nothing;

impl Scope for Nothing {
    fn root(&self, _: &str) -> Option<&Value> {
        None
    }
}

/// A text without interpolation.
fn literal(text: &Text) -> Option<String> {
    let is_literal = text.paths().next().is_none();
    is_literal.then(|| text.render(&Nothing))
}

/// Cases behind one that always holds.
fn unreachable(cases: &[Case], findings: &mut Vec<Finding>) {
    let always = |case: &Case| {
        case.guard.when.is_none() && case.guard.lasting.is_zero() && case.guard.since.is_none()
    };
    let Some(first) = cases.iter().position(always) else {
        return;
    };
    for case in &cases[first + 1..] {
        let message = format!(
            "case `{}` is never reached: `{}` above it has no `when` and always holds",
            case.guard.origin.id, cases[first].guard.origin.id
        );
        findings.push(Finding {
            place: place(&case.guard.origin),
            message,
        });
    }
}

fn finding(origin: &Origin, message: String) -> Finding {
    Finding {
        place: place(origin),
        message: format!("`{}`: {message}", origin.id),
    }
}

fn place(origin: &Origin) -> String {
    format!("{}:{}", origin.file, origin.line)
}
