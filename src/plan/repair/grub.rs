//! `/etc/default/grub` where a variable is set again without its former value: the lines that are lost anyway.

use super::text::Texts;
use crate::facts::TextFile;
use crate::parse::shell_vars::{self, Assignment};
use crate::plan::case::Case;
use std::ops::Range;

/// Equal lines go; a line with other words is kept as a comment, for it may hold what was wanted.
pub(super) fn mend(case: &Case<'_>, texts: &mut Texts) {
    let places = case.snap.boot.places.iter().filter(|place| place.key.starts_with("GRUB_CMDLINE"));
    for finding in case.findings.iter().filter(|f| f.id == "config-line-duplicated") {
        let name = super::value(finding, "what");
        let Some(last) = finding.evidence.last() else { continue };
        let Some(place) = places.clone().find(|place| place.file.path == last.source && place.key == name) else {
            continue;
        };
        let file: &TextFile = &place.file;
        for range in lost(&file.text, name) {
            if finding.variant == "same" {
                texts.remove_lines(file, &range, finding);
            } else {
                texts.comment_out(file, &range, finding);
            }
        }
    }
}

/// The assignments of a variable whose value nobody gets: all before the last one that does not refer to the variable.
fn lost(text: &str, name: &str) -> Vec<Range<usize>> {
    let script = shell_vars::parse(text);
    let plain = |a: &&Assignment| a.name == name && !a.append && !a.conditional;
    let all: Vec<&Assignment> = script.assignments.iter().filter(plain).collect();
    let appended = |range: &Range<usize>| {
        let mut later = script.assignments.iter().filter(|a| a.name == name && a.range.start > range.start);
        later.next().is_some_and(|a| a.append || a.conditional || a.refers_to(name))
    };
    let last = all.iter().rposition(|a| !a.refers_to(name)).unwrap_or(0);
    let before = all.iter().take(last).map(|a| a.range.clone());
    // What is built on in between is lost with it, but no line goes that another one needs to be read.
    before.filter(|range| !appended(range) && is_alone(text, range)).collect()
}

/// True if the lines of an assignment hold nothing else but a comment.
fn is_alone(text: &str, range: &Range<usize>) -> bool {
    let before = text.get(..range.start).and_then(|text| text.rsplit('\n').next()).unwrap_or_default();
    let after = text.get(range.end..).and_then(|text| text.lines().next()).unwrap_or_default().trim();
    before.trim().is_empty() && (after.is_empty() || after.starts_with('#'))
}
