//! Golden cases: an input and the reviewed output for it. A case is a directory, given here as files in memory:
//!
//! - `test.yaml`, a LocustTest, with `children.yaml`, what it renders to; or
//! - `timeline.yaml`, a [`Timeline`], with `verdicts.yaml`, what the rules conclude over time;
//! - `environment.yaml`, optional: the operator's environment variables;
//! - `values.yaml`, optional: what of the bundle's values is another in this case, as in a layer on top.

use super::admission;
use super::render::{self, BUNDLE_ANNOTATION};
use super::replay::replay;
use super::timeline::Timeline;
use crate::api::FieldError;
use crate::api::v2::LocustTest;
use crate::bundle::problem::Problem;
use crate::bundle::values::{self, SETTINGS};
use crate::bundle::{Bundle, Draft, Files, Layer, places, yaml};
use serde_json::Value;
use similar::TextDiff;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// Where a layer has its cases.
const CASES: &str = "golden";

const TEST: &str = "test.yaml";
const CHILDREN: &str = "children.yaml";
const TIMELINE: &str = "timeline.yaml";
const VERDICTS: &str = "verdicts.yaml";
const ENVIRONMENT: &str = "environment.yaml";
const VALUES: &str = "values.yaml";
const ALL: [&str; 6] = [TEST, CHILDREN, TIMELINE, VERDICTS, ENVIRONMENT, VALUES];

/// So many lines of a difference are shown: an operator says it in its log.
const MAX_DIFF: usize = 30;

/// One directory of cases.
#[derive(Debug)]
pub struct Case {
    /// The directory, for messages.
    pub name: String,
    /// By name within the directory.
    pub files: Files,
}

/// What a case gives now.
#[derive(Debug)]
pub struct Outcome {
    /// The file that holds the reviewed output.
    pub file: &'static str,
    pub text: String,
}

impl Outcome {
    /// What was reviewed. Git may have written it with the line ends of Windows.
    fn expected<'c>(&self, case: &'c Case) -> Option<Cow<'c, str>> {
        let text = case.files.get(self.file)?;
        Some(match text.contains("\r\n") {
            true => text.replace("\r\n", "\n").into(),
            false => text.into(),
        })
    }

    /// Whether this is what was reviewed.
    pub fn is_expected(&self, case: &Case) -> bool {
        self.expected(case).is_some_and(|e| e == self.text)
    }

    /// How this differs from what was reviewed, as a unified diff; nothing when it does not, or when nothing was.
    pub fn diff(&self, case: &Case) -> Option<String> {
        let expected = self.expected(case).filter(|e| **e != self.text)?;
        let diff = TextDiff::from_lines(&*expected, &self.text);
        let mut unified = diff.unified_diff();
        let unified = unified.context_radius(3);
        let header = unified.header(&case.path(self.file), "what the case gives now");
        Some(header.to_string())
    }

    /// What to say when this is not what was reviewed.
    pub fn problem(&self, case: &Case) -> Option<Problem> {
        let path = case.path(self.file);
        let help = "when the change is meant, run `lotest check --update` and review it";
        let Some(expected) = self.expected(case) else {
            return Some(Problem::new(&path, "the file is missing").help(help));
        };
        let diff = self.diff(case)?;
        let (mut was, mut is) = (expected.lines(), self.text.lines());
        let mut lines =
            std::iter::from_fn(|| Some((was.next(), is.next())).filter(|p| *p != (None, None)));
        let same = lines.position(|(was, is)| was != is).unwrap_or_default();
        let shown: Vec<&str> = diff.lines().take(MAX_DIFF).collect();
        let rest = match diff.lines().count() - shown.len() {
            0 => String::new(),
            more => format!("\n({more} more lines)"),
        };
        let message = format!(
            "the case gives something else than was reviewed:\n{}{rest}",
            shown.join("\n")
        );
        Some(
            Problem::new(&path, message)
                .at(&expected, same + 1, 1)
                .help(help),
        )
    }
}

/// The golden cases of a layer, by path.
pub fn cases(layer: &Layer) -> Vec<Case> {
    let mut cases: BTreeMap<&str, Files> = BTreeMap::new();
    for (file, text) in &layer.files {
        if let Some((directory, name)) = file.rsplit_once('/')
            && directory.starts_with(CASES)
        {
            let files = cases.entry(directory).or_default();
            files.insert(name.to_string(), text.clone());
        }
    }
    let case = |(directory, files)| Case {
        name: layer.path(directory),
        files,
    };
    cases.into_iter().map(case).collect()
}

/// The bundles of cases against the same layers. Most cases say nothing of settings and values: they share one.
#[derive(Debug)]
pub struct Bundles {
    layers: Vec<Layer>,
    draft: Draft,
    /// By the settings and the values of a case, as written.
    bundles: BTreeMap<[Option<String>; 2], Loaded>,
}

/// A bundle and what its settings are warned of.
type Loaded = (Arc<Bundle>, Vec<String>);

