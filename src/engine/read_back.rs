//! Reads back the text that a template made. Most of it are interpolations, each one JSON value, and many of those are
//! whole lists and maps. A YAML parser takes twenty times as long for such a value as a JSON parser, so the value is
//! taken out of its line, a mark is left in its place, and the YAML parser reads what remains.
//!
//! What comes out is what the YAML parser alone would have read: when anything about that is in doubt, it reads all.

use crate::bundle::problem::Problem;
use crate::bundle::yaml;
use serde_json::{Map, Value};
use std::fmt::Write;

/// Begins the mark of a value. A text that holds this private character is left to the YAML parser.
const MARK: char = '\u{f8ff}';

/// The object in the text of the template `file`.
pub fn read_back(file: &str, text: &str) -> Result<Value, Box<Problem>> {
    match without_values(file, text) {
        Some(object) => {
            debug_assert_eq!(Some(&object), yaml::from_str(file, text).ok().as_ref());
            Ok(object)
        }
        None => yaml::from_str(file, text),
    }
}

fn without_values(file: &str, text: &str) -> Option<Value> {
    if text.contains(MARK) {
        return None;
    }
    let mut rest = String::with_capacity(text.len());
    let mut values = Vec::new();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        let written = written(line);
        let found = match value_of(written) {
            Some((before, value)) => Some((before, value, 0)),
            None => block_below(written, &lines[at..]).map(|(v, n)| (written, v, n)),
        };
        let Some((before, value, more)) = found else {
            rest.push_str(line);
            continue;
        };
        let space = if before.ends_with(':') { " " } else { "" };
        let end = &line[written.len()..];
        let _ = write!(rest, "{before}{space}\"{MARK}{}\"{end}", values.len());
        values.push(Some(value));
        at += more;
    }
    let mut object: Value = yaml::from_str(file, &rest).ok()?;
    put_back(&mut object, &mut values)?;
    // One that was in a comment or in the middle of a text has not been put back.
    values.iter().all(Option::is_none).then_some(object)
}

