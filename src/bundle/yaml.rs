//! Reading YAML: one set of options for everything the product reads, and
//! parser errors turned into [`Problem`]s.

use super::problem::Problem;
use serde::de::DeserializeOwned;

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

fn problem(file: &str, source: &str, error: &serde_saphyr::Error) -> Box<Problem> {
    let error = error.without_snippet();
    let message = error.to_string();
    Box::new(match error.location() {
        Some(at) => {
            let (line, column) = (at.line() as usize, at.column() as usize);
            // The place is said once, below the message.
            let place = format!(" at line {line}, column {column}");
            let message = message.strip_suffix(&place).unwrap_or(&message);
            Problem::new(file, message).at(source, line, column)
        }
        None => Problem::new(file, message),
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
