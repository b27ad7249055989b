//! Lines of a text with their positions. Goes in: a text. Comes out: its lines, numbers and byte ranges.

use std::ops::Range;

/// One line of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Counted from 1.
    pub number: u32,
    /// Byte offset of its first character.
    pub start: usize,
    /// Without its line ending.
    pub text: &'a str,
    /// `\n`, `\r\n`, or empty for a last line without one.
    pub ending: &'a str,
}

impl Line<'_> {
    /// The bytes of the line without its ending.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// The bytes of the line with its ending.
    pub fn full_range(&self) -> Range<usize> {
        self.start..self.start + self.text.len() + self.ending.len()
    }
}

/// The lines of a text, `\r\n` taken as one ending.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut start = 0;
    text.split_inclusive('\n').zip(1u32..).map(move |(whole, number)| {
        let line = whole.strip_suffix('\n').unwrap_or(whole);
        let line = if line.len() < whole.len() { line.strip_suffix('\r').unwrap_or(line) } else { line };
        let at = start;
        start += whole.len();
        Line { number, start: at, text: line, ending: &whole[line.len()..] }
    })
}

/// The number of the line that holds a byte offset, counted from 1.
pub fn line_at(text: &str, offset: usize) -> u32 {
    let before = text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count();
    u32::try_from(before).unwrap_or(u32::MAX - 1) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cover_every_byte() {
        for text in ["", "a", "a\n", "a\r\nb", "\n\n", "a\rb\r\n\r\n", "é\nß"] {
            let mut end = 0;
            for (line, number) in lines(text).zip(1..) {
                assert_eq!(line.number, number);
                assert_eq!(line.start, end);
                assert_eq!(&text[line.range()], line.text);
                assert_eq!(line_at(text, line.start), number);
                end = line.full_range().end;
            }
            assert_eq!(end, text.len(), "{text:?}");
        }
    }

    #[test]
    fn carriage_return_belongs_to_the_ending() {
        let found: Vec<_> = lines("a\r\nb\r").map(|l| (l.text, l.ending)).collect();
        assert_eq!(found, [("a", "\r\n"), ("b\r", "")]);
    }
}
