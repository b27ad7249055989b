//! The kernel command line, split as the kernel splits it.
//!
//! Goes in: a text such as `/proc/cmdline`. Comes out: words with their positions. Nothing is dropped or judged:
//! what a word means, or whether any kernel knows it, is not asked here.
//!
//! Rules: Linux `lib/cmdline.c` `next_arg` (double quotes protect spaces and may stand around a whole word or a
//! value; there is no escape), `kernel/params.c` `parse_args` (a bare `--` ends the kernel's words, the rest is
//! for init) and `parameqn` (`-` and `_` in names are equal).

use std::ops::Range;

/// One word of a kernel command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// The name before `=`, or the whole word, with `-` turned into `_`.
    pub name: String,
    /// What follows the first `=`, without the quotes around it.
    pub value: Option<&'a str>,
    /// The word as written, quotes included.
    pub text: &'a str,
    /// Where it stands, in bytes.
    pub range: Range<usize>,
}

/// Bytes of a line after which no more words are read: many times what a kernel takes (`COMMAND_LINE_SIZE` is 2048 on
/// x86, 2048 on arm64, 4096 by default on s390; Linux 6.12 `arch/*/include/uapi/asm/setup.h`).
const LONGEST: usize = 64 << 10;

impl<'a> Word<'a> {
    /// The items of a comma-separated value; empty if there is no value.
    pub fn list(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.value.into_iter().flat_map(|value| value.split(','))
    }

    /// True if the name is this one, `-` and `_` being equal.
    pub fn is(&self, name: &str) -> bool {
        same_name(&self.name, name)
    }
}

/// A kernel command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cmdline<'a> {
    /// The kernel's words, in order.
    pub words: Vec<Word<'a>>,
    /// The words after a bare `--`, which the kernel hands to init unread.
    pub init: Vec<Word<'a>>,
}

impl<'a> Cmdline<'a> {
    /// Splits a command line.
    pub fn parse(text: &'a str) -> Cmdline<'a> {
        let mut line = Cmdline::default();
        let mut at = 0;
        let mut for_init = false;
        while let Some(word) = next(text, &mut at) {
            if at > LONGEST {
                break;
            }
            if for_init {
                line.init.push(word);
            } else if word.text == "--" {
                for_init = true;
            } else {
                line.words.push(word);
            }
        }
        line
    }

    /// The last word with this name: of most parameters the last one counts. `-` and `_` are equal.
    pub fn find(&self, name: &str) -> Option<&Word<'a>> {
        self.words.iter().rev().find(|word| word.is(name))
    }

    /// All words with this name, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &Word<'a>> {
        self.words.iter().filter(move |word| word.is(name))
    }

    /// The value of the last word with this name.
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.find(name).and_then(|word| word.value)
    }

    /// True if there is a word with this name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// True if this very word is there, `-` and `_` being equal in its name and quotes not counting.
    pub fn has_word(&self, text: &str) -> bool {
        let mut at = 0;
        next(text, &mut at).is_some_and(|wanted| self.words.iter().any(|word| same_word(word, &wanted)))
    }
}

/// The words of a text as written, those for init included.
pub fn words(text: &str) -> Vec<String> {
    let mut at = 0;
    std::iter::from_fn(|| next(text, &mut at)).map(|word| word.text.to_owned()).collect()
}

/// True if two words set the same parameter to the same value.
pub fn same_word(a: &Word<'_>, b: &Word<'_>) -> bool {
    a.name == b.name && a.value == b.value
}

/// True if two parameter names are equal for the kernel.
pub fn same_name(a: &str, b: &str) -> bool {
    let dash = |byte: u8| if byte == b'-' { b'_' } else { byte };
    a.len() == b.len() && a.bytes().zip(b.bytes()).all(|(a, b)| dash(a) == dash(b))
}

