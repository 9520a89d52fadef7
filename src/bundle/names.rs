//! The names in a template that are known at load: filters, tests, functions and other templates. minijinja looks
//! them up when it comes to them, which for a branch that is seldom taken is long after the template was shipped.

use super::interpolations::tags;
use super::lines::Lines;
use super::problem::{Problem, suggestion};
use super::templates::{Templates, stem};
use minijinja::{Environment, ErrorKind};
use regex::{Captures, Regex};
use std::cell::LazyCell;
use std::sync::LazyLock;

/// What templates use besides their own names; for "did you mean".
const FILTERS: &[&str] = &[
    "shell_words",
    "object_name",
    "volume_name",
    "merge",
    "only",
    "last_of_each",
    "entries",
    "without_empty",
    "default",
    "list",
    "length",
    "map",
    "select",
    "selectattr",
    "reject",
    "rejectattr",
    "unique",
    "sort",
    "dictsort",
    "items",
    "join",
    "replace",
    "lower",
    "upper",
    "trim",
    "string",
    "int",
    "float",
    "bool",
    "first",
    "last",
    "reverse",
    "split",
];
const TESTS: &[&str] = &[
    "defined",
    "undefined",
    "none",
    "true",
    "false",
    "string",
    "number",
    "integer",
    "mapping",
    "sequence",
    "eq",
    "ne",
    "gt",
    "ge",
    "lt",
    "le",
    "in",
    "startingwith",
    "endingwith",
    "odd",
    "even",
];
const FUNCTIONS: &[&str] = &[
    "warn",
    "range",
    "dict",
    "namespace",
    "super",
    "loop",
    "caller",
];
const KEYWORDS: &[&str] = &[
    "if", "elif", "else", "and", "or", "not", "in", "is", "for", "set", "do", "with", "call",
    "filter",
];

static FILTER: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"\|\s*([A-Za-z_]\w*)"));
static TEST: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"\bis\s+(?:not\s+)?([A-Za-z_]\w*)"));
static CALL: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r"([A-Za-z_]\w*)\s*\("));
static DEFINED: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"\b(?:macro|set|for|import|as|with|,)\s+(\w+)"));
static TEMPLATE: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r#"^-?\s*(?:include|extends|import|from)\s+["']((?u:[^"']+))["']"#));

/// Names and spaces of templates are ASCII; a program that knows all letters there are takes a hundred times the memory.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(&format!("(?-u){text}")).ok()
}

/// Reports every name of `file` that nothing answers to.
pub fn check(
    file: &str,
    source: &str,
    templates: &Templates,
    env: &Environment<'_>,
    problems: &mut Vec<Problem>,
) {
    let lines = LazyCell::new(|| Lines::of(source));
    let mut say = |offset: usize, message: String, help: String| {
        let problem = Problem::new(file, message).within(&lines, lines.place(offset));
        problems.push(problem.help(help));
    };
    for tag in tags(source).filter(|t| t.kind == "{{" || t.kind == "{%") {
        let start = tag.start + 2;
        let Some(code) = source.get(start..tag.end.saturating_sub(2)) else {
            continue;
        };
        for found in all(&TEMPLATE, code) {
            let name = found.as_str();
            if templates.versions.resolve(name, file).is_some() || code.contains("ignore missing") {
                continue;
            }
            let mut known: Vec<&str> = templates.versions.all().map(|(name, _)| name).collect();
            let (message, help) = match known.contains(&name) {
                true => (
                    format!("no layer below has a template `{name}`"),
                    "a template's own name means that of the layer below; name another".to_string(),
                ),
                false => {
                    // Its own name means what is below it, if there is anything.
                    let has_below = templates.versions.below(file).is_some();
                    known.retain(|known| has_below || !templates.versions.is(known, file));
                    let help = match templates.removed.get(stem(name)) {
                        Some(by) => format!("{by} removes it"),
                        None => suggestion(name, known.iter().copied(), "templates are"),
                    };
                    (format!("there is no template `{name}`"), help)
                }
            };
            say(start + found.start(), message, help);
        }
        let code = without_strings(code);
        let mut taken = Vec::new();
        for (pattern, kind, known, what) in [
            (&FILTER, ErrorKind::UnknownFilter, FILTERS, "filter"),
            (&TEST, ErrorKind::UnknownTest, TESTS, "test"),
        ] {
            for found in all(pattern, &code) {
                let name = found.as_str();
                taken.push(found.start());
                let probe = match kind {
                    ErrorKind::UnknownFilter => format!("0|{name}"),
                    _ => format!("0 is {name}"),
                };
                if fails(env, &probe, kind) {
                    let help = suggestion(name, known.iter().copied(), &format!("{what}s are"));
                    say(
                        start + found.start(),
                        format!("there is no {what} `{name}`"),
                        help,
                    );
                }
            }
        }
        for found in all(&CALL, &code) {
            let name = found.as_str();
            let is_method = code[..found.start()].trim_end().ends_with('.');
            let known = taken.contains(&found.start())
                || is_method
                || KEYWORDS.contains(&name)
                || FUNCTIONS.contains(&name)
                || templates.files.values().any(|source| defines(source, name));
            if !known && fails(env, &format!("{name}()"), ErrorKind::UnknownFunction) {
                let help = suggestion(name, FUNCTIONS.iter().copied(), "functions are");
                say(
                    start + found.start(),
                    format!("there is no function `{name}`"),
                    help,
                );
            }
        }
    }
}

/// What a template extends, and where it says so.
pub fn extended(source: &str) -> Option<(usize, String)> {
    let mut tags = tags(source).filter(|t| t.kind == "{%");
    tags.find_map(|tag| {
        let code = source.get(tag.start + 2..tag.end.saturating_sub(2))?;
        let is_extends = code
            .trim_start_matches('-')
            .trim_start()
            .starts_with("extends");
        let found = all(&TEMPLATE, code).next().filter(|_| is_extends)?;
        Some((tag.start + 2 + found.start(), found.as_str().to_string()))
    })
}

fn all<'t>(pattern: &'t Option<Regex>, code: &'t str) -> impl Iterator<Item = regex::Match<'t>> {
    let name = |found: Captures<'t>| found.get(1);
    let found = pattern.iter().flat_map(|p| p.captures_iter(code));
    found.filter_map(name)
}

/// Does a template give `name` a meaning of its own, as a macro or a variable?
fn defines(source: &str, name: &str) -> bool {
    all(&DEFINED, source).any(|found| found.as_str() == name)
}

fn fails(env: &Environment<'_>, probe: &str, kind: ErrorKind) -> bool {
    let result = env.compile_expression(probe).and_then(|e| e.eval(()));
    result.is_err_and(|e| e.kind() == kind)
}

/// The code with its strings blanked, each byte in its place.
fn without_strings(code: &str) -> String {
    let mut quote = None;
    let mut escaped = false;
    let blank = |c: char| " ".repeat(c.len_utf8());
    code.chars()
        .map(|c| match quote {
            Some(_) if escaped => {
                escaped = false;
                blank(c)
            }
            Some(_) if c == '\\' => {
                escaped = true;
                blank(c)
            }
            Some(q) if c == q => {
                quote = None;
                blank(c)
            }
            Some(_) => blank(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                blank(c)
            }
            None => c.to_string(),
        })
        .collect()
}
