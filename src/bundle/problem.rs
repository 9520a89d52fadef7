//! A mistake in something a person wrote: which file, where in it, what is
//! wrong and what to write instead.

use super::lines::Lines;
use crate::engine::text::{escape, is_bidi};
use std::borrow::Cow;
use std::fmt;

/// How much of a line an excerpt shows; a line of rendered text may hold a megabyte of a test.
const EXCERPT: usize = 160;

/// How much of a line is kept on either side of a mistake. More than is shown: what is not to be shown is found in it.
const KEPT: usize = 2048;

/// So many mistakes are said one by one. Who made more made most of them in one way, and nobody reads on.
const MOST: usize = 100;

/// Names that are less alike are not taken for each other.
const NEAR: f32 = 0.6;

/// A place in a file: line and column from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// The place of a byte of `source`.
    pub fn of_offset(source: &str, offset: usize) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        Place {
            line: before.matches('\n').count() + 1,
            column: before.chars().rev().take_while(|c| *c != '\n').count() + 1,
        }
    }

    /// The byte of `source` at this place.
    pub fn offset(self, source: &str) -> Option<usize> {
        let mut lines = source.split_inclusive('\n');
        let line_number = self.line.checked_sub(1)?;
        let before: usize = lines.by_ref().take(line_number).map(str::len).sum();
        let mut columns = lines.next()?.char_indices();
        Some(before + columns.nth(self.column.checked_sub(1)?)?.0)
    }
}

/// One mistake, with the excerpt that shows it. Lines and columns count from 1;
/// 0 means that the mistake concerns the whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub message: String,
    pub help: Option<String>,
    excerpt: Option<Excerpt>,
}

