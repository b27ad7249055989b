//! The table of lab cells: which host is booted in which state, and what the program must find there.

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
}

/// One boot of one emulated host.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub debian: u8,
    pub vendor: Vendor,
    pub state: State,
}

/// The functions of every host, by their address.
pub const NIC: &str = "0000:01:00.0";
pub const GPU: &str = "0000:02:00.0";
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

/// What `LAB=subset` runs: every state, both releases and both vendors.
const SUBSET: [&str; 7] = [
    "debian13-intel-good",
    "debian12-amd-good",
    "debian13-amd-off-in-firmware",
    "debian12-intel-off-in-kernel",
    "debian13-amd-no-remapping",
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
        format!("debian{}-{}-{}", self.debian, self.vendor.name(), self.state.name())
    }

    /// The Debian release's own name.
    pub fn suite(&self) -> &'static str {
        match self.debian {
            12 => "bookworm",
            _ => "trixie",
        }
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
            State::Good => (vec![], vec![]),
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
    fn name(self) -> &'static str {
        match self {
            Vendor::Intel => "intel",
            Vendor::Amd => "amd",
        }
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Good => "good",
            State::OffInFirmware => "off-in-firmware",
            State::OffInKernel => "off-in-kernel",
            State::NoRemapping => "no-remapping",
            State::SharedGroup => "shared-group",
            State::IdenticalGpus => "identical-gpus",
            State::NativeDriver => "native-driver",
        }
    }
}

/// Every cell.
pub fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for state in STATES {
        for vendor in [Vendor::Intel, Vendor::Amd] {
            for debian in [13, 12] {
                cells.push(Cell { debian, vendor, state });
            }
        }
    }
    cells
}

/// The cells that a selection names: `all`, `subset` or a part of names.
pub fn select(selection: &str) -> Vec<Cell> {
    let mut cells = all();
    cells.retain(|cell| match selection {
        "all" => true,
        "subset" => SUBSET.contains(&cell.name().as_str()),
        part => cell.name().contains(part),
    });
    cells
}
