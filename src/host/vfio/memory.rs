//! Memory that is shared with a device or the kernel: one page for DMA, a window of a BAR.

use super::{Failure, Result};
use rustix::fd::BorrowedFd;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::ffi::c_void;

/// A page, as the kernel counts them.
pub(super) fn page_size() -> usize {
    rustix::param::page_size()
}

/// Mapped memory; given back when dropped. No reference into it is ever made.
#[derive(Debug)]
pub(super) struct Mapping {
    start: *mut c_void,
    length: usize,
}

impl Mapping {
    /// One page of this process, for DMA.
    #[expect(unsafe_code, reason = "mmap")]
    pub(super) fn page() -> Result<Mapping> {
        let length = page_size();
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no other memory.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), length, protection, MapFlags::PRIVATE) };
        Ok(Mapping { start: start.map_err(|errno| Failure::Call { call: "mmap", errno })?, length })
    }

    /// A window of a device's memory, to be read.
    #[expect(unsafe_code, reason = "mmap")]
    pub(super) fn window(fd: BorrowedFd<'_>, offset: u64, length: usize) -> Result<Mapping> {
        // SAFETY: as above.
        let start = unsafe { mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, fd, offset) };
        Ok(Mapping { start: start.map_err(|errno| Failure::Call { call: "mmap", errno })?, length })
    }

    /// Where it is in this process.
    pub(super) fn address(&self) -> u64 {
        self.start.addr() as u64
    }

    /// Its first 32 bits, in one access, as devices expect it. Ends the process with SIGBUS where the device decodes no memory (Linux
    /// `drivers/vfio/pci/vfio_pci_core.c` `vfio_pci_mmap_fault`).
    #[expect(unsafe_code, reason = "registers of a device are read through a pointer")]
    pub(super) fn first(&self) -> Option<u32> {
        // SAFETY: the mapping starts at a page's start and has at least 4 bytes; a device may change them, hence volatile.
        (self.length >= 4).then(|| unsafe { self.start.cast::<u32>().read_volatile() })
    }
}

impl Drop for Mapping {
    #[expect(unsafe_code, reason = "munmap")]
    fn drop(&mut self) {
        // SAFETY: it is this mapping, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start, self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::{Mapping, page_size};

    #[test]
    fn a_new_page_is_empty() {
        let page = Mapping::page().unwrap();
        assert_eq!(page.first(), Some(0));
        assert_eq!(page.address() % page_size() as u64, 0);
    }
}
