//! How far a configured word got: from a source to the boot entries to the running kernel.
//!
//! Goes in: a [`Boot`] and the running command line. Comes out: each configured word with its [`Reach`].

use super::{Boot, Chain, Place};
use crate::parse::cmdline::Cmdline;
use std::collections::BTreeSet;

/// How far a word got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The running kernel has it.
    Running,
    /// An entry for the running kernel has it; that entry was not booted since.
    NotBooted,
    /// The source is read, but no entry for the running kernel has the word: it was not generated again.
    NotGenerated,
    /// The chain that boots does not read the file, or not this line, or a later line replaces it.
    NotRead,
    /// The running kernel does not have it, and which of these is the reason cannot be seen.
    Unclear,
}

/// One word of one place.
#[derive(Clone, Debug)]
pub struct Configured<'a> {
    /// Where it stands.
    pub place: &'a Place,
    /// The word as written.
    pub word: &'a str,
    /// How far it got.
    pub reach: Reach,
}

/// Every word of every source, and of every boot entry where entries are what a person edits, with how far it got.
/// Words with a variable of the loader are left out, as are words for normal entries while a recovery entry runs.
///
/// `running` is the running command line, `release` the running kernel. What a word means is not asked: a `quiet` in
/// a file that is not read is listed like any other.
pub fn configured_words<'a>(boot: &'a Boot, running: &str, release: Option<&str>) -> Vec<Configured<'a>> {
    let line = Cmdline::parse(running);
    let recovery = line.has_word("single") || line.has_word("recovery") || line.has_word("rescue");
    let entries = booting_entries(boot, release);
    let edited_entries = !boot.places.iter().any(|place| place.effective && !place.generated);
    let certain = boot.chain().is_some_and(|chain| chain != Chain::Unknown);
    let mut found = Vec::new();
    for place in &boot.places {
        let is_entry = entries.iter().any(|entry| std::ptr::eq(*entry, place));
        if place.generated && !(edited_entries && is_entry) {
            continue;
        }
        if recovery && place.key == "GRUB_CMDLINE_LINUX_DEFAULT" {
            continue;
        }
        // One entry of several for the same kernel may be meant to differ (recovery, fallback).
        let same = |a: &Place, b: &Place| a.file.path == b.file.path && a.title == b.title;
        let in_all = |word: &str| {
            let mut others = entries.iter().filter(|other| !same(other, place));
            others.all(|other| entries.iter().any(|part| same(part, other) && has(part, word)))
        };
        for word in place.words.iter().filter(|word| !word.contains('$')) {
            let reach = if line.has_word(word) {
                Reach::Running
            } else if !certain {
                Reach::Unclear
            } else if !place.effective {
                Reach::NotRead
            } else if place.generated {
                if !in_all(word) {
                    continue;
                }
                Reach::NotBooted
            } else if entries.is_empty() {
                Reach::Unclear
            } else if entries.iter().any(|entry| has(entry, word)) {
                Reach::NotBooted
            } else {
                Reach::NotGenerated
            };
            found.push(Configured { place, word, reach });
        }
    }
    found
}

/// The entries that the loader reads for the running kernel; all of them if none is known to be for it; only the one
/// that booted if that is known.
pub fn booting_entries<'a>(boot: &'a Boot, release: Option<&str>) -> Vec<&'a Place> {
    let all: Vec<&Place> = boot.places.iter().filter(|place| place.generated && place.effective).collect();
    if let Some(selected) = boot.entry_selected.known() {
        // Newer systemd-boot names entries without `.conf`, and counted ones with `+tries`.
        let stem = selected.trim_end_matches(".conf").trim_end_matches(".efi");
        let is_chosen = |place: &&Place| {
            let name = place.file.path.rsplit('/').next();
            name.and_then(|name| name.strip_prefix(stem)).is_some_and(|rest| rest.starts_with(['.', '+']))
        };
        let chosen: Vec<&Place> = all.iter().copied().filter(is_chosen).collect();
        if !chosen.is_empty() {
            return chosen;
        }
    }
    let running: Vec<&Place> =
        all.iter().filter(|place| release.is_some() && place.release.as_deref() == release).copied().collect();
    if running.is_empty() { all } else { running }
}

/// A boot entry: what the loader gives to one kernel.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The lines that give its words, in order; never empty.
    pub places: Vec<&'a Place>,
}

