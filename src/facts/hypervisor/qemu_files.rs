//! QEMU and its UEFI firmware as distributions install them: the rows of `data/qemu.toml`, and which of them a host has.

use crate::facts::system::Distro;
use crate::host::Host;
use serde::Deserialize;
use std::sync::OnceLock;

/// One distribution's, for one architecture.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QemuFiles {
    /// `ID`, or a word of `ID_LIKE`, or `proxmox`.
    pub distros: Vec<String>,
    /// `x86_64`, `aarch64`: as QEMU names it.
    pub arch: String,
    /// The emulator: a name in `PATH`, or a path.
    pub program: String,
    /// The firmware, for a flash that is read-only.
    pub code: String,
    /// Its variables as they are at first, without Secure Boot's keys.
    pub vars: String,
    /// Where that is known from.
    pub source: String,
}

#[derive(Deserialize)]
struct Table {
    qemu: Vec<QemuFiles>,
}

fn rows() -> &'static [QemuFiles] {
    static ROWS: OnceLock<Vec<QemuFiles>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let text = include_str!("../../../data/qemu.toml");
        toml::from_str::<Table>(text).map(|table| table.qemu).unwrap_or_default()
    })
}

/// The rows whose firmware is on a host.
pub(super) fn found(host: &dyn Host) -> Vec<&'static QemuFiles> {
    rows().iter().filter(|row| super::there(host, &row.code)).collect()
}

impl QemuFiles {
    /// The files for VMs of an architecture: the distribution's, where they are here or nothing is; else any that are. Debian's where nothing
    /// is known. None for an architecture without rows.
    pub fn of(arch: &str, distro: Option<&Distro>, here: &[&'static QemuFiles]) -> Option<&'static QemuFiles> {
        let of_arch = || rows().iter().filter(|row| row.arch == arch);
        let own = distro.and_then(|distro| {
            let proxmox = distro.proxmox.as_ref().map(|_| "proxmox");
            let mut ids = proxmox.into_iter().chain([distro.id.as_str()]).chain(distro.like.iter().map(String::as_str));
            ids.find_map(|id| of_arch().find(|row| row.distros.iter().any(|name| name == id)))
        });
        own.filter(|row| here.contains(row))
            .or_else(|| here.iter().copied().find(|row| row.arch == arch))
            .or(own)
            .or_else(|| of_arch().find(|row| row.distros.iter().any(|name| name == "debian")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let rows = toml::from_str::<Table>(include_str!("../../../data/qemu.toml")).unwrap().qemu;
        for row in &rows {
            let paths = [&row.code, &row.vars];
            assert!(paths.iter().all(|path| path.starts_with('/')) && !row.source.is_empty(), "{row:?}");
            assert!(row.program.ends_with("qemu-kvm") || row.program.ends_with(&row.arch), "{row:?}");
        }
    }

    #[test]
    fn whose() {
        let distro = |id: &str, like: &str, proxmox: bool| Distro {
            id: id.into(),
            like: like.split(' ').map(str::to_owned).collect(),
            proxmox: proxmox.then(|| "9.0".into()),
            ..Distro::default()
        };
        let code = |arch: &str, distro: Distro, here: &[&'static QemuFiles]| {
            QemuFiles::of(arch, Some(&distro), here).map(|row| row.code.as_str())
        };
        let x86 = |distro: Distro, here: &[&'static QemuFiles]| code("x86_64", distro, here).unwrap();
        assert_eq!(x86(distro("ubuntu", "debian", false), &[]), "/usr/share/OVMF/OVMF_CODE_4M.fd");
        assert!(x86(distro("debian", "", true), &[]).contains("pve-edk2"));
        let rocky = QemuFiles::of("x86_64", Some(&distro("rocky", "rhel centos fedora", false)), &[]).unwrap();
        assert_eq!(rocky.program, "/usr/libexec/qemu-kvm");
        let suse = rows().iter().find(|row| row.code.contains("4m-code.bin")).unwrap();
        assert_eq!(x86(distro("arch", "", false), &[suse]), suse.code, "what is here counts");
        assert!(
            x86(distro("arch", "", false), &[suse, rows().iter().find(|row| row.distros == ["arch"]).unwrap()])
                .contains("x64")
        );
        assert_eq!(x86(distro("gentoo", "", false), &[]), "/usr/share/OVMF/OVMF_CODE_4M.fd");
        assert!(code("aarch64", distro("ubuntu", "debian", false), &[suse]).unwrap().contains("AAVMF"));
        assert_eq!(code("riscv64", distro("ubuntu", "debian", false), &[]), None);
    }
}
