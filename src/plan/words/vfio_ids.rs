//! `--method ids` where vfio-pci is built into a kernel: it reads no modprobe.d, only the command line.

use super::{Case, Word, kernels, releases};
use crate::checks::words;
use crate::facts::kernel::InstalledKernel;
use crate::goal::Method;
use crate::plan::guards::exact_ids;

pub(super) fn words(case: &Case<'_>) -> Vec<Word> {
    let builtin = |kernel: &&InstalledKernel| kernel.builtin.known().is_some_and(|all| all.contains("vfio_pci"));
    let builtin: Vec<&InstalledKernel> = kernels(case).iter().filter(builtin).collect();
    if case.goal.method != Method::Ids || builtin.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    // Of several such words the last one counts, so all ids stand in one.
    let present: Vec<words::Word> =
        words::all(case.snap).into_iter().filter(|word| word.name == "vfio_pci.ids").collect();
    let mut ids: Vec<String> = present.iter().flat_map(|word| word.items().map(str::to_owned)).collect();
    ids.extend(case.chosen.iter().filter_map(|f| exact_ids(case, f).ok()));
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(id.to_ascii_lowercase()));
    let wanted = format!("vfio-pci.ids={}", ids.join(","));
    if present.iter().any(|word| word.items().eq(ids.iter().map(String::as_str))) {
        return Vec::new();
    }
    for word in present {
        found.push(Word::remove(&word.text, "ids-joined", &[("word", &word.text)]));
    }
    found.push(Word::add(wanted, "ids-builtin", &[("kernels", &releases(&builtin))]));
    found
}
