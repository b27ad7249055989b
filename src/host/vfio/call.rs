//! The one place where an ioctl is made.
//!
//! Goes in: an open node, the number of a call, its argument as bytes ([`super::layout`]). Comes out: what the kernel returned, and
//! the argument as the kernel left it.

use super::{Failure, Result};
use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd};
use rustix::ioctl::{self, IoctlOutput, Opcode, opcode};
use std::ffi::c_void;

/// A call of `include/uapi/linux/vfio.h` or `include/uapi/linux/iommufd.h`: all of them are `_IO(';', number)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// As the header names it.
    pub(super) name: &'static str,
    pub(super) number: u8,
}

/// What a call takes.
pub(super) enum Argument<'a> {
    Nothing,
    Number(usize),
    /// A struct of the kernel's. Where it begins with its own size, that must be the length of this.
    Bytes(&'a mut [u8]),
}

impl Call {
    /// Makes the call. What it returns is never negative.
    pub(super) fn make(self, fd: BorrowedFd<'_>, argument: Argument<'_>) -> Result<i32> {
        let pointer = match argument {
            Argument::Nothing => std::ptr::null_mut(),
            Argument::Number(number) => std::ptr::without_provenance_mut(number),
            Argument::Bytes(bytes) => bytes.as_mut_ptr().cast(),
        };
        self.ioctl(fd, pointer).map_err(|errno| Failure::Call { call: self.name, errno })
    }

    /// Makes a call that returns a new descriptor.
    #[expect(unsafe_code, reason = "the kernel gives the descriptor as a number")]
    pub(super) fn make_fd(self, fd: BorrowedFd<'_>, argument: Argument<'_>) -> Result<OwnedFd> {
        let raw = self.make(fd, argument)?;
        // SAFETY: the call has just opened this descriptor (VFIO_GROUP_GET_DEVICE_FD), and nobody else knows its number.
        Ok(unsafe { OwnedFd::from_raw_fd(raw) })
    }

    #[expect(unsafe_code, reason = "an ioctl takes a pointer")]
    fn ioctl(self, fd: BorrowedFd<'_>, pointer: *mut c_void) -> rustix::io::Result<IoctlOutput> {
        // SAFETY: the pointer is null, a number, or leads to bytes that `make` borrows until the call returns. The kernel reads and
        // writes no more of them than the size that they begin with, which is their length (`super::layout::Bytes` sees to that;
        // the two structs that do not begin with their size have one fixed size). Addresses within them are those of pages that
        // `super::memory` owns and that nothing else refers to.
        unsafe { ioctl::ioctl(fd, Raw { opcode: opcode::none(b';', self.number), pointer }) }
    }
}

/// An ioctl as rustix takes it.
struct Raw {
    opcode: Opcode,
    pointer: *mut c_void,
}

#[expect(unsafe_code, reason = "rustix asks for the promise that `Call::ioctl` gives")]
// SAFETY: see `Call::ioctl`; nothing is made of the pointer after the call.
unsafe impl ioctl::Ioctl for Raw {
    type Output = IoctlOutput;
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.pointer
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<IoctlOutput> {
        Ok(out)
    }
}
