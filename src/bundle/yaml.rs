//! Reading YAML: one set of options for everything the product reads, and
//! parser errors turned into [`Problem`]s.

use super::problem::{Problem, suggestion};
use serde::de::DeserializeOwned;
use serde_saphyr::{Error, MessageFormatter, UserMessageFormatter};
use std::fmt;
use std::ops::Range;

/// YAML 1.2 as Kubernetes users write it: `on` and `no` are strings, `0755` is
/// octal, a key given twice is an error.
fn options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.strict_booleans = true;
    options.legacy_octal_numbers = true;
    options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::Error;
    options.with_snippet = false;
    // A label key is at most 317 characters, but the text of a test may be
    // anything; it must come back as data, not as a parser limit.
    if let Some(budget) = options.budget.as_mut() {
        budget.simple_key_max_lookahead = 4 << 20;
        budget.max_total_scalar_bytes = 64 << 20;
    }
    options
}

/// Reads one YAML document.
pub fn from_str<T: DeserializeOwned>(file: &str, source: &str) -> Result<T, Box<Problem>> {
    serde_saphyr::from_str_with_options(source, options()).map_err(|e| problem(file, source, &e))
}

/// Reads all documents of a YAML stream.
pub fn all_from_str<T: DeserializeOwned>(file: &str, source: &str) -> Result<Vec<T>, Box<Problem>> {
    serde_saphyr::from_multiple_with_options(source, options())
        .map_err(|e| problem(file, source, &e))
}

/// Writes JSON so that YAML reads the same from it. JSON may leave characters as they are, in strings alone, that YAML
/// takes for line breaks or refuses; those are escaped. YAML takes a long string for a key only with a mark before it.
pub fn write_json(out: &mut impl fmt::Write, json: &str) -> fmt::Result {
    let mut rest = json;
    while let Some(key) = long_key(rest) {
        escape(out, &rest[..key.start])?;
        out.write_str("? ")?;
        escape(out, &rest[key.clone()])?;
        rest = &rest[key.end..];
    }
    escape(out, rest)
}

fn escape(out: &mut impl fmt::Write, mut json: &str) -> fmt::Result {
    while let Some((at, c)) = json.char_indices().find(|(_, c)| is_not_yaml(*c)) {
        write!(out, "{}\\u{:04x}", &json[..at], c as u32)?;
        json = &json[at + c.len_utf8()..];
    }
    out.write_str(json)
}

/// So many bytes of a key are at most 1024 characters of YAML (1.2.2, section 7.4.2), even if all of them are escaped.
const SHORT_KEY: usize = 1024 / 6;

/// The first key that is longer, in its quotes.
fn long_key(json: &str) -> Option<Range<usize>> {
    let mut at = 0;
    while json.len() - at > SHORT_KEY {
        let start = at + json[at..].find('"')?;
        let mut escaped = false;
        let is_end = |c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        };
        let end = start + 1 + json[start + 1..].find(is_end)? + 1;
        if end - start > SHORT_KEY && json[end..].starts_with(':') {
            return Some(start..end);
        }
        at = end;
    }
    None
}

fn is_not_yaml(c: char) -> bool {
    matches!(
        c,
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

fn problem(file: &str, source: &str, error: &Error) -> Box<Problem> {
    let error = error.without_snippet();
    let mut problem = Problem::new(file, message(error));
    problem.help = help(error);
    let line = error
        .location()
        .and_then(|at| source.lines().nth((at.line() as usize).checked_sub(1)?));
    if line.is_some_and(|line| line.contains(": {{") || line.contains("- {{")) {
        problem.help = Some("text that begins with `{{` is written in quotes".into());
    }
    Box::new(match error.location() {
        Some(at) => problem.at(source, at.line() as usize, at.column() as usize),
        None => problem,
    })
}

/// Writes one YAML document.
pub fn to_string(value: &impl serde::Serialize) -> Result<String, Box<Problem>> {
    serde_saphyr::to_string(value).map_err(|e| {
        Box::new(Problem::new(
            "output",
            format!("cannot be written as YAML: {e}"),
        ))
    })
}

/// The parser's message, where it has one for people who do not program it.
fn message(error: &Error) -> String {
    match error {
        Error::SerdeUnknownField { field, .. } => format!("there is no field `{field}` here"),
        Error::SerdeUnknownVariant { variant, .. } => format!("`{variant}` is not allowed here"),
        Error::SerdeMissingField { field, .. } => format!("the field `{field}` is missing here"),
        Error::DuplicateMappingKey { key, .. } => match key {
            Some(key) => format!("the key `{key}` is given twice"),
            None => "a key is given twice".to_string(),
        },
        Error::MultipleDocuments { .. } => "there is more than one YAML document".to_string(),
        Error::InvalidScalar { ty, .. } => match *ty {
            "bool" => "expected true or false".to_string(),
            "f32" | "f64" => "expected a number".to_string(),
            _ => "expected a whole number".to_string(),
        },
        Error::InvalidBooleanStrict { .. } => "expected true or false".to_string(),
        Error::Unexpected { expected, .. } => match *expected {
            "sequence start" => "expected a list".to_string(),
            "mapping start" => "expected a map".to_string(),
            "string scalar" => "expected a string".to_string(),
            other => format!("expected {other}"),
        },
        Error::UnknownAnchor { .. } => "no anchor of this name stands above".to_string(),
        error => UserMessageFormatter.format_message(error).into_owned(),
    }
}

fn help(error: &Error) -> Option<String> {
    match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => Some(suggestion(
            field,
            expected.iter().copied(),
            "fields here are",
        )),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => Some(suggestion(
            variant,
            expected.iter().copied(),
            "write one of",
        )),
        Error::MultipleDocuments { .. } => {
            Some("remove the `---`: one file is one document".into())
        }
        Error::UnknownAnchor { .. } => {
            Some("text that begins with `*` is written in quotes".into())
        }
        error => {
            // The scanner's errors have no kinds of their own.
            let message = UserMessageFormatter.format_message(error);
            let (_, help) = HINTS.iter().find(|(part, _)| message.contains(part))?;
            Some(help.to_string())
        }
    }
}

const HINTS: &[(&str, &str)] = &[
    (
        "mapping values are not allowed",
        "text with `: ` in it is written in quotes; or the line is indented too far",
    ),
    (
        "did not find expected key",
        "entries of one map begin in the same column",
    ),
    (
        "did not find expected '-'",
        "entries of one list begin in the same column",
    ),
    (
        "did not find expected ',' or '}'",
        "a `{` above is not closed, or an entry lacks its `,`",
    ),
    (
        "did not find expected ',' or ']'",
        "a `[` above is not closed, or an entry lacks its `,`",
    ),
    ("tabs disallowed", "indent with spaces"),
    (
        "simple key expected",
        "write `key: value`, or `- value` in a list",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn keys_of_any_length_are_keys() {
        let long = "\\\"\u{85}: k".repeat(300);
        let value = json!({
            "short": "s".repeat(2000),
            long.as_str(): {long.as_str(): 1, "a": [long, {long.as_str(): null}]},
        });
        let mut written = String::new();
        write_json(&mut written, &value.to_string()).unwrap();
        assert_eq!(written.matches("? \"").count(), 3, "one for each long key");
        let read: Value = from_str("test", &written).unwrap();
        assert_eq!(read, value);
    }
}
