//! Where the images lie, and for which kernel each is.

use super::content::{Content, DIGEST};
use super::{Image, Initramfs};
use crate::facts::boot::packages;
use crate::facts::kernel::Kernel;
use crate::host::{Fact, Host, Why};
use std::collections::BTreeSet;

/// Directories that hold images or an ESP.
const ROOTS: &[&str] = &["/boot", "/boot/efi", "/efi"];
/// How images are named: `initrd.img-R` (Debian), `initramfs-R.img` (dracut), `initrd-R` (openSUSE), `initramfs-PACKAGE.img`
/// (mkinitcpio), `booster-PACKAGE.img`.
const NAMES: &[(&str, &str)] =
    &[("initrd.img-", ""), ("initramfs-", ".img"), ("initrd-", ""), ("booster-", ".img"), ("initramfs-", "")];

/// Finds the images of the installed kernels, and opens them if wanted.
pub(super) fn collect(host: &dyn Host, open: bool, kernel: &Kernel, found: &mut Initramfs) {
    let names = Names {
        releases: kernel.installed.iter().map(|kernel| kernel.release.clone()).collect(),
        packages: packages(host),
    };
    let mut search = Search { host, open, names, found, seen: BTreeSet::new() };
    for root in ROOTS {
        // `/efi` is a link to `/boot/efi` on some hosts.
        if host.link(root).known().is_none() {
            search.root(root);
        }
    }
    found.images.sort_by(|a, b| (&a.release, &a.path).cmp(&(&b.release, &b.path)));
}

struct Names {
    releases: BTreeSet<String>,
    /// (package, release), as for Arch.
    packages: Vec<(String, String)>,
}

impl Names {
    /// The release of an image with this name; none if it is no image, or of no installed kernel. Where no kernel is
    /// known, every release is taken.
    fn release(&self, name: &str) -> Option<String> {
        NAMES.iter().find_map(|(start, end)| {
            let middle = name.strip_prefix(start)?.strip_suffix(end)?;
            if self.releases.contains(middle) {
                return Some(middle.to_owned());
            }
            let package = middle.strip_suffix("-fallback").unwrap_or(middle);
            if let Some((_, release)) = self.packages.iter().find(|(known, _)| known == package) {
                return Some(release.clone());
            }
            let plausible = middle.contains('.')
                && middle.starts_with(|c: char| c.is_ascii_digit())
                && ![".old", ".bak", ".new", ".img", "kdump"].iter().any(|end| middle.contains(end));
            (self.releases.is_empty() && plausible).then(|| middle.to_owned())
        })
    }

    /// The release of a unified image `TOKEN-RELEASE.efi` or `arch-PACKAGE.efi`; empty if its name does not tell.
    fn of_unified(&self, name: &str) -> String {
        let stem = name.trim_end_matches(".efi");
        // Boot counting: `+3-1`.
        let stem = stem
            .rsplit_once('+')
            .filter(|(_, tries)| tries.starts_with(|c: char| c.is_ascii_digit()) && !tries.contains('.'))
            .map_or(stem, |(stem, _)| stem);
        let by_release =
            self.releases.iter().filter(|release| stem.ends_with(release.as_str())).max_by_key(|r| r.len());
        let package = stem.strip_suffix("-fallback").unwrap_or(stem);
        let by_package = || {
            let matching = self.packages.iter().filter(|(known, _)| {
                package.strip_suffix(known.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('-'))
            });
            matching.max_by_key(|(known, _)| known.len()).map(|(_, release)| release)
        };
        by_release.or_else(by_package).cloned().unwrap_or_default()
    }
}

/// Reads what one image holds that matters here.
pub fn read(host: &dyn Host, path: &str) -> Fact<Content> {
    host.digest(path, &DIGEST).and_then(|bytes| Fact::from(serde_json::from_slice::<Content>(&bytes)))
}

/// Files that every kernel has here.
const FILES: &[&str] =
    &["vmlinu", "config-", "System.map-", "symvers-", "init", "Image", "kernel-", "booster-", "memtest", "."];

/// What is none of these files, and none of the directories of loaders, may be a token or `ostree`.
fn is_directory(name: &str) -> bool {
    !FILES.iter().any(|start| name.starts_with(start))
        && !matches!(name, "EFI" | "grub" | "grub2" | "loader" | "efi" | "lost+found")
}

/// One search over all directories.
struct Search<'a> {
    host: &'a dyn Host,
    open: bool,
    names: Names,
    found: &'a mut Initramfs,
    seen: BTreeSet<String>,
}

impl Search<'_> {
    fn root(&mut self, root: &str) {
        for name in self.list(root) {
            let path = format!("{root}/{name}");
            if let Some(release) = self.names.release(&name) {
                self.add(path, release, false);
            } else if is_directory(&name) {
                // kernel-install: TOKEN/RELEASE/initrd…; rpm-ostree: ostree/NAME/initramfs-R.img.
                self.directory(&path);
            }
        }
        self.below_efi(&format!("{root}/EFI"));
        let dir = format!("{root}/EFI/Linux");
        for name in self.list(&dir).into_iter().filter(|name| name.ends_with(".efi")) {
            let release = self.names.of_unified(&name);
            self.add(format!("{dir}/{name}"), release, true);
        }
    }

    /// Images that lie directly in a directory of the ESP's `EFI`, put there by hand or by a preset. Proxmox's own tool keeps those of its
    /// directory.
    fn below_efi(&mut self, dir: &str) {
        for vendor in self.list(dir).into_iter().filter(|name| !matches!(name.as_str(), "Linux" | "proxmox")) {
            for file in self.host.entries(&format!("{dir}/{vendor}")).into_known().unwrap_or_default() {
                if let Some(release) = self.names.release(&file) {
                    self.add(format!("{dir}/{vendor}/{file}"), release, false);
                }
            }
        }
    }

    fn directory(&mut self, dir: &str) {
        for child in self.host.entries(dir).into_known().unwrap_or_default() {
            let path = format!("{dir}/{child}");
            let Fact::Known(files) = self.host.entries(&path) else {
                // A copy that somebody put there by hand.
                if let Some(release) = self.names.release(&child) {
                    self.add(path, release, false);
                }
                continue;
            };
            for file in files {
                let of_release = self.names.releases.contains(&child)
                    && (file.starts_with("initrd") || file.starts_with("initramfs"));
                let release = if of_release { Some(child.clone()) } else { self.names.release(&file) };
                if let Some(release) = release {
                    self.add(format!("{path}/{file}"), release, false);
                }
            }
        }
    }

    fn list(&mut self, dir: &str) -> Vec<String> {
        match self.host.entries(dir) {
            Fact::Known(names) => names,
            Fact::Unknown(why @ (Why::NotPermitted | Why::TooLarge)) => {
                self.found.unread.push((dir.to_owned(), why));
                Vec::new()
            }
            // Most names are files or are not there.
            _ => Vec::new(),
        }
    }

    fn add(&mut self, path: String, release: String, unified: bool) {
        if !self.seen.insert(path.clone()) {
            return;
        }
        let Fact::Known(stat) = self.host.stat(&path) else { return };
        let content = if self.open { read(self.host, &path) } else { Fact::default() };
        self.found.images.push(Image { path, release, mtime: stat.mtime, unified, content });
    }
}
