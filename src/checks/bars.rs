//! Memory regions of a device: one that could be larger, one that got no address.

use super::device::is_virtual_function;
use super::intent::Interest;
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::pci::{Bar, Function, Seen};

pub(super) const CHECK: Check = Check { ids: &["bar-resizable", "bridge-window-too-small"], run };

/// `IORESOURCE_MEM` and `IORESOURCE_UNSET` (include/linux/ioport.h).
const MEMORY: u64 = 0x200;
const UNSET: u64 = 0x2000_0000;

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for function in ctx.functions(Interest::Candidate) {
        if is_virtual_function(function) || function.is_bridge() || function.seen != Seen::Sysfs {
            continue;
        }
        findings.extend(unplaced(ctx, function));
        if ctx.interest(&function.address) >= Interest::Configured {
            findings.extend(resizable(function));
        }
    }
    findings
}

/// The kernel found no room for a BAR: the windows of the bridges above are too small.
fn unplaced(ctx: &Ctx<'_>, function: &Function) -> Option<Finding> {
    let lost = |bar: &&Bar| {
        bar.index < 6 && bar.start == 0 && bar.size > 0 && bar.flags & MEMORY != 0 && bar.flags & UNSET != 0
    };
    let bar = function.bars.known()?.iter().find(lost)?;
    let asked = ctx.interest(&function.address) >= Interest::Configured;
    let parent = function.parent.known().map(ToString::to_string).unwrap_or_default();
    let line = format!("0x{:016x} 0x{:016x} 0x{:016x}", bar.start, bar.start.saturating_add(bar.size - 1), bar.flags);
    Some(
        Finding::new(
            "bridge-window-too-small",
            if asked { Severity::Error } else { Severity::Warning },
            Subject::Function(function.address),
        )
        .variant(if parent.is_empty() { "root" } else { "" })
        .value("device", function.name())
        .value("bar", bar.index)
        .value("size", size(bar.size))
        .value("bridge", parent)
        .evidence(function.evidence("resource", line)),
    )
}

fn resizable(function: &Function) -> Option<Finding> {
    let bars = function.bars.known()?;
    let larger = function.resizable.known()?.iter().find_map(|can| {
        // Bit n stands for 2^n MiB (sysfs `resourceN_resize`, Documentation/ABI/testing/sysfs-bus-pci).
        let most = 1u64.checked_shl(can.sizes.checked_ilog2()? + 20)?;
        let now = bars.iter().find(|bar| bar.index == can.index)?.size;
        (now > 0 && most > now).then_some((can, now, most))
    });
    let (can, now, most) = larger?;
    Some(
        Finding::new("bar-resizable", Severity::Info, Subject::Function(function.address))
            .value("device", function.name())
            .value("address", function.address)
            .value("bar", can.index)
            .value("now", size(now))
            .value("most", size(most))
            .evidence(function.evidence(&format!("resource{}_resize", can.index), format!("{:016x}", can.sizes))),
    )
}

/// `256 MiB`, `16 GiB`.
fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 && b % (1 << 30) == 0 => format!("{} GiB", b >> 30),
        b if b >= 1 << 20 => format!("{} MiB", b >> 20),
        b => format!("{} KiB", b >> 10),
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::Snapshot;
    use crate::facts::pci::{Bar, Resizable};
    use crate::host::Fact;

    fn found(snap: &Snapshot, devices: &[&str]) -> Vec<String> {
        let ours = t::check_for(snap, devices).into_iter();
        t::shown(&ours.filter(|f| f.id.contains("bar") || f.id.contains("bridge-window")).collect::<Vec<_>>())
    }

    #[test]
    fn a_bar_that_could_be_larger() {
        let mut snap = t::healthy();
        t::change(&mut snap, GPU, |f| {
            f.bars = Fact::Known(vec![Bar { index: 1, start: 0x40_0000_0000, size: 256 << 20, flags: 0x14_220c }]);
            f.resizable = Fact::Known(vec![Resizable { index: 1, sizes: 0x7f00 }]);
        });
        assert!(found(&snap, &[]).is_empty());
        assert_eq!(found(&snap, &[GPU]), ["info bar-resizable 0000:01:00.0"]);
        t::change(&mut snap, GPU, |f| f.resizable = Fact::Known(vec![Resizable { index: 1, sizes: 0x100 }]));
        assert!(found(&snap, &[GPU]).is_empty());
    }

    #[test]
    fn a_bar_without_a_place() {
        let mut snap = t::healthy();
        let mut set = |index, flags| {
            t::change(&mut snap, GPU, |f| f.bars = Fact::Known(vec![Bar { index, start: 0, size: 32 << 30, flags }]));
            found(&snap, &[])
        };
        assert_eq!(set(1, 0x2014_220c), ["warning bridge-window-too-small 0000:01:00.0"]);
        assert!(set(6, 0x2004_6200).is_empty(), "a ROM without address is common");
        assert!(set(5, 0x2004_0101).is_empty(), "so are I/O ports");
        assert!(set(1, 0x0014_220c).is_empty());
    }
}
