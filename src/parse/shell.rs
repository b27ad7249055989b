//! Shell text as tokens with their positions: POSIX shell, bash's configuration files, and GRUB's scripts.
//!
//! Goes in: a text. Comes out: words, operators and line ends, each with its byte range; what lies between them is
//! space, comment or a joined line end. Nothing is run and no variable is looked up here.
//!
//! Rules: POSIX.1-2024, Shell Command Language, 2.2 (quoting) and 2.3 (token recognition); for GRUB the GRUB
//! manual, "Writing full configuration files directly" (parentheses and angle brackets are ordinary characters).

use std::ops::Range;

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let harmless =
        |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%=".contains(c) || (!c.is_ascii() && !c.is_control());
    // `=` in front is a command's path to zsh.
    if !word.is_empty() && !word.starts_with('=') && word.chars().all(harmless) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Whose rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A POSIX shell or bash.
    Sh,
    /// GRUB's script language.
    Grub,
}

/// How a piece of a word is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote {
    /// Not at all.
    None,
    /// `'…'`.
    Single,
    /// `"…"`.
    Double,
}

/// What a piece of a word is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Characters, quoting removed.
    Literal(String),
    /// `$name` or `${name}`.
    Variable(String),
    /// Anything whose value only a shell finds out: command substitution, `${x:-y}`, arithmetic.
    Opaque,
}

/// A piece of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its bytes; of quoted characters without the quotes.
    pub range: Range<usize>,
    /// How it is quoted.
    pub quote: Quote,
    /// What it is.
    pub content: Content,
}

/// A word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its bytes, quotes included.
    pub range: Range<usize>,
    /// Its line, counted from 1.
    pub line: u32,
    /// Its pieces, in order; none for an empty word.
    pub pieces: Vec<Piece>,
}

impl Word {
    /// The word's characters if it holds nothing but literals.
    pub fn literal(&self) -> Option<String> {
        let mut text = String::new();
        for piece in &self.pieces {
            let Content::Literal(literal) = &piece.content else { return None };
            text.push_str(literal);
        }
        Some(text)
    }

    /// The word with each variable replaced by what `lookup` gives, or kept as `$name`; other expansions are left
    /// out.
    pub fn expand(&self, mut lookup: impl FnMut(&str) -> Option<String>) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match &piece.content {
                Content::Literal(literal) => text.push_str(literal),
                Content::Variable(name) => match lookup(name) {
                    Some(value) => text.push_str(&value),
                    None => {
                        text.push('$');
                        text.push_str(name);
                    }
                },
                Content::Opaque => {}
            }
        }
        text
    }

    /// True if the word is exactly this text, unquoted: a keyword.
    pub fn is_bare(&self, text: &str) -> bool {
        match self.pieces.as_slice() {
            [Piece { quote: Quote::None, content: Content::Literal(literal), .. }] => literal == text,
            _ => false,
        }
    }
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A word.
    Word(Word),
    /// `;`, `&&`, `(`, …; a line end is `"\n"`.
    Op(&'static str, Range<usize>),
}

/// Splits a text into tokens. A quote or substitution that is never closed reaches to the end of the text.
pub fn tokens(text: &str, dialect: Dialect) -> Vec<Token> {
    Lexer { text, bytes: text.as_bytes(), at: 0, line: 1, dialect, heredocs: Vec::new() }.run()
}

/// The words of a line of arguments, quoting removed; variables stay as they are written.
pub fn words(text: &str) -> Vec<String> {
    let word = |token| match token {
        Token::Word(word) => Some(word.expand(|_| None)),
        Token::Op(..) => None,
    };
    tokens(text, Dialect::Sh).into_iter().filter_map(word).collect()
}

/// Longest first.
const OPERATORS: &[&str] = &[";;", "&&", "||", "<<-", "<<", ">>", "<&", ">&", "\n", ";", "&", "|", "(", ")", "<", ">"];

/// The deepest nesting of `$(…)` that is followed; deeper text is taken as one expansion to its end.
const MAX_DEPTH: u32 = 32;

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    line: u32,
    dialect: Dialect,
    heredocs: Vec<String>,
}

