//! Changes of texts by byte ranges: every other byte stays.

use super::why;
use crate::checks::Finding;
use crate::facts::TextFile;
use crate::parse::lines::lines;
use crate::steps::Step;
use std::collections::BTreeMap;
use std::ops::Range;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    range: Range<usize>,
    text: String,
}

/// The changes of one file.
#[derive(Clone, Debug, Default)]
struct Changes {
    before: String,
    changes: Vec<Change>,
    why: Vec<String>,
}

/// The changes of all files, by path.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    files: BTreeMap<String, Changes>,
}

impl Texts {
    /// True if nothing changes.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Puts a text in the place of some bytes of a file. A change that meets an earlier one is left out.
    pub(super) fn replace(&mut self, file: &TextFile, range: Range<usize>, text: &str, finding: &Finding) {
        let entry = self.files.entry(file.path.clone()).or_default();
        entry.before.clone_from(&file.text);
        let meets = |change: &Change| range.start < change.range.end && change.range.start < range.end;
        if entry.changes.iter().any(meets) {
            return;
        }
        entry.changes.push(Change { range, text: text.to_owned() });
        let why = why(finding);
        if !entry.why.contains(&why) {
            entry.why.push(why);
        }
    }

    /// Adds a reason to a file that changes.
    pub(super) fn also(&mut self, path: &str, why: String) {
        if let Some(file) = self.files.get_mut(path).filter(|file| !file.why.contains(&why)) {
            file.why.push(why);
        }
    }

    /// Takes out the lines that hold these bytes, line endings included.
    pub(super) fn remove_lines(&mut self, file: &TextFile, range: &Range<usize>, finding: &Finding) {
        self.replace(file, whole_lines(&file.text, range), "", finding);
    }

    /// Puts `# ` in front of the lines that hold these bytes.
    pub(super) fn comment_out(&mut self, file: &TextFile, range: &Range<usize>, finding: &Finding) {
        let whole = whole_lines(&file.text, range);
        let text = file.text.get(whole.clone()).unwrap_or_default();
        let commented: String = text.split_inclusive('\n').map(|line| format!("# {line}")).collect();
        self.replace(file, whole, &commented, finding);
    }

    /// One step per file whose text changes.
    pub(super) fn steps(self) -> Vec<Step> {
        let step = |(path, file): (String, Changes)| {
            let after = applied(&file.before, file.changes);
            let why = file.why.join(" ");
            // Nobody misses a file of modprobe.d in which nothing is left; other files have an owner.
            if after.trim().is_empty() && path.starts_with("/etc/modprobe.d/") {
                return Some(Step::remove(&path, &file.before, why));
            }
            (after != file.before).then(|| Step::write(&path, Some(&file.before), after, 0o644, why))
        };
        self.files.into_iter().filter_map(step).collect()
    }
}

/// The text with all changes made.
fn applied(text: &str, mut changes: Vec<Change>) -> String {
    changes.sort_by_key(|change| change.range.start);
    let mut after = String::new();
    let mut at = 0;
    for change in changes {
        after.push_str(text.get(at..change.range.start).unwrap_or_default());
        after.push_str(&change.text);
        at = change.range.end;
    }
    after.push_str(text.get(at..).unwrap_or_default());
    after
}

/// The bytes of whole lines, endings included. Of a last line without an ending, the ending in front goes with it.
fn whole_lines(text: &str, range: &Range<usize>) -> Range<usize> {
    let meets = |line: &crate::parse::lines::Line<'_>| {
        let full = line.full_range();
        full.start < range.end.max(range.start + 1) && range.start < full.end
    };
    let mut whole = range.clone();
    for line in lines(text).filter(meets) {
        whole = whole.start.min(line.start)..whole.end.max(line.full_range().end);
    }
    whole
}

/// The bytes of a line, counted from 1.
pub(super) fn line_range(text: &str, number: u32) -> Option<Range<usize>> {
    lines(text).find(|line| line.number == number).map(|line| line.range())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{Severity, Subject};
    use proptest::prelude::*;

    fn file(text: &str) -> TextFile {
        TextFile { path: "/etc/x".into(), text: text.into() }
    }

    fn after(text: &str, change: impl FnOnce(&mut Texts, &TextFile, &Finding)) -> Option<String> {
        let finding = Finding::new("modprobe-line-ignored", Severity::Info, Subject::Host);
        let mut texts = Texts::default();
        change(&mut texts, &file(text), &finding);
        texts.steps().pop().map(|step| match step.action {
            crate::steps::Action::WriteFile { after: crate::steps::Content::Text(after), .. } => after,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn lines_go_and_nothing_else_does() {
        for (text, at, left) in [
            ("a\nb\nc\n", 2..3, "a\nc\n"),
            ("a\r\nb\r\n", 0..1, "b\r\n"),
            ("a\nb", 2..3, "a\n"),
            ("a \\\n  b\nc\n", 0..7, "c\n"),
        ] {
            assert_eq!(after(text, |t, f, why| t.remove_lines(f, &at, why)).as_deref(), Some(left), "{text:?}");
        }
        assert_eq!(after("a\nb\n", |t, f, why| t.comment_out(f, &(0..3), why)).as_deref(), Some("# a\n# b\n"));
        assert_eq!(after("a b\n", |t, f, why| t.replace(f, 2..3, "b", why)), None, "the same is no change");
    }

    proptest! {
        #[test]
        fn every_other_byte_stays(text in "([a-c #\\\\]{0,5}\r?\n){0,5}[a-c]{0,3}", number in 1u32..6) {
            if let Some(range) = line_range(&text, number) {
                let full = whole_lines(&text, &range);
                let edited = after(&text, |t, f, why| t.remove_lines(f, &range, why)).unwrap_or_else(|| text.clone());
                prop_assert_eq!(format!("{}{}", &text[..full.start], &text[full.end..]), edited);
                let commented = after(&text, |t, f, why| t.comment_out(f, &range, why));
                if let Some(commented) = commented {
                    prop_assert_eq!(commented.len(), text.len() + 2);
                }
            }
        }
    }
}
