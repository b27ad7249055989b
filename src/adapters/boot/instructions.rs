//! Chains that vfioneer reads and does not change: exact instructions.

use super::super::Work;
use super::edits::Edits;
use super::{Todo, WordChange, todo};
use crate::facts::Snapshot;
use crate::facts::boot::{Boot, Chain, Place, refresh_command, words_by_hand};
use crate::parse::lines::lines;
use crate::steps::reasons::reason;

/// What a person has to do: each file with the line as it is and as it should be, then the command.
pub(super) fn work(snap: &Snapshot, change: &WordChange) -> Work {
    let boot = &snap.boot;
    let todo = todo(boot, change);
    if todo.is_empty() && !change.images {
        return Work::default();
    }
    let chain = boot.chain().unwrap_or_default();
    let mut manual = vec![reason("chain-by-hand", &[("chain", chain.title())])];
    let by_hand = words_by_hand(chain, &todo.add);
    if by_hand.is_empty() {
        manual.extend(lines_by_hand(boot, chain, &todo));
    } else if !todo.add.is_empty() {
        manual.extend(by_hand);
    }
    if manual.len() == 1 && !todo.add.is_empty() {
        manual.push(reason("add-by-hand", &[("words", &todo.add.join(" "))]));
    }
    if !todo.remove.is_empty() && !manual.iter().any(|line| line.starts_with("  - ")) {
        manual.push(reason("remove-by-hand", &[("words", &todo.remove.join(" "))]));
    }
    let command = refresh_command(chain, &todo.add.join(" "));
    if !command.is_empty() {
        manual.push(reason("then-run", &[("command", &command)]));
    }
    Work { manual, ..Work::default() }
}

/// The lines that a person edits: those of the sources, or of the entries where nothing makes these.
fn lines_by_hand(boot: &Boot, chain: Chain, todo: &Todo) -> Vec<String> {
    let sources = |place: &&Place| place.effective && place.chain == chain && !place.generated;
    let entries = |place: &&Place| place.effective && place.chain == chain && !place.range.is_empty();
    let mut places: Vec<&Place> = boot.places.iter().filter(sources).collect();
    if places.is_empty() {
        places = boot.places.iter().filter(entries).collect();
    }
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
