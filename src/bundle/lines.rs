//! The lines of a text, found once: a text with many mistakes is not read from its beginning for each of them.

use super::problem::Place;
use std::fmt;
use std::sync::Arc;

/// So many characters are read at most from a known place to a wanted one: a line may hold megabytes.
const STRIDE: usize = 256;

/// A text that knows where its lines are; cheap to clone.
#[derive(Clone)]
pub struct Lines(Arc<Marked>);

struct Marked {
    text: Arc<str>,
    /// In order: the beginning of each line, and every [`STRIDE`] characters of one.
    marks: Vec<(usize, Place)>,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines(of {} bytes)", self.0.text.len())
    }
}

impl PartialEq for Lines {
    fn eq(&self, other: &Lines) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.text == other.0.text
    }
}

impl Eq for Lines {}

impl Lines {
    pub fn of(text: &str) -> Lines {
        let mut marks = Vec::new();
        let mut at = Place { line: 1, column: 1 };
        for (offset, c) in text.char_indices() {
            if (at.column - 1).is_multiple_of(STRIDE) {
                marks.push((offset, at));
            }
            at = after(at, c);
        }
        // The end is a place too.
        marks.push((text.len(), at));
        let text = text.into();
        Lines(Arc::new(Marked { text, marks }))
    }

    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The place of a byte; the end for what is behind it or within a character.
    pub fn place(&self, offset: usize) -> Place {
        let (text, marks) = (self.text(), &self.0.marks);
        let offset = match text.is_char_boundary(offset) {
            true => offset,
            false => text.len(),
        };
        let behind = marks.partition_point(|(mark, _)| *mark <= offset);
        let Some((from, at)) = behind.checked_sub(1).and_then(|n| marks.get(n)) else {
            return Place { line: 1, column: 1 };
        };
        let between = text.get(*from..offset).unwrap_or_default();
        between.chars().fold(*at, after)
    }

    /// The byte at a place, if there is one.
    pub fn offset(&self, place: Place) -> Option<usize> {
        let key = (place.line, place.column);
        let marks = &self.0.marks;
        let behind = marks.partition_point(|(_, at)| (at.line, at.column) <= key);
        let (from, at) = marks.get(behind.checked_sub(1)?)?;
        let skip = place.column.checked_sub(at.column)?;
        if at.line != place.line {
            return None;
        }
        let mut line = self.text().get(*from..)?.split_inclusive('\n');
        let (offset, _) = line.next()?.char_indices().nth(skip)?;
        Some(from + offset)
    }

    /// At most `longest` characters of a line, from a column on.
    pub fn part(&self, from: Place, longest: usize) -> Option<String> {
        let start = self.offset(from)?;
        let line = self.text().get(start..)?.chars();
        let line = line.take_while(|c| *c != '\n').take(longest);
        let mut part: String = line.collect();
        if part.ends_with('\r') {
            part.pop();
        }
        Some(part)
    }
}

fn after(at: Place, c: char) -> Place {
    match c {
        '\n' => Place {
            line: at.line + 1,
            column: 1,
        },
        _ => Place {
            column: at.column + 1,
            ..at
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_offsets_are_those_of_a_reader_from_the_beginning() {
        let long = "é".repeat(3 * STRIDE + 7);
        for source in ["", "\n", "ab\n\u{e9}c\n\nd", &format!("a\n{long}\n{long}")] {
            let lines = Lines::of(source);
            let ends = source.char_indices().map(|(offset, _)| offset);
            for offset in ends.chain([source.len()]) {
                let place = Place::of_offset(source, offset);
                assert_eq!(lines.place(offset), place, "{offset}");
                assert_eq!(lines.offset(place), place.offset(source), "{offset}");
            }
        }
        let lines = Lines::of("ab\nc");
        for (line, column) in [(0, 0), (1, 4), (2, 2), (3, 1), (1, 0), (2, 0)] {
            assert_eq!(
                lines.offset(Place { line, column }),
                None,
                "{line}:{column}"
            );
        }
    }

    #[test]
    fn a_part_is_of_one_line() {
        let lines = Lines::of("abc\r\ndef");
        let part = |line, column, longest| lines.part(Place { line, column }, longest);
        assert_eq!(part(1, 2, 9).as_deref(), Some("bc"));
        assert_eq!(part(2, 1, 2).as_deref(), Some("de"));
        assert_eq!(part(3, 1, 2), None);
    }
}
