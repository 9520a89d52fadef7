//! Golden cases: an input and the reviewed output for it. A case is a directory, given here as files in memory:
//!
//! - `test.yaml`, a LocustTest, with `children.yaml`, what it renders to; or
//! - `timeline.yaml`, a [`Timeline`], with `verdicts.yaml`, what the rules conclude over time;
//! - `environment.yaml`, optional: the operator's environment variables;
//! - `values.yaml`, optional: what of the bundle's values is another in this case. Maps are merged, anything else is
//!   replaced.

use super::render::{self, BUNDLE_ANNOTATION};
use super::replay::replay;
use super::timeline::Timeline;
use crate::api::FieldError;
use crate::api::v2::LocustTest;
use crate::bundle::problem::{Problem, nearest};
use crate::bundle::values::SETTINGS;
use crate::bundle::{Bundle, Files, places, yaml};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

const TEST: &str = "test.yaml";
const CHILDREN: &str = "children.yaml";
const TIMELINE: &str = "timeline.yaml";
const VERDICTS: &str = "verdicts.yaml";
const ENVIRONMENT: &str = "environment.yaml";
const VALUES: &str = "values.yaml";
const ALL: [&str; 6] = [TEST, CHILDREN, TIMELINE, VERDICTS, ENVIRONMENT, VALUES];

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

impl Case {
    /// Runs the case against the bundle of `layer`.
    pub fn run(&self, layer: &Files) -> Result<Outcome, Vec<Problem>> {
        let strange = self.files.keys().find(|f| !ALL.contains(&f.as_str()));
        if let Some(file) = strange {
            let help = format!(
                "a case has {TEST} and {CHILDREN}, or {TIMELINE} and {VERDICTS}, and may have {ENVIRONMENT} and {VALUES}"
            );
            return Err(vec![
                Problem::new(&self.path(file), "not a file of a golden case").help(help),
            ]);
        }
        let (bundle, warnings) = self.bundle(layer)?;
        let bundle = Arc::new(bundle);
        match (self.files.get(TEST), self.files.get(TIMELINE)) {
            (Some(test), None) => self.children(&bundle, warnings, test),
            (None, Some(timeline)) => self.verdicts(&bundle, timeline),
            _ => Err(vec![Problem::new(
                &self.name,
                format!("a case has either {TEST} or {TIMELINE}"),
            )]),
        }
    }

    fn bundle(&self, layer: &Files) -> Result<(Bundle, Vec<String>), Vec<Problem>> {
        match self.files.get(VALUES) {
            None => self.with_settings(layer),
            Some(source) => {
                let mut layer = layer.clone();
                let values = self.values(&layer, source)?;
                layer.insert(VALUES.into(), values.to_string());
                self.with_settings(&layer)
            }
        }
    }

    /// The values of the layer with those of the case in their places.
    fn values(&self, layer: &Files, source: &str) -> Result<Value, Vec<Problem>> {
        let path = self.path(VALUES);
        let own: Value = yaml::from_str(&path, source).map_err(|p| vec![*p])?;
        let mut values = match layer.get(VALUES) {
            Some(text) => yaml::from_str(VALUES, text).map_err(|p| vec![*p])?,
            None => Value::Object(Map::new()),
        };
        let mut mistakes = Vec::new();
        overlay(&mut values, own, "", &mut mistakes);
        if mistakes.is_empty() {
            return Ok(values);
        }
        let (errors, help): (Vec<FieldError>, Vec<Option<String>>) = mistakes.into_iter().unzip();
        let mut problems = places::problems(&path, source, 0, &errors);
        for (problem, help) in problems.iter_mut().zip(help) {
            problem.help = help;
        }
        Err(problems)
    }

    fn with_settings(&self, layer: &Files) -> Result<(Bundle, Vec<String>), Vec<Problem>> {
        let Some(source) = self.files.get(ENVIRONMENT) else {
            return Bundle::load(layer, &BTreeMap::new());
        };
        let path = self.path(ENVIRONMENT);
        let settings: BTreeMap<String, String> =
            yaml::from_str(&path, source).map_err(|p| vec![*p])?;
        let known: BTreeMap<String, Value> = match layer.get(ENVIRONMENT) {
            Some(text) => yaml::from_str(ENVIRONMENT, text).map_err(|p| vec![*p])?,
            None => BTreeMap::new(),
        };
        // Elsewhere a variable that nobody knows is none of ours; here it is a case that shows nothing.
        let unknown = settings.keys().filter(|v| !known.contains_key(*v));
        let unknown: Vec<FieldError> = unknown
            .map(|v| FieldError::new(v, "the operator has no such setting"))
            .collect();
        if !unknown.is_empty() {
            return Err(places::problems(&path, source, 0, &unknown));
        }
        Bundle::load(layer, &settings).map_err(|mut problems| {
            for problem in problems.iter_mut().filter(|p| p.file == SETTINGS) {
                problem.file.clone_from(&path);
            }
            problems
        })
    }

    fn children(
        &self,
        bundle: &Bundle,
        about_settings: Vec<String>,
        source: &str,
    ) -> Result<Outcome, Vec<Problem>> {
        let path = self.path(TEST);
        let test: Value = yaml::from_str(&path, source).map_err(|p| vec![*p])?;
        let test = LocustTest::parse_strict(test)
            .map_err(|mistakes| places::problems(&path, source, 0, &mistakes))?;
        let rendered = render::render(bundle, &test.to_value()).map_err(|p| vec![*p])?;
        let mut text = String::new();
        for warning in about_settings.iter().chain(&rendered.warnings) {
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
        let entries = replay(bundle, &timeline).map_err(|e| vec![Problem::new(&path, e)])?;
        let text = yaml::to_string(&entries).map_err(|p| vec![*p])?;
        let file = VERDICTS;
        Ok(Outcome { file, text })
    }

    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.name)
    }
}

/// Puts `own` into `values`, which has a place for everything that there is; mistakes come with what may help.
fn overlay(
    values: &mut Value,
    own: Value,
    path: &str,
    mistakes: &mut Vec<(FieldError, Option<String>)>,
) {
    let Value::Object(values) = values else {
        *values = own;
        return;
    };
    let Value::Object(own) = own else {
        let at = if path.is_empty() { VALUES } else { path };
        mistakes.push((FieldError::new(at, "expected a map"), None));
        return;
    };
    for (key, own) in own {
        let path = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        if let Some(value) = values.get_mut(&key) {
            overlay(value, own, &path, mistakes);
            continue;
        }
        let known = values.keys().map(String::as_str);
        let help = match nearest(&key, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("values here are {}", known.collect::<Vec<_>>().join(", ")),
        };
        let error = FieldError::new(&path, "the bundle has no such value");
        mistakes.push((error, Some(help)));
    }
}

/// The digest changes with every comment in the bundle; it says nothing to a reviewer.
fn forget_digest(object: &mut Value) {
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
