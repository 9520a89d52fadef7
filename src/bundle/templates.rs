//! The templates of a bundle: compiled, and checked for what would let text
//! become structure.

use super::filters;
use super::names;
use super::problem::Problem;
use super::yaml;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, UndefinedBehavior};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Steps (and bytes written) that one template may take. The built-in pod with
/// every field set takes some thousand; a text of a megabyte takes a million.
const FUEL: u64 = 50_000_000;

/// A template that makes one child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildTemplate {
    /// The file's stem: the child's name in rules.
    pub stem: String,
    /// The template's file.
    pub file: String,
    /// Known at load, so that watches and roles can be.
    pub api_version: String,
    pub kind: String,
}

/// Compiles `files` (`templates/<name>.yaml`); partials start with `_`.
pub fn compile(
    files: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> (Environment<'static>, Vec<ChildTemplate>) {
    let mut env = environment();
    let mut children = Vec::new();
    for (file, source) in files {
        check_interpolations(file, source, problems);
        if let Err(e) = env.add_template_owned(file.clone(), source.clone()) {
            problems.push(from_error(&e, file, files));
            continue;
        }
        let name = file.rsplit('/').next().unwrap_or(file);
        let stem = name.trim_end_matches(".yaml");
        if stem.starts_with('_') {
            continue;
        }
        match (
            header(files, file, "apiVersion:"),
            header(files, file, "kind:"),
        ) {
            (Some(api_version), Some(kind)) => children.push(ChildTemplate {
                stem: stem.to_string(),
                file: file.clone(),
                api_version,
                kind,
            }),
            _ => problems.push(
                Problem::new(file, "a child's template names its `apiVersion` and `kind`")
                    .help("write both at the start of a line, without interpolation: roles and watches are made from them; a partial's name starts with `_`"),
            ),
        }
    }
    for (file, source) in files {
        names::check(file, source, files, &env, problems);
    }
    (env, children)
}

fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    env.set_auto_escape_callback(|_| AutoEscape::Json);
    env.set_formatter(|out, _, value| write_json(out, value));
    env.set_fuel(Some(FUEL));
    env.set_syntax(lines_of_blocks_vanish());
    env.set_debug(true);
    filters::install(&mut env);
    env
}

/// A line that holds nothing but a block tag leaves no empty line behind.
fn lines_of_blocks_vanish() -> SyntaxConfig {
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    syntax.build().unwrap_or_default()
}

/// Every interpolation is one JSON value on one line, which YAML reads back to
/// the same value.
fn write_json(out: &mut Output, value: &Value) -> Result<(), Error> {
    // In a list or a map it would become null, and the field would be gone without a word.
    if let Some(path) = undefined_in(value) {
        let what = match path.as_str() {
            "" => "this value".to_string(),
            path => format!("`{path}` in this value"),
        };
        return Err(Error::new(
            ErrorKind::UndefinedError,
            format!("{what} is undefined"),
        ));
    }
    if value.is_safe() {
        // What a block or a macro made was written by this function already.
        return Ok(out.write_str(value.as_str().unwrap_or_default())?);
    }
    let json = serde_json::to_string(value)
        .map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    Ok(yaml::write_json(out, &json)?)
}

/// Where in `value` something is undefined: empty for the value itself, else a path such as `[0].name`.
fn undefined_in(value: &Value) -> Option<String> {
    match value.kind() {
        ValueKind::Undefined => Some(String::new()),
        ValueKind::Seq => value
            .try_iter()
            .ok()?
            .enumerate()
            .find_map(|(n, entry)| Some(format!("[{n}]{}", undefined_in(&entry)?))),
        ValueKind::Map => value.try_iter().ok()?.find_map(|key| {
            let below = undefined_in(&value.get_item(&key).ok()?)?;
            Some(format!(".{key}{below}"))
        }),
        _ => None,
    }
}

