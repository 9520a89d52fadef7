//! `lotest bundle`: which layer every part of a bundle comes from.

use super::output::{self, Style};
use super::{Failure, input};
use crate::bundle::origins::{self, Part};

/// Print which layer every template, rule and value comes from
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lotest bundle                            all there is to override
  lotest bundle --layer team --changed     what a layer changes
  METRICS_EXPORTER_IMAGE=x lotest bundle --changed
                                           and what the environment sets
  lotest bundle -o json | jq '.[] | select(.kind == \"rule\").name'")]
pub struct Arguments {
    #[command(flatten)]
    layers: input::Layers,

    /// Only what is not, or not wholly, of the built-in layer
    #[arg(long)]
    changed: bool,

    /// How to print
    #[arg(short, long, value_enum, default_value_t = Style::Text)]
    output: Style,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let layers = arguments.layers.read()?;
    // That it compiles is asked first: parts of what does not are no answer.
    input::load(&layers, &input::settings())?;
    let mut parts = origins::parts(&layers, &input::settings()).map_err(Failure::Problems)?;
    if arguments.changed {
        parts.retain(|p| p.layer != "built-in" || !p.also.is_empty());
    }
    arguments.output.print(&parts, || text(&parts))
}

fn text(parts: &[Part]) -> String {
    if parts.is_empty() {
        return "everything is built-in\n".to_string();
    }
    let rows: Vec<Vec<String>> = parts.iter().map(row).collect();
    output::table(&["KIND", "NAME", "LAYER", "PLACE"], &rows)
}

fn row(part: &Part) -> Vec<String> {
    let mut place = part.place.clone();
    if part.off {
        place.push_str(" (off)");
    }
    let also: Vec<String> = part
        .also
        .iter()
        .map(|(what, at)| format!("{what}: {at}"))
        .collect();
    if !also.is_empty() {
        place.push_str(&format!(" ({})", also.join(", ")));
    }
    vec![
        part.kind.to_string(),
        part.name.clone(),
        part.layer.clone(),
        place,
    ]
}
