//! Is this host a guest, of which hypervisor, and does this process see a container's view?

use super::System;
use crate::host::{Fact, Host, Why};
use crate::parse::cpuinfo::CpuInfo;
use serde::Deserialize;

/// One row of `data/guests.toml`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    vendor: Option<String>,
    product: Option<String>,
    bios: Option<String>,
    not_product_suffix: Option<String>,
}

#[derive(Deserialize)]
struct Rows {
    guest: Vec<Row>,
}

/// All rows; empty if the embedded file does not parse (a test keeps it parsing).
pub(super) fn rows() -> Vec<Row> {
    toml::from_str::<Rows>(include_str!("../../../data/guests.toml")).map(|rows| rows.guest).unwrap_or_default()
}

/// Is it a guest, and of what?
pub(super) fn of(host: &dyn Host, system: &System, cpu: &Fact<CpuInfo>) -> (Fact<bool>, Fact<String>) {
    let name = name(host, system);
    // X86_FEATURE_HYPERVISOR is CPUID 1 ECX bit 31: zero on hardware, set by every hypervisor that wants to be seen.
    let flag = match cpu {
        Fact::Known(info) => info.flag("hypervisor").map_or(Fact::Absent, Fact::Known),
        Fact::Absent => Fact::Absent,
        Fact::Unknown(why) => Fact::Unknown(why.clone()),
    };
    match (flag, name) {
        (Fact::Known(true), Some(name)) => (Fact::Known(true), Fact::Known(name)),
        (Fact::Known(true), None) => (Fact::Known(true), Fact::Unknown(Why::Io("it does not name itself".into()))),
        // A hypervisor that hides its CPUID flag still shows in DMI or /sys/hypervisor; elsewhere there is no flag.
        (_, Some(name)) => (Fact::Known(true), Fact::Known(name)),
        (Fact::Known(false), None) => (Fact::Known(false), Fact::Absent),
        (Fact::Unknown(why), None) => (Fact::Unknown(why.clone()), Fact::Unknown(why)),
        (Fact::Absent, None) if system.vendor.known().is_some() => (Fact::Known(false), Fact::Absent),
        (Fact::Absent, None) => {
            let why = Why::Io("this architecture has no CPU flag for it".into());
            (Fact::Unknown(why.clone()), Fact::Unknown(why))
        }
    }
}

fn name(host: &dyn Host, system: &System) -> Option<String> {
    // Linux 6.12 Documentation/ABI/stable/sysfs-hypervisor-xen; dom0 has `control_d` among its capabilities.
    if host.value("/sys/hypervisor/type").known().is_some_and(|kind| kind == "xen") {
        let dom0 = host.text("/proc/xen/capabilities").known().is_some_and(|text| text.contains("control_d"));
        return Some(if dom0 { "xen-dom0" } else { "xen" }.into());
    }
    if host.value("/proc/sys/kernel/osrelease").known().is_some_and(|r| r.to_ascii_lowercase().contains("microsoft")) {
        return Some("wsl".into());
    }
    let bios = host.value("/sys/class/dmi/id/bios_vendor");
    if let Some(row) = rows().into_iter().find(|row| fits(row, system, bios.known())) {
        return Some(row.name);
    }
    // Device trees of guests: Documentation/devicetree/bindings/arm/xen.txt; QEMU's `virt` writes `linux,dummy-virt`.
    for path in ["/proc/device-tree/hypervisor/compatible", "/proc/device-tree/compatible"] {
        let text = host.text(path).into_known().unwrap_or_default();
        for (start, name) in [("xen,", "xen"), ("linux,kvm", "kvm"), ("linux,dummy-virt", "qemu"), ("qemu,", "qemu")] {
            if text.split('\0').any(|word| word.starts_with(start)) {
                return Some(name.into());
            }
        }
    }
    // Firecracker gives no SMBIOS; with PCI its host bridge is 8086:0d57 (firecracker src/pci, `VirtPcieHost`).
    let bridge = |name: &str| host.value(&format!("/sys/bus/pci/devices/0000:00:00.0/{name}")).into_known();
    let no_dmi = system.vendor.is_absent() && host.exists("/sys/class/dmi/id") == Fact::Known(false);
    if no_dmi && bridge("vendor").as_deref() == Some("0x8086") && bridge("device").as_deref() == Some("0x0d57") {
        return Some("firecracker".into());
    }
    None
}

fn fits(row: &Row, system: &System, bios: Option<&String>) -> bool {
    let begins = |wanted: &Option<String>, value: Option<&String>| match wanted {
        Some(start) => value.is_some_and(|value| value.starts_with(start.as_str())),
        None => true,
    };
    let product = system.product.known();
    let metal = row.not_product_suffix.as_deref().is_some_and(|end| product.is_some_and(|name| name.ends_with(end)));
    !metal && begins(&row.vendor, system.vendor.known()) && begins(&row.product, product) && begins(&row.bios, bios)
}

/// The container manager whose view this process has.
pub(super) fn container(host: &dyn Host) -> Fact<String> {
    // https://systemd.io/CONTAINER_INTERFACE: PID 1 gets `container=`; systemd copies it to /run/systemd/container.
    for path in ["/run/systemd/container", "/run/host/container-manager"] {
        if let Fact::Known(name) = host.value(path) {
            return Fact::Known(if name.is_empty() { "container".into() } else { name });
        }
    }
    if let Some(name) = host.text("/proc/1/environ").known().and_then(|text| {
        text.split('\0').find_map(|word| word.strip_prefix("container=")).map(str::to_owned).filter(|n| !n.is_empty())
    }) {
        return Fact::Known(name);
    }
    if host.exists("/proc/vz") == Fact::Known(true) && host.exists("/proc/bc") == Fact::Known(false) {
        return Fact::Known("openvz".into());
    }
    let engine = host.exists("/.dockerenv");
    for (path, name) in [("/run/.containerenv", "podman"), ("/.dockerenv", "docker")] {
        // A container's image that was turned into a VM's disk keeps the marker file.
        if host.exists(path) == Fact::Known(true) && !owns_machine(host) {
            return Fact::Known(name.into());
        }
    }
    let groups = host.text("/proc/1/cgroup").into_known().unwrap_or_default();
    for (part, name) in [("/docker", "docker"), ("/kubepods", "kubernetes"), ("/lxc", "lxc"), ("/libpod", "podman")] {
        // On the host itself PID 1 is in `/`, `/init.scope` or `/system.slice`.
        if groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| path.starts_with(part)) {
            return Fact::Known(name.into());
        }
    }
    match engine {
        Fact::Unknown(why) => Fact::Unknown(why),
        _ => Fact::Absent,
    }
}

/// True if this is the machine's own process tree on its own disk: the kernel's thread 2 is to be seen, and the root
/// is the whole of a block device's file system, not an overlay.
fn owns_machine(host: &dyn Host) -> bool {
    let kthread = host.value("/proc/2/comm").known().is_some_and(|comm| comm == "kthreadd");
    let mounts = host.text("/proc/self/mountinfo").into_known().unwrap_or_default();
    let root = crate::parse::mountinfo::parse(&mounts).into_iter().rfind(|mount| mount.point == "/");
    kthread && root.is_some_and(|mount| mount.source.starts_with("/dev/") && mount.root == "/")
}
