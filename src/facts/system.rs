//! Board, BIOS, CPU, firmware, distribution, and whether this host is itself a guest or container.
//!
//! Goes in: a host's DMI attributes, `/proc/cpuinfo`, EFI variables, os-release. Comes out: a [`System`].
//! Serial numbers and UUIDs are never read.

mod guest;

use crate::host::{Fact, Host, Why};
use crate::parse::{cpuinfo, os_release};

/// Who made the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuVendor {
    /// `GenuineIntel`.
    Intel,
    /// `AuthenticAMD` or `HygonGenuine`.
    Amd,
    /// Any ARM implementer.
    Arm,
    /// Anything else.
    Other,
}

/// Kernel lockdown (`/sys/kernel/security/lockdown`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Off.
    None,
    /// No unsigned modules, no BAR access from user space.
    Integrity,
    /// And no reading of kernel memory.
    Confidentiality,
}

/// The distribution, from os-release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distro {
    /// `ID`.
    pub id: String,
    /// `ID_LIKE`.
    pub like: Vec<String>,
    /// `VERSION_ID`.
    pub version: String,
    /// `PRETTY_NAME`.
    pub name: String,
    /// `VARIANT_ID`, e.g. `silverblue`.
    pub variant: String,
    /// True if `/run/ostree-booted` (or `/ostree` in a mounted host) is there.
    pub ostree: bool,
    /// Proxmox VE's version, from the package database.
    pub proxmox: Option<String>,
}

/// The machine below the kernel.
#[derive(Clone, Debug, Default)]
pub struct System {
    /// `/sys/class/dmi/id/sys_vendor`.
    pub vendor: Fact<String>,
    /// `/sys/class/dmi/id/product_name`.
    pub product: Fact<String>,
    /// `/sys/class/dmi/id/board_vendor`.
    pub board_vendor: Fact<String>,
    /// `/sys/class/dmi/id/board_name`.
    pub board: Fact<String>,
    /// `/sys/class/dmi/id/bios_version`.
    pub bios_version: Fact<String>,
    /// `/sys/class/dmi/id/bios_date`, `MM/DD/YYYY`.
    pub bios_date: Fact<String>,
    /// From `/proc/cpuinfo`.
    pub cpu_vendor: Fact<CpuVendor>,
    /// `model name`.
    pub cpu_model: Fact<String>,
    /// Processors that run.
    pub cpus: Fact<u32>,
    /// `vmx` or `svm` among the flags. Absent: the CPU or firmware does not offer it (on bare metal: switched off in
    /// firmware, or no such CPU). Unknown on architectures that print no such flag.
    pub virtualization: Fact<String>,
    /// The flag `hypervisor`: this host is itself a guest.
    pub is_guest: Fact<bool>,
    /// Of which hypervisor, where known: a name of `data/guests.toml`, or `xen`, `xen-dom0`, `firecracker`, `wsl`.
    /// Absent if this is no guest.
    pub guest_of: Fact<String>,
    /// This process sees a container's view: `docker`, `lxc`, `podman`, …; absent if not.
    pub container: Fact<String>,
    /// `/sys/firmware/efi` is there.
    pub uefi: Fact<bool>,
    /// The efivar SecureBoot.
    pub secure_boot: Fact<bool>,
    /// Kernel lockdown; absent if the kernel has none.
    pub lockdown: Fact<Lockdown>,
    /// The distribution.
    pub distro: Fact<Distro>,
    /// Bytes of memory.
    pub memory: Fact<u64>,
}

