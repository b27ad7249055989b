//! The firmware's framebuffer on a chosen boot display.
//!
//! Since Linux 6.0 (d17378062079) vfio-pci makes it let go of a VGA controller, and no word is needed. Before, and for
//! other classes, it keeps part of a BAR.

use super::{Case, Word, kernels, option};
use crate::checks::Subject;
use crate::facts::kernel::{InstalledKernel, numbers};
use crate::facts::pci::Function;
use crate::host::Fact;

pub(super) fn words(case: &Case<'_>) -> Vec<Word> {
    let shows = |f: &&&Function| f.boot_display == Fact::Known(true) || held(case, f).is_some();
    let Some(display) = case.chosen.iter().find(shows) else { return Vec::new() };
    let old = |kernel: &&InstalledKernel| numbers(&kernel.release).is_some_and(|numbers| numbers < (6, 0));
    let mut found: Vec<Word> = kernels(case).iter().filter(old).filter_map(|k| before_6_0(case, k)).collect();
    if found.is_empty() && held(case, display) == Some("not-vga") {
        found.push(Word::add("initcall_blacklist=sysfb_init", "framebuffer-held", &[("device", &display.name())]));
    }
    found
}

/// Which driver draws the firmware's picture: simpledrm or simplefb where the kernel makes a simple-framebuffer of it
/// (drivers/firmware/sysfb_simplefb.c), else efifb, or vesafb on a BIOS that was told to set a mode. simpledrm reads no
/// `video=`.
fn before_6_0(case: &Case<'_>, kernel: &InstalledKernel) -> Option<Word> {
    let values = [("kernels", kernel.release.as_str())];
    if option(kernel, "SYSFB_SIMPLEFB")? || option(kernel, "X86_SYSFB")? {
        return Some(Word::add("initcall_blacklist=sysfb_init", "framebuffer-old-simple", &values));
    }
    let vesa = || case.snap.kernel.iomem.known().is_some_and(|file| file.text.contains("vesafb"));
    match case.snap.system.uefi {
        Fact::Known(true) => Some(Word::add("video=efifb:off", "framebuffer-old", &values)),
        Fact::Known(false) if vesa() => Some(Word::add("video=vesafb:off", "framebuffer-old", &values)),
        _ => None,
    }
}

/// The framebuffer has been seen in a BAR of the function; the finding's variant says why vfio-pci does not evict it.
fn held(case: &Case<'_>, function: &Function) -> Option<&'static str> {
    let subject = Subject::Function(function.address);
    let about =
        |finding: &&crate::checks::Finding| finding.id == "boot-framebuffer-holds-bar" && finding.subject == subject;
    case.findings.iter().find(about).map(|finding| finding.variant)
}
