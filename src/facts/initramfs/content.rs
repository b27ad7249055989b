//! What an image holds that matters here.
//!
//! Goes in: an image or a unified kernel image, as a stream. Comes out: a [`Content`], as JSON where it is kept.
//! Texts are kept up to a limit each and in all, so that no image fills the memory.

use crate::facts::modules::Modules;
use crate::host::Digest;
use crate::parse::cpio::Entry;
use crate::parse::modprobe::module_name;
use crate::parse::{cmdline, modprobe, pe, shell_vars, unpack};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

/// What one image holds that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Content {
    /// Kernel modules in it, names with `_`.
    pub modules: BTreeSet<String>,
    /// Text of its modprobe.d files, module lists, command line pieces and scripts' order files, by path in the image
    /// without a slash in front.
    pub files: BTreeMap<String, String>,
    /// All paths of scripts and hooks in it.
    pub scripts: Vec<String>,
}

/// The computation that gives a [`Content`]. Recordings hold its results by this name.
pub(super) const DIGEST: Digest = Digest { name: "initramfs-1", compute };

/// The largest text that is kept, in bytes; the rest of a larger one is left out.
const MAX_TEXT: u64 = 64 << 10;
/// All texts together.
const MAX_TEXTS: usize = 2 << 20;
/// The most modules, and the most scripts.
const MAX_NAMES: usize = 20_000;

/// Directories whose files are kept.
const KEPT_DIRS: &[&str] = &[
    "etc/modprobe.d/",
    "run/modprobe.d/",
    "usr/lib/modprobe.d/",
    "lib/modprobe.d/",
    "etc/modules-load.d/",
    "usr/lib/modules-load.d/",
    "lib/modules-load.d/",
    "etc/cmdline.d/",
    "conf/conf.d/",
    "etc/udev/rules.d/",
    "etc/vfioneer/",
];
/// Files that are kept: initramfs-tools' list and settings, dracut's command line, list of modules and parameters,
/// mkinitcpio's settings (at run time and at build time).
const KEPT_FILES: &[&str] = &[
    "conf/modules",
    "conf/initramfs.conf",
    "etc/modules",
    "etc/cmdline",
    "usr/lib/dracut/modules.txt",
    "lib/dracut/modules.txt",
    "usr/lib/dracut/build-parameter.txt",
    "lib/dracut/build-parameter.txt",
    "config",
    "buildconfig",
];
/// Where scripts lie that run in the initramfs: initramfs-tools, dracut (two places by age), mkinitcpio, systemd.
const SCRIPT_DIRS: &[&str] = &[
    "scripts/",
    "usr/lib/dracut/hooks/",
    "lib/dracut/hooks/",
    "var/lib/dracut/hooks/",
    "hooks/",
    "etc/systemd/system/",
];
/// A directory of many units, of which only those count that are about passthrough.
const UNITS: &str = "usr/lib/systemd/system/";

fn compute(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    serde_json::to_vec(&Content::read(reader)?).map_err(io::Error::other)
}

