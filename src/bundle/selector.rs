//! Label selectors as `podSelector` is one: labels and the values that they have, joined by commas.

/// At most 63 characters, letters or digits at both ends.
macro_rules! name {
    () => {
        "[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?"
    };
}

/// `key=value` with white space around either.
macro_rules! pair {
    () => {
        concat!(
            r"\s*(",
            "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
            r"(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?",
            name!(),
            r"\s*==?\s*(",
            name!(),
            r")?\s*"
        )
    };
}

/// What [`parse`] takes, for JSON Schemas. (That a prefix has at most 253 characters is left out.)
pub const PATTERN: &str = concat!("^", pair!(), "(,", pair!(), ")*$");

/// The labels that a selector asks for; the error says what is wrong.
pub fn parse(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let part = |part| {
        let part: &str = part;
        let (key, value) = part
            .split_once("==")
            .or_else(|| part.split_once('='))
            .ok_or_else(|| format!("`{}` has no `=`", part.trim()))?;
        let (key, value) = (key.trim(), value.trim());
        match (is_key(key), value.is_empty() || is_name(value)) {
            (false, _) => Err(format!("`{key}` is not a label")),
            (_, false) => Err(format!("`{value}` is not a value of a label")),
            _ => Ok((key, value)),
        }
    };
    text.split(',').map(part).collect()
}

/// A name, which a DNS subdomain and a slash may stand before.
fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => super::types::is_object_name(prefix) && is_name(name),
        None => is_name(text),
    }
}

fn is_name(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && is_end(text.chars().next())
        && is_end(text.chars().next_back())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_their_values() {
        assert_eq!(parse("a=b"), Ok(vec![("a", "b")]));
        let two = vec![("x.io/a", "b"), ("c", "")];
        assert_eq!(parse("x.io/a == b, c="), Ok(two));
        for bad in [
            "", "a", "a b=c", "a=b c", "a in (b)", "a!=b", "-a=b", "a=b,", "/a=b",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
