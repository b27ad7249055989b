//! Lists of kernel modules: `/proc/modules`, `modules.dep`, `modules.builtin`. Pure.

use std::collections::BTreeSet;

/// The module's name from a path as in `modules.dep`: `kernel/drivers/vfio/pci/vfio-pci.ko.zst` → `vfio_pci`.
pub fn name_of_path(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let (name, ending) = file.split_once(".ko")?;
    (!name.is_empty() && (ending.is_empty() || ending.starts_with('.'))).then(|| name.replace('-', "_"))
}

/// The names in `modules.dep` (`path: dependencies`).
pub fn dep(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| name_of_path(line.split(':').next()?.trim())).collect()
}

/// The names in `modules.builtin` (one path a line).
pub fn builtin(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| name_of_path(line.trim())).collect()
}

/// The names in `/proc/modules` (`name size count users state address`).
pub fn loaded(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.split_ascii_whitespace().next()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::{builtin, dep, loaded};

    #[test]
    fn names() {
        let names = dep("kernel/drivers/vfio/pci/vfio-pci.ko.zst: kernel/drivers/vfio/vfio.ko.zst\n\
                         updates/dkms/nvidia.ko:\nkernel/a/README\nkernel/x.ko.xz: \n.ko\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["nvidia", "vfio_pci", "x"]);
        assert!(builtin("kernel/drivers/usb/host/xhci-pci.ko\n").contains("xhci_pci"));
        assert!(loaded("vfio_pci 16384 0 - Live 0x0000000000000000\n\n").contains("vfio_pci"));
    }
}