fn written(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// The list or map whose entries are lines below `key:`, each entry one JSON value, and the number of those lines.
fn block_below(key: &str, below: &[&str]) -> Option<(Value, usize)> {
    let key = key.strip_suffix(':')?;
    let column = key.len() - key.trim_start_matches([' ', '-']).len();
    let first = written(below.first()?);
    let indent = first.len() - first.trim_start_matches(' ').len();
    let is_list = first[indent..].starts_with("- ");
    if indent < column + usize::from(!is_list) {
        return None;
    }
    let mut list = Vec::new();
    let mut map = Map::new();
    let mut count = 0;
    for line in below {
        let line = written(line);
        let own = line.len() - line.trim_start_matches(' ').len();
        let entry = &line[own..];
        // The end of the block: something of what is around it.
        if own < indent && !entry.is_empty() && !entry.starts_with('#') {
            break;
        }
        if is_list && own == indent && !entry.starts_with(['-', '#']) && !entry.is_empty() {
            break;
        }
        if own != indent {
            return None;
        }
        if is_list {
            list.push(json(entry.strip_prefix("- ")?)?);
        } else {
            // The first `": ` may stand in the key itself: then neither half is JSON.
            let (name, value) = entry.split_at(entry.find("\": ")? + 1);
            let Value::String(name) = json(name)? else {
                return None;
            };
            if map.insert(name, json(&value[2..])?).is_some() {
                return None;
            }
        }
        count += 1;
    }
    let value = if is_list { list.into() } else { map.into() };
    Some((value, count))
}

/// A value that is written exactly as JSON is written here.
fn json(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    let written = value.to_string();
    (written == text).then_some(value)
}

/// The list or map at the end of a line, and what is before it. It must be written exactly as JSON is written here:
/// then YAML reads the same in it, and it names no key twice.
fn value_of(line: &str) -> Option<(&str, Value)> {
    let (before, json) = line.split_at(line.find(['{', '['])?);
    if !before.ends_with(": ") && !before.ends_with("- ") {
        return None;
    }
    Some((before, self::json(json)?))
}

/// Puts each value where its mark is; `None` when one would have to be in two places.
fn put_back(at: &mut Value, values: &mut [Option<Value>]) -> Option<()> {
    match at {
        Value::String(text) => {
            if let Some(number) = text.strip_prefix(MARK) {
                let number: usize = number.parse().ok()?;
                *at = values.get_mut(number)?.take()?;
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                put_back(entry, values)?;
            }
        }
        Value::Object(entries) => {
            for entry in entries.values_mut() {
                put_back(entry, values)?;
            }
        }
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_yaml(text: &str) -> Option<Value> {
        yaml::from_str("x", text).ok()
    }

    #[test]
    fn what_is_read_is_what_yaml_says() {
        for text in [
            "a: {\"b\":[1,2.5,true,null,\"x: y\"]}\nc:\n- {\"d\":{}}\n-  [\"#\"]\n- - []\n",
            "'a': {\"b\":1}\n\"c\": [\"\\n\\\"\"]",
            "a: [\"\u{1f600}\"]\r\nb: 1\r\n",
            "a: [1]\nb: |\n  c",
            "a: [1]\nb: |+\n  c\n\n",
            "--- {\"a\":1}",
            "a:\n- \"x\"\n- 5\n- {\"y\":[]}\nb: 1\n",
            "- a:\n  - \"x\"\n  b:\n    \"k\": \"v\"\n    \"l: \": null\n- c\n",
            "a:\n  - \"x\"",
            "a:\n  \"k\": {\"l\":1}\nb:\n  - true\n",
        ] {
            assert_eq!(without_values("x", text), by_yaml(text), "{text}");
            assert!(by_yaml(text).is_some(), "{text}");
        }
    }

    #[test]
    fn what_is_in_doubt_is_left_to_yaml() {
        for text in [
            // A part of a text or of a comment.
            "a: |\n  b: {\"c\":1}\n",
            "a: >-\n  - {\"c\":1}\n",
            "a:\n  text\n  - {\"c\":1}\n",
            "a: 'text\n\n  - {\"c\":1}\n  '\n",
            "a: 1 # b: {\"c\":1}\n",
            // A list that goes on in another way.
            "a: |\n  b:\n  - \"x\"\n",
            // In two places.
            "a: &x\n  b: {\"c\":1}\nd: *x\n",
            // The mark itself.
            "a: \"\u{f8ff}0\"\nb: {\"c\":1}\n",
            // A mistake.
            "a: {\"c\":1}\n  b\n",
            "a: {\"c\":1}\na: 2\n",
        ] {
            assert_eq!(without_values("x", text), None, "{text}");
            assert_eq!(read_back("x", text).ok(), by_yaml(text), "{text}");
        }
    }

    #[test]
    fn lines_are_taken_for_a_block_only_when_they_are_all_of_it() {
        for text in [
            "a:\n- \"x\"\n- y\n",
            "a:\n- \"x\"\n  # why\n- \"y\"\n",
            "a:\n- \"x\"\n\n- \"y\"\n",
            "a:\n  \"k\": 1\n  l: 2\n",
            "a:\n  \"k\": 1\n  \"l\":\n    m: 1\n",
            "a:\n- \"x\": 1\n",
            "- a:\n- \"x\"\n",
            "a:\n\"k\": 1\n",
            "a:\n- - \"x\"\n",
            "a:\n  - 'x'\n",
        ] {
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            assert_eq!(block_below(written(lines[0]), &lines[1..]), None, "{text}");
            assert_eq!(read_back("x", text).ok(), by_yaml(text), "{text}");
        }
        // What is given twice is a mistake.
        let twice = "a:\n  \"k\": 1\n  \"k\": 2\n";
        assert!(read_back("x", twice).is_err());
    }

    #[test]
    fn only_json_as_it_is_written_here_is_taken_out() {
        for line in [
            "a: {\"b\":1,\"b\":2}",
            "a: {\"b\": 1}",
            "a: {b: 1}",
            "a: [1e3]",
            "a: [01]",
            "a: [\"\\u0041\"]",
            "a: {\"b\":1} # why",
            "a: &x {\"b\":1}",
            "{\"b\":1}",
            "a:{\"b\":1}",
        ] {
            assert_eq!(value_of(line), None, "{line}");
        }
        assert!(value_of("  - a: {\"b\":1}").is_some());
    }
}
