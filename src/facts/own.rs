//! What vfioneer itself keeps on a host, and what tells this host from every other.
//!
//! Goes in: a host. Comes out: the texts of the files that a plan may write whole, and a fingerprint.

use super::hooks;
use super::hypervisor::rom_places;
use super::{Needs, TextFile};
use crate::host::{Fact, Host};
use crate::parse::bytes::sha256;
use crate::parse::sriov_rules;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The table of functions that are claimed at boot (`parse::claims`).
pub const CLAIMS: &str = "/etc/vfioneer/claims";
/// The script that claims them in the initramfs.
pub const SCRIPT: &str = "/etc/vfioneer/claim.sh";

/// udev's rules for the virtual functions of SR-IOV (`parse::sriov_rules`).
pub const SRIOV_RULES: &str = "/etc/udev/rules.d/90-vfioneer-sriov.rules";
/// The script that they run.
pub const SRIOV_SCRIPT: &str = sriov_rules::SCRIPT;

/// Where the kernel shows the id of this boot (Linux drivers/char/random.c).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Every file that belongs to vfioneer alone. A plan writes no other file whole.
pub const FILES: &[&str] = &[
    CLAIMS,
    SCRIPT,
    "/etc/vfioneer/refresh-esps.sh",
    "/etc/initramfs-tools/hooks/vfioneer",
    "/etc/initramfs-tools/scripts/init-top/00-vfioneer",
    "/etc/initramfs/post-update.d/zzz-vfioneer",
    "/usr/share/initramfs-tools/modules.d/vfioneer",
    "/usr/lib/dracut/modules.d/90vfioneer/module-setup.sh",
    "/usr/lib/dracut/modules.d/90vfioneer/vfioneer-claim.sh",
    "/etc/dracut.conf.d/90-vfioneer.conf",
    "/etc/initcpio/install/vfioneer",
    "/etc/initcpio/hooks/vfioneer",
    "/etc/mkinitcpio.conf.d/vfioneer.conf",
    "/etc/modprobe.d/vfioneer.conf",
    "/etc/modules-load.d/vfioneer.conf",
    "/etc/default/grub.d/99-vfioneer.cfg",
    "/etc/grub.d/99_vfioneer",
    "/etc/kernel/install.d/95-vfioneer.install",
    "/etc/kernel/install.d/99-vfioneer.install",
    "/etc/kernel/postinst.d/zzz-vfioneer",
    "/etc/pacman.d/hooks/zz-vfioneer.hook",
    "/etc/cmdline.d/vfioneer.conf",
    SRIOV_SCRIPT,
    SRIOV_RULES,
];

/// Programs that run hooks of vfioneer's.
pub const PROGRAMS: &[&str] = &[
    "/usr/bin/dpkg",
    "/usr/bin/kernel-install",
    "/usr/bin/pacman",
    "/usr/bin/rpm-ostree",
    "/usr/bin/zypper",
    "/usr/bin/udevadm",
    "/bin/udevadm",
];

/// Those of them that show that udev is here: where `/bin` is merged into `/usr`, and where it is not.
pub const UDEV: &[&str] = &["/usr/bin/udevadm", "/bin/udevadm"];

/// What vfioneer keeps on a host.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Its files, by path; what is not there is absent.
    pub files: BTreeMap<String, Fact<TextFile>>,
    /// SHA-256 of the ROM files that it wrote for VMs, hex, by path.
    pub roms: BTreeMap<String, Fact<String>>,
    /// Those of [`PROGRAMS`] that the host has.
    pub programs: BTreeSet<String>,
    /// A hash of the machine id, 32 hex digits; absent if the host has none, unknown if it was not asked for.
    pub fingerprint: Fact<String>,
    /// The running boot's id (`/proc/sys/kernel/random/boot_id`); read with the fingerprint.
    pub boot_id: Fact<String>,
}

impl Own {
    /// The text of one of its files, if it is there.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.known().map(|file| file.text.as_str())
    }
}

/// Reads what vfioneer keeps on a host, where the verb needs the boot configuration.
pub fn collect(host: &dyn Host, needs: Needs) -> Own {
    let mut own = Own::default();
    if needs.boot {
        for path in FILES {
            let file = host.text(path).map(|text| TextFile { path: (*path).to_owned(), text });
            own.files.insert((*path).to_owned(), file);
        }
        for place in rom_places() {
            for name in host.entries(&place.dir).into_known().unwrap_or_default() {
                if name.starts_with("vfioneer-") && name.ends_with(".rom") {
                    let path = format!("{}/{name}", place.dir);
                    let hash = host.read(&path).map(|bytes| sha256(&bytes));
                    own.roms.insert(path, hash);
                }
            }
        }
        let has = |path: &&&str| host.exists(path) == Fact::Known(true);
        own.programs = PROGRAMS.iter().filter(has).map(|path| (*path).to_owned()).collect();
    }
    if needs.hooks {
        own.files.extend(hooks::collect(host).files);
    }
    if needs.fingerprint {
        own.fingerprint = host.value("/etc/machine-id").and_then(|id| match id.as_str() {
            "" | "uninitialized" => Fact::Absent,
            id => Fact::Known(fingerprint(id)),
        });
        own.boot_id = host.value(BOOT_ID);
    }
    own
}

/// The machine id itself is confidential (machine-id(5)): only a keyed hash of it leaves the host.
fn fingerprint(machine_id: &str) -> String {
    let hash = Sha256::new().chain_update(b"vfioneer host 1\0").chain_update(machine_id).finalize();
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
