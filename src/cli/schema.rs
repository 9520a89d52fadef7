//! `lotest schema`: JSON Schemas for editors.

use super::{Failure, golden, input, output};
use crate::bundle::Layer;
use crate::bundle::schema::{self, ALL};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Print the JSON Schemas of the files of a layer
///
/// Editors take a schema from the first line of a file: `# yaml-language-server: $schema=PATH`. `lotest init` writes
/// such files, and the schemas beside them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lotest schema                                which schemas there are
  lotest schema values > values.schema.json    with the values of the layers: --layer
  lotest schema --write team/.schemas          all of them, as one file each

The line for an editor, in team/rules/signals.yaml:
  # yaml-language-server: $schema=../.schemas/signals.json")]
pub struct Arguments {
    /// Which one: `values`, `golden` (the timelines of golden cases), `rules` (all rule files, by name), or one of those
    /// that are listed when this is left out
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Write all of them into a directory
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "name")]
    write: Option<PathBuf>,

    #[command(flatten)]
    layers: input::Layers,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let layers = arguments.layers.read()?;
    if let Some(directory) = &arguments.write {
        write(directory, &layers)?;
        return output::print(&format!(
            "{} schemas are in {}\n",
            ALL.len(),
            directory.display()
        ));
    }
    match arguments.name.as_deref() {
        None => {
            let rows: Vec<Vec<String>> = ALL
                .iter()
                .map(|(name, file)| vec![name.to_string(), file.to_string()])
                .collect();
            output::print(&output::table(&["NAME", "FILE"], &rows))
        }
        Some("rules") => {
            let rules = ALL.iter().filter(|(_, file)| file.starts_with("rules/"));
            let mut all = serde_json::Map::new();
            for (name, file) in rules {
                all.insert(file.to_string(), of(name, &layers)?);
            }
            output::print(&text(&Value::Object(all))?)
        }
        Some("golden") => output::print(&text(&of("timeline", &layers)?)?),
        Some(name) => output::print(&text(&of(name, &layers)?)?),
    }
}

fn of(name: &str, layers: &[Layer]) -> Result<Value, Failure> {
    let schema = schema::of(name, layers).map_err(Failure::Problems)?;
    schema.ok_or_else(|| {
        let all: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
        Failure::Other(format!(
            "there is no schema `{name}`; there are {}, rules and golden",
            all.join(", ")
        ))
    })
}

fn text(schema: &Value) -> Result<String, Failure> {
    let json = serde_json::to_string_pretty(schema);
    json.map(|j| j + "\n")
        .map_err(|e| Failure::Other(format!("cannot be written as JSON: {e}")))
}

/// Writes every schema as NAME.json.
pub fn write(directory: &Path, layers: &[Layer]) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)
        .map_err(|e| Failure::Other(format!("cannot make {}: {e}", directory.display())))?;
    for (name, _) in ALL {
        let schema = text(&of(name, layers)?)?;
        golden::write(&directory.join(format!("{name}.json")), &schema)?;
    }
    Ok(())
}
