//! The bundle: templates, rules and values, compiled and checked as one,
//! immutable, with a digest. [`Bundle::load`] takes files from memory and
//! reports every mistake at once.

mod compile;
pub mod filters;
mod names;
pub mod places;
pub mod problem;
pub mod rules;
pub mod templates;
pub mod values;
pub mod yaml;

use crate::engine::rule::Rules;
use include_dir::{Dir, include_dir};
use minijinja::Environment;
use minijinja::value::Serde;
use problem::Problem;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use templates::ChildTemplate;

/// The files of a layer by path, such as `templates/service.yaml`.
pub type Files = BTreeMap<String, String>;

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");
static RULES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/rules");
const VALUES: &str = include_str!("../../values.yaml");
const ENVIRONMENT: &str = include_str!("../../environment.yaml");

/// The layer that the binary carries.
pub fn embedded() -> Files {
    let mut files = Files::new();
    for (folder, dir) in [("templates", &TEMPLATES), ("rules", &RULES)] {
        for file in dir.files() {
            if let (Some(name), Some(text)) = (
                file.path().file_name().and_then(|n| n.to_str()),
                file.contents_utf8(),
            ) {
                files.insert(format!("{folder}/{name}"), text.to_string());
            }
        }
    }
    files.insert("values.yaml".into(), VALUES.into());
    files.insert("environment.yaml".into(), ENVIRONMENT.into());
    files
}

/// What the operator does, ready to run.
#[derive(Debug)]
pub struct Bundle {
    pub(crate) env: Environment<'static>,
    pub(crate) children: Vec<ChildTemplate>,
    pub(crate) template_files: Files,
    /// The values as templates see them, converted once.
    pub(crate) template_values: minijinja::Value,
    pub rules: Rules,
    pub values: Value,
    digest: String,
}

impl Bundle {
    /// Compiles and checks the files of a layer; `settings` are the operator's
    /// environment variables, which set values (see `environment.yaml`).
    pub fn load(
        files: &Files,
        settings: &BTreeMap<String, String>,
    ) -> Result<(Bundle, Vec<String>), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let values = values::load(files, settings, &mut problems, &mut warnings);
        let template_files = within(files, "templates/");
        let (env, children) = templates::compile(&template_files, &mut problems);
        let stems: Vec<String> = children.iter().map(|c| c.stem.clone()).collect();
        let rules = compile::compile(
            &within(files, "rules/"),
            &stems,
            values.as_ref(),
            &mut problems,
        );
        for file in files.keys() {
            let known = file.starts_with("templates/")
                || file.starts_with("rules/")
                || ["values.yaml", "environment.yaml"].contains(&file.as_str());
            if !known {
                problems.push(Problem::new(file, "not a file of a bundle").help(
                    "a bundle has templates/*.yaml, rules/*.yaml, values.yaml and environment.yaml",
                ));
            }
        }
        let Some(values) = values.filter(|_| problems.is_empty()) else {
            problems.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
            return Err(problems);
        };
        let digest = digest(files, &values);
        let bundle = Bundle {
            env,
            children,
            template_files,
            template_values: minijinja::Value::from(Serde(&values)),
            rules,
            values,
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
        &self.children
    }

    /// The label selector of the pods that children of this bundle make.
    pub fn pod_selector(&self) -> &str {
        self.values
            .get("podSelector")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

fn within(files: &Files, folder: &str) -> Files {
    files
        .iter()
        .filter(|(file, _)| file.starts_with(folder))
        .map(|(file, text)| (file.clone(), text.clone()))
        .collect()
}

fn digest(files: &Files, values: &Value) -> String {
    let mut hash = Sha256::new();
    for (file, text) in files {
        hash.update((file.len() as u64).to_le_bytes());
        hash.update(file);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.update(values.to_string());
    format!("{:x}", hash.finalize())[..16].to_string()
}
