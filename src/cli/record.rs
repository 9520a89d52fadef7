//! `lotest record`: makes a golden case of a test.

use super::cluster::{self, Change, Cluster};
use super::output::{self, Style, Written};
use super::{Failure, golden, input};
use crate::bundle::{Bundle, Files, Layer, yaml};
use crate::engine::golden::Case;
use crate::engine::record::{self, Recorder};
use crate::engine::render::text;
use crate::engine::replay;
use crate::engine::state;
use crate::engine::timeline::Timeline;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What is left to see of a test that has ended is waited for no longer than this.
const LINGER: Duration = Duration::from_secs(30);

/// The last change to a test that is done has been seen when none came for so long: the operator writes a status at most
/// once a second.
const SETTLE: Duration = Duration::from_secs(3);

/// What two clocks may differ by before it is said that something was missed.
const LATE: SignedDuration = SignedDuration::from_secs(5);

/// Make a golden case of a test
///
/// Of a file or of a test in the cluster as it is: test.yaml and children.yaml. With --until-done or --for the test is
/// watched, which may be made only after the command was started: timeline.yaml is what happens to it, its children and
/// its pods and what events say about them, verdicts.yaml what the rules conclude. Of objects that is recorded which
/// rules read. Ctrl-C ends a recording early. What was watched and cannot be written to the directory is kept in a temporary
/// file, or else printed.
#[derive(Debug, clap::Args)]
#[command(allow_missing_positional = true)]
#[command(after_help = "Examples:
  lotest record -f test.yaml golden/render/my-case
  lotest record my-test -n shop golden/render/my-case
  lotest record my-test -n shop --until-done team/golden/timeline/my-case --layer team
  lotest record my-test -n shop --for 10m golden/timeline/my-case
  lotest explain --over-time golden/timeline/my-case/timeline.yaml

Exit codes: 0 written, 2 bad usage or input.")]
pub struct Arguments {
    /// The name of a test in the cluster, unless there is --filename
    #[arg(value_name = "NAME", conflicts_with = "filename")]
    name: Option<String>,

    /// The directory of the case
    #[arg(value_name = "DIRECTORY", required = true)]
    directory: String,

    /// A file with a LocustTest (v2); `-` is standard input
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with_all = ["until_done", "lasting"])]
    filename: Option<PathBuf>,

    #[command(flatten)]
    cluster: cluster::Options,

    #[command(flatten)]
    layers: input::Layers,

    /// Watch the test until it has ended and its pods have
    #[arg(long)]
    until_done: bool,

    /// Watch the test for so long, such as `90s` or `10m`
    #[arg(long = "for", value_name = "DURATION", value_parser = input::duration, conflicts_with = "until_done")]
    lasting: Option<SignedDuration>,

    /// Write over a case that is there
    #[arg(long)]
    force: bool,

    /// How to print which files were written
    #[arg(short, long, value_enum, default_value_t = Style::Text)]
    output: Style,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let layers = arguments.layers.read()?;
    let directory = &arguments.directory;
    match (&arguments.filename, &arguments.name) {
        (Some(file), _) => {
            let name = input::name(file);
            let source = input::read(file)?;
            let tests = input::tests(&name, &source)?;
            let [test] = tests.as_slice() else {
                let message = format!(
                    "there are {} LocustTests in {name}; a case is of one",
                    tests.len()
                );
                return Err(Failure::Other(message));
            };
            // As it is written there: what is left out for a default is left out in the case.
            let documents: Vec<Value> = yaml::all_from_str(&name, &source)?;
            let mut written = state::flattened(documents).into_iter();
            let test = written
                .find(|d| text(d, "/kind") == "LocustTest")
                .unwrap_or_else(|| test.clone());
            write_children(arguments, &layers, directory, &test)
        }
        (None, Some(name)) => {
            if arguments.until_done || arguments.lasting.is_some() {
                return watch(arguments, &layers, name, directory);
            }
            let test = arguments.cluster.with(async |c| c.test(name).await)?;
            write_children(arguments, &layers, directory, &test)
        }
        (None, None) => Err(Failure::Other(
            "name the test and the directory of the case, or a file with --filename; see --help"
                .to_string(),
        )),
    }
}

fn write_children(
    arguments: &Arguments,
    layers: &[Layer],
    directory: &str,
    test: &Value,
) -> Result<(), Failure> {
    let source = yaml::to_string(&record::as_written(test))?;
    write(arguments, layers, directory, "test.yaml", source)
}

