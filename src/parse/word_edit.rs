//! Kernel words in plain text: an entry's `options`, a line of `/etc/kernel/cmdline`, a value of grubenv.
//!
//! Goes in: a text, the bytes of it that hold nothing but kernel words, and words. Comes out: the text with some words put in or
//! taken out. Every other byte stays, and taking out what was put in gives the same bytes again.

use super::cmdline::{Cmdline, Word, same_word};
use std::ops::Range;

/// Puts words at the end of a list, in front of a bare `--`, behind which words are init's. Those that are there already
/// (`-` and `_` in a name are equal, quotes don't count) are not put in again.
pub fn with(text: &str, range: Range<usize>, words: &[String]) -> String {
    let inside = text.get(range.clone()).unwrap_or_default();
    let line = Cmdline::parse(inside);
    let mut missing: Vec<&str> = Vec::new();
    for word in words {
        if !line.has_word(word) && !Cmdline::parse(&missing.join(" ")).has_word(word) {
            missing.push(word);
        }
    }
    if missing.is_empty() {
        return text.to_owned();
    }
    let added = missing.join(" ");
    let (at, piece) = match (line.words.last(), inside.split_whitespace().next()) {
        (Some(last), _) => (last.range.end, format!(" {added}")),
        // Nothing but a bare `--` and what follows.
        (None, Some(_)) => (inside.len() - inside.trim_start().len(), format!("{added} ")),
        (None, None) => (inside.len(), added),
    };
    let mut edited = text.to_owned();
    edited.insert_str((range.start + at).min(text.len()), &piece);
    edited
}

/// Takes out every word that is one of these, with the space in front of it; of the first word, the space behind it.
pub fn without(text: &str, range: Range<usize>, words: &[String]) -> String {
    let inside = text.get(range.clone()).unwrap_or_default();
    let line = Cmdline::parse(inside);
    let parsed: Vec<Cmdline<'_>> = words.iter().map(|word| Cmdline::parse(word)).collect();
    let goes = |word: &Word<'_>| parsed.iter().flat_map(|one| &one.words).any(|other| same_word(word, other));
    let mut kept = String::new();
    let mut at = 0;
    for word in line.words.iter().filter(|word| goes(word)) {
        let before = inside.get(at..word.range.start).unwrap_or_default();
        let behind = inside.get(word.range.end..).unwrap_or_default();
        let trimmed = before.trim_end_matches(is_blank);
        let first = trimmed.is_empty() && kept.trim_matches(is_blank).is_empty();
        kept.push_str(if first { before } else { trimmed });
        at = word.range.end + if first { behind.len() - behind.trim_start_matches(is_blank).len() } else { 0 };
    }
    kept.push_str(inside.get(at..).unwrap_or_default());
    let mut edited = text.to_owned();
    if kept.len() < inside.len() {
        edited.replace_range(range, &kept);
    }
    edited
}

/// Space within a line.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn puts_in() {
        let cases = [
            ("ro quiet", "a=1 b", "ro quiet a=1 b"),
            ("ro quiet \t", "a", "ro quiet a \t"),
            ("", "a b", "a b"),
            ("ro intel_iommu=on", "intel-iommu=on", "ro intel_iommu=on"),
            ("ro iommu=pt", "intel_iommu=on iommu=pt", "ro iommu=pt intel_iommu=on"),
            ("ro -- 3", "a", "ro a -- 3"),
            ("-- 3", "a", "a -- 3"),
            ("ro", "a a", "ro a"),
            ("x=\"a b\"", "c", "x=\"a b\" c"),
            ("$kernelopts $tuned_params", "c", "$kernelopts $tuned_params c"),
        ];
        for (text, more, expected) in cases {
            assert_eq!(with(text, 0..text.len(), &words(more)), expected, "{text:?} + {more}");
        }
        assert_eq!(with("options\tro\r\nend", 8..10, &words("a")), "options\tro a\r\nend");
    }

    #[test]
    fn takes_out() {
        let cases = [
            ("ro a=1 quiet", "a=1", "ro quiet"),
            ("a=1 quiet", "a=1", "quiet"),
            ("a=1 a=1 quiet", "a=1", "quiet"),
            ("quiet  a=1", "a=1", "quiet"),
            ("quiet a=1 ", "a=1", "quiet "),
            ("ab=1 a=12", "a=1", "ab=1 a=12"),
            ("intel_iommu=on", "iommu=on", "intel_iommu=on"),
            ("ro -- a", "a", "ro -- a"),
            ("a", "a", ""),
        ];
        for (text, less, expected) in cases {
            assert_eq!(without(text, 0..text.len(), &words(less)), expected, "{text:?} - {less}");
        }
    }

    proptest! {
        #[test]
        fn what_was_put_in_comes_out(
            front in "[a-z \n=]{0,8}", text in "(-- |[a-d]{1,2}(=[a-d\"]{0,2})?[ \t]{1,2}){0,6}", back in "(\r?\n|#){0,2}",
            more in prop::collection::vec("[w-z][0-9](=[0-9])?", 1..4),
        ) {
            // An odd quote swallows what follows it, for the kernel as here.
            prop_assume!(text.matches('"').count() % 2 == 0);
            let whole = format!("{front}{text}{back}");
            let range = front.len()..front.len() + text.len();
            let edited = with(&whole, range.clone(), &more);
            let grown = range.start..range.end + edited.len() - whole.len();
            let inside = &edited[grown.clone()];
            prop_assert!(more.iter().all(|word| Cmdline::parse(inside).has_word(word)), "{edited:?}");
            prop_assert_eq!(&with(&edited, grown.clone(), &more), &edited);
            prop_assert_eq!(without(&edited, grown, &more), whole);
        }

        #[test]
        fn nothing_to_do_changes_nothing(text in "[a-d=\" \t-]{0,24}") {
            prop_assert_eq!(with(&text, 0..text.len(), &[]), text.clone());
            prop_assert_eq!(without(&text, 0..text.len(), &["zz".to_owned()]), text);
        }
    }
}
