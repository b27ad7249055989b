//! Proxmox VE: `/etc/pve`.

use super::{Asked, Container, Hypervisor, HypervisorKind, Machine, Vm, VmDevice, there};
use crate::facts::Evidence;
use crate::host::{Fact, Host};
use crate::parse::proxmox_conf::{self, Entry, Path};

/// The cluster's PCI mappings.
pub const MAPPINGS: &str = "/etc/pve/mapping/pci.cfg";

/// The passed-through devices of a VM's configuration text; `source` names it in the evidence.
pub fn devices(source: &str, text: &str) -> Vec<VmDevice> {
    proxmox_conf::next(text)
        .iter()
        .filter(|entry| numbered(&entry.key, "hostpci"))
        .flat_map(|e| of(source, e))
        .collect()
}

fn numbered(key: &str, word: &str) -> bool {
    key.strip_prefix(word).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn of(source: &str, entry: &Entry) -> Vec<VmDevice> {
    let value = proxmox_conf::host_pci(&entry.value);
    let mut asked: Vec<Asked> = value
        .paths
        .iter()
        .map(|path| match path {
            Path::Function(address) => Asked::Function(*address),
            Path::Slot(address) => Asked::Slot(*address),
            Path::Malformed(text) => Asked::Malformed(text.clone()),
        })
        .collect();
    asked.extend(value.mapping.clone().map(Asked::Mapping));
    if asked.is_empty() {
        asked.push(Asked::Malformed(entry.value.clone()));
    }
    let device = |asked| VmDevice {
        asked,
        evidence: Evidence::at(source, entry.line, entry.text.clone()),
        rom_file: value.option("romfile").map(str::to_owned),
    };
    asked.into_iter().map(device).collect()
}

pub(super) fn collect(host: &dyn Host, all: &mut Hypervisor) {
    let version = crate::facts::system::proxmox(host);
    if version.is_none() && !there(host, "/usr/bin/pveversion") && !there(host, "/etc/pve/nodes") {
        return;
    }
    all.kinds.push((HypervisorKind::Proxmox, version));
    if let Fact::Known(file) = all.file(host, MAPPINGS) {
        all.files.push(file);
    }
    nodes(host, all);
    let dir = directory(host, "qemu-server");
    for name in all.names(host, &dir) {
        let Some(id) = name.strip_suffix(".conf").filter(|id| id.bytes().all(|b| b.is_ascii_digit())) else { continue };
        let path = format!("{dir}/{name}");
        let config = all.file(host, &path);
        let text = config.known().map(|file| file.text.as_str()).unwrap_or_default();
        let entries = proxmox_conf::current(text);
        let title = entries.iter().find(|entry| entry.key == "name").map(|entry| entry.value.clone());
        all.vms.push(Vm {
            kind: HypervisorKind::Proxmox,
            id: id.to_owned(),
            name: title.unwrap_or_default(),
            running: running(host, id),
            devices: devices(&path, text),
            of_nova: false,
            machine: config.known().map(|file| Machine::of_proxmox(&path, &file.text)),
            config,
        });
    }
    containers(host, all);
}

/// `/etc/pve/qemu-server` is a link to this node's directory; without it (no cluster file system), the only node's.
fn directory(host: &dyn Host, kind: &str) -> String {
    let link = format!("/etc/pve/{kind}");
    let nodes = host.entries("/etc/pve/nodes").into_known().unwrap_or_default();
    match nodes.as_slice() {
        [node] if host.exists(&link) == Fact::Known(false) => format!("/etc/pve/nodes/{node}/{kind}"),
        _ => link,
    }
}

/// Which node this is, and the VMs of the others: `/etc/pve/local` is a link to this node's directory (pmxcfs(8)), as are those of guests.
fn nodes(host: &dyn Host, all: &mut Hypervisor) {
    let nodes = all.names(host, "/etc/pve/nodes");
    let links = ["/etc/pve/local", "/etc/pve/qemu-server"].into_iter().filter_map(|link| host.link(link).into_known());
    let named =
        |target: String| target.strip_prefix("nodes/").map(|rest| rest.split('/').next().unwrap_or(rest).to_owned());
    all.node = match nodes.as_slice() {
        [node] => Some(node.clone()),
        _ => links.into_iter().find_map(named),
    };
    let Some(own) = all.node.clone() else { return };
    for node in nodes.iter().filter(|node| **node != own) {
        let guests = host.entries(&format!("/etc/pve/nodes/{node}/qemu-server")).into_known().unwrap_or_default();
        let ids = guests.iter().filter_map(|name| name.strip_suffix(".conf"));
        all.elsewhere.extend(ids.map(|id| (id.to_owned(), node.clone())));
    }
}

/// QEMU writes `/run/qemu-server/<id>.pid` at start, and it goes at a clean stop.
fn running(host: &dyn Host, id: &str) -> Fact<bool> {
    let file = format!("/run/qemu-server/{id}.pid");
    host.exists(&file).map(|there| {
        let pid =
            host.value(&file).into_known().filter(|pid| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()));
        there && pid.is_none_or(|pid| host.exists(&format!("/proc/{pid}")) != Fact::Known(false))
    })
}

fn containers(host: &dyn Host, all: &mut Hypervisor) {
    let dir = directory(host, "lxc");
    for name in all.names(host, &dir) {
        let Some(id) = name.strip_suffix(".conf").filter(|id| id.bytes().all(|b| b.is_ascii_digit())) else { continue };
        let path = format!("{dir}/{name}");
        let Fact::Known(file) = all.file(host, &path) else { continue };
        let entries = proxmox_conf::current(&file.text);
        let node = |entry: &Entry| {
            // `dev0: /dev/dri/renderD128,…`, and before pve-container 5.0.5 a bind mount of the node.
            let value = match entry.key.as_str() {
                "lxc.mount.entry" => entry.value.split_ascii_whitespace().next()?,
                key if numbered(key, "dev") => entry.value.split(',').next()?,
                _ => return None,
            };
            let value = value.strip_prefix("path=").unwrap_or(value);
            value.starts_with("/dev/").then(|| (value.to_owned(), Evidence::at(&path, entry.line, &entry.text)))
        };
        let nodes: Vec<_> = entries.iter().filter_map(node).collect();
        let name = entries.iter().find(|entry| entry.key == "hostname").map(|entry| entry.value.clone());
        if !nodes.is_empty() {
            all.containers.push(Container { id: id.to_owned(), name: name.unwrap_or_default(), nodes });
        }
    }
}
