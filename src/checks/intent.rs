//! Who wants which function in a VM: the goal, today's configuration, the VMs.

use super::words;
use crate::facts::hypervisor::{Asked, VmDevice};
use crate::facts::pci::{Function, is_vfio_driver};
use crate::facts::{Evidence, Snapshot};
use crate::goal::Goal;
use crate::parse::address::Address;
use crate::parse::vfio_ids::{self, IdSpec};
use std::collections::BTreeMap;

/// How much anybody wants a function in a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// Nobody would.
    None,
    /// People give such devices to VMs.
    Candidate,
    /// Today's configuration asks for it: vfio ids, driver_override, a VM, or it is on vfio-pci now.
    Configured,
    /// This command names it.
    Goal,
}

/// Interest per function, with what says so.
#[derive(Clone, Debug, Default)]
pub struct Intents {
    by_address: BTreeMap<Address, (Interest, Vec<Evidence>)>,
}

impl Intents {
    /// Derives it from a snapshot and a goal.
    pub fn derive(snap: &Snapshot, goal: &Goal) -> Intents {
        let mut intents = Intents::default();
        let claims = claims(snap);
        for function in &snap.pci.functions {
            if function.is_candidate() {
                intents.add(function.address, Interest::Candidate, None);
            }
            if function.on_vfio() {
                let driver = function.driver.known().cloned().unwrap_or_default();
                intents.add(function.address, Interest::Configured, Some(function.evidence("driver", driver)));
            }
            if let Some(name) = function.driver_override.known().filter(|name| is_vfio_driver(name)) {
                let evidence = function.evidence("driver_override", name.clone());
                intents.add(function.address, Interest::Configured, Some(evidence));
            }
            // Bridges keep their port drivers and belong to no VM, whatever a line says.
            for claim in claims.iter().filter(|claim| !function.is_bridge() && claim.takes(function) == Some(true)) {
                intents.add(function.address, Interest::Configured, Some(claim.evidence.clone()));
            }
        }
        intents.add_driverctl(snap);
        for vm in &snap.hypervisor.vms {
            for device in &vm.devices {
                for address in asked(snap, device) {
                    intents.add(address, Interest::Configured, Some(device.evidence.clone()));
                }
            }
        }
        for address in &goal.devices {
            intents.add(*address, Interest::Goal, None);
        }
        intents
    }

    /// driverctl keeps one file per device, `/etc/driverctl.d/<bus>-<address>`, that holds the driver's name.
    fn add_driverctl(&mut self, snap: &Snapshot) {
        for file in &snap.modules.files {
            let Some(name) = file.path.strip_prefix("/etc/driverctl.d/") else { continue };
            let address = name.strip_prefix("pci-").and_then(Address::parse);
            if let Some(address) = address.filter(|_| is_vfio_driver(file.text.trim())) {
                let evidence = Evidence::at(file.path.clone(), 1, file.text.trim());
                self.add(address, Interest::Configured, Some(evidence));
            }
        }
    }

    fn add(&mut self, address: Address, interest: Interest, evidence: Option<Evidence>) {
        let entry = self.by_address.entry(address).or_insert((interest, Vec::new()));
        entry.0 = entry.0.max(interest);
        if let Some(evidence) = evidence.filter(|evidence| !entry.1.contains(evidence)) {
            entry.1.push(evidence);
        }
    }

    /// The interest in one function.
    pub fn of(&self, address: &Address) -> Interest {
        self.by_address.get(address).map_or(Interest::None, |(interest, _)| *interest)
    }

    /// What says that the configuration asks for it.
    pub fn evidence(&self, address: &Address) -> &[Evidence] {
        self.by_address.get(address).map_or(&[], |(_, evidence)| evidence)
    }

    /// True if somebody asks for any function of this host.
    pub fn any(&self) -> bool {
        self.by_address.values().any(|(interest, _)| *interest >= Interest::Configured)
    }
}

/// One item of vfio-pci's `ids`, wherever it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What it takes.
    pub spec: IdSpec,
    /// As written.
    pub text: String,
    /// Where it stands.
    pub evidence: Evidence,
    /// True if it stands on a kernel command line.
    pub on_cmdline: bool,
}

impl Claim {
    /// Whether vfio-pci would take this function for it, as far as the function's ids are known.
    pub fn takes(&self, function: &Function) -> Option<bool> {
        takes(&self.spec, function)
    }
}

/// Whether vfio-pci would take a function for an item of its `ids`, as far as the function's ids are known.
pub fn takes(spec: &IdSpec, function: &Function) -> Option<bool> {
    spec.matches(
        function.ids.known().map(|ids| (ids.vendor, ids.device)),
        function.subsystem.known().map(|ids| (ids.vendor, ids.device)),
        function.class.known().copied(),
    )
}

/// Everything that is given to vfio-pci as `ids` in modprobe.d, in lists, and on kernel command lines.
pub fn claims(snap: &Snapshot) -> Vec<Claim> {
    let mut claims = Vec::new();
    for option in words::options(snap, "vfio_pci").into_iter().filter(|option| option.name == "ids") {
        for item in vfio_ids::parse(&option.value) {
            if let Some(spec) = item.spec {
                claims.push(Claim {
                    spec,
                    text: item.text.trim().to_owned(),
                    evidence: option.evidence.clone(),
                    on_cmdline: option.on_cmdline,
                });
            }
        }
    }
    claims
}