/// Reads the machine's description.
pub fn collect(host: &dyn Host) -> System {
    let sysfs = host.exists("/sys/class");
    let dmi = |name: &str| match text_value(host, &format!("/sys/class/dmi/id/{name}")) {
        Fact::Absent if sysfs != Fact::Known(true) => not_running(Fact::Absent),
        other => other,
    };
    let cpu = not_running(host.text("/proc/cpuinfo")).map(|text| cpuinfo::parse(&text));
    let mut system = System {
        vendor: dmi("sys_vendor"),
        product: dmi("product_name"),
        board_vendor: dmi("board_vendor"),
        board: dmi("board_name"),
        bios_version: dmi("bios_version"),
        bios_date: dmi("bios_date"),
        cpu_vendor: cpu.as_ref().and_then(cpu_vendor),
        cpu_model: cpu.as_ref().and_then(|info| info.model.clone().map_or(Fact::Absent, Fact::Known)),
        cpus: cpu.as_ref().and_then(|info| match info.processors {
            0 => Fact::Unknown(Why::Malformed("no processor line".into())),
            count => Fact::Known(count),
        }),
        virtualization: cpu.as_ref().and_then(virtualization),
        is_guest: Fact::default(),
        guest_of: Fact::default(),
        container: guest::container(host),
        uefi: uefi(host),
        secure_boot: Fact::default(),
        lockdown: lockdown_of(host),
        distro: distro(host),
        memory: not_running(host.text("/proc/meminfo")).and_then(|text| memory(&text)),
    };
    (system.is_guest, system.guest_of) = guest::of(host, &system, &cpu);
    system.secure_boot = secure_boot(host, &system.uefi);
    system
}

/// A file that every running kernel has: without it this is no running system (a mounted disk), and nothing is known.
pub(super) fn not_running<T>(file: Fact<T>) -> Fact<T> {
    match file {
        Fact::Absent => Fact::Unknown(Why::NotRecorded),
        other => other,
    }
}

/// Container managers hide `/sys/firmware` behind an empty directory; every machine has something in it.
fn uefi(host: &dyn Host) -> Fact<bool> {
    match host.exists("/sys/firmware/efi") {
        Fact::Known(false) => match host.entries("/sys/firmware") {
            Fact::Known(names) if !names.is_empty() => Fact::Known(false),
            Fact::Unknown(why) => Fact::Unknown(why),
            _ => Fact::Unknown(Why::Io("/sys/firmware is empty".into())),
        },
        other => other,
    }
}

/// Absent only where securityfs is there and has no such file.
fn lockdown_of(host: &dyn Host) -> Fact<Lockdown> {
    match host.text("/sys/kernel/security/lockdown") {
        Fact::Known(text) => lockdown(&text),
        Fact::Unknown(why) => Fact::Unknown(why),
        Fact::Absent => match host.entries("/sys/kernel/security") {
            Fact::Known(names) if !names.is_empty() => Fact::Absent,
            Fact::Unknown(why) => Fact::Unknown(why),
            _ => Fact::Unknown(Why::Io("securityfs is not mounted".into())),
        },
    }
}

/// An attribute's text; an empty one, and what board makers leave in place of a name, is absent.
fn text_value(host: &dyn Host, path: &str) -> Fact<String> {
    const FILLERS: &[&str] = &[
        "",
        "Default string",
        "Not Applicable",
        "Not Specified",
        "System Product Name",
        "System manufacturer",
        "To Be Filled By O.E.M.",
        "To be filled by O.E.M.",
        "Unknown",
    ];
    match host.value(path) {
        Fact::Known(value) if FILLERS.contains(&value.as_str()) => Fact::Absent,
        other => other,
    }
}

fn cpu_vendor(info: &cpuinfo::CpuInfo) -> Fact<CpuVendor> {
    match (info.vendor_id.as_deref(), &info.implementer) {
        (Some("GenuineIntel"), _) => Fact::Known(CpuVendor::Intel),
        (Some("AuthenticAMD" | "HygonGenuine"), _) => Fact::Known(CpuVendor::Amd),
        (None, Some(_)) => Fact::Known(CpuVendor::Arm),
        _ if info.processors > 0 => Fact::Known(CpuVendor::Other),
        _ => Fact::Unknown(Why::Malformed("no processor line".into())),
    }
}

fn virtualization(info: &cpuinfo::CpuInfo) -> Fact<String> {
    // Linux 6.12 arch/x86/kernel/cpu/feat_ctl.c clears `vmx`, cpu/amd.c clears `svm`, where firmware locked it off.
    match (info.flag("vmx"), info.flag("svm")) {
        (Some(true), _) => Fact::Known("vmx".into()),
        (_, Some(true)) => Fact::Known("svm".into()),
        (Some(false), Some(false)) => Fact::Absent,
        _ => Fact::Unknown(Why::Malformed("this architecture has no such CPU flag".into())),
    }
}

