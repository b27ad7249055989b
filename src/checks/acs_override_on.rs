//! Groups that are only pretended to be separate.

use super::{Check, Ctx, Finding, Severity, Subject, words};
use crate::facts::Snapshot;
use crate::host::Fact;

pub(super) const CHECK: Check = Check { ids: &["acs-override-on"], run };

/// What the out-of-tree patch prints when its parameter is set.
const PATCH_SAYS: &str = "PCIe ACS overrides enabled";

/// Whether the running kernel carries the ACS override patch: by its symbol, by its message, by the kernel's own list
/// of unknown words (Linux init/main.c `print_unknown_bootoptions`), or because every kernel of this maker does
/// (Proxmox: patch "pci: Enable overrides for missing ACS capabilities" of pve-kernel).
pub(crate) fn carried(snap: &Snapshot) -> Option<bool> {
    if let Fact::Known(carried) = snap.kernel.acs_override {
        return Some(carried);
    }
    if !words::log_lines(snap, PATCH_SAYS, 1).is_empty() {
        return Some(true);
    }
    let unknown = words::log_lines(snap, "Unknown kernel command line parameters", 4);
    if unknown.iter().any(|line| line.text.contains("pcie_acs_override")) {
        return Some(false);
    }
    snap.kernel.release.known().is_some_and(|release| release.ends_with("-pve")).then_some(true)
}

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let snap = ctx.snap;
    let line = words::running(snap);
    let Some(word) = line.find("pcie_acs_override").filter(|word| word.list().any(|item| !item.is_empty())) else {
        return Vec::new();
    };
    if carried(snap) != Some(true) {
        return Vec::new(); // cmdline-word-without-effect says what it is then.
    }
    let mut finding = Finding::new("acs-override-on", Severity::Warning, Subject::Host)
        .variant(if word.list().all(|item| item.starts_with("id:")) { "ids" } else { "" })
        .value("word", word.text);
    for line in words::log_lines(snap, PATCH_SAYS, 1) {
        finding = finding.evidence(line);
    }
    if let Some(found) = words::all(snap).into_iter().find(|other| other.name == "pcie_acs_override" && other.running) {
        finding.evidence.extend(found.evidence);
    }
    vec![finding]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;
    use crate::host::Why;

    #[test]
    fn only_where_the_kernel_carries_the_patch() {
        for (carried, expected) in [(Fact::Known(true), 1), (Fact::Known(false), 0)] {
            let mut snap = healthy();
            cmdline(&mut snap, "quiet pcie_acs_override=downstream,multifunction");
            snap.kernel.acs_override = carried;
            assert_eq!(only(&check(&snap), "acs-override-on").len(), expected);
        }
        let mut snap = healthy();
        cmdline(&mut snap, "quiet pcie_acs_override=id:8086:460d");
        snap.kernel.acs_override = Fact::Unknown(Why::NotRecorded);
        assert_eq!(only(&check(&snap), "acs-override-on")[0].variant, "ids");
        release(&mut snap, "6.12.63+deb13-amd64");
        assert!(only(&check(&snap), "acs-override-on").is_empty());
        cmdline(&mut snap, "quiet pcie_acs_override=");
        assert!(only(&check(&snap), "acs-override-on").is_empty());
    }
}
