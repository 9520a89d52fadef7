//! Reading YAML: one set of options for everything the product reads, and
//! parser errors turned into [`Problem`]s.

use super::problem::Problem;
use serde::de::DeserializeOwned;
use std::fmt;

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
/// takes for line breaks or refuses; those are escaped.
pub fn write_json(out: &mut impl fmt::Write, json: &str) -> fmt::Result {
    let mut rest = json;
    while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_not_yaml(*c)) {
        write!(out, "{}\\u{:04x}", &rest[..at], c as u32)?;
        rest = &rest[at + c.len_utf8()..];
    }
    out.write_str(rest)
}

fn is_not_yaml(c: char) -> bool {
    matches!(
        c,
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

fn problem(file: &str, source: &str, error: &serde_saphyr::Error) -> Box<Problem> {
    let error = error.without_snippet();
    let problem = Problem::new(file, error.to_string());
    Box::new(match error.location() {
        Some(at) => problem.at(source, at.line() as usize, at.column() as usize),
        None => problem,
    })
}
