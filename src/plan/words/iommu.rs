//! The IOMMU of every kernel that can boot.
//!
//! AMD and ARM need no word (Linux drivers/iommu/amd/init.c, arm/arm-smmu-v3): it is on where the firmware offers it. Intel needs
//! one where the kernel's default is off, and for graphics inside the processor where the default leaves those out.

use super::{Case, Word, adopted, kernels, option, releases, without};
use crate::checks::device::is_integrated;
use crate::checks::words;
use crate::facts::iommu::TableKind;
use crate::facts::kernel::InstalledKernel;
use crate::facts::system::CpuVendor;
use crate::host::Fact;

pub fn words(case: &Case<'_>) -> Vec<Word> {
    if !case.gives() {
        return Vec::new();
    }
    let mut found = switched_off(case);
    if is_intel(case)
        && let Some((id, releases)) = intel_off(case)
    {
        let word = adopted(case, "intel_iommu", "on").unwrap_or_else(|| "intel_iommu=on".to_owned());
        // What leaves the graphics out has been replaced above, and took the switch along.
        if !found.iter().any(|known| known.present && known.word.contains("on")) {
            let word = if found.iter().any(|known| known.word == word) { "intel_iommu=on".to_owned() } else { word };
            found.push(Word::add(word, id, &[("kernels", &releases)]));
        }
    }
    found
}

fn is_intel(case: &Case<'_>) -> bool {
    case.snap.system.cpu_vendor == Fact::Known(CpuVendor::Intel)
        || case.snap.iommu.table == Fact::Known(TableKind::Dmar)
}

/// Words that switch the IOMMU off, or leave out the graphics that are chosen.
fn switched_off(case: &Case<'_>) -> Vec<Word> {
    let mut items: Vec<(&str, &str, &str)> = vec![("iommu", "off", "iommu-off")];
    if is_intel(case) {
        items.push(("intel_iommu", "off", "iommu-off"));
        if graphics(case) {
            items.push(("intel_iommu", "igfx_off", "igpu-out"));
            items.push(("intel_iommu", "intgpu_off", "igpu-out"));
        }
    } else {
        items.push(("amd_iommu", "off", "iommu-off"));
    }
    let runs = case.snap.iommu.running() == Fact::Known(true);
    let mut found: Vec<Word> = Vec::new();
    for word in &case.words {
        let Some((_, item, id)) = items.iter().find(|(name, item, _)| {
            // A later word has overruled it: the IOMMU runs all the same.
            word.name == *name && word.items().any(|i| i == *item) && !(word.running && runs && *item == "off")
        }) else {
            continue;
        };
        found.push(Word::remove(&word.text, id, &[("word", &word.text)]));
        if let Some(rest) = without(word, item) {
            found.push(Word::add(rest, "rest", &[("word", &word.text)]));
        }
    }
    found
}

/// True if graphics inside an Intel processor, or parts of them, go to VMs.
fn graphics(case: &Case<'_>) -> bool {
    let intel = |f: &&&crate::facts::pci::Function| f.ids.known().is_some_and(|ids| ids.vendor == 0x8086);
    let functions = case.chosen.iter().chain(&case.physical);
    functions.filter(intel).any(|f| f.is_display() && f.address.bus == 0 && is_integrated(&case.snap.pci, f))
}

/// Why `intel_iommu=on` is needed, and for which kernels; `None` if it is not.
fn intel_off(case: &Case<'_>) -> Option<(&'static str, String)> {
    let snap = case.snap;
    let running = snap.iommu.running();
    let line = words::running(snap);
    let asked = line.all("intel_iommu").any(|word| word.list().any(|item| item == "on"));
    let known_off = |kernel: &&InstalledKernel| {
        option(kernel, "INTEL_IOMMU_DEFAULT_ON") == Some(false)
            && option(kernel, "INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF") != Some(true)
            && option(kernel, "INTEL_IOMMU") == Some(true)
    };
    // On without word and default: the firmware has asked for it (`platform_optin_force_iommu`), and will again.
    let by_firmware = running == Fact::Known(true) && !asked && snap.kernel.running().as_ref().is_some_and(known_off);
    let off: Vec<&InstalledKernel> = kernels(case).iter().filter(known_off).collect();
    if !off.is_empty() && !by_firmware {
        return Some(("intel-off", releases(&off)));
    }
    let without_graphics =
        |kernel: &&InstalledKernel| option(kernel, "INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF") == Some(true);
    let left_out: Vec<&InstalledKernel> = kernels(case).iter().filter(without_graphics).collect();
    if graphics(case) && !left_out.is_empty() {
        return Some(("intel-igpu", releases(&left_out)));
    }
    // No configuration tells: what the running kernel does with its words decides.
    let untold = kernels(case).iter().any(|kernel| kernel.config.known().is_none()) || kernels(case).is_empty();
    if untold && (asked && running == Fact::Known(true) || running == Fact::Known(false) && offered(case)) {
        return Some(("intel-untold", snap.kernel.release.known().cloned().unwrap_or_default()));
    }
    None
}

/// The firmware offers Intel's IOMMU.
fn offered(case: &Case<'_>) -> bool {
    case.snap.iommu.table == Fact::Known(TableKind::Dmar)
}
