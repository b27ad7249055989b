//! An open device (Linux `drivers/vfio/pci/vfio_pci_core.c`, `vfio_pci_intrs.c`).

use super::call::{Argument, Call};
use super::group::Group;
use super::layout::{self, Bytes, Dependent, Region};
use super::memory::{Mapping, page_size};
use super::{Failure, Result};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

const GET_INFO: Call = Call { name: "VFIO_DEVICE_GET_INFO", number: 107 };
const GET_REGION_INFO: Call = Call { name: "VFIO_DEVICE_GET_REGION_INFO", number: 108 };
const GET_IRQ_INFO: Call = Call { name: "VFIO_DEVICE_GET_IRQ_INFO", number: 109 };
const SET_IRQS: Call = Call { name: "VFIO_DEVICE_SET_IRQS", number: 110 };
const RESET: Call = Call { name: "VFIO_DEVICE_RESET", number: 111 };
const HOT_RESET_INFO: Call = Call { name: "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", number: 112 };
const HOT_RESET: Call = Call { name: "VFIO_DEVICE_PCI_HOT_RESET", number: 113 };

/// `VFIO_DEVICE_FLAGS_RESET`, `VFIO_DEVICE_FLAGS_PCI`.
const FLAG_RESET: u32 = 1;
const FLAG_PCI: u32 = 2;
/// `VFIO_PCI_ROM_REGION_INDEX` and `VFIO_PCI_CONFIG_REGION_INDEX`; the BARs have their own numbers.
pub const ROM: u32 = 6;
/// See [`ROM`].
pub const CONFIG: u32 = 7;
/// `VFIO_IRQ_INFO_EVENTFD`.
const IRQ_EVENTFD: u32 = 1;
/// `VFIO_IRQ_SET_DATA_NONE`, `…_DATA_EVENTFD`, `…_ACTION_TRIGGER`.
const DATA_NONE: u32 = 1;
const DATA_EVENTFD: u32 = 4;
const TRIGGER: u32 = 32;
/// Command register and its bit for memory (PCI Local Bus 3.0 section 6.2.2).
const COMMAND: u64 = 4;
const COMMAND_MEMORY: u16 = 2;

/// What a device says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// It can be reset alone: VFIO tried it when it opened the device.
    pub resets: bool,
    /// Its regions are numbered as those of a PCI device.
    pub pci: bool,
}

/// A kind of interrupt, by VFIO's number (`VFIO_PCI_INTX_IRQ_INDEX` and so on).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Irq {
    /// A line, shared by devices.
    Intx = 0,
    /// Messages, few.
    Msi = 1,
    /// Messages, many.
    Msix = 2,
    /// PCIe errors.
    Err = 3,
    /// The host wants the device back.
    Req = 4,
}

impl Irq {
    /// All of them.
    pub const ALL: [Irq; 5] = [Irq::Intx, Irq::Msi, Irq::Msix, Irq::Err, Irq::Req];
}

/// A device that this process has, until it is dropped: then VFIO resets it if it can.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
}

impl Device {
    pub(super) fn new(fd: OwnedFd) -> Device {
        Device { fd }
    }

    /// What it says of itself.
    pub fn info(&self) -> Result<Info> {
        // struct vfio_device_info { argsz, flags, num_regions, num_irqs }
        let mut info = Bytes::new(16);
        self.call(GET_INFO, Argument::Bytes(info.as_mut()))?;
        let flags = info.u32(4);
        Ok(Info { resets: flags & FLAG_RESET != 0, pci: flags & FLAG_PCI != 0 })
    }

    /// A region: BAR 0 to 5, [`ROM`], [`CONFIG`].
    pub fn region(&self, index: u32) -> Result<Region> {
        let mut info = Bytes::new(layout::REGION_ROOM).with_u32(8, index);
        self.call(GET_REGION_INFO, Argument::Bytes(info.as_mut()))?;
        Ok(layout::region(info.all()))
    }

    /// Reads bytes of a region through the kernel; gives how many there were.
    pub fn read(&self, region: &Region, at: u64, bytes: &mut [u8]) -> Result<usize> {
        retry_on_intr(|| pread(&self.fd, &mut *bytes, region.offset.saturating_add(at)))
            .map_err(|errno| Failure::Call { call: "pread", errno })
    }

    /// Sees to it that the device decodes memory, as a VM's firmware does; without that, BARs cannot be read.
    pub fn decode_memory(&self) -> Result<()> {
        let config = self.region(CONFIG)?;
        let mut command = [0; 2];
        self.read(&config, COMMAND, &mut command)?;
        let set = u16::from_le_bytes(command) | COMMAND_MEMORY;
        if set.to_le_bytes() == command {
            return Ok(());
        }
        let written = retry_on_intr(|| pwrite(&self.fd, &set.to_le_bytes(), config.offset.saturating_add(COMMAND)));
        written.map(drop).map_err(|errno| Failure::Call { call: "pwrite", errno })
    }

