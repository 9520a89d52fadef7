//! Printing: the one place that knows about terminals, colour and broken pipes.

use super::Failure;
use crate::bundle::yaml;
use crate::engine::text::{escape, is_bidi};
use serde::Serialize;
use serde_json::Value;
use std::io::{self, IsTerminal, Write};

/// How objects are printed.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Format {
    /// A stream of YAML documents
    Yaml,
    /// One object, or a List of several
    Json,
}

impl Format {
    pub fn print(self, objects: &[Value]) -> Result<String, Failure> {
        match self {
            Format::Yaml => {
                let documents: Result<Vec<_>, _> = objects.iter().map(yaml::to_string).collect();
                let yaml = documents?.join("---\n");
                Ok(for_terminal(yaml))
            }
            Format::Json => {
                let list = match objects {
                    [one] => one.clone(),
                    all => serde_json::json!({"apiVersion": "v1", "kind": "List", "items": all}),
                };
                let json = serde_json::to_string_pretty(&list);
                // In JSON they can only be in strings, and an escape is read as what it stands for.
                json.map(|json| visible(&json) + "\n")
                    .map_err(|e| Failure::Other(format!("cannot be written as JSON: {e}")))
            }
        }
    }
}

/// YAML as it is, for a reader that is a program needs each character; on a terminal without those that it obeys.
pub fn for_terminal(yaml: String) -> String {
    match io::stdout().is_terminal() {
        true => visible(&yaml),
        false => yaml,
    }
}

/// Printed text without characters that a terminal obeys, each as JSON escapes it.
pub fn visible(printed: &str) -> String {
    let mut shown = String::with_capacity(printed.len());
    for c in printed.chars() {
        if c != '\n' && (c.is_control() || is_bidi(c)) {
            shown.push_str(&format!("\\u{:04x}", c as u32));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// How a report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Style {
    /// For a person
    Text,
    Yaml,
    Json,
}

impl From<Format> for Style {
    fn from(format: Format) -> Style {
        match format {
            Format::Yaml => Style::Yaml,
            Format::Json => Style::Json,
        }
    }
}

impl Style {
    /// The report as data, or as `text` for a person.
    pub fn print(
        self,
        report: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let printed = match self {
            Style::Text => highlight(&text()),
            Style::Yaml => for_terminal(yaml::to_string(report)?),
            Style::Json => {
                let json = serde_json::to_string_pretty(report);
                let json =
                    json.map_err(|e| Failure::Other(format!("cannot be written as JSON: {e}")))?;
                visible(&json) + "\n"
            }
        };
        print(&printed)
    }
}

/// The files that a command has written, by their paths in a directory.
#[derive(Debug, Serialize)]
pub struct Written {
    pub directory: String,
    pub files: Vec<String>,
}

/// Rows in columns as wide as what stands in them; the last is as long as it is.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |n: usize| {
        let cells = rows.iter().filter_map(|row| row.get(n));
        let widest = cells.map(|cell| cell.chars().count()).max();
        widest.unwrap_or_default().max(header[n].len())
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        padded
            .collect::<Vec<_>>()
            .join("   ")
            .trim_end()
            .to_string()
            + "\n"
    };
    let body = rows
        .iter()
        .map(|row| line(row.iter().map(String::as_str).collect()));
    line(header.to_vec()) + &body.collect::<String>()
}

/// Prints to standard output. A reader that has gone away is no error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Other(format!("cannot write the output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Text for a person, in which only line breaks have an effect: it may hold anything that somebody wrote into an
/// object or a file.
pub fn plain(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(escape).collect();
    lines.join("\n")
}

/// Prints to standard error, in red on a terminal unless `NO_COLOR` is set.
pub fn error(text: &str) {
    complain(text, "error:", "31");
}

/// A warning is one line.
pub fn warning(text: &str) {
    complain(&format!("warning: {}", escape(text)), "warning:", "33");
}

/// Says what goes on, to a person who waits for it.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn complain(text: &str, word: &str, colour: &str) {
    let mut out = io::stderr().lock();
    let text = plain(text);
    let text = if out.is_terminal() && may_colour() {
        text.replace(word, &format!("\x1b[1;{colour}m{word}\x1b[0m"))
    } else {
        text
    };
    // Nothing is left to say when standard error itself is gone.
    let _ = writeln!(out, "{text}");
}

fn may_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The lines of a diff or an explanation for a person, coloured on a terminal by what they start with.
pub fn highlight(text: &str) -> String {
    let text = plain(text);
    if text.is_empty() || !io::stdout().is_terminal() || !may_colour() {
        return text;
    }
    let colour = |line: &str| match line.as_bytes().first() {
        Some(b'+') => format!("\x1b[32m{line}\x1b[0m"),
        Some(b'-') => format!("\x1b[31m{line}\x1b[0m"),
        Some(b'*') => format!("\x1b[1m{line}\x1b[0m"),
        _ => line.to_string(),
    };
    let lines: Vec<String> = text.lines().map(colour).collect();
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_and_read_back_as_it_was() {
        let value = serde_json::json!({"a": "\u{9b}31m\u{7f}\u{202e}\u{2028}\u{1b}é", "b": ["x"]});
        let printed = Format::Json.print(std::slice::from_ref(&value));
        let printed = printed.unwrap_or_default();
        let obeyed = |c: char| c != '\n' && (c.is_control() || is_bidi(c));
        assert!(!printed.contains(obeyed), "{printed:?}");
        assert_eq!(serde_json::from_str::<Value>(&printed).ok(), Some(value));
    }
}
