//! The device interface: `/dev/iommu` and `/dev/vfio/devices/vfioN`, Linux 6.6 and newer where `CONFIG_VFIO_DEVICE_CDEV` is set
//! (`Documentation/driver-api/vfio.rst`, `drivers/vfio/device_cdev.c`, `drivers/iommu/iommufd/`).

use super::call::{Argument, Call};
use super::device::Device;
use super::layout::Bytes;
use super::memory::{Mapping, page_size};
use super::{DmaTried, Failure, Result, open};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;

const BIND_IOMMUFD: Call = Call { name: "VFIO_DEVICE_BIND_IOMMUFD", number: 118 };
const ATTACH_PT: Call = Call { name: "VFIO_DEVICE_ATTACH_IOMMUFD_PT", number: 119 };
const IOAS_ALLOC: Call = Call { name: "IOMMU_IOAS_ALLOC", number: 0x81 };
const IOAS_MAP: Call = Call { name: "IOMMU_IOAS_MAP", number: 0x85 };
const IOAS_UNMAP: Call = Call { name: "IOMMU_IOAS_UNMAP", number: 0x86 };

/// `IOMMU_IOAS_MAP_WRITEABLE`, `IOMMU_IOAS_MAP_READABLE`; without `IOMMU_IOAS_MAP_FIXED_IOVA` the kernel chooses an allowed address.
const READ_WRITE: u32 = 2 | 4;

/// An address space for devices. Dropping it and its devices gives everything back, in any order.
#[derive(Debug)]
pub struct Iommufd {
    fd: OwnedFd,
    ioas: u32,
}

impl Iommufd {
    /// Opens `/dev/iommu` and makes an address space; [`Failure::Absent`] where the kernel has no such interface.
    pub fn open() -> Result<Iommufd> {
        let fd = open("/dev/iommu")?;
        // struct iommu_ioas_alloc { size, flags, out_ioas_id }
        let mut alloc = Bytes::new(12);
        IOAS_ALLOC.make(fd.as_fd(), Argument::Bytes(alloc.as_mut()))?;
        Ok(Iommufd { fd, ioas: alloc.u32(8) })
    }

    /// Opens a device by its number below `/dev/vfio/devices/`, which its directory `vfio-dev` in sysfs names, and gives it the
    /// address space. Binding resets the device if it can.
    pub fn device(&self, number: u32) -> Result<Device> {
        let fd = open(&format!("/dev/vfio/devices/vfio{number}"))?;
        // struct vfio_device_bind_iommufd { argsz, flags; s32 iommufd; u32 out_devid }
        let mut bind = Bytes::new(16).with_u32(8, self.fd.as_raw_fd().cast_unsigned());
        BIND_IOMMUFD.make(fd.as_fd(), Argument::Bytes(bind.as_mut())).map_err(|failure| match failure {
            // Another process has bound it, or has its group (`vfio_df_ioctl_bind_iommufd`, `iommu_device_claim_dma_owner`).
            Failure::Call { errno: Errno::BUSY, .. } => Failure::Busy(format!("/dev/vfio/devices/vfio{number}")),
            Failure::Call { errno: Errno::PERM, .. } => Failure::NotIsolated,
            other => other,
        })?;
        // struct vfio_device_attach_iommufd_pt { argsz, flags, pt_id }
        let mut attach = Bytes::new(12).with_u32(8, self.ioas);
        ATTACH_PT.make(fd.as_fd(), Argument::Bytes(attach.as_mut())).map_err(|failure| match failure {
            Failure::Call { errno: Errno::PERM, .. } => Failure::NotIsolated,
            other => other,
        })?;
        Ok(Device::new(fd))
    }

    /// Maps one page for DMA, and takes the mapping back. A device should be attached: only then is there an IOMMU behind it.
    pub fn try_dma(&self) -> Result<DmaTried> {
        let page = Mapping::page()?;
        let size = page_size() as u64;
        // struct iommu_ioas_map { size, flags, ioas_id, reserved; u64 user_va, length, iova }
        let map = Bytes::new(40).with_u32(4, READ_WRITE).with_u32(8, self.ioas);
        let mut map = map.with_u64(16, page.address()).with_u64(24, size);
        IOAS_MAP.make(self.fd.as_fd(), Argument::Bytes(map.as_mut()))?;
        let iova = map.u64(32);
        // struct iommu_ioas_unmap { size, ioas_id; u64 iova, length }
        let mut unmap = Bytes::new(24).with_u32(4, self.ioas).with_u64(8, iova).with_u64(16, size);
        IOAS_UNMAP.make(self.fd.as_fd(), Argument::Bytes(unmap.as_mut()))?;
        Ok(DmaTried { iova, size, unmapped: unmap.u64(16) })
    }
}
