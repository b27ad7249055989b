//! A VM as a command of QEMU's.
//!
//! Options: <https://www.qemu.org/docs/master/system/qemu-manpage.html>; of `vfio-pci`: QEMU 7.2 hw/vfio/pci.c; of
//! `intel-iommu`: hw/i386/intel_iommu.c. Every option is there in QEMU 7.2.

use super::passed::{Member, Passed, Slot};
use super::shape::{HIDDEN, Rendered, Shape, arch, files, machine, note};
use super::window_arguments;
use crate::error::{Error, Result};
use crate::facts::Snapshot;
use crate::facts::hypervisor::QemuFiles;
use crate::facts::pci::Function;
use crate::host::Fact;
use crate::parse::shell::quoted;

/// The name of a VM that has none.
const NAME: &str = "vfioneer";
/// Slots of a root bus that are left for root ports: 32, less those of the machine's own devices, the disk and the network.
const PORTS: usize = 24;
/// Beside the guest's memory QEMU locks BARs, firmware and what it shows of ROMs.
const MORE_LOCKED: u64 = 512;

/// The command for a shell, a line for each option; it makes the VM's copy of the UEFI variables first. Refuses what QEMU cannot have.
pub fn command(snap: &Snapshot, passed: &Passed, shape: &Shape) -> Result<Rendered> {
    shape.fits(snap)?;
    if passed.slots.len() > PORTS {
        return Err(Error::refused(format!(
            "{} slots are more than the {PORTS} that a VM has here",
            passed.slots.len()
        ))
        .hint("give fewer devices"));
    }
    let files = files(snap)?;
    let name = shape.name.as_deref().unwrap_or(NAME);
    let vars = format!("{}_VARS.fd", name.replace(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c), "_"));
    let vars = format!("./{vars}");
    let mut lines = vec![format!("{} -name {}", quoted(&files.program), quoted(&format!("guest={}", escaped(name))))];
    let mut option = |name: &str, value: &str| lines.push(format!("{name} {}", quoted(value)));
    option("-machine", &machine_type(snap, shape));
    option("-cpu", &cpu(shape));
    option("-smp", &shape.cpus.to_string());
    option("-m", &format!("{}M", shape.memory_mib));
    if shape.viommu {
        option("-device", "intel-iommu,intremap=on,caching-mode=on");
    }
    if shape.uefi {
        option("-drive", &format!("if=pflash,unit=0,format=raw,readonly=on,file={}", escaped(&files.code)));
        option("-drive", &format!("if=pflash,unit=1,format=raw,file={}", escaped(&vars)));
    }
    if let Some(mib) = passed.mmio_mib().filter(|_| shape.uefi && !shape.kvm && arch(snap) == "x86_64") {
        let [name, value] = window_arguments(mib);
        option(&name, &value);
    }
    if let Some(disk) = &shape.disk {
        let format = shape.disk_format().unwrap_or("raw");
        option("-drive", &format!("if=virtio,format={format},file={}", escaped(disk)));
    }
    for (slot, port) in passed.slots.iter().zip(1u8..) {
        option("-device", &format!("pcie-root-port,id=rp{port},bus=pcie.0,chassis={port},slot={port}"));
        for member in &slot.members {
            option("-device", &device(slot, member, port, shape));
        }
    }
    if functions(snap, passed).any(|function| function.base_class().is_some_and(|class| class >> 8 == 2)) {
        option("-nic", "none");
    }
    match passed.members().any(|member| member.display) {
        true => lines.extend(["-vga none", "-display none", "-serial mon:stdio"].map(str::to_owned)),
        false => lines.push("-nographic".to_owned()),
    }
    let mut text = String::from("#!/bin/sh\n");
    if shape.uefi {
        let (from, to) = (quoted(&files.vars), quoted(&vars));
        text.push_str(&format!("{{ [ -e {to} ] || cp {from} {to}; }} && \\\n"));
    }
    text.push_str(&lines.join(" \\\n    "));
    text.push('\n');
    Ok(Rendered { text, notes: notes(snap, passed, shape, files, &vars) })
}

