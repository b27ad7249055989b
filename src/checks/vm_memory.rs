//! VMs whose memory or address space is not made for the device that they are given.

use super::device::{CLASSIC_WINDOW, list, window_mib};
use super::vm::{Given, given};
use super::{Check, Ctx, Finding, Severity};
use crate::facts::hypervisor::{Firmware, HypervisorKind, Part};
use crate::facts::system::CpuVendor;

pub(super) const CHECK: Check = Check { ids: &["vm-mmio-window-small", "vm-memlock-low", "vm-ballooning"], run };

/// What OVMF makes of QEMU's address width of 40 bits where it believes it, as on AMD: an eighth of 1 TiB, in MiB (edk2
/// OvmfPkg/Library/PlatformInitLib/MemDetect.c `PlatformAddressWidthFromCpuid`, `PlatformDynamicMmioWindow`).
const WINDOW_OF_40_BITS: u64 = 128 << 10;
/// What libvirt adds to the guest's memory where it sets the limit itself, in MiB (libvirt src/qemu/qemu_domain.c
/// `qemuDomainGetMemLockLimitBytes`).
const BESIDE: u64 = 1024;

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    given(ctx).flat_map(|vm| [window(ctx, &vm), memlock(&vm), balloon(&vm)].into_iter().flatten()).collect()
}

fn window(ctx: &Ctx<'_>, given: &Given<'_>) -> Option<Finding> {
    let machine = given.machine;
    if machine.true_width || !matches!(machine.firmware, Firmware::Ovmf { .. }) || given.functions.is_empty() {
        return None;
    }
    if !machine.lines.contains_key(&Part::Cpu) && !given.is_whole(ctx) {
        return None;
    }
    let bars = given.functions.iter().map(|(function, _)| function.wide_bars()).sum::<Option<u64>>()?;
    let needed = window_mib(bars)?;
    let own = match ctx.snap.system.cpu_vendor.known()? {
        CpuVendor::Intel => CLASSIC_WINDOW,
        CpuVendor::Amd => WINDOW_OF_40_BITS,
        CpuVendor::Arm | CpuVendor::Other => return None,
    };
    let has = machine.mmio_mib().unwrap_or(0).max(own);
    let largest = given.functions.iter().max_by_key(|(function, _)| function.wide_bars())?;
    let finding = given.finding("vm-mmio-window-small", Severity::Warning);
    let finding = finding.variant(if given.vm.kind == HypervisorKind::Libvirt { "libvirt" } else { "" });
    let finding = finding.value("bars", bars.div_ceil(1 << 30)).value("has", has >> 10).value("needed", needed);
    let devices = given.functions.iter().filter(|(function, _)| function.wide_bars() > Some(1 << 30));
    let finding = finding.value("devices", list(devices.map(|(function, _)| function.name())));
    let arguments = machine.lines.get(&Part::Arguments).cloned();
    let lines = [Some(largest.1.evidence.clone()), machine.lines.get(&Part::Cpu).cloned(), arguments];
    (has < needed).then(|| finding.lines(lines))
}

fn memlock(given: &Given<'_>) -> Option<Finding> {
    let machine = given.machine;
    let (limit, memory) = (machine.memlock_mib?, machine.memory_mib?);
    // With an IOMMU of the guest's own each device has an address space of its own, and the memory counts in each.
    let times = if machine.viommu.is_some() { given.vm.devices.len().max(1) as u64 } else { 1 };
    let locked = memory.saturating_mul(times);
    let needed = locked.saturating_add(BESIDE);
    let (severity, variant) = match () {
        () if limit < locked => (Severity::Error, "config"),
        () if limit < needed => (Severity::Warning, "tight"),
        () => return None,
    };
    let finding = given.finding("vm-memlock-low", severity).variant(variant);
    let finding = finding.value("limit", limit).value("memory", locked).value("needed", needed);
    Some(finding.lines([given.line(Part::Memlock), machine.lines.get(&Part::Memory).cloned()]))
}