/// Does a VM get a slice of a device? Then the device itself stays with the host's driver (Proxmox `mdev=`, `driver=keep`).
pub(super) fn is_slice(device: &VmDevice) -> bool {
    ["mdev=", "driver=keep"].iter().any(|part| device.evidence.text.contains(part))
}

/// The functions of this host that a VM's device means.
fn asked(snap: &Snapshot, device: &VmDevice) -> Vec<Address> {
    if is_slice(device) {
        return Vec::new();
    }
    match &device.asked {
        Asked::Function(address) => vec![*address],
        Asked::Slot(address) => {
            let slot: Vec<_> = snap.pci.slot(address).filter(|f| !f.is_bridge()).map(|f| f.address).collect();
            if slot.is_empty() { vec![*address] } else { slot }
        }
        Asked::Ids(ids) => {
            let specs: Vec<IdSpec> = vfio_ids::parse(ids).into_iter().filter_map(|item| item.spec).collect();
            let takes = |f: &&Function| {
                let ids = f.ids.known().map(|ids| (ids.vendor, ids.device));
                specs.iter().any(|spec| spec.matches(ids, None, None) == Some(true))
            };
            snap.pci.functions.iter().filter(takes).map(|f| f.address).collect()
        }
        Asked::Mapping(_) => snap.hypervisor.functions(device, &snap.pci),
        Asked::Malformed(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;
    use crate::facts::boot::Chain;
    use crate::facts::hypervisor::HypervisorKind;
    use crate::host::Fact;

    fn interest(snap: &Snapshot, address: &str) -> Interest {
        Intents::derive(snap, &Goal::default()).of(&at(address))
    }

    #[test]
    fn nobody_asks_on_a_fresh_host() {
        let snap = healthy();
        assert_eq!(interest(&snap, GPU), Interest::Candidate);
        assert!(!Intents::derive(&snap, &Goal::default()).any());
    }

    #[test]
    fn every_way_to_ask() {
        type Ask = fn(&mut Snapshot);
        let asks: [(&str, Ask, &str); 11] = [
            ("modprobe.d", |s| modprobe(s, "/etc/modprobe.d/a.conf", "options vfio-pci ids=10de:2684"), "options"),
            ("running", |s| cmdline(s, "ro vfio-pci.ids=10de:2684"), "ids=10de"),
            (
                "configured",
                |s| {
                    place(
                        s,
                        Chain::Grub,
                        "/etc/default/grub",
                        "X=\"vfio_pci.ids=10de:2684\"",
                        "vfio_pci.ids=10de:2684",
                    );
                },
                "vfio_pci.ids",
            ),
            ("list", |s| load(s, "/etc/initramfs-tools/modules", "vfio-pci ids=10de:2684", true), "vfio-pci ids"),
            ("override", |s| change(s, GPU, |f| f.driver_override = Fact::Known("vfio-pci".into())), "vfio-pci"),
            ("bound", |s| change(s, GPU, |f| f.driver = Fact::Known("vfio-pci".into())), "vfio-pci"),
            (
                "driverctl",
                |s| s.modules.files.push(file("/etc/driverctl.d/pci-0000:01:00.0", "vfio-pci\n")),
                "vfio-pci",
            ),
            ("vm slot", |s| vm(s, HypervisorKind::Proxmox, "100", Asked::Slot(at(GPU))), "hostpci0"),
            ("vm function", |s| vm(s, HypervisorKind::Libvirt, "win", Asked::Function(at(GPU))), "hostpci0"),
            ("vm ids", |s| vm(s, HypervisorKind::Kubevirt, "vmi", Asked::Ids("10de:2684".into())), "hostpci0"),
            (
                "mapping",
                |s| {
                    let text = "gpu1\n\tmap id=10de:2684,node=a,path=0000:01:00\n\nother\n\tmap path=0000:00:14.0\n";
                    s.hypervisor.files.push(file("/etc/pve/mapping/pci.cfg", text));
                    vm(s, HypervisorKind::Proxmox, "100", Asked::Mapping("gpu1".into()));
                },
                "hostpci0",
            ),
        ];
        for (name, ask, shown) in asks {
            let mut snap = healthy();
            ask(&mut snap);
            let intents = Intents::derive(&snap, &Goal::default());
            assert_eq!(intents.of(&at(GPU)), Interest::Configured, "{name}");
            assert!(intents.evidence(&at(GPU)).iter().any(|e| e.text.contains(shown)), "{name}");
            assert_eq!(intents.of(&at("0000:00:14.0")), Interest::Candidate, "{name}");
        }
    }

    #[test]
    fn what_asks_for_nothing() {
        let mut snap = healthy();
        modprobe(
            &mut snap,
            "/etc/modprobe.d/a.conf",
            "options vfio-pci ids=10de:ffff\n# options vfio-pci ids=10de:2684",
        );
        vm(&mut snap, HypervisorKind::Proxmox, "100", Asked::Mapping("none".into()));
        vm(&mut snap, HypervisorKind::Proxmox, "101", Asked::Slot(at(IGPU)));
        snap.hypervisor.vms[1].devices[0].evidence.text = "hostpci0: 0000:00:02.0,mdev=i915-GVTg_V5_4".into();
        assert!(!Intents::derive(&snap, &Goal::default()).any());
    }

    #[test]
    fn the_goal_asks_most() {
        let snap = passthrough();
        let goal = Goal { devices: vec![at(GPU)], ..Goal::default() };
        let intents = Intents::derive(&snap, &goal);
        assert_eq!(intents.of(&at(GPU)), Interest::Goal);
        assert_eq!(intents.of(&at("0000:01:00.1")), Interest::Configured);
    }
}