/// `none [integrity] confidentiality`: the one in brackets is in force (security/lockdown/lockdown.c).
fn lockdown(text: &str) -> Fact<Lockdown> {
    let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(word, _)| word);
    match chosen {
        Some("none") => Fact::Known(Lockdown::None),
        Some("integrity") => Fact::Known(Lockdown::Integrity),
        Some("confidentiality") => Fact::Known(Lockdown::Confidentiality),
        _ => Fact::Unknown(Why::Malformed(text.trim().chars().take(80).collect())),
    }
}

/// The efivar SecureBoot: four bytes of attributes and one of value (UEFI 2.10 section 3.3; Linux
/// Documentation/filesystems/efivarfs.rst). Absent on BIOS, and on UEFI without Secure Boot.
fn secure_boot(host: &dyn Host, uefi: &Fact<bool>) -> Fact<bool> {
    const GUID: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
    match uefi {
        Fact::Known(true) => {}
        Fact::Known(false) | Fact::Absent => return Fact::Absent,
        Fact::Unknown(why) => return Fact::Unknown(why.clone()),
    }
    let found =
        host.read(&format!("/sys/firmware/efi/efivars/SecureBoot-{GUID}")).and_then(|bytes| match bytes.get(4) {
            Some(value) => Fact::Known(*value == 1),
            None => Fact::Unknown(Why::Malformed(format!("SecureBoot has {} bytes", bytes.len()))),
        });
    if !found.is_absent() {
        return found;
    }
    match host.entries("/sys/firmware/efi/efivars") {
        Fact::Known(names) if !names.is_empty() => Fact::Absent,
        Fact::Unknown(why) => Fact::Unknown(why),
        _ => Fact::Unknown(Why::Io("efivarfs is not mounted".into())),
    }
}

fn memory(text: &str) -> Fact<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_ascii_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    match kib.and_then(|kib| kib.checked_mul(1024)) {
        Some(bytes) => Fact::Known(bytes),
        None => Fact::Unknown(Why::Malformed("no MemTotal".into())),
    }
}

fn distro(host: &dyn Host) -> Fact<Distro> {
    let text = match host.text("/etc/os-release") {
        Fact::Absent => host.text("/usr/lib/os-release"),
        other => other,
    };
    text.map(|text| {
        let mut map = os_release::parse(&text);
        let mut take = |key: &str| map.remove(key).unwrap_or_default();
        let mut distro = Distro {
            id: take("ID"),
            like: take("ID_LIKE").split_ascii_whitespace().map(str::to_owned).collect(),
            version: take("VERSION_ID"),
            name: take("PRETTY_NAME"),
            variant: take("VARIANT_ID"),
            ostree: there(host, "/run/ostree-booted") || there(host, "/ostree"),
            proxmox: proxmox(host),
        };
        if distro.id.is_empty() {
            "linux".clone_into(&mut distro.id);
        }
        if distro.name.is_empty() {
            distro.name = take("NAME");
        }
        distro
    })
}

fn there(host: &dyn Host, path: &str) -> bool {
    host.exists(path) == Fact::Known(true)
}

/// The version of the package `pve-manager` in dpkg's database; the database is only read where Proxmox VE left a trace.
pub(super) fn proxmox(host: &dyn Host) -> Option<String> {
    let traces = ["/usr/bin/pveversion", "/usr/share/doc/pve-manager", "/etc/pve"];
    if !traces.iter().any(|path| there(host, path)) {
        return None;
    }
    let status = host.text("/var/lib/dpkg/status").into_known()?;
    package_version(&status, "pve-manager")
}

/// The version of an installed package in dpkg's status database (deb822 paragraphs).
fn package_version(status: &str, package: &str) -> Option<String> {
    let head = format!("Package: {package}\n");
    let at = if status.starts_with(&head) { 0 } else { status.find(&format!("\n{head}"))? + 1 };
    let paragraph = status.get(at..)?.split("\n\n").next()?;
    let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let installed = field("Status:").is_none_or(|state| state.ends_with(" installed"));
    installed.then(|| field("Version:").map(str::to_owned))?
}

#[cfg(test)]
mod tests;
