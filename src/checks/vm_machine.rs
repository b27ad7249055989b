//! VMs whose machine or CPU is not made for the device that they are given.

use super::device::{is_accelerator, is_integrated};
use super::vm::{Given, given};
use super::{Check, Ctx, Finding, Severity};
use crate::facts::hypervisor::{HypervisorKind, Part};
use crate::facts::pci::Function;
use crate::parse::proxmox_conf;

pub(super) const CHECK: Check = Check { ids: &["vm-not-q35", "vm-second-cpu-argument", "vm-hiding-needless"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    given(ctx).flat_map(|vm| [not_q35(ctx, &vm), second_cpu(&vm), needless_hiding(&vm)].into_iter().flatten()).collect()
}

fn not_q35(ctx: &Ctx<'_>, given: &Given<'_>) -> Option<Finding> {
    if given.machine.pcie || !given.machine.lines.contains_key(&Part::Machine) && !given.is_whole(ctx) {
        return None;
    }
    let machine = given.line(Part::Machine);
    // qemu-server src/PVE/QemuServer/PCI.pm: such a VM does not start.
    let asks = given.vm.devices.iter().find(|device| {
        proxmox_conf::option(&device.evidence.text, "pcie").is_some_and(|on| matches!(on, "1" | "on" | "yes" | "true"))
    });
    if let Some(asks) = asks.filter(|_| given.vm.kind == HypervisorKind::Proxmox) {
        let finding = given.finding("vm-not-q35", Severity::Error).variant("config");
        return Some(finding.lines([Some(asks.evidence.clone()), machine]));
    }
    // Integrated graphics is the one device that some ways of passing it through want on i440fx (QEMU docs/igd-assign.txt).
    let wants = |function: &Function| is_accelerator(function) && !is_integrated(&ctx.snap.pci, function);
    let (function, asks) = given.functions.iter().find(|(function, _)| wants(function))?;
    let finding = given.finding("vm-not-q35", Severity::Info).variant("card").value("device", function.name());
    Some(finding.lines([Some(asks.evidence.clone()), machine]))
}

fn second_cpu(given: &Given<'_>) -> Option<Finding> {
    let machine = given.machine;
    let finding = given.finding("vm-second-cpu-argument", Severity::Warning);
    let finding = finding.variant(if given.vm.kind == HypervisorKind::Libvirt { "libvirt" } else { "" });
    let cpu = machine.lines.get(&Part::Cpu).cloned();
    machine.has_second_cpu().then(|| finding.lines([given.line(Part::Arguments), cpu]))
}

/// What NVIDIA's drivers for a card ask of a VM.
enum Drivers {
    /// Each of them takes a VM.
    Willing,
    /// Those before 465 refuse it (NVIDIA's announcement of March 2021: GeForce in a VM is supported from R465 on).
    OldRefuse,
}

/// By the chip's name in pci.ids. Ada, Hopper and Blackwell are younger than R465; for chips before Kepler there is no R465. What is no
/// GeForce and no Titan was never refused; of Kepler's that is not certain for each.
fn drivers(function: &Function) -> Option<Drivers> {
    let name = function.device_name.as_deref()?;
    let is = |chips: &[&str]| chips.iter().any(|chip| name.starts_with(chip));
    let consumer = name.contains("GeForce") || name.contains("TITAN");
    let (between, after) = (["GM1", "GM2", "GP1", "GV1", "TU1", "GA1"], ["AD1", "GH1", "GB1", "GB2"]);
    match function.ids.known()?.vendor {
        0x10de if is(&after) || is(&between) && !consumer => Some(Drivers::Willing),
        0x10de if consumer && (is(&between) || is(&["GK1", "GK2"])) => Some(Drivers::OldRefuse),
        _ => None,
    }
}

fn needless_hiding(given: &Given<'_>) -> Option<Finding> {
    let machine = given.machine;
    // With a second -cpu none of it reaches QEMU.
    if !machine.hidden && machine.hv_vendor.is_none() || machine.has_second_cpu() {
        return None;
    }
    // For another maker's card somebody may know why.
    let all: Option<Vec<Drivers>> = given.displays().map(|(function, _)| drivers(function)).collect();
    let all = all.filter(|all| !all.is_empty())?;
    let old = all.iter().any(|drivers| matches!(drivers, Drivers::OldRefuse));
    let (function, asks) = given.displays().next()?;
    let finding = given.finding("vm-hiding-needless", Severity::Info).value("device", function.name());
    let lines = [Part::HvVendor, Part::Hidden].map(|part| machine.lines.get(&part).cloned());
    let finding = finding.variant(if old { "old-drivers" } else { "" }).lines(lines);
    Some(if finding.evidence.is_empty() { finding.evidence(asks.evidence.clone()) } else { finding })
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::*;
    use crate::facts::pci::Function;

    fn said(conf: &str, how: impl FnOnce(&mut Function)) -> Vec<String> {
        let mut snap = healthy();
        change(&mut snap, GPU, how);
        proxmox_vm(&mut snap, "105", conf);
        shown(&check(&snap)).into_iter().filter(|line| line.ends_with("vm 105")).collect()
    }

    #[test]
    fn a_machine_without_pcie() {
        let said = |conf| said(conf, |_| {});
        assert_eq!(said("hostpci0: 0000:01:00,pcie=1\n"), ["error vm-not-q35/config vm 105"]);
        assert_eq!(said("hostpci0: 0000:01:00\nmachine: pc-i440fx-9.0\n"), ["info vm-not-q35/card vm 105"]);
        assert!(said("hostpci0: 0000:01:00,pcie=1\nmachine: q35\n").is_empty());
        assert!(said("hostpci0: 0000:00:1f.3\n").is_empty(), "sound works there as well");
        assert!(said("hostpci0: 0000:00:02.0\n").is_empty(), "integrated graphics may want it");
        assert!(said("hostpci0: 0000:7f:00,pcie=1\n").iter().all(|line| line.contains("vm-device-missing")));
        assert!(said("memory: 1024\n").is_empty());
    }

    #[test]
    fn a_second_cpu() {
        let base = "hostpci0: 0000:01:00,pcie=1\nmachine: q35\ncpu: host\n";
        let found = said(&format!("{base}args: -cpu 'host,kvm=off'\n"), |_| {});
        assert_eq!(found, ["warning vm-second-cpu-argument vm 105"]);
        assert!(said(&format!("{base}args: -device x,id=cpu -machine cpu=1\n"), |_| {}).is_empty());
    }

    #[test]
    fn hiding() {
        let base = "hostpci0: 0000:01:00,pcie=1\nmachine: q35\ncpu: host";
        let hidden = format!("{base},hidden=1\n");
        let chip = |name: &str| said(&hidden, |f| f.device_name = Some(name.to_owned()));
        assert_eq!(said(&hidden, |_| {}), ["info vm-hiding-needless vm 105"]);
        assert_eq!(said(&format!("{base},hv-vendor-id=abc\n"), |_| {}), ["info vm-hiding-needless vm 105"]);
        assert_eq!(chip("GP106 [GeForce GTX 1060 6GB]"), ["info vm-hiding-needless/old-drivers vm 105"]);
        assert_eq!(chip("TU104GL [Tesla T4]"), ["info vm-hiding-needless vm 105"]);
        assert!(chip("GF114 [GeForce GTX 560 Ti]").is_empty(), "there is no younger driver for it");
        assert!(said(&hidden, |f| f.device_name = None).is_empty());
        let amd = crate::facts::pci::Ids { vendor: 0x1002, device: 0x73bf };
        assert!(said(&hidden, |f| f.ids = crate::host::Fact::Known(amd)).is_empty());
        assert!(said(&format!("{base}\n"), |_| {}).is_empty());
    }
}
