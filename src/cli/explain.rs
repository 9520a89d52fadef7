//! `lotest explain`: why a test is in the state it is in.

use super::output::{self, Style};
use super::{Failure, cluster, input};
use crate::bundle::problem::Problem;
use crate::bundle::{Bundle, yaml};
use crate::engine::explain::Trace;
use crate::engine::replay::{self, Moment};
use crate::engine::timeline::Timeline;
use crate::engine::{state, verdict};
use jiff::Timestamp;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// Say why a test is in the state it is in
///
/// For the phase and each condition: the rule that decided (*), the rules that were asked before it, what was found on
/// which pods, and when the rules are asked again. Read from the cluster of the kubeconfig; from a recorded state, which
/// is what `kubectl get -o yaml` prints; or from a timeline of a golden case, of which the last step is explained.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lotest explain my-test -n shop
  kubectl get locusttests,jobs,services,pods,controllerrevisions,events -o yaml | lotest explain
  lotest explain --at 2026-01-01T12:30:00Z state.yaml
  lotest explain golden/timeline/image-pull/timeline.yaml
  lotest explain --over-time golden/timeline/image-pull/timeline.yaml --layer team

Exit codes: 0 explained, 2 bad usage or input.")]
pub struct Arguments {
    /// The name of a test in the cluster, or a file with a recorded state or a timeline. What exists as a file, or is
    /// written like one, is a file, unless a namespace or cluster is named; `-`, the default, is standard input
    #[arg(value_name = "NAME|FILE")]
    what: Option<PathBuf>,

    /// The recorded state or timeline, where NAME could be meant
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "what")]
    filename: Option<PathBuf>,

    #[command(flatten)]
    layers: input::Layers,

    #[command(flatten)]
    cluster: cluster::Options,

    /// The test to explain, when the state has several; all of them by default. Not for timelines
    #[arg(long, value_name = "NAME")]
    test: Option<String>,

    /// The time at which the rules are asked (RFC 3339); now by default. Not for timelines
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    at: Option<Timestamp>,

    /// Of a timeline, print what changes when and which rule decides it
    #[arg(long, conflicts_with = "at")]
    over_time: bool,

    /// How to print
    #[arg(short, long, value_enum, default_value_t = Style::Text)]
    output: Style,
}

/// Where the state comes from.
enum Origin {
    File(PathBuf),
    Cluster(String),
}

