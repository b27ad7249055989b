//! The running kernel and the installed ones.

use super::{Needs, TextFile};
use crate::host::{Fact, Host};
use std::collections::{BTreeMap, BTreeSet};

/// A kernel that is installed and can boot.
#[derive(Clone, Debug, Default)]
pub struct InstalledKernel {
    /// `uname -r` of it.
    pub release: String,
    /// Path of the kernel image.
    pub image: Fact<String>,
    /// Its configuration, `CONFIG_` names without the prefix: `INTEL_IOMMU_DEFAULT_ON` → `y`.
    pub config: Fact<BTreeMap<String, String>>,
    /// Where the configuration was read.
    pub config_path: String,
    /// Modules that are built in, names with `_`.
    pub builtin: Fact<BTreeSet<String>>,
    /// Modules that can be loaded, names with `_`.
    pub available: Fact<BTreeSet<String>>,
}

/// KVM.
#[derive(Clone, Debug, Default)]
pub struct Kvm {
    /// `/dev/kvm` is there.
    pub node: Fact<bool>,
    /// This user may open it.
    pub accessible: Fact<bool>,
}

/// The running kernel and the installed ones.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// `uname -r`: `/proc/sys/kernel/osrelease`.
    pub release: Fact<String>,
    /// `uname -v`.
    pub version: Fact<String>,
    /// `/proc/cmdline`, one line.
    pub cmdline: Fact<TextFile>,
    /// Loaded modules, names with `_`.
    pub loaded: Fact<BTreeSet<String>>,
    /// Readable parameters of loaded and built-in modules that matter: (module, parameter) → value.
    pub parameters: BTreeMap<(String, String), String>,
    /// `pcie_acs_override_setup` is in `/proc/kallsyms`: the kernel carries the ACS override patch.
    pub acs_override: Fact<bool>,
    /// KVM.
    pub kvm: Kvm,
    /// All kernels with a directory in `/lib/modules` or an image in `/boot`, newest last.
    pub installed: Vec<InstalledKernel>,
    /// `/proc/iomem` (addresses are zero without root).
    pub iomem: Fact<TextFile>,
}

impl Kernel {
    /// (major, minor) of the running kernel.
    pub fn numbers(&self) -> Option<(u32, u32)> {
        numbers(self.release.known()?)
    }

    /// The installed kernel that runs.
    pub fn running(&self) -> Option<&InstalledKernel> {
        let release = self.release.known()?;
        self.installed.iter().find(|kernel| &kernel.release == release)
    }
}

/// (major, minor) of a release such as `6.8.12-4-pve`.
pub fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Reads the kernel's state; only release and command line unless more is needed.
pub fn collect(_host: &dyn Host, _needs: Needs) -> Kernel {
    Kernel::default()
}
