//! The boot chain: which loader really boots, every place that can set the kernel command line, and the
//! entries that can boot.
//!
//! Goes in: a host. Comes out: a [`Boot`]. Nothing is mounted, and no loader is asked to do anything.

mod decide;
mod effect;
mod entries;
mod firmware;
mod found;
mod grub;
mod rows;
mod sources;

pub use effect::{
    BY_HAND, Configured, Entry, Reach, booting_entries, configured_words, is_apart, is_normal, normal_entries,
    releases_without,
};
pub use entries::read_unified;
pub use grub::Generator;
pub use rows::{commands_by_hand, initrd_by_hand, refresh_command, words_by_hand};

pub(super) use found::packages;

use super::kernel::Kernel;
use super::{Evidence, TextFile};
use crate::host::{Fact, Host, Kind};
use crate::parse::cmdline::Cmdline;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// The boot chains: who writes what the loader reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Chain {
    /// `/etc/default/grub` and `grub-mkconfig` (Debian family, Arch, openSUSE, Proxmox without managed ESPs).
    Grub,
    /// GRUB with BLS entries and grubby (EL 8 and later, Fedora).
    GrubBls,
    /// proxmox-boot-tool and systemd-boot: the first line of `/etc/kernel/cmdline`.
    ProxmoxSystemdBoot,
    /// proxmox-boot-tool and GRUB on the managed ESPs.
    ProxmoxGrub,
    /// systemd-boot with kernel-install: `/etc/kernel/cmdline`.
    SystemdBoot,
    /// systemd-boot with entries written by hand (Arch).
    SystemdBootEntries,
    /// Unified kernel images.
    Uki,
    /// rpm-ostree kernel arguments.
    Ostree,
    /// bootc.
    Bootc,
    /// kernelstub (Pop!_OS).
    Kernelstub,
    /// sdbootutil (openSUSE).
    Sdbootutil,
    /// Limine.
    Limine,
    /// rEFInd.
    Refind,
    /// NixOS's generator.
    NixOs,
    /// Nothing that is known.
    #[default]
    Unknown,
}

impl Chain {
    /// Its name in `data/boot_chains.toml`.
    pub fn id(self) -> &'static str {
        match self {
            Chain::Grub => "grub",
            Chain::GrubBls => "grub-bls",
            Chain::ProxmoxSystemdBoot => "proxmox-systemd-boot",
            Chain::ProxmoxGrub => "proxmox-grub",
            Chain::SystemdBoot => "systemd-boot",
            Chain::SystemdBootEntries => "systemd-boot-entries",
            Chain::Uki => "uki",
            Chain::Ostree => "ostree",
            Chain::Bootc => "bootc",
            Chain::Kernelstub => "kernelstub",
            Chain::Sdbootutil => "sdbootutil",
            Chain::Limine => "limine",
            Chain::Refind => "refind",
            Chain::NixOs => "nixos",
            Chain::Unknown => "",
        }
    }

    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Chain::Grub => "GRUB",
            Chain::GrubBls => "GRUB with BLS entries",
            Chain::ProxmoxSystemdBoot => "proxmox-boot-tool with systemd-boot",
            Chain::ProxmoxGrub => "proxmox-boot-tool with GRUB",
            Chain::SystemdBoot => "systemd-boot with kernel-install",
            Chain::SystemdBootEntries => "systemd-boot",
            Chain::Uki => "a unified kernel image",
            Chain::Ostree => "rpm-ostree",
            Chain::Bootc => "bootc",
            Chain::Kernelstub => "systemd-boot with kernelstub",
            Chain::Sdbootutil => "sdbootutil",
            Chain::Limine => "Limine",
            Chain::Refind => "rEFInd",
            Chain::NixOs => "NixOS's generator",
            Chain::Unknown => "an unknown loader",
        }
    }
}

/// One boot chain that may be the one that boots, with what speaks for it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which.
    pub chain: Chain,
    /// What speaks for it, strongest first.
    pub evidence: Vec<Evidence>,
    /// True if the evidence is of the running boot itself (EFI variables, `/proc/cmdline`), not only of files.
    pub proven: bool,
}

/// One place that sets kernel parameters.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The file and its text.
    pub file: Arc<TextFile>,
    /// The line, counted from 1.
    pub line: u32,
    /// The bytes of the file's text that hold the words (of a shell assignment, the value with its quotes);
    /// empty where the file is no text (a unified kernel image).
    pub range: Range<usize>,
    /// What the words are given to: `GRUB_CMDLINE_LINUX_DEFAULT`, `options`, `linux`; empty for a file that holds
    /// nothing but words.
    pub key: String,
    /// The kernel words that it gives, quotes and variable name removed. A word may hold a `$variable` of the
    /// boot loader that could not be resolved.
    pub words: Vec<String>,
    /// Which chain reads it.
    pub chain: Chain,
    /// True if the chain that boots reads this file (and, of a file with a first-line rule, this line).
    pub effective: bool,
    /// True if it is what the loader itself reads (a BLS entry, grub.cfg), not a source for a generator.
    pub generated: bool,
    /// Of a boot entry: which kernel release it boots, where known.
    pub release: Option<String>,
    /// Of a boot entry: its title or file name.
    pub title: Option<String>,
}

