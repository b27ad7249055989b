//! The cards of a swift cell's machine: each behind a root port of its own, so with a bus of its own.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::cells::Vendor;
use crate::machine::{NIC_MAC, NIC_ROM, has_device};

/// One thing in a slot. Its name, in small letters, is its id on QEMU's monitor and its variable in guest scripts; a second one of
/// its kind is `gpu2`, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Card {
    /// `e1000e` with an option ROM.
    Nic,
    /// The same on the bus of the board. QEMU 7.2's AMD IOMMU takes a device by the number that its bus has before any firmware numbers
    /// them (hw/i386/amd_iommu.c `amdvi_host_dma_iommu`), so what a device behind a port reads and writes goes astray.
    Onboard,
    /// A controller with a namespace and up to four virtual functions; Intel only.
    Nvme,
    /// A NIC with virtual functions; only with QEMU 8.0 and later.
    Igb,
    /// One slot with three functions: `multi0` and `multi1` with e1000e, `multi2` with virtio-net.
    Multi,
    /// A USB controller with a keyboard and a stick; Intel only.
    Usb,
    /// A display that nobody needs; two of them are identical.
    Gpu,
    /// The boot display, instead of the one that other hosts have on the board.
    Screen,
    Audio,
    /// A virtio NIC, which reports uncorrectable errors that the monitor injects.
    Virtio,
    /// A bridge to a conventional bus, and there `shared1` (a display) and `shared2` (a NIC) in one group.
    Bridge,
}

/// The first slot of a root port.
const FIRST_SLOT: usize = 4;

/// What QEMU is told of these cards.
pub fn arguments(cards: &[Card], vendor: Vendor) -> Vec<String> {
    let mut lines = Vec::new();
    for (number, (card, id)) in named(cards).into_iter().enumerate() {
        let (slot, chassis) = (FIRST_SLOT + number, number + 1);
        if card == Card::Onboard {
            lines.push(card.devices(&id).replace("BUS", &format!("addr={slot:02x}.0")));
            continue;
        }
        // A faster port says that it reports whether its link is up, and then (QEMU 7.2) never that it is: the kernel takes every reset of
        // the bus for a failure.
        lines.push(format!(
            "-device pcie-root-port,id=port-{id},addr={slot:02x}.0,chassis={chassis},slot={slot},x-speed=2_5,x-width=1"
        ));
        if card.there(vendor) {
            lines.push(card.devices(&id).replace("BUS", &format!("bus=port-{id}")));
        }
    }
    lines
}

/// Where each function is, and the NIC's MAC, as lines of a shell script.
pub fn addresses(cards: &[Card]) -> String {
    let mut text = String::new();
    let mut bus = 0;
    for (number, (card, id)) in named(cards).into_iter().enumerate() {
        if matches!(card, Card::Nic | Card::Onboard) {
            let _ = writeln!(text, "{id}_mac={NIC_MAC}");
        }
        if card == Card::Onboard {
            let _ = writeln!(text, "{id}=0000:00:{:02x}.0", FIRST_SLOT + number);
            continue;
        }
        bus += 1;
        let functions: &[(&str, usize, &str)] = match card {
            Card::Multi => &[("0", 0, "00.0"), ("1", 0, "00.1"), ("2", 0, "00.2")],
            Card::Bridge => &[("", 0, "00.0"), ("shared1", 1, "01.0"), ("shared2", 1, "02.0")],
            _ => &[("", 0, "00.0")],
        };
        for (name, behind, function) in functions {
            let name = if name.starts_with("shared") { (*name).to_owned() } else { format!("{id}{name}") };
            let _ = writeln!(text, "{name}=0000:{:02x}:{function}", bus + behind);
        }
        bus += usize::from(card == Card::Bridge);
    }
    text
}

/// The cards with their ids.
fn named(cards: &[Card]) -> Vec<(Card, String)> {
    let mut seen: BTreeMap<Card, usize> = BTreeMap::new();
    let mut named = Vec::new();
    for card in cards {
        let count = seen.entry(*card).or_default();
        *count += 1;
        let name = format!("{card:?}").to_lowercase();
        named.push((*card, if *count == 1 { name } else { format!("{name}{count}") }));
    }
    named
}

impl Card {
    /// Whether this QEMU can have it on that host; the slot is empty otherwise. Its NVMe and USB controllers do not answer behind an
    /// emulated AMD IOMMU (QEMU 7.2).
    fn there(self, vendor: Vendor) -> bool {
        match self {
            Card::Nvme | Card::Usb => vendor == Vendor::Intel,
            Card::Igb => has_device("igb"),
            _ => true,
        }
    }

    /// What QEMU is told of this card; `BUS` is its root port.
    pub fn devices(self, id: &str) -> String {
        match self {
            Card::Nic | Card::Onboard => {
                // What a script writes to $out can be fetched through it.
                format!(
                    "-netdev user,id=net-{id},tftp=share/out,bootfile=boot.ipxe
                     -device e1000e,BUS,id={id},netdev=net-{id},mac={NIC_MAC},romfile={NIC_ROM}"
                )
            }
            Card::Nvme => format!(
                "-drive if=none,id=drive-{id},format=raw,file.driver=null-co,file.size=64M
                 -device nvme-subsys,id=subsys-{id},nqn={id}
                 -device nvme,BUS,id={id},subsys=subsys-{id},serial=SN-{id},\
                 max_ioqpairs=16,msix_qsize=17,sriov_max_vfs=4,sriov_vq_flexible=8,sriov_vi_flexible=4
                 -device nvme-ns,bus={id},drive=drive-{id}"
            ),
            Card::Igb => format!("-netdev user,id=net-{id} -device igb,BUS,id={id},netdev=net-{id}"),
            Card::Multi => format!(
                "-netdev user,id=net-{id}0 -device e1000e,BUS,addr=00.0,multifunction=on,id={id}0,netdev=net-{id}0
                 -netdev user,id=net-{id}1 -device e1000e,BUS,addr=00.1,id={id}1,netdev=net-{id}1
                 -netdev user,id=net-{id}2 -device virtio-net-pci,BUS,addr=00.2,id={id}2,netdev=net-{id}2"
            ),
            Card::Usb => format!(
                "-device qemu-xhci,BUS,id={id} -device usb-kbd,bus={id}.0
                 -drive if=none,id=stick-{id},format=raw,file.driver=null-co,file.size=64M
                 -device usb-storage,bus={id}.0,drive=stick-{id}"
            ),
            Card::Gpu => format!("-device secondary-vga,BUS,id={id}"),
            Card::Screen => format!("-device VGA,BUS,id={id}"),
            Card::Audio => format!(
                "-audiodev none,id=none-{id} -device intel-hda,BUS,id={id}
                 -device hda-duplex,bus={id}.0,audiodev=none-{id}"
            ),
            Card::Virtio => {
                format!("-netdev user,id=net-{id} -device virtio-net-pci,BUS,id={id},netdev=net-{id},aer=on")
            }
            Card::Bridge => format!(
                "-device pcie-pci-bridge,BUS,id={id} -device secondary-vga,bus={id},addr=1,id=shared1
                 -netdev user,id=net-{id} -device e1000,bus={id},addr=2,id=shared2,netdev=net-{id}"
            ),
        }
    }
}
