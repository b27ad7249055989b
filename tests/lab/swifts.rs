//! The tables of swift cells: a host that keeps nothing, its cards, and the script that tries something on its running devices.

use crate::cards::Card;
use crate::cells::Vendor;

/// One script, and the hosts and cards that it runs on.
struct Row {
    /// The script is `guest/swift/<what>.sh`.
    what: &'static str,
    hosts: &'static [(u8, Vendor)],
    cards: &'static [Card],
}

static TABLE: [Row; 9] = [
    Row { what: "rom", hosts: &[(13, Vendor::Intel), (13, Vendor::Amd), (12, Vendor::Intel)], cards: &[Card::Nic] },
    // What the lab promises to the others.
    Row {
        what: "cards",
        hosts: &[(13, Vendor::Intel), (12, Vendor::Amd)],
        cards: &[
            Card::Nic,
            Card::Nvme,
            Card::Igb,
            Card::Multi,
            Card::Usb,
            Card::Gpu,
            Card::Gpu,
            Card::Audio,
            Card::Virtio,
            Card::Bridge,
        ],
    },
    Row { what: "bind", hosts: &[(13, Vendor::Intel), (13, Vendor::Amd), (12, Vendor::Intel)], cards: KINDS },
    Row {
        what: "reset",
        hosts: &[(13, Vendor::Intel), (13, Vendor::Amd), (12, Vendor::Intel)],
        cards: &[Card::Nic, Card::Multi, Card::Nvme],
    },
    Row { what: "probe", hosts: &[(13, Vendor::Intel), (13, Vendor::Amd), (12, Vendor::Intel)], cards: KINDS },
    Row { what: "cycles", hosts: &[(13, Vendor::Intel), (13, Vendor::Amd)], cards: KINDS },
    Row { what: "killed", hosts: &[(13, Vendor::Intel)], cards: &[Card::Nic, Card::Gpu] },
    Row { what: "hook", hosts: &[(13, Vendor::Intel), (13, Vendor::Amd)], cards: &[Card::Nic, Card::Virtio] },
    Row { what: "gone", hosts: &[(13, Vendor::Intel)], cards: &[Card::Nic, Card::Virtio] },
];

/// What runs in a Debian with libvirt and QEMU, instead of the initramfs itself.
static HYPERVISORS: [Row; 9] = [
    Row {
        what: "hook-libvirt",
        hosts: &[(13, Vendor::Intel), (13, Vendor::Amd)],
        cards: &[Card::Nic, Card::Virtio, Card::Gpu],
    },
    Row { what: "hook-input", hosts: &[(13, Vendor::Intel)], cards: &[Card::Nic] },
    Row { what: "hook-guide", hosts: &[(13, Vendor::Intel)], cards: &[Card::Nic] },
    Row { what: "hook-screen", hosts: &[(13, Vendor::Intel)], cards: &[Card::Screen] },
    // KVM needs a processor that QEMU can emulate with it: AMD's. OVMF on it aborted QEMU 7.2 (`tcg_handle_interrupt`), most likely
    // by a write to CR8: target/i386/tcg/sysemu/misc_helper.c `helper_write_crN` asks for an interrupt without the lock.
    Row { what: "vm-linux", hosts: &[(13, Vendor::Amd)], cards: &[Card::Onboard] },
    Row { what: "vm-firmware", hosts: &[(13, Vendor::Intel), (13, Vendor::Amd)], cards: &[Card::Onboard] },
    Row { what: "vm-twins", hosts: &[(13, Vendor::Intel)], cards: &[Card::Gpu, Card::Gpu] },
    Row { what: "vm-attach", hosts: &[(13, Vendor::Intel)], cards: &[Card::Gpu, Card::Multi] },
    Row { what: "vm-container", hosts: &[(13, Vendor::Intel)], cards: &[Card::Gpu, Card::Gpu] },
];

/// One of each kind.
const KINDS: &[Card] =
    &[Card::Nic, Card::Gpu, Card::Audio, Card::Usb, Card::Virtio, Card::Multi, Card::Bridge, Card::Nvme];

/// What `LAB=subset` runs of these: each script but those that repeat themselves.
pub const SUBSET: [&str; 11] = [
    "swift-rom-intel",
    "swift-rom-amd",
    "swift-rom-intel-debian12",
    "swift-bind-intel",
    "swift-reset-amd",
    "swift-probe-amd",
    "swift-hook-amd",
    "swift-hook-input-intel",
    "swift-vm-attach-intel",
    "swift-vm-firmware-amd",
    "swift-vm-container-intel",
];

/// One script on one host.
#[derive(Clone, Copy, Debug)]
pub struct Swift {
    pub what: &'static str,
    pub debian: u8,
    pub vendor: Vendor,
    pub cards: &'static [Card],
    pub hypervisor: bool,
}

impl Swift {
    /// The name by which a cell is chosen: on Debian 13 where it says nothing else.
    pub fn name(&self) -> String {
        let release = if self.debian == 13 { String::new() } else { format!("-debian{}", self.debian) };
        format!("swift-{}-{}{release}", self.what, self.vendor.name())
    }

    /// What its host gets: the first is what it runs.
    pub fn scripts(&self) -> Vec<String> {
        let own = format!("{}.sh", self.what);
        let shared = if self.hypervisor { &["lib.sh", "vms.sh"][..] } else { &["lib.sh"] };
        [own.as_str()].iter().chain(shared).map(|name| format!("swift/{name}")).collect()
    }
}

/// Every cell.
pub fn all() -> Vec<Swift> {
    let cells = |(row, hypervisor): (&'static Row, bool)| {
        row.hosts.iter().map(move |(debian, vendor)| Swift {
            what: row.what,
            debian: *debian,
            vendor: *vendor,
            cards: row.cards,
            hypervisor,
        })
    };
    let rows = TABLE.iter().map(|row| (row, false)).chain(HYPERVISORS.iter().map(|row| (row, true)));
    rows.flat_map(cells).collect()
}
