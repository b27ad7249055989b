//! The initramfs generator, its configuration, and what the images of all kernels hold.
//!
//! Goes in: a host. Comes out: an [`Initramfs`]. Images are read only if needed, as a stream, and nothing is built.

mod generator;

use super::kernel::Kernel;
use super::{Evidence, Needs, TextFile};
use crate::host::{Fact, Host, Why};
use std::collections::{BTreeMap, BTreeSet};

pub(super) use generator::find as find_generator;

/// Which program builds the images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    /// Debian's initramfs-tools.
    InitramfsTools,
    /// dracut.
    Dracut,
    /// Arch's mkinitcpio.
    Mkinitcpio,
    /// rpm-ostree's server-side or client-side dracut.
    RpmOstree,
    /// booster.
    Booster,
    /// NixOS's own.
    NixOs,
}

/// What one image holds that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Content {
    /// Kernel modules in it, names with `_`.
    pub modules: BTreeSet<String>,
    /// Text of its modprobe.d files, module lists, command line pieces and scripts' order files, by path in the image.
    pub files: BTreeMap<String, String>,
    /// All paths of scripts and hooks in it.
    pub scripts: Vec<String>,
}

/// One image.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Its path.
    pub path: String,
    /// The kernel it is for.
    pub release: String,
    /// Seconds since 1970.
    pub mtime: i64,
    /// True for a unified kernel image.
    pub unified: bool,
    /// What it holds; unknown if it was not opened.
    pub content: Fact<Content>,
}

/// initramfs of a host.
#[derive(Clone, Debug, Default)]
pub struct Initramfs {
    /// Who builds the images; absent if the host has no such program.
    pub generator: Fact<Generator>,
    /// What says so.
    pub evidence: Vec<Evidence>,
    /// Configuration files of the generator.
    pub config: Vec<TextFile>,
    /// One image or more per installed kernel.
    pub images: Vec<Image>,
    /// What could not be read and would have helped.
    pub unread: Vec<(String, Why)>,
}

/// Reads the generator's configuration, and the images if needed.
pub fn collect(host: &dyn Host, _needs: Needs, _kernel: &Kernel) -> Initramfs {
    let (generator, evidence) = find_generator(host);
    Initramfs { generator, evidence, ..Initramfs::default() }
}