    /// The 32 bits at the start of a region's first window that can be mapped, or at its start by a read through the kernel where
    /// none can. May end the process, see [`Device::decode_memory`]; a device that does not answer gives all ones.
    pub fn first_word(&self, region: &Region) -> Result<Word> {
        let page = page_size() as u64;
        if let Some((at, _)) = region.mappable.iter().find(|(at, bytes)| at % page == 0 && *bytes >= 4) {
            let window = Mapping::window(self.fd.as_fd(), region.offset.saturating_add(*at), page_size())?;
            return window.first().map(|value| Word { value, mapped: true }).ok_or(Failure::NoAddress);
        }
        let mut bytes = [0; 4];
        match self.read(region, 0, &mut bytes)? {
            4 => Ok(Word { value: u32::from_le_bytes(bytes), mapped: false }),
            _ => Err(Failure::Call { call: "pread", errno: Errno::IO }),
        }
    }

    /// How many interrupts of a kind it has.
    pub fn interrupts(&self, irq: Irq) -> Result<u32> {
        // struct vfio_irq_info { argsz, flags, index, count }
        let mut info = Bytes::new(16).with_u32(8, irq as u32);
        match self.call(GET_IRQ_INFO, Argument::Bytes(info.as_mut())) {
            Ok(_) if info.u32(4) & IRQ_EVENTFD == 0 => Ok(0),
            Ok(_) => Ok(info.u32(12)),
            // It has none of this kind (PCIe errors of a device without PCIe).
            Err(Failure::Call { errno: Errno::INVAL, .. }) => Ok(0),
            Err(failure) => Err(failure),
        }
    }

    /// Switches the first interrupt of a kind on, and off again.
    pub fn try_interrupt(&self, irq: Irq) -> Result<()> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Failure::Call { call: "eventfd2", errno })?;
        // struct vfio_irq_set { argsz, flags, index, start, count; data[] }
        let on = Bytes::new(24).with_u32(4, DATA_EVENTFD | TRIGGER).with_u32(8, irq as u32).with_u32(16, 1);
        let mut on = on.with_u32(20, event.as_raw_fd().cast_unsigned());
        self.call(SET_IRQS, Argument::Bytes(on.as_mut()))?;
        // No interrupts at all: that is how a kind is switched off.
        let mut off = Bytes::new(20).with_u32(4, DATA_NONE | TRIGGER).with_u32(8, irq as u32);
        self.call(SET_IRQS, Argument::Bytes(off.as_mut())).map(drop)
    }

    /// Resets this function alone; only where [`Info::resets`].
    pub fn reset(&self) -> Result<()> {
        self.call(RESET, Argument::Nothing).map(drop)
    }

    /// Every function that a reset of the slot or bus would reset, this one included. Not every device can be reset that way:
    /// [`Failure::is_absent`] then.
    pub fn hot_reset_info(&self) -> Result<Vec<Dependent>> {
        let mut info = Bytes::new(layout::HOT_RESET_INFO + layout::DEPENDENTS * layout::DEPENDENT);
        self.call(HOT_RESET_INFO, Argument::Bytes(info.as_mut()))?;
        Ok(layout::dependents(info.all()))
    }

    /// Resets the slot or bus. The groups of all functions there must be given, each open in this process; none of them where the
    /// device was opened by [`super::Iommufd`].
    pub fn hot_reset(&self, groups: &[&Group]) -> Result<()> {
        // struct vfio_pci_hot_reset { argsz, flags, count; s32 group_fds[] }
        let count = u32::try_from(groups.len()).unwrap_or(u32::MAX);
        let mut reset = Bytes::new(layout::HOT_RESET_INFO + 4 * groups.len()).with_u32(8, count);
        for (number, group) in groups.iter().enumerate() {
            reset = reset.with_u32(layout::HOT_RESET_INFO + 4 * number, group.as_fd().as_raw_fd().cast_unsigned());
        }
        self.call(HOT_RESET, Argument::Bytes(reset.as_mut())).map(drop)
    }

    fn call(&self, call: Call, argument: Argument<'_>) -> Result<i32> {
        call.make(self.fd.as_fd(), argument)
    }
}

/// What was read of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The 32 bits.
    pub value: u32,
    /// It was read by a pointer into mapped memory, else through the kernel.
    pub mapped: bool,
}
