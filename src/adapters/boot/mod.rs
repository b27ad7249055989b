//! Boot chains: which words the kernel gets, and where that is written.
//!
//! Goes in: a snapshot and a [`WordChange`]. Comes out: [`Work`]. The chain that really boots is chosen by evidence; where two are
//! possible, none is.

mod edits;
mod entry_images;
mod grub;
mod grubby;
mod instructions;
mod kernel_install;
mod kernelstub;
mod loader_entries;
mod ostree;
mod proxmox;
mod uki;

use super::Work;
use super::initramfs::Contents;
use crate::facts::Snapshot;
use crate::facts::boot::{Boot, Chain, normal_entries};
use crate::parse::cmdline::Cmdline;
use crate::steps::Expectation;
use crate::steps::reasons::reason;

/// Words to add to and to remove from the kernel's command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WordChange {
    /// Words that every normal entry must have; those that are there already change nothing.
    pub add: Vec<String>,
    /// Words that no entry should have any more (`--repair`).
    pub remove: Vec<String>,
    /// Make, keep, or leave alone an entry "without passthrough" (`vfioneer=off`), where the chain has a way to.
    pub escape: bool,
    /// Does vfio-pci take functions by their ids? Then that entry keeps the module out.
    pub ids: bool,
    /// Is the initramfs of every kernel rebuilt, too? A chain that copies images or packs them into one file has to follow.
    pub images: bool,
    /// What each of them must hold then.
    pub contents: Contents,
}

/// What the chain of this host needs done for a change of words.
pub fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let mut work = match snap.boot.chain() {
        Some(Chain::Grub) => grub::work(snap, change),
        Some(Chain::GrubBls) => grubby::work(snap, change),
        Some(Chain::ProxmoxSystemdBoot | Chain::ProxmoxGrub) => proxmox::work(snap, change),
        Some(Chain::SystemdBoot) => kernel_install::work(snap, change),
        Some(Chain::SystemdBootEntries) => loader_entries::work(snap, change),
        Some(Chain::Uki) => uki::work(snap, change),
        Some(Chain::Ostree) => ostree::work(snap, change),
        Some(Chain::Kernelstub) => kernelstub::work(snap, change),
        Some(Chain::Bootc | Chain::Sdbootutil | Chain::Limine | Chain::Refind | Chain::NixOs) => {
            instructions::work(snap, change)
        }
        Some(Chain::Unknown) | None => undecided(&snap.boot, change),
    };
    let expect = |present| move |word: &String| Expectation::Entries { word: word.clone(), present };
    work.expect.extend(change.add.iter().map(expect(true)));
    work.expect.extend(change.remove.iter().map(expect(false)));
    work
}

/// Why words change in a place: `reason` names those that come, another sentence those that go.
fn why(id: &str, add: &[String], remove: &[String]) -> String {
    let gone = || reason("words-gone", &[("words", &remove.join(" "))]);
    let come = || reason(id, &[("words", &add.join(" "))]);
    match (add.is_empty(), remove.is_empty()) {
        (_, true) => come(),
        (true, false) => gone(),
        (false, false) => format!("{} {}", come(), gone()),
    }
}

/// Whose menu takes words that are typed.
#[derive(Clone, Copy)]
enum Menu {
    Grub,
    SystemdBoot,
}

/// How to start once with nothing claimed where there is no entry for it: by the claim's own word, or, where vfio-pci itself takes ids, without
/// that module.
fn escape_typed(menu: Menu, ids: bool) -> String {
    let id = match (menu, ids) {
        (Menu::Grub, false) => "escape-typed-grub",
        (Menu::Grub, true) => "escape-typed-grub-ids",
        (Menu::SystemdBoot, false) => "escape-typed-systemd-boot",
        (Menu::SystemdBoot, true) => "escape-typed-systemd-boot-ids",
    };
    reason(id, &[])
}

/// Nobody knows who boots: what speaks for each, and nothing is changed.
fn undecided(boot: &Boot, change: &WordChange) -> Work {
    let todo = todo(boot, change);
    if todo.is_empty() && !change.images {
        return Work::default();
    }
    let id = if boot.candidates.is_empty() { "chain-unknown" } else { "chain-undecided" };
    let mut manual = vec![reason(id, &[])];
    for candidate in &boot.candidates {
        for evidence in &candidate.evidence {
            let line = evidence.line.map_or_else(String::new, |line| format!(":{line}"));
            manual.push(format!("- {}: {}{line}: {}", candidate.chain.title(), evidence.source, evidence.text));
        }
    }
    manual.push(reason("chain-settle", &[]));
    if !todo.add.is_empty() {
        manual.push(reason("add-by-hand-line", &[]));
        manual.push(format!("  {}", todo.add.join(" ")));
    }
    if !todo.remove.is_empty() {
        manual.push(reason("remove-by-hand-line", &[]));
        manual.push(format!("  {}", todo.remove.join(" ")));
    }
    Work { manual, ..Work::default() }
}

/// What is left of a [`WordChange`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Todo {
    /// Words that some normal entry lacks, or that no source that is read gives.
    add: Vec<String>,
    /// Words that some normal entry or some source that is read still has: an entry of another system, a rescue entry or a former
    /// deployment keeps its own.
    remove: Vec<String>,
}

impl Todo {
    fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

/// Compares a change with the entries and the sources of the chain that boots.
fn todo(boot: &Boot, change: &WordChange) -> Todo {
    let entries = normal_entries(boot);
    let lacking = |word: &&String| entries.is_empty() || entries.iter().any(|entry| !entry.has(word));
    let sources = || boot.places.iter().filter(|place| place.effective && !place.generated);
    // EL 8's entries take their words from there.
    let block = || boot.places.iter().filter(|place| place.effective && place.key == "kernelopts");
    let read = |word: &&String| {
        entries.iter().any(|entry| entry.has(word))
            || sources().chain(block()).any(|place| has_word(&place.words, word))
    };
    let unsourced = |word: &&String| sources().next().is_some() && !sources().any(|place| has_word(&place.words, word));
    Todo {
        add: change.add.iter().filter(|word| lacking(word) || unsourced(word)).cloned().collect(),
        remove: change.remove.iter().filter(read).cloned().collect(),
    }
}

/// True if every entry that boots, and what entries are made from, has the word, or has it no more.
pub fn is_done(boot: &Boot, word: &str, present: bool) -> bool {
    let one = vec![word.to_owned()];
    let (add, remove) = if present { (one, Vec::new()) } else { (Vec::new(), one) };
    let todo = todo(boot, &WordChange { add, remove, ..WordChange::default() });
    todo.is_empty()
}

/// True if a word is among others as the kernel compares them: `-` and `_` in its name are equal, quotes don't count.
fn has_word(words: &[String], word: &str) -> bool {
    Cmdline::parse(&words.join(" ")).has_word(word)
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests;
