//! Devices that VMs are to be given and that are not there, or that two lines ask for.

use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::hypervisor::{Asked, Vm, VmDevice};
use crate::parse::address::Address;

pub(super) const CHECK: Check = Check { ids: &["vm-device-missing", "vm-device-claimed-twice"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let (all, pci) = (&ctx.snap.hypervisor, &ctx.snap.pci);
    // Where no function was seen, none is known to be missing.
    if pci.functions.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut seen: Vec<(Address, &Vm, &VmDevice)> = Vec::new();
    for vm in &all.vms {
        for device in &vm.devices {
            let functions = all.functions(device, pci);
            if let (true, Some(asked)) = (functions.is_empty(), asked(device)) {
                let finding = Finding::new("vm-device-missing", Severity::Warning, Subject::Vm(vm.id.clone()));
                findings.push(
                    finding
                        .variant("vm")
                        .value("vm", vm.id.clone())
                        .value("device", asked)
                        .evidence(device.evidence.clone()),
                );
            }
            for function in functions {
                if let Some((_, other, line)) = seen.iter().find(|(known, ..)| *known == function) {
                    findings.push(twice(ctx, function, (other, line), (vm, device)));
                } else {
                    seen.push((function, vm, device));
                }
            }
        }
    }
    // A slot with several functions is one mistake.
    findings.dedup_by(|a, b| (a.id, &a.subject, &a.evidence) == (b.id, &b.subject, &b.evidence));
    findings
}

/// What is asked for by its place; ids may mean a device of another host.
fn asked(device: &VmDevice) -> Option<String> {
    match &device.asked {
        Asked::Function(address) => Some(address.to_string()),
        Asked::Slot(address) => Some(address.to_string().trim_end_matches(".0").to_owned()),
        Asked::Mapping(name) => Some(format!("mapping {name}")),
        Asked::Ids(_) | Asked::Malformed(_) => None,
    }
}

fn twice(ctx: &Ctx<'_>, function: Address, first: (&Vm, &VmDevice), second: (&Vm, &VmDevice)) -> Finding {
    let same = (first.0.kind, &first.0.id) == (second.0.kind, &second.0.id);
    // Two VMs that are never to run at the same time are a choice.
    let (severity, variant) = if same { (Severity::Warning, "same-vm") } else { (Severity::Info, "two-vms") };
    let name = ctx.snap.pci.get(&function).map_or_else(|| function.to_string(), |f| f.name());
    Finding::new("vm-device-claimed-twice", severity, Subject::Vm(second.0.id.clone()))
        .variant(variant)
        .value("device", name)
        .value("vm", second.0.id.clone())
        .value("other", first.0.id.clone())
        .evidence(first.1.evidence.clone())
        .evidence(second.1.evidence.clone())
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::*;
    use crate::facts::Evidence;
    use crate::facts::hypervisor::{Asked, HypervisorKind, Vm, VmDevice};
    use crate::host::Fact;

    fn vm(id: &str, asked: &[(u32, Asked)]) -> Vm {
        let path = format!("/etc/pve/qemu-server/{id}.conf");
        let device = |(line, asked): &(u32, Asked)| VmDevice {
            asked: asked.clone(),
            evidence: Evidence::at(path.clone(), *line, "hostpci"),
            rom_file: None,
        };
        Vm {
            kind: HypervisorKind::Proxmox,
            id: id.into(),
            name: String::new(),
            running: Fact::Known(false),
            machine: None,
            of_nova: false,
            config: Fact::Absent,
            devices: asked.iter().map(device).collect(),
        }
    }

    #[test]
    fn what_is_not_there() {
        let mut snap = healthy();
        let gone =
            [(1, Asked::Function(at(GPU))), (2, Asked::Slot(at("0000:7f:00.0"))), (3, Asked::Mapping("gpu1".into()))];
        snap.hypervisor.vms.push(vm("105", &gone));
        let all = check(&snap);
        let found = only(&all, "vm-device-missing");
        let lines: Vec<_> = found.iter().map(|finding| finding.evidence[0].line).collect();
        assert_eq!(lines, [Some(2), Some(3)]);
        snap.pci.functions.clear();
        assert!(only(&check(&snap), "vm-device-missing").is_empty(), "nothing is known of this host");
    }

    #[test]
    fn what_is_asked_for_twice() {
        let mut snap = healthy();
        snap.hypervisor.vms.push(vm("105", &[(1, Asked::Slot(at(GPU))), (2, Asked::Function(at("0000:01:00.1")))]));
        assert_eq!(
            shown(&only(&check(&snap), "vm-device-claimed-twice")),
            ["warning vm-device-claimed-twice/same-vm vm 105"]
        );
        snap.hypervisor.vms = vec![vm("105", &[(1, Asked::Slot(at(GPU)))]), vm("106", &[(1, Asked::Slot(at(GPU)))])];
        assert_eq!(
            shown(&only(&check(&snap), "vm-device-claimed-twice")),
            ["info vm-device-claimed-twice/two-vms vm 106"]
        );
    }
}
