//! Mounts, swap, volumes and pools, followed down to the controllers that carry them.

use super::{Finder, UseKind};
use crate::facts::Evidence;
use crate::host::{Fact, Host, Why};
use crate::parse::address::Address;
use crate::parse::mountinfo::{self, Mount};
use std::collections::{BTreeMap, BTreeSet};

/// What the host cannot boot or run without.
const VITAL: &[&str] = &[
    "/",
    "/boot",
    "/boot/efi",
    "/boot/firmware",
    "/boot/loader",
    "/efi",
    "/esp",
    "/nix",
    "/nix/store",
    "/sysroot",
    "/usr",
];

/// Layers of mapped devices that are followed at most.
const DEPTH: usize = 16;

pub(super) fn collect(finder: &mut Finder<'_>) {
    let mounts = finder.text("/proc/self/mountinfo").map(|text| (mountinfo::parse(&text), text));
    let (mounts, text) = mounts.unwrap_or_default();
    let pools = Pools::read(finder, &mounts);
    let mut seen: BTreeSet<(Vec<Address>, UseKind)> = BTreeSet::new();
    for mount in &mounts {
        let vital = VITAL.contains(&mount.point.as_str());
        let functions = carriers(finder, mount, &pools);
        let kind = if vital { UseKind::RootStorage } else { UseKind::Storage };
        // Of the many bind mounts and subvolumes of one file system the first says enough.
        if functions.is_empty() || (!seen.insert((functions.clone(), kind)) && !vital) {
            continue;
        }
        let line = text.lines().nth(mount.line.saturating_sub(1) as usize).unwrap_or_default();
        finder.add(&functions, kind, &mount.point, &Evidence::at("/proc/self/mountinfo", mount.line, line));
    }
    swap(finder, &mounts, &pools);
    boot_partitions(finder);
    volumes(finder, &pools);
}

/// The functions that carry a mount.
fn carriers(finder: &mut Finder<'_>, mount: &Mount, pools: &Pools) -> Vec<Address> {
    if mount.dev.0 != 0 {
        let link = format!("/sys/dev/block/{}:{}", mount.dev.0, mount.dev.1);
        return Walk::new(finder).link(&link);
    }
    if mount.kind == "zfs" {
        let pool = mount.source.split('/').next().unwrap_or_default();
        let found = pools.carriers(finder, pool);
        if found.is_empty() && !pools.noted(finder, pool) {
            let why = pools.why.clone().unwrap_or_else(|| Why::Io("no member of the pool was found".into()));
            finder.note(format!("zpool {pool}"), why);
        }
        return found;
    }
    if !mount.source.starts_with("/dev/") {
        return Vec::new();
    }
    // btrfs and bcachefs span devices and have no number of their own; the source names one, or all with colons.
    let mut names = Vec::new();
    for source in mount.source.split(':') {
        let Some(name) = block_name(finder.host, source) else { continue };
        if mount.kind == "btrfs" {
            names.extend(btrfs_members(finder.host, &name));
        }
        names.push(name);
    }
    names.sort();
    names.dedup();
    let mut walk = Walk::new(finder);
    let mut found: Vec<Address> =
        names.iter().flat_map(|name| walk.link(&format!("/sys/class/block/{name}"))).collect();
    found.sort();
    found.dedup();
    found
}

