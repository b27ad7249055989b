//! modprobe configuration and the lists of modules to load at boot.

use super::TextFile;
use crate::host::Host;

/// One directive of modprobe.d(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// Index into [`Modules::files`].
    pub file: usize,
    /// The first line of it, counted from 1.
    pub line: u32,
    /// `options`, `blacklist`, `softdep`, `install`, `remove`, `alias`, `weakdep`, or the word that stands there if unknown.
    pub word: String,
    /// The module or pattern named.
    pub module: String,
    /// All that follows, continuation lines joined.
    pub rest: String,
}

/// One entry of a list of modules to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadEntry {
    /// Index into [`Modules::files`].
    pub file: usize,
    /// Counted from 1.
    pub line: u32,
    /// The module as written.
    pub module: String,
    /// True if the list is read in the initramfs, false if after the root file system is mounted.
    pub early: bool,
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