/// A grub.cfg.
#[derive(Clone, Debug, Default)]
pub struct GrubConfig {
    /// The file and its text.
    pub file: Arc<TextFile>,
    /// True if it has no menu and only leads to another file.
    pub stub: bool,
    /// True if it lies on an ESP, below `EFI/`.
    pub esp: bool,
    /// True if it reads BLS entries.
    pub blscfg: bool,
    /// The variables that it sets.
    pub variables: BTreeMap<String, String>,
}

/// The boot chain of a host.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The chains that may boot, the most likely first. One proven one is an answer; more are shown with their evidence.
    pub candidates: Vec<Candidate>,
    /// All places that set kernel parameters, sources and entries.
    pub places: Vec<Place>,
    /// The loader as UEFI names it: `BootCurrent`'s description and path.
    pub efi_entry: Fact<String>,
    /// `root=` of the running kernel.
    pub root: Option<String>,
    /// `LoaderInfo`, e.g. `systemd-boot 255.4`.
    pub loader_info: Fact<String>,
    /// `LoaderEntrySelected`: the entry that booted, e.g. `arch.conf`.
    pub entry_selected: Fact<String>,
    /// `saved_entry` of grubenv: what GRUB boots next if its default is `saved`.
    pub saved_entry: Option<Evidence>,
    /// What makes GRUB's configuration.
    pub grub: Generator,
    /// kernel-install has ukify's plugin.
    pub ukify: bool,
    /// ukify's settings (ukify(1) uki.conf), where there are some.
    pub uki_conf: Option<Arc<TextFile>>,
    /// Every grub.cfg.
    pub grub_configs: Vec<GrubConfig>,
    /// Every loader.conf of systemd-boot.
    pub loader_configs: Vec<Arc<TextFile>>,
    /// What could not be read and would have helped, an ESP that is not mounted included.
    pub unread: Vec<(String, crate::host::Why)>,
}

impl Boot {
    /// The chain that boots, if one is certain or the only one.
    pub fn chain(&self) -> Option<Chain> {
        match self.candidates.as_slice() {
            [] => None,
            [one] => Some(one.chain),
            [first, second, ..] => (first.proven && !second.proven).then_some(first.chain),
        }
    }
}

/// Finds the boot chain.
pub fn collect(host: &dyn Host, kernel: &Kernel) -> Boot {
    let mut found = found::Found { packages: packages(host), ..found::Found::default() };
    grub::collect(host, &mut found);
    entries::collect(host, &mut found);
    sources::collect(host, &mut found);

    // A rescue system's own /proc and /sys may be bound into the tree that is looked at. Files of procfs have no size.
    let foreign = host.kind() == Kind::Mounted && host.stat("/proc/cmdline").known().is_none_or(|stat| stat.size == 0);
    let firmware = if foreign { firmware::Firmware::default() } else { firmware::Firmware::read(host) };
    let cmdline = kernel.cmdline.known().filter(|_| !foreign).map(|file| file.text.as_str());
    let running = decide::Running { cmdline, firmware: &firmware };
    let candidates = decide::candidates(&found, &running);

    // One proven chain decides; else a place counts if any chain that may boot reads it.
    let chains: Vec<Chain> = match candidates.first() {
        Some(first) if first.proven => vec![first.chain],
        _ => candidates.iter().map(|candidate| candidate.chain).collect(),
    };
    let mut places = Vec::new();
    for source in found.sources {
        let reader = chains.iter().find(|chain| source.readers.contains(chain));
        let chain = reader.copied().unwrap_or(source.place.chain);
        places.push(Place { effective: reader.is_some(), chain, ..source.place });
    }
    Boot {
        candidates,
        places,
        efi_entry: firmware.entry.map(|entry| format!("{} {}", entry.description, entry.path).trim().to_owned()),
        root: cmdline.and_then(|text| Cmdline::parse(text).value("root").map(str::to_owned)),
        loader_info: firmware.loader,
        entry_selected: firmware.selected,
        saved_entry: found.saved_entry,
        grub: found.grub,
        ukify: found.ukify,
        uki_conf: found.uki_conf,
        grub_configs: found.grub_configs,
        loader_configs: found.loader_configs,
        unread: found.unread,
    }
}

#[cfg(test)]
mod tests;
