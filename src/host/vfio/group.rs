//! The group interface: `/dev/vfio/vfio` and `/dev/vfio/GROUP` (Linux `Documentation/driver-api/vfio.rst`, `drivers/vfio/container.c`,
//! `drivers/vfio/group.c`, `drivers/vfio/vfio_iommu_type1.c`).

use super::call::{Argument, Call};
use super::device::Device;
use super::layout::{self, Bytes};
use super::memory::{Mapping, page_size};
use super::{DmaTried, Failure, Result, open};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

const GET_API_VERSION: Call = Call { name: "VFIO_GET_API_VERSION", number: 100 };
const CHECK_EXTENSION: Call = Call { name: "VFIO_CHECK_EXTENSION", number: 101 };
const SET_IOMMU: Call = Call { name: "VFIO_SET_IOMMU", number: 102 };
const GROUP_GET_STATUS: Call = Call { name: "VFIO_GROUP_GET_STATUS", number: 103 };
const GROUP_SET_CONTAINER: Call = Call { name: "VFIO_GROUP_SET_CONTAINER", number: 104 };
const GROUP_GET_DEVICE_FD: Call = Call { name: "VFIO_GROUP_GET_DEVICE_FD", number: 106 };
const IOMMU_GET_INFO: Call = Call { name: "VFIO_IOMMU_GET_INFO", number: 112 };
const MAP_DMA: Call = Call { name: "VFIO_IOMMU_MAP_DMA", number: 113 };
const UNMAP_DMA: Call = Call { name: "VFIO_IOMMU_UNMAP_DMA", number: 114 };

/// `VFIO_API_VERSION`.
const API_VERSION: i32 = 0;
/// `VFIO_TYPE1v2_IOMMU`, and `VFIO_TYPE1_IOMMU` of kernels before 3.10.
const TYPE1: [usize; 2] = [3, 1];
/// `VFIO_GROUP_FLAGS_VIABLE`.
const VIABLE: u32 = 1;
/// `VFIO_DMA_MAP_FLAG_READ`, `VFIO_DMA_MAP_FLAG_WRITE`.
const READ_WRITE: u32 = 3;

/// An IOMMU group that this process owns, until it is dropped.
#[derive(Debug)]
pub struct Group {
    fd: OwnedFd,
    number: u32,
}

impl Group {
    /// Opens `/dev/vfio/NUMBER`. It is `Busy` while another process has it, and not viable while a function of it is on a driver
    /// that is not vfio's.
    pub fn open(number: u32) -> Result<Group> {
        let group = Group { fd: open(&format!("/dev/vfio/{number}"))?, number };
        // struct vfio_group_status { argsz, flags }
        let mut status = Bytes::new(8);
        GROUP_GET_STATUS.make(group.fd.as_fd(), Argument::Bytes(status.as_mut()))?;
        if status.u32(4) & VIABLE == 0 {
            return Err(Failure::NotViable(number));
        }
        Ok(group)
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Opens a function of it by its address (`0000:01:00.0`), which resets the function if it can. The group must be in a container
    /// that has its IOMMU.
    pub fn device(&self, address: &str) -> Result<Device> {
        let mut name = address.as_bytes().to_vec();
        name.push(0);
        GROUP_GET_DEVICE_FD.make_fd(self.fd.as_fd(), Argument::Bytes(&mut name)).map(Device::new)
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An address space for groups. Dropping it, its groups and their devices gives everything back, in any order.
#[derive(Debug)]
pub struct Container {
    fd: OwnedFd,
    iommu: usize,
}

impl Container {
    /// Opens `/dev/vfio/vfio` and asks whether it is what this program knows.
    pub fn open() -> Result<Container> {
        let fd = open("/dev/vfio/vfio")?;
        if GET_API_VERSION.make(fd.as_fd(), Argument::Nothing)? != API_VERSION {
            return Err(Failure::Call { call: GET_API_VERSION.name, errno: Errno::PROTO });
        }
        for iommu in TYPE1 {
            if CHECK_EXTENSION.make(fd.as_fd(), Argument::Number(iommu))? > 0 {
                return Ok(Container { fd, iommu });
            }
        }
        Err(Failure::NoIommuDriver)
    }

    /// Puts a group into it.
    pub fn add(&self, group: &Group) -> Result<()> {
        let mut number = self.fd.as_raw_fd().to_ne_bytes();
        let added = GROUP_SET_CONTAINER.make(group.as_fd(), Argument::Bytes(&mut number));
        added.map(drop).map_err(refused)
    }

    /// Gives it its IOMMU; a group must be in it. `NotIsolated` is explained there.
    pub fn set_iommu(&self) -> Result<()> {
        SET_IOMMU.make(self.fd.as_fd(), Argument::Number(self.iommu)).map(drop).map_err(refused)
    }

    /// Addresses for DMA, as (first, last). Empty where the kernel does not say.
    pub fn iova_ranges(&self) -> Result<Vec<(u64, u64)>> {
        let mut info = Bytes::new(layout::TYPE1_ROOM);
        IOMMU_GET_INFO.make(self.fd.as_fd(), Argument::Bytes(info.as_mut()))?;
        Ok(layout::iova_ranges(info.all()))
    }

    /// Maps one page for DMA, and takes the mapping back.
    pub fn try_dma(&self) -> Result<DmaTried> {
        let page = Mapping::page()?;
        let size = page_size() as u64;
        let iova = layout::free_page(&self.iova_ranges()?, size).ok_or(Failure::NoAddress)?;
        // struct vfio_iommu_type1_dma_map { argsz, flags; u64 vaddr, iova, size }
        let map = Bytes::new(32).with_u32(4, READ_WRITE);
        let mut map = map.with_u64(8, page.address()).with_u64(16, iova).with_u64(24, size);
        MAP_DMA.make(self.fd.as_fd(), Argument::Bytes(map.as_mut()))?;
        // struct vfio_iommu_type1_dma_unmap { argsz, flags; u64 iova, size }
        let mut unmap = Bytes::new(24).with_u64(8, iova).with_u64(16, size);
        UNMAP_DMA.make(self.fd.as_fd(), Argument::Bytes(unmap.as_mut()))?;
        Ok(DmaTried { iova, size, unmapped: unmap.u64(16) })
    }
}

fn refused(failure: Failure) -> Failure {
    match failure {
        Failure::Call { errno: Errno::PERM, .. } => Failure::NotIsolated,
        other => other,
    }
}
