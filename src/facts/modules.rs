//! modprobe configuration and the lists of modules to load at boot.

use super::TextFile;
use crate::host::Host;

/// One directive of modprobe.d(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directive {
    /// Index into [`Modules::files`].
    pub file: usize,
    /// The first line of it, counted from 1.
    pub line: u32,
    /// Its bytes in the file's text, continuation lines included.
    pub range: std::ops::Range<usize>,
    /// `options`, `blacklist`, `softdep`, `install`, `remove`, `alias`, `weakdep`, or the word that stands there if unknown.
    pub word: String,
    /// The module or pattern named.
    pub module: String,
    /// All that follows, continuation lines joined.
    pub rest: String,
}

/// A list of modules to load, by who reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// `/etc/modules` and modules-load.d: after the root file system is mounted.
    #[default]
    ModulesLoad,
    /// `/etc/initramfs-tools/modules` and its modules.d directories.
    InitramfsTools,
    /// dracut's `force_drivers`: in the image and loaded before udev.
    DracutForce,
    /// dracut's `add_drivers`: in the image, not loaded by itself.
    DracutAdd,
    /// mkinitcpio's `MODULES`.
    Mkinitcpio,
}

/// One entry of a list of modules to load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadEntry {
    /// Index into [`Modules::files`].
    pub file: usize,
    /// Counted from 1.
    pub line: u32,
    /// The module as written.
    pub module: String,
    /// What follows it on the line (initramfs-tools takes arguments).
    pub arguments: String,
    /// True if the module is loaded in the initramfs, false if after the root file system is mounted or never.
    pub early: bool,
    /// Which list it is.
    pub list: List,
    /// False if nothing on this host reads the list: the lists of a generator that does not build the images.
    pub effective: bool,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// Every file read: modprobe.d in order of effect, /etc/modules, modules-load.d, initramfs lists.
    pub files: Vec<TextFile>,
    /// modprobe.d directives in order of effect.
    pub directives: Vec<Directive>,
    /// Modules asked for at boot.
    pub load: Vec<LoadEntry>,
}

/// Reads modprobe.d and the module lists.
pub fn collect(_host: &dyn Host) -> Modules {
    Modules::default()
}
