//! `types.yaml`: what may stand where in values.yaml, and whether a value is one of its type.

use super::durations;
use super::selector;
use super::tree::Content;
use serde::Deserialize;
use serde_json::Value;

/// `types.yaml`: paths of values, with `*` for any one key.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Types {
    duration: Vec<String>,
    quantity: Vec<String>,
    object_name: Vec<String>,
    label_selector: Vec<String>,
    integer: Vec<String>,
    map: Vec<String>,
    secret: Vec<String>,
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Duration,
    Quantity,
    ObjectName,
    LabelSelector,
    /// A whole number, or null.
    Integer,
    /// With keys of any name.
    Map,
    String,
    Number,
    Boolean,
    List,
    /// With the keys that are there.
    Fields,
    Any,
}

impl Types {
    /// The type of the value at `path`; `known` stands there in a layer below.
    pub fn of(&self, path: &str, known: &Content) -> Kind {
        let listed = [
            (&self.duration, Kind::Duration),
            (&self.quantity, Kind::Quantity),
            (&self.object_name, Kind::ObjectName),
            (&self.label_selector, Kind::LabelSelector),
            (&self.integer, Kind::Integer),
            (&self.map, Kind::Map),
        ];
        let listed = listed.into_iter().find(|(paths, _)| names(paths, path));
        listed.map_or_else(
            || match known {
                Content::Map(_) => Kind::Fields,
                Content::List(_) => Kind::List,
                Content::Scalar(Value::String(_)) => Kind::String,
                Content::Scalar(Value::Bool(_)) => Kind::Boolean,
                Content::Scalar(Value::Number(_)) => Kind::Number,
                Content::Scalar(_) => Kind::Any,
            },
            |(_, kind)| kind,
        )
    }

    /// The last keys of the paths of credentials.
    pub fn secret_keys(&self) -> impl Iterator<Item = &str> {
        let paths = self.secret.iter();
        paths.map(|path| path.rsplit('.').next().unwrap_or(path))
    }

    pub fn is_secret(&self, path: &str) -> bool {
        names(&self.secret, path)
    }
}

fn names(patterns: &[String], path: &str) -> bool {
    patterns.iter().any(|pattern| {
        let (mut pattern, mut path) = (pattern.split('.'), path.split('.'));
        loop {
            match (pattern.next(), path.next()) {
                (None, None) => return true,
                (Some(p), Some(key)) if p == "*" || p == key => {}
                _ => return false,
            }
        }
    })
}

/// What a type is called, and what to write.
pub(super) fn expected(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Duration => (
            "a duration",
            "write days, hours, minutes and whole seconds, such as `90s`, `2m`, `1h30m` or `7d`, or `never`",
        ),
        Kind::Quantity => (
            "a quantity",
            "write a number with a unit, such as `250m`, `128Mi` or `30M`, or \"\" for none",
        ),
        Kind::LabelSelector => (
            "a label selector",
            "write a label and its value, `label=value`; join several with commas",
        ),
        Kind::ObjectName => (
            "an object name",
            "write lower-case letters, digits, dots and dashes, or \"\" for none",
        ),
        Kind::Integer => (
            "a whole number",
            "write it without quotes, or null for none",
        ),
        Kind::Number => ("a number", "write it without quotes"),
        Kind::Boolean => ("true or false", "write `true` or `false`, without quotes"),
        Kind::String => ("a string", "write it in quotes"),
        Kind::List => ("a list", "write `[a, b]`, or one `- entry` a line"),
        Kind::Map => ("a map", "write `{key: value}`, or one entry a line"),
        Kind::Fields | Kind::Any => ("a value", "write one"),
    }
}

/// Why the text of a variable is no value.
pub(super) enum Mistake {
    Refuse(&'static str),
    Warn(&'static str),
}

/// A value from the text of an environment variable.
pub(super) fn parse(kind: Kind, text: &str) -> Result<Value, Mistake> {
    match kind {
        Kind::Quantity if !is_quantity(text) => {
            Err(Mistake::Refuse("a quantity such as 250m, 128Mi or 30M"))
        }
        Kind::LabelSelector if selector::parse(text).is_err() => {
            Err(Mistake::Refuse("a label selector such as label=value"))
        }
        Kind::ObjectName if !is_object_name(text) => Err(Mistake::Refuse(
            "an object name (lower-case letters, digits, dots and dashes)",
        )),
        Kind::Duration if !is_duration(text) => {
            Err(Mistake::Refuse("a duration such as 90s, 2m or 1h30m"))
        }
        // What Go's strconv.ParseBool takes, which the variables are written for.
        Kind::Boolean => match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true.into()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false.into()),
            _ => Err(Mistake::Warn("true or false")),
        },
        Kind::Integer | Kind::Number => match text.parse::<i32>() {
            Ok(n) => Ok(n.into()),
            Err(_) => Err(Mistake::Warn("an integer")),
        },
        _ => Ok(text.into()),
    }
}

pub(super) fn is_duration(text: &str) -> bool {
    let duration = durations::parse(text);
    text == "never" || duration.is_some_and(|d| !d.is_negative() && d.subsec_nanos() == 0)
}

/// Kubernetes' grammar: a decimal number and an SI, binary or exponent suffix.
pub(super) fn is_quantity(text: &str) -> bool {
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
pub(super) fn is_object_name(text: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    text.len() <= 253 && text.split('.').all(label)
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