fn balloon(given: &Given<'_>) -> Option<Finding> {
    let (target, memory) = (given.machine.balloon_mib?, given.machine.memory_mib?);
    let finding = given.finding("vm-ballooning", Severity::Info).value("target", target).value("memory", memory);
    let finding = finding.variant(if given.vm.kind == HypervisorKind::Libvirt { "libvirt" } else { "" });
    Some(finding.lines([given.line(Part::Balloon), given.machine.lines.get(&Part::Memory).cloned()]))
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::*;
    use crate::facts::pci::Bar;
    use crate::facts::system::CpuVendor;
    use crate::host::Fact;

    const CARD: &str = "hostpci0: 0000:01:00,pcie=1\nmachine: q35\nbios: ovmf\n";

    fn said(conf: &str, gib: u64, cpu: CpuVendor) -> Vec<String> {
        let mut snap = healthy();
        snap.system.cpu_vendor = Fact::Known(cpu);
        change(&mut snap, GPU, |f| {
            f.bars = Fact::Known(vec![Bar { index: 1, start: 1 << 40, size: gib << 30, flags: 0x14_220c }]);
        });
        proxmox_vm(&mut snap, "105", conf);
        shown(&check(&snap)).into_iter().filter(|line| line.ends_with("vm 105")).collect()
    }

    #[test]
    fn the_window_of_ovmf() {
        use CpuVendor::{Amd, Intel};
        let small = ["warning vm-mmio-window-small vm 105"];
        assert_eq!(said(CARD, 32, Intel), small);
        assert_eq!(said(CARD, 128, Amd), small);
        assert!(said(CARD, 16, Intel).is_empty() && said(CARD, 32, Amd).is_empty());
        assert!(said(&format!("{CARD}cpu: host\n"), 128, Intel).is_empty(), "the width is the host's");
        assert!(said(&CARD.replace("bios: ovmf\n", ""), 128, Intel).is_empty(), "SeaBIOS has other rules");
        let argument = |mib: u64| format!("{CARD}args: -fw_cfg name=opt/ovmf/X-PciMmio64Mb,string={mib}\n");
        assert_eq!(said(&argument(32768), 32, Intel), small);
        assert!(said(&argument(65536), 32, Intel).is_empty());
    }

    #[test]
    fn what_may_be_locked() {
        let said = |limit: u64, more: &str| {
            let mut snap = healthy();
            let device = |function: u8| {
                format!(
                    "<hostdev type='pci'><source><address bus='1' slot='0' function='{function}'/></source></hostdev>"
                )
            };
            let text = format!(
                "<domain><name>a</name><memory unit='GiB'>8</memory>\n<memtune><hard_limit unit='MiB'>{limit}</hard_limit></memtune>\n\
                 <os><type machine='q35'>hvm</type></os><devices>{}{}{more}</devices></domain>",
                device(0),
                device(1)
            );
            libvirt_vm(&mut snap, "a", &text);
            shown(&check(&snap)).into_iter().filter(|line| line.ends_with("vm a")).collect::<Vec<_>>()
        };
        assert_eq!(said(8000, ""), ["error vm-memlock-low/config vm a"]);
        assert_eq!(said(8192, ""), ["warning vm-memlock-low/tight vm a"]);
        assert!(said(9216, "").is_empty());
        assert_eq!(said(9216, "<iommu model='intel'/>"), ["error vm-memlock-low/config vm a"]);
        assert!(said(17408, "<iommu model='intel'/>").is_empty());
    }

    #[test]
    fn a_balloon() {
        let with = |more: &str| said(&format!("{CARD}memory: 8192\n{more}"), 1, CpuVendor::Intel);
        assert_eq!(with("balloon: 4096\n"), ["info vm-ballooning vm 105"]);
        assert!(with("balloon: 0\n").is_empty() && with("").is_empty() && with("balloon: 8192\n").is_empty());
    }
}
