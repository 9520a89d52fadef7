//! `lotest init`: a layer to start from.

use super::output::{Style, Written};
use super::{Failure, golden, schema};
use crate::bundle::{Files, Layer};
use crate::engine::golden::cases;
use std::path::{Path, PathBuf};

/// The files of the example, each with comments.
const FILES: &[(&str, &str)] = &[
    ("values.yaml", include_str!("init/values.yaml")),
    ("rules/signals.yaml", include_str!("init/signals.yaml")),
    (
        "rules/conditions.yaml",
        include_str!("init/conditions.yaml"),
    ),
    (
        "templates/network-policy.yaml",
        include_str!("init/network-policy.yaml"),
    ),
    (
        "golden/render/example/test.yaml",
        include_str!("init/test.yaml"),
    ),
    (
        "golden/timeline/example/timeline.yaml",
        include_str!("init/timeline.yaml"),
    ),
];

/// Where the schemas go that the files name in their first line. Names with a dot are no part of a layer.
const SCHEMAS: &str = ".schemas";

/// Write a layer to start from
///
/// An example of each kind of file, with comments: a value, a changed rule and a new one, a child, two golden cases, and
/// the JSON Schemas that editors take. It passes `lotest check` as it is; keep what you need.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lotest init team
  lotest check --layer team
  lotest bundle --layer team --changed")]
pub struct Arguments {
    /// The directory; it does not exist yet, or is empty
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,

    /// How to print which files were written
    #[arg(short, long, value_enum, default_value_t = Style::Text)]
    output: Style,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let is_empty = std::fs::read_dir(directory).map_or(true, |mut all| all.next().is_none());
    if !is_empty {
        return Err(Failure::Other(format!(
            "{} is not empty",
            directory.display()
        )));
    }
    let mut layer = Layer {
        name: directory.display().to_string(),
        files: Files::new(),
    };
    for (file, text) in FILES {
        layer.files.insert(file.to_string(), text.to_string());
    }
    let layers = [Layer::built_in(), layer.clone()];
    // What the cases give is made here, so that it is never older than the built-in bundle.
    for case in cases(&layer) {
        let outcome = case.run(&layers).map_err(Failure::Problems)?;
        let path = case
            .name
            .strip_prefix(&layer.path(""))
            .unwrap_or(&case.name);
        layer
            .files
            .insert(format!("{path}/{}", outcome.file), outcome.text);
    }
    for (file, text) in &layer.files {
        write(&directory.join(file), text)?;
    }
    let schemas = schema::write(&directory.join(SCHEMAS), &layers)?;
    let schemas = schemas.iter().map(|name| format!("{SCHEMAS}/{name}"));
    let shown = directory.display();
    let written = Written {
        directory: shown.to_string(),
        files: layer.files.keys().cloned().chain(schemas).collect(),
    };
    arguments.output.print(&written, || {
        format!(
            "{shown} has {} files; next: lotest check --layer {shown}\n",
            layer.files.len()
        )
    })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .map_err(|e| Failure::Other(format!("cannot make {}: {e}", parent.display())))?;
    }
    golden::write(path, text)
}
