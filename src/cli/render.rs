//! `lotest render`: the children of tests, as the operator would make them.

use super::{Failure, input, output};
use crate::api::v2::LocustTest;
use crate::bundle::Bundle;
use crate::bundle::problem::Problem;
use crate::bundle::yaml;
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

    /// How to print
    #[arg(short, long, value_enum, default_value_t = output::Format::Yaml)]
    output: output::Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (bundle, warnings) = input::bundle(&input::settings())?;
    for warning in warnings {
        output::warning(&warning);
    }
    let mut objects = Vec::new();
    for file in &arguments.files {
        for test in tests(file)? {
            let rendered = children(&bundle, &test)?;
            for warning in &rendered.warnings {
                output::warning(&format!("{}: {warning}", file.display()));
            }
            objects.extend(rendered.children.into_iter().map(|c| c.object));
        }
    }
    output::print(&arguments.output.print(&objects)?)
}

/// The tests of a file, each valid and with its defaults.
fn tests(file: &Path) -> Result<Vec<Value>, Failure> {
    let text = input::read(file)?;
    let name = file.display().to_string();
    let mut tests = Vec::new();
    let documents: Vec<Value> = yaml::all_from_str(&name, &text)?;
    for (n, document) in documents.into_iter().enumerate() {
        if document.is_null() {
            continue;
        }
        tests.push(parse(&name, n + 1, document)?);
    }
    if tests.is_empty() {
        return Err(Problem::new(&name, "there is no LocustTest in it").into());
    }
    Ok(tests)
}

/// One document as a test. Mistakes name the document and the field.
pub fn parse(file: &str, document: usize, value: Value) -> Result<Value, Failure> {
    match LocustTest::parse_strict(value) {
        Ok(test) => Ok(test.to_value()),
        Err(mistakes) => Err(Failure::Problems(
            mistakes
                .iter()
                .map(|m| Problem::new(&format!("{file} (document {document})"), m.to_string()))
                .collect(),
        )),
    }
}

pub fn children(bundle: &Bundle, test: &Value) -> Result<render::Rendered, Failure> {
    Ok(render::render(bundle, test)?)
}
