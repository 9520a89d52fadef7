//! `lotest render`: the children of tests, as the operator would make them.

use super::{Failure, input, output};
use crate::engine::{admission, render};
use std::path::PathBuf;

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
        for test in input::tests(&input::name(file), &input::read(file)?)? {
            let rendered = render::render(&bundle, &test)?;
            let warned = admission::besides(&rendered.warnings, &bundle, &test);
            for warning in rendered.warnings.iter().chain(&warned) {
                output::warning(&format!("{}: {warning}", input::name(file)));
            }
            objects.extend(rendered.children.into_iter().map(|c| c.object));
        }
    }
    output::print(&arguments.output.print(&objects)?)
}
