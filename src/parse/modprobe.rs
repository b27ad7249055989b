//! modprobe.d(5) files, and the plain lists of modules beside them.
//!
//! Goes in: a text. Comes out: its directives with their positions, the ones that modprobe does not know included.
//! Nothing is judged here.
//!
//! Rules: kmod `shared/util.c` `freadline_wrapped` (a backslash before the line's end joins lines, before anything
//! else it vanishes) and `libkmod/libkmod-config.c` `kmod_config_parse` (words are split at spaces and tabs; a
//! line that begins with `#` is a comment).

use super::lines::lines;
use std::ops::Range;

/// The words that modprobe knows at the start of a line (kmod 34 `libkmod/libkmod-config.c`).
pub const KNOWN: &[&str] = &["alias", "blacklist", "install", "options", "remove", "softdep", "weakdep"];

/// One directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// Its first line, counted from 1.
    pub line: u32,
    /// All its bytes, continuation lines included, without the last line's ending.
    pub range: Range<usize>,
    /// The word that it begins with.
    pub word: String,
    /// The module, pattern or alias that follows; empty if nothing does.
    pub module: String,
    /// All that follows the module, continuation lines joined, spaces around it removed.
    pub rest: String,
    /// True if it stands on more than one line or holds a backslash, so that `rest` is not found as it is in the file.
    pub joined: bool,
}

impl Directive {
    /// True if modprobe acts on lines that begin with this word.
    pub fn is_known(&self) -> bool {
        KNOWN.contains(&self.word.as_str())
    }

    /// The module with `-` as `_`, as modprobe compares it.
    pub fn module_name(&self) -> String {
        module_name(&self.module)
    }
}

/// A module's name as the kernel and modprobe compare it: `-` is `_`, but not within `[…]` of a pattern
/// (kmod `shared/util.c` `alias_normalize`).
pub fn module_name(text: &str) -> String {
    let mut in_brackets = false;
    text.chars()
        .map(|c| {
            match c {
                '[' => in_brackets = true,
                ']' => in_brackets = false,
                '-' if !in_brackets => return '_',
                _ => {}
            }
            c
        })
        .collect()
}

/// Parses a modprobe.d file.
pub fn parse(text: &str) -> Vec<Directive> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut line = 1;
    while let Some(logical) = logical_line(text, at, line) {
        at = logical.next;
        line = logical.next_line;
        if logical.text.starts_with('#') {
            continue;
        }
        let mut words = logical.text.splitn_words();
        let Some(word) = words.next() else { continue };
        let module = words.next().unwrap_or_default();
        found.push(Directive {
            line: logical.line,
            range: logical.range,
            word: word.to_owned(),
            module: module.to_owned(),
            rest: words.rest().to_owned(),
            joined: logical.joined,
        });
    }
    found
}

struct Logical {
    line: u32,
    range: Range<usize>,
    text: String,
    joined: bool,
    next: usize,
    next_line: u32,
}

fn logical_line(text: &str, start: usize, line: u32) -> Option<Logical> {
    let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
    let mut logical =
        Logical { line, range: start..start, text: String::new(), joined: false, next: text.len(), next_line: line };
    let mut chars = rest.char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            '\n' => {
                logical.range.end = start + offset;
                logical.next = start + offset + 1;
                logical.next_line += 1;
                return Some(logical);
            }
            '\\' => {
                logical.joined = true;
                match chars.next() {
                    Some((_, '\n')) => logical.next_line += 1,
                    Some((_, other)) => logical.text.push(other),
                    None => {}
                }
            }
            other => logical.text.push(other),
        }
    }
    logical.range.end = text.len();
    Some(logical)
}

/// Splits off words at spaces and tabs and keeps the rest, as strtok_r(3) does.
struct Words<'a> {
    rest: &'a str,
}

trait SplitWords {
    fn splitn_words(&self) -> Words<'_>;
}

impl SplitWords for str {
    fn splitn_words(&self) -> Words<'_> {
        Words { rest: self }
    }
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start_matches([' ', '\t']);
        let end = text.find([' ', '\t']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn rest(&self) -> &'a str {
        self.rest.trim_matches([' ', '\t'])
    }
}

