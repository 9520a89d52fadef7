//! `lotest check`: a bundle, its golden cases, the rights it needs, and what in it does nothing.

use super::golden::{self, Stored};
use super::output::Style;
use super::{Failure, input, output};
use crate::bundle::problem::Problem;
use crate::bundle::{Bundle, Layer};
use crate::controller::Mistake;
use crate::engine::admit;
use crate::engine::golden::Bundles;
use crate::engine::rbac::{self, Rule};
use crate::engine::unused::{self, Finding};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Check a bundle and its golden cases
///
/// A golden case is a directory with an input and the output that somebody has reviewed for it: test.yaml (a
/// LocustTest) with children.yaml (what it renders to), or timeline.yaml (what happens to a test) with verdicts.yaml
/// (what the rules conclude). An environment.yaml sets environment variables of the operator for its case, a values.yaml
/// values of the bundle.
///
/// The cases of a layer are those below golden/ in it. They run against the layers up to that one, as they say what it
/// makes of what is below it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lotest check                         the built-in bundle, and the cases below ./golden
  lotest check golden/timeline         some of them
  lotest check --layer team            a layer on top, and the cases in team/golden
  lotest check --layer team --update   write the outputs again; review them with git diff

Exit codes: 0 all cases give what was reviewed, 1 some do not, 2 bad usage or input,
of a case too. With -o yaml or json a bundle that cannot be loaded is printed as its
`problems`: file, line, column, message, help.")]
pub struct Arguments {
    /// Directories with golden cases, at any depth, to run against all layers. Default: those of each layer; ./golden
    /// when there is none
    #[arg(value_name = "DIRECTORY")]
    directories: Vec<PathBuf>,

    #[command(flatten)]
    layers: input::Layers,

    /// Write what the cases give now as the expected output
    #[arg(long)]
    update: bool,

    /// How to print
    #[arg(short, long, value_enum, default_value_t = Style::Text)]
    output: Style,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    match check(arguments) {
        Err(Failure::Problems(problems)) if arguments.output != Style::Text => {
            let broken = Report {
                problems: problems.iter().map(Mistake::from).collect(),
                ..Report::default()
            };
            arguments.output.print(&broken, String::new)?;
            Err(Failure::Other(
                "the bundle cannot be loaded; `problems` says why".to_string(),
            ))
        }
        result => result,
    }
}

fn check(arguments: &Arguments) -> Result<(), Failure> {
    // The bundle as it is built in: a case says itself which settings it is about.
    let settings = BTreeMap::new();
    let layers = arguments.layers.read()?;
    let (bundle, warnings) = input::load(&layers, &settings)?;
    let problems = admit::probe(&bundle);
    if !problems.is_empty() {
        return Err(Failure::Problems(problems));
    }
    let (built_in, _) = input::load(&[Layer::built_in()], &settings)?;
    let mut report = Report {
        bundle: bundle.digest().to_string(),
        rights: rbac::beyond(&rbac::rules_for(&bundle), &rbac::rules_for(&built_in)),
        warnings: unused::findings(&layers, &bundle, &settings),
        ..Report::default()
    };
    for (stack, cases) in cases(arguments, &layers)? {
        let mut bundles = Bundles::new(stack);
        for stored in &cases {
            report.run(stored, &mut bundles, &bundle, arguments.update)?;
        }
    }
    for warning in warnings {
        output::warning(&warning);
    }
    if arguments.output == Style::Text {
        for finding in &report.warnings {
            output::warning(&finding.to_string());
        }
    }
    report.print(arguments)
}

/// Cases with the layers that they run against.
type Cases<'l> = Vec<(&'l [Layer], Vec<Stored>)>;