/// What a case is made of.
const FILES: [&str; 4] = [
    "test.yaml",
    "children.yaml",
    "timeline.yaml",
    "verdicts.yaml",
];

/// Makes the directory of a case, unless there is one already or it cannot be written to.
fn prepare(arguments: &Arguments, directory: &Path) -> Result<(), Failure> {
    let there = FILES.iter().find(|f| directory.join(f).exists());
    if let Some(there) = there.filter(|_| !arguments.force) {
        return Err(Failure::Other(format!(
            "there is a case already ({}); --force writes over it",
            directory.join(there).display()
        )));
    }
    std::fs::create_dir_all(directory)
        .map_err(|e| Failure::Other(format!("cannot make {}: {e}", directory.display())))?;
    let probe = directory.join(".lotest-record");
    std::fs::write(&probe, "")
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|e| Failure::Other(format!("cannot write to {}: {e}", directory.display())))
}

/// Writes the input of a case, and beside it what the case gives.
fn write(
    arguments: &Arguments,
    layers: &[Layer],
    directory: &str,
    file: &str,
    source: String,
) -> Result<(), Failure> {
    let case = Case {
        name: directory.trim_end_matches('/').to_string(),
        files: Files::from([(file.to_string(), source.clone())]),
    };
    let outcome = case.run(layers).map_err(Failure::Problems)?;
    let directory = Path::new(directory);
    prepare(arguments, directory)?;
    golden::write(&directory.join(file), &source)?;
    golden::write(&directory.join(outcome.file), &outcome.text)?;
    for other in FILES.iter().filter(|o| ![file, outcome.file].contains(o)) {
        // What is left of a case of the other kind would be a mistake in this one.
        let _ = std::fs::remove_file(directory.join(other));
    }
    let written = Written {
        directory: directory.display().to_string(),
        files: vec![file.to_string(), outcome.file.to_string()],
    };
    arguments.output.print(&written, || {
        format!(
            "{} and {} are written; review them\n",
            directory.join(file).display(),
            directory.join(outcome.file).display()
        )
    })
}

fn watch(
    arguments: &Arguments,
    layers: &[Layer],
    name: &str,
    directory: &str,
) -> Result<(), Failure> {
    // What was watched cannot be watched again.
    prepare(arguments, Path::new(directory))?;
    let bundle = Arc::new(arguments.layers.bundle()?);
    let recorded = arguments.cluster.with(async |cluster| {
        let version = cluster.version().await?;
        let mut recording = Recording {
            bundle: &bundle,
            recorder: None,
            early: Vec::new(),
            test: Value::Null,
            gone: false,
        };
        let end = recording.run(cluster, name, arguments.lasting).await;
        if let Err(failure) = end {
            if recording.recorder.is_none() {
                return Err(failure);
            }
            output::error(&failure.to_string());
            output::warning("what was seen until now is kept");
        }
        Ok((version, recording.recorder, recording.test))
    })?;
    let (version, Some(mut recorder), test) = recorded else {
        // Only one that is empty is removed.
        let _ = std::fs::remove_dir(directory);
        return Err(Failure::Other(format!("no LocustTest `{name}` was seen")));
    };
    recorder.end(record::occurred(Timestamp::now(), None));
    let timeline = recorder.timeline()?;
    let (steps, lasted) = recorder.extent();
    let source =
        format!("# Recorded on Kubernetes {version}: {steps} steps in {lasted:#}.\n{timeline}");
    if let Err(failure) = write(
        arguments,
        layers,
        directory,
        "timeline.yaml",
        source.clone(),
    ) {
        output::error(&failure.to_string());
        return keep(name, directory, &source);
    }
    compare(&bundle, directory, &timeline, &test)
}

/// What was watched cannot be watched again: wherever there is a place for it, it is kept. A failure all the same.
fn keep(name: &str, directory: &str, timeline: &str) -> Result<(), Failure> {
    let file = format!("lotest-{name}-{}.timeline.yaml", std::process::id());
    let path = std::env::temp_dir().join(file);
    let kept = File::create_new(&path).and_then(|mut file| {
        file.write_all(timeline.as_bytes())?;
        file.sync_all()
    });
    let place = match kept {
        Ok(()) => path.display().to_string(),
        Err(e) => {
            output::warning(&format!("cannot write {} either: {e}", path.display()));
            output::print(timeline)?;
            "on standard output".to_string()
        }
    };
    Err(Failure::Other(format!(
        "there is no case; the timeline that was recorded is {place}: put it into {directory} as timeline.yaml, then run `lotest check --update {directory}`"
    )))
}

