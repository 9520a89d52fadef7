//! The tags of a template, and the check that nothing touches an interpolation.

use super::lines::Lines;
use super::problem::Problem;
use std::cell::LazyCell;

/// Refuses text that touches an interpolation: a JSON value inside a longer
/// scalar is not what anybody means.
pub(super) fn check_interpolations(file: &str, source: &str, problems: &mut Vec<Problem>) {
    let lines = LazyCell::new(|| Lines::of(source));
    for tag in tags(source).filter(|t| t.kind == "{{") {
        let before = text_before(source, tag.start);
        let after = text_after(source, tag.end);
        let starts_value = before.is_empty()
            || before.ends_with([':', '-', ','])
                && before.len() < untrimmed(source, tag.start).len()
            || before.ends_with(['[', '{', '(']);
        let ends_value = after.is_empty()
            || after.starts_with([',', ']', '}', ':'])
            || after.starts_with('#') && slice(source, tag.end, source.len()).starts_with(' ');
        if !starts_value || !ends_value {
            let problem = Problem::new(
                file,
                "text touches an interpolation, which is a whole JSON value",
            );
            let help = untouched(source, &tag, &before, &after);
            problems.push(problem.within(&lines, lines.place(tag.start)).help(help));
        }
    }
}

/// What to write instead of text that touches an interpolation.
fn untouched(source: &str, tag: &Tag, before: &str, after: &str) -> String {
    // A tag at the end of the file may lack its end, or a half of it.
    let inner = slice(source, tag.start + 2, tag.end);
    let inner = inner.strip_suffix("}}").unwrap_or(inner);
    let inner = inner.trim_matches('-').trim();
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
        let open = at + source.get(at..)?.find('{')?;
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
    let rest = slice(source, from, source.len());
    for (n, c) in rest.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if strings && (c == '"' || c == '\'') => quote = Some(c),
            None if slice(rest, n, rest.len()).starts_with(close) => return from + n + close.len(),
            None => {}
        }
    }
    source.len()
}

/// A part of the text; nothing where it is none.
fn slice(text: &str, from: usize, to: usize) -> &str {
    text.get(from..to).unwrap_or_default()
}

/// The text of the line before `at`, without block tags and comments.
fn text_before(source: &str, at: usize) -> String {
    untrimmed(source, at).trim_end().to_string()
}

fn untrimmed(source: &str, at: usize) -> String {
    let before = slice(source, 0, at);
    without_blocks(before.rsplit('\n').next().unwrap_or_default())
}

fn text_after(source: &str, at: usize) -> String {
    let after = slice(source, at, source.len());
    let line = after.split('\n').next().unwrap_or_default();
    without_blocks(line).trim().to_string()
}

fn without_blocks(text: &str) -> String {
    let mut out = String::new();
    let mut at = 0;
    for tag in tags(text).filter(|t| t.kind == "{%" || t.kind == "{#") {
        out.push_str(slice(text, at, tag.start));
        at = tag.end;
    }
    out.push_str(slice(text, at, text.len()));
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
            "a: x{{",
            "a: x{{}",
            "x{{a",
            "x{{€",
        ] {
            assert!(problems(source) > 0, "{source}");
        }
    }

    #[test]
    fn a_template_may_end_anywhere() {
        let built_in = crate::bundle::Layer::built_in();
        let text = &built_in.files["templates/service.yaml"];
        for (end, _) in text.char_indices() {
            for tail in ["", "x{{", "x{{}", "x{{€"] {
                problems(&format!("{}{tail}", &text[..end]));
            }
        }
    }
}
