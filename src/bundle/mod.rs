//! The bundle: templates, rules and values of all layers, compiled and checked as
//! one, immutable, with a digest. [`Bundle::load`] takes files from memory and
//! reports every mistake at once.

mod compile;
pub mod filters;
mod interpolations;
pub mod layer;
mod merge;
mod names;
pub mod origins;
pub mod places;
pub mod problem;
pub mod rules;
pub mod schema;
pub mod selector;
pub mod templates;
pub mod tree;
pub mod typed;
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
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use templates::{ChildTemplate, Templates};
use values::Values;

/// What the operator does, ready to run.
#[derive(Debug)]
pub struct Bundle {
    pub(crate) env: Environment<'static>,
    pub(crate) templates: Templates,
    /// The values as templates see them, converted once.
    pub(crate) template_values: minijinja::Value,
    pub rules: Rules,
    pub values: Value,
    digest: String,
}

impl Bundle {
    /// Compiles and checks layers, the lowest first; `settings` are the operator's
    /// environment variables, which set values (see `environment.yaml`).
    pub fn load(
        layers: &[Layer],
        settings: &BTreeMap<String, String>,
    ) -> Result<(Bundle, Vec<String>), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let mut sources = Sources::default();
        for (n, layer) in layers.iter().enumerate() {
            layer.check_names(&mut problems);
            // Two files of one name could not be told apart: each would be below the other.
            if layers[..n].iter().any(|below| below.is_same(layer)) {
                let problem = Problem::new(layer.title(), "the layer is named twice");
                return Err(vec![problem.help("name each directory once")]);
            }
        }
        let values = values::load(layers, settings, &mut sources, &mut problems, &mut warnings);
        // What is wrong with a value is said once, not again where a rule takes it.
        let values_are_fine = problems.is_empty();
        let (env, templates) = templates::compile(layers, &mut problems);
        let merged = merge::merge(layers, &mut sources, &mut problems);
        let known = Known {
            children: templates.children.iter().map(|c| c.stem.as_str()).collect(),
            others: templates.other_stems().collect(),
            values: values.as_ref().filter(|_| values_are_fine),
        };
        let rules = compile::compile(&merged, &known, &sources, &mut problems);
        let Some(values) = values.filter(|_| problems.is_empty()) else {
            problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
            problems.dedup();
            return Err(problems);
        };
        let digest = digest(&templates, &merged, &values);
        let bundle = Bundle {
            env,
            templates,
            template_values: minijinja::Value::from(Serde(&values.value)),
            rules,
            values: values.value,
            digest,
        };
        Ok((bundle, warnings))
    }

    /// Names the content of the bundle: 16 hexadecimal digits of a SHA-256.
    pub fn digest(&self) -> &str {
        &self.digest
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
        while let Some(file) = version {
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
