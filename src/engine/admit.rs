//! What layers must pass before they are used: they compile, every child renders, and the golden cases of the highest layer
//! give what was reviewed. `lotest check` and the operator ask the same.

use super::golden::{self, Bundles, Case};
use super::render::{Child, at, render};
use super::rule::Target;
use crate::api::v2::LocustTest;
use crate::bundle::problem::{self, Problem};
use crate::bundle::{Bundle, Layer, selector, yaml};
use serde_json::Value;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

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

/// A bundle and what its settings are warned of.
type Admitted = (Bundle, Vec<String>);

/// Loads layers and admits them, or says everything that is wrong.
pub fn admit(
    layers: &[Layer],
    settings: &BTreeMap<String, String>,
) -> Result<Admitted, Vec<Problem>> {
    let name = layers.last().map_or("", |top| top.name.as_str());
    or_problem(name, || judge(layers, settings))
}

/// What somebody wrote may find a mistake of ours. It must not end an operator, and be said like any other.
fn or_problem<T>(
    layer: &str,
    work: impl FnOnce() -> Result<T, Vec<Problem>>,
) -> Result<T, Vec<Problem>> {
    // What was half made is dropped.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
        let message = format!(
            "the layer cannot be checked, lotest itself is wrong: {}",
            said.unwrap_or("it does not say where")
        );
        let help =
            "without the last change it probably can; please report it together with the layer";
        Err(vec![Problem::new(layer, message).help(help)])
    })
}

fn judge(layers: &[Layer], settings: &BTreeMap<String, String>) -> Result<Admitted, Vec<Problem>> {
    let (bundle, warnings) = Bundle::load(layers, settings)?;
    let mut problems = probe(&bundle);
    if problems.is_empty()
        && let Some(top) = layers.last()
    {
        problems.extend(differences(layers, &golden::cases(top)));
    }
    match problems.is_empty() {
        true => Ok((bundle, warnings)),
        false => Err(bundle.secrets().mask_problems(problem::first(problems))),
    }
}

/// What goes wrong when children of the probes are rendered.
pub fn probe(bundle: &Bundle) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for (title, text) in PROBES {
        let test = yaml::from_str::<Value>(title, text).ok();
        let Some(test) = test.and_then(|t| LocustTest::from_value(t).ok()) else {
            continue;
        };
        let found = match render(bundle, &test.to_value()) {
            Err(problem) => vec![*problem],
            Ok(rendered) => unseen_pods(bundle, &rendered.children),
        };
        // A mistake in one place is one, though the name of a test may stand in what is said of it.
        for problem in found {
            let is_same = |other: &Problem| {
                let place = |p: &Problem| (p.file.clone(), p.line, p.column);
                other.line > 0 && place(other) == place(&problem) || *other == problem
            };
            if !problems.iter().any(is_same) {
                problems.push(problem);
            }
        }
    }
    problems
}

/// Children that rules name and whose pods `podSelector` does not select: the operator would never hear of them. Of
/// others, such as a team's own Job, it need not.
fn unseen_pods(bundle: &Bundle, children: &[Child]) -> Vec<Problem> {
    let selector = bundle.pod_selector();
    let wanted = selector::parse(selector).unwrap_or_default();
    let mut problems = Vec::new();
    let named = |child: &&Child| {
        let roles = bundle.rules.signals.iter().flat_map(|s| &s.roles).flatten();
        let targets = bundle.rules.actions.iter().flat_map(|a| match &a.on {
            Target::Children(stems) => stems.as_slice(),
            Target::Test => &[],
        });
        roles.chain(targets).any(|stem| *stem == child.stem)
    };
    let runs_pods = |child: &&Child| child.runs_pods();
    for child in children.iter().filter(runs_pods).filter(named) {
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

/// Golden cases that give something else than was reviewed, or cannot be run.
fn differences(layers: &[Layer], cases: &[Case]) -> Vec<Problem> {
    let mut bundles = Bundles::new(layers);
    let mut problems = Vec::new();
    for case in cases {
        match bundles.run(case) {
            Err(found) => problems.extend(found),
            Ok(outcome) => problems.extend(outcome.problem(case)),
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_of_ours_is_a_problem_of_the_layer() {
        let problems = or_problem("/layers/team", || -> Result<(), Vec<Problem>> {
            panic!("it breaks in line {}", 3)
        });
        let problem = &problems.unwrap_err()[0];
        assert_eq!(problem.file, "/layers/team");
        assert!(
            problem.message.ends_with("is wrong: it breaks in line 3"),
            "{problem}"
        );
        assert_eq!(or_problem("", || Ok(1)), Ok(1));
    }
}
