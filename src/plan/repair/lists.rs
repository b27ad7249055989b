//! Lists of modules: a module that no kernel of this host has any more, and what stands there twice.

use super::text::{Texts, line_range};
use super::{all_at_least, at_lines};
use crate::checks::Finding;
use crate::checks::modprobe_line_ignored::is_admins;
use crate::facts::TextFile;
use crate::facts::modules::{List, LoadEntry};
use crate::parse::modprobe::module_name;
use crate::parse::{shell_edit, shell_vars};
use crate::plan::case::Case;

/// Mends all lists.
pub(super) fn mend(case: &Case<'_>, texts: &mut Texts) {
    for (finding, path, line) in at_lines(case, "modprobe-line-ignored") {
        if finding.variant.starts_with("virqfd") && all_at_least(case, (6, 2)) {
            for (file, entry) in entries(case, path, line, "vfio_virqfd") {
                take_out(texts, file, entry, finding);
            }
        }
    }
    for finding in case.findings.iter().filter(|f| f.id == "config-line-duplicated" && f.variant == "same") {
        let module = super::value(finding, "what");
        for evidence in finding.evidence.iter().skip(1) {
            for (file, entry) in entries(case, &evidence.source, evidence.line.unwrap_or(0), module) {
                take_out(texts, file, entry, finding);
            }
        }
    }
}

/// The entries of a module at a line of a file.
fn entries<'a>(
    case: &'a Case<'_>,
    path: &'a str,
    line: u32,
    module: &'a str,
) -> impl Iterator<Item = (&'a TextFile, &'a LoadEntry)> {
    let modules = &case.snap.modules;
    let here = move |entry: &&LoadEntry| entry.line == line && module_name(&entry.module) == module;
    let file = move |entry: &'a LoadEntry| modules.files.get(entry.file).map(|file| (file, entry));
    modules.load.iter().filter(here).filter_map(file).filter(move |(file, _)| file.path == path && is_admins(path))
}

/// Takes one module out: its line, or its word in a variable.
fn take_out(texts: &mut Texts, file: &TextFile, entry: &LoadEntry, finding: &Finding) {
    match entry.list {
        List::ModulesLoad | List::InitramfsTools => {
            if let Some(range) = line_range(&file.text, entry.line) {
                texts.remove_lines(file, &range, finding);
            }
        }
        List::DracutForce | List::DracutAdd | List::Mkinitcpio => {
            let script = shell_vars::parse(&file.text);
            for assignment in script.assignments.iter().filter(|assignment| assignment.line == entry.line) {
                let range = assignment.range.clone();
                if assignment.array {
                    let words = assignment.value.iter().filter(|word| word.literal().as_ref() == Some(&entry.module));
                    for word in words {
                        let front = file.text.get(..word.range.start).unwrap_or_default();
                        let blank = usize::from(front.ends_with(' '));
                        texts.replace(file, word.range.start - blank..word.range.end, "", finding);
                    }
                } else if let Some(after) =
                    shell_edit::without(&file.text, assignment, std::slice::from_ref(&entry.module))
                {
                    let tail = file.text.len() - range.end.min(file.text.len());
                    let end = after.len().saturating_sub(tail);
                    texts.replace(file, range.clone(), after.get(range.start..end).unwrap_or_default(), finding);
                }
            }
        }
    }
}
