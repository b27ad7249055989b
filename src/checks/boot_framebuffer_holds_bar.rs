//! The firmware's framebuffer still owns part of a BAR, so that vfio cannot map it.

use super::intent::Interest;
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::Evidence;
use crate::facts::pci::Function;
use crate::host::Fact;
use crate::parse::address::Address;

pub(super) const CHECK: Check = Check { ids: &["boot-framebuffer-holds-bar"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let Some(iomem) = ctx.snap.kernel.iomem.known() else { return Vec::new() };
    let pasted = matches!(ctx.snap.origin, crate::facts::Origin::Paste(_));
    let mut findings: Vec<Finding> = Vec::new();
    for holder in holders(&iomem.text, &ctx.snap.pci.functions) {
        let subject = Subject::Function(holder.address);
        if findings.iter().any(|finding| finding.subject == subject) {
            continue;
        }
        let function = ctx.snap.pci.get(&holder.address);
        let on_vfio = function.is_some_and(Function::on_vfio);
        let asked = ctx.interest(&holder.address) >= Interest::Configured;
        // A native driver takes the framebuffer over by itself; without anybody who wants the device in a VM
        // this is how every host with a picture looks.
        if !on_vfio && !asked && !pasted {
            continue;
        }
        // vfio-pci evicts the framebuffer when it takes a VGA controller: Linux 6.0 and later, d17378062079,
        // `vfio_pci_vga_init` in drivers/vfio/pci/vfio_pci_core.c.
        let class = function.and_then(Function::base_class);
        let old_kernel = ctx.snap.kernel.numbers().map(|numbers| numbers < (6, 0));
        if !on_vfio && old_kernel == Some(false) && class == Some(0x0300) {
            continue;
        }
        let variant = match (old_kernel, class) {
            (Some(true), _) => "old-kernel",
            (_, Some(class)) if class != 0x0300 => "not-vga",
            _ => "",
        };
        let severity = if on_vfio || asked { Severity::Error } else { Severity::Warning };
        findings.push(
            Finding::new("boot-framebuffer-holds-bar", severity, subject)
                .variant(variant)
                .value("device", function.map_or_else(|| holder.address.to_string(), Function::name))
                .value("address", holder.address)
                .value("owner", &holder.owner)
                .evidence(Evidence::at(iomem.path.clone(), holder.line, holder.text.trim())),
        );
    }
    findings
}

struct Holder {
    address: Address,
    owner: String,
    line: u32,
    text: String,
}

/// Names under which the firmware's framebuffer stands in `/proc/iomem`: `BOOTFB` is the sysfb device
/// (`arch/x86/kernel/sysfb_efi.c`, `drivers/firmware/sysfb_simplefb.c`), the others are drivers of it.
const OWNERS: &[&str] =
    &["BOOTFB", "simpledrm", "efifb", "vesafb", "simplefb", "simple-framebuffer", "efidrm", "vesadrm"];

/// Framebuffers inside a function's BAR: by the indentation of `/proc/iomem`, which stands also where its
/// addresses are zero (not root), else by address, because the file stops at some depth.
fn holders(iomem: &str, functions: &[Function]) -> Vec<Holder> {
    let mut above: Vec<(usize, Option<Address>)> = Vec::new();
    let mut found = Vec::new();
    for (number, text) in (1u32..).zip(iomem.lines()) {
        let depth = text.len() - text.trim_start().len();
        let Some((range, name)) = text.trim().split_once(" : ") else { continue };
        let name = name.trim();
        above.retain(|(outer, _)| *outer < depth);
        if OWNERS.contains(&name) {
            let address =
                above.iter().rev().find_map(|(_, address)| *address).or_else(|| by_range(range.trim(), functions));
            if let Some(address) = address {
                found.push(Holder { address, owner: name.to_owned(), line: number, text: text.to_owned() });
            }
        }
        above.push((depth, Address::parse(name)));
    }
    found
}

fn by_range(range: &str, functions: &[Function]) -> Option<Address> {
    let (start, end) = range.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let inside = |f: &&Function| {
        let Fact::Known(bars) = &f.bars else { return false };
        let holds = |bar: &crate::facts::pci::Bar| {
            bar.start > 0 && bar.start <= start && bar.start.checked_add(bar.size).is_some_and(|after| end < after)
        };
        !f.is_bridge() && start > 0 && bars.iter().any(holds)
    };
    functions.iter().find(inside).map(|f| f.address)
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::Snapshot;
    use crate::host::Fact;

    const IOMEM: &str = "00000000-00000fff : Reserved\n4000000000-7fffffffff : PCI Bus 0000:00\n  \
        6000000000-60101fffff : PCI Bus 0000:01\n    6000000000-600fffffff : 0000:01:00.0\n      \
        6000000000-60002fffff : BOOTFB\n        6000000000-60002fffff : simpledrm\n";

    fn found(snap: &Snapshot, devices: &[&str]) -> Vec<String> {
        t::shown(&t::only(&t::check_for(snap, devices), "boot-framebuffer-holds-bar"))
    }

    fn host(iomem: &str) -> Snapshot {
        let mut snap = t::healthy();
        snap.kernel.iomem = Fact::Known(t::file("/proc/iomem", iomem));
        snap
    }

    #[test]
    fn vfio_evicts_it_by_itself_only_for_vga_and_only_since_6_0() {
        let mut snap = host(IOMEM);
        assert!(found(&snap, &[]).is_empty(), "nobody wants it");
        assert!(found(&snap, &[GPU]).is_empty(), "VGA on 6.8");
        t::release(&mut snap, "5.15.143-1-pve");
        assert_eq!(found(&snap, &[GPU]), ["error boot-framebuffer-holds-bar/old-kernel 0000:01:00.0"]);
        t::release(&mut snap, t::RELEASE);
        t::change(&mut snap, GPU, |f| f.class = Fact::Known(0x03_8000));
        assert_eq!(found(&snap, &[GPU]), ["error boot-framebuffer-holds-bar/not-vga 0000:01:00.0"]);
    }

    #[test]
    fn held_under_vfio_is_an_error_however_it_came() {
        let mut snap = host(&IOMEM.replace(|c: char| c.is_ascii_digit() && c != '0' && c != '1', "0"));
        t::change(&mut snap, GPU, |f| f.driver = Fact::Known("vfio-pci".into()));
        assert_eq!(found(&snap, &[]), ["error boot-framebuffer-holds-bar 0000:01:00.0"]);
    }

    #[test]
    fn a_paste_names_the_device_though_nothing_else_is_known_of_it() {
        let mut snap = t::unknown();
        snap.kernel.iomem = Fact::Known(t::file("paste", IOMEM));
        assert_eq!(found(&snap, &[]), ["warning boot-framebuffer-holds-bar 0000:01:00.0"]);
    }

    #[test]
    fn found_by_address_where_the_file_is_too_shallow() {
        let mut snap = host("80000000-9fffffff : PCI Bus 0000:00\n  80000000-802fffff : BOOTFB\n");
        t::change(&mut snap, GPU, |f| f.driver = Fact::Known("vfio-pci".into()));
        for other in [t::IGPU, t::DISK, "0000:00:14.0", "0000:00:1f.3", "0000:01:00.1"] {
            t::change(&mut snap, other, |f| f.bars = Fact::Known(Vec::new()));
        }
        assert_eq!(found(&snap, &[]).len(), 1);
    }
}
