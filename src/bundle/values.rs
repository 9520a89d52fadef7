//! Values: the settings of a bundle. `values.yaml` holds them;
//! `environment.yaml` says which environment variable of the operator sets
//! which of them, and of what type it is.

use super::Files;
use super::problem::Problem;
use super::rules::Placed;
use super::yaml;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One line of `environment.yaml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Setting {
    /// The value that the variable sets: keys joined by dots.
    value: Placed,
    #[serde(rename = "type", default)]
    kind: Kind,
    /// A credential: a plain value ends up in pods, which is warned of.
    #[serde(default)]
    secret: bool,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    #[default]
    String,
    /// A Kubernetes quantity; a bad one refuses to start.
    Quantity,
    /// The name of an object; a bad one refuses to start.
    ObjectName,
    /// A bad one is warned of and the default holds.
    Boolean,
    /// A bad one is warned of and the default holds.
    Integer,
}

/// What problems name as the file of a setting.
pub const SETTINGS: &str = "the environment";

/// The values of a bundle with the operator's environment applied; nothing when they cannot be read.
pub fn load(
    files: &Files,
    settings: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Option<Value> {
    let mut values = match files.contains_key("values.yaml") {
        true => read::<Value>(files, "values.yaml", problems)?,
        false => Value::Null,
    };
    if !values.is_object() {
        problems.push(
            Problem::new("values.yaml", "values are a map")
                .help("write one setting a line, as `name: value`"),
        );
        return None;
    }
    let file = "environment.yaml";
    let known: BTreeMap<String, Setting> = read(files, file, problems).unwrap_or_default();
    for (variable, setting) in &known {
        let pointer = format!("/{}", setting.value.value.replace('.', "/"));
        let Some(slot) = values.pointer_mut(&pointer) else {
            let source = files.get(file).map_or("", String::as_str);
            let at = setting.value.referenced;
            problems.push(
                Problem::new(
                    file,
                    format!("values.yaml has no `{}`", setting.value.value),
                )
                .at(source, at.line() as usize, at.column() as usize)
                .help(
                    "a variable sets a value that exists; add it to values.yaml, if only as null",
                ),
            );
            continue;
        };
        // As for the incumbent, an empty variable is one that is not set.
        let Some(text) = settings.get(variable).filter(|t| !t.is_empty()) else {
            continue;
        };
        match parse(setting.kind, text) {
            Ok(value) => {
                *slot = value;
                if setting.secret {
                    warnings.push(format!(
                        "{variable} holds a credential in plain text, which pods get as it is; name a Secret instead"
                    ));
                }
            }
            Err(Mistake::Refuse(expected)) => problems.push(Problem::new(
                SETTINGS,
                format!("{variable} is not {expected}: `{text}`"),
            )),
            Err(Mistake::Warn(expected)) => warnings.push(format!(
                "{variable} is not {expected}: `{text}`; the default {slot} holds"
            )),
        }
    }
    Some(values)
}

enum Mistake {
    Refuse(&'static str),
    Warn(&'static str),
}

fn parse(kind: Kind, text: &str) -> Result<Value, Mistake> {
    match kind {
        Kind::String => Ok(text.into()),
        Kind::Quantity if is_quantity(text) => Ok(text.into()),
        Kind::Quantity => Err(Mistake::Refuse("a quantity such as 250m, 128Mi or 30M")),
        Kind::ObjectName if is_object_name(text) => Ok(text.into()),
        Kind::ObjectName => Err(Mistake::Refuse(
            "an object name (lower-case letters, digits, dots and dashes)",
        )),
        // What Go's strconv.ParseBool takes, which the variables are written for.
        Kind::Boolean => match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true.into()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false.into()),
            _ => Err(Mistake::Warn("true or false")),
        },
        Kind::Integer => match text.parse::<i32>() {
            Ok(n) => Ok(n.into()),
            Err(_) => Err(Mistake::Warn("an integer")),
        },
    }
}

/// Kubernetes' grammar: a decimal number and an SI, binary or exponent suffix.
fn is_quantity(text: &str) -> bool {
    let number = text.trim_start_matches(['+', '-']);
    if text.len() - number.len() > 1 {
        return false;
    }
    let end = number
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(number.len());
    let (digits, suffix) = number.split_at(end);
    let decimal = digits.chars().any(|c| c.is_ascii_digit()) && digits.matches('.').count() <= 1;
    let exponent = suffix
        .strip_prefix(['e', 'E'])
        .is_some_and(|e| e.parse::<i32>().is_ok());
    let suffixes = [
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
    ];
    decimal && (exponent || suffixes.contains(&suffix))
}

/// A DNS subdomain (RFC 1123).
fn is_object_name(text: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn read<T: serde::de::DeserializeOwned>(
    files: &Files,
    file: &str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let source = files.get(file)?;
    yaml::from_str(file, source)
        .map_err(|problem| problems.push(*problem))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for good in ["250m", "128Mi", "30M", "1", "0.5", "1e3", "+1Gi", "12E2"] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "m", "1.2.3", "1 Gi", "1gi", "--1", "ten"] {
            assert!(!is_quantity(bad), "{bad}");
        }
    }
}
