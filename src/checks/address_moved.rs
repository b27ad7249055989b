//! A Proxmox mapping that a VM of this host uses names an address where another device is now.

use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::Evidence;
use crate::facts::hypervisor::Asked;
use crate::facts::pci::Function;
use crate::parse::address::Address;
use std::collections::BTreeSet;

pub(super) const CHECK: Check = Check { ids: &["address-moved"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let snap = ctx.snap;
    let mut names = BTreeSet::new();
    for device in snap.hypervisor.vms.iter().flat_map(|vm| &vm.devices) {
        if let Asked::Mapping(name) = &device.asked {
            names.insert(name.as_str());
        }
    }
    let mut findings = Vec::new();
    for file in snap.hypervisor.files.iter().filter(|file| file.path.ends_with("/mapping/pci.cfg")) {
        for name in &names {
            let lines: Vec<Line<'_>> = mapping(&file.text, name);
            // The lines of other nodes cannot be told apart by their node's name. If one fits, it is this host's.
            if lines.is_empty() || lines.iter().any(|line| line.here(&snap.pci.functions) == Some(true)) {
                continue;
            }
            for line in lines {
                let fits = |f: &&Function| line.same(f) == Some(true) && f.address.function == line.address.function;
                let mut found = snap.pci.functions.iter().filter(fits);
                // More than one of its kind: which of them it was cannot be said.
                let (Some(now), None) = (found.next(), found.next()) else { continue };
                let evidence = Evidence::at(file.path.clone(), line.number, line.text);
                findings.push(
                    Finding::new("address-moved", Severity::Warning, Subject::Line(file.path.clone(), line.number))
                        .value("name", name)
                        .value("device", now.name())
                        .value("before", line.address)
                        .value("now", now.address)
                        .evidence(evidence)
                        .evidence(now.evidence("device", line.id)),
                );
            }
        }
    }
    findings
}

/// One `map` line.
struct Line<'a> {
    number: u32,
    text: &'a str,
    address: Address,
    id: &'a str,
    subsystem: Option<&'a str>,
}

impl Line<'_> {
    /// Is this the device that the line means, as far as its ids say?
    fn same(&self, function: &Function) -> Option<bool> {
        let ids = function.ids.known()?.to_string() == self.id;
        match (self.subsystem, function.subsystem.known()) {
            (Some(wanted), Some(subsystem)) => Some(ids && subsystem.to_string() == wanted),
            _ => Some(ids),
        }
    }

    fn here(&self, functions: &[Function]) -> Option<bool> {
        match functions.iter().find(|f| f.address == self.address) {
            Some(function) => self.same(function),
            None => Some(false),
        }
    }
}

/// The `map` lines of one mapping, `map node=…,path=0000:01:00.0,id=10de:2204,subsystem-id=…,iommugroup=…`.
fn mapping<'a>(text: &'a str, name: &str) -> Vec<Line<'a>> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (number, text) in (1u32..).zip(text.lines()) {
        if !text.starts_with([' ', '\t']) {
            if !text.trim().is_empty() {
                inside = text.trim() == name;
            }
            continue;
        }
        let Some(map) = text.trim().strip_prefix("map ").filter(|_| inside) else { continue };
        let value = |key: &str| map.split(',').find_map(|part| part.trim().strip_prefix(key)?.strip_prefix('='));
        let (Some(path), Some(id)) = (value("path"), value("id")) else { continue };
        let first = path.split(';').next().unwrap_or_default();
        let address = Address::parse(first).or_else(|| Address::parse(&format!("{first}.0")));
        if let Some(address) = address {
            lines.push(Line { number, text: text.trim(), address, id, subsystem: value("subsystem-id") });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::{self as t};
    use crate::facts::Snapshot;
    use crate::facts::hypervisor::{Asked, HypervisorKind};

    fn mapped(path: &str, id: &str, used: bool) -> Snapshot {
        let mut snap = t::healthy();
        let text =
            format!("other\n\tmap node=n1,path=0000:09:00.0,id=10de:2684\n\ngpu1\n\tmap node=n1,path={path},id={id}\n");
        snap.hypervisor.files.push(t::file("/etc/pve/mapping/pci.cfg", &text));
        if used {
            t::vm(&mut snap, HypervisorKind::Proxmox, "105", Asked::Mapping("gpu1".into()));
        }
        snap
    }

    fn found(snap: &Snapshot) -> Vec<String> {
        t::shown(&t::only(&t::check(snap), "address-moved"))
    }

    #[test]
    fn a_mapping_whose_device_is_elsewhere_now() {
        let moved = "warning address-moved /etc/pve/mapping/pci.cfg:5";
        assert_eq!(found(&mapped("0000:02:00.0", "10de:2684", true)), [moved]);
        assert_eq!(found(&mapped("0000:00:17", "10de:2684", true)), [moved]);
        assert!(found(&mapped("0000:01:00.0", "10de:2684", true)).is_empty());
        assert!(found(&mapped("0000:02:00.0", "10de:2684", false)).is_empty(), "no VM here uses it");
        assert!(found(&mapped("0000:02:00.0", "10de:1234", true)).is_empty(), "no such device here");
    }
}