impl Bundles {
    pub fn new(layers: &[Layer]) -> Bundles {
        let mut layers = layers.to_vec();
        for layer in &mut layers {
            layer.files.retain(|file, _| !file.starts_with(CASES));
        }
        Bundles {
            draft: Draft::new(&layers),
            layers,
            bundles: BTreeMap::new(),
        }
    }

    /// Runs a case.
    pub fn run(&mut self, case: &Case) -> Result<Outcome, Vec<Problem>> {
        case.check_names()?;
        let key = [ENVIRONMENT, VALUES].map(|file| case.files.get(file).cloned());
        let (bundle, warnings) = match self.bundles.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let (bundle, warnings) = case.bundle(&self.draft, &self.layers)?;
                place.insert((Arc::new(bundle), warnings))
            }
        };
        match (case.files.get(TEST), case.files.get(TIMELINE)) {
            (Some(test), None) => case.children(bundle, warnings, test),
            (None, Some(timeline)) => case.verdicts(bundle, timeline),
            _ => Err(vec![Problem::new(
                &case.name,
                format!("a case has either {TEST} or {TIMELINE}"),
            )]),
        }
    }
}

impl Case {
    /// Runs a case alone against the bundle of `layers`; of many, [`Bundles::run`] is faster.
    pub fn run(&self, layers: &[Layer]) -> Result<Outcome, Vec<Problem>> {
        Bundles::new(layers).run(self)
    }

    fn check_names(&self) -> Result<(), Vec<Problem>> {
        let strange = self.files.keys().find(|f| !ALL.contains(&f.as_str()));
        if let Some(file) = strange {
            let help = format!(
                "a case has {TEST} and {CHILDREN}, or {TIMELINE} and {VERDICTS}, and may have {ENVIRONMENT} and {VALUES}"
            );
            return Err(vec![
                Problem::new(&self.path(file), "not a file of a golden case").help(help),
            ]);
        }
        Ok(())
    }

    fn bundle(
        &self,
        draft: &Draft,
        layers: &[Layer],
    ) -> Result<(Bundle, Vec<String>), Vec<Problem>> {
        let mut layers = layers.to_vec();
        if let Some(values) = self.files.get(VALUES) {
            layers.push(Layer {
                name: self.name.clone(),
                files: Files::from([(VALUES.into(), values.clone())]),
            });
        }
        let Some(source) = self.files.get(ENVIRONMENT) else {
            return draft.bundle(&layers, &BTreeMap::new());
        };
        let path = self.path(ENVIRONMENT);
        let settings: BTreeMap<String, String> =
            yaml::from_str(&path, source).map_err(|p| vec![*p])?;
        // Elsewhere a variable that nobody knows is none of ours; here it is a case that shows nothing.
        let known = values::variables(&layers);
        let unknown = settings.keys().filter(|v| !known.contains(*v));
        let unknown: Vec<FieldError> = unknown
            .map(|v| FieldError::new(v, "the operator has no such setting"))
            .collect();
        if !unknown.is_empty() {
            return Err(places::problems(&path, source, 0, &unknown));
        }
        draft.bundle(&layers, &settings).map_err(|mut problems| {
            for problem in problems.iter_mut().filter(|p| p.file == SETTINGS) {
                problem.file.clone_from(&path);
            }
            problems
        })
    }

    fn children(
        &self,
        bundle: &Bundle,
        about_settings: &[String],
        source: &str,
    ) -> Result<Outcome, Vec<Problem>> {
        let path = self.path(TEST);
        let test: Value = yaml::from_str(&path, source).map_err(|p| vec![*p])?;
        let test = LocustTest::parse_strict(test)
            .map_err(|mistakes| places::problems(&path, source, 0, &mistakes))?;
        let test = test.to_value();
        let rendered = render::render(bundle, &test).map_err(|p| vec![*p])?;
        let warned = admission::besides(&rendered.warnings, bundle, &test);
        let mut text = String::new();
        for warning in about_settings
            .iter()
            .chain(&rendered.warnings)
            .chain(&warned)
        {
            text.push_str(&format!("# warning: {}\n", super::text::escape(warning)));
        }
        for (n, mut child) in rendered.children.into_iter().enumerate() {
            forget_digest(&mut child.object);
            if n > 0 {
                text.push_str("---\n");
            }
            text.push_str(&yaml::to_string(&child.object).map_err(|p| vec![*p])?);
        }
        let file = CHILDREN;
        Ok(Outcome { file, text })
    }

    fn verdicts(&self, bundle: &Arc<Bundle>, source: &str) -> Result<Outcome, Vec<Problem>> {
        let path = self.path(TIMELINE);
        let timeline: Timeline = yaml::from_str(&path, source).map_err(|p| vec![*p])?;
        let entries = replay(bundle, &timeline).map_err(|e| vec![e.problem(&path, source)])?;
        let text = yaml::to_string(&entries).map_err(|p| vec![*p])?;
        let file = VERDICTS;
        Ok(Outcome { file, text })
    }

    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.name)
    }
}

/// The digest changes with every comment in the bundle; it says nothing to a reviewer.
pub(super) fn forget_digest(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(annotations) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
    {
        annotations.remove(BUNDLE_ANNOTATION);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}
