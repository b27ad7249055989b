//! The running kernel and the installed ones.
//!
//! Goes in: `/proc`, `/sys/module`, `/lib/modules`, `/boot`. Comes out: a [`Kernel`]. Opens no device node, loads nothing.

mod installed;

use super::system::not_running;
use super::{Needs, TextFile};
use crate::host::{Digest, Fact, Host, Why};
use crate::parse::modlist;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

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
    /// Loaded modules, names with `_`; absent if the kernel has no loadable modules.
    pub loaded: Fact<BTreeSet<String>>,
    /// Readable parameters of loaded and built-in modules that matter: (module, parameter) → value.
    pub parameters: BTreeMap<(String, String), String>,
    /// `pcie_acs_override_setup` is in `/proc/kallsyms`: the kernel carries the ACS override patch. Looked for only
    /// where a command line or its usual source has the word.
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

/// Parameters that are read where the kernel shows them (`/sys/module/<module>/parameters/<name>`), as in Linux 6.12:
/// drivers/vfio/vfio_iommu_type1.c, vfio/pci/vfio_pci.c, vfio/vfio_main.c, iommu/iommufd/main.c, virt/kvm and arch/x86/kvm.
/// A name `*` stands for all of a module.
const PARAMETERS: &[(&str, &str)] = &[
    ("i915", "enable_guc"),
    ("i915", "enable_gvt"),
    ("i915", "max_vfs"),
    ("iommufd", "allow_unsafe_interrupts"),
    ("kvm", "ignore_msrs"),
    ("kvm", "report_ignored_msrs"),
    ("kvm_amd", "avic"),
    ("kvm_amd", "nested"),
    ("kvm_amd", "npt"),
    ("kvm_intel", "enable_apicv"),
    ("kvm_intel", "ept"),
    ("kvm_intel", "nested"),
    ("nvidia_drm", "modeset"),
    ("vfio", "enable_unsafe_noiommu_mode"),
    ("vfio_iommu_type1", "*"),
    ("vfio_pci", "*"),
];

/// Reads the kernel's state; only release and command line unless more is needed.
pub fn collect(host: &dyn Host, needs: Needs) -> Kernel {
    let release = host.value("/proc/sys/kernel/osrelease").and_then(release);
    // A mounted disk runs no kernel: what a kernel would say is not known, rather than absent.
    let cmdline = file(host, "/proc/cmdline");
    let runs = !release.is_absent() || !cmdline.is_absent();
    let (release, cmdline) = (not_running(release), not_running(cmdline));
    let mut kernel = Kernel { release, cmdline, ..Kernel::default() };
    if !needs.kernel {
        return kernel;
    }
    kernel.installed = installed::collect(host, kernel.release.known().map(String::as_str));
    if runs {
        kernel.version = host.value("/proc/sys/kernel/version");
        kernel.loaded = host.text("/proc/modules").map(|text| modlist::loaded(&text));
        kernel.parameters = parameters(host);
        kernel.acs_override = acs_override(host, &kernel.cmdline);
        kernel.kvm = kvm(host);
        kernel.iomem = file(host, "/proc/iomem");
    }
    kernel
}

fn file(host: &dyn Host, path: &str) -> Fact<TextFile> {
    host.text(path).map(|text| TextFile { path: path.into(), text })
}

fn parameters(host: &dyn Host) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for (module, parameter) in PARAMETERS {
        let dir = format!("/sys/module/{module}/parameters");
        let names = match *parameter {
            "*" => host.entries(&dir).into_known().unwrap_or_default(),
            name => vec![name.to_owned()],
        };
        for name in names {
            if let Fact::Known(value) = host.value(&format!("{dir}/{name}")) {
                found.insert(((*module).to_owned(), name), value);
            }
        }
    }
    found
}

/// Looks through the kernel's symbols only if some command line asks for the override.
fn acs_override(host: &dyn Host, cmdline: &Fact<TextFile>) -> Fact<bool> {
    const WORD: &str = "pcie_acs_override";
    let sources = ["/etc/default/grub", "/etc/kernel/cmdline"];
    let asked = cmdline.known().is_some_and(|file| file.text.contains(WORD))
        || sources.iter().any(|path| host.text(path).known().is_some_and(|text| text.contains(WORD)));
    if !asked {
        return Fact::default();
    }
    let digest = Digest { name: "kallsyms-acs-override-1", compute: has_acs_override };
    host.digest("/proc/kallsyms", &digest).and_then(|bytes| match bytes.as_slice() {
        b"1" => Fact::Known(true),
        b"0" => Fact::Known(false),
        _ => Fact::Unknown(Why::Malformed("no symbols".into())),
    })
}

/// `1` or `0`: the symbol is or is not among the lines; `?` where there are no lines.
fn has_acs_override(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    const SYMBOL: &[u8] = b"pcie_acs_override_setup";
    let mut kept: Vec<u8> = Vec::new();
    let mut chunk = vec![0u8; 64 << 10];
    let mut any = false;
    loop {
        let count = match reader.read(&mut chunk) {
            Ok(0) => return Ok(if any { b"0".to_vec() } else { b"?".to_vec() }),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        any = true;
        kept.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if contains(&kept, SYMBOL) {
            return Ok(b"1".to_vec());
        }
        let tail = kept.len().saturating_sub(SYMBOL.len());
        kept.drain(..tail);
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else { return true };
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = rest.get(at..).unwrap_or_default();
        if rest.starts_with(word) {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}

/// `/dev/kvm` is there, and this user may open it; it is never opened.
/// A kernel's release, which names directories and files: at most 64 bytes (`__NEW_UTS_LEN`, Linux
/// include/uapi/linux/utsname.h) of one line, without `/`.
fn release(text: String) -> Fact<String> {
    let odd = |c: char| c == '/' || c.is_control() || c == char::REPLACEMENT_CHARACTER;
    if text.is_empty() || text.len() > 64 || text == ".." || text == "." || text.contains(odd) {
        return Fact::Unknown(Why::Malformed("no kernel release".into()));
    }
    Fact::Known(text)
}

fn kvm(host: &dyn Host) -> Kvm {
    let stat = host.stat("/dev/kvm");
    let node = stat.as_ref().map(|_| true).absent_as(false);
    let accessible = match &stat {
        Fact::Absent => Fact::Known(false),
        Fact::Unknown(why) => Fact::Unknown(why.clone()),
        Fact::Known(stat) => match user(host) {
            Some(0) => Fact::Known(true),
            _ if stat.mode & 0o006 == 0o006 => Fact::Known(true),
            Some(uid) if uid == stat.uid && stat.mode & 0o600 == 0o600 => Fact::Known(true),
            None => Fact::Unknown(Why::Io("who runs this is not known".into())),
            // The group, or the access list that logind gives to who sits at the seat, may allow it.
            _ if stat.mode & 0o060 == 0o060 => Fact::Unknown(Why::Io("depends on the user's groups".into())),
            _ => Fact::Known(false),
        },
    };
    Kvm { node, accessible }
}

/// The effective user id of whoever collects.
fn user(host: &dyn Host) -> Option<u32> {
    let status = host.text("/proc/self/status").into_known()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests;
