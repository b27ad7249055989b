//! A container's device nodes: the GPU stays with the host's driver, which both use.
//!
//! Formats: pve-container `PVE/LXC/Config.pm` (`devN`, 5.0.5 and later); lxc.container.conf(5), `lxc.cgroup2.devices.allow` and
//! `lxc.mount.entry`.

use super::shape::{Rendered, note};
use crate::checks::intent::Intents;
use crate::error::{Error, Result};
use crate::facts::Snapshot;
use crate::facts::hypervisor::Node;
use crate::facts::own::CLAIMS;
use crate::facts::pci::Function;
use crate::goal::Goal;
use crate::parse::address::Address;
use crate::parse::claims;
use std::collections::BTreeSet;

/// The first number that the kernel gives out by itself (Linux 6.12 include/linux/fs.h, `CHRDEV_MAJOR_DYN_END`).
const DYNAMIC: u32 = 234;

/// The lines of a container's configuration. Refuses a device that a VM has or that vfio takes: it cannot have both, and one without nodes.
pub fn nodes(snap: &Snapshot, devices: &[Address], name: Option<&str>) -> Result<Rendered> {
    let functions: Vec<&Function> = devices.iter().filter_map(|address| snap.pci.get(address)).collect();
    let intents = Intents::derive(snap, &Goal::default());
    for function in &functions {
        if let Some(why) = taken(snap, &intents, function) {
            let device = function.address;
            return Err(Error::refused(format!(
                "a container uses {device} through the host's driver, and {why}: it cannot have both"
            ))
            .hint("give it to the container, or to a VM, and take it from the other first"));
        }
    }
    let drivers: BTreeSet<&str> =
        functions.iter().filter_map(|function| function.driver.known()).map(String::as_str).collect();
    let is_meant = |node: &&Node| match &node.function {
        Some(function) => devices.contains(function),
        None => node.driver.is_some_and(|driver| drivers.contains(driver)),
    };
    let nodes: Vec<&Node> = snap.hypervisor.nodes.iter().filter(is_meant).collect();
    if !nodes.iter().any(|node| node.function.is_some()) {
        let names: Vec<String> = devices.iter().map(ToString::to_string).collect();
        return Err(Error::refused(format!("{} has no device node that a container could use", names.join(" ")))
            .hint("a graphics card has one while its own driver has it: amdgpu, i915, xe, nouveau, nvidia")
            .hint("a container takes a network interface by its name (lxc.net.0.type = phys), not by a node"));
    }
    let id = name.filter(|name| name.bytes().all(|b| b.is_ascii_digit())).unwrap_or("VMID");
    let path = name.map_or("NAME", |name| name);
    let mut text = format!("# Proxmox VE 8.1 and later: /etc/pve/lxc/{id}.conf, above the first [section]\n");
    for (number, node) in nodes.iter().enumerate() {
        text.push_str(&format!("dev{number}: {},mode=0660\n", node.path));
    }
    text.push_str(&format!("\n# Plain LXC: /var/lib/lxc/{path}/config\n"));
    for node in &nodes {
        let minor = node.minor.map_or_else(|| "*".to_owned(), |minor| minor.to_string());
        let allow = format!("lxc.cgroup2.devices.allow = c {}:{minor} rwm\n", node.major);
        if !text.contains(&allow) {
            text.push_str(&allow);
        }
    }
    for node in &nodes {
        let inside = node.path.trim_start_matches('/');
        text.push_str(&format!("lxc.mount.entry = {} {inside} none bind,optional,create=file\n", node.path));
    }
    let mut notes = vec![note("lxc-owner", &[])];
    if drivers.contains("nvidia") {
        notes.push(note("lxc-libraries", &[]));
    }
    if nodes.iter().any(|node| node.major > DYNAMIC && node.driver.is_some()) {
        notes.push(note("lxc-numbers", &[]));
    }
    Ok(Rendered { text, notes })
}

/// Who has a function, or will have it.
fn taken(snap: &Snapshot, intents: &Intents, function: &Function) -> Option<String> {
    if let Some(driver) = function.driver.known().filter(|_| function.on_vfio()) {
        return Some(format!("{driver} has it now"));
    }
    let own = snap.own.text(CLAIMS).map(claims::parse).unwrap_or_default().claims;
    if own.iter().any(|claim| claim.address == function.address) {
        return Some(format!("{CLAIMS} claims it for vfio at boot"));
    }
    for vm in &snap.hypervisor.vms {
        let has = |device| snap.hypervisor.functions(device, &snap.pci).contains(&function.address);
        if vm.devices.iter().any(has) {
            return Some(format!("the VM {}:{} has it", vm.kind.name(), vm.id));
        }
    }
    let evidence = intents.evidence(&function.address).first()?;
    let line = evidence.line.map(|line| format!(":{line}")).unwrap_or_default();
    Some(format!("{}{line} gives it to vfio", evidence.source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{self as t, GPU, IGPU};
    use crate::facts::hypervisor::{Asked, HypervisorKind};
    use crate::host::Fact;

    fn node(path: &str, function: Option<&str>, driver: Option<&'static str>, major: u32, minor: Option<u32>) -> Node {
        Node { path: path.into(), function: function.map(t::at), driver, major, minor }
    }

    fn host() -> Snapshot {
        let mut snap = t::healthy();
        t::change(&mut snap, GPU, |f| f.driver = Fact::Known("nvidia".into()));
        snap.hypervisor.nodes = vec![
            node("/dev/dri/card0", Some(IGPU), None, 226, Some(0)),
            node("/dev/dri/renderD129", Some(GPU), None, 226, Some(129)),
            node("/dev/kfd", None, Some("amdgpu"), 511, Some(0)),
            node("/dev/nvidiactl", None, Some("nvidia"), 195, Some(255)),
            node("/dev/nvidia-caps/nvidia-cap1", None, Some("nvidia"), 510, None),
        ];
        snap
    }

    #[test]
    fn the_card_and_what_its_driver_shares() {
        let said = nodes(&host(), &[t::at(GPU), t::at("0000:01:00.1")], Some("101")).unwrap();
        for wanted in [
            "/etc/pve/lxc/101.conf",
            "dev0: /dev/dri/renderD129,mode=0660\ndev1: /dev/nvidiactl,mode=0660\n",
            "lxc.cgroup2.devices.allow = c 226:129 rwm\n",
            "c 510:* rwm",
            "lxc.mount.entry = /dev/dri/renderD129 dev/dri/renderD129 none bind,optional,create=file\n",
        ] {
            assert!(said.text.contains(wanted), "{wanted}: {}", said.text);
        }
        assert!(!said.text.contains("kfd") && !said.text.contains("card0"), "{}", said.text);
        assert_eq!(said.notes.len(), 3);
    }

    #[test]
    fn not_both() {
        let refused = |snap: &Snapshot| nodes(snap, &[t::at(GPU)], None).unwrap_err();
        let mut vfio = host();
        t::change(&mut vfio, GPU, |f| f.driver = Fact::Known("vfio-pci".into()));
        assert!(refused(&vfio).message.contains("vfio-pci has it now"));
        let mut given = host();
        t::vm(&mut given, HypervisorKind::Libvirt, "win", Asked::Function(t::at(GPU)));
        let error = refused(&given);
        assert!(error.message.contains("the VM libvirt:win has it") && error.exit_code() == 3, "{error}");
        let mut bare = host();
        bare.hypervisor.nodes.clear();
        assert!(refused(&bare).message.contains("no device node"));
    }
}
