//! vfio-pci has this device on its list of what it does not take.

use super::device::is_endpoint;
use super::intent::Interest;
use super::{Check, Ctx, Finding, Severity, Subject, quirks};
use crate::facts::pci::Function;

pub(super) const CHECK: Check = Check { ids: &["device-denylisted"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let parameter = ctx.snap.kernel.parameters.get(&("vfio_pci".to_owned(), "disable_denylist".to_owned()));
    if parameter.is_some_and(|value| value.trim() == "Y") {
        return Vec::new();
    }
    let refused = |f: &&Function| is_endpoint(f) == Some(true) && !f.on_vfio();
    ctx.functions(Interest::Configured)
        .filter(refused)
        .filter_map(|f| {
            let ids = *f.ids.known()?;
            let row = quirks::denied(ids)?;
            Some(
                Finding::new("device-denylisted", Severity::Error, Subject::Function(f.address))
                    .variant("known")
                    .value("device", f.name())
                    .value("family", &row.name)
                    .value("source", &row.source)
                    .evidence(f.evidence("device", ids.to_string())),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::checks::testing as t;

    #[test]
    fn only_when_somebody_wants_it() {
        let mut snap = t::healthy();
        t::add(&mut snap, t::with_driver(t::function("0000:3d:00.0", "8086:37c8", 0x0b_4000), "c6xx"));
        assert!(t::check(&snap).iter().all(|f| f.id != "device-denylisted"));
        let found =
            |snap: &crate::facts::Snapshot| t::only(&t::check_for(snap, &["0000:3d:00.0"]), "device-denylisted").len();
        assert_eq!(found(&snap), 1);
        snap.kernel.parameters.insert(("vfio_pci".into(), "disable_denylist".into()), "Y".into());
        assert_eq!(found(&snap), 0);
    }
}