/// The line of a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Excerpt {
    /// As it is in its text: of many mistakes only some are ever shown.
    Of(Lines),
    /// What is kept of it, and the column in that.
    Kept(String, usize),
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

    /// Places the mistake in `source` and keeps the part of the line that is shown.
    pub fn at(mut self, source: &str, line: usize, column: usize) -> Self {
        self.line = line;
        self.column = column.max(1);
        self.excerpt = line
            .checked_sub(1)
            .and_then(|n| source.lines().nth(n))
            .map(|line| around(line, self.column))
            .map(|(line, column)| Excerpt::Kept(line, column));
        self
    }

    /// Places the mistake by byte offset into `source`.
    pub fn at_offset(self, source: &str, offset: usize) -> Self {
        let Place { line, column } = Place::of_offset(source, offset);
        self.at(source, line, column)
    }

    /// The same as [`Problem::at`] for a text that may have many mistakes.
    pub fn within(mut self, lines: &Lines, Place { line, column }: Place) -> Self {
        self.line = line;
        self.column = column.max(1);
        self.excerpt = (line > 0).then(|| Excerpt::Of(lines.clone()));
        self
    }

    /// The line that shows the mistake, as far as it is kept, and the column in it.
    fn shown(&self) -> Option<(Cow<'_, str>, usize)> {
        match self.excerpt.as_ref()? {
            Excerpt::Kept(line, column) => Some((line.into(), *column)),
            Excerpt::Of(lines) => {
                let before = self.column.saturating_sub(KEPT);
                let from = Place {
                    line: self.line,
                    column: before + 1,
                };
                let line = lines.part(from, 2 * KEPT)?;
                Some((line.into(), self.column - before))
            }
        }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Leaves the line out that shows the mistake: it holds what nobody is to see.
    pub fn hide_excerpt(&mut self) {
        self.excerpt = None;
    }

    /// Changes what is shown of the texts that somebody wrote.
    pub fn change_texts(&mut self, change: impl Fn(&str) -> String) {
        self.message = change(&self.message);
        self.help = self.help.as_deref().map(&change);
        let kept = self.shown().and_then(|(line, caret)| {
            let changed = change(&line);
            let before: String = line.chars().take(caret - 1).collect();
            let caret = change(&before).chars().count() + 1;
            (changed != line).then_some(Excerpt::Kept(changed, caret))
        });
        self.excerpt = kept.or(self.excerpt.take());
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
        let message: Vec<String> = self.message.lines().map(escape).collect();
        writeln!(f, "error: {}", message.join("\n"))?;
        if self.line == 0 {
            write!(f, "  --> {}", escape(&self.file))?;
        } else {
            write!(
                f,
                "  --> {}:{}:{}",
                escape(&self.file),
                self.line,
                self.column
            )?;
        }
        if let Some((line, column)) = self.shown() {
            let (excerpt, caret) = excerpt(&line, column);
            let gutter = self.line.to_string().len();
            write!(f, "\n{:gutter$} |", "")?;
            write!(f, "\n{} | {excerpt}", self.line)?;
            write!(f, "\n{:gutter$} | {:>caret$}", "", "^")?;
        }
        if let Some(help) = &self.help {
            let help: Vec<String> = help.lines().map(escape).collect();
            write!(f, "\n  = help: {}", help.join("\n"))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// The first of many mistakes, and how many more there are.
pub fn first(mut problems: Vec<Problem>) -> Vec<Problem> {
    // What was shortened already stays as it is.
    if problems.len() > MOST + 1 {
        let more = problems.len() - MOST;
        problems.truncate(MOST);
        let file = problems.last().map_or("", |last| last.file.as_str());
        let rest = Problem::new(file, format!("and {more} more mistakes"));
        problems.push(rest.help("they are shown when those before them are mended"));
    }
    problems
}

/// All of them, as a person reads them; of many, the first.
pub fn join(problems: &[Problem]) -> String {
    let all: Vec<String> = match problems.len() > MOST + 1 {
        true => first(problems.to_vec())
            .iter()
            .map(Problem::to_string)
            .collect(),
        false => problems.iter().map(Problem::to_string).collect(),
    };
    all.join("\n\n")
}

/// So much of a line as an excerpt may need, and the column in it: a line may hold megabytes.
fn around(line: &str, column: usize) -> (String, usize) {
    let before = column.saturating_sub(KEPT);
    let kept = line.chars().skip(before).take(2 * KEPT).collect();
    (kept, column - before)
}

/// The part of a line around a column, safe for a terminal, and where the caret goes below it.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    let start = column.saturating_sub(EXCERPT / 2);
    let (start, lead) = if start == 0 { (0, "") } else { (start, "…") };
    let mut shown: String = lead.to_string();
    let mut rest = line.chars().skip(start);
    // One character for one, so that the caret stays in its place.
    shown.extend(rest.by_ref().take(EXCERPT).map(|c| match c {
        '\t' => ' ',
        c if c.is_control() || is_bidi(c) => '\u{fffd}',
        c => c,
    }));
    if rest.next().is_some() {
        shown.push('…');
    }
    (shown, column - start + lead.chars().count())
}

/// The entry of `known` that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .filter(|k| shared(name, k) > NEAR)
        .map(|k| (similar::TextDiff::from_chars(name, k).ratio(), k))
        .filter(|(ratio, _)| *ratio > NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

/// How alike two names are at most, whatever the order of their characters: to compare that takes much longer.
fn shared(a: &str, b: &str) -> f32 {
    let mut rest: Vec<char> = b.chars().collect();
    let all = a.chars().count() + rest.len();
    let mut both = 0;
    for c in a.chars() {
        if let Some(n) = rest.iter().position(|r| *r == c) {
            rest.swap_remove(n);
            both += 1;
        }
    }
    2.0 * both as f32 / all as f32
}

/// The entry of `known` that `name` is but for a letter or two. For names of which others may have their own.
pub fn nearly<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = nearest(name, known)?;
    (similar::TextDiff::from_chars(name, near).ratio() > 0.85).then_some(near)
}

/// The nearest of `known`, or all of them after `all`, such as `fields here are`.
pub fn suggestion<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
    all: &str,
) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("{all} {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_is_under_its_column() {
        let long = format!("{}x{}", "a".repeat(1000), "b".repeat(1000));
        for (line, column) in [
            ("x", 1),
            ("\tx", 2),
            ("a\u{202e}x", 3),
            ("  é x y", 5),
            (long.as_str(), 1001),
        ] {
            let (shown, caret) = excerpt(line, column);
            assert_eq!(shown.chars().nth(caret - 1), Some('x'), "{shown}");
            assert!(!shown.contains(|c: char| c.is_control() || is_bidi(c)));
            assert!(shown.chars().count() <= EXCERPT + 2);
        }
    }

    #[test]
    fn nothing_of_a_problem_is_obeyed_by_a_terminal() {
        let problem = Problem::new("a\u{1b}[2J", "b\u{9b}31m").help("c\u{1b}]0;x\u{7}");
        for problem in [problem.clone(), problem.at("d\u{1b}", 1, 1)] {
            let shown = problem.to_string();
            let obeyed = |c: char| c != '\n' && (c.is_control() || is_bidi(c));
            assert!(!shown.contains(obeyed), "{shown:?}");
        }
    }

    #[test]
    fn an_excerpt_is_the_same_however_the_text_was_read() {
        let long = format!("{}x{}\r\n\t\u{e9} y", "a".repeat(5000), "b".repeat(5000));
        for (line, column) in [
            (1, 1),
            (1, 5001),
            (1, 9000),
            (2, 3),
            (2, 99),
            (3, 1),
            (0, 0),
        ] {
            let mut once = Problem::new("f", "m").at(&long, line, column);
            let mut many = Problem::new("f", "m").within(&Lines::of(&long), Place { line, column });
            assert_eq!(once.to_string(), many.to_string(), "{line}:{column}");
            for problem in [&mut once, &mut many] {
                problem.change_texts(|text| text.replace(['x', 'y'], "***"));
            }
            assert_eq!(once.to_string(), many.to_string(), "{line}:{column}");
        }
    }

    #[test]
    fn of_many_mistakes_the_first_are_said_and_the_others_counted() {
        let some = |n: usize| -> Vec<Problem> {
            (0..n).map(|n| Problem::new("f", n.to_string())).collect()
        };
        for n in [0, 1, MOST, MOST + 1] {
            assert_eq!(first(some(n)), some(n));
        }
        let shown = first(some(MOST + 2));
        assert_eq!(shown[..MOST], some(MOST));
        assert_eq!(shown[MOST].message, "and 2 more mistakes");
        assert_eq!(first(shown.clone()), shown);
        assert_eq!(join(&shown), join(&some(MOST + 2)));
    }

    #[test]
    fn places_and_offsets_are_each_others_inverse() {
        let source = "ab\n\u{e9}c\n\nd";
        for (offset, _) in source.char_indices() {
            assert_eq!(
                Place::of_offset(source, offset).offset(source),
                Some(offset)
            );
        }
        assert_eq!(Place { line: 9, column: 1 }.offset(source), None);
        assert_eq!(Place { line: 0, column: 0 }.offset(source), None);
    }
}
