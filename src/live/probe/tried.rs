//! What came of a probe: plain data, and the lines in which the process that probes tells it.

use crate::facts::pci::is_vfio_driver;
use crate::host::vfio::Irq;
use crate::parse::address::Address;
use serde::{Deserialize, Serialize};

/// A way to open a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// `/dev/vfio/GROUP`.
    Group,
    /// `/dev/iommu` and `/dev/vfio/devices/vfioN`.
    Iommufd,
}

impl Interface {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Interface::Group => "group",
            Interface::Iommufd => "iommufd",
        }
    }
}

/// What is tried, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Opening, which resets the device if it can be reset alone.
    Open,
    /// Reading its configuration space.
    Config,
    /// Reading a BAR.
    Bar(u32),
    /// Switching an interrupt on and off.
    Interrupts,
    /// Mapping a page for DMA and unmapping it.
    Dma,
    /// Reading its option ROM.
    Rom,
    /// Asking what a reset touches; nothing is reset for that.
    Reset,
    /// Closing, which resets it again.
    Close,
}

/// A function that a hot reset touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    /// Which.
    pub address: String,
    /// Its IOMMU group.
    pub group: Option<u32>,
    /// Its driver.
    pub driver: Option<String>,
}

impl Touched {
    /// Can the VM have it, too? A hot reset needs all that it touches (`vfio_pci_dev_set_hot_reset`).
    pub fn is_ours(&self) -> bool {
        self.driver.as_deref().is_some_and(is_vfio_driver)
    }
}

/// What came of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Detail {
    /// It is open.
    Opened,
    /// Another process has it.
    Held {
        /// What of it.
        why: String,
    },
    /// Its ids, read from itself.
    Config {
        /// Vendor id.
        vendor: u16,
        /// Device id.
        device: u16,
    },
    /// Its configuration space reads as all ones.
    NoAnswer,
    /// A BAR was read.
    Bar {
        /// Bytes.
        size: u64,
        /// Through mapped memory, else through the kernel.
        mapped: bool,
        /// Its first 32 bits.
        value: u32,
    },
    /// Interrupts by kind.
    Interrupts {
        /// How many of each kind.
        counts: Vec<(Irq, u32)>,
        /// Which was switched on and off.
        tried: Option<Irq>,
    },
    /// A page was mapped and unmapped.
    Dma {
        /// Where the device would have seen it.
        iova: u64,
        /// Bytes mapped.
        size: u64,
        /// Bytes unmapped.
        unmapped: u64,
    },
    /// It has no option ROM, or none that can be read.
    NoRom,
    /// Its option ROM.
    Rom {
        /// Bytes of the region.
        size: u64,
        /// The first two.
        start: [u8; 2],
    },
    /// What resets do.
    Reset {
        /// It can be reset alone.
        alone: bool,
        /// What a hot reset touches, the function included; none if there is no such reset.
        touches: Option<Vec<Touched>>,
    },
    /// It is closed.
    Closed,
    /// It did not work.
    Failed {
        /// Why.
        why: String,
    },
}

/// Whether a stage went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It did.
    Works,
    /// The device has no such thing, and works without it.
    Absent,
    /// It did not.
    Fails,
}

impl Detail {
    /// Did it go well?
    pub fn state(&self) -> State {
        let good = |good: bool| if good { State::Works } else { State::Fails };
        match self {
            Detail::Opened | Detail::Config { .. } | Detail::Closed => State::Works,
            Detail::NoAnswer | Detail::Held { .. } | Detail::Failed { .. } => State::Fails,
            // It may hold just that, like a white picture; where all of them read so, see `Probe::is_ready`.
            Detail::Bar { value, .. } if *value == u32::MAX => State::Absent,
            Detail::Bar { .. } => State::Works,
            Detail::Interrupts { tried: None, .. } | Detail::NoRom => State::Absent,
            Detail::Interrupts { .. } => State::Works,
            Detail::Dma { size, unmapped, .. } => good(size == unmapped),
            Detail::Rom { start, .. } if *start != ROM_SIGNATURE => State::Absent,
            Detail::Rom { .. } => State::Works,
            Detail::Reset { alone: true, .. } => State::Works,
            Detail::Reset { touches: None, .. } => State::Absent,
            Detail::Reset { touches: Some(touched), .. } => good(touched.iter().all(Touched::is_ours)),
        }
    }
}

/// How an option ROM begins (PCI Firmware 3.0 section 5.1.1).
pub(super) const ROM_SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// A stage and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which.
    pub stage: Stage,
    /// What came of it.
    pub detail: Detail,
}

/// All that came of one function by one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Which function.
    pub address: Address,
    /// How it was opened.
    pub interface: Interface,
    /// In the order in which it was tried.
    pub steps: Vec<Step>,
}

impl Probe {
    /// From the lines that the process has told; `end` says why it ended, if in the middle of a stage.
    pub(super) fn read(address: Address, interface: Interface, lines: &str, end: &str) -> Probe {
        let mut steps = Vec::new();
        let mut begun = None;
        for event in lines.lines().filter_map(Event::parse) {
            match event {
                Event::Begin(stage) => begun = Some(stage),
                Event::Done(step) => {
                    begun = None;
                    steps.extend(step);
                }
            }
        }
        let whole = steps.last().is_some_and(|last: &Step| last.stage == Stage::Close || last.stage == Stage::Open);
        if let Some(stage) = begun.or((!whole).then_some(Stage::Open)) {
            steps.push(Step { stage, detail: Detail::Failed { why: end.to_owned() } });
        }
        Probe { address, interface, steps }
    }

    /// Can a VM use it, as far as can be seen without one?
    pub fn is_ready(&self) -> bool {
        let closed = self.steps.last().is_some_and(|last| last.stage == Stage::Close);
        closed && !self.is_silent() && self.steps.iter().all(|step| step.detail.state() != State::Fails)
    }

    /// Has it BARs, and none of them answers?
    pub fn is_silent(&self) -> bool {
        let values = || {
            self.steps.iter().filter_map(|step| match step.detail {
                Detail::Bar { value, .. } => Some(value),
                _ => None,
            })
        };
        values().next().is_some() && values().all(|value| value == u32::MAX)
    }

    /// Has somebody else it open? What of it, then.
    pub fn held(&self) -> Option<&str> {
        self.steps.iter().find_map(|step| match &step.detail {
            Detail::Held { why } => Some(why.as_str()),
            _ => None,
        })
    }
}

/// A line of the process that probes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Event {
    /// A stage begins.
    Begin(Stage),
    /// It has ended; without anything where there was nothing to try.
    Done(Option<Step>),
}

impl Event {
    pub(super) fn line(&self) -> String {
        // These types have nothing that JSON lacks.
        serde_json::to_string(self).map(|line| line + "\n").unwrap_or_default()
    }

    fn parse(line: &str) -> Option<Event> {
        serde_json::from_str(line).ok()
    }
}
