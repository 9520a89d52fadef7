//! `lotest diff`: what two bundles make of the same tests and timelines.

use super::output::Style;
use super::{Failure, input};
use crate::bundle::{Bundle, Layer, yaml};
use crate::engine::diff::{self, Difference};
use crate::engine::render::text;
use crate::engine::timeline::Timeline;
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// Print how the objects and verdicts of two bundles differ
///
/// Each bundle is the built-in one with the layers named on top. Of a test the objects are compared, of a timeline what
/// the rules conclude over time.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lotest diff --to team test.yaml                          what a layer changes
  lotest diff --from team --to team --to cluster test.yaml what one more layer changes
  lotest diff --from old --to new timeline.yaml            how verdicts change
  kubectl get locusttests -A -o yaml | lotest diff --to team

Exit codes: 0 nothing differs, 1 something does, 2 bad usage or input.")]
pub struct Arguments {
    /// Files with LocustTests (v2) or timelines of golden cases; `-`, the default, is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    files: Vec<PathBuf>,

    /// A layer of the one bundle; repeat it for several, the lowest first. None is the built-in bundle
    #[arg(long, value_name = "DIR")]
    from: Vec<PathBuf>,

    /// A layer of the other bundle
    #[arg(long, value_name = "DIR")]
    to: Vec<PathBuf>,

    /// How to print
    #[arg(short, long, value_enum, default_value_t = Style::Text)]
    output: Style,
}

/// What differs for one input.
#[derive(Debug, Serialize)]
struct Compared {
    /// The test's name, or the file of the timeline.
    of: String,
    differences: Vec<Difference>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (from, from_layers) = bundle(&arguments.from)?;
    let (to, to_layers) = bundle(&arguments.to)?;
    let mut all = Vec::new();
    for file in &arguments.files {
        let name = input::name(file);
        let source = input::read(file)?;
        let documents: Vec<Value> = yaml::all_from_str(&name, &source)?;
        if documents.iter().any(|d| d.get("steps").is_some()) {
            let timeline: Timeline = yaml::from_str(&name, &source)?;
            let difference = diff::of_timeline(&from, &to, &timeline);
            let differences = difference.map_err(|e| e.problem(&name, &source))?;
            let differences = differences.into_iter().collect();
            all.push(Compared {
                of: name,
                differences,
            });
            continue;
        }
        for test in input::tests(&name, &source)? {
            all.push(Compared {
                of: title(&test),
                differences: diff::of_test(&from, &to, &test)?,
            });
        }
    }
    hide_credentials(&mut all)?;
    all.retain(|c| !c.differences.is_empty());
    arguments
        .output
        .print(&all, || shown(&all, &from_layers, &to_layers))?;
    match all.iter().map(|c| c.differences.len()).sum() {
        0 => Ok(()),
        n => Err(Failure::Differs(n)),
    }
}

/// Those of the layers are in files that somebody compares; those of the environment are of whoever runs this.
fn hide_credentials(all: &mut [Compared]) -> Result<(), Failure> {
    let (of_environment, _) = input::load(&[Layer::built_in()], &input::settings())?;
    let differences = all.iter_mut().flat_map(|c| &mut c.differences);
    for Difference { diff, .. } in differences {
        *diff = of_environment.secrets().mask(diff);
    }
    Ok(())
}

fn bundle(directories: &[PathBuf]) -> Result<(Arc<Bundle>, String), Failure> {
    let layers = input::Layers {
        layers: directories.to_vec(),
    };
    let titles: Vec<String> = layers
        .read()?
        .iter()
        .map(|l| Layer::title(l).to_string())
        .collect();
    let title = match titles.as_slice() {
        [only] => only.clone(),
        [_, rest @ ..] => rest.join(" + "),
        [] => String::new(),
    };
    Ok((Arc::new(layers.bundle()?), title))
}

fn title(test: &Value) -> String {
    match text(test, "/metadata/namespace") {
        "" => text(test, "/metadata/name").to_string(),
        namespace => format!("{namespace}/{}", text(test, "/metadata/name")),
    }
}

fn shown(all: &[Compared], from: &str, to: &str) -> String {
    let mut shown = String::new();
    for Compared { of, differences } in all {
        for Difference { what, diff, .. } in differences {
            shown.push_str(&format!(
                "--- {of}: {what} ({from})\n+++ {of}: {what} ({to})\n{diff}"
            ));
        }
    }
    shown
}
