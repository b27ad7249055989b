//! The ROM that sysfs gives for the boot display is the copy that the firmware keeps in low memory, not the card's.

use super::device::is_integrated;
use super::intent::Interest;
use super::rom::is_shadow;
use super::{Check, Ctx, Finding, Severity, Subject};

pub(super) const CHECK: Check = Check { ids: &["rom-shadowed"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    ctx.functions(Interest::Configured)
        .filter_map(|f| {
            let bar = f.bars.known()?.iter().find(|bar| is_shadow(bar))?;
            let line = format!("0x{:016x} 0x{:016x} 0x{:016x}", bar.start, bar.start + bar.size - 1, bar.flags);
            Some(
                Finding::new("rom-shadowed", Severity::Info, Subject::Function(f.address))
                    .variant(if is_integrated(&ctx.snap.pci, f) { "integrated" } else { "" })
                    .value("device", f.name())
                    .value("address", f.address)
                    .evidence(f.evidence("resource", line)),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::pci::Bar;
    use crate::host::Fact;

    #[test]
    fn known_by_its_place_in_low_memory() {
        let mut snap = t::healthy();
        let rom = |start, size| Fact::Known(vec![Bar { index: 6, start, size, flags: 0x212 }]);
        t::change(&mut snap, GPU, |f| f.bars = rom(0xc_0000, 0x2_0000));
        assert_eq!(
            t::shown(&t::only(&t::check_for(&snap, &[GPU]), "rom-shadowed")),
            ["info rom-shadowed 0000:01:00.0"]
        );
        assert!(t::only(&t::check(&snap), "rom-shadowed").is_empty());
        t::change(&mut snap, t::IGPU, |f| f.bars = rom(0xc_0000, 0x2_0000));
        assert_eq!(
            t::shown(&t::only(&t::check_for(&snap, &[t::IGPU]), "rom-shadowed")),
            ["info rom-shadowed/integrated 0000:00:02.0"]
        );
        t::change(&mut snap, GPU, |f| f.bars = rom(0xa100_0000, 0x8_0000));
        assert!(t::only(&t::check_for(&snap, &[GPU]), "rom-shadowed").is_empty());
    }
}
