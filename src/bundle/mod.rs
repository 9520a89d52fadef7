//! The bundle: templates, rules and values of all layers, compiled and checked as
//! one, immutable, with a digest. [`Bundle::load`] takes files from memory and
//! reports every mistake at once.

mod blocks;
mod compile;
pub mod durations;
pub mod filters;
mod interpolations;
pub mod layer;
mod lines;
mod merge;
mod names;
pub mod origins;
pub mod places;
pub mod problem;
pub mod rules;
pub mod schema;
mod secrets;
pub mod selector;
pub mod templates;
pub mod tree;
pub mod typed;
mod types;
pub mod values;
pub mod yaml;

use crate::engine::rule::Rules;
use compile::Known;
use layer::Sources;
pub use layer::{Files, Layer};
use merge::Merged;
use minijinja::Environment;
use minijinja::value::Serde;
use problem::Problem;
pub use secrets::Secrets;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use templates::{ChildTemplate, Templates};
use values::Values;

/// What the operator does, ready to run.
#[derive(Debug)]
pub struct Bundle {
    pub(crate) env: Environment<'static>,
    pub templates: Arc<Templates>,
    /// The values as templates see them, converted once.
    pub(crate) template_values: minijinja::Value,
    pub rules: Rules,
    pub values: Value,
    secrets: Secrets,
    digest: String,
}

/// What of a bundle does not depend on its values: many bundles that differ in those alone share it.
#[derive(Debug, Default)]
pub struct Draft {
    env: Environment<'static>,
    templates: Arc<Templates>,
    merged: Merged,
    sources: Sources,
    problems: Vec<Problem>,
}

impl Draft {
    /// Compiles the templates of layers and joins their rules.
    pub fn new(layers: &[Layer]) -> Draft {
        let mut problems = Vec::new();
        let mut sources = Sources::default();
        for (number, layer) in layers.iter().enumerate() {
            layer.check_names(number, &mut problems);
            // Two files of one name could not be told apart: each would be below the other.
            if layers[..number].iter().any(|below| below.is_same(layer)) {
                let problem = Problem::new(layer.title(), "the layer is named twice");
                return Draft {
                    problems: vec![problem.help("name each directory once")],
                    ..Draft::default()
                };
            }
        }
        let (env, templates) = templates::compile(layers, &mut problems);
        let merged = merge::merge(layers, &mut sources, &mut problems);
        Draft {
            env,
            templates: Arc::new(templates),
            merged,
            sources,
            problems,
        }
    }

    /// The bundle with the values of `layers`: those that this was made of, and any with values alone on top of them.
    pub fn bundle(
        &self,
        layers: &[Layer],
        settings: &BTreeMap<String, String>,
    ) -> Result<(Bundle, Vec<String>), Vec<Problem>> {
        let Draft {
            templates, merged, ..
        } = self;
        let mut warnings = Vec::new();
        let mut sources = self.sources.clone();
        let mut problems = Vec::new();
        let values = values::load(layers, settings, &mut sources, &mut problems, &mut warnings);
        // What is wrong with a value is said once, not again where a rule takes it.
        let values_are_fine = problems.is_empty();
        problems.extend(self.problems.iter().cloned());
        let known = Known {
            children: templates.children.iter().map(|c| c.stem.as_str()).collect(),
            others: templates.other_stems().collect(),
            templates: &templates.children,
            values: values.as_ref().filter(|_| values_are_fine),
        };
        let rules = compile::compile(merged, &known, &sources, &mut problems);
        let Some(values) = values.filter(|_| problems.is_empty()) else {
            problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
            problems.dedup();
            return Err(sources.secrets.mask_problems(problem::first(problems)));
        };
        let digest = digest(templates, merged, &values);
        let bundle = Bundle {
            env: self.env.clone(),
            templates: Arc::clone(templates),
            template_values: minijinja::Value::from(Serde(&values.value)),
            rules,
            values: values.value,
            secrets: sources.secrets,
            digest,
        };
        Ok((bundle, warnings))
    }
}

impl Bundle {
    /// Compiles and checks layers, the lowest first; `settings` are the operator's
    /// environment variables, which set values (see `environment.yaml`).
    pub fn load(
        layers: &[Layer],
        settings: &BTreeMap<String, String>,
    ) -> Result<(Bundle, Vec<String>), Vec<Problem>> {
        Draft::new(layers).bundle(layers, settings)
    }

    /// Names the content of the bundle: 16 hexadecimal digits of a SHA-256.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The credentials among its values, which nobody is shown.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The templates that make children.
    pub fn children(&self) -> &[ChildTemplate] {
        &self.templates.children
    }

    /// The label selector of the pods that children of this bundle make.
    pub fn pod_selector(&self) -> &str {
        self.values
            .get("podSelector")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// Of what counts alone: a layer that says the same again changes nothing.
fn digest(templates: &Templates, merged: &Merged, values: &Values) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    for (name, file) in templates.versions.all() {
        add(name);
        let mut version = Some(file);
        // A file has at most as many versions as there are files.
        for _ in &templates.files {
            let Some(file) = version else { break };
            add(templates.files.get(file).map_or("", String::as_str));
            version = templates.versions.below(file);
        }
    }
    for file in merge::RULE_FILES {
        add(&merged
            .get(file)
            .map_or(Value::Null, |d| d.to_value())
            .to_string());
    }
    add(&values.value.to_string());
    format!("{:x}", hash.finalize())[..16].to_string()
}
