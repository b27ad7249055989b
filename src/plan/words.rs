//! Which words the kernel needs on this host for this goal, and which stand in the way. One file per reason.

mod allowed;
mod early;
mod framebuffer;
mod iommu;
mod off;
mod vfio_ids;
mod wishes;

use super::case::Case;
use crate::adapters::boot;
use crate::checks::words;
use crate::facts::kernel::InstalledKernel;
use crate::plan::texts::said;
use serde::Serialize;

pub(super) use iommu::words as iommu_words;

/// One word to add or to take away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Word {
    /// As it stands on the command line.
    pub word: String,
    /// Must it be there, or not be there?
    pub present: bool,
    /// True if that is so already in what boots next.
    pub done: bool,
    /// Why, in one or two sentences.
    pub why: String,
}

impl Word {
    fn add(word: impl Into<String>, id: &str, values: &[(&str, &str)]) -> Word {
        Word { word: word.into(), present: true, done: false, why: said(&format!("word-{id}"), values) }
    }

    fn remove(word: impl Into<String>, id: &str, values: &[(&str, &str)]) -> Word {
        Word { word: word.into(), present: false, done: false, why: said(&format!("word-{id}"), values) }
    }
}

/// All of them, those that go away first, each once; what is repaired only where nothing else is said of the word.
pub(super) fn needed(case: &Case<'_>, repaired: Vec<Word>) -> Vec<Word> {
    let mut found: Vec<Word> = Vec::new();
    let all =
        [off::words, iommu::words, framebuffer::words, vfio_ids::words, early::words, allowed::words, wishes::words];
    for word in all.iter().flat_map(|words| words(case)) {
        if !found.iter().any(|known| known.word == word.word && known.present == word.present) {
            found.push(word);
        }
    }
    for mut word in repaired {
        word.done = boot::is_done(&case.snap.boot, &word.word, word.present);
        if !word.done && !found.iter().any(|known| known.word == word.word) {
            found.push(word);
        }
    }
    found.sort_by_key(|word| word.present);
    for word in &mut found {
        word.done = boot::is_done(&case.snap.boot, &word.word, word.present);
    }
    found
}

/// A word that the host has already and that holds this item of its comma list: it is kept as it is written.
fn adopted(case: &Case<'_>, name: &str, item: &str) -> Option<String> {
    case.words.iter().find(|word| word.name == name && word.items().any(|i| i == item)).map(|w| w.text.clone())
}

/// A word without one item of its comma list; `None` if nothing is left of it.
fn without(word: &words::Word, item: &str) -> Option<String> {
    let rest: Vec<&str> = word.items().filter(|i| *i != item).collect();
    let name = word.text.split('=').next().unwrap_or_default();
    (!rest.is_empty()).then(|| format!("{name}={}", rest.join(",")))
}

/// The kernels that can boot: those that are installed.
fn kernels<'a>(case: &Case<'a>) -> &'a [InstalledKernel] {
    &case.snap.kernel.installed
}

/// Whether a configuration option of a kernel is set; `None` if its configuration is not known.
fn option(kernel: &InstalledKernel, name: &str) -> Option<bool> {
    kernel.config.known().map(|config| config.get(name).is_some_and(|value| value == "y"))
}

/// Releases for a sentence: `6.1.0-25-amd64 and 6.12.1`.
fn releases(kernels: &[&InstalledKernel]) -> String {
    crate::checks::device::list(kernels.iter().map(|kernel| kernel.release.as_str()))
}

#[cfg(test)]
mod tests;
