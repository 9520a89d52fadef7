//! What a template that extends another may hold: blocks of that other. minijinja drops all else without a word, and a block
//! of a name that the other has not.

use super::interpolations::{Tag, tags};
use super::lines::Lines;
use super::names::extended;
use super::problem::{Problem, suggestion};
use super::templates::Templates;
use std::cell::LazyCell;

/// Reports blocks that nothing below has, and text outside of blocks.
pub fn check(file: &str, source: &str, templates: &Templates, problems: &mut Vec<Problem>) {
    if extended(source).is_none() {
        return;
    }
    let inherited = inherited(file, templates);
    let lines = LazyCell::new(|| Lines::of(source));
    let mut say = |offset: usize, message: String, help: String| {
        let problem = Problem::new(file, message).within(&lines, lines.place(offset));
        problems.push(problem.help(help));
    };
    let mut depth = 0usize;
    let mut text_from = 0;
    let mut is_dropped = None;
    for tag in tags(source) {
        if tag.kind.is_empty() {
            continue;
        }
        if depth == 0 {
            let print = (tag.kind == "{{").then_some(tag.start);
            is_dropped = is_dropped.or_else(|| text_in(source, text_from, tag.start).or(print));
        }
        text_from = tag.end;
        match statement(source, &tag) {
            ("block", name) => {
                if depth == 0 && !inherited.contains(&name) {
                    say(
                        tag.start,
                        unknown(name),
                        suggestion(name, inherited.iter().copied(), "blocks are"),
                    );
                }
                depth += 1;
            }
            ("macro", _) => depth += 1,
            ("endblock" | "endmacro", _) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    is_dropped = is_dropped.or_else(|| text_in(source, text_from, source.len()));
    if let Some(offset) = is_dropped.filter(|_| depth == 0) {
        say(
            offset,
            "this is dropped: a template that extends another has blocks alone".to_string(),
            format!("write it in a block; there are {}", inherited.join(", ")),
        );
    }
}

fn unknown(name: &str) -> String {
    format!("the template below has no block `{name}`")
}

/// The blocks of all templates that a file extends, one through the other.
fn inherited<'t>(file: &str, templates: &'t Templates) -> Vec<&'t str> {
    let mut blocks = Vec::new();
    let mut file = Some(file);
    // A chain is at most as long as there are files.
    for _ in &templates.files {
        let source = file.and_then(|file| templates.files.get(file));
        let below = source.and_then(|source| extended(source));
        file = file
            .zip(below)
            .and_then(|(file, (_, name))| templates.versions.resolve(&name, file));
        let Some(source) = file.and_then(|file| templates.files.get(file)) else {
            break;
        };
        for tag in tags(source) {
            if let ("block", name) = statement(source, &tag)
                && !blocks.contains(&name)
            {
                blocks.push(name);
            }
        }
    }
    blocks
}

/// The first word of a statement and the one after it.
fn statement<'s>(source: &'s str, tag: &Tag) -> (&'s str, &'s str) {
    if tag.kind != "{%" {
        return ("", "");
    }
    let code = source.get(tag.start + 2..tag.end.saturating_sub(2));
    let code = code.unwrap_or_default().trim_matches(['-', '+']);
    let mut words = code.split_whitespace();
    let word = words.next().unwrap_or_default();
    (word, words.next().unwrap_or_default())
}

/// Where the first character stands that is no white space.
fn text_in(source: &str, from: usize, to: usize) -> Option<usize> {
    let text = source.get(from..to)?;
    Some(from + text.find(|c: char| !c.is_whitespace())?)
}
