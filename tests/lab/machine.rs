//! The emulated host: the QEMU command line of a cell.

use std::path::Path;
use std::process::Command;

use crate::cells::{Cell, State, Vendor};

/// What of a machine could identify its owner, and so must never be in a capture.
pub const NIC_MAC: &str = "52:54:00:4c:61:62";
pub const NVME_SERIAL: &str = "SN4C61620001";
pub const HOST_NAME: &str = "labhost";

/// QEMU for `cell`, which boots `disk`, sees `share` and writes its console to `serial`.
///
/// It ends with the thread that started it, so that an interrupted run leaves nothing behind.
pub fn command(cell: &Cell, disk: &Path, share: &Path, serial: &Path) -> Command {
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    for line in arguments(cell, disk, share, serial) {
        qemu.args(line.split_whitespace());
    }
    qemu
}

fn arguments(cell: &Cell, disk: &Path, share: &Path, serial: &Path) -> Vec<String> {
    let (disk, share, serial) = (disk.display(), share.display(), serial.display());
    let cpu = match cell.vendor {
        // The hypervisor bit is hidden, so that the host is judged like a real one.
        Vendor::Intel => "Nehalem,-hypervisor",
        Vendor::Amd => "EPYC,-hypervisor",
    };
    let mut lines = vec![
        "-nodefaults -no-reboot -display none -monitor none -accel tcg -smp 1 -m 1G".to_owned(),
        format!("-M q35,kernel-irqchip=split -cpu {cpu} -serial file:{serial}"),
        "-smbios type=0,vendor=Lab,version=1.0,date=01/02/2024".to_owned(),
        "-smbios type=1,manufacturer=Lab,product=Lab-Board".to_owned(),
        "-smbios type=2,manufacturer=Lab,product=Lab-Board".to_owned(),
        "-smbios type=3,manufacturer=Lab -smbios type=4,manufacturer=Lab".to_owned(),
    ];
    let remapping = if cell.state == State::NoRemapping { "off" } else { "on" };
    let iommu = cell.state != State::OffInFirmware;
    if iommu && cell.vendor == Vendor::Intel {
        lines.push(format!("-device intel-iommu,intremap={remapping},caching-mode=on"));
    }
    lines.push("-device cirrus-vga,addr=01.0".to_owned());
    if iommu && cell.vendor == Vendor::Amd {
        // Takes the first free slot, 00:02.0: everything after it needs an address.
        lines.push(format!("-device amd-iommu,intremap={remapping}"));
    }
    lines.extend([
        format!("-drive if=none,id=root,format=raw,cache=unsafe,file={disk}"),
        "-device virtio-blk-pci,drive=root,addr=03.0,bootindex=1".to_owned(),
        format!("-fsdev local,id=lab,security_model=none,path={share}"),
        "-device virtio-9p-pci,fsdev=lab,mount_tag=lab,addr=1d.0".to_owned(),
        "-device pcie-root-port,id=port1,addr=04.0,chassis=1".to_owned(),
        format!("-netdev user,id=net1 -device e1000e,bus=port1,netdev=net1,mac={NIC_MAC}"),
        "-device pcie-root-port,id=port2,addr=05.0,chassis=2".to_owned(),
    ]);
    if cell.state == State::SharedGroup {
        lines.push("-device pcie-pci-bridge,id=bridge,bus=port2".to_owned());
        lines.push("-device secondary-vga,bus=bridge,addr=1".to_owned());
        lines.push("-netdev user,id=net2 -device e1000,bus=bridge,addr=2,netdev=net2".to_owned());
    } else {
        lines.push("-device secondary-vga,bus=port2".to_owned());
    }
    lines.extend([
        "-device pcie-root-port,id=port3,addr=06.0,chassis=3".to_owned(),
        third_device(cell.vendor),
        "-device qemu-xhci,addr=07.0 -device usb-kbd".to_owned(),
    ]);
    if cell.state == State::IdenticalGpus {
        lines.push("-device pcie-root-port,id=port4,addr=08.0,chassis=4".to_owned());
        lines.push("-device secondary-vga,bus=port4".to_owned());
    } else if has_device("igb") {
        lines.push("-device pcie-root-port,id=port4,addr=08.0,chassis=4".to_owned());
        lines.push("-netdev user,id=net4 -device igb,bus=port4,netdev=net4".to_owned());
    }
    lines
}

/// QEMU 7.2's NVMe controller does not answer behind an emulated AMD IOMMU; its virtio devices do.
fn third_device(vendor: Vendor) -> String {
    match vendor {
        Vendor::Intel => format!(
            "-drive if=none,id=spare,format=raw,file.driver=null-co,file.size=64M \
             -device nvme,bus=port3,drive=spare,serial={NVME_SERIAL}"
        ),
        Vendor::Amd => "-netdev user,id=net3 -device virtio-net-pci,bus=port3,netdev=net3".to_owned(),
    }
}

/// Whether this QEMU has the device.
fn has_device(name: &str) -> bool {
    let output = Command::new("qemu-system-x86_64").args(["-device", "help"]).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&format!("name \"{name}\"")))
}
