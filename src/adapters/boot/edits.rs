//! Edits of several places, of which some lie in the same file, as one step per file.

use crate::facts::TextFile;
use crate::facts::boot::Place;
use crate::parse::lines::lines;
use crate::parse::word_edit;
use crate::steps::Step;
use std::sync::Arc;

/// Files and what becomes of them.
#[derive(Debug, Default)]
pub(super) struct Edits {
    files: Vec<(Arc<TextFile>, String)>,
}

impl Edits {
    /// Puts words into and takes words out of a place that holds nothing but words. Of several places in one file, the last
    /// is to be edited first.
    pub(super) fn words(&mut self, place: &Place, add: &[String], remove: &[String]) {
        self.text(&place.file, |text| {
            let before = text.len();
            let without = word_edit::without(text, place.range.clone(), remove);
            let end = place.range.end - (before - without.len());
            let range = place.range.start..end;
            if place.key == "options" && range.is_empty() && !add.is_empty() {
                return first_options(&without, range.start, add);
            }
            word_edit::with(&without, range, add)
        });
    }

    /// Changes a file's text, from what earlier edits made of it.
    pub(super) fn text(&mut self, file: &Arc<TextFile>, change: impl FnOnce(&str) -> String) {
        let number = self.files.iter().position(|(known, _)| known.path == file.path).unwrap_or_else(|| {
            self.files.push((Arc::clone(file), file.text.clone()));
            self.files.len() - 1
        });
        if let Some((_, text)) = self.files.get_mut(number) {
            *text = change(text);
        }
    }

    /// What became of a file.
    pub(super) fn now<'a>(&'a self, file: &'a TextFile) -> &'a str {
        let edited = self.files.iter().find(|(known, _)| known.path == file.path);
        edited.map_or(file.text.as_str(), |(_, after)| after)
    }

    /// Each text that changes, before and after.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let changed = self.files.iter().filter(|(file, after)| *after != file.text);
        changed.map(|(file, after)| (file.text.as_str(), after.as_str()))
    }

    /// One step per file that changes, in the order in which the files were first named.
    pub(super) fn steps(self, why: impl Fn(&str) -> String) -> Vec<Step> {
        let changed = self.files.into_iter().filter(|(file, after)| *after != file.text);
        changed.map(|(file, after)| Step::write(&file.path, Some(&file.text), after, 0o644, why(&file.path))).collect()
    }
}

/// Words for a line `options` that has none yet, or that is not there yet: then the place is the end of the text.
fn first_options(text: &str, at: usize, words: &[String]) -> String {
    let (before, after) = text.split_at_checked(at).unwrap_or((text, ""));
    let line = before.rsplit('\n').next().unwrap_or_default();
    let words = words.join(" ");
    if line.trim_start().starts_with("options") {
        let blank = if line.ends_with([' ', '\t']) { "" } else { " " };
        return format!("{before}{blank}{words}{after}");
    }
    let end = if line.is_empty() { "" } else { "\n" };
    format!("{before}{end}options {words}\n{after}")
}

/// A file that holds nothing but kernel words, of which the first line counts, or all lines but comments: the words go to the
/// first line that counts, and out of all that do.
pub(super) fn words_file(text: &str, first_only: bool, add: &[String], remove: &[String]) -> String {
    let counts = |line: &str| first_only || !line.starts_with('#') && !line.trim().is_empty();
    let mut counting: Vec<_> = lines(text).filter(|line| counts(line.text)).map(|line| line.range()).collect();
    if first_only {
        counting.truncate(1);
    }
    let Some(first) = counting.first().cloned() else {
        // Nothing, or nothing but comments: a line of its own.
        let start = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return if add.is_empty() { text.to_owned() } else { format!("{text}{start}{}\n", add.join(" ")) };
    };
    let mut edited = text.to_owned();
    for range in counting.into_iter().rev() {
        edited = word_edit::without(&edited, range, remove);
    }
    // Lines in front of the first that counts did not change; its own end may have.
    let end = lines(&edited).find(|line| line.start == first.start).map_or(first.start, |line| line.range().end);
    let all: Vec<&str> = lines(&edited).filter(|line| counts(line.text)).map(|line| line.text).collect();
    let all = if first_only { all.first().copied().unwrap_or_default().to_owned() } else { all.join(" ") };
    let has = |word: &&String| crate::parse::cmdline::Cmdline::parse(&all).has_word(word);
    let missing: Vec<String> = add.iter().filter(|word| !has(word)).cloned().collect();
    word_edit::with(&edited, first.start..end, &missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn files_of_words() {
        let cases = [
            ("root=/dev/sda1 ro\n", true, "a", "", "root=/dev/sda1 ro a\n"),
            ("root=/dev/sda1 ro", true, "a", "", "root=/dev/sda1 ro a"),
            ("root=/dev/sda1 ro\r\nquiet\r\n", true, "a", "", "root=/dev/sda1 ro a\r\nquiet\r\n"),
            ("root=/dev/sda1\na\n", true, "a", "", "root=/dev/sda1 a\na\n"),
            ("root=/dev/sda1\na\n", false, "a b", "", "root=/dev/sda1 b\na\n"),
            ("# c\n\nro\nquiet\n", false, "a", "quiet", "# c\n\nro a\n\n"),
            ("# c", false, "a b", "", "# c\na b\n"),
            ("", true, "a b", "", "a b\n"),
            ("", false, "", "a", ""),
            ("\nro\n", true, "a", "", "a\nro\n"),
        ];
        for (text, first_only, add, remove, expected) in cases {
            assert_eq!(words_file(text, first_only, &words(add), &words(remove)), expected, "{text:?}");
        }
    }

    #[test]
    fn entries_without_words() {
        let cases = [
            ("title x\noptions\nlinux /x\n", 15, "title x\noptions a b\nlinux /x\n"),
            ("title x\n  options \t\nlinux /x\n", 19, "title x\n  options \ta b\nlinux /x\n"),
            ("linux /x\n", 9, "linux /x\noptions a b\n"),
            ("linux /x", 8, "linux /x\noptions a b\n"),
        ];
        for (text, at, expected) in cases {
            assert_eq!(first_options(text, at, &words("a b")), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_put_in_comes_out(
            text in "(#[a-z ]{0,4}|[a-e =]{0,8})(\r?\n(#[a-z ]{0,4}|[a-e =]{0,8})){0,4}(\r?\n)?", first_only: bool,
            more in prop::collection::vec("[v-z]{2}(=[0-9])?", 0..4),
        ) {
            let counts = |line: &str| first_only || !line.starts_with('#') && !line.trim().is_empty();
            let comments = !lines(&text).any(|line| counts(line.text));
            // Where the line has to be made, only the bytes that `apply` keeps bring the file back.
            prop_assume!(!comments && !text.starts_with('#'));
            let edited = words_file(&text, first_only, &more, &[]);
            prop_assert_eq!(&words_file(&edited, first_only, &more, &[]), &edited);
            prop_assert_eq!(words_file(&edited, first_only, &[], &more), text);
        }
    }
}