/// A value within a list of options: QEMU reads two commas as one.
fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

fn machine_type(snap: &Snapshot, shape: &Shape) -> String {
    let machine = machine(arch(snap));
    match (shape.kvm, shape.viommu) {
        // Interrupt remapping needs an I/O APIC that QEMU emulates.
        (true, true) => format!("{machine},accel=kvm,kernel-irqchip=split"),
        (true, false) if machine == "virt" => format!("{machine},accel=kvm,gic-version=host"),
        (true, false) => format!("{machine},accel=kvm"),
        (false, _) => format!("{machine},accel=tcg"),
    }
}

fn cpu(shape: &Shape) -> String {
    let model = if shape.kvm { "host" } else { "max" };
    if shape.hide { format!("{model},kvm=off,hv_vendor_id={HIDDEN}") } else { model.to_owned() }
}

fn device(slot: &Slot, member: &Member, port: u8, shape: &Shape) -> String {
    let mut device = format!("vfio-pci,host={},bus=rp{port},addr=00.{:x}", member.host, member.function);
    if member.function == 0 && slot.members.len() > 1 {
        device.push_str(",multifunction=on");
    }
    if let Some(rom) = &member.rom_file {
        device.push_str(&format!(",romfile={}", escaped(rom)));
    }
    if member.vga && !shape.uefi {
        device.push_str(",x-vga=on");
    }
    device
}

fn functions<'a>(snap: &'a Snapshot, passed: &'a Passed) -> impl Iterator<Item = &'a Function> {
    passed.members().filter_map(|member| snap.pci.get(&member.host))
}

fn notes(snap: &Snapshot, passed: &Passed, shape: &Shape, files: &QemuFiles, vars: &str) -> Vec<String> {
    let mut notes = Vec::new();
    let unclaimed: Vec<String> =
        passed.members().filter(|member| !member.claimed).map(|member| member.host.to_string()).collect();
    if !unclaimed.is_empty() {
        notes.push(note("bind-first", &[("devices", &unclaimed.join(" "))]));
    }
    let mut nodes: Vec<String> = functions(snap, passed)
        .filter_map(|function| function.group.known())
        .map(|group| format!("/dev/vfio/{group}"))
        .collect();
    nodes.sort();
    nodes.dedup();
    if !nodes.is_empty() {
        let mib = shape.memory_mib.saturating_add(MORE_LOCKED).to_string();
        notes.push(note("as-user", &[("nodes", &nodes.join(" ")), ("mib", &mib)]));
    }
    if shape.uefi {
        notes.push(note("vars", &[("vars", vars)]));
        if !snap.hypervisor.firmware.iter().any(|row| row.code == files.code) {
            let distro = snap.system.distro.known().map_or("Debian", |distro| distro.name.as_str());
            notes.push(note("firmware-not-here", &[("code", &files.code), ("distro", distro)]));
        }
    }
    if let Some(display) = passed.members().find(|member| member.display) {
        notes.push(note("no-input", &[("device", &display.host.to_string())]));
    }
    notes.extend(common(snap, passed, Some(shape)));
    notes
}

