//! nova does not see devices in PCI domains above ffff.

use super::intent::Interest;
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::hypervisor::HypervisorKind;

pub(super) const CHECK: Check = Check { ids: &["bdf-out-of-range"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    if !ctx.snap.hypervisor.kinds.iter().any(|(kind, _)| *kind == HypervisorKind::Nova) {
        return Vec::new();
    }
    // `MAX_DOMAIN` and its kin, nova/pci/devspec.py.
    ctx.functions(Interest::Candidate)
        .filter(|f| f.address.domain > 0xffff)
        .map(|f| {
            Finding::new("bdf-out-of-range", Severity::Info, Subject::Function(f.address))
                .value("device", f.name())
                .value("domain", format!("{:x}", f.address.domain))
                .evidence(f.evidence("device", f.ids.known().map(ToString::to_string).unwrap_or_default()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::checks::testing as t;
    use crate::facts::hypervisor::HypervisorKind;

    #[test]
    fn only_for_nova() {
        let mut snap = t::healthy();
        t::add(&mut snap, t::with_driver(t::function("10000:e1:00.0", "8086:0a54", 0x01_0802), "nvme"));
        assert!(t::only(&t::check(&snap), "bdf-out-of-range").is_empty());
        snap.hypervisor.kinds.push((HypervisorKind::Nova, None));
        assert_eq!(t::shown(&t::only(&t::check(&snap), "bdf-out-of-range")), ["info bdf-out-of-range 10000:e1:00.0"]);
    }
}
