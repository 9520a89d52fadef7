//! What layers must pass before they are used: they compile, every child renders, and the golden cases of the highest layer
//! give what was reviewed. `lotest check` and the operator ask the same.

use super::golden::{self, Bundles, Case};
use super::render::{Child, at, render};
use crate::api::v2::LocustTest;
use crate::bundle::problem::Problem;
use crate::bundle::{Bundle, Layer, selector, yaml};
use serde_json::Value;
use std::collections::BTreeMap;
use std::thread::{self, available_parallelism};

/// More than these gain little.
const THREADS: usize = 4;

/// A test with what must be said, and one with everything: what a template gets wrong for every test it gets wrong for these.
const PROBES: &[(&str, &str)] = &[
    (
        "the smallest test",
        include_str!("../../golden/render/minimal/test.yaml"),
    ),
    (
        "a test with every field",
        include_str!("../../golden/render/complete-example/test.yaml"),
    ),
];

/// Loads layers and admits them, or says everything that is wrong.
pub fn admit(
    layers: &[Layer],
    settings: &BTreeMap<String, String>,
) -> Result<(Bundle, Vec<String>), Vec<Problem>> {
    let (bundle, warnings) = Bundle::load(layers, settings)?;
    let mut problems = probe(&bundle);
    if problems.is_empty()
        && let Some(top) = layers.last()
    {
        problems.extend(differences(layers, &golden::cases(top)));
    }
    match problems.is_empty() {
        true => Ok((bundle, warnings)),
        false => Err(problems),
    }
}

/// What goes wrong when children of the probes are rendered.
pub fn probe(bundle: &Bundle) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for (title, text) in PROBES {
        let test = yaml::from_str::<Value>(title, text).ok();
        let Some(test) = test.and_then(|t| LocustTest::parse_strict(t).ok()) else {
            continue;
        };
        let found = match render(bundle, &test.to_value()) {
            Err(problem) => vec![*problem],
            Ok(rendered) => unseen_pods(bundle, &rendered.children),
        };
        for problem in found {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    problems
}

/// Children whose pods `podSelector` does not select: the operator would never hear of them.
fn unseen_pods(bundle: &Bundle, children: &[Child]) -> Vec<Problem> {
    let selector = bundle.pod_selector();
    let wanted = selector::parse(selector).unwrap_or_default();
    let mut problems = Vec::new();
    for child in children.iter().filter(|child| child.runs_pods()) {
        let labels = at(&child.object, "/spec/template/metadata/labels");
        let missing = wanted.iter().find(|(key, value)| {
            let label = labels.and_then(|labels| labels.get(*key));
            label.and_then(Value::as_str) != Some(*value)
        });
        let template = bundle.children().iter().find(|c| c.stem == child.stem);
        if let (Some((key, value)), Some(template)) = (missing, template) {
            let message = format!(
                "its pods lack the label `{key}: {value}`: the operator would not see them"
            );
            let help = format!(
                "`podSelector` in values.yaml is `{selector}`; give the pods this label, or select them by another"
            );
            problems.push(Problem::new(&template.file, message).help(help));
        }
    }
    problems
}

/// Golden cases that give something else than was reviewed, or cannot be run. The threads take them in turn, so that the
/// cases with settings of their own, which take longest, are spread over all of them.
fn differences(layers: &[Layer], cases: &[Case]) -> Vec<Problem> {
    let threads = available_parallelism().map_or(1, usize::from);
    let threads = threads.min(THREADS).min(cases.len().max(1));
    let share = |first: usize| {
        let mut bundles = Bundles::new(layers);
        let mine = cases.iter().enumerate().skip(first).step_by(threads);
        let found = mine.map(|(n, case)| match bundles.run(case) {
            Err(found) => (n, found),
            Ok(outcome) => (n, outcome.problem(case).into_iter().collect()),
        });
        found.collect::<Vec<(usize, Vec<Problem>)>>()
    };
    let mut found = thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|first| (first, scope.spawn(move || share(first))))
            .collect();
        let mut found = share(0);
        for (first, other) in others {
            // A thread that broke found nothing out; here it breaks where it is seen.
            found.extend(other.join().unwrap_or_else(|_| share(first)));
        }
        found
    });
    found.sort_by_key(|(n, _)| *n);
    found
        .into_iter()
        .flat_map(|(_, problems)| problems)
        .collect()
}
