//! A kernel's `.config` to the settings that matter here. Pure.

use std::collections::BTreeMap;

/// The settings that are kept: those that decide about IOMMU, vfio, KVM, framebuffers, drivers of what is passed
/// through, and module loading. A name that ends in `*` stands for all that begin so. Names: the Kconfig files of
/// Linux 6.12 below `drivers/iommu`, `drivers/vfio`, `drivers/firmware`, `drivers/video`, `drivers/gpu`, `kernel/module`.
pub const KEPT: &[&str] = &[
    "64BIT",
    "ACPI_APEI*",
    "AMD_IOMMU*",
    "ARM_SMMU*",
    "BLK_DEV_NVME",
    "BLK_DEV_INITRD",
    "CMDLINE*",
    "DRM",
    "DRM_AMDGPU",
    "DRM_AST",
    "DRM_FBDEV_EMULATION",
    "DRM_I915",
    "DRM_I915_GVT*",
    "DRM_MGAG200",
    "DRM_NOUVEAU",
    "DRM_NOVA",
    "DRM_RADEON",
    "DRM_SIMPLEDRM",
    "DRM_XE",
    "FB",
    "FB_EFI",
    "FB_NVIDIA",
    "FB_SIMPLE",
    "FB_VESA",
    "FB_VGA16",
    "FRAMEBUFFER_CONSOLE*",
    "FTRACE",
    "HOTPLUG_PCI*",
    "INTEL_IOMMU*",
    "IOMMU*",
    "IO_STRICT_DEVMEM",
    "IRQ_REMAP",
    "KALLSYMS*",
    "KEXEC*",
    "KPROBES",
    "KVM*",
    "LOCK_DOWN*",
    "LTO_CLANG*",
    "MLX5_VFIO_PCI",
    "MODULES",
    "MODULE_COMPRESS*",
    "MODULE_SIG*",
    "MODULE_FORCE_LOAD",
    "NOVA_CORE",
    "NVGRACE_GPU_VFIO_PCI",
    "PCI",
    "PCIEASPM*",
    "PCIEPORTBUS",
    "PCI_IOV",
    "PCI_MSI",
    "PCI_PASID",
    "PCI_QUIRKS",
    "PCI_PRI",
    "PCI_STUB",
    "PCI_ATS",
    "SECURITY_LOCKDOWN*",
    "SND_HDA_INTEL",
    "STRICT_DEVMEM",
    "SYSFB*",
    "USB_XHCI_PCI*",
    "VFIO*",
    "VGA_ARB*",
    "VGA_CONSOLE",
    "VGA_SWITCHEROO",
    "VIRTIO_VFIO_PCI*",
    "VMD",
    "X86_64",
    "X86_X2APIC",
    "X86_SYSFB",
    "XE_VFIO_PCI",
];

/// Parses a `.config`; names lose their `CONFIG_`, strings their quotes, `# CONFIG_X is not set` becomes `n`.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(setting).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn setting(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (name, value) = match line.strip_prefix("# ") {
        Some(comment) => (comment.strip_suffix(" is not set")?, "n"),
        None => line.split_once('=')?,
    };
    let name = name.strip_prefix("CONFIG_")?;
    kept(name).then(|| (name, value.trim_matches('"')))
}

fn kept(name: &str) -> bool {
    KEPT.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn keeps_what_matters() {
        let map = parse(
            "#\n# Automatically generated file; DO NOT EDIT.\nCONFIG_INTEL_IOMMU=y\n# CONFIG_INTEL_IOMMU_DEFAULT_ON is not set\n\
             CONFIG_VFIO_PCI=m\r\nCONFIG_HZ=250\nCONFIG_CMDLINE=\"a=b c\"\nCONFIG_DRMX=y\nnonsense\n=\n# CONFIG_\n",
        );
        let got: Vec<(&str, &str)> = map.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            got,
            [("CMDLINE", "a=b c"), ("INTEL_IOMMU", "y"), ("INTEL_IOMMU_DEFAULT_ON", "n"), ("VFIO_PCI", "m")]
        );
    }
}