impl<'a> Entry<'a> {
    /// All its words.
    pub fn words(&self) -> impl Iterator<Item = &'a str> {
        self.places.iter().flat_map(|place| &place.words).map(String::as_str)
    }

    /// True if the entry has this word.
    pub fn has(&self, word: &str) -> bool {
        self.places.iter().any(|place| has(place, word))
    }

    /// Which kernel it boots, where known.
    pub fn release(&self) -> Option<&'a str> {
        self.places.first()?.release.as_deref()
    }
}

/// The key of an entry of grub.cfg that a person wrote (`/etc/grub.d/40_custom`): no generator gives it words.
pub const BY_HAND: &str = "menuentry";

/// Words of entries that are meant to differ: Debian's and Ubuntu's recovery entries have `single` or `recovery`
/// (`/etc/grub.d/10_linux`), and vfioneer's own entry without passthrough has the last.
const APART: &[&str] = &["single", "recovery", "rescue", "emergency", "vfioneer=off"];

/// True for a word that only entries have which are meant to differ.
pub fn is_apart(word: &str) -> bool {
    let line = Cmdline::parse(word);
    APART.iter().any(|apart| line.has_word(apart))
}

/// True if an entry with these words boots this host as it is used every day: no recovery, not without passthrough, and not another
/// system on the same disks (GRUB's os-prober, entries on a shared ESP), which has another `root=`.
pub fn is_normal<'a>(words: impl IntoIterator<Item = &'a str>, root: Option<&str>) -> bool {
    let text = words.into_iter().collect::<Vec<_>>().join(" ");
    let line = Cmdline::parse(&text);
    let ours = match (line.value("root"), root) {
        (Some(value), Some(root)) => value == root || value.contains('$'),
        // Memory tests and network boot have no root; a variable of the loader may hold it.
        (None, Some(_)) => text.contains('$'),
        (_, None) => true,
    };
    ours && !APART.iter().any(|word| line.has_word(word))
}

/// The entries that boot a host as it is used every day, on the chain that boots.
pub fn normal_entries(boot: &Boot) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let is_entry = |place: &&Place| {
        place.generated && place.effective && !matches!(place.key.as_str(), "kernelopts" | "tuned_params" | BY_HAND)
    };
    for place in boot.places.iter().filter(is_entry) {
        // An entry of the Boot Loader Specification may have several lines of options.
        let same = |entry: &&mut Entry<'_>| {
            entry.places.iter().any(|p| p.key == "options" && place.key == "options" && p.file.path == place.file.path)
        };
        match entries.iter_mut().find(same) {
            Some(entry) => entry.places.push(place),
            None => entries.push(Entry { places: vec![place] }),
        }
    }
    // Where the running kernel got its root under another name, it tells nothing.
    let root = boot.root.as_deref().filter(|root| entries.iter().any(|entry| is_normal(entry.words(), Some(root))));
    entries.retain(|entry| is_normal(entry.words(), root) && !is_rescue(entry));
    if boot.chain() == Some(Chain::Ostree) {
        newest_deployment(&mut entries);
    }
    entries
}

/// Fedora's and EL's rescue kernel calls itself `0-rescue-MACHINE` (dracut `51-dracut-rescue.install`).
fn is_rescue(entry: &Entry<'_>) -> bool {
    entry.release().is_some_and(|release| release.starts_with("0-rescue"))
}

/// ostree numbers its entries `ostree-N.conf`, N being the highest for the deployment that boots next; the others are
/// there to go back to, each with the words that it had (ostree `ostree-sysroot-deploy.c`).
fn newest_deployment(entries: &mut Vec<Entry<'_>>) {
    let number = |entry: &Entry<'_>| {
        let name = entry.places.first()?.file.path.rsplit('/').next()?.strip_suffix(".conf")?;
        name.strip_prefix("ostree-")?.split('-').next()?.parse::<u32>().ok()
    };
    if let Some(newest) = entries.iter().filter_map(number).max() {
        entries.retain(|entry| number(entry) == Some(newest));
    }
}

/// The releases for which there are effective entries that lack a word: after a change, every one should have it.
pub fn releases_without<'a>(boot: &'a Boot, word: &str) -> BTreeSet<&'a str> {
    let entries = boot.places.iter().filter(|place| place.generated && place.effective && !has(place, word));
    entries.filter_map(|place| place.release.as_deref()).collect()
}

fn has(place: &Place, word: &str) -> bool {
    let text = place.words.join(" ");
    Cmdline::parse(&text).has_word(word)
}
