//! The pages of findings about single devices. Text only.

macro_rules! pages {
    ($($id:literal),* $(,)?) => { &[$(($id, include_str!(concat!($id, "/en.md")))),*] };
}

/// The source texts by id.
pub(super) const PAGES: &[(&str, &str)] = pages![
    "address-moved",
    "bar-resizable",
    "bdf-out-of-range",
    "boot-display-on-candidate",
    "boot-framebuffer-holds-bar",
    "bridge-window-too-small",
    "d3cold-allowed",
    "device-denylisted",
    "device-in-use",
    "device-serves-slices",
    "device-stuck-after-vm",
    "function-left-behind",
    "group-not-viable",
    "group-shared",
    "host-critical",
    "identical-devices",
    "kernel-breaks-reset",
    "link-narrow",
    "native-driver-won",
    "no-iommu-group",
    "only-gpu",
    "reset-known-bad",
    "reset-missing",
    "reset-needs-whole-slot",
    "rmrr-locked",
    "rom-invalid",
    "rom-shadowed",
    "rom-without-uefi",
    "sriov-not-created",
    "stuck-in-d3",
];
