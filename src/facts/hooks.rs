//! What hooks of VMs are on a host, and what there is to put them into place with.
//!
//! Goes in: a host. Comes out: [`Hooks`]. Only `vfioneer hook` asks for it.

use super::TextFile;
use crate::host::{Fact, Host};
use crate::parse::pve_storage::{self, Storage};
use std::collections::BTreeMap;

/// libvirt's script (<https://libvirt.org/hooks.html>, "Script names": the directory since 6.5.0).
pub const LIBVIRT: &str = "/etc/libvirt/hooks/qemu.d/50-vfioneer";
/// The same for kolla's container, where the directory above is mounted as `/etc/libvirt/hooks`.
pub const KOLLA: &str = "/etc/kolla/libvirt-hooks/qemu.d/50-vfioneer";
/// The name of Proxmox VE's snippet.
pub const SNIPPET: &str = "vfioneer-hook";
/// Where hooks find the program: AppArmor lets those of libvirt run what is in /usr/bin, not in /usr/local/bin
/// (libvirt src/security/apparmor/usr.sbin.libvirtd.in).
pub const PROGRAM: &str = "/usr/bin/vfioneer";
/// Settings of VMs: a directory for each kind of hypervisor, a file for each VM.
pub const SETTINGS: &str = "/etc/vfioneer/vms";

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Scripts, settings and snippets that are, or would be, vfioneer's, by path; what is not there is absent.
    pub files: BTreeMap<String, Fact<TextFile>>,
    /// The unit of libvirt's daemon that runs; none where none does, or where no systemd does.
    pub daemon: Option<&'static str>,
    /// A daemon runs, whoever has started it.
    pub daemon_runs: bool,
    /// Proxmox VE's directories.
    pub storages: Vec<Storage>,
    /// How many nodes Proxmox VE's cluster has.
    pub nodes: usize,
    /// SELinux refuses what no rule allows.
    pub selinux: bool,
    /// Is libvirt's configuration here?
    pub libvirt: bool,
    /// Is kolla's configuration here?
    pub kolla: bool,
}

impl Hooks {
    /// The text of a file that is there.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.known().map(|file| file.text.as_str())
    }

    /// The settings of all VMs of one kind.
    pub fn settings(&self, kind: &str) -> impl Iterator<Item = &TextFile> {
        let dir = format!("{SETTINGS}/{kind}/");
        self.files.iter().filter(move |(path, _)| path.starts_with(&dir)).filter_map(|(_, file)| file.known())
    }
}

/// Looks at a host.
pub fn collect(host: &dyn Host) -> Hooks {
    let there = |path: &str| host.exists(path) == Fact::Known(true);
    let node = host.value("/proc/sys/kernel/hostname").into_known().unwrap_or_default();
    let node = node.split('.').next().unwrap_or_default();
    let storages = host.text("/etc/pve/storage.cfg").into_known();
    let storages = storages.map(|text| pve_storage::directories(&text, node)).unwrap_or_default();
    let mut paths = vec![LIBVIRT.to_owned(), KOLLA.to_owned()];
    paths.extend(storages.iter().map(snippet));
    for kind in ["libvirt", "proxmox"] {
        let names = host.entries(&format!("{SETTINGS}/{kind}")).into_known().unwrap_or_default();
        let settings = names.into_iter().filter(|name| name.ends_with(".toml"));
        paths.extend(settings.map(|name| format!("{SETTINGS}/{kind}/{name}")));
    }
    let file = |path: String| (path.clone(), host.text(&path).map(|text| TextFile { path, text }));
    // Their pid files are `/run/NAME.pid` (libvirt src/util/virpidfile.c).
    let running = |(name, unit)| {
        let pid = host.value(&format!("/run/{name}.pid")).into_known().filter(|pid| !pid.is_empty())?;
        let comm = host.value(&format!("/proc/{pid}/comm")).into_known()?;
        (comm == name).then_some((pid, unit))
    };
    let daemons = [("virtqemud", "virtqemud.service"), ("libvirtd", "libvirtd.service")];
    let daemon: Option<(String, &'static str)> = daemons.into_iter().find_map(running);
    Hooks {
        files: paths.into_iter().map(file).collect(),
        daemon_runs: daemon.is_some(),
        daemon: daemon.filter(|(pid, unit)| is_of_unit(host, pid, unit)).map(|(_, unit)| unit),
        storages,
        nodes: host.entries("/etc/pve/nodes").into_known().map_or(0, |nodes| nodes.len()),
        selinux: host.value("/sys/fs/selinux/enforce").known().is_some_and(|mode| mode == "1"),
        libvirt: there("/etc/libvirt"),
        kolla: there("/etc/kolla"),
    }
}

/// True if a process is a unit's: one in a container, or started by hand, is not (cgroups(7), systemd.unit(5)).
fn is_of_unit(host: &dyn Host, pid: &str, unit: &str) -> bool {
    let cgroup = host.text(&format!("/proc/{pid}/cgroup")).into_known().unwrap_or_default();
    cgroup.lines().any(|line| line.ends_with(&format!("/{unit}")))
}

/// The snippet's path in a storage.
pub fn snippet(storage: &Storage) -> String {
    format!("{}/snippets/{SNIPPET}", storage.path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Recorded;

    fn daemon(name: &str, cgroup: &str) -> (Option<&'static str>, bool) {
        let mut host = Recorded::builder();
        host.add_file(&format!("/run/{name}.pid"), "7\n")
            .add_file("/proc/7/comm", "libvirtd\n")
            .add_file("/proc/7/cgroup", cgroup);
        let found = collect(&host.build());
        (found.daemon, found.daemon_runs)
    }

    #[test]
    fn whose_daemon_runs() {
        assert_eq!(daemon("libvirtd", "0::/system.slice/libvirtd.service\n"), (Some("libvirtd.service"), true));
        assert_eq!(daemon("libvirtd", "0::/system.slice/docker-5f3c.scope\n"), (None, true), "kolla's");
        assert_eq!(daemon("virtqemud", "0::/system.slice/virtqemud.service\n"), (None, false), "a pid of another's");
    }
}
