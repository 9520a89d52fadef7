//! Where a template writes a field that is wrong in what it rendered to. The rendered text knows nothing of the template,
//! so the field is looked for by its name, by the names around it and by its value.

use crate::bundle::Bundle;
use crate::bundle::problem::Problem;
use crate::bundle::templates::{ChildTemplate, stem};
use serde_json::Value;

/// A field of a rendered object.
pub struct Field<'a> {
    /// Such as `spec.ports[0].port`.
    pub path: &'a str,
    pub value: Option<&'a Value>,
}

/// A line that writes a field of that name.
struct Found<'a> {
    file: &'a str,
    source: &'a str,
    /// From 0.
    line: usize,
    /// The byte where the name begins.
    at: usize,
}

/// Places a mistake about a field where the template or a partial writes it, if that can be told.
pub fn place(
    problem: Problem,
    bundle: &Bundle,
    template: &ChildTemplate,
    field: &Field,
) -> Problem {
    let mut names = names(field.path);
    let Some(key) = names.pop() else {
        return problem;
    };
    let mut found: Vec<Found> = Vec::new();
    for (file, source) in &bundle.templates.files {
        if file.contains("/_") || stem(file) == template.stem {
            found.extend(lines_with(file, source, key));
        }
    }
    keep(&mut found, |f| fits(&around(f), &names));
    // A partial knows less of what is around it.
    let most = found.iter().map(|f| around(f).len()).max();
    found.retain(|f| Some(around(f).len()) == most);
    if let Some(value) = field.value {
        let value = value.as_str().map_or_else(|| value.to_string(), Into::into);
        keep(&mut found, |f| rest(f, key).contains(&value));
    }
    let [
        Found {
            file,
            source,
            line,
            at,
        },
    ] = found.as_slice()
    else {
        return problem;
    };
    let column = source.lines().nth(*line).unwrap_or_default();
    let column = column.get(..*at).map_or(0, |before| before.chars().count());
    let mut placed = problem.at(source, line + 1, column + 1);
    placed.file = file.to_string();
    placed
}

/// Keeps those that fit, unless none does.
fn keep(found: &mut Vec<Found>, fits: impl Fn(&Found) -> bool) {
    if found.iter().any(&fits) {
        found.retain(fits);
    }
}

/// The names of a path without the numbers of its lists.
fn names(path: &str) -> Vec<&str> {
    let names = path.split(['.', '[', ']']);
    names
        .filter(|n| !n.is_empty() && !n.bytes().all(|b| b.is_ascii_digit()))
        .collect()
}

fn lines_with<'a>(file: &'a str, source: &'a str, key: &str) -> Vec<Found<'a>> {
    let written = format!("{key}:");
    let at = |line: &str| {
        if line.trim_start().starts_with('#') {
            return None;
        }
        let mut all = line.match_indices(&written).map(|(at, _)| at);
        all.find(|at| {
            let before = line[..*at].chars().next_back();
            before.is_none_or(|c| " {,".contains(c))
        })
    };
    let lines = source.lines().enumerate();
    lines
        .filter_map(|(line, text)| {
            at(text).map(|at| Found {
                file,
                source,
                line,
                at,
            })
        })
        .collect()
}

/// What stands behind the name on its line.
fn rest<'a>(found: &Found<'a>, key: &str) -> &'a str {
    let line = found.source.lines().nth(found.line).unwrap_or_default();
    line.get(found.at + key.len()..).unwrap_or_default()
}

/// Whether the names around a line, the nearest first, are those of a path: all that the file has of them.
fn fits(around: &[&str], path: &[&str]) -> bool {
    around.len() <= path.len() && around.iter().zip(path.iter().rev()).all(|(a, b)| a == b)
}

/// The keys that a line is below by its indentation, the nearest first.
fn around<'a>(found: &Found<'a>) -> Vec<&'a str> {
    let lines: Vec<&str> = found.source.lines().take(found.line + 1).collect();
    let mut keys = Vec::new();
    let mut limit = found.at;
    for line in lines.iter().rev() {
        if let Some((column, key)) = first_key(line)
            && column < limit
        {
            limit = column;
            keys.push(key);
        }
    }
    keys
}

/// The key that a line begins with and its column, behind the dashes of lists.
fn first_key(line: &str) -> Option<(usize, &str)> {
    let text = line.trim_start_matches([' ', '-']);
    let (key, _) = text.split_once(':')?;
    let is_word = |c: char| c.is_alphanumeric() || "-_./".contains(c);
    let is_key = !key.is_empty() && key.chars().all(is_word);
    is_key.then_some((line.len() - text.len(), key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_by_what_is_around_it() {
        let source = "spec:\n  ports:\n  - name: a\n    port: 1\n  # port: 2\n  other: {port: 3}\n  template:\n    port: 4\n";
        let found = lines_with("a", source, "port");
        let around: Vec<_> = found.iter().map(around).collect();
        let expected: [&[&str]; 3] = [
            &["ports", "spec"],
            &["other", "spec"],
            &["template", "spec"],
        ];
        assert_eq!(around, expected);
        assert!(fits(&around[0], &names("spec.ports[0]")));
        assert!(!fits(&around[2], &names("spec.ports[0]")));
    }
}
