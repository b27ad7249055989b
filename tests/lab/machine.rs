//! The emulated host: the QEMU command line of a boot.

use std::path::Path;
use std::process::Command;

use crate::cells::{State, Vendor};

/// What of a machine could identify its owner, and so must never be in a capture.
pub const NIC_MAC: &str = "52:54:00:4c:61:62";
pub const NVME_SERIAL: &str = "SN4C61620001";
pub const HOST_NAME: &str = "labhost";

/// What the NIC has as its option ROM.
pub const NIC_ROM: &str = "/usr/lib/ipxe/qemu/efi-e1000e.rom";

/// The firmware of a UEFI host.
const OVMF: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";

/// The hardware of one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    pub vendor: Vendor,
    pub state: State,
    pub uefi: bool,
    /// Whether a card was put in before all others, so that their bus numbers are higher by one.
    pub moved: bool,
    /// Whether a write that the guest was told is done survives a power cut, and nothing else does.
    pub honest_disk: bool,
}

impl Machine {
    /// QEMU for this machine with the files of `folder`: `disk.img`, `vars` where it is UEFI, `share/`, and
    /// `serial.log` for its console.
    ///
    /// It ends with the thread that started it, so that an interrupted run leaves nothing behind.
    pub fn command(&self, folder: &Path) -> Command {
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        for line in self.arguments(folder) {
            qemu.args(line.split_whitespace());
        }
        qemu
    }

    fn arguments(&self, folder: &Path) -> Vec<String> {
        let folder = folder.display();
        let cpu = match self.vendor {
            // The hypervisor bit is hidden, so that the host is judged like a real one.
            Vendor::Intel => "Nehalem,-hypervisor",
            Vendor::Amd => "EPYC,-hypervisor",
        };
        let mut lines = vec![
            "-nodefaults -no-reboot -display none -monitor none -accel tcg -smp 1 -m 1G".to_owned(),
            format!("-M q35,kernel-irqchip=split -cpu {cpu} -serial file:{folder}/serial.log"),
            "-smbios type=0,vendor=Lab,version=1.0,date=01/02/2024".to_owned(),
            "-smbios type=1,manufacturer=Lab,product=Lab-Board".to_owned(),
            "-smbios type=2,manufacturer=Lab,product=Lab-Board".to_owned(),
            "-smbios type=3,manufacturer=Lab -smbios type=4,manufacturer=Lab".to_owned(),
        ];
        if self.uefi {
            lines.push(format!("-drive if=pflash,format=raw,readonly=on,file={OVMF}"));
            lines.push(format!("-drive if=pflash,format=raw,file={folder}/vars"));
        }
        let remapping = if self.state == State::NoRemapping { "off" } else { "on" };
        let iommu = self.state != State::OffInFirmware;
        if iommu && self.vendor == Vendor::Intel {
            lines.push(format!("-device intel-iommu,intremap={remapping},caching-mode=on"));
        }
        lines.push("-device cirrus-vga,addr=01.0".to_owned());
        if iommu && self.vendor == Vendor::Amd {
            // Takes the first free slot, 00:02.0: everything after it needs an address.
            lines.push(format!("-device amd-iommu,intremap={remapping}"));
        }
        let cache = if self.honest_disk { "writethrough" } else { "unsafe" };
        // SeaBIOS is told what to boot; UEFI has its own variables for that.
        let first = if self.uefi { "" } else { ",bootindex=1" };
        lines.extend([
            format!("-drive if=none,id=root,format=raw,cache={cache},file={folder}/disk.img"),
            format!("-device virtio-blk-pci,drive=root,addr=03.0{first}"),
            format!("-fsdev local,id=lab,security_model=none,path={folder}/share"),
            "-device virtio-9p-pci,fsdev=lab,mount_tag=lab,addr=1d.0".to_owned(),
        ]);
        lines.extend(self.cards());
        lines
    }

    /// The cards behind root ports.
    fn cards(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let spare = if self.state == State::BuiltInDriver { "pci-serial" } else { "secondary-vga" };
        if self.moved {
            // A function of an earlier slot than the other ports': its bus is the first.
            lines.push("-device pcie-root-port,id=port0,addr=02.0,chassis=9".to_owned());
            lines.push("-netdev user,id=net0 -device virtio-net-pci,bus=port0,netdev=net0".to_owned());
        }
        lines.extend([
            "-device pcie-root-port,id=port1,addr=04.0,chassis=1".to_owned(),
            format!("-netdev user,id=net1 -device e1000e,bus=port1,netdev=net1,mac={NIC_MAC},romfile={NIC_ROM}"),
            "-device pcie-root-port,id=port2,addr=05.0,chassis=2".to_owned(),
        ]);
        if self.state == State::SharedGroup {
            lines.push("-device pcie-pci-bridge,id=bridge,bus=port2".to_owned());
            lines.push("-device secondary-vga,bus=bridge,addr=1".to_owned());
            lines.push("-netdev user,id=net2 -device e1000,bus=bridge,addr=2,netdev=net2".to_owned());
        } else {
            lines.push(format!("-device {spare},bus=port2"));
        }
        lines.extend([
            "-device pcie-root-port,id=port3,addr=06.0,chassis=3".to_owned(),
            third_device(self.vendor),
            "-device qemu-xhci,addr=07.0 -device usb-kbd".to_owned(),
        ]);
        if matches!(self.state, State::IdenticalGpus | State::BuiltInDriver) {
            lines.push("-device pcie-root-port,id=port4,addr=08.0,chassis=4".to_owned());
            lines.push(format!("-device {spare},bus=port4"));
        } else if has_device("igb") {
            lines.push("-device pcie-root-port,id=port4,addr=08.0,chassis=4".to_owned());
            lines.push("-netdev user,id=net4 -device igb,bus=port4,netdev=net4".to_owned());
        }
        lines
    }
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