/// One entry of a list of modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1.
    pub line: u32,
    /// The line's bytes without its ending.
    pub range: Range<usize>,
    /// The module as written.
    pub module: String,
    /// What follows it on the line.
    pub arguments: String,
}

/// Parses `/etc/modules`, modules-load.d(5) or `/etc/initramfs-tools/modules`: one module a line, comments begin with `#`
/// (in modules-load.d also with `;`).
pub fn parse_list(text: &str) -> Vec<Entry> {
    lines(text)
        .filter_map(|line| {
            let content = line.text.split('#').next()?.trim();
            if content.is_empty() || content.starts_with(';') {
                return None;
            }
            let (module, arguments) = content.split_once(char::is_whitespace).unwrap_or((content, ""));
            Some(Entry {
                line: line.number,
                range: line.range(),
                module: module.to_owned(),
                arguments: arguments.trim().to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn directives_with_lines() {
        let text = "# comment\n\noptions vfio-pci ids=10de:2684,10de:22ba \\\n  disable_vga=1\nblacklist nouveau\n\
                    softdep nvidia* pre: vfio-pci\n\tinstall snd_hda_intel /bin/true\nblacklits nvidia\nblacklist\n  # x";
        let found: Vec<_> = parse(text).into_iter().map(|d| (d.line, d.word, d.module, d.rest, d.joined)).collect();
        let expected = [
            (3, "options", "vfio-pci", "ids=10de:2684,10de:22ba   disable_vga=1", true),
            (5, "blacklist", "nouveau", "", false),
            (6, "softdep", "nvidia*", "pre: vfio-pci", false),
            (7, "install", "snd_hda_intel", "/bin/true", false),
            (8, "blacklits", "nvidia", "", false),
            (9, "blacklist", "", "", false),
            (10, "#", "x", "", false),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(line, word, module, rest, joined)| (line, word.into(), module.into(), rest.into(), joined))
            .collect();
        assert_eq!(found, expected);
        assert!(!parse(text)[4].is_known());
    }

    #[test]
    fn odd_endings() {
        assert_eq!(parse("").len(), 0);
        assert_eq!(parse("\\").len(), 0);
        assert_eq!(parse("blacklist a\\")[0].module, "a");
        // A comment may go on in the next line, too.
        assert_eq!(parse("# a \\\nblacklist b\nblacklist c").len(), 1);
        // modprobe looks for a module whose name ends in a carriage return.
        assert_eq!(parse("blacklist a\r\n")[0].module, "a\r");
        assert_eq!(parse("options x a=\\\"b\\\"")[0].rest, "a=\"b\"");
    }

    #[test]
    fn names() {
        assert_eq!(module_name("vfio-pci"), "vfio_pci");
        assert_eq!(module_name("snd-[a-c]-x"), "snd_[a-c]_x");
    }

    #[test]
    fn lists() {
        let text = "# modules\nvfio\n  vfio-pci ids=10de:2684 # why\n; old\r\n\r\nvfio_iommu_type1\r";
        let found: Vec<_> = parse_list(text).into_iter().map(|e| (e.line, e.module, e.arguments)).collect();
        let expected = [(2, "vfio", ""), (3, "vfio-pci", "ids=10de:2684"), (6, "vfio_iommu_type1", "")];
        assert_eq!(found, expected.map(|(line, module, rest)| (line, module.to_owned(), rest.to_owned())));
    }

    proptest! {
        #[test]
        fn ranges_hold_the_directives(text in "[a-c# \\\\\n\t\ré-]{0,60}") {
            let mut end = 0;
            for directive in parse(&text) {
                prop_assert!(directive.range.start >= end);
                prop_assert!(text.get(directive.range.clone()).is_some());
                prop_assert_eq!(super::super::lines::line_at(&text, directive.range.start), directive.line);
                if !directive.joined {
                    prop_assert!(text[directive.range.clone()].contains(&directive.rest));
                }
                end = directive.range.end;
            }
            parse_list(&text);
        }
    }
}