impl Lexer<'_> {
    fn run(mut self) -> Vec<Token> {
        let mut tokens = Vec::new();
        let mut heredoc = false;
        while let Some(byte) = self.peek(0) {
            match byte {
                b' ' | b'\t' => self.advance(1),
                b'\\' if self.peek(1) == Some(b'\n') => self.advance(2),
                b'#' => self.skip_line(),
                _ => {
                    if let Some(operator) = self.operator() {
                        let start = self.at;
                        self.advance(operator.len());
                        tokens.push(Token::Op(operator, start..self.at));
                        heredoc = operator.starts_with("<<");
                        if operator == "\n" {
                            self.skip_heredocs();
                        }
                    } else {
                        let word = self.word();
                        if std::mem::take(&mut heredoc) {
                            self.heredocs.push(word.literal().unwrap_or_default());
                        }
                        tokens.push(Token::Word(word));
                    }
                }
            }
        }
        tokens
    }

    fn peek(&self, offset: usize) -> Option<u8> {
        self.bytes.get(self.at + offset).copied()
    }

    fn advance(&mut self, count: usize) {
        let end = (self.at + count).min(self.bytes.len());
        let passed = self.bytes.get(self.at..end).unwrap_or_default();
        let newlines = passed.iter().filter(|byte| **byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(newlines).unwrap_or(u32::MAX));
        self.at = end;
    }

    fn operator(&self) -> Option<&'static str> {
        let rest = self.bytes.get(self.at..)?;
        let ordinary = |operator: &str| self.dialect == Dialect::Grub && operator.contains(['(', ')', '<', '>']);
        OPERATORS.iter().find(|operator| rest.starts_with(operator.as_bytes()) && !ordinary(operator)).copied()
    }

    fn skip_line(&mut self) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        self.advance(end);
    }

    /// Passes over the bodies of here-documents, which begin in the line after their operator.
    fn skip_heredocs(&mut self) {
        for delimiter in std::mem::take(&mut self.heredocs) {
            while self.at < self.bytes.len() {
                let start = self.at;
                self.skip_line();
                let body = self.text.get(start..self.at).unwrap_or_default();
                let done = body.trim_start_matches('\t') == delimiter;
                self.advance(1);
                if done {
                    break;
                }
            }
        }
    }

    fn word(&mut self) -> Word {
        let mut word = Word { range: self.at..self.at, line: self.line, pieces: Vec::new() };
        while let Some(byte) = self.peek(0) {
            match byte {
                b' ' | b'\t' => break,
                b'\\' if self.peek(1) == Some(b'\n') => self.advance(2),
                b'\'' => self.single(&mut word),
                b'"' => self.double(&mut word),
                b'$' | b'`' => self.expansion(&mut word, Quote::None),
                b'\\' => {
                    let start = self.at;
                    let length = self.char_len(1);
                    self.advance(1 + length);
                    let text = self.text.get(start + 1..self.at).unwrap_or_default().to_owned();
                    push(&mut word, start..self.at, Quote::None, &text);
                }
                _ if self.operator().is_some() => break,
                _ => self.literal(&mut word, Quote::None),
            }
        }
        word.range.end = self.at;
        word
    }

    fn char_len(&self, offset: usize) -> usize {
        self.text.get(self.at + offset..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8)
    }

    /// Takes one character.
    fn literal(&mut self, word: &mut Word, quote: Quote) {
        let start = self.at;
        let length = self.char_len(0).max(1);
        self.advance(length);
        let text = self.text.get(start..self.at).unwrap_or_default().to_owned();
        push(word, start..self.at, quote, &text);
    }

    fn single(&mut self, word: &mut Word) {
        self.advance(1);
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b'\'').unwrap_or(rest.len());
        let range = self.at..self.at + length;
        let text = self.text.get(range.clone()).unwrap_or_default().to_owned();
        self.advance(length + 1);
        word.pieces.push(Piece { range, quote: Quote::Single, content: Content::Literal(text) });
    }

    fn double(&mut self, word: &mut Word) {
        self.advance(1);
        // An empty "" still makes a word and keeps its place.
        word.pieces.push(Piece {
            range: self.at..self.at,
            quote: Quote::Double,
            content: Content::Literal(String::new()),
        });
        while let Some(byte) = self.peek(0) {
            match byte {
                b'"' => {
                    self.advance(1);
                    return;
                }
                b'$' | b'`' => self.expansion(word, Quote::Double),
                b'\\' if self.peek(1) == Some(b'\n') => self.advance(2),
                b'\\' if matches!(self.peek(1), Some(b'$' | b'`' | b'"' | b'\\')) => {
                    let start = self.at;
                    self.advance(2);
                    let text = self.text.get(start + 1..self.at).unwrap_or_default().to_owned();
                    push(word, start..self.at, Quote::Double, &text);
                }
                _ => self.literal(word, Quote::Double),
            }
        }
    }

    /// Takes what begins with `$` or a backquote.
    fn expansion(&mut self, word: &mut Word, quote: Quote) {
        let start = self.at;
        if self.peek(0) == Some(b'`') {
            self.advance(1);
            self.skip_past(b'`');
            return opaque(word, start..self.at, quote);
        }
        let is_name = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
        match self.peek(1) {
            Some(b'{') => {
                let rest = self.bytes.get(self.at + 2..).unwrap_or_default();
                let length = rest.iter().take_while(|byte| is_name(**byte)).count();
                if length > 0 && rest.get(length) == Some(&b'}') {
                    let name = self.text.get(self.at + 2..self.at + 2 + length).unwrap_or_default().to_owned();
                    self.advance(length + 3);
                    variable(word, start..self.at, quote, name);
                } else {
                    self.advance(1);
                    self.skip_nested(0);
                    opaque(word, start..self.at, quote);
                }
            }
            Some(b'(') if self.dialect == Dialect::Sh => {
                self.advance(1);
                self.skip_nested(0);
                opaque(word, start..self.at, quote);
            }
            Some(byte) if byte == b'_' || byte.is_ascii_alphabetic() => {
                let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
                let length = rest.iter().take_while(|byte| is_name(**byte)).count();
                let name = self.text.get(self.at + 1..self.at + 1 + length).unwrap_or_default().to_owned();
                self.advance(length + 1);
                variable(word, start..self.at, quote, name);
            }
            Some(b'0'..=b'9' | b'?' | b'@' | b'*' | b'#' | b'$' | b'!' | b'-') => {
                self.advance(2);
                opaque(word, start..self.at, quote);
            }
            _ => self.literal(word, quote),
        }
    }

    fn skip_past(&mut self, end: u8) {
        while let Some(byte) = self.peek(0) {
            self.advance(if byte == b'\\' { 2 } else { 1 });
            if byte == end {
                return;
            }
        }
    }

    /// From an opening `(` or `{` past the one that closes it, quotes respected.
    fn skip_nested(&mut self, depth: u32) {
        let open = self.peek(0);
        let close = if open == Some(b'(') { b')' } else { b'}' };
        self.advance(1);
        while let Some(byte) = self.peek(0) {
            match byte {
                _ if depth >= MAX_DEPTH => self.at = self.bytes.len(),
                _ if byte == close => return self.advance(1),
                _ if Some(byte) == open => self.skip_nested(depth + 1),
                b'\\' => self.advance(2),
                b'\'' | b'`' => {
                    self.advance(1);
                    self.skip_past_plain(byte);
                }
                b'"' => {
                    self.advance(1);
                    self.skip_past(b'"');
                }
                b'$' if matches!(self.peek(1), Some(b'(' | b'{')) => {
                    self.advance(1);
                    self.skip_nested(depth + 1);
                }
                _ => self.advance(1),
            }
        }
    }

    fn skip_past_plain(&mut self, end: u8) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == end).map_or(rest.len(), |found| found + 1);
        self.advance(length);
    }
}