fn cases<'l>(arguments: &Arguments, layers: &'l [Layer]) -> Result<Cases<'l>, Failure> {
    if !arguments.directories.is_empty() {
        for directory in &arguments.directories {
            let is_layer = ["values.yaml", "templates", "rules"];
            let is_case = ["test.yaml", "timeline.yaml"];
            let has = |names: &[&str]| names.iter().any(|name| directory.join(name).exists());
            if has(&is_layer) && !has(&is_case) {
                let directory = directory.display();
                return Err(Failure::Other(format!(
                    "{directory} is a layer: write --layer {directory}"
                )));
            }
        }
        return Ok(vec![(layers, golden::find(&arguments.directories)?)]);
    }
    if layers.len() == 1 {
        let golden = PathBuf::from("golden");
        if !golden.is_dir() {
            return Err(Failure::Other(
                "there is no directory ./golden: name a layer with --layer DIR, or directories with golden cases"
                    .to_string(),
            ));
        }
        return Ok(vec![(layers, golden::find(&[golden])?)]);
    }
    let own = (1..layers.len()).map(|n| (&layers[..=n], golden::of_layer(&layers[n])));
    Ok(own.collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Came {
    Passed,
    Written,
    Failed,
    /// Its input is wrong: it says nothing of the bundle.
    Unreadable,
}

/// What came of one case.
#[derive(Debug, Serialize)]
struct CaseReport {
    name: String,
    result: Came,
    /// What is wrong, as a unified diff where there is something to compare.
    #[serde(skip_serializing_if = "String::is_empty")]
    says: String,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    /// Its digest; none when it cannot be loaded.
    #[serde(skip_serializing_if = "String::is_empty")]
    bundle: String,
    /// Why it cannot be loaded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<Mistake>,
    cases: Vec<CaseReport>,
    /// What the operator needs and the built-in bundle does not.
    rights: Vec<Rule>,
    warnings: Vec<Finding>,
}

impl Report {
    fn run(
        &mut self,
        stored: &Stored,
        bundles: &mut Bundles,
        bundle: &Bundle,
        update: bool,
    ) -> Result<(), Failure> {
        let (result, says) = match bundles.run(&stored.case) {
            Ok(outcome) => {
                let path = stored.directory.join(outcome.file);
                if outcome.is_expected(&stored.case) {
                    (Came::Passed, String::new())
                } else if update {
                    golden::write(&path, &outcome.text)?;
                    (Came::Written, String::new())
                } else {
                    let diff = outcome.diff(&stored.case);
                    let missing = || format!("error: {} is missing", path.display());
                    (Came::Failed, diff.unwrap_or_else(missing))
                }
            }
            Err(problems) => {
                let inside = format!("{}/", stored.case.name);
                let of_case =
                    |p: &Problem| p.file == stored.case.name || p.file.starts_with(&inside);
                let came = match problems.iter().all(of_case) {
                    true => Came::Unreadable,
                    false => Came::Failed,
                };
                (came, Failure::Problems(problems).to_string())
            }
        };
        self.cases.push(CaseReport {
            name: stored.case.name.clone(),
            result,
            says: bundle.secrets().mask(&says),
        });
        Ok(())
    }

    fn count(&self, result: Came) -> usize {
        self.cases.iter().filter(|c| c.result == result).count()
    }

    fn print(&self, arguments: &Arguments) -> Result<(), Failure> {
        arguments.output.print(self, || self.text())?;
        let (failed, all) = (self.count(Came::Failed), self.cases.len());
        let unreadable = self.count(Came::Unreadable);
        if unreadable > 0 {
            return Err(Failure::Other(format!(
                "{unreadable} of {all} golden cases cannot be read"
            )));
        }
        if failed == 0 {
            return Ok(());
        }
        let help = match arguments.update {
            true => "",
            false => {
                "\n  = help: when a change is meant, run `lotest check --update` and review it"
            }
        };
        Err(Failure::Check(format!(
            "error: {failed} of {all} golden cases failed{help}"
        )))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for case in self.cases.iter().filter(|c| !c.says.is_empty()) {
            text.push_str(case.says.trim_end());
            text.push_str("\n\n");
        }
        if self.count(Came::Failed) + self.count(Came::Unreadable) > 0 {
            return text;
        }
        text.push_str(&format!("bundle {} is fine\n", self.bundle));
        if !self.rights.is_empty() {
            text.push_str(
                "the operator needs these rights beyond deploy/base/rbac.yaml (`lotest rbac` prints all):\n",
            );
        }
        for Rule {
            api_groups,
            resources,
            verbs,
        } in &self.rights
        {
            let quoted = |text: &String| match text.as_str() {
                "" => "\"\"".to_string(),
                text => text.to_string(),
            };
            let listed = |all: &[String]| all.iter().map(quoted).collect::<Vec<_>>().join(", ");
            text.push_str(&format!(
                "- {{apiGroups: [{}], resources: [{}], verbs: [{}]}}\n",
                listed(api_groups),
                listed(resources),
                listed(verbs)
            ));
        }
        let cases = match (self.count(Came::Passed), self.count(Came::Written)) {
            (0, 0) => "none".to_string(),
            (passed, 0) => format!("{passed} passed"),
            (passed, written) => {
                format!("{passed} passed, {written} written; review with git diff")
            }
        };
        text.push_str(&format!("golden cases: {cases}\n"));
        text
    }
}
