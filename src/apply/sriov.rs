//! The number of a physical function's virtual ones, changed while the host runs, and back.
//!
//! `sriov_numvfs` goes from one number to another only through 0, and `sriov_drivers_autoprobe` counts for those that are made afterwards:
//! Linux `Documentation/ABI/testing/sysfs-bus-pci`.

use super::bind::{DRIVERS, hand_over};
use super::execute::{Did, Failure, Work};
use super::journal::{Before, Left, Progress, Record, Virtual};
use crate::host::{Fact, Host};
use crate::parse::address::Address;
use crate::parse::sysfs;

/// The driver that each virtual function gets.
const VFIO: &str = "vfio-pci";
/// More than a device can have.
const MOST: usize = 65535;

/// Gives a physical function this many virtual ones, each on vfio-pci.
pub(super) fn create(work: &mut Work<'_>, step: usize, address: &Address, count: u16) -> Did {
    let number = |name: &str| value(work.host, address, name)?.parse().map_err(|_| unclear(address, name));
    let before =
        Virtual { address: *address, count: number(NUMBER)?, autoprobe: value(work.host, address, AUTOPROBE)? };
    work.intent(step, Before { sriov: Some(before), ..Before::default() })?;
    // What is made later, by whomever, is as the kernel has it by itself (Linux 6.12 drivers/pci/iov.c `sriov_init`).
    set(work, step, address, count, if count == 0 { "1" } else { "0" })?;
    work.note(&Record::Done { step, after: Vec::new() })
}

/// As many as there were before.
pub(super) fn take_back(work: &mut Work<'_>, step: usize, progress: &Progress) -> Did<Vec<Left>> {
    let Some(before) = progress.before.as_ref().and_then(|before| before.sriov.as_ref()) else { return Ok(Vec::new()) };
    // A device that is gone, or that has no driver now, has no virtual functions either.
    if work.host.stat(&file(&before.address, "driver")).is_absent() {
        return Ok(Vec::new());
    }
    set(work, step, &before.address, before.count, &before.autoprobe)?;
    Ok(Vec::new())
}

const NUMBER: &str = "sriov_numvfs";
const AUTOPROBE: &str = "sriov_drivers_autoprobe";

fn file(address: &Address, name: &str) -> String {
    format!("/sys/bus/pci/devices/{address}/{name}")
}

fn unclear(address: &Address, name: &str) -> Failure {
    Failure::new(format!("{} holds no number", file(address, name)))
}

fn value(host: &dyn Host, address: &Address, name: &str) -> Did<String> {
    match host.value(&file(address, name)) {
        Fact::Known(value) => Ok(value),
        Fact::Absent => Err(Failure::new(format!("{address} offers no SR-IOV any more"))),
        Fact::Unknown(why) => Err(Failure::new(format!("cannot read {}: {why}", file(address, name)))),
    }
}

fn set(work: &mut Work<'_>, step: usize, address: &Address, count: u16, autoprobe: &str) -> Did {
    if count > 0 && work.host.stat(&format!("{DRIVERS}/{VFIO}")).is_absent() {
        work.run(&["modprobe", "--", VFIO].map(str::to_owned), &format!("{step}-modprobe"))?;
    }
    write(work, address, AUTOPROBE, autoprobe)?;
    let wanted = count.to_string();
    let now = value(work.host, address, NUMBER)?;
    if now != wanted && now != "0" {
        write(work, address, NUMBER, "0")?;
    }
    if now != wanted && count > 0 {
        write(work, address, NUMBER, &wanted)?;
    }
    let now = value(work.host, address, NUMBER)?;
    if now != wanted {
        return Err(Failure::new(format!("{address} has {now} virtual functions, not {wanted}")));
    }
    for function in
        (0..MOST).map_while(|number| work.host.link(&file(address, &format!("virtfn{number}"))).into_known())
    {
        if let Some(function) = sysfs::functions_in(&function).last() {
            hand_over(work.host, function, VFIO, Some(VFIO)).map_err(|error| Failure::new(error.to_string()))?;
        }
    }
    Ok(())
}

fn write(work: &Work<'_>, address: &Address, name: &str, text: &str) -> Did {
    let written = work.host.write_attribute(&file(address, name), text);
    written.map_err(|error| Failure::new(error.to_string()))
}
