//! What layers must pass before they are used: they compile, every child renders, and the golden cases of the highest layer
//! give what was reviewed. `lotest check` and the operator ask the same.

use super::golden::{self, Bundles, Case};
use super::render::render;
use crate::api::v2::LocustTest;
use crate::bundle::problem::Problem;
use crate::bundle::{Bundle, Layer, yaml};
use serde_json::Value;
use std::collections::BTreeMap;

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
        if let Err(problem) = render(bundle, &test.to_value())
            && !problems.contains(&*problem)
        {
            problems.push(*problem);
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