/// What holds for every hypervisor; of a whole VM with what is to be said of its shape.
pub(super) fn common(snap: &Snapshot, passed: &Passed, shape: Option<&Shape>) -> Vec<String> {
    let mut notes = Vec::new();
    for function in functions(snap, passed) {
        let device = function.address.to_string();
        match function.group {
            Fact::Absent => notes.push(note("no-group", &[("device", &device)])),
            Fact::Unknown(_) => notes.push(note("group-unknown", &[("device", &device)])),
            Fact::Known(_) => {}
        }
        let intel = function.ids.known().is_some_and(|ids| ids.vendor == 0x8086);
        if function.is_display() && intel && function.address.bus == 0 {
            notes.push(note("igpu", &[("device", &device)]));
        }
    }
    let Some(shape) = shape else { return notes };
    notes.extend(shape.disk_note());
    if !shape.kvm {
        notes.push(note("no-kvm", &[]));
    }
    if shape.hide {
        notes.push(note("hidden", &[]));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::pci::Bar;
    use crate::facts::system::CpuVendor;

    fn shape() -> Shape {
        Shape { name: None, memory_mib: 4096, cpus: 2, disk: None, uefi: true, viommu: false, kvm: true, hide: false }
    }

    fn text(snap: &Snapshot, devices: &[&str], rom: Option<&str>, shape: &Shape) -> String {
        let devices: Vec<_> = devices.iter().map(|device| t::at(device)).collect();
        let passed = Passed::of(snap, &devices, rom.map(|rom| (t::at(GPU), rom)));
        command(snap, &passed, shape).unwrap().text
    }

    #[test]
    fn a_card_is_one_slot_behind_its_own_port() {
        let snap = t::healthy();
        let said = text(&snap, &[GPU, "0000:01:00.1", "0000:00:17.0"], Some("/a,b.rom"), &shape());
        for wanted in [
            "-device pcie-root-port,id=rp1,bus=pcie.0,chassis=1,slot=1",
            "-device vfio-pci,host=0000:00:17.0,bus=rp1,addr=00.0 ",
            "-device vfio-pci,host=0000:01:00.0,bus=rp2,addr=00.0,multifunction=on,romfile=/a,,b.rom",
            "-device vfio-pci,host=0000:01:00.1,bus=rp2,addr=00.1",
            "-machine q35,accel=kvm ",
            "-vga none",
        ] {
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
        assert!(!said.contains("x-vga") && !said.contains("-nic") && !said.contains("-fw_cfg"), "{said}");
        let said = text(&snap, &["0000:00:17.0"], None, &shape());
        assert!(said.ends_with("-nographic\n") && !said.contains("-vga"), "{said}");
        let said = text(&snap, &[GPU], None, &Shape { uefi: false, ..shape() });
        assert!(said.contains("x-vga=on") && !said.contains("pflash") && !said.contains("cp "), "{said}");
    }

    #[test]
    fn what_depends_on_the_shape() {
        let mut snap = t::healthy();
        let viommu = Shape { viommu: true, hide: true, ..shape() };
        let said = text(&snap, &[GPU], None, &viommu);
        let first = said.find("-device").unwrap();
        assert!(said[first..].starts_with("-device intel-iommu,intremap=on,caching-mode=on"), "{said}");
        assert!(said.contains("kernel-irqchip=split") && said.contains("hv_vendor_id=vfioneer"), "{said}");
        // What QEMU reads two of as one, and what a shell would read.
        let named = Shape { name: Some("a,b'$(x)".into()), disk: Some("/d, e.img".into()), ..shape() };
        let said = text(&snap, &[GPU], None, &named);
        assert!(
            said.contains("'guest=a,,b'\\''$(x)'") && said.contains("'if=virtio,format=raw,file=/d,, e.img'"),
            "{said}"
        );
        assert!(said.contains("./a_b___x__VARS.fd"), "{said}");
        t::change(&mut snap, GPU, |f| {
            f.bars = Fact::Known(vec![Bar { index: 1, start: 1 << 40, size: 32 << 30, flags: 0x14_220c }]);
        });
        assert!(!text(&snap, &[GPU], None, &shape()).contains("fw_cfg"), "the host's CPU tells its width");
        let said = text(&snap, &[GPU], None, &Shape { kvm: false, ..shape() });
        assert!(
            said.contains("-fw_cfg name=opt/ovmf/X-PciMmio64Mb,string=65536") && said.contains("-cpu max"),
            "{said}"
        );
        snap.system.cpu_vendor = Fact::Known(CpuVendor::Arm);
        let said = text(&snap, &[GPU], None, &shape());
        assert!(
            said.contains("qemu-system-aarch64") && said.contains("-machine virt,accel=kvm,gic-version=host"),
            "{said}"
        );
        let passed = Passed::of(&snap, &[t::at(GPU)], None);
        for wrong in [viommu, Shape { uefi: false, ..shape() }] {
            assert_eq!(command(&snap, &passed, &wrong).unwrap_err().exit_code(), 3);
        }
    }
}
