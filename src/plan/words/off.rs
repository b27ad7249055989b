//! Words that keep vfio-pci from every device at every boot, where they stand in a file that all entries are made from: left over from a
//! boot that was to have nothing claimed.

use super::{Case, Word};
use crate::parse::cmdline::Cmdline;
use crate::parse::modprobe::module_name;

pub(super) fn words(case: &Case<'_>) -> Vec<Word> {
    if !case.gives() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let places = case.snap.boot.places.iter().filter(|place| place.effective && !place.generated);
    for text in places.flat_map(|place| &place.words) {
        let line = Cmdline::parse(text);
        if line.has_word("vfioneer=off") {
            found.push(Word::remove(text, "claims-off", &[("word", text)]));
        }
        let Some(word) = line.words.first().filter(|word| word.is("module_blacklist")) else { continue };
        let kept: Vec<&str> = word.list().filter(|item| module_name(item) != "vfio_pci").collect();
        if kept.len() < word.list().count() {
            found.push(Word::remove(text, "vfio-blacklisted", &[("word", text)]));
            if !kept.is_empty() {
                found.push(Word::add(format!("module_blacklist={}", kept.join(",")), "rest", &[("word", text)]));
            }
        }
    }
    found
}
