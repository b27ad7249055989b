//! libvirt's QEMU driver: domains, running domains, hooks.

use super::{Asked, Hook, Hypervisor, HypervisorKind, Machine, Vm, VmDevice, there};
use crate::facts::{Evidence, TextFile};
use crate::host::{Fact, Host};
use crate::parse::libvirt_xml::{self, Domain};

/// Where domains are defined: the host's own libvirt, and kolla's volume under docker and podman.
const DOMAINS: &[&str] = &[
    "/etc/libvirt/qemu",
    "/var/lib/docker/volumes/nova_libvirt_qemu/_data",
    "/var/lib/containers/storage/volumes/nova_libvirt_qemu/_data",
];

/// The most layers of containers that are looked into.
const MOST_LAYERS: usize = 2000;

/// Status files of running domains; kolla's container shares `/run`.
const RUNNING: &str = "/run/libvirt/qemu";

/// Name, passed-through devices and shape of a domain's XML; `source` names it in the evidence. The error says where
/// the text is no domain.
pub fn domain(source: &str, text: &str) -> Result<(String, Vec<VmDevice>, Machine), String> {
    let domain = libvirt_xml::parse(text)?;
    Ok((domain.name.clone(), devices(source, &domain), Machine::of_libvirt(source, &domain)))
}

fn devices(source: &str, domain: &Domain) -> Vec<VmDevice> {
    let device = |found: &libvirt_xml::HostDevice| VmDevice {
        asked: match &found.address {
            Ok(address) => Asked::Function(*address),
            Err(text) => Asked::Malformed(text.clone()),
        },
        evidence: Evidence::at(source, found.line, found.text.clone()),
        rom_file: found.rom_file.clone(),
    };
    domain.devices.iter().map(device).collect()
}

pub(super) fn collect(host: &dyn Host, all: &mut Hypervisor) {
    let daemons = ["/usr/sbin/libvirtd", "/usr/sbin/virtqemud", "/usr/bin/libvirtd", "/usr/bin/virtqemud"];
    let dirs: Vec<&str> = DOMAINS.iter().copied().filter(|dir| host.exists(dir) != Fact::Known(false)).collect();
    let running = host.entries(RUNNING);
    let installed = daemons.iter().any(|path| there(host, path)) || there(host, "/etc/libvirt/qemu.conf");
    let defined = dirs.iter().any(|dir| there(host, dir));
    if !installed && !defined && running.known().is_none() {
        return;
    }
    all.kinds.push((HypervisorKind::Libvirt, None));
    let runs = |name: &str| running.as_ref().map(|names| names.iter().any(|n| n.strip_suffix(".xml") == Some(name)));
    for dir in dirs {
        for file in all.names(host, dir) {
            if let Some(name) = file.strip_suffix(".xml") {
                let vm = vm(host, all, &format!("{dir}/{file}"), name, runs(name).absent_as(false));
                all.vms.push(vm);
            }
        }
    }
    for file in running.known().into_iter().flatten() {
        let Some(name) = file.strip_suffix(".xml") else { continue };
        let live = vm(host, all, &format!("{RUNNING}/{file}"), name, Fact::Known(true));
        match all.vms.iter_mut().find(|vm| vm.kind == HypervisorKind::Libvirt && vm.id == name) {
            // What was attached to the running domain alone.
            Some(vm) => {
                let new = |device: &VmDevice| !vm.devices.iter().any(|known| known.asked == device.asked);
                let new: Vec<VmDevice> = live.devices.into_iter().filter(new).collect();
                vm.devices.extend(new);
            }
            None => all.vms.push(live),
        }
    }
    hooks(host, all);
    if DOMAINS.iter().skip(1).any(|dir| there(host, dir)) {
        layers(host, all);
    }
}

fn vm(host: &dyn Host, all: &mut Hypervisor, path: &str, name: &str, running: Fact<bool>) -> Vm {
    let config = all.file(host, path);
    let mut vm = Vm {
        kind: HypervisorKind::Libvirt,
        id: name.to_owned(),
        name: name.to_owned(),
        running,
        config,
        devices: Vec::new(),
        machine: None,
        of_nova: false,
    };
    let parsed = vm.config.as_ref().and_then(|file| Fact::from(libvirt_xml::parse(&file.text)));
    match parsed {
        Fact::Known(domain) => {
            vm.devices = devices(path, &domain);
            vm.of_nova = domain.of_nova;
            vm.machine = Some(Machine::of_libvirt(path, &domain));
            let title = [domain.title, domain.name].into_iter().find(|text| !text.is_empty());
            vm.name = title.unwrap_or(vm.name);
        }
        Fact::Unknown(why) if vm.config.known().is_some() => all.note(path, &why),
        _ => {}
    }
    vm
}

/// What was copied into a container is in its top layer (docker's storage driver overlay2, containers-storage's overlay).
fn layers(host: &dyn Host, all: &mut Hypervisor) {
    for base in ["/var/lib/docker/overlay2", "/var/lib/containers/storage/overlay"] {
        for layer in all.names(host, base).into_iter().take(MOST_LAYERS) {
            let dir = format!("{base}/{layer}/diff/etc/libvirt/hooks");
            if there(host, &format!("{dir}/qemu")) {
                all.layer_hooks.push(format!("{dir}/qemu"));
            }
            for name in host.entries(&format!("{dir}/qemu.d")).into_known().unwrap_or_default() {
                all.layer_hooks.push(format!("{dir}/qemu.d/{name}"));
            }
        }
    }
}

/// <https://libvirt.org/hooks.html>: `qemu`, then since 6.5.0 the files of `qemu.d` in order.
fn hooks(host: &dyn Host, all: &mut Hypervisor) {
    let mut paths = vec!["/etc/libvirt/hooks/qemu".to_owned()];
    paths.extend(all.names(host, "/etc/libvirt/hooks/qemu.d").iter().map(|n| format!("/etc/libvirt/hooks/qemu.d/{n}")));
    for path in paths {
        if let Fact::Known(stat) = host.stat(&path) {
            let file = host.text(&path).map(|text| TextFile { path: path.clone(), text });
            all.hooks.push(Hook { path, mode: stat.mode & 0o7777, file });
        }
    }
}
