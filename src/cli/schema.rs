//! `lotest schema`: JSON Schemas for editors.

use super::output::{self, Format, Style, Written};
use super::{Failure, golden, input};
use crate::bundle::Layer;
use crate::bundle::schema::{self, ALL};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Print the JSON Schemas of the files of a layer
///
/// Editors take a schema from the first line of a file: `# yaml-language-server: $schema=PATH`. `lotest init` writes
/// such files, and the schemas beside them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lotest schema                                which schemas there are
  lotest schema values > values.schema.json    with the values of the layers: --layer
  lotest schema signals -o yaml                to read it
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

    /// How to print: a schema (default: JSON), which there are, or which files were written (default: text)
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let layers = arguments.layers.read()?;
    if let Some(directory) = &arguments.write {
        let files = write(directory, &layers)?;
        let directory = directory.display().to_string();
        let text = format!("{} schemas are in {directory}\n", files.len());
        return list(arguments.output, &Written { directory, files }, text);
    }
    let schema = match arguments.name.as_deref() {
        None => return list_all(arguments.output),
        Some("rules") => {
            let rules = ALL.iter().filter(|(_, file)| file.starts_with("rules/"));
            let mut all = serde_json::Map::new();
            for (name, file) in rules {
                all.insert(file.to_string(), of(name, &layers)?);
            }
            Value::Object(all)
        }
        Some("golden") => of("timeline", &layers)?,
        Some(name) => of(name, &layers)?,
    };
    let format = arguments.output.unwrap_or(Format::Json);
    output::print(&format.print(&[schema])?)
}

/// Which schemas there are.
fn list_all(output: Option<Format>) -> Result<(), Failure> {
    let row = |(name, file): &(&str, &str)| vec![name.to_string(), file.to_string()];
    let rows: Vec<Vec<String>> = ALL.iter().map(row).collect();
    let named = |(name, file): &(&str, &str)| json!({"name": name, "file": file});
    let all: Vec<Value> = ALL.iter().map(named).collect();
    list(output, &all, output::table(&["NAME", "FILE"], &rows))
}

/// What is no schema: text for a person, unless something else is asked for.
fn list(output: Option<Format>, report: &impl Serialize, text: String) -> Result<(), Failure> {
    let style = output.map_or(Style::Text, Style::from);
    style.print(report, || text)
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

/// Writes every schema as NAME.json; the names of the files.
pub fn write(directory: &Path, layers: &[Layer]) -> Result<Vec<String>, Failure> {
    std::fs::create_dir_all(directory)
        .map_err(|e| Failure::Other(format!("cannot make {}: {e}", directory.display())))?;
    let mut files = Vec::new();
    for (name, _) in ALL {
        let file = format!("{name}.json");
        let schema = Format::Json.print(&[of(name, layers)?])?;
        golden::write(&directory.join(&file), &schema)?;
        files.push(file);
    }
    Ok(files)
}