impl Content {
    /// Reads an image.
    pub(super) fn read(reader: &mut dyn Read) -> io::Result<Content> {
        let mut start = [0; 2];
        reader.read_exact(&mut start)?;
        let mut whole = start.as_slice().chain(reader);
        if start != *b"MZ" {
            return Content::unpack(&mut whole);
        }
        let mut image = pe::Pe::open(&mut whole)?;
        let Some(section) = image.sections.iter().find(|section| section.name == ".initrd").cloned() else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a kernel image without an initramfs"));
        };
        Content::unpack(&mut image.section(&section)?)
    }

    fn unpack(reader: &mut dyn Read) -> io::Result<Content> {
        let mut content = Content::default();
        let mut size = 0;
        unpack::read(reader, &mut |entry, data| content.add(entry, data, &mut size))?;
        content.scripts.sort();
        content.scripts.dedup();
        Ok(content)
    }

    fn add(&mut self, entry: &Entry, data: &mut dyn Read, size: &mut usize) -> io::Result<()> {
        if !entry.is_file() && !entry.is_link() {
            return Ok(());
        }
        let path = entry.path.as_str();
        let name = path.rsplit('/').next().unwrap_or_default();
        if matches!(name, "squashfs-root.img" | "erofs-root.img") {
            return Err(io::Error::new(io::ErrorKind::Unsupported, format!("its files are within {name}")));
        }
        if let Some(module) = module_of(name) {
            if self.modules.len() < MAX_NAMES {
                self.modules.insert(module);
            }
            return Ok(());
        }
        let in_dir = |dirs: &[&str]| dirs.iter().any(|dir| path.starts_with(dir));
        let ours = name.contains("vfio");
        let script = in_dir(SCRIPT_DIRS) || ours && path.starts_with(UNITS);
        if script && self.scripts.len() < MAX_NAMES {
            self.scripts.push(path.to_owned());
        }
        let keep = in_dir(KEPT_DIRS)
            || KEPT_FILES.contains(&path)
            || script && (name == "ORDER" || ours)
            || ours && path.contains("udev/rules.d/");
        if keep && entry.is_file() && *size < MAX_TEXTS {
            let mut bytes = Vec::new();
            data.take(MAX_TEXT).read_to_end(&mut bytes)?;
            *size += bytes.len() + path.len();
            self.files.insert(path.to_owned(), String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(())
    }

    /// True if the image holds this module; `-` and `_` are equal.
    pub fn has_module(&self, name: &str) -> bool {
        self.modules.contains(&module_name(name))
    }

    /// The image's copy of a file of the host, `/lib` and `/usr/lib` being the same.
    pub fn copy_of(&self, path: &str) -> Option<&str> {
        let path = path.trim_start_matches('/');
        let other = match path.strip_prefix("usr/lib/") {
            Some(rest) => format!("lib/{rest}"),
            None => format!("usr/{path}"),
        };
        self.files.get(path).or_else(|| self.files.get(&other)).map(String::as_str)
    }

    /// True if it holds any file of `/etc/modprobe.d`: dracut copies them only for this host alone (`hostonly`).
    pub fn copies_modprobe(&self) -> bool {
        self.files.keys().any(|path| path.starts_with("etc/modprobe.d/"))
    }

    /// The modules that the image loads by itself before or while devices are found, names with `_`: initramfs-tools'
    /// `conf/modules`, dracut's `rd.driver.pre=` in `etc/cmdline.d`, mkinitcpio's `MODULES` and modules-load.d.
    pub fn loads(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (path, text) in &self.files {
            if path == "conf/modules" || path.contains("modules-load.d/") {
                found.extend(modprobe::parse_list(text).iter().map(|entry| module_name(&entry.module)));
            } else if path.starts_with("etc/cmdline") {
                let line = cmdline::Cmdline::parse(text);
                let words = line.all("rd.driver.pre").flat_map(cmdline::Word::list);
                found.extend(words.filter(|name| !name.is_empty()).map(module_name));
            } else if path == "config" {
                let values = shell_vars::evaluate(&[&shell_vars::parse(text)], true);
                let list = values.get("MODULES").map_or("", |value| value.text.as_str());
                found.extend(list.split_ascii_whitespace().map(module_name));
            }
        }
        found
    }

    /// Files of modprobe.d that the host has with this text and the image has not, or has with another: what of the
    /// configuration is not in the image. Comments and blank lines do not count.
    pub fn outdated<'m>(&self, modules: &'m Modules) -> Vec<Outdated<'m>> {
        let is_modprobe = |path: &str| path.contains("/modprobe.d/");
        let mut found = Vec::new();
        for file in modules.files.iter().filter(|file| is_modprobe(&file.path)) {
            let wanted = directives(&file.text);
            match self.copy_of(&file.path) {
                Some(copy) if directives(copy) != wanted => {
                    found.push(Outdated { path: &file.path, missing: false });
                }
                None if !wanted.is_empty() => found.push(Outdated { path: &file.path, missing: true }),
                _ => {}
            }
        }
        found
    }
}

/// A file of modprobe.d that the image does not have as the host has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outdated<'a> {
    /// The host's file.
    pub path: &'a str,
    /// True if the image has no such file, false if it has another text.
    pub missing: bool,
}

fn directives(text: &str) -> Vec<(String, String, String)> {
    modprobe::parse(text).into_iter().map(|d| (d.word, d.module, d.rest)).filter(|(word, ..)| word != "#").collect()
}

