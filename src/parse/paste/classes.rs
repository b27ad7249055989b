//! PCI classes by name, for listings that show no numbers.

/// Names of pci.ids (https://pci-ids.ucw.cz, part C), sorted by code; older spellings after the present ones.
const NAMES: &[(u16, &str)] = &[
    (0x0000, "Non-VGA unclassified device"),
    (0x0100, "SCSI storage controller"),
    (0x0101, "IDE interface"),
    (0x0104, "RAID bus controller"),
    (0x0105, "ATA controller"),
    (0x0106, "SATA controller"),
    (0x0107, "Serial Attached SCSI controller"),
    (0x0108, "Non-Volatile memory controller"),
    (0x0180, "Mass storage controller"),
    (0x0200, "Ethernet controller"),
    (0x0207, "Infiniband controller"),
    (0x0208, "Fabric controller"),
    (0x0280, "Network controller"),
    (0x0300, "VGA compatible controller"),
    (0x0302, "3D controller"),
    (0x0380, "Display controller"),
    (0x0400, "Multimedia video controller"),
    (0x0401, "Multimedia audio controller"),
    (0x0403, "Audio device"),
    (0x0480, "Multimedia controller"),
    (0x0500, "RAM memory"),
    (0x0580, "Memory controller"),
    (0x0600, "Host bridge"),
    (0x0601, "ISA bridge"),
    (0x0604, "PCI bridge"),
    (0x0605, "PCMCIA bridge"),
    (0x0607, "CardBus bridge"),
    (0x0609, "Semi-transparent PCI-to-PCI bridge"),
    (0x060a, "InfiniBand to PCI host bridge"),
    (0x0680, "Bridge"),
    (0x0700, "Serial controller"),
    (0x0701, "Parallel controller"),
    (0x0780, "Communication controller"),
    (0x0800, "PIC"),
    (0x0801, "DMA controller"),
    (0x0802, "Timer"),
    (0x0805, "SD Host controller"),
    (0x0806, "IOMMU"),
    (0x0807, "Generic system peripheral"),
    (0x0880, "System peripheral"),
    (0x0900, "Keyboard controller"),
    (0x0980, "Input device controller"),
    (0x0b40, "Co-processor"),
    (0x0c00, "FireWire (IEEE 1394)"),
    (0x0c03, "USB controller"),
    (0x0c03, "USB Controller"),
    (0x0c04, "Fibre Channel"),
    (0x0c05, "SMBus"),
    (0x0c07, "IPMI Interface"),
    (0x0c80, "Serial bus controller"),
    (0x0d11, "Bluetooth"),
    (0x0d80, "Wireless controller"),
    (0x1000, "Network and computing encryption device"),
    (0x1080, "Encryption controller"),
    (0x1101, "Performance counters"),
    (0x1180, "Signal processing controller"),
    (0x1200, "Processing accelerators"),
    (0x1300, "Non-Essential Instrumentation"),
    (0xffff, "Unassigned class"),
];

/// Base class and subclass of a name.
pub(super) fn code(name: &str) -> Option<u16> {
    let name = name.trim();
    NAMES.iter().find(|(_, known)| *known == name).map(|(code, _)| *code)
}

#[cfg(test)]
mod tests {
    use super::{NAMES, code};

    #[test]
    fn names_are_sorted_and_found() {
        assert!(NAMES.is_sorted_by_key(|(code, _)| code));
        assert_eq!(code("VGA compatible controller"), Some(0x0300));
        assert_eq!(code("Nonsense"), None);
    }
}
