//! systemd-boot with kernel-install: `/etc/kernel/cmdline`.
//!
//! kernel-install writes kernel, image and entry onto the ESP in place (`90-loaderentry.install`: `install`, `>`; systemd 252 and
//! 257), and its plugins build images of their own, so it isn't run. What it would change of the entries that are there, their
//! words and their copies of the images, is changed file by file, each by a rename: there is no moment in which an entry is half.
//! `/etc/kernel/cmdline` says the same for kernels to come.

use super::super::Work;
use super::edits::{Edits, words_file};
use super::{WordChange, entry_images, todo};
use crate::facts::Snapshot;
use crate::facts::boot::{Boot, Entry, normal_entries};
use crate::parse::bls;
use crate::parse::cmdline::Cmdline;
use crate::parse::lines::lines;
use crate::steps::Step;
use crate::steps::reasons::reason;

const CMDLINE: &str = "/etc/kernel/cmdline";
/// Counts only where there is no [`CMDLINE`] (kernel-install(8)).
const VENDOR: &str = "/usr/lib/kernel/cmdline";
/// Makes the entry "without passthrough" of kernels to come.
const PLUGIN: &str = "/etc/kernel/install.d/95-vfioneer.install";
const PLUGIN_SCRIPT: &str = include_str!("files/95-vfioneer.install");

/// What it needs done.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let entries = normal_entries(&snap.boot);
    if entries.is_empty() {
        return Work { manual: vec![reason("entries-unread", &[])], ..Work::default() };
    }
    let mut work = Work::default();
    work.files.extend(source(&snap.boot, change));
    work.extend(entry_images::work(snap, change));
    let edits = edited(&entries, change);
    if change.escape {
        let present = snap.own.text(PLUGIN);
        if present != Some(PLUGIN_SCRIPT) {
            work.files.push(Step::write(PLUGIN, present, PLUGIN_SCRIPT, 0o755, reason("escape-plugin", &[])));
        }
        work.commands.extend(escapes(&snap.boot, &entries, &edits, change.ids));
    }
    work.commands.extend(edits.steps(|_| reason("entry-words", &[])));
    work
}

/// Every normal entry with the words.
pub(super) fn edited(entries: &[Entry<'_>], change: &WordChange) -> Edits {
    let mut edits = Edits::default();
    for entry in entries {
        let missing: Vec<String> = change.add.iter().filter(|word| !entry.has(word)).cloned().collect();
        for (number, place) in entry.places.iter().rev().enumerate() {
            edits.words(place, if number == 0 { &missing } else { &[] }, &change.remove);
        }
    }
    edits
}

/// `/etc/kernel/cmdline`, made from today's entry where it is missing.
pub(super) fn source(boot: &Boot, change: &WordChange) -> Option<Step> {
    let find = |path: &str| boot.places.iter().map(|place| &place.file).find(|file| file.path == path);
    if let Some(file) = find(CMDLINE) {
        let after = words_file(&file.text, false, &change.add, &change.remove);
        return (after != file.text)
            .then(|| Step::write(CMDLINE, Some(&file.text), after, 0o644, reason("kernel-cmdline", &[])));
    }
    if todo(boot, change).is_empty() {
        return None;
    }
    let text = match find(VENDOR) {
        Some(file) => file.text.clone(),
        None => today(boot)? + "\n",
    };
    let after = words_file(&text, false, &change.add, &change.remove);
    Some(Step::write(CMDLINE, None, after, 0o644, reason("kernel-cmdline-made", &[])))
}

/// The words of an entry as it is today.
fn today(boot: &Boot) -> Option<String> {
    let entries = normal_entries(boot);
    let selected = boot.entry_selected.known().and_then(|name| {
        entries.iter().find(|entry| entry.places.iter().any(|place| place.file.path.ends_with(&format!("/{name}"))))
    });
    let entry = selected.or(entries.last())?;
    // What the loader itself adds (kernel-install leaves it out of the running command line, too).
    let of_loader = |word: &&str| word.starts_with("BOOT_IMAGE=") || word.starts_with("initrd=");
    Some(entry.words().filter(|word| !of_loader(word)).collect::<Vec<_>>().join(" "))
}

/// An entry "without passthrough" beside every normal one.
pub(super) fn escapes(boot: &Boot, entries: &[Entry<'_>], edits: &Edits, ids: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for file in entries.iter().filter_map(|entry| entry.places.first()).map(|place| &place.file) {
        let path = escape_path(&file.path);
        let present = boot.places.iter().map(|place| &place.file).find(|file| file.path == path);
        let text = escape_text(edits.now(file), ids);
        if present.is_none_or(|present| present.text != text) {
            let before = present.map(|present| present.text.as_str());
            steps.push(Step::write(&path, before, text, 0o644, reason("escape-entry", &[])));
        }
    }
    steps
}

/// `TOKEN-RELEASE+3.conf` → `TOKEN-RELEASE-vfioneer-off.conf`: kernel-install removes it with the kernel.
fn escape_path(path: &str) -> String {
    let stem = path.strip_suffix(".conf").unwrap_or(path);
    let counted = |tries: &str| tries.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let stem = stem.rsplit_once('+').filter(|(_, tries)| counted(tries)).map_or(stem, |(stem, _)| stem);
    format!("{stem}-vfioneer-off.conf")
}

/// The text of an entry with nothing claimed: another title, sorted behind the others, its words with `vfioneer=off`. The same as
/// `files/95-vfioneer.install` makes.
fn escape_text(text: &str, ids: bool) -> String {
    let off = if ids { " vfioneer=off module_blacklist=vfio_pci" } else { " vfioneer=off" };
    let mut changed = String::new();
    for line in lines(text) {
        let content = line.text.trim_start();
        let (key, _) = content.split_once([' ', '\t']).unwrap_or((content, ""));
        match key {
            "title" => changed.push_str(&format!("{}, without passthrough (vfioneer=off)", line.text)),
            "sort-key" => changed.push_str(&format!("{}-vfioneer-off", line.text)),
            "options" => {
                let parsed = Cmdline::parse(line.text);
                let mut at = 0;
                for word in parsed.words.iter().filter(|word| word.is("vfio_pci.ids")) {
                    changed.push_str(line.text.get(at..word.range.start).unwrap_or_default().trim_end());
                    at = word.range.end;
                }
                changed.push_str(line.text.get(at..).unwrap_or_default());
                changed.push_str(off);
            }
            _ => changed.push_str(line.text),
        }
        changed.push_str(line.ending);
    }
    if bls::parse(text).value("options").is_none() {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        changed.push_str(&format!("{end}options{off}\n"));
    }
    changed
}

#[cfg(test)]
mod tests;
