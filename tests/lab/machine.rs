//! The emulated host: the QEMU command line of a boot.

use std::path::Path;
use std::process::Command;

use crate::cards::Card;
use crate::cells::{State, Vendor};

/// What of a machine could identify its owner, and so must never be in a capture.
pub const NIC_MAC: &str = "52:54:00:4c:61:62";
pub const NVME_SERIAL: &str = "SN4C61620001";
pub const HOST_NAME: &str = "labhost";

/// What the NIC has as its option ROM.
pub const NIC_ROM: &str = "/usr/lib/ipxe/qemu/efi-e1000e.rom";

/// The boot display of hosts that have no other.
pub const DISPLAY: &str = "-device cirrus-vga,addr=01.0";

/// The firmware of a UEFI host.
const OVMF: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";

/// What the firmware offers of the IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iommu {
    On,
    Off,
    NoRemapping,
}

/// QEMU in a cell's folder, which holds all files that it is told of, and `serial.log` for its console. Its monitor speaks QMP on its
/// stdin and stdout.
///
/// It ends with the thread that started it, so that an interrupted run leaves nothing behind.
pub fn qemu(folder: &Path, arguments: &[String]) -> Command {
    let mut qemu = Command::new("setpriv");
    qemu.current_dir(folder).args(["--pdeathsig", "KILL", "qemu-system-x86_64"]).args(arguments);
    qemu
}

/// The words of lines.
pub fn words(lines: &[String]) -> Vec<String> {
    lines.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect()
}

/// What every host has, as lines of words: processor, firmware tables, IOMMU, boot display (unless a card is it) and share.
pub fn board(vendor: Vendor, iommu: Iommu, display: &str) -> Vec<String> {
    let cpu = match vendor {
        // The hypervisor bit is hidden, so that the host is judged like a real one.
        Vendor::Intel => "Nehalem,-hypervisor",
        Vendor::Amd => "EPYC,-hypervisor",
    };
    let mut lines = vec![
        "-nodefaults -no-reboot -display none -monitor none -qmp stdio -accel tcg -smp 1 -m 1G".to_owned(),
        format!("-M q35,kernel-irqchip=split -cpu {cpu} -serial file:serial.log"),
        "-smbios type=0,vendor=Lab,version=1.0,date=01/02/2024".to_owned(),
        "-smbios type=1,manufacturer=Lab,product=Lab-Board".to_owned(),
        "-smbios type=2,manufacturer=Lab,product=Lab-Board".to_owned(),
        "-smbios type=3,manufacturer=Lab -smbios type=4,manufacturer=Lab".to_owned(),
    ];
    let remapping = if iommu == Iommu::NoRemapping { "off" } else { "on" };
    if iommu != Iommu::Off && vendor == Vendor::Intel {
        lines.push(format!("-device intel-iommu,intremap={remapping},caching-mode=on"));
    }
    lines.push(display.to_owned());
    if iommu != Iommu::Off && vendor == Vendor::Amd {
        // Takes the first free slot, 00:02.0: everything after it needs an address.
        lines.push(format!("-device amd-iommu,intremap={remapping}"));
    }
    lines.push("-fsdev local,id=lab,security_model=none,path=share".to_owned());
    lines.push("-device virtio-9p-pci,fsdev=lab,mount_tag=lab,addr=1d.0".to_owned());
    lines
}

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
    /// What QEMU is told for this machine. In the cell's folder are `disk.img`, `vars` where it is UEFI, and `share/`.
    pub fn arguments(&self) -> Vec<String> {
        let mut lines = board(self.vendor, self.iommu(), DISPLAY);
        if self.uefi {
            lines.push(format!("-drive if=pflash,format=raw,readonly=on,file={OVMF}"));
            lines.push("-drive if=pflash,format=raw,file=vars".to_owned());
        }
        let cache = if self.honest_disk { "writethrough" } else { "unsafe" };
        // SeaBIOS is told what to boot; UEFI has its own variables for that.
        let first = if self.uefi { "" } else { ",bootindex=1" };
        lines.extend([
            format!("-drive if=none,id=root,format=raw,cache={cache},file=disk.img"),
            format!("-device virtio-blk-pci,drive=root,addr=03.0{first}"),
        ]);
        lines.extend(self.cards());
        words(&lines)
    }

    fn iommu(&self) -> Iommu {
        match self.state {
            State::OffInFirmware => Iommu::Off,
            State::NoRemapping => Iommu::NoRemapping,
            _ => Iommu::On,
        }
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
            lines.push(format!("-device {spare},bus=port2,id=spare"));
        }
        lines.extend([
            "-device pcie-root-port,id=port3,addr=06.0,chassis=3".to_owned(),
            self.third_device(),
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

    /// QEMU 7.2's NVMe controller does not answer behind an emulated AMD IOMMU; its virtio devices do.
    fn third_device(&self) -> String {
        match (self.vendor, self.state) {
            (_, State::Sriov) => Card::Nvme.devices("spare").replace("BUS", "bus=port3"),
            (Vendor::Intel, _) => format!(
                "-drive if=none,id=spare,format=raw,file.driver=null-co,file.size=64M \
                 -device nvme,bus=port3,drive=spare,serial={NVME_SERIAL}"
            ),
            (Vendor::Amd, _) => "-netdev user,id=net3 -device virtio-net-pci,bus=port3,netdev=net3".to_owned(),
        }
    }
}

/// Whether this QEMU has the device.
pub fn has_device(name: &str) -> bool {
    let output = Command::new("qemu-system-x86_64").args(["-device", "help"]).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&format!("name \"{name}\"")))
}
