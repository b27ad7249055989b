//! What the files of a host say about booting, before it is decided who boots.

use super::{Chain, Generator, GrubConfig, Place};
use crate::facts::{Evidence, TextFile};
use crate::host::{Fact, Host, Why};
use std::ops::Range;
use std::sync::Arc;

/// A place, and the chains that would read it.
#[derive(Debug)]
pub(super) struct Source {
    pub place: Place,
    pub readers: Vec<Chain>,
}

/// Signs of each mechanism; the evidence is there if the mechanism is.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// `/etc/default/grub`, or a grub.cfg with a menu.
    pub grub: Option<Evidence>,
    /// GRUB reads BLS entries.
    pub grub_bls: Option<Evidence>,
    /// GRUB_ENABLE_BLSCFG is set to something but true.
    pub grub_bls_off: Option<Evidence>,
    /// ESPs that proxmox-boot-tool manages.
    pub proxmox: Option<Evidence>,
    /// `/etc/kernel/cmdline`.
    pub kernel_cmdline: Option<Evidence>,
    /// systemd-boot itself or its loader.conf.
    pub systemd_boot: Option<Evidence>,
    /// Entries made by kernel-install.
    pub installed_entries: Option<Evidence>,
    /// Other entries of the Boot Loader Specification.
    pub other_entries: Option<Evidence>,
    /// Unified kernel images.
    pub uki: Option<Evidence>,
    pub kernelstub: Option<Evidence>,
    pub sdbootutil: Option<Evidence>,
    pub limine: Option<Evidence>,
    pub refind: Option<Evidence>,
    pub ostree: Option<Evidence>,
    /// bootc without rpm-ostree.
    pub bootc: Option<Evidence>,
    pub nixos: Option<Evidence>,
}

impl Signs {
    /// Entries of the Boot Loader Specification, whoever made them.
    pub(super) fn installed_or_other(&self) -> Option<&Evidence> {
        self.installed_entries.as_ref().or(self.other_entries.as_ref())
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub sources: Vec<Source>,
    pub signs: Signs,
    pub grub: Generator,
    pub grub_configs: Vec<GrubConfig>,
    pub ukify: bool,
    pub uki_conf: Option<Arc<TextFile>>,
    pub loader_configs: Vec<Arc<TextFile>>,
    pub saved_entry: Option<Evidence>,
    pub unread: Vec<(String, Why)>,
    /// Kernel package names and the release of each (Arch: `linux` → `6.12.1-arch1-1`).
    pub packages: Vec<(String, String)>,
}

impl Found {
    /// Reads a text file; says so if it cannot be read.
    pub(super) fn text(&mut self, host: &dyn Host, path: &str) -> Option<Arc<TextFile>> {
        match host.text(path) {
            Fact::Known(text) => Some(Arc::new(TextFile { path: path.to_owned(), text })),
            Fact::Absent => None,
            Fact::Unknown(why) => {
                self.missing(path, why);
                None
            }
        }
    }

    /// Lists a directory; says so if it cannot be listed.
    pub(super) fn list(&mut self, host: &dyn Host, dir: &str) -> Vec<String> {
        match host.entries(dir) {
            Fact::Known(names) => names,
            Fact::Absent => Vec::new(),
            Fact::Unknown(why) => {
                self.missing(dir, why);
                Vec::new()
            }
        }
    }

    pub(super) fn missing(&mut self, path: &str, why: Why) {
        // A recording names what it does not hold by leaving it out; only what was looked for and refused matters.
        let below = |known: &str| path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if why != Why::NotRecorded && !self.unread.iter().any(|(known, _)| below(known)) {
            self.unread.push((path.to_owned(), why));
        }
    }

    /// Evidence that a path is there.
    pub(super) fn there(&mut self, host: &dyn Host, path: &str) -> Option<Evidence> {
        match host.exists(path) {
            Fact::Known(true) => Some(Evidence::new(path, "present")),
            _ => None,
        }
    }

    /// The release of a kernel image by its name, through the package's name if need be.
    pub(super) fn release_of(&self, image: &str) -> Option<String> {
        crate::parse::grub_cfg::release_of(image).or_else(|| {
            let name = image.rsplit(['/', '\\']).next()?;
            let package = name.strip_prefix("vmlinuz-")?;
            self.packages.iter().find(|(known, _)| known == package).map(|(_, release)| release.clone())
        })
    }

    /// Adds a place that nobody's effectiveness is decided of yet.
    pub(super) fn add(&mut self, place: Place, readers: &[Chain]) {
        self.sources.push(Source { place, readers: readers.to_vec() });
    }
}

/// A place with position and words; the rest is for the caller to fill.
pub(super) fn place(file: &Arc<TextFile>, line: u32, range: Range<usize>, key: &str, words: Vec<String>) -> Place {
    Place { file: Arc::clone(file), line, range, key: key.to_owned(), words, ..Place::default() }
}

/// Kernel packages by the file `pkgbase` of the module directories, as Arch and its relatives have it.
pub(in crate::facts) fn packages(host: &dyn Host) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let base = "/usr/lib/modules";
    for release in host.entries(base).into_known().unwrap_or_default() {
        if let Fact::Known(package) = host.value(&format!("{base}/{release}/pkgbase")) {
            found.push((package, release));
        }
    }
    found
}
