//! `lotest convert`: LocustTests in files, as the other version says them.

use super::{Failure, input, output};
use crate::api::FieldError;
use crate::api::convert::{Version, annotation, convert_file};
use crate::bundle::{places, yaml};
use crate::engine::text::escape;
use serde_json::Value;
use std::path::PathBuf;

/// Convert LocustTests in files between v1 and v2
///
/// Nothing is lost: what the version cannot say is kept in an annotation, and a comment at the top names the fields.
/// Documents of other kinds are printed as they are. No default is filled in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lotest convert -f old.yaml >new.yaml
  lotest convert -f new.yaml --to v1
  kubectl get locusttests.v2.locust.io my-test -o yaml | lotest convert -f - --to v1

Exit codes: 0 printed, 2 bad usage or input.")]
pub struct Arguments {
    /// A file with one or more documents; `-` is standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: PathBuf,

    /// The version to convert to
    #[arg(long, value_enum, default_value_t = To::V2)]
    to: To,

    /// How to print
    #[arg(short, long, value_enum, default_value_t = output::Format::Yaml)]
    output: output::Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum To {
    V1,
    V2,
}

impl From<To> for Version {
    fn from(to: To) -> Version {
        match to {
            To::V1 => Version::V1,
            To::V2 => Version::V2,
        }
    }
}

/// What became of a document.
struct Converted {
    object: Value,
    /// It is no LocustTest of the other version, and still as it was.
    untouched: bool,
    /// What the version cannot say, as paths from the top of the document.
    unsaid: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let name = input::name(&arguments.file);
    let text = input::read(&arguments.file)?;
    let to = arguments.to.into();
    let documents: Vec<Value> = yaml::all_from_str(&name, &text)?;
    let mut converted = Vec::new();
    let mut problems = Vec::new();
    for (n, document) in documents.into_iter().enumerate() {
        match convert(document, to) {
            Ok(document) => converted.push(document),
            Err(mistakes) => problems.extend(places::problems(&name, &text, n, &mistakes)),
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Problems(problems));
    }
    match arguments.output {
        output::Format::Yaml => print_yaml(&text, converted, to),
        output::Format::Json => print_json(&name, converted, to),
    }
}

/// One document: a test, a List with tests in it, or something else.
fn convert(mut document: Value, to: Version) -> Result<Converted, Vec<FieldError>> {
    let mut unsaid = Vec::new();
    let mut mistakes = Vec::new();
    let mut untouched = true;
    let is_list = document.get("kind").is_some_and(|kind| kind == "List");
    let tests: Vec<(String, &mut Value)> = match document.get_mut("items") {
        Some(Value::Array(items)) if is_list => {
            let item = |(n, item)| (format!("items[{n}]."), item);
            items.iter_mut().enumerate().map(item).collect()
        }
        _ => vec![(String::new(), &mut document)],
    };
    for (path, test) in tests.into_iter().filter(|(_, test)| is_test(test)) {
        let before = test["apiVersion"].clone();
        match convert_file(test.take(), to) {
            Ok((object, paths)) => {
                untouched &= object["apiVersion"] == before;
                unsaid.extend(paths.iter().map(|p| format!("{path}{p}")));
                *test = object;
            }
            Err(error) => {
                let at = format!("{path}apiVersion");
                mistakes.push(FieldError::new(at, error.to_string()));
            }
        }
    }
    match mistakes.is_empty() {
        true => Ok(Converted {
            object: document,
            untouched,
            unsaid,
        }),
        false => Err(mistakes),
    }
}

/// Of whatever version: one that there is not is a mistake.
fn is_test(object: &Value) -> bool {
    let text = |key| object.get(key).and_then(Value::as_str).unwrap_or_default();
    text("kind") == "LocustTest" && text("apiVersion").starts_with("locust.io/")
}

/// Each document that was not converted as it was written, with its comments.
fn print_yaml(text: &str, converted: Vec<Converted>, to: Version) -> Result<(), Failure> {
    let mut written = written(text);
    if written.len() != converted.len() {
        // Documents that hold nothing: which text is whose is not known then.
        written = vec![String::new(); converted.len()];
    }
    let mut documents = Vec::new();
    for (document, written) in converted.iter().zip(written) {
        if document.untouched && !written.is_empty() {
            documents.push(written);
        } else if !document.object.is_null() {
            let yaml = yaml::to_string(&document.object)?;
            let comments = head(&written) + &comments(&document.unsaid, to);
            documents.push(comments + &yaml);
        }
    }
    output::print(&output::for_terminal(documents.join("---\n")))
}

fn print_json(name: &str, converted: Vec<Converted>, to: Version) -> Result<(), Failure> {
    let (version, annotation) = (to.api_version(), annotation(to));
    for path in converted.iter().flat_map(|document| &document.unsaid) {
        output::warning(&format!(
            "{name}: {version} cannot say {path}: it is kept in the annotation {annotation}"
        ));
    }
    let objects = converted.into_iter().map(|document| document.object);
    let objects: Vec<Value> = objects.filter(|object| !object.is_null()).collect();
    output::print(&output::Format::Json.print(&objects)?)
}

fn comments(unsaid: &[String], to: Version) -> String {
    if unsaid.is_empty() {
        return String::new();
    }
    let lines: String = unsaid
        .iter()
        .map(|path| format!("{FIELD}{}\n", escape(path)))
        .collect();
    title(to) + "\n" + &lines
}

const FIELD: &str = "#   ";

fn title(to: Version) -> String {
    let (version, annotation) = (to.api_version(), annotation(to));
    format!("# {version} cannot say these fields; they are kept in the annotation {annotation}:")
}

/// The comments above the first line of a document, without those of an earlier conversion.
fn head(written: &str) -> String {
    let mut head = String::new();
    let mut ours = false;
    for line in written.lines().take_while(|line| is_nothing(line)) {
        ours = [Version::V1, Version::V2]
            .map(title)
            .contains(&line.to_owned())
            || (ours && line.starts_with(FIELD));
        if !ours {
            head.push_str(line);
            head.push('\n');
        }
    }
    head
}

fn is_nothing(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// The documents of a stream as they are written, without those that are only comments. A line of a document cannot
/// begin with `---`.
fn written(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        match line.strip_prefix("---") {
            Some(rest) if rest.is_empty() || rest.starts_with(char::is_whitespace) => {
                documents.push(match is_nothing(rest) {
                    true => String::new(),
                    false => rest.trim_start().to_owned() + "\n",
                });
            }
            _ => {
                if let Some(document) = documents.last_mut() {
                    document.push_str(line);
                    document.push('\n');
                }
            }
        }
    }
    documents.retain(|document| !document.lines().all(is_nothing));
    documents
}
