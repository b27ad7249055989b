//! Pages that no finding has: symptoms that people search for, and terms. Each leads to findings by id.

macro_rules! pages {
    ($($id:literal),* $(,)?) => { &[$(($id, include_str!(concat!($id, "/en.md")))),*] };
}

/// The source texts by id.
pub(super) const PAGES: &[(&str, &str)] = pages!["initramfs-update", "kernel-command-line"];
