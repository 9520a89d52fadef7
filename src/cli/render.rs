//! `lotest render`: the children of tests, as the operator would make them.

use super::{Failure, input, output};
use crate::api::v2::LocustTest;
use crate::bundle::problem::Problem;
use crate::bundle::{places, yaml};
use crate::engine::render;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Print the objects that tests are made of
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lotest render test.yaml
  kubectl get locusttest my-test -o yaml | lotest render
  lotest render test.yaml | kubectl diff -f -
  POD_CPU_REQUEST=1 lotest render -o json test.yaml

The settings are the environment variables that environment.yaml names, as for the operator.")]
pub struct Arguments {
    /// Files with LocustTests (v2), one or more documents each; `-`, the default, is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    files: Vec<PathBuf>,

    #[command(flatten)]
    layers: input::Layers,

    /// How to print
    #[arg(short, long, value_enum, default_value_t = output::Format::Yaml)]
    output: output::Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let bundle = arguments.layers.bundle()?;
    let mut objects = Vec::new();
    for file in &arguments.files {
        for test in tests(file)? {
            let rendered = render::render(&bundle, &test)?;
            for warning in &rendered.warnings {
                output::warning(&format!("{}: {warning}", input::name(file)));
            }
            objects.extend(rendered.children.into_iter().map(|c| c.object));
        }
    }
    output::print(&arguments.output.print(&objects)?)
}

/// The tests of a file, each valid and with its defaults.
fn tests(file: &Path) -> Result<Vec<Value>, Failure> {
    let text = input::read(file)?;
    let name = input::name(file);
    let mut tests = Vec::new();
    let documents: Vec<Value> = yaml::all_from_str(&name, &text)?;
    let mut problems = Vec::new();
    for (n, document) in documents.into_iter().enumerate() {
        for (path, object) in items(document) {
            match LocustTest::parse_strict(object) {
                Ok(test) => tests.push(test.to_value()),
                Err(mut mistakes) => {
                    for mistake in &mut mistakes {
                        mistake.path.insert_str(0, &path);
                    }
                    problems.extend(places::problems(&name, &text, n, &mistakes));
                }
            }
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Problems(problems));
    }
    if tests.is_empty() {
        return Err(Problem::new(&name, "there is no LocustTest in it").into());
    }
    Ok(tests)
}

/// The objects of a document, each with its path: one, or those of a List as `kubectl get` prints it.
fn items(mut document: Value) -> Vec<(String, Value)> {
    if document.is_null() {
        return Vec::new();
    }
    let is_list = document.get("kind").is_some_and(|kind| kind == "List");
    match document.get_mut("items").map(Value::as_array_mut) {
        Some(Some(items)) if is_list => {
            let item = |(n, item): (usize, &mut Value)| (format!("items[{n}]."), item.take());
            items.iter_mut().enumerate().map(item).collect()
        }
        _ => vec![(String::new(), document)],
    }
}
