//! Kernel words in the values of shell assignments: taking some out, putting some in, keeping every other byte.
//!
//! Goes in: a text that a shell sources and one of its assignments. Comes out: the new text. A value may be quoted in any way
//! and go over several lines; only the bytes of the words themselves and one space each are touched, so adding words and
//! taking them out again gives the same bytes.

use super::cmdline::{self, Cmdline, Word};
use super::lines::{Line, lines};
use super::shell::{Content, Piece, Quote};
use super::shell_vars::{Assignment, parse};
use std::ops::Range;

/// Stands in a value for what only a shell finds out; no kernel word has it.
const UNKNOWN: char = '\u{fffc}';

/// The characters of an assignment's value, each with the bytes of the text that make it.
struct Value {
    text: String,
    /// For each byte of `text`; all bytes of a character have the same.
    source: Vec<Range<usize>>,
}

impl Value {
    fn of(text: &str, assignment: &Assignment) -> Value {
        let mut value = Value { text: String::new(), source: Vec::new() };
        // An array is no list of kernel words.
        for piece in assignment.value.iter().filter(|_| !assignment.array).flat_map(|word| &word.pieces) {
            value.piece(text, piece);
        }
        value
    }

    fn push(&mut self, character: char, source: Range<usize>) {
        self.text.push(character);
        self.source.resize(self.text.len(), source);
    }

    fn piece(&mut self, text: &str, piece: &Piece) {
        if !matches!(piece.content, Content::Literal(_)) {
            return self.push(UNKNOWN, piece.range.clone());
        }
        let inside = text.get(piece.range.clone()).unwrap_or_default();
        let mut characters = inside.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            let start = piece.range.start + at;
            let escaped = |next: char| match piece.quote {
                Quote::Single => false,
                Quote::Double => matches!(next, '$' | '`' | '"' | '\\'),
                Quote::None => true,
            };
            match characters.peek().copied().filter(|(_, next)| character == '\\' && escaped(*next)) {
                Some((_, next)) => {
                    characters.next();
                    self.push(next, start..start + 1 + next.len_utf8());
                }
                None => self.push(character, start..start + character.len_utf8()),
            }
        }
    }
}

/// The text with all of these words taken out of one assignment's value; `None` if none of them stands in it as written.
/// A line that then only gives a variable its own value is taken out, too.
pub fn without(text: &str, assignment: &Assignment, words: &[String]) -> Option<String> {
    let value = Value::of(text, assignment);
    let lists: Vec<Cmdline<'_>> = words.iter().map(|word| Cmdline::parse(word)).collect();
    let goes = |word: &Word<'_>| lists.iter().flat_map(|list| &list.words).any(|other| cmdline::same_word(word, other));
    let mut kept = vec![true; value.text.len()];
    // A line end within quotes stays: it may be half of one.
    let is_space = |at: usize| value.text.as_bytes().get(at).is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    let line = Cmdline::parse(&value.text);
    for word in line.words.iter().filter(|word| goes(word)) {
        let before = kept.iter().take(word.range.start).rposition(|kept| *kept);
        let space = match before {
            Some(before) => Some(before).filter(|at| is_space(*at)),
            None => Some(word.range.end).filter(|at| is_space(*at)),
        };
        for at in word.range.clone().chain(space) {
            if let Some(kept) = kept.get_mut(at) {
                *kept = false;
            }
        }
    }
    let mut gone: Vec<Range<usize>> =
        kept.iter().zip(&value.source).filter(|(kept, _)| !**kept).map(|(_, source)| source.clone()).collect();
    gone.dedup();
    if gone.is_empty() {
        return None;
    }
    let mut edited = text.to_owned();
    for range in gone.into_iter().rev() {
        edited.replace_range(range, "");
    }
    Some(without_empty_line(edited, assignment))
}

/// Takes out the line of an assignment that only gives a variable its own value: `A="$A"`.
fn without_empty_line(text: String, assignment: &Assignment) -> String {
    let script = parse(&text);
    let Some(left) = script.assignments.iter().find(|left| left.range.start == assignment.range.start) else {
        return text;
    };
    let nothing = left.own_text().trim().is_empty() && left.refers_to(&left.name) && !left.append;
    let only = left.value.iter().flat_map(|word| &word.pieces).filter(|piece| match &piece.content {
        Content::Literal(literal) => !literal.trim().is_empty(),
        Content::Variable(_) | Content::Opaque => true,
    });
    if !nothing || only.count() != 1 {
        return text;
    }
    // With CRLF the carriage return is a part of the assignment.
    let end = |line: &Line<'_>| line.range().end + line.ending.strip_suffix('\n').unwrap_or_default().len();
    let alone = |line: &Line<'_>| line.start == left.range.start && end(line) == left.range.end;
    let Some(line) = lines(&text).find(alone) else { return text };
    let mut range = line.full_range();
    if line.ending.is_empty() {
        // The last line of a file without a last line end: the one in front ends as this one did.
        let front = text.get(..range.start).unwrap_or_default();
        range.start =
            front.strip_suffix('\n').map_or(range.start, |front| front.strip_suffix('\r').unwrap_or(front).len());
    }
    let mut text = text;
    text.replace_range(range, "");
    text
}

/// The text with words put at the end of one assignment's quoted value; `None` if the value does not end with a quote. The words
/// hold no quote, `$`, backquote or backslash.
pub fn with(text: &str, assignment: &Assignment, words: &[String]) -> Option<String> {
    let [word] = assignment.value.as_slice() else { return None };
    if assignment.array {
        return None;
    }
    // Of a file with CRLF the carriage return is a part of the value, outside the quotes.
    let (last, rest) = match word.pieces.as_slice() {
        [.., last, Piece { quote: Quote::None, content: Content::Literal(end), .. }] if end == "\r" => (last, 1),
        [.., last] => (last, 0),
        [] => return None,
    };
    let close = match last.quote {
        Quote::None => return None,
        Quote::Single => '\'',
        Quote::Double => '"',
    };
    let at = word.range.end.checked_sub(rest + 1)?;
    if !text.get(at..)?.starts_with(close) || at < last.range.end {
        return None;
    }
    let value = Value::of(text, assignment).text;
    let space = if value.trim_end_matches('\r').is_empty() { "" } else { " " };
    let mut edited = text.to_owned();
    edited.insert_str(at, &format!("{space}{}", words.join(" ")));
    Some(edited)
}

/// The text with one more line at its end, with the line ends that it has.
pub fn with_line(text: &str, line: &str) -> String {
    let ending = lines(text).map(|line| line.ending).find(|ending| !ending.is_empty()).unwrap_or("\n");
    match text {
        "" => format!("{line}\n"),
        _ if text.ends_with('\n') => format!("{text}{line}{ending}"),
        _ => format!("{text}{ending}{line}"),
    }
}

#[cfg(test)]
mod tests;