/// The value of a top-level `key:` line, in the file or in what it extends.
fn header(files: &BTreeMap<String, String>, file: &str, key: &str) -> Option<String> {
    let mut file = file;
    // A chain of `extends` is at most as long as there are files.
    for _ in files {
        let source = files.get(file)?;
        let value = source
            .lines()
            .find_map(|l| l.strip_prefix(key))
            .map(str::trim)
            .filter(|v| !v.is_empty() && !v.contains("{{"));
        if let Some(value) = value {
            return Some(value.trim_matches('"').to_string());
        }
        let (_, rest) = source.split_once("extends")?;
        let name = rest.split('"').nth(1)?;
        file = files.get_key_value(name)?.0;
    }
    None
}

/// An error of minijinja as a [`Problem`] in the template where it happened.
pub fn from_error(error: &Error, file: &str, files: &BTreeMap<String, String>) -> Problem {
    // An error inside an included template is the cause of one at the include.
    let mut innermost = error;
    let mut cause = std::error::Error::source(error);
    while let Some(e) = cause {
        if let Some(e) = e.downcast_ref::<Error>() {
            innermost = e;
        }
        cause = e.source();
    }
    let file = innermost.name().unwrap_or(file);
    let problem = Problem::new(file, message(innermost));
    let mut problem = match (files.get(file), innermost.range(), innermost.line()) {
        (Some(source), Some(range), _) => problem.at_offset(source, range.start),
        (Some(source), None, Some(line)) => problem.at_offset(source, tag_on(source, line)),
        _ => problem,
    };
    problem.help = help(innermost);
    problem
}

fn message(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => {
            format!("the template takes more than {FUEL} steps: does a loop not end?")
        }
        // The detail says all that the kind does.
        (ErrorKind::UndefinedError | ErrorKind::TemplateNotFound, Some(detail)) => {
            detail.to_string()
        }
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}

fn help(error: &Error) -> Option<String> {
    let detail = error.detail().unwrap_or_default();
    match error.kind() {
        ErrorKind::UndefinedError => Some(
            "correct the name, test it with `is defined`, or give it a value with `| default(...)`"
                .into(),
        ),
        ErrorKind::SyntaxError if detail.starts_with("unknown statement end") => Some(
            "something inside it is not closed: each `if`, `for`, `block` and `macro` has its end"
                .into(),
        ),
        _ => None,
    }
}

/// Where the tag begins that is on this line, or that goes on over it.
fn tag_on(source: &str, line: usize) -> usize {
    let lines = source.split_inclusive('\n');
    let start: usize = lines.clone().take(line - 1).map(str::len).sum();
    let end = start + lines.clone().nth(line - 1).map_or(0, str::len);
    let mut on_line = tags(source).filter(|t| !t.kind.is_empty() && t.start < end && t.end > start);
    on_line.next().map_or(start, |tag| tag.start)
}

/// Refuses text that touches an interpolation: a JSON value inside a longer
/// scalar is not what anybody means.
fn check_interpolations(file: &str, source: &str, problems: &mut Vec<Problem>) {
    for tag in tags(source).filter(|t| t.kind == "{{") {
        let before = text_before(source, tag.start);
        let after = text_after(source, tag.end);
        let starts_value = before.is_empty()
            || before.ends_with([':', '-', ','])
                && before.len() < untrimmed(source, tag.start).len()
            || before.ends_with(['[', '{', '(']);
        let ends_value = after.is_empty()
            || after.starts_with([',', ']', '}', ':'])
            || after.starts_with('#') && source[tag.end..].starts_with(' ');
        if !starts_value || !ends_value {
            let problem = Problem::new(
                file,
                "text touches an interpolation, which is a whole JSON value",
            );
            let help = untouched(source, &tag, &before, &after);
            problems.push(problem.at_offset(source, tag.start).help(help));
        }
    }
}

