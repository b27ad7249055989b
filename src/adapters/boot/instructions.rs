//! Chains that vfioneer reads and does not change: exact instructions.

use super::super::Work;
use super::super::initramfs::is_right;
use super::edits::Edits;
use super::{Todo, WordChange, has_word, todo};
use crate::facts::Snapshot;
use crate::facts::boot::{Boot, Chain, Place, commands_by_hand, initrd_by_hand, normal_entries, words_by_hand};
use crate::facts::initramfs::Image;
use crate::parse::lines::lines;
use crate::steps::reasons::reason;
use crate::steps::sha256;

/// What a person has to do: each file with the line as it is and as it should be, then the commands, then the reboot. What is done already
/// is not said again; nothing, once all of it is.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let boot = &snap.boot;
    let chain = boot.chain().unwrap_or_default();
    let todo = todo(boot, change);
    let initrd = initrd(snap, chain, change);
    if todo.is_empty() && initrd.is_empty() {
        return copies(snap, chain, change);
    }
    let mut manual = vec![reason("chain-by-hand", &[("chain", chain.title())])];
    if !todo.is_empty() {
        manual.extend(words(boot, chain, &todo));
    }
    manual.extend(initrd);
    if !todo.is_empty() || change.ids {
        manual.extend(commands_by_hand(chain, &todo.add));
        manual.push(reason("then-reboot", &[]));
    }
    Work { manual, ..Work::default() }
}

/// Where the words are written and the entries lack them, the commands are all that is left.
fn words(boot: &Boot, chain: Chain, todo: &Todo) -> Vec<String> {
    let sources: Vec<&Place> =
        boot.places.iter().filter(|place| place.effective && place.chain == chain && !place.generated).collect();
    let has = |word: &String| sources.iter().any(|place| has_word(&place.words, word));
    if !sources.is_empty() && todo.add.iter().all(has) && !todo.remove.iter().any(has) {
        let files: Vec<&str> = sources.iter().map(|place| place.file.path.as_str()).collect();
        return vec![reason("written-not-made", &[("place", files.first().copied().unwrap_or_default())])];
    }
    let mut manual = edits(&sources, todo);
    if manual.is_empty() && !todo.add.is_empty() {
        manual = words_by_hand(chain, &todo.add);
    }
    if manual.is_empty() {
        // Nothing makes the entries: they are the source.
        let entries = |place: &&Place| place.effective && place.chain == chain && !place.range.is_empty();
        manual = edits(&boot.places.iter().filter(entries).collect::<Vec<_>>(), todo);
    }
    if manual.is_empty() && !todo.add.is_empty() {
        manual.push(reason("add-by-hand", &[("words", &todo.add.join(" "))]));
    }
    if !todo.remove.is_empty() && !manual.iter().any(|line| line.starts_with("  - ")) {
        manual.push(reason("remove-by-hand", &[("words", &todo.remove.join(" "))]));
    }
    manual
}

/// The lines of places that a person edits.
fn edits(places: &[&Place], todo: &Todo) -> Vec<String> {
    let mut manual = Vec::new();
    for place in places {
        let mut edits = Edits::default();
        edits.words(place, &todo.add, &todo.remove);
        for (before, after) in edits.texts() {
            let line = |text: &str| lines(text).find(|line| line.number == place.line).map(|line| line.text.to_owned());
            manual.push(format!("{}, line {}:", place.file.path, place.line));
            manual.push(format!("  - {}", line(before).unwrap_or_default().trim()));
            manual.push(format!("  + {}", line(after).unwrap_or_default().trim()));
        }
    }
    manual
}

/// How the initrd of a chain that takes no files from here gets what it needs; nothing where files are put into it, or all is in it.
fn initrd(snap: &Snapshot, chain: Chain, change: &WordChange) -> Vec<String> {
    let lines = initrd_by_hand(chain);
    if lines.is_empty() || !change.images {
        return Vec::new();
    }
    if !change.ids {
        return vec![reason("initrd-by-ids", &[("chain", chain.title())])];
    }
    let given = |word: &str| word.starts_with("vfio-pci.ids=");
    let by_word =
        change.add.iter().any(|word| given(word)) || normal_entries(&snap.boot).iter().any(|e| e.words().any(given));
    let lines = lines.into_iter().filter(|line| !by_word || !line.contains("ids="));
    std::iter::once(reason("initrd-options", &[])).chain(lines).collect()
}

/// Images that the chain copies: its commands, as soon as vfioneer's own files are written; until then a word about them.
fn copies(snap: &Snapshot, chain: Chain, change: &WordChange) -> Work {
    let mut work = Work::default();
    let in_boot = |image: &Image| image.path.rsplit_once('/').is_some_and(|(dir, _)| dir == "/boot");
    let behind = |image: &&Image| !in_boot(image) && !is_right(snap, image, &change.contents);
    let commands = commands_by_hand(chain, &[]);
    if !change.images || commands.is_empty() || !snap.initramfs.images.iter().any(|image| behind(&image)) {
        return work;
    }
    let written =
        change.contents.files.iter().all(|(path, hash)| {
            snap.own.text(&format!("/{path}")).is_some_and(|text| sha256(text.as_bytes()) == *hash)
        });
    if written {
        work.manual.push(reason("copies-by-hand", &[("chain", chain.title())]));
        work.manual.extend(commands);
        work.manual.push(reason("then-reboot", &[]));
    } else {
        let commands: Vec<&str> = commands.iter().filter_map(|line| line.strip_prefix("  ")).collect();
        work.notes.push(reason("copies-after", &[("chain", chain.title()), ("command", &commands.join("; "))]));
    }
    work
}
