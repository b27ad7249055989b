//! What `--allow` adds, in the narrowest form.

use super::{Case, Word};
use crate::checks::device::list;
use crate::host::Fact;
use crate::plan::guards::{interface, overrides, unsafe_already};

pub(super) fn words(case: &Case<'_>) -> Vec<Word> {
    let mut found = Vec::new();
    if let Some(ids) = overrides(case) {
        let word = format!("pcie_acs_override={}", ids.join(","));
        for known in case.words.iter().filter(|known| known.name == "pcie_acs_override") {
            found.push(Word::remove(&known.text, "acs-replaced", &[("word", &known.text)]));
        }
        found.push(Word::add(word, "acs-override", &[("groups", &list(case.in_the_way.keys()))]));
    }
    let off = case.snap.iommu.interrupt_remapping == Fact::Known(false);
    if case.allows("unsafe-interrupts") && off && !case.chosen.is_empty() && !unsafe_already(case) {
        let module = interface(case);
        found.push(Word::add(format!("{module}.allow_unsafe_interrupts=1"), "unsafe-interrupts", &[]));
    }
    found
}
