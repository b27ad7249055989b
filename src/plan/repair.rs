//! `--repair`: mends what the checks found wrong in today's configuration, where the intent is certain and nothing that is
//! in effect changes. What only looks odd, or what is a matter of taste, is left alone.
//!
//! Goes in: a case. Comes out: words for the command line, files with some lines changed, whether images have to follow.
//! Each change has the finding's own sentence as its reason.

mod directives;
mod grub;
mod ids;
mod lists;
mod second_line;
mod text;
mod words;

use super::case::Case;
use super::words::Word;
use crate::checks::intent::Interest;
use crate::checks::{Finding, Subject, intent::Intents, pages};
use crate::goal::Method;
use crate::steps::Step;
use text::Texts;

/// What is mended.
#[derive(Default)]
pub(super) struct Repair {
    /// Words to take out or put in.
    pub words: Vec<Word>,
    /// Files, one step each.
    pub files: Vec<Step>,
    /// Do images hold copies of such a file?
    pub images: bool,
}

/// All of it; nothing without `--repair`.
pub(super) fn all(case: &Case<'_>) -> Repair {
    if !case.goal.repair {
        return Repair::default();
    }
    let mut texts = Texts::default();
    directives::mend(case, &mut texts);
    lists::mend(case, &mut texts);
    // A copy that the generator does not make would not be there afterwards either.
    let stale = |finding: &Finding| finding.id == "initramfs-stale" && finding.variant != "not-copied";
    let images = !texts.is_empty() || case.findings.iter().any(stale);
    grub::mend(case, &mut texts);
    second_line::mend(case, &mut texts);
    let mut words = words::mended(case);
    for word in second_line::words(case) {
        if !words.iter().any(|known: &Word| known.word == word.word) {
            words.push(word);
        }
    }
    Repair { words, files: texts.steps(), images }
}

/// The findings with this id, each with the file and line that it is about.
fn at_lines<'a>(case: &'a Case<'_>, id: &'a str) -> impl Iterator<Item = (&'a Finding, &'a str, u32)> {
    case.findings.iter().filter(move |finding| finding.id == id).filter_map(|finding| match &finding.subject {
        Subject::Line(path, line) => Some((finding, path.as_str(), *line)),
        _ => None,
    })
}

/// A value of a finding; empty if it has none of that name.
fn value<'a>(finding: &'a Finding, name: &str) -> &'a str {
    finding.values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value.as_str())
}

/// The finding's sentence and its id.
fn why(finding: &Finding) -> String {
    format!("{} ({}).", pages::message(finding).trim_end_matches('.'), finding.id)
}

/// True if claims by identity take over from ids and blacklists: every function that anybody asks for at boot is claimed by
/// them, with this plan or since before.
fn by_identity(case: &Case<'_>) -> bool {
    if case.chosen.is_empty() || case.adopted.is_some() || case.goal.method != Method::Identity {
        return false;
    }
    let own = case.snap.own.text(crate::facts::own::CLAIMS).unwrap_or_default();
    let claimed = crate::parse::claims::parse(own).claims;
    let intents = Intents::derive(case.snap, &crate::goal::Goal::default());
    case.snap.pci.functions.iter().filter(|f| intents.of(&f.address) >= Interest::Configured).all(|function| {
        case.chosen.iter().any(|chosen| chosen.address == function.address)
            || claimed.iter().any(|claim| claim.address == function.address)
            // What the ids take too much is no wish: the host drives it.
            || !function.on_vfio() && case.snap.usage.of(&function.address).next().is_some()
    })
}

/// True if something holds of every kernel that can boot, and there is one.
fn every_kernel(case: &Case<'_>, holds: impl Fn(&crate::facts::kernel::InstalledKernel) -> bool) -> bool {
    let installed = &case.snap.kernel.installed;
    !installed.is_empty() && installed.iter().all(holds)
}

/// True if every kernel that can boot is of this version or later.
fn all_at_least(case: &Case<'_>, least: (u32, u32)) -> bool {
    every_kernel(case, |kernel| crate::facts::kernel::numbers(&kernel.release).is_some_and(|numbers| numbers >= least))
}

#[cfg(test)]
mod tests;
