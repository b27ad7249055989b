//! `/etc/kernel/cmdline` of proxmox-boot-tool: words in lines that nobody reads, and a first line without `root=`.

use super::text::{Texts, line_range};
use super::{at_lines, why, words};
use crate::facts::TextFile;
use crate::parse::cmdline::{self, Cmdline};
use crate::plan::case::Case;
use crate::plan::words::Word;

/// Takes the lines out; what of them is wanted goes into the first line with the other words.
pub(super) fn mend(case: &Case<'_>, texts: &mut Texts) {
    for (finding, path, _) in at_lines(case, "cmdline-second-line") {
        let Some(file) = file(case, path) else { continue };
        for (number, _) in further(file) {
            if let Some(range) = line_range(&file.text, number) {
                texts.remove_lines(file, &range, finding);
            }
        }
    }
}

/// The words that the first line should have.
pub(super) fn words(case: &Case<'_>) -> Vec<Word> {
    let mut found: Vec<Word> = Vec::new();
    let mut add = |word: &str, why: String| {
        if !found.iter().any(|known| known.word == word) {
            found.push(Word { word: word.to_owned(), present: true, done: false, why });
        }
    };
    for (finding, path, _) in at_lines(case, "cmdline-second-line") {
        let Some(file) = file(case, path) else { continue };
        let first = Cmdline::parse(file.text.lines().next().unwrap_or_default());
        for (_, line) in further(file) {
            for word in
                cmdline::words(line).iter().filter(|word| !first.has_word(word) && words::may_take_effect(case, word))
            {
                add(word, why(finding));
            }
        }
    }
    let lost = found_root(&found);
    let is_comment = |path: &str| file(case, path).is_some_and(|file| file.text.starts_with('#'));
    for (finding, ..) in at_lines(case, "cmdline-without-root").filter(|(_, path, _)| !lost && !is_comment(path)) {
        let running = crate::checks::words::running(case.snap);
        for word in running.words.iter().filter(|word| matches!(word.name.as_str(), "root" | "rootflags" | "boot")) {
            found.push(Word { word: word.text.to_owned(), present: true, done: false, why: why(finding) });
        }
    }
    found
}

fn found_root(words: &[Word]) -> bool {
    words.iter().any(|word| word.word.starts_with("root="))
}

fn file<'a>(case: &'a Case<'_>, path: &str) -> Option<&'a TextFile> {
    case.snap.boot.places.iter().map(|place| place.file.as_ref()).find(|file| file.path == path)
}

/// The lines behind the first that hold words; none where the first was meant as a comment, which this file has not: then the words of another
/// line are no addition.
fn further(file: &TextFile) -> impl Iterator<Item = (u32, &str)> {
    let comment = file.text.starts_with('#');
    let lines = (1u32..).zip(file.text.lines()).skip(1).filter(move |_| !comment);
    lines.filter(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with('#'))
}
