//! `lotest check`: the bundle and its golden cases.

use super::golden::{self, Stored};
use super::{Failure, input, output};
use crate::bundle::embedded;
use crate::engine::text::escape;
use similar::TextDiff;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Check the built-in bundle and the golden cases
///
/// A golden case is a directory with an input and the output that somebody has reviewed for it: test.yaml (a
/// LocustTest) with children.yaml (what it renders to), or timeline.yaml (what happens to a test) with verdicts.yaml
/// (what the rules conclude). An environment.yaml sets environment variables of the operator for its case, a values.yaml
/// values of the bundle.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lotest check                     the cases below ./golden
  lotest check golden/timeline     some of them
  lotest check --update            write the outputs again; review them with git diff

Exit codes: 0 all cases give what was reviewed, 1 some do not, 2 bad usage or input.")]
pub struct Arguments {
    /// Directories with golden cases, at any depth
    #[arg(value_name = "DIRECTORY", default_value = "golden")]
    directories: Vec<PathBuf>,

    /// Write what the cases give now as the expected output
    #[arg(long)]
    update: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    // The bundle as it is built in: a case says itself which settings it is about.
    let layer = embedded();
    let (bundle, _) = input::load(&layer, &BTreeMap::new())?;
    let cases = golden::find(&arguments.directories)?;
    let mut report = Report::default();
    for stored in &cases {
        match stored.case.run(&layer) {
            Ok(outcome) => {
                let path = stored.directory.join(outcome.file);
                let expected = stored.case.files.get(outcome.file).map(String::as_str);
                if expected == Some(&outcome.text) {
                    report.passed += 1;
                } else if arguments.update {
                    golden::write(&path, &outcome.text)?;
                    report.written += 1;
                } else {
                    report.differs(stored, outcome.file, expected, &outcome.text);
                }
            }
            Err(problems) => report.fails(&Failure::Problems(problems).to_string()),
        }
    }
    output::print(&output::highlight(&report.text))?;
    report.conclude(bundle.digest(), cases.len(), arguments.update)
}

#[derive(Debug, Default)]
struct Report {
    text: String,
    passed: usize,
    written: usize,
    failed: usize,
}

impl Report {
    fn differs(&mut self, stored: &Stored, file: &str, expected: Option<&str>, now: &str) {
        let path = stored.directory.join(file).display().to_string();
        if expected.is_none() {
            self.fails(&format!("error: {path} is missing"));
            return;
        }
        let diff = TextDiff::from_lines(expected.unwrap_or_default(), now);
        let mut unified = diff.unified_diff();
        let text = unified
            .context_radius(3)
            .header(&path, "what the case gives now");
        let lines: Vec<String> = text.to_string().lines().map(escape).collect();
        self.fails(&lines.join("\n"));
    }

    fn fails(&mut self, text: &str) {
        self.failed += 1;
        self.text.push_str(text.trim_end());
        self.text.push_str("\n\n");
    }

    fn conclude(&self, digest: &str, cases: usize, update: bool) -> Result<(), Failure> {
        if self.failed > 0 {
            let help = match update {
                true => "",
                false => {
                    "\n  = help: when a change is meant, run `lotest check --update` and review it"
                }
            };
            return Err(Failure::Check(format!(
                "error: {} of {cases} golden cases failed{help}",
                self.failed
            )));
        }
        let written = match self.written {
            0 => String::new(),
            n => format!(", {n} written; review with git diff"),
        };
        output::print(&format!(
            "bundle {digest} is fine\ngolden cases: {} passed{written}\n",
            self.passed
        ))
    }
}
