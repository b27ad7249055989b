//! `--method ids` where vfio-pci is built into a kernel: it reads no modprobe.d, only the command line. And where the command
//! line has ids already: modprobe takes its options last (kmod 34 libkmod/libkmod-config.c `kmod_config_new`), so they win.

use super::{Case, Word, kernels, releases};
use crate::checks::{intent, words};
use crate::facts::kernel::InstalledKernel;
use crate::facts::own;
use crate::facts::pci::Function;
use crate::goal::Method;
use crate::parse::cmdline::Cmdline;
use crate::parse::vfio_ids::{self, IdSpec};
use crate::plan::guards::exact_ids;

pub(super) fn words(case: &Case<'_>) -> Vec<Word> {
    let builtin = |kernel: &&InstalledKernel| kernel.builtin.known().is_some_and(|all| all.contains("vfio_pci"));
    let builtin: Vec<&InstalledKernel> = kernels(case).iter().filter(builtin).collect();
    // Of several such words the last one counts, so all ids stand in one.
    let present: Vec<words::Word> = case.words.iter().filter(|word| word.name == "vfio_pci.ids").cloned().collect();
    if case.goal.method == Method::Identity && !case.chosen.is_empty() {
        return replaced(case);
    }
    if case.goal.method != Method::Ids || builtin.is_empty() && present.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut ids: Vec<String> = present.iter().flat_map(|word| word.items().map(str::to_owned)).collect();
    let given: Vec<IdSpec> = ids.iter().flat_map(|id| vfio_ids::parse(id)).filter_map(|item| item.spec).collect();
    let taken = |function: &Function| given.iter().any(|spec| intent::takes(spec, function) == Some(true));
    ids.extend(case.chosen.iter().filter(|f| !taken(f)).filter_map(|f| exact_ids(case, f).ok()));
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(id.to_ascii_lowercase()));
    let wanted = format!("vfio-pci.ids={}", ids.join(","));
    if present.iter().any(|word| word.items().eq(ids.iter().map(String::as_str))) {
        return Vec::new();
    }
    for word in present {
        found.push(Word::remove(&word.text, "ids-joined", &[("word", &word.text)]));
    }
    let why = if builtin.is_empty() { "ids-typed" } else { "ids-builtin" };
    found.push(Word::add(wanted, why, &[("kernels", &releases(&builtin))]));
    found
}

/// Ids that an earlier plan by the other method put on the command line, in a file of vfioneer's own: the claim takes over. Those of functions that are
/// not chosen are behind a guard.
fn replaced(case: &Case<'_>) -> Vec<Word> {
    let mut texts: Vec<&str> = Vec::new();
    for place in case.snap.boot.places.iter().filter(|place| own::FILES.contains(&place.file.path.as_str())) {
        let is_ids = |word: &&str| Cmdline::parse(word).has("vfio-pci.ids");
        texts.extend(place.words.iter().map(String::as_str).filter(is_ids));
    }
    texts.into_iter().map(|text| Word::remove(text, "ids-replaced", &[("word", text)])).collect()
}
