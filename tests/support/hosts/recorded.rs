//! A constructed host in memory.

use super::{Entry, HostFile, Tree};
use vfioneer::facts::{self, Needs, Snapshot};
use vfioneer::host::{Query, Recorded, Why};

/// Puts the tree into a recorded host; what is not in it is absent.
pub fn recorded(name: &str, host: &HostFile, tree: &Tree) -> Recorded {
    let mut builder = Recorded::builder();
    builder.label(name);
    for (path, entry) in tree {
        match entry {
            Entry::Dir => builder.add_dir(path),
            Entry::File(bytes) => builder.add_file(path, bytes),
            Entry::Denied => builder.deny(path),
            Entry::Link(_) => continue,
        };
    }
    // Links last: a directory's own entries must not be put through a link that looks like it.
    for (path, entry) in tree {
        if let Entry::Link(target) = entry {
            builder.add_link(path, target);
        }
    }
    if tree.contains_key("/dev/kvm") {
        builder.add_device("/dev/kvm", 10, 232);
    }
    if host.system.without_root {
        builder.deny_query(Query::KernelLog, Why::NotPermitted);
    } else {
        builder.query(Query::KernelLog, &host.dmesg);
    }
    builder.build()
}

/// Every constructed host as what its VMs are given is seen on it.
pub fn snapshots() -> Vec<(String, Snapshot)> {
    let needs = Needs { pci_details: true, boot: true, kernel: true, vms: true, ..Needs::LIST };
    let snapshot = |name: String| {
        let file = super::load(&name);
        let host = recorded(&name, &file, &super::tree(&file));
        (name, facts::collect(&host, needs))
    };
    super::names().into_iter().map(snapshot).collect()
}
