//! Pages that no finding has: symptoms that people search for, and terms. Each leads to findings by id.

macro_rules! pages {
    ($($id:literal),* $(,)?) => { &[$(($id, include_str!(concat!($id, "/en.md")))),*] };
}

/// The source texts by id.
pub(super) const PAGES: &[(&str, &str)] = pages![
    "acs",
    "black-screen",
    "code-43",
    "console-stays",
    "d3",
    "driver-install-freezes",
    "driver-override",
    "initramfs",
    "initramfs-update",
    "interrupt-remapping",
    "iommu-group",
    "iommu-pt",
    "kernel-command-line",
    "laptop-muxless",
    "no-rom-file",
    "option-rom",
    "ovmf-vs-seabios",
    "rebar",
    "reset",
    "single-gpu",
    "sr-iov",
    "vgpu",
    "vm-reboots-on-driver-load",
];