impl Arguments {
    fn origin(&self) -> Result<Origin, Failure> {
        if let Some(file) = &self.filename {
            return Ok(Origin::File(file.clone()));
        }
        let what = match &self.what {
            None if self.cluster.are_given() => {
                return Err(Failure::Other("name the test; see --help".to_string()));
            }
            None => return Ok(Origin::File("-".into())),
            Some(what) => what,
        };
        let name = what.to_string_lossy();
        // As kubectl prints it.
        let bare = ["locusttest/", "locusttests/", "locusttest.locust.io/"];
        let bare = bare.iter().find_map(|kind| name.strip_prefix(kind));
        let looks_like_a_file = name == "-"
            || name.contains('/')
            || [".yaml", ".yml", ".json"]
                .iter()
                .any(|end| name.ends_with(end))
            || what.exists();
        Ok(match bare {
            Some(name) => Origin::Cluster(name.to_string()),
            None if self.cluster.are_given() || !looks_like_a_file => Origin::Cluster(name.into()),
            None => Origin::File(what.clone()),
        })
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let origin = arguments.origin()?;
    let bundle = Arc::new(arguments.layers.bundle()?);
    let file = match origin {
        Origin::File(file) => file,
        Origin::Cluster(_) if arguments.over_time => return Err(not_a_timeline(None)),
        Origin::Cluster(name) => {
            let objects = arguments
                .cluster
                .with(async |c| c.state(&name, &bundle).await)?;
            let traces = of_state(&bundle, arguments, objects, &name)?;
            return print(arguments.output, &traces);
        }
    };
    let name = input::name(&file);
    let source = input::read(&file)?;
    let documents: Vec<Value> = yaml::all_from_str(&name, &source)?;
    let is_timeline = documents.iter().any(|d| d.get("steps").is_some());
    if arguments.over_time {
        if !is_timeline {
            return Err(not_a_timeline(Some(&name)));
        }
        return over_time(&bundle, arguments.output, &name, &source);
    }
    if is_timeline && (arguments.at.is_some() || arguments.test.is_some()) {
        let option = match arguments.at {
            Some(_) => "--at",
            None => "--test",
        };
        let problem = Problem::new(&name, format!("{option} is not for timelines"));
        let help = "a timeline is of one test, and its last step is explained; --over-time prints all of it";
        return Err(problem.help(help).into());
    }
    let traces = if is_timeline {
        vec![of_timeline(&bundle, &name, &source)?]
    } else {
        of_state(&bundle, arguments, documents, &name)?
    };
    print(arguments.output, &traces)
}

fn not_a_timeline(name: Option<&str>) -> Failure {
    let problem = Problem::new(name.unwrap_or("the cluster"), "a state is of one time");
    let help = "--over-time is for timelines; `lotest record` makes one of a running test";
    problem.help(help).into()
}

fn over_time(bundle: &Arc<Bundle>, output: Style, name: &str, source: &str) -> Result<(), Failure> {
    let timeline: Timeline = yaml::from_str(name, source)?;
    let moments = replay::over_time(bundle, &timeline).map_err(|e| e.problem(name, source))?;
    output.print(&moments, || table(&moments))
}

/// A line for each change; time and timer stand with the first of their moment.
fn table(moments: &[Moment]) -> String {
    let mut rows = Vec::new();
    for Moment {
        phase,
        entry,
        rules,
    } in moments
    {
        let mut changes: Vec<[String; 2]> = Vec::new();
        for (what, value) in &entry.changes {
            let rule = rules.get(what).cloned().unwrap_or_default();
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_string);
            changes.push([rule, format!("{what}: {value}")]);
        }
        // What rules decide first, then what follows from it.
        changes.sort_by_key(|[rule, what]| (!what.starts_with("phase: "), rule.is_empty()));
        for event in &entry.events {
            changes.push([String::new(), format!("event: {event}")]);
        }
        for action in &entry.actions {
            let (rule, what) = action.split_once(": ").unwrap_or(("", action));
            changes.push([rule.to_string(), format!("action: {what}")]);
        }
        if changes.is_empty() {
            changes.push(["".into(), "nothing changes".into()]);
        }
        for (n, [rule, what]) in changes.into_iter().enumerate() {
            let next = entry.looks_again_at.clone().unwrap_or_default();
            let once = |text: &str| {
                if n == 0 {
                    text.to_string()
                } else {
                    String::new()
                }
            };
            rows.push(vec![once(&entry.at), once(phase), once(&next), rule, what]);
        }
    }
    output::table(&["AT", "PHASE", "NEXT LOOK", "DECIDED BY", "CHANGE"], &rows)
}

fn of_timeline(bundle: &Arc<Bundle>, name: &str, source: &str) -> Result<Trace, Failure> {
    let timeline: Timeline = yaml::from_str(name, source)?;
    replay::explain_end(bundle, &timeline).map_err(|e| e.problem(name, source).into())
}

fn of_state(
    bundle: &Arc<Bundle>,
    arguments: &Arguments,
    documents: Vec<Value>,
    name: &str,
) -> Result<Vec<Trace>, Failure> {
    let at = arguments.at.unwrap_or_else(now);
    let (index, mut keys) = state::load(bundle, documents, at);
    if let Some(wanted) = &arguments.test {
        keys.retain(|key| *key.name == **wanted);
    }
    if keys.is_empty() {
        return Err(nothing(name, arguments.test.as_deref()));
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

fn nothing(name: &str, wanted: Option<&str>) -> Failure {
    let what = wanted.map_or("no LocustTest".to_string(), |name| {
        format!("no LocustTest `{name}`")
    });
    Problem::new(name, format!("there is {what} in it"))
        .help("print the tests with what belongs to them: kubectl get locusttests,jobs,services,pods,controllerrevisions,events -o yaml")
        .into()
}

fn print(output: Style, traces: &[Trace]) -> Result<(), Failure> {
    output.print(&traces, || {
        let all: Vec<String> = traces.iter().map(Trace::to_string).collect();
        all.join("\n")
    })
}
