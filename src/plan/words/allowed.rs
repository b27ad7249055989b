//! What `--allow` adds, in the narrowest form.

use super::{Case, Word};
use crate::checks::device::list;
use crate::host::Fact;
use crate::plan::guards::{interface, overrides, unsafe_already};

pub(super) fn words(case: &Case<'_>) -> Vec<Word> {
    let mut found = Vec::new();
    if let Some(ids) = overrides(case) {
        // What is there already stays in effect: other VMs' groups may be made by it. Of several such words the last one counts.
        let mut items: Vec<String> = Vec::new();
        for known in case.words.iter().filter(|known| known.name == "pcie_acs_override") {
            items.extend(known.items().map(str::to_owned));
            found.push(Word::remove(&known.text, "acs-joined", &[("word", &known.text)]));
        }
        items.extend(ids);
        let mut seen = std::collections::BTreeSet::new();
        items.retain(|item| seen.insert(item.clone()));
        let word = format!("pcie_acs_override={}", items.join(","));
        // It is as it should be: what it says comes with the next boot.
        found.retain(|known| known.word != word);
        found.push(Word::add(word, "acs-override", &[("groups", &list(case.in_the_way.keys()))]));
    }
    let off = case.snap.iommu.interrupt_remapping == Fact::Known(false);
    if case.allows("unsafe-interrupts") && off && case.gives() && !unsafe_already(case) {
        let module = interface(case);
        found.push(Word::add(format!("{module}.allow_unsafe_interrupts=1"), "unsafe-interrupts", &[]));
    }
    found
}