/// Says where the rules conclude something else from the timeline than they did in the cluster.
fn compare(bundle: &Arc<Bundle>, name: &str, timeline: &str, test: &Value) -> Result<(), Failure> {
    let timeline: Timeline = yaml::from_str(name, timeline)?;
    let replayed =
        replay::last_status(bundle, &timeline).map_err(|e| Failure::Other(e.to_string()))?;
    let there = |status: &Value| -> Vec<String> {
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let line = |c: &Value| {
            let field = |pointer| text(c, pointer);
            format!(
                "{} {} {}",
                field("/type"),
                field("/status"),
                field("/reason")
            )
        };
        let mut lines: Vec<String> = conditions.map(line).collect();
        lines.push(format!("phase {}", text(status, "/phase")));
        lines
    };
    let (cluster, replayed) = (there(&test["status"]), there(&replayed));
    for line in cluster.iter().filter(|line| !replayed.contains(line)) {
        output::warning(&format!(
            "the cluster says `{line}`, the timeline does not end so: was it recorded from the start, and with the layers of the operator?"
        ));
    }
    Ok(())
}

struct Recording<'a> {
    bundle: &'a Bundle,
    recorder: Option<Recorder>,
    /// What was seen before the test was.
    early: Vec<(Timestamp, Value)>,
    test: Value,
    gone: bool,
}

impl Recording<'_> {
    async fn run(
        &mut self,
        cluster: &Cluster,
        name: &str,
        lasting: Option<SignedDuration>,
    ) -> Result<(), Failure> {
        let mut changes = cluster.watch(name, self.bundle);
        output::note(&format!(
            "recording LocustTest `{name}` of the namespace `{}`; Ctrl-C ends it",
            cluster.namespace
        ));
        let for_ever = Duration::from_secs(u64::from(u32::MAX));
        let lasting = match lasting {
            Some(lasting) => Duration::try_from(lasting).unwrap_or_default(),
            None => for_ever,
        };
        let end = tokio::time::sleep(lasting);
        let linger = tokio::time::sleep(for_ever);
        tokio::pin!(end, linger);
        let mut latest = None;
        loop {
            tokio::select! {
                () = &mut end => return Ok(()),
                () = &mut linger => return Ok(()),
                _ = tokio::signal::ctrl_c() => return Ok(()),
                change = changes.recv() => match change {
                    None => return Ok(()),
                    Some(change) => self.take(change?),
                },
            }
            if self.gone {
                return Ok(());
            }
            if lasting == for_ever && self.has_ended() {
                let now = tokio::time::Instant::now();
                let latest = *latest.get_or_insert(now + LINGER);
                let wait = if self.is_done() { SETTLE } else { LINGER };
                linger.as_mut().reset(latest.min(now + wait));
            }
        }
    }

    fn take(&mut self, change: Change) {
        let now = Timestamp::now();
        match change {
            Change::Applied(object, written) => {
                let at = record::occurred(now, written);
                match &mut self.recorder {
                    _ if text(&object, "/kind") == "LocustTest" => self.take_test(now, at, object),
                    Some(recorder) => recorder.apply(at, &object),
                    None => self.early.push((at, object)),
                }
            }
            Change::Deleted(object) => {
                let is_test = text(&object, "/metadata/uid") == text(&self.test, "/metadata/uid");
                self.gone = self.recorder.is_some() && is_test;
                if let Some(recorder) = &mut self.recorder {
                    recorder.delete(record::occurred(now, None), &object);
                }
            }
        }
    }

    fn take_test(&mut self, now: Timestamp, at: Timestamp, object: Value) {
        match &mut self.recorder {
            Some(recorder) => recorder.apply(at, &object),
            None => {
                let created = text(&object, "/metadata/creationTimestamp").parse();
                if created.is_ok_and(|t: Timestamp| now.duration_since(t) > LATE) {
                    output::warning(
                        "the test was there before; what happened to it until now is not in the timeline",
                    );
                }
                let mut recorder = Recorder::new(self.bundle, &object);
                for (at, object) in self.early.drain(..) {
                    recorder.apply(at, &object);
                }
                self.recorder = Some(recorder);
            }
        }
        self.test = object;
    }

    fn has_ended(&self) -> bool {
        self.bundle
            .rules
            .phase
            .is_terminal(text(&self.test, "/status/phase"))
    }

    fn is_done(&self) -> bool {
        let active = self.recorder.as_ref().map_or(0, Recorder::active_pods);
        self.has_ended() && active == 0
    }
}
