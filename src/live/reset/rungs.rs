//! Each rung of the ladder, done.

use crate::error::Result;
use crate::host::Fact;
use crate::live::dir;
use crate::live::hand_over::{Desk, LONG, Move, Removed, command, long_write};
use crate::parse::address::Address;
use crate::plan::reset::{Ladder, Rung};
use std::io;

/// Does it. The inner error is why it does not help; the outer one, that something could not be set back.
pub(super) fn take(desk: &Desk<'_>, rung: &Rung, ladder: &Ladder) -> Result<io::Result<()>> {
    let Some(main) = ladder.functions.first() else { return Ok(Ok(())) };
    let host = desk.host();
    Ok(match rung {
        Rung::Method(name) => return methods(desk, main, &ladder.functions, name),
        Rung::Kernel => long_write(host, &format!("{}/reset", dir(main)), "1"),
        // In a process of its own: it has the groups open while it waits for the kernel, and may hang with the device.
        Rung::Hot => {
            // Where kmod did not load it after vfio (its soft dependency), nothing can be opened.
            let _ = command(host, &["modprobe", "--", "vfio_iommu_type1"], LONG);
            command(host, &["/proc/self/exe", "reset", "--inside", &main.to_string()], LONG)
        }
        Rung::Subordinate(bridge) => {
            let path = format!("{}/reset_subordinate", dir(bridge));
            match host.exists(&path) {
                Fact::Known(true) => long_write(host, &path, "1"),
                _ => Err(io::Error::other("this kernel has no reset_subordinate (Linux 6.13 has)")),
            }
        }
        Rung::Rescan(bridge) => {
            let removed = Move::Removed(Removed::of(host, &ladder.touched, *bridge));
            return desk.during(vec![removed], || Ok(()));
        }
    })
}

/// The method for the function that is reset, and for each of the others that lists it.
fn methods(desk: &Desk<'_>, main: &Address, functions: &[Address], name: &str) -> Result<io::Result<()>> {
    for address in functions {
        let listed = desk.host().value(&format!("{}/reset_method", dir(address))).into_known().unwrap_or_default();
        if address == main || listed.split_whitespace().any(|known| known == name) {
            let done = method(desk, address, name)?;
            if done.is_err() {
                return Ok(done);
            }
        }
    }
    Ok(Ok(()))
}

/// One method alone: `reset` tries those that `reset_method` lists, one after the other.
fn method(desk: &Desk<'_>, main: &Address, name: &str) -> Result<io::Result<()>> {
    let host = desk.host();
    let path = format!("{}/reset_method", dir(main));
    let reset = || long_write(host, &format!("{}/reset", dir(main)), "1");
    let listed = host.value(&path).into_known().unwrap_or_default();
    if listed == name {
        return Ok(reset());
    }
    if listed.split_whitespace().any(|known| known == name) {
        return desk.during(vec![Move::Attribute { path, to: name.to_owned(), from: listed }], reset);
    }
    // vendor-reset's method stays chosen: without that the kernel would not use it for the next VM.
    Ok(host.write_attribute(&path, format!("{name} {listed}").trim_end()).and_then(|()| reset()))
}
