//! A mistake in something a person wrote: which file, where in it, what is
//! wrong and what to write instead.

use std::fmt;

/// One mistake, with the excerpt that shows it. Lines and columns count from 1;
/// 0 means that the mistake concerns the whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub message: String,
    pub help: Option<String>,
    excerpt: Option<String>,
}

impl Problem {
    pub fn new(file: &str, message: impl Into<String>) -> Self {
        Problem {
            file: file.to_string(),
            line: 0,
            column: 0,
            message: message.into(),
            help: None,
            excerpt: None,
        }
    }

    /// Places the mistake in `source` and keeps the line for the excerpt.
    pub fn at(mut self, source: &str, line: usize, column: usize) -> Self {
        self.line = line;
        self.column = column.max(1);
        self.excerpt = line
            .checked_sub(1)
            .and_then(|n| source.lines().nth(n))
            .map(str::to_string);
        self
    }

    /// Places the mistake by byte offset into `source`.
    pub fn at_offset(self, source: &str, offset: usize) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        self.at(source, line, column)
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// `file:line:column: message`, for a status or a log line.
    pub fn one_line(&self) -> String {
        let message = self.message.replace('\n', " ");
        match self.line {
            0 => format!("{}: {message}", self.file),
            line => format!("{}:{line}:{}: {message}", self.file, self.column),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        if self.line == 0 {
            write!(f, "  --> {}", self.file)?;
        } else {
            write!(f, "  --> {}:{}:{}", self.file, self.line, self.column)?;
        }
        if let Some(excerpt) = &self.excerpt {
            let gutter = self.line.to_string().len();
            write!(f, "\n{:gutter$} |", "")?;
            write!(f, "\n{} | {excerpt}", self.line)?;
            write!(
                f,
                "\n{:gutter$} | {:>column$}",
                "",
                "^",
                column = self.column
            )?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// The entry of `known` that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (similar::TextDiff::from_chars(name, k).ratio(), k))
        .filter(|(ratio, _)| *ratio > 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}
