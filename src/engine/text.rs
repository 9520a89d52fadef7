//! The text of a message or a reason: plain text with `{{ path }}`
//! interpolation. The `$.` of the path may be left out. What a path selects is
//! data: control and bidirectional characters are escaped, a missing value is
//! empty.

use super::path::{Path, Scope};
use crate::bundle::Secrets;
use serde_json::Value;
use std::fmt::Write;

/// The longest text that a condition or an event may carry is 32 KiB and 1 KiB;
/// a message longer than this says nothing more to a person.
const MAX_CHARS: usize = 1000;

#[derive(Debug, Clone)]
pub struct Text {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    Value(Path),
}

impl Text {
    /// Compiles `written`; an error comes with its byte offset in it.
    pub fn compile(written: &str) -> Result<Text, (usize, String)> {
        let mut parts = Vec::new();
        let mut rest = written;
        while let Some(open) = rest.find("{{") {
            let offset = written.len() - rest.len() + open;
            let Some(close) = rest[open..].find("}}") else {
                return Err((offset, "`{{` without `}}`".to_string()));
            };
            parts.push(Part::Literal(rest[..open].to_string()));
            let inner = rest[open + 2..open + close].trim();
            let path = if inner.starts_with('$') {
                Path::compile(inner)
            } else {
                Path::compile(&format!("$.{inner}"))
            };
            parts.push(Part::Value(path.map_err(|e| (offset, e))?));
            rest = &rest[open + close + 2..];
        }
        parts.push(Part::Literal(rest.to_string()));
        Ok(Text { parts })
    }

    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().filter_map(|p| match p {
            Part::Value(path) => Some(path),
            Part::Literal(_) => None,
        })
    }

    pub fn render(&self, scope: &dyn Scope) -> String {
        let mut out = String::new();
        // What is missing leaves nothing behind that was to set it off.
        let mut missing = false;
        for part in &self.parts {
            match part {
                Part::Literal(text) => {
                    let spaced = missing && (out.is_empty() || out.ends_with(' '));
                    let rest = text.strip_prefix(' ').filter(|_| spaced);
                    out.push_str(rest.unwrap_or(text));
                    missing &= text.is_empty();
                }
                Part::Value(path) => {
                    let length = out.len();
                    let mut said: Vec<&Value> = Vec::new();
                    let nodes = path.select(scope);
                    for value in nodes.iter().flat_map(|n| n.iter()) {
                        // Several conditions often say the same.
                        if said.contains(&value) {
                            continue;
                        }
                        if !said.is_empty() {
                            out.push_str(", ");
                        }
                        print(&mut out, value, scope.secrets());
                        said.push(value);
                    }
                    missing = out.len() == length;
                }
            }
        }
        let set_off = |c: char| c.is_whitespace() || missing && c == ':';
        out.truncate(out.trim_end_matches(set_off).len());
        shorten(out)
    }

    /// Whether this text may have come of rendering: what is written out is in it, in this order.
    pub fn may_say(&self, said: &str) -> bool {
        let whole = said.strip_suffix('…');
        let mut rest = said;
        for (n, part) in self.parts.iter().enumerate() {
            let Part::Literal(literal) = part else {
                continue;
            };
            // What is missing takes the space beside it along.
            let literal = literal.trim();
            let last = n + 1 == self.parts.len();
            let found = match rest.find(literal) {
                // Cut short.
                None => return whole.is_some(),
                Some(at) if n == 0 && at > 0 => return false,
                Some(_) if last && n > 0 => rest.ends_with(literal).then_some(rest.len()),
                Some(at) => Some(at + literal.len()),
            };
            let Some(end) = found else {
                return whole.is_some();
            };
            if last && n == 0 && end < rest.len() {
                return false;
            }
            rest = &rest[end..];
        }
        true
    }
}

fn print(out: &mut String, value: &Value, secrets: Option<&Secrets>) {
    let mut say = |text: &str| {
        let text = secrets.map_or(text.into(), |s| s.mask_told(text));
        out.push_str(&escape(&text));
    };
    match value {
        Value::Null => {}
        Value::String(text) => say(text),
        Value::Array(values) => {
            for (n, value) in values.iter().enumerate() {
                if n > 0 {
                    out.push_str(", ");
                }
                print(out, value, secrets);
            }
        }
        other => say(&other.to_string()),
    }
}

/// Makes text from a cluster safe to show on one line of a terminal or a log.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push(' '),
            c if c.is_control() || is_bidi(c) => {
                let _ = write!(out, "{}", c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

/// Does it change the direction of the text around it, or begin a line?
pub fn is_bidi(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

fn shorten(text: String) -> String {
    if text.len() <= MAX_CHARS {
        return text;
    }
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
