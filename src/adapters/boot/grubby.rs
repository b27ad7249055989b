//! GRUB with BLS entries: EL 8 and later, Fedora.
//!
//! The words stand in the entries themselves, or in grubenv's `kernelopts` where the entries say so (EL 8). All of these are text, so
//! they are written like any other file: whole, synced, renamed into place, with the old bytes kept. `grubby` is not run,
//! because it does less: it puts files in place unsynced (`sed -i`), replaces the first `console=` where a second one is meant, and in its
//! first releases takes `iommu=pt` for a new value of `intel_iommu=` (rhboot/grubby `grubby-bls`, `update_args`). What it edits besides is
//! edited here, too: `GRUB_CMDLINE_LINUX`, which a later `grub2-mkconfig` starts from, and `/etc/kernel/cmdline`, which new kernels copy
//! (Fedora `20-grub.install`). grub2-mkconfig is never run: on some of these systems it writes all entries anew, on others over the file that
//! leads from the ESP to the real configuration.
//!
//! Entries of rescue kernels stay as they are: something that boots has to be left alone.

use super::super::Work;
use super::edits::{Edits, words_file};
use super::{Menu, Todo, WordChange, entry_images, escape_typed, todo, why};
use crate::facts::Snapshot;
use crate::facts::boot::{Boot, Chain, Entry, Place, normal_entries};
use crate::parse::shell_vars::parse;
use crate::parse::{grubenv, shell_edit};
use crate::steps::reasons::reason;

/// What grub2-mkconfig takes the words of all entries from.
const DEFAULTS: &str = "/etc/default/grub";
const VARIABLE: &str = "GRUB_CMDLINE_LINUX";

/// What it needs done.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let boot = &snap.boot;
    let mut work = entry_images::work(snap, change);
    if change.escape {
        work.notes.push(escape_typed(Menu::Grub, change.ids));
    }
    let todo = todo(boot, change);
    if todo.is_empty() {
        return work;
    }
    let entries: Vec<Entry<'_>> = normal_entries(boot).into_iter().filter(|entry| is_bls(entry)).collect();
    if entries.is_empty() {
        work.manual.push(reason("bls-unread", &[]));
        return work;
    }
    let mut edits = Edits::default();
    sources(boot, &todo, &mut edits);
    let in_block = environment(boot, &entries, &todo, &mut edits);
    for entry in &entries {
        let served = in_block && entry.places.iter().any(|place| refers_to_block(place));
        let lacks = |word: &&String| !served && !entry.has(word);
        let missing: Vec<String> = todo.add.iter().filter(lacks).cloned().collect();
        for (number, place) in entry.places.iter().rev().enumerate() {
            edits.words(place, if number == 0 { &missing } else { &[] }, &todo.remove);
        }
    }
    work.files = edits.steps(|path| {
        let id = match path {
            _ if path.contains("/loader/entries/") => "bls-entry",
            _ if path.ends_with("/grubenv") => "bls-block",
            _ => "bls-source",
        };
        why(id, &todo.add, &todo.remove)
    });
    work
}

fn is_bls(entry: &Entry<'_>) -> bool {
    entry.places.iter().all(|place| place.key == "options" && place.chain != Chain::Ostree)
}

/// What later kernels' entries are made from.
fn sources(boot: &Boot, todo: &Todo, edits: &mut Edits) {
    let place = |wanted: &dyn Fn(&Place) -> bool| boot.places.iter().rev().find(|place| wanted(place));
    // First, so that it is the older one: otherwise the next kernel would have the second made from it again (`20-grub.install`).
    match place(&|p| p.file.path == DEFAULTS && p.key == VARIABLE) {
        Some(last) => edits.text(&last.file, |text| in_variable(text, VARIABLE, last.line, todo)),
        None => {
            let file = boot.grub.files.iter().find(|file| file.path == DEFAULTS).filter(|_| !todo.add.is_empty());
            if let Some(file) = file {
                edits.text(file, |text| shell_edit::with_line(text, &format!("{VARIABLE}=\"{}\"", todo.add.join(" "))));
            }
        }
    }
    if let Some(place) = place(&|place| place.file.path == "/etc/kernel/cmdline") {
        edits.text(&place.file, |text| words_file(text, false, &todo.add, &todo.remove));
    }
}

/// Edits the words of the assignment at a line.
fn in_variable(text: &str, name: &str, line: u32, todo: &Todo) -> String {
    let is = |a: &crate::parse::shell_vars::Assignment| a.name == name && a.line == line;
    let mut edited = text.to_owned();
    if let Some(assignment) = parse(&edited).assignments.iter().find(|a| is(a)) {
        edited = shell_edit::without(&edited, assignment, &todo.remove).unwrap_or(edited);
    }
    if let Some(assignment) = parse(&edited).assignments.iter().find(|a| is(a)) {
        let known = [assignment.own_text()];
        let missing: Vec<String> = todo.add.iter().filter(|word| !super::has_word(&known, word)).cloned().collect();
        if !missing.is_empty() {
            // Where the value has no quotes, in a line of its own.
            let line = format!("{name}=\"${name} {}\"", missing.join(" "));
            edited = shell_edit::with(&edited, assignment, &missing)
                .unwrap_or_else(|| shell_edit::with_line(&edited, &line));
        }
    }
    edited
}

/// True for an entry that takes its words from GRUB's environment block.
fn refers_to_block(place: &Place) -> bool {
    let text = place.file.text.get(place.range.clone()).unwrap_or_default();
    text.contains("$kernelopts") || text.contains("${kernelopts}")
}

/// Edits the environment block where entries take their words from it. False if none does, or the block has no room.
fn environment(boot: &Boot, entries: &[Entry<'_>], todo: &Todo, edits: &mut Edits) -> bool {
    let block = boot.places.iter().find(|place| place.key == "kernelopts" && place.effective);
    let refer = entries.iter().flat_map(|entry| &entry.places).any(|place| refers_to_block(place));
    let Some(place) = block.filter(|_| refer) else { return false };
    let add: Vec<String> = todo.add.iter().filter(|word| !super::has_word(&place.words, word)).cloned().collect();
    let after = grubenv::edit(&place.file.text, "kernelopts", &add, &todo.remove);
    if let Some(after) = &after {
        edits.text(&place.file, |_| after.clone());
    }
    after.is_some()
}
