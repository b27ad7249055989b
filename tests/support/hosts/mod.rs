//! Constructed hosts: `tests/hosts/<name>/host.toml` in, a file tree as the kernel and the distribution would show it out.
//!
//! The TOML says what the machine is (board, CPU, kernel, IOMMU, functions) and holds configuration files as
//! they are; sysfs, procfs and config space are made from that. See CONTRIBUTING.md, "Add a recorded host".

#![allow(clippy::expect_used)]

pub mod config_space;
pub mod images;
pub mod machine;
pub mod recorded;
pub mod rom_files;
#[path = "../roms.rs"]
pub mod roms;
pub mod sysfs;

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One constructed host, as written in `host.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFile {
    /// Where it comes from: "constructed from …", never a pretence.
    pub source: String,
    /// What it is there to show.
    pub about: String,
    /// What `check` must and must not say.
    pub expect: Expect,
    /// Goals by name, each with its plan on record: `expected/plan-<name>.txt` and `.json` (`tests/plans.rs`).
    #[serde(default, rename = "plan")]
    pub plans: BTreeMap<String, vfioneer::goal::Request>,
    /// Board, firmware, CPU.
    pub system: machine::System,
    /// Running and installed kernels.
    pub kernel: machine::Kernel,
    /// IOMMU; left out: none.
    pub iommu: Option<machine::Iommu>,
    /// PCI functions.
    #[serde(default, rename = "function")]
    pub functions: Vec<sysfs::Function>,
    /// Drivers of functions that a base describes, by address.
    #[serde(default, rename = "driver")]
    pub drivers: BTreeMap<String, String>,
    /// `driver_override` of functions that a base describes, by address.
    #[serde(default, rename = "override")]
    pub overrides: BTreeMap<String, String>,
    /// USB devices.
    #[serde(default, rename = "usb")]
    pub usb: Vec<sysfs::Usb>,
    /// Further files by absolute path.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Option ROM files by absolute path.
    #[serde(default)]
    pub rom: BTreeMap<String, rom_files::RomFile>,
    /// Further symbolic links: path to target.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Empty directories.
    #[serde(default)]
    pub dirs: Vec<String>,
    /// initramfs images by path.
    #[serde(default)]
    pub image: BTreeMap<String, images::Image>,
    /// Unified kernel images by path.
    #[serde(default)]
    pub uki: BTreeMap<String, images::Uki>,
    /// Processes besides init and kthreadd.
    #[serde(default, rename = "process")]
    pub processes: Vec<machine::Process>,
    /// EFI variables, `Name-GUID` to hex bytes or text.
    #[serde(default)]
    pub efi: BTreeMap<String, machine::EfiValue>,
    /// This boot's kernel messages.
    #[serde(default)]
    pub dmesg: String,
}

impl HostFile {
    fn function(&mut self, address: &str) -> &mut sysfs::Function {
        let found = self.functions.iter_mut().find(|function| function.at == address);
        found.unwrap_or_else(|| panic!("no function {address}"))
    }
}

/// What `check` must and must not say of a host, written by hand from the facts.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// `id` or `id@subject`; prefix `error:`, `warning:` or `info:` to fix the severity.
    #[serde(default)]
    pub must: Vec<String>,
    /// Ids that must not be reported at all.
    #[serde(default)]
    pub must_not: Vec<String>,
    /// True: no error and no warning.
    #[serde(default)]
    pub healthy: bool,
    /// Verdict word per device selector.
    #[serde(default)]
    pub verdict: BTreeMap<String, String>,
    /// The boot chain by the name of its variant, e.g. `ProxmoxSystemdBoot`.
    pub chain: Option<String>,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A file's bytes.
    File(Vec<u8>),
    /// A file or directory that may not be read.
    Denied,
    /// A symbolic link's target.
    Link(String),
    /// A directory.
    Dir,
}

/// A tree of absolute paths.
pub type Tree = BTreeMap<String, Entry>;

/// The directory of all constructed hosts.
pub fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hosts")
}

/// Names of all constructed hosts, sorted.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir())
        .expect("tests/hosts")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.join("host.toml").is_file())
        .map(|path| path.file_name().expect("name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Reads one host's description, with the bases that it names below it.
pub fn load(name: &str) -> HostFile {
    let path = dir().join(name).join("host.toml");
    let table = with_bases(&path);
    let mut host = HostFile::deserialize(table).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (address, driver) in std::mem::take(&mut host.drivers) {
        host.function(&address).driver = Some(driver);
    }
    for (address, driver) in std::mem::take(&mut host.overrides) {
        host.function(&address).driver_override = Some(driver);
    }
    if host.iommu.as_ref().is_none_or(|iommu| iommu.off) {
        host.functions.iter_mut().for_each(|function| function.group = None);
    }
    host
}

/// `base = ["a", "b"]` puts `tests/support/hosts/base/a.toml`, then b, then the file itself on top of each other:
/// tables merge, lists of tables are joined, everything else is replaced.
fn with_bases(path: &Path) -> toml::Table {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut table: toml::Table = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut whole = toml::Table::new();
    if let Some(toml::Value::Array(bases)) = table.remove("base") {
        for base in bases {
            let name = base.as_str().unwrap_or_else(|| panic!("{}: base", path.display()));
            let file =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/hosts/base").join(format!("{name}.toml"));
            lay(&mut whole, with_bases(&file));
        }
    }
    lay(&mut whole, table);
    whole
}

fn lay(below: &mut toml::Table, above: toml::Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => lay(old, new),
            (Some(toml::Value::Array(old)), toml::Value::Array(new)) if old.iter().any(toml::Value::is_table) => {
                old.extend(new);
            }
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

/// Makes the whole tree of a host.
pub fn tree(host: &HostFile) -> Tree {
    let mut tree = Tree::new();
    machine::add(&mut tree, host);
    sysfs::add(&mut tree, host);
    for (path, text) in &host.files {
        tree.insert(path.clone(), Entry::File(text.clone().into_bytes()));
    }
    for (path, rom) in &host.rom {
        tree.insert(path.clone(), Entry::File(rom.bytes()));
    }
    for (path, target) in &host.links {
        tree.insert(path.clone(), Entry::Link(target.clone()));
    }
    for path in &host.dirs {
        tree.insert(path.clone(), Entry::Dir);
    }
    if host.system.without_root {
        machine::forbid(&mut tree);
    }
    tree
}

/// Writes a tree below a directory, for `--root`.
pub fn write(tree: &Tree, root: &Path) -> std::io::Result<()> {
    for (path, entry) in tree {
        let at = root.join(path.trim_start_matches('/'));
        if let Some(parent) = at.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match entry {
            Entry::File(bytes) => std::fs::write(at, bytes)?,
            Entry::Link(target) => std::os::unix::fs::symlink(target, at)?,
            Entry::Dir => std::fs::create_dir_all(at)?,
            Entry::Denied => {}
        }
    }
    Ok(())
}

/// Adds a text file with a line end.
pub fn line(tree: &mut Tree, path: impl Into<String>, text: impl std::fmt::Display) {
    tree.insert(path.into(), Entry::File(format!("{text}\n").into_bytes()));
}
