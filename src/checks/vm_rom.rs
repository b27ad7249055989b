//! ROM files that VMs show to their devices: not there, not of the card, or not for the VM's firmware.
//!
//! A card's own ROM is not read for this: nothing is said of a device without a file.

use super::rom::{self, Question};
use super::vm::{Given, given};
use super::{Check, Ctx, Finding, Severity};
use crate::facts::hypervisor::{Firmware, Part, VmDevice};
use crate::facts::pci::Function;
use crate::host::Fact;
use crate::parse::proxmox_conf;
use crate::parse::rom::Rom;

pub(super) const CHECK: Check =
    Check { ids: &["vm-rom-missing", "vm-rom-mismatch", "vm-firmware-mismatch", "vm-secure-boot-rom"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for given in given(ctx) {
        for device in &given.vm.devices {
            // Without a ROM BAR QEMU hands the file to the firmware on other ways (hw/pci/pci.c `pci_add_option_rom`).
            if proxmox_conf::option(&device.evidence.text, "rombar").is_some_and(|on| on == "0") {
                continue;
            }
            let Some((path, rom)) = ctx.snap.hypervisor.rom(given.vm, device) else { continue };
            let card = given.functions.iter().find(|(_, asks)| std::ptr::eq(*asks, device)).map(|(card, _)| *card);
            findings.extend(judge(&given, device, &path, rom, card));
        }
    }
    findings
}

fn judge(
    given: &Given<'_>,
    device: &VmDevice,
    path: &str,
    rom: &Fact<Rom>,
    card: Option<&Function>,
) -> Option<Finding> {
    let finding = |id, severity| given.finding(id, severity).value("file", path).lines([Some(device.evidence.clone())]);
    let rom = match rom {
        Fact::Absent => return Some(finding("vm-rom-missing", Severity::Error).variant("vm")),
        Fact::Unknown(_) => return None,
        Fact::Known(rom) if rom.size == 0 => {
            return Some(finding("vm-rom-missing", Severity::Error).variant("vm-empty"));
        }
        Fact::Known(rom) => rom,
    };
    let question = Question { name: path, bytes: &[], rom, card, firmware: None };
    if let Some(fault) = rom::findings(&question).into_iter().find(|fault| fault.severity == Severity::Error) {
        let mut finding = finding("vm-rom-mismatch", Severity::Warning);
        if fault.id == "rom-other-card" {
            finding = finding.variant(fault.variant);
            finding.values.extend(fault.values);
        } else {
            finding = finding.variant("damaged").value("fault", fault.id);
        }
        return Some(finding);
    }
    let card = card.filter(|card| card.is_display())?;
    let finding = |id, variant, part| {
        let finding = finding(id, Severity::Warning).variant(variant).value("device", card.name());
        finding.lines([given.line(part)])
    };
    let ids = card.ids.known().map(|ids| (ids.vendor, ids.device));
    match given.machine.firmware {
        Firmware::Ovmf { .. } if rom.uefi().is_empty() => Some(finding("vm-firmware-mismatch", "", Part::Firmware)),
        Firmware::Ovmf { secure_boot: true } if rom.has_unsigned_driver() => {
            Some(finding("vm-secure-boot-rom", "", Part::SecureBoot))
        }
        Firmware::SeaBios if rom.seabios(ids).is_none() => {
            Some(finding("vm-firmware-mismatch", "seabios", Part::Firmware))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::*;
    use crate::host::{Fact, Why};
    use crate::parse::rom::{Rom, roms};

    const OVMF: &str = "bios: ovmf\n";
    const IDS: (u16, u16) = (0x10de, 0x2684);
    const X64: u16 = 0x8664;

    fn said(rom: Fact<Rom>, conf: &str) -> Vec<String> {
        let mut snap = healthy();
        proxmox_vm(
            &mut snap,
            "105",
            &format!("hostpci0: 0000:01:00,pcie=1,romfile=a.rom\nmachine: q35\ncpu: host\n{conf}"),
        );
        snap.hypervisor.roms.insert("/usr/share/kvm/a.rom".into(), rom);
        shown(&check(&snap)).into_iter().filter(|line| line.ends_with("vm 105")).collect()
    }

    fn rom(images: &[Vec<u8>]) -> Fact<Rom> {
        Fact::Known(Rom::read(&roms::rom(images)))
    }

    fn efi(signed: bool) -> Vec<u8> {
        roms::efi(IDS, X64, &roms::driver(X64, signed), true)
    }

    #[test]
    fn a_file_that_is_not_there() {
        assert_eq!(said(Fact::Absent, OVMF), ["error vm-rom-missing/vm vm 105"]);
        assert_eq!(said(Fact::Known(Rom::read(&[])), OVMF), ["error vm-rom-missing/vm-empty vm 105"]);
        assert!(said(Fact::Unknown(Why::NotPermitted), OVMF).is_empty());
    }

    #[test]
    fn a_file_of_another_card_or_a_damaged_one() {
        let good = [roms::legacy(IDS, 8), efi(true)];
        assert!(said(rom(&good), OVMF).is_empty() && said(rom(&good), "").is_empty());
        assert_eq!(said(rom(&[roms::legacy((0x10de, 0x1b80), 8)]), OVMF), ["warning vm-rom-mismatch vm 105"]);
        let mut cut = roms::rom(&good);
        cut.truncate(700);
        assert_eq!(said(Fact::Known(Rom::read(&cut)), OVMF), ["warning vm-rom-mismatch/damaged vm 105"]);
        assert_eq!(said(Fact::Known(Rom::read(b"none")), OVMF), ["warning vm-rom-mismatch/damaged vm 105"]);
    }

    #[test]
    fn a_file_for_other_firmware() {
        let (legacy, uefi) = (rom(&[roms::legacy(IDS, 8)]), rom(&[efi(true)]));
        assert_eq!(said(legacy.clone(), OVMF), ["warning vm-firmware-mismatch vm 105"]);
        assert_eq!(said(uefi.clone(), ""), ["warning vm-firmware-mismatch/seabios vm 105"]);
        assert!(said(legacy, "").is_empty() && said(uefi, OVMF).is_empty());
    }

    #[test]
    fn a_driver_without_a_signature() {
        let keys = format!("{OVMF}efidisk0: local:1,efitype=4m,pre-enrolled-keys=1\n");
        assert_eq!(said(rom(&[efi(false)]), &keys), ["warning vm-secure-boot-rom vm 105"]);
        assert!(said(rom(&[efi(true)]), &keys).is_empty() && said(rom(&[efi(false)]), OVMF).is_empty());
    }

    #[test]
    fn what_is_read_is_told_again_word_by_word() {
        for images in [vec![roms::legacy(IDS, 8), efi(true)], vec![efi(false)], vec![]] {
            let rom = Rom::read(&roms::rom(&images));
            let told = serde_json::to_vec(&rom).expect("written");
            assert_eq!(serde_json::from_slice::<Rom>(&told).expect("read"), rom);
        }
    }
}
