//! The pages of findings that come from messages alone. Text only.

macro_rules! pages {
    ($($id:literal),* $(,)?) => { &[$(($id, include_str!(concat!($id, "/en.md")))),*] };
}

/// The source texts by id.
pub(super) const PAGES: &[(&str, &str)] = pages![
    "device-gone",
    "dma-map-refused",
    "driver-cannot-unbind",
    "gpu-init-failed",
    "hook-device-list",
    "hook-failed",
    "host-out-of-memory",
    "hugepages-short",
    "interrupt-shared",
    "iommu-fault",
    "message-benign",
    "message-unknown",
    "module-missing",
    "msix-layout-refused",
    "new-id-again",
    "noiommu-mode",
    "nothing-recognised",
    "nova-alias-undefined",
    "nova-claim-failed",
    "nova-config-invalid",
    "nova-no-host",
    "pci-errors",
    "reset-failed",
    "reset-method-unsupported",
    "vfio-attach-refused",
    "vfio-bind-failed",
    "vfio-no-permission",
    "vfio-node-missing",
    "vm-device-claimed-twice",
    "vm-device-missing",
    "vm-memlock-low",
    "vm-memory-short",
    "vm-msr-unhandled",
    "vm-not-q35",
    "vm-option-refused",
    "vm-rom-missing",
    "vm-start-failed",
    "vm-start-timeout",
];
