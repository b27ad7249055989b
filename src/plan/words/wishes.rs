//! What the user asks for besides: `--iommu-pt`, `--serial-console`.

use super::{Case, Word, adopted};
use crate::checks::words;
use crate::facts::iommu::TableKind;
use crate::facts::system::CpuVendor;
use crate::host::Fact;

pub(super) fn words(case: &Case<'_>) -> Vec<Word> {
    let mut found = Vec::new();
    if case.goal.iommu_pt {
        found.push(Word::add(passthrough(case), "iommu-pt", &[]));
    }
    found.extend(case.goal.serial_console.as_deref().map(|console| serial(case, console)).into_iter().flatten());
    found
}

/// `iommu=` is read on x86 alone; `iommu.passthrough=` everywhere (Linux Documentation/admin-guide/kernel-parameters.txt).
fn passthrough(case: &Case<'_>) -> String {
    let arm = case.snap.system.cpu_vendor == Fact::Known(CpuVendor::Arm)
        || case.snap.iommu.table == Fact::Known(TableKind::Iort);
    let plain = if arm { "iommu.passthrough=1" } else { "iommu=pt" };
    let same = [("iommu", "pt"), ("iommu.passthrough", "1")];
    let here = same.iter().skip(usize::from(arm)).find_map(|(name, item)| adopted(case, name, item));
    here.unwrap_or_else(|| plain.to_owned())
}

/// The screen keeps its messages (`tty0`), the last console named gets init's (`/dev/console`).
fn serial(case: &Case<'_>, console: &str) -> Vec<Word> {
    let device = console.split(',').next().unwrap_or(console);
    let present = &case.words;
    let consoles: Vec<&words::Word> = present.iter().filter(|word| word.name == "console").collect();
    // A console on that port is kept with the speed that it has.
    if let Some(known) = consoles.iter().find(|word| word.items().next() == Some(device)) {
        return vec![Word::add(&known.text, "serial-console", &[("console", device)])];
    }
    let mut found = Vec::new();
    if consoles.is_empty() {
        found.push(Word::add("console=tty0", "serial-screen", &[]));
    }
    found.push(Word::add(format!("console={console}"), "serial-console", &[("console", device)]));
    found
}