/// The module in a file, by its name: `vfio-pci.ko.zst` holds `vfio_pci`.
fn module_of(name: &str) -> Option<String> {
    let stem = [".zst", ".xz", ".gz", ".lzma"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    stem.strip_suffix(".ko").filter(|stem| !stem.is_empty()).map(module_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::TextFile;
    use crate::parse::cpio::tests::build;

    fn debian() -> Vec<u8> {
        build(&[
            ("conf/modules", b"vfio-pci\nvfio ids=1\n"),
            ("conf/initramfs.conf", b"MODULES=most\n"),
            ("etc/modprobe.d/vfio.conf", b"options vfio-pci ids=10de:2684\n"),
            ("lib/modprobe.d/aliases.conf", b"alias a b\n"),
            ("scripts/init-top/ORDER", b"/scripts/init-top/udev \"$@\"\n"),
            ("scripts/init-top/udev", b"#!/bin/sh\n"),
            ("scripts/init-top/vfioneer", b"#!/bin/sh\nexec true\n"),
            ("usr/lib/modules/6.12.41+deb13-amd64/kernel/drivers/vfio/pci/vfio-pci.ko.xz", b"\x7fELF"),
            ("usr/lib/modules/6.12.41+deb13-amd64/modules.dep", b"kernel/x.ko:\n"),
            ("usr/bin/busybox", b"\x7fELF"),
        ])
    }

    #[test]
    fn initramfs_tools() {
        let image = [build(&[("kernel/x86/microcode/AuthenticAMD.bin", b"x")]), debian()].concat();
        let content = Content::read(&mut image.as_slice()).expect("read");
        assert!(content.has_module("vfio-pci") && content.modules.len() == 1);
        assert_eq!(content.scripts, ["scripts/init-top/ORDER", "scripts/init-top/udev", "scripts/init-top/vfioneer"]);
        let files: Vec<_> = content.files.keys().map(String::as_str).collect();
        let expected = [
            "conf/initramfs.conf",
            "conf/modules",
            "etc/modprobe.d/vfio.conf",
            "lib/modprobe.d/aliases.conf",
            "scripts/init-top/ORDER",
            "scripts/init-top/vfioneer",
        ];
        assert_eq!(files, expected);
        assert_eq!(content.loads().into_iter().collect::<Vec<_>>(), ["vfio", "vfio_pci"]);
        assert_eq!(content.copy_of("/usr/lib/modprobe.d/aliases.conf"), Some("alias a b\n"));
        assert!(content.copies_modprobe());
        let again: Content = serde_json::from_slice(&compute(&mut image.as_slice()).expect("computed")).expect("read");
        assert_eq!(again, content);
    }

    #[test]
    fn dracut_and_mkinitcpio() {
        let dracut = build(&[
            ("etc/cmdline.d/20-force_driver.conf", b" rd.driver.pre=vfio_pci rd.driver.pre=vfio,vfio_iommu_type1 \n"),
            ("usr/lib/dracut/hooks/pre-udev/00-vfioneer.sh", b"x"),
            ("usr/lib/dracut/modules.txt", b"systemd\n"),
            ("usr/lib/systemd/system/vfioneer-claim.service", b"[Unit]\n"),
            ("usr/lib/systemd/system/basic.target", b"[Unit]\n"),
        ]);
        let content = Content::read(&mut dracut.as_slice()).expect("read");
        assert_eq!(content.loads().into_iter().collect::<Vec<_>>(), ["vfio", "vfio_iommu_type1", "vfio_pci"]);
        assert_eq!(content.scripts.len(), 2);
        assert!(!content.copies_modprobe());
        let mkinitcpio = build(&[("config", b"MODULES=\"vfio_pci vfio\"\nEARLYHOOKS=\"udev\"\n"), ("hooks/udev", b"")]);
        let content = Content::read(&mut mkinitcpio.as_slice()).expect("read");
        assert_eq!(content.loads().into_iter().collect::<Vec<_>>(), ["vfio", "vfio_pci"]);
    }

    #[test]
    fn unified_images() {
        let image = pe::tests::build(&[(".linux", &[7; 600]), (".initrd", &debian()), (".uname", b"6.12")]);
        assert_eq!(
            Content::read(&mut image.as_slice()).expect("read"),
            Content::read(&mut debian().as_slice()).expect("read")
        );
        let without = pe::tests::build(&[(".linux", b"x")]);
        assert!(Content::read(&mut without.as_slice()).is_err());
    }

    #[test]
    fn what_is_not_in_the_image() {
        let content = Content::read(&mut debian().as_slice()).expect("read");
        let file = |path: &str, text: &str| TextFile { path: path.into(), text: text.into() };
        let modules = Modules {
            files: vec![
                file("/etc/modprobe.d/vfio.conf", "# GPU and its audio\noptions vfio-pci ids=10de:2684,10de:22ba\n"),
                file("/usr/lib/modprobe.d/aliases.conf", "\n# same\nalias a b\n"),
                file("/etc/modprobe.d/new.conf", "blacklist nouveau\n"),
                file("/etc/modprobe.d/empty.conf", "# nothing\n"),
                file("/etc/modules", "vfio\n"),
            ],
            ..Modules::default()
        };
        let expected = [
            Outdated { path: "/etc/modprobe.d/vfio.conf", missing: false },
            Outdated { path: "/etc/modprobe.d/new.conf", missing: true },
        ];
        assert_eq!(content.outdated(&modules), expected);
    }

    #[test]
    fn limits_and_odd_images() {
        let big = vec![b'a'; 300 << 10];
        let names: Vec<String> = (0..60).map(|number| format!("etc/modprobe.d/{number}.conf")).collect();
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), big.as_slice())).collect();
        let content = Content::read(&mut build(&files).as_slice()).expect("read");
        let total: usize = content.files.values().map(String::len).sum();
        assert!(total <= MAX_TEXTS + MAX_TEXT as usize, "{total}");
        let squashed = build(&[("squashfs-root.img", b"hsqs")]);
        assert_eq!(
            Content::read(&mut squashed.as_slice()).map_err(|error| error.kind()),
            Err(io::ErrorKind::Unsupported)
        );
        assert!(Content::read(&mut &b"M"[..]).is_err());
    }
}