/// The kernel's name of a block device node: `/dev/mapper/x` is a link to `../dm-0`.
fn block_name(host: &dyn Host, node: &str) -> Option<String> {
    let target = host.link(node).into_known().unwrap_or_else(|| node.to_owned());
    target.rsplit('/').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// All devices of the btrfs that a device belongs to (`/sys/fs/btrfs/<uuid>/devices/`, fs/btrfs/sysfs.c).
fn btrfs_members(host: &dyn Host, name: &str) -> Vec<String> {
    for dir in host.entries("/sys/fs/btrfs").into_known().unwrap_or_default() {
        let members = host.entries(&format!("/sys/fs/btrfs/{dir}/devices")).into_known().unwrap_or_default();
        if members.iter().any(|member| member == name) {
            return members;
        }
    }
    Vec::new()
}

/// Follows a block device down through mapped devices.
struct Walk<'f, 'a> {
    finder: &'f Finder<'a>,
    seen: BTreeSet<String>,
}

impl<'f, 'a> Walk<'f, 'a> {
    fn new(finder: &'f Finder<'a>) -> Self {
        Walk { finder, seen: BTreeSet::new() }
    }

    fn link(&mut self, link: &str) -> Vec<Address> {
        let mut found = self.below(link, 0);
        found.sort();
        found.dedup();
        found
    }

    fn below(&mut self, link: &str, depth: usize) -> Vec<Address> {
        let Some(path) = self.finder.device_path(link) else { return Vec::new() };
        if depth > DEPTH || !self.seen.insert(path.clone()) {
            return Vec::new();
        }
        let own = self.finder.on_path(&path);
        if !own.is_empty() {
            return own;
        }
        let Some(tail) = path.strip_prefix("/sys/devices/virtual/") else { return Vec::new() };
        let mut parts = tail.split('/');
        match (parts.next(), parts.next()) {
            // dm, md and bcache: a partition of such a device has the device as its parent.
            (Some("block"), Some(disk)) => {
                let slaves = self.names(&format!("/sys/devices/virtual/block/{disk}/slaves"));
                slaves.iter().flat_map(|name| self.below(&format!("/sys/class/block/{name}"), depth + 1)).collect()
            }
            // nvme multipath: the head's controllers are links beside it (drivers/nvme/host/core.c, nvme-subsysN).
            (Some("nvme-subsystem"), Some(subsystem)) => {
                let names = self.names(&format!("/sys/devices/virtual/nvme-subsystem/{subsystem}"));
                let number =
                    |name: &str| name.strip_prefix("nvme").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
                let controllers = names.iter().filter(|name| number(name));
                controllers.flat_map(|name| self.finder.behind(&format!("/sys/class/nvme/{name}"))).collect()
            }
            _ => Vec::new(),
        }
    }

    fn names(&self, dir: &str) -> Vec<String> {
        self.finder.host.entries(dir).into_known().unwrap_or_default()
    }
}

/// The members of ZFS pools: sysfs does not tell them, udev's database does (`ID_FS_TYPE`, `ID_FS_LABEL`).
#[derive(Default)]
struct Pools {
    /// Pool → `M:m` of members.
    members: BTreeMap<String, Vec<String>>,
    /// Imported ones (`/proc/spl/kstat/zfs/<pool>/`).
    imported: Vec<String>,
    why: Option<Why>,
}

impl Pools {
    fn read(finder: &Finder<'_>, mounts: &[Mount]) -> Pools {
        let host = finder.host;
        let stats = host.entries("/proc/spl/kstat/zfs").into_known().unwrap_or_default();
        let is_pool = |name: &String| host.exists(&format!("/proc/spl/kstat/zfs/{name}/state")) == Fact::Known(true);
        let mut pools = Pools { imported: stats.into_iter().filter(is_pool).collect(), ..Pools::default() };
        if pools.imported.is_empty() && !mounts.iter().any(|mount| mount.kind == "zfs") {
            return pools;
        }
        let names = match host.entries("/run/udev/data") {
            Fact::Known(names) => names,
            Fact::Absent => Vec::new(),
            Fact::Unknown(why) => {
                pools.why = Some(why);
                Vec::new()
            }
        };
        for name in names {
            let Some(number) = name.strip_prefix('b') else { continue };
            let Fact::Known(text) = host.text(&format!("/run/udev/data/{name}")) else { continue };
            let value =
                |key: &str| text.lines().find_map(|line| line.strip_prefix("E:")?.strip_prefix(key)?.strip_prefix('='));
            if let (Some("zfs_member"), Some(pool)) = (value("ID_FS_TYPE"), value("ID_FS_LABEL")) {
                pools.members.entry(pool.to_owned()).or_default().push(number.to_owned());
            }
        }
        pools
    }

    fn carriers(&self, finder: &Finder<'_>, pool: &str) -> Vec<Address> {
        let members = self.members.get(pool).map(Vec::as_slice).unwrap_or_default();
        let mut walk = Walk::new(finder);
        let mut found: Vec<Address> =
            members.iter().flat_map(|number| walk.link(&format!("/sys/dev/block/{number}"))).collect();
        // Without the database there is still the one member whose label won the link.
        if members.is_empty() {
            let name = block_name(finder.host, &format!("/dev/disk/by-label/{pool}")).filter(|name| name != pool);
            found.extend(name.into_iter().flat_map(|name| walk.link(&format!("/sys/class/block/{name}"))));
        }
        found.sort();
        found.dedup();
        found
    }

    fn noted(&self, finder: &Finder<'_>, pool: &str) -> bool {
        finder.usage.unread.iter().any(|(what, _)| what.strip_prefix("zpool ") == Some(pool))
    }
}

fn swap(finder: &mut Finder<'_>, mounts: &[Mount], pools: &Pools) {
    let Some(text) = finder.text("/proc/swaps") else { return };
    for (line, path) in mountinfo::swaps(&text) {
        let device = block_name(finder.host, &path).filter(|_| path.starts_with("/dev/"));
        let functions = match device {
            Some(name) => Walk::new(finder).link(&format!("/sys/class/block/{name}")),
            None => {
                // A file: the mount with the longest matching path, the last of equals, holds it.
                let holds = |mount: &&Mount| {
                    let rest = path.strip_prefix(mount.point.trim_end_matches('/'));
                    rest.is_some_and(|rest| rest.starts_with('/'))
                };
                let mount = mounts.iter().filter(holds).max_by_key(|mount| mount.point.len());
                mount.map(|mount| carriers(finder, mount, pools)).unwrap_or_default()
            }
        };
        let shown = text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default();
        finder.add(&functions, UseKind::RootStorage, "swap", &Evidence::at("/proc/swaps", line, shown));
    }
}

/// proxmox-boot-tool keeps its EFI system partitions unmounted and lists them by their file systems' ids.
fn boot_partitions(finder: &mut Finder<'_>) {
    const LIST: &str = "/etc/kernel/proxmox-boot-uuids";
    for (line, uuid) in (1u32..).zip(finder.host.text(LIST).into_known().unwrap_or_default().lines()) {
        let uuid = uuid.trim();
        if uuid.is_empty() || uuid.contains('/') {
            continue;
        }
        let node = format!("/dev/disk/by-uuid/{uuid}");
        let Some(name) = block_name(finder.host, &node).filter(|name| name != uuid) else { continue };
        let functions = Walk::new(finder).link(&format!("/sys/class/block/{name}"));
        finder.add(&functions, UseKind::RootStorage, "ESP", &Evidence::at(LIST, line, format!("/dev/{name}")));
    }
}

/// Disks that are held by volumes (LVM, md, dm-crypt) or imported pools without a mount: the disks of VMs.
fn volumes(finder: &mut Finder<'_>, pools: &Pools) {
    let idle = |finder: &Finder<'_>, functions: Vec<Address>| -> Vec<Address> {
        let stored = |kind| matches!(kind, UseKind::RootStorage | UseKind::Storage);
        functions.into_iter().filter(|a| !finder.usage.of(a).any(|found| stored(found.kind))).collect()
    };
    for name in finder.host.entries("/sys/class/block").into_known().unwrap_or_default() {
        let holders = finder.host.entries(&format!("/sys/class/block/{name}/holders")).into_known().unwrap_or_default();
        let Some(holder) = holders.first() else { continue };
        let functions = idle(finder, Walk::new(finder).link(&format!("/sys/class/block/{name}")));
        let title = finder.host.value(&format!("/sys/class/block/{holder}/dm/name")).into_known();
        let by = title.unwrap_or_else(|| holder.clone());
        finder.add(
            &functions,
            UseKind::Storage,
            &by,
            &Evidence::new(format!("/sys/class/block/{name}/holders"), holder),
        );
    }
    for pool in &pools.imported {
        let functions = idle(finder, pools.carriers(finder, pool));
        let evidence = Evidence::new(format!("/proc/spl/kstat/zfs/{pool}"), pool);
        finder.add(&functions, UseKind::Storage, &format!("zpool {pool}"), &evidence);
    }
}