/// The kernel's `isspace`, but for the byte 0xa0, which in UTF-8 is a part of other characters.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Takes the next word from `at` on.
fn next<'a>(text: &'a str, at: &mut usize) -> Option<Word<'a>> {
    let bytes = text.as_bytes();
    let start = *at + bytes.get(*at..)?.iter().position(|byte| !is_space(*byte))?;
    let quoted = bytes.get(start) == Some(&b'"');
    // As in the kernel: positions count from behind an opening quote, and a `=` in front is no separator.
    let begin = start + usize::from(quoted);
    let mut in_quote = quoted;
    let mut equals = None;
    let mut end = begin;
    for byte in bytes.get(begin..)? {
        if is_space(*byte) && !in_quote {
            break;
        }
        if *byte == b'=' && equals.is_none() && end > begin {
            equals = Some(end);
        }
        if *byte == b'"' {
            in_quote = !in_quote;
        }
        end += 1;
    }
    *at = end;
    let trimmed = |from: usize, opened: bool| {
        let whole = text.get(from..end).unwrap_or_default();
        if opened { whole.strip_suffix('"').unwrap_or(whole) } else { whole }
    };
    let (name, value) = match equals {
        None => (trimmed(begin, quoted), None),
        Some(equals) => {
            let value_quoted = bytes.get(equals + 1) == Some(&b'"');
            let value = trimmed((equals + 1 + usize::from(value_quoted)).min(end), quoted || value_quoted);
            (text.get(begin..equals).unwrap_or_default(), Some(value))
        }
    };
    Some(Word { name: name.replace('-', "_"), value, text: text.get(start..end)?, range: start..end })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_as_the_kernel_splits_them() {
        type Words<'a> = &'a [(&'a str, Option<&'a str>)];
        let cases: &[(&str, Words<'_>)] = &[
            ("", &[]),
            ("  \n", &[]),
            ("quiet", &[("quiet", None)]),
            ("a=1  b=2\t c\n", &[("a", Some("1")), ("b", Some("2")), ("c", None)]),
            ("vfio-pci.ids=10de:2684,10de:22ba", &[("vfio_pci.ids", Some("10de:2684,10de:22ba"))]),
            ("dyndbg=\"file a.c +p\" x", &[("dyndbg", Some("file a.c +p")), ("x", None)]),
            ("\"dyndbg=file a.c +p\" x", &[("dyndbg", Some("file a.c +p")), ("x", None)]),
            ("\"two words\" x", &[("two words", None), ("x", None)]),
            ("a=b=c", &[("a", Some("b=c"))]),
            ("a=", &[("a", Some(""))]),
            ("=b", &[("=b", None)]),
            ("a=\"b c", &[("a", Some("b c"))]),
            ("\"", &[("", None)]),
            ("a=\"\" b", &[("a", Some("")), ("b", None)]),
            ("root=UUID=é-1 ß", &[("root", Some("UUID=é-1")), ("ß", None)]),
            ("a=x\"b c\"", &[("a", Some("x\"b c\""))]),
        ];
        for (text, expected) in cases {
            let line = Cmdline::parse(text);
            let found: Vec<_> = line.words.iter().map(|w| (w.name.as_str(), w.value)).collect();
            assert_eq!(found, *expected, "{text:?}");
        }
    }

    #[test]
    fn init_words_are_not_the_kernels() {
        let line = Cmdline::parse("quiet panic=1 -- --iommu=off single");
        assert_eq!(line.words.len(), 2);
        assert_eq!(line.init.len(), 2);
        assert!(!line.has("single"));
        assert_eq!(words("a -- b"), ["a", "--", "b"]);
        assert!(Cmdline::parse("a --b c").has("c"));
    }

    #[test]
    fn names_are_compared_as_the_kernel_does() {
        let line = Cmdline::parse("vfio_pci.ids=1:2 iommu=pt iommu=off");
        assert_eq!(line.value("vfio-pci.ids"), Some("1:2"));
        assert_eq!(line.value("iommu"), Some("off"));
        assert_eq!(line.all("iommu").count(), 2);
        assert!(line.has_word("vfio-pci.ids=1:2"));
        assert!(line.has_word("\"iommu=pt\""));
        assert!(!line.has_word("iommu"));
        assert!(!line.has_word(""));
        assert_eq!(line.find("vfio-pci.ids").map(|w| w.list().count()), Some(1));
    }

    proptest! {
        #[test]
        fn ranges_give_the_words_back(text in "[ -~é\t\n]{0,60}") {
            let line = Cmdline::parse(&text);
            let mut end = 0;
            for word in line.words.iter().chain(&line.init) {
                prop_assert!(word.range.start >= end);
                prop_assert_eq!(&text[word.range.clone()], word.text);
                end = word.range.end;
            }
        }
    }
}
