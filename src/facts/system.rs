//! Board, BIOS, CPU, firmware, distribution, and whether this host is itself a guest or container.

use crate::host::{Fact, Host};

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
    /// `vmx` or `svm` among the flags. Absent: the CPU or firmware does not offer it.
    pub virtualization: Fact<String>,
    /// The flag `hypervisor`: this host is itself a guest.
    pub is_guest: Fact<bool>,
    /// Of which hypervisor, where known: `kvm`, `xen`, `microsoft`, `vmware`, …
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
pub fn collect(_host: &dyn Host) -> System {
    System::default()
}
