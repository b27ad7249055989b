//! The table of cells that change nothing: which host is booted in which state, and what the program must find there.

use crate::machine::Machine;
use crate::variant::{Generator, Layout, Loader, Variant};

/// What the firmware and the processor of the emulated host are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    Intel,
    Amd,
}

/// What is right or wrong with the emulated host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Good,
    OffInFirmware,
    OffInKernel,
    NoRemapping,
    SharedGroup,
    IdenticalGpus,
    NativeDriver,
    /// Two identical serial cards, whose driver is built into the kernel (`CONFIG_SERIAL_8250_PCI=y`), in the GPUs' places.
    BuiltInDriver,
    /// The NVMe controller can make virtual functions; Intel only.
    Sriov,
}

/// One boot of one emulated host.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub variant: Variant,
    pub vendor: Vendor,
    pub state: State,
}

/// The functions of every host, by their address; in one state something else is in the GPU's place.
pub const NIC: &str = "0000:01:00.0";
pub const GPU: &str = "0000:02:00.0";
/// The NVMe controller.
pub const NVME: &str = "0000:03:00.0";
/// The spare GPU where it shares a group: behind a bridge.
pub const SHARED_GPU: &str = "0000:03:01.0";

const STATES: [State; 7] = [
    State::Good,
    State::OffInFirmware,
    State::OffInKernel,
    State::NoRemapping,
    State::SharedGroup,
    State::IdenticalGpus,
    State::NativeDriver,
];

/// What `LAB=subset` runs of these: the states that no cell of `takes` boots, both releases and both vendors.
pub const SUBSET: [&str; 5] = [
    "debian12-amd-good",
    "debian13-amd-off-in-firmware",
    "debian12-intel-off-in-kernel",
    "debian12-intel-shared-group",
    "debian13-intel-native-driver",
];

/// A finding that must be there: its id, and whom it must accuse where that is one device.
pub type Wanted = (&'static str, Option<&'static str>);

/// What `check` must and may say: any other error or warning is a false accusation.
#[derive(Debug)]
pub struct Expected {
    pub must: Vec<Wanted>,
    /// What must be there besides when the device is named.
    pub asked: Vec<Wanted>,
    pub may: Vec<&'static str>,
}

impl Cell {
    /// The name by which a cell is chosen.
    pub fn name(&self) -> String {
        let name = format!("debian{}-{}-{}", self.variant.debian, self.vendor.name(), self.state.name());
        if self.variant == Variant::usual(self.variant.debian) {
            name
        } else {
            format!("{name}-{}", self.variant.name())
        }
    }

    /// The hardware.
    pub fn machine(&self) -> Machine {
        let uefi = self.variant.uefi();
        Machine { vendor: self.vendor, state: self.state, uefi, moved: false, honest_disk: false }
    }

    /// The device that `check` is asked about.
    pub fn device(&self) -> &'static str {
        match self.state {
            State::SharedGroup => SHARED_GPU,
            State::NativeDriver => NIC,
            _ => GPU,
        }
    }

    /// The findings of this cell.
    pub fn expected(&self) -> Expected {
        let (mut must, mut may): (Vec<Wanted>, Vec<&str>) = match self.state {
            State::Good | State::BuiltInDriver | State::Sriov => (vec![], vec![]),
            State::OffInFirmware => (vec![("iommu-off-in-firmware", None)], vec!["no-iommu-group"]),
            State::OffInKernel => {
                (vec![("iommu-off-in-kernel", None)], vec!["no-iommu-group", "interrupt-remapping-off"])
            }
            State::NoRemapping => (vec![("interrupt-remapping-off", None)], vec![]),
            State::SharedGroup => (vec![], vec!["group-not-viable"]),
            State::IdenticalGpus => (vec![("identical-devices", Some(GPU))], vec![]),
            State::NativeDriver => {
                (vec![("native-driver-won", Some(NIC))], vec!["early-load-missing", "initramfs-stale"])
            }
        };
        if self.vendor == Vendor::Intel {
            // QEMU emulates no VMX: these hosts have none, whatever their state.
            must.push(("virtualization-off", None));
            may.push("kvm-unusable");
        }
        let asked = match self.state {
            State::SharedGroup => vec![("group-shared", Some(SHARED_GPU))],
            _ => vec![],
        };
        Expected { must, asked, may }
    }
}

impl Vendor {
    pub fn name(self) -> &'static str {
        match self {
            Vendor::Intel => "intel",
            Vendor::Amd => "amd",
        }
    }
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Good => "good",
            State::OffInFirmware => "off-in-firmware",
            State::OffInKernel => "off-in-kernel",
            State::NoRemapping => "no-remapping",
            State::SharedGroup => "shared-group",
            State::IdenticalGpus => "identical-gpus",
            State::NativeDriver => "native-driver",
            State::BuiltInDriver => "built-in-driver",
            State::Sriov => "sriov",
        }
    }
}

/// Every kind of disk.
pub fn variants() -> Vec<Variant> {
    let mut variants = Vec::new();
    for debian in [13, 12] {
        for loader in [Loader::GrubBios, Loader::GrubUefi, Loader::SystemdBoot, Loader::Uki] {
            for generator in [Generator::Tools, Generator::Dracut] {
                // Debian 12 has no ukify.
                if debian > 12 || loader != Loader::Uki {
                    variants.push(Variant { debian, loader, generator, layout: Layout::Plain });
                }
            }
        }
    }
    let special = [
        (13, Loader::GrubUefi, Generator::Dracut, Layout::Xfs),
        (13, Loader::GrubUefi, Generator::Tools, Layout::Boot),
        (12, Loader::GrubBios, Generator::DracutAny, Layout::Boot),
        (13, Loader::GrubBios, Generator::Tools, Layout::Lvm),
        (12, Loader::GrubUefi, Generator::Dracut, Layout::Lvm),
        (13, Loader::SystemdBoot, Generator::Dracut, Layout::Btrfs),
        (12, Loader::GrubBios, Generator::Tools, Layout::Btrfs),
        (13, Loader::SystemdBoot, Generator::DracutAny, Layout::Plain),
    ];
    variants.extend(special.map(|(debian, loader, generator, layout)| Variant { debian, loader, generator, layout }));
    variants
}

/// Every cell.
pub fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for state in STATES {
        for vendor in [Vendor::Intel, Vendor::Amd] {
            for debian in [13, 12] {
                cells.push(Cell { variant: Variant::usual(debian), vendor, state });
            }
        }
    }
    let others = variants().into_iter().filter(|variant| *variant != Variant::usual(variant.debian));
    for (variant, vendor) in others.zip([Vendor::Intel, Vendor::Amd].into_iter().cycle()) {
        cells.push(Cell { variant, vendor, state: State::Good });
    }
    cells
}