/// Adds characters to the last piece where they continue it byte by byte, so that a piece without escapes has a
/// range of its own text.
fn push(word: &mut Word, range: Range<usize>, quote: Quote, text: &str) {
    if let Some(Piece { range: last, quote: same, content: Content::Literal(literal) }) = word.pieces.last_mut()
        && *same == quote
        && last.end == range.start
    {
        literal.push_str(text);
        last.end = range.end;
        return;
    }
    word.pieces.push(Piece { range, quote, content: Content::Literal(text.to_owned()) });
}

fn variable(word: &mut Word, range: Range<usize>, quote: Quote, name: String) {
    word.pieces.push(Piece { range, quote, content: Content::Variable(name) });
}

fn opaque(word: &mut Word, range: Range<usize>, quote: Quote) {
    word.pieces.push(Piece { range, quote, content: Content::Opaque });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(text: &str, dialect: Dialect) -> Vec<String> {
        tokens(text, dialect)
            .into_iter()
            .map(|token| match token {
                Token::Word(word) => word.expand(|_| None),
                Token::Op(operator, _) => format!("<{}>", operator.replace('\n', "n")),
            })
            .collect()
    }

    #[test]
    fn words_and_operators() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("a b # c 'd\ne", &["a", "b", "<n>", "e"]),
            ("A='x y'\"z w\"\\ v", &["A=x yz w v"]),
            ("A=\"$B c\"; export A", &["A=$B c", "<;>", "export", "A"]),
            ("A=\"a \\\"b\\\" \\$c \\d\"", &["A=a \"b\" $c \\d"]),
            ("A=a\\\nb \\\n c", &["A=ab", "c"]),
            ("A=`x \\` \"y`z", &["A=z"]),
            ("A=\"$(lsb_release -i \"-s)\" 2> /dev/null || echo ')')\" b", &["A=", "b"]),
            ("A=$( . /etc/os-release; echo ${NAME:-x} ) b", &["A=", "b"]),
            ("A=$((1+2))b && c||d", &["A=b", "<&&>", "c", "<||>", "d"]),
            ("A=( a 'b c' )", &["A=", "<(>", "a", "b c", "<)>"]),
            ("a#b \\# c", &["a#b", "#", "c"]),
            ("A=\"\" b=''", &["A=", "b="]),
            ("cat <<EOF\nA=1\nEOF\nB=2", &["cat", "<<<>", "EOF", "<n>", "B=2"]),
            ("A=\"open\nB=1\n", &["A=open\nB=1\n"]),
            ("A=$ b", &["A=$", "b"]),
            ("é=ß\r\nx", &["é=ß\r", "<n>", "x"]),
        ];
        for (text, expected) in cases {
            assert_eq!(show(text, Dialect::Sh), *expected, "{text:?}");
        }
        let grub = "linux ($root)/vmlinuz root=UUID=1 ro ${kernelopts} $x }";
        let expected = ["linux", "($root)/vmlinuz", "root=UUID=1", "ro", "$kernelopts", "$x", "}"];
        assert_eq!(show(grub, Dialect::Grub), expected);
    }

    #[test]
    fn lines_are_counted() {
        let found: Vec<u32> = tokens("a \\\n b\n'c\n' d", Dialect::Sh)
            .into_iter()
            .filter_map(|token| match token {
                Token::Word(word) => Some(word.line),
                Token::Op(..) => None,
            })
            .collect();
        assert_eq!(found, [1, 2, 3, 4]);
    }

    #[test]
    fn deep_nesting_ends() {
        for text in ["$(".repeat(100_000), "${".repeat(100_000), "\"`(".repeat(50_000)] {
            assert!(!tokens(&text, Dialect::Sh).is_empty());
        }
    }

    proptest! {
        #[test]
        fn ranges_are_in_order(text in "[ab='\"$(){}`\\\\;&|<># \n\ré-]{0,60}") {
            for dialect in [Dialect::Sh, Dialect::Grub] {
                let mut end = 0;
                for token in tokens(&text, dialect) {
                    let range = match token {
                        Token::Op(_, range) => range,
                        Token::Word(word) => {
                            let mut at = word.range.start;
                            for piece in &word.pieces {
                                prop_assert!(piece.range.start >= at && piece.range.end <= word.range.end);
                                prop_assert!(text.get(piece.range.clone()).is_some());
                                at = piece.range.end;
                            }
                            word.range
                        }
                    };
                    prop_assert!(range.start >= end && range.end > range.start);
                    prop_assert!(text.get(range.clone()).is_some());
                    end = range.end;
                }
            }
        }
    }
}