/// What to write instead of text that touches an interpolation.
fn untouched(source: &str, tag: &Tag, before: &str, after: &str) -> String {
    let inner = source[tag.start + 2..tag.end - 2].trim_matches('-').trim();
    if before.starts_with('#') {
        return "a comment of a template is written {# ... #}".into();
    }
    let spaced = untrimmed(source, tag.start).ends_with(char::is_whitespace);
    if before.ends_with(':') && !spaced {
        return format!("write a space before it: {{{{ {inner} }}}}");
    }
    let glued = |c: char| c.is_whitespace() || "{}[],".contains(c);
    let lead = match spaced {
        true => "",
        false => before.rsplit(glued).next().unwrap_or_default(),
    };
    let trail = after.split(glued).next().unwrap_or_default();
    if before.ends_with(['"', '\'']) || after.starts_with(['"', '\'']) {
        return format!("leave the quotes out, they come with the value: {{{{ {inner} }}}}");
    }
    let quoted = |text: &str| match text {
        "" => None,
        text => Some(format!("\"{text}\"")),
    };
    let parts = [quoted(lead), Some(inner.to_string()), quoted(trail)];
    match parts.iter().flatten().count() {
        1 => "join the two in one expression: {{ a ~ b }}".to_string(),
        _ => {
            let joined: Vec<String> = parts.into_iter().flatten().collect();
            format!(
                "make the text a part of the expression: {{{{ {} }}}}",
                joined.join(" ~ ")
            )
        }
    }
}

pub(super) struct Tag {
    pub kind: &'static str,
    pub start: usize,
    pub end: usize,
}

/// The tags of a template: `{{ }}`, `{% %}`, `{# #}`, with strings skipped.
pub(super) fn tags(source: &str) -> impl Iterator<Item = Tag> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let open = at + source[at..].find(['{']).filter(|_| at < source.len())?;
        let (kind, close) = match source.get(open..open + 2) {
            Some("{{") => ("{{", "}}"),
            Some("{%") => ("{%", "%}"),
            Some("{#") => ("{#", "#}"),
            _ => ("", ""),
        };
        if kind.is_empty() {
            at = open + 1;
            return Some(Tag {
                kind,
                start: open,
                end: at,
            });
        }
        let end = closing(source, open + 2, close, kind != "{#");
        at = end;
        Some(Tag {
            kind,
            start: open,
            end,
        })
    })
}

fn closing(source: &str, from: usize, close: &str, strings: bool) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (n, c) in source[from..].char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if strings && (c == '"' || c == '\'') => quote = Some(c),
            None if source[from + n..].starts_with(close) => return from + n + close.len(),
            None => {}
        }
    }
    source.len()
}

/// The text of the line before `at`, without block tags and comments.
fn text_before(source: &str, at: usize) -> String {
    untrimmed(source, at).trim_end().to_string()
}

fn untrimmed(source: &str, at: usize) -> String {
    let start = source[..at].rfind('\n').map_or(0, |n| n + 1);
    without_blocks(&source[start..at])
}

fn text_after(source: &str, at: usize) -> String {
    let end = source[at..].find('\n').map_or(source.len(), |n| at + n);
    without_blocks(&source[at..end]).trim().to_string()
}

fn without_blocks(text: &str) -> String {
    let mut out = String::new();
    let mut at = 0;
    for tag in tags(text).filter(|t| t.kind == "{%" || t.kind == "{#") {
        out.push_str(&text[at..tag.start]);
        at = tag.end;
    }
    let _ = write!(out, "{}", &text[at..]);
    out.trim_start().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(source: &str) -> usize {
        let mut problems = Vec::new();
        check_interpolations("templates/x.yaml", source, &mut problems);
        problems.len()
    }

    #[test]
    fn text_must_not_touch_an_interpolation() {
        for source in [
            "a: {{ b }}",
            "- {{ b }}",
            "a: [{{ b }}, {{ c }}]",
            "a: {x: {{ b }}}",
            "{{ key }}: {{ value }}",
            "a: {{ \"}} x\" ~ b }} # why",
            "a: {% if x %}{{ b }}{% endif %}",
        ] {
            assert_eq!(problems(source), 0, "{source}");
        }
        for source in [
            "a: x-{{ b }}",
            "a: {{ b }}-x",
            "a: \"{{ b }}\"",
            "a: {{ b }}{{ c }}",
            "a:{{ b }}",
            "# {{ b }}",
        ] {
            assert!(problems(source) > 0, "{source}");
        }
    }
}
