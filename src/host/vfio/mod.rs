//! VFIO, as a hypervisor uses it: the only place with ioctls.
//!
//! Goes in: a group's number or a device's, an address. Comes out: an open [`Device`], and what it can do. By groups: [`Container::open`],
//! [`Group::open`], [`Container::add`], [`Container::set_iommu`], [`Group::device`]. By iommufd: [`Iommufd::open`], [`Iommufd::device`].
//! Nothing lasts: what is dropped is given back, and the kernel does the same for a process that ends.
//!
//! Each call can take seconds (a device is reset when it is opened and closed), never return (a device that hangs), or end the
//! process (SIGBUS at a BAR that is not decoded): who is to survive that calls from a child process.

mod call;
mod device;
mod group;
mod iommufd;
mod layout;
mod memory;

pub use device::{CONFIG, Device, Info, Irq, ROM, Word};
pub use group::{Container, Group};
pub use iommufd::Iommufd;
pub use layout::{Dependent, Owner, Region};

use super::tree::describe;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// There is no such node: the driver is not loaded, the device is not on it, or the kernel has no such interface.
    #[error("there is no {0}")]
    Absent(String),
    /// Another process has it.
    #[error("another process has {0} open")]
    Busy(String),
    /// Not root.
    #[error("no permission for {0}")]
    NotPermitted(String),
    /// A function of the group is on a driver that is not vfio's.
    #[error("IOMMU group {0} is not viable: not every function of it is on a vfio driver")]
    NotViable(u32),
    /// The kernel has VFIO, and no driver for this machine's IOMMU behind it.
    #[error("VFIO has no driver for the IOMMU: modprobe vfio_iommu_type1")]
    NoIommuDriver,
    /// The kernel says EPERM where the device gets its IOMMU: its interrupts are not isolated (`vfio_iommu_type1_attach_group`,
    /// `iommufd_device_setup_msi`), or firmware uses memory through it (Linux 6.1 `intel_iommu_attach_device`).
    #[error("the IOMMU refuses the device: no interrupt remapping, or firmware uses memory through it")]
    NotIsolated,
    /// No address is free for DMA, or a BAR has no word that could be read.
    #[error("there is no address for it")]
    NoAddress,
    /// Another call failed.
    #[error("{call}: {}", describe(*.errno))]
    Call {
        /// Its name in `linux/vfio.h` or `linux/iommufd.h`, or of the system call.
        call: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

impl Failure {
    /// Is there simply no such thing, by what the kernel says? ENODEV: no way to reset (`vfio_pci_ioctl_get_pci_hot_reset_info`).
    /// ENOTTY: a call that this driver does not know.
    pub fn is_absent(&self) -> bool {
        matches!(self, Failure::Absent(_) | Failure::Call { errno: Errno::NODEV | Errno::NOTTY, .. })
    }
}

/// A result whose error says which call failed, and why.
pub type Result<T> = std::result::Result<T, Failure>;

/// A page that was mapped for DMA, and unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaTried {
    /// Where the device would have seen it.
    pub iova: u64,
    /// Bytes of the page.
    pub size: u64,
    /// Bytes that the kernel says to have unmapped.
    pub unmapped: u64,
}

/// Opens a node.
fn open(path: &str) -> Result<OwnedFd> {
    openat(CWD, path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| match errno {
        // ENODEV, ENXIO: a node that is there without its driver.
        Errno::NOENT | Errno::NODEV | Errno::NXIO => Failure::Absent(path.to_owned()),
        Errno::BUSY => Failure::Busy(path.to_owned()),
        Errno::ACCESS | Errno::PERM => Failure::NotPermitted(path.to_owned()),
        errno => Failure::Call { call: "open", errno },
    })
}

#[cfg(test)]
mod tests {
    use super::{Failure, open};
    use rustix::io::Errno;

    #[test]
    fn failures_say_what_was_tried() {
        let absent = open("/dev/vfio/no such group").unwrap_err();
        assert_eq!(absent.to_string(), "there is no /dev/vfio/no such group");
        assert!(absent.is_absent());
        let failed = Failure::Call { call: "VFIO_DEVICE_RESET", errno: Errno::INVAL };
        assert_eq!(failed.to_string(), "VFIO_DEVICE_RESET: invalid argument");
        assert!(!failed.is_absent());
    }
}
