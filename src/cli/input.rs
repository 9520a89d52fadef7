//! Reading what the commands are given: files, standard input, the bundle.

use super::{Failure, output};
use crate::api::FieldError;
use crate::api::v2::LocustTest;
use crate::bundle::problem::{self, Problem};
use crate::bundle::{Bundle, Layer, durations, places, yaml};
use crate::layer_files;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

/// What messages call a file.
pub fn name(file: &Path) -> String {
    match file.as_os_str() == "-" {
        true => "standard input".to_string(),
        false => file.display().to_string(),
    }
}

/// The text of a file; `-` is standard input.
pub fn read(file: &Path) -> Result<String, Failure> {
    if file.as_os_str() == "-" {
        if std::io::stdin().is_terminal() {
            return Err(Failure::Other(
                "name a file, or pipe one in; see --help".to_string(),
            ));
        }
        let mut text = String::new();
        return match std::io::stdin().lock().read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(e) => Err(Failure::Other(format!("cannot read standard input: {e}"))),
        };
    }
    std::fs::read_to_string(file)
        .map_err(|e| Failure::Other(format!("cannot read {}: {e}", file.display())))
}

/// A duration of the command line.
pub fn duration(written: &str) -> Result<SignedDuration, String> {
    let read = durations::parse(written).filter(|d| !d.is_negative());
    read.ok_or_else(|| format!("not a duration: {}", durations::HELP))
}

/// A time of the command line.
pub fn time(written: &str) -> Result<Timestamp, String> {
    let read = written.parse();
    read.map_err(|_| "not a time: write it as `2026-01-01T12:30:00Z`".to_string())
}

/// The tests of a file, each valid and with its defaults.
pub fn tests(name: &str, text: &str) -> Result<Vec<Value>, Failure> {
    let mut tests = Vec::new();
    let documents: Vec<Value> = yaml::all_from_str(name, text)?;
    let mut problems = Vec::new();
    for (n, document) in documents.into_iter().enumerate() {
        for (path, object) in items(document) {
            // All that it lacks for one would hide that it is something else.
            if let Some(why) = not_a_test(&object) {
                let message = format!("this is no LocustTest: {why}");
                let mistake = FieldError::new(format!("{path}kind"), message);
                problems.extend(places::problems(name, text, n, &[mistake]));
                continue;
            }
            match LocustTest::parse_strict(object) {
                Ok(test) => tests.push(test.to_value()),
                Err(mut mistakes) => {
                    for mistake in &mut mistakes {
                        mistake.path.insert_str(0, &path);
                    }
                    problems.extend(places::problems(name, text, n, &mistakes));
                }
            }
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Problems(problem::first(problems)));
    }
    if tests.is_empty() {
        return Err(Problem::new(name, "there is no LocustTest in it").into());
    }
    Ok(tests)
}

fn not_a_test(object: &Value) -> Option<String> {
    match object.get("kind").and_then(Value::as_str) {
        Some("LocustTest") => None,
        Some(kind) => Some(format!("kind is `{kind}`")),
        // What is no object at all is said elsewhere.
        None => object.is_object().then(|| "it names no kind".to_string()),
    }
}

/// The objects of a document, each with its path: one, or those of a List as `kubectl get` prints it.
fn items(mut document: Value) -> Vec<(String, Value)> {
    if document.is_null() {
        return Vec::new();
    }
    let is_list = document.get("kind").is_some_and(|kind| kind == "List");
    match document.get_mut("items").map(Value::as_array_mut) {
        Some(Some(items)) if is_list => {
            let item = |(n, item): (usize, &mut Value)| (format!("items[{n}]."), item.take());
            items.iter_mut().enumerate().map(item).collect()
        }
        _ => vec![(String::new(), document)],
    }
}

/// The environment of the process. A variable that is not text is none of ours.
pub fn settings() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Which layers a command works with.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Layers {
    /// A directory with templates/, rules/ and values.yaml that go on top of the built-in ones; repeat it for several,
    /// the lowest first
    #[arg(long = "layer", value_name = "DIR")]
    pub layers: Vec<PathBuf>,
}

impl Layers {
    /// All layers, the built-in one first.
    pub fn read(&self) -> Result<Vec<Layer>, Failure> {
        let mut layers = vec![Layer::built_in()];
        let mut problems = Vec::new();
        for directory in &self.layers {
            match layer_files::read(directory) {
                Ok(layer) => layers.push(layer),
                Err(found) => problems.extend(found),
            }
        }
        match problems.is_empty() {
            true => Ok(layers),
            false => Err(Failure::Problems(problems)),
        }
    }

    /// Their bundle, with the settings of the operator's environment; warnings are printed.
    pub fn bundle(&self) -> Result<Bundle, Failure> {
        let (bundle, warnings) = load(&self.read()?, &settings())?;
        for warning in warnings {
            output::warning(&warning);
        }
        Ok(bundle)
    }
}

pub fn load(
    layers: &[Layer],
    settings: &BTreeMap<String, String>,
) -> Result<(Bundle, Vec<String>), Failure> {
    Bundle::load(layers, settings).map_err(Failure::Problems)
}
