//! `lotest explain`: why a test is in the state it is in.

use super::{Failure, input, output};
use crate::bundle::problem::Problem;
use crate::bundle::{Bundle, yaml};
use crate::engine::explain::Trace;
use crate::engine::replay;
use crate::engine::timeline::Timeline;
use crate::engine::{state, verdict};
use jiff::Timestamp;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Say why a test is in the state it is in
///
/// For the phase and each condition: the rule that decided (*), the rules that were asked before it, what was found on
/// which pods, and when the rules are asked again. Read from a recorded state, which is what `kubectl get -o yaml`
/// prints, or from a timeline of a golden case, of which the last step is explained.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  kubectl get locusttests,jobs,services,pods,controllerrevisions,events -o yaml | lotest explain
  lotest explain --at 2026-01-01T12:30:00Z state.yaml
  lotest explain golden/timeline/image-pull/timeline.yaml

Exit codes: 0 explained, 2 bad usage or input.")]
pub struct Arguments {
    /// The recorded state or timeline; `-`, the default, is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,

    #[command(flatten)]
    layers: input::Layers,

    /// The test to explain, when the state has several; all of them by default
    #[arg(long, value_name = "NAME")]
    test: Option<String>,

    /// The time at which the rules are asked (RFC 3339); now by default. Not for timelines
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,

    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For a person
    Text,
    Yaml,
    Json,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let bundle = Arc::new(arguments.layers.bundle()?);
    let name = input::name(&arguments.file);
    let source = input::read(&arguments.file)?;
    let documents: Vec<Value> = yaml::all_from_str(&name, &source)?;
    let is_timeline = documents.iter().any(|d| d.get("steps").is_some());
    let traces = if is_timeline {
        vec![of_timeline(&bundle, &name, &source)?]
    } else {
        of_state(&bundle, arguments, documents)?
    };
    print(arguments.output, &traces)
}

fn of_timeline(bundle: &Arc<Bundle>, name: &str, source: &str) -> Result<Trace, Failure> {
    let timeline: Timeline = yaml::from_str(name, source)?;
    replay::explain_end(bundle, &timeline).map_err(|e| Problem::new(name, e).into())
}

fn of_state(
    bundle: &Arc<Bundle>,
    arguments: &Arguments,
    documents: Vec<Value>,
) -> Result<Vec<Trace>, Failure> {
    let at = arguments.at.unwrap_or_else(now);
    let (index, mut keys) = state::load(bundle, documents, at);
    if let Some(wanted) = &arguments.test {
        keys.retain(|key| key.name == *wanted);
    }
    if keys.is_empty() {
        return Err(nothing(&arguments.file, arguments.test.as_deref()));
    }
    let tests = keys.iter().filter_map(|key| index.get(key));
    Ok(tests
        .map(|test| verdict::explain(bundle, test, at).1)
        .collect())
}

/// In whole seconds: more is noise to a reader.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn nothing(file: &Path, wanted: Option<&str>) -> Failure {
    let what = wanted.map_or("no LocustTest".to_string(), |name| {
        format!("no LocustTest `{name}`")
    });
    Problem::new(&input::name(file), format!("there is {what} in it"))
        .help("print the tests with what belongs to them: kubectl get locusttests,jobs,services,pods,controllerrevisions,events -o yaml")
        .into()
}

fn print(format: Format, traces: &[Trace]) -> Result<(), Failure> {
    let text = match format {
        Format::Text => {
            let all: Vec<String> = traces.iter().map(Trace::to_string).collect();
            output::highlight(&all.join("\n"))
        }
        Format::Yaml => yaml::to_string(&traces)?,
        Format::Json => {
            let json = serde_json::to_string_pretty(traces);
            let json =
                json.map_err(|e| Failure::Other(format!("cannot be written as JSON: {e}")))?;
            output::visible(&json) + "\n"
        }
    };
    output::print(&text)
}
