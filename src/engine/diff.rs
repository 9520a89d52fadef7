//! What two bundles make of the same input: objects of a test, verdicts of a timeline.

use super::golden::forget_digest;
use super::render::{self, Child};
use super::replay::replay;
use super::timeline::{Stopped, Timeline};
use crate::bundle::problem::Problem;
use crate::bundle::{Bundle, yaml};
use serde::Serialize;
use serde_json::{Map, Value};
use similar::TextDiff;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Something that is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// `Job shop/load-master`, `verdicts` or `warnings`.
    pub what: String,
    pub change: Change,
    /// The two as a unified diff.
    pub diff: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    Added,
    Removed,
    Changed,
}

/// How the objects of a test differ, and what is said about it.
pub fn of_test(from: &Bundle, to: &Bundle, test: &Value) -> Result<Vec<Difference>, Box<Problem>> {
    let (from, to) = (render::render(from, test)?, render::render(to, test)?);
    let stems = |children: &[Child]| -> BTreeSet<String> {
        children.iter().map(|c| c.stem.clone()).collect()
    };
    let mut differences = Vec::new();
    for stem in stems(&from.children).union(&stems(&to.children)) {
        let find = |children: &[Child]| children.iter().find(|c| c.stem == *stem).cloned();
        let (from, to) = (find(&from.children), find(&to.children));
        let Some(child) = to.as_ref().or(from.as_ref()) else {
            continue;
        };
        let what = title(&child.object);
        let text = |child: Option<Child>| -> Result<Option<String>, Box<Problem>> {
            child
                .map(|c| yaml::to_string(&sorted(c.object)))
                .transpose()
        };
        differences.extend(difference(what, text(from)?, text(to)?));
    }
    let lines = |warnings: &[String]| -> Option<String> {
        let lines: String = warnings.iter().map(|w| format!("{w}\n")).collect();
        Some(lines).filter(|l| !l.is_empty())
    };
    let what = "warnings".to_string();
    differences.extend(difference(what, lines(&from.warnings), lines(&to.warnings)));
    Ok(differences)
}

/// How the verdicts of a timeline differ.
pub fn of_timeline(
    from: &Arc<Bundle>,
    to: &Arc<Bundle>,
    timeline: &Timeline,
) -> Result<Option<Difference>, Stopped> {
    let text = |bundle| {
        let entries = replay(bundle, timeline)?;
        yaml::to_string(&entries).map_err(|e| Stopped::from(e.to_string()))
    };
    let (from, to) = (text(from)?, text(to)?);
    Ok(difference("verdicts".to_string(), Some(from), Some(to)))
}

fn title(object: &Value) -> String {
    let text = |pointer| render::text(object, pointer);
    let name = text("/metadata/name");
    match text("/metadata/namespace") {
        "" => format!("{} {name}", text("/kind")),
        namespace => format!("{} {namespace}/{name}", text("/kind")),
    }
}

/// With its keys in order, which two templates need not share, and without the digest, which always differs.
fn sorted(mut object: Value) -> Value {
    forget_digest(&mut object);
    in_order(object)
}

fn in_order(value: Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<(String, Value)> = entries.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            let entries = entries.into_iter().map(|(k, v)| (k, in_order(v)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(in_order).collect(),
        other => other,
    }
}

fn difference(what: String, from: Option<String>, to: Option<String>) -> Option<Difference> {
    let change = match (&from, &to) {
        (None, None) => return None,
        (None, Some(_)) => Change::Added,
        (Some(_), None) => Change::Removed,
        (Some(from), Some(to)) if from == to => return None,
        _ => Change::Changed,
    };
    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
    let diff = TextDiff::from_lines(&from, &to);
    let mut unified = diff.unified_diff();
    let diff = unified.context_radius(3).to_string();
    Some(Difference { what, change, diff })
}
