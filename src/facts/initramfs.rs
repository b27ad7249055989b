//! The initramfs generator, its configuration, and what the images of all kernels hold.

use super::kernel::Kernel;
use super::{Needs, TextFile};
use crate::host::{Fact, Host};
use std::collections::{BTreeMap, BTreeSet};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// What it holds; unknown if it was not opened.
    pub content: Fact<Content>,
}

/// initramfs of a host.
#[derive(Clone, Debug, Default)]
pub struct Initramfs {
    /// Who builds the images; absent if the host has no such program.
    pub generator: Fact<Generator>,
    /// Configuration files of the generator.
    pub config: Vec<TextFile>,
    /// One image or more per installed kernel.
    pub images: Vec<Image>,
}

/// Reads the generator's configuration, and the images if needed.
pub fn collect(_host: &dyn Host, _needs: Needs, _kernel: &Kernel) -> Initramfs {
    Initramfs::default()
}
