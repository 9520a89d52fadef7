//! What templates can do beyond minijinja's own filters.

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The longest name of a volume, a container or a port: a DNS label (RFC 1123).
const MAX_LABEL: usize = 63;

pub fn install(env: &mut Environment<'static>) {
    env.add_filter("shell_words", shell_words);
    env.add_filter("object_name", object_name);
    env.add_filter("volume_name", volume_name);
    env.add_filter("merge", merge);
    env.add_filter("only", only);
    env.add_filter("last_of_each", last_of_each);
    env.add_filter("entries", entries);
    env.add_filter("without_empty", without_empty);
    env.add_function("warn", warn);
    // An interpolation is always one JSON value; nothing may say otherwise.
    for filter in ["safe", "escape", "e", "tojson"] {
        env.remove_filter(filter);
    }
}

/// What templates said about the test they render.
#[derive(Debug, Default)]
pub struct Warnings(pub Vec<String>);

/// `{% do warn("...") %}`: shown once, as an event on the test.
fn warn(state: &mut State, message: String) {
    let warnings = state.get_or_insert_extension(Warnings::default());
    if !warnings.0.contains(&message) {
        warnings.0.push(message);
    }
}

/// `command | shell_words`: the words of a command line. Quotes group words and
/// are removed; every other character stays as it is. When the quotes do not
/// balance, the text is split at white space, with a warning.
fn shell_words(state: &mut State, command: String) -> Vec<String> {
    split_quoted(&command).unwrap_or_else(|| {
        warn(
            state,
            format!(
                "a command is split at white space, because its quotes do not balance: {command}"
            ),
        );
        command.split_whitespace().map(str::to_string).collect()
    })
}

/// `None` when a quote is not closed. Inside double quotes a backslash escapes
/// `"` and `\`, as in a shell.
fn split_quoted(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('"'), '\\') if matches!(chars.peek(), Some('"' | '\\')) => {
                word.get_or_insert_default().extend(chars.next());
            }
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// `name | object_name`: a test's name as part of a Service name (no dots).
fn object_name(name: &str) -> String {
    name.replace('.', "-")
}

/// `text | volume_name`: `text` itself where it is a DNS label, else a label
/// made from it that stays the same and that no other text gives.
fn volume_name(text: &str) -> String {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_label = !text.is_empty()
        && text.len() <= MAX_LABEL
        && text.chars().all(valid)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_label {
        return text.to_string();
    }
    let hash = format!("{:x}", Sha256::digest(text.as_bytes()));
    let suffix = &hash[..8];
    let mut name: String = text
        .to_lowercase()
        .chars()
        .map(|c| if valid(c) { c } else { '-' })
        .take(MAX_LABEL - 1 - suffix.len())
        .collect();
    name = name.trim_matches('-').to_string();
    if name.is_empty() {
        name.push('v');
    }
    format!("{name}-{suffix}")
}

/// `a | merge(b)`: one map with the entries of both; those of `b` win. Either
/// may be undefined or none.
fn merge(a: Value, b: Value) -> Result<Value, Error> {
    let mut merged = BTreeMap::new();
    for map in [a, b] {
        match map.kind() {
            ValueKind::Undefined | ValueKind::None => {}
            ValueKind::Map => {
                for key in map.try_iter()? {
                    let value = map.get_item(&key)?;
                    merged.insert(key, value);
                }
            }
            kind => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("merge takes two maps, not a {kind}"),
                ));
            }
        }
    }
    Ok(Value::from(merged))
}

/// `map | only(["team", "stage"])`: the entries of these names, as far as there are such.
fn only(map: Value, names: Value) -> Result<Value, Error> {
    let mut kept = BTreeMap::new();
    for name in names.try_iter()? {
        let value = map.get_item(&name)?;
        if !value.is_undefined() {
            kept.insert(name, value);
        }
    }
    Ok(Value::from(kept))
}

/// `map | entries("name", "value")`: a list with one map for each entry, sorted
/// by key, as Kubernetes writes environments.
fn entries(map: Value, key_field: &str, value_field: &str) -> Result<Value, Error> {
    let mut keys: Vec<Value> = map.try_iter()?.collect();
    keys.sort();
    let entry = |key: Value| {
        let value = map.get_item(&key)?;
        Ok(Value::from_pairs([(key_field, key), (value_field, value)]))
    };
    keys.into_iter().map(entry).collect()
}

/// `map | without_empty`: without the entries that are `""` or an empty map, at
/// every depth.
fn without_empty(map: Value) -> Result<Value, Error> {
    let mut kept = BTreeMap::new();
    for key in map.try_iter()? {
        let mut value = map.get_item(&key)?;
        if value.kind() == ValueKind::Map {
            value = without_empty(value)?;
        }
        let is_empty =
            value.as_str() == Some("") || value.kind() == ValueKind::Map && value.len() == Some(0);
        if !is_empty {
            kept.insert(key, value);
        }
    }
    Ok(Value::from(kept))
}

/// `list | last_of_each("name")`: of the entries with the same `name` only the
/// last, in its place.
fn last_of_each(list: Value, key: &str) -> Result<Value, Error> {
    let entries: Vec<Value> = list.try_iter()?.collect();
    let mut last = BTreeMap::new();
    for (n, entry) in entries.iter().enumerate() {
        last.insert(entry.get_attr(key)?, n);
    }
    let mut kept: Vec<usize> = last.into_values().collect();
    kept.sort_unstable();
    Ok(kept.into_iter().map(|n| entries[n].clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn words(command: &str, expected: &[&str]) {
        let split = split_quoted(command).expect("balanced");
        assert_eq!(split, expected, "{command}");
    }

    #[test]
    fn quotes_group_and_everything_else_stays() {
        words(r#"--host "a b" -x"#, &["--host", "a b", "-x"]);
        words("--host 'a b'", &["--host", "a b"]);
        words(
            r"c:\src $X $(X) # {{a}}",
            &[r"c:\src", "$X", "$(X)", "#", "{{a}}"],
        );
        words(r#"--a="b c"'d e'"#, &["--a=b cd e"]);
        words("''", &[""]);
        words(" \t\n ", &[]);
        words(r#""a \"b\" \c""#, &[r#"a "b" \c"#]);
        assert_eq!(split_quoted("it's"), None);
    }

    #[test]
    fn volume_names_are_labels_and_differ() {
        assert_eq!(volume_name("secret-db"), "secret-db");
        let dotted = volume_name("secret-a.b");
        assert!(dotted.starts_with("secret-a-b-") && dotted.len() <= MAX_LABEL);
        assert_ne!(dotted, volume_name("secret-a_b"));
        assert_eq!(volume_name(&"x".repeat(200)).len(), MAX_LABEL);
        assert_eq!(volume_name("…").len(), "v-".len() + 8);
    }
}
