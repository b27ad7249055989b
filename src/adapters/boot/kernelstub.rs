//! kernelstub (Pop!_OS): words in the part `user` of `/etc/kernelstub/configuration`.
//!
//! The file is edited here and kernelstub run without options, because its own `-d` loses the order of the words (it subtracts sets;
//! pop-os/kernelstub `application.py`). It copies kernel and image and writes its entries in place (`installer.py`), so meanwhile an entry
//! with copies of its own is the default.

use super::super::Work;
use super::edits::Edits;
use super::{Menu, Todo, WordChange, escape_typed, has_word, todo, why};
use crate::facts::Snapshot;
use crate::facts::boot::{Boot, Place, normal_entries};
use crate::parse::{bls, cmdline, json_list, word_edit};
use crate::steps::reasons::reason;
use crate::steps::{Action, Fence, Step};

const CONFIG: &str = "/etc/kernelstub/configuration";

/// What it needs done.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let boot = &snap.boot;
    let mut work = Work::default();
    if change.escape {
        work.notes.push(escape_typed(Menu::SystemdBoot, change.ids));
    }
    let todo = todo(boot, change);
    if todo.is_empty() && !change.images {
        return work;
    }
    let words = boot.places.iter().find(|place| place.file.path == CONFIG && place.key == "kernel_options");
    let Some((words, (fence, entries))) = words.zip(fence(boot)) else {
        work.manual.push(reason("kernelstub-unread", &[]));
        return work;
    };
    let mut edits = Edits::default();
    edits.text(&words.file, |text| edit(text, words, &todo));
    // Read back: an item may hold several words.
    let now = options(edits.now(&words.file)).unwrap_or_default();
    if todo.add.iter().any(|word| !has_word(&now, word)) || todo.remove.iter().any(|word| has_word(&now, word)) {
        work.manual.push(reason("kernelstub-by-hand", &[]));
        return work;
    }
    work.files = edits.steps(|_| why("kernelstub-words", &todo.add, &todo.remove));
    let argv = vec!["kernelstub".to_owned()];
    let action =
        Action::Run { argv: argv.clone(), undo: argv, touches: vec![CONFIG.to_owned(), entries], fence: Some(fence) };
    work.commands.push(Step { action, why: reason("kernelstub-run", &[]) });
    work
}

/// The words of a configuration.
fn options(text: &str) -> Option<Vec<String>> {
    let parsed: serde_json::Value = serde_json::from_str(text).ok()?;
    let options = parsed.get("user")?.get("kernel_options")?;
    let texts = options.as_array().map_or_else(|| vec![options], |items| items.iter().collect());
    Some(texts.into_iter().filter_map(serde_json::Value::as_str).flat_map(cmdline::words).collect())
}

/// Edits the list, or the text that older versions have.
fn edit(text: &str, place: &Place, todo: &Todo) -> String {
    let range = place.range.clone();
    let Some(without) = json_list::without(text, range.clone(), &todo.remove) else {
        let inside = range.start + 1..range.end.saturating_sub(1).max(range.start + 1);
        let without = word_edit::without(text, inside.clone(), &todo.remove);
        return word_edit::with(&without, inside.start..inside.end - (text.len() - without.len()), &todo.add);
    };
    let range = range.start..range.end - (text.len() - without.len());
    json_list::with(&without, range, &todo.add).unwrap_or(without)
}

/// The default entry once more, with copies, and the directory of entries.
fn fence(boot: &Boot) -> Option<(Fence, String)> {
    let entries = normal_entries(boot);
    let current = entries.iter().filter_map(|entry| entry.places.first());
    let place = current.clone().find(|place| place.file.path.ends_with("-current.conf"))?;
    let (esp, _) = place.file.path.split_once("/loader/entries/")?;
    let entry = bls::parse(&place.file.text);
    let (kernel, image) = (entry.value("linux")?, entry.value("initrd")?);
    let config = boot.loader_configs.iter().find(|file| file.path == format!("{esp}/loader/loader.conf"))?;
    let own = "/EFI/vfioneer";
    let text = format!(
        "title As before the change (vfioneer)\nsort-key 0\nlinux {own}/vmlinuz.efi\ninitrd {own}/initrd.img\noptions {}\n",
        entry.words().join(" ")
    );
    let mut default: String = config.text.split_inclusive('\n').filter(|line| !line.starts_with("default")).collect();
    if !default.is_empty() && !default.ends_with('\n') {
        default.push('\n');
    }
    default.push_str("default vfioneer.conf\n");
    let fence = Fence {
        copies: vec![
            (format!("{esp}{kernel}"), format!("{esp}{own}/vmlinuz.efi")),
            (format!("{esp}{image}"), format!("{esp}{own}/initrd.img")),
        ],
        writes: vec![(format!("{esp}/loader/entries/vfioneer.conf"), text), (config.path.clone(), default)],
    };
    Some((fence, format!("{esp}/loader/entries")))
}
