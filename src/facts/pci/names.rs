//! Names from the host's `pci.ids` or the program's own copy, whichever is newer.

use super::Function;
use crate::host::{Fact, Host};
use crate::parse::pci_ids;
use std::collections::BTreeSet;
use std::io::Read;

/// The program's own copy (`data/README.md`).
const EMBEDDED: &[u8] = include_bytes!("../../../data/pci.ids.zst");

/// The `# Version:` of the program's own copy.
const EMBEDDED_VERSION: &str = "2025.06.09";

/// Where distributions and update-pciids(8) put it.
const PLACES: [&str; 4] =
    ["/var/lib/pciutils/pci.ids", "/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids", "/usr/share/misc/pci.ids.gz"];

/// The version stands within so many bytes of the beginning.
const HEAD: usize = 1024;

/// The most that is unpacked of a compressed file, in bytes; the whole of it is 1.5 MB today.
const UNPACK_LIMIT: u64 = 16 << 20;

/// Fills the names of all functions.
pub(super) fn add(host: &dyn Host, functions: &mut [Function]) {
    let ids: BTreeSet<(u16, u16)> =
        functions.iter().filter_map(|f| f.ids.known()).map(|ids| (ids.vendor, ids.device)).collect();
    let classes: BTreeSet<u16> = functions.iter().filter_map(Function::base_class).collect();
    if ids.is_empty() && classes.is_empty() {
        return;
    }
    let names = pci_ids::names(&newest(host), &ids, &classes);
    for function in functions {
        if let Fact::Known(ids) = function.ids {
            function.vendor_name = names.vendors.get(&ids.vendor).cloned();
            function.device_name = names.devices.get(&(ids.vendor, ids.device)).cloned();
        }
        function.class_name = function.base_class().and_then(|class| names.classes.get(&class).cloned());
    }
}

/// What a class (24 bits, as in [`Function::class`]) is called in the program's own copy of `pci.ids`.
pub fn class_name(class: u32) -> Option<String> {
    let class = (class >> 8) as u16;
    pci_ids::names(&embedded(), &BTreeSet::new(), &BTreeSet::from([class])).classes.remove(&class)
}

fn newest(host: &dyn Host) -> Vec<u8> {
    PLACES
        .iter()
        .filter_map(|path| newer(host, path))
        .max_by(|a, b| a.0.cmp(&b.0))
        .map_or_else(embedded, |(_, bytes)| bytes)
}

/// The file, if it is newer than the program's own copy. Of others only the beginning is read, so that a recording holds
/// the whole only where its names differ.
fn newer(host: &dyn Host, path: &str) -> Option<(String, Vec<u8>)> {
    let start = host.read_start(path, HEAD).into_known()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        let bytes = gunzip(&host.read(path).into_known()?)?;
        let version = pci_ids::version(&bytes)?;
        return (version.as_str() > EMBEDDED_VERSION).then_some((version, bytes));
    }
    let version = pci_ids::version(&start)?;
    if version.as_str() <= EMBEDDED_VERSION {
        return None;
    }
    Some((version, host.read(path).into_known()?))
}

fn embedded() -> Vec<u8> {
    zstd::decode_all(EMBEDDED).unwrap_or_default()
}

fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(bytes).take(UNPACK_LIMIT).read_to_end(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_copy_is_what_it_says() {
        let text = embedded();
        assert!(text.len() > 1_000_000);
        assert_eq!(pci_ids::version(&text).as_deref(), Some(EMBEDDED_VERSION));
        assert_eq!(class_name(0x030000).as_deref(), Some("VGA compatible controller"));
        assert_eq!(class_name(0xfe0000), None);
    }
}
