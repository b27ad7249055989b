//! EFI variables of the boot manager and the boot loader.
//!
//! Goes in: the bytes of a file in efivarfs. Comes out: text, a number, or a boot entry. Nothing is judged here.
//!
//! Rules: Linux `Documentation/filesystems/efivarfs.rst` (four bytes of attributes, then the value); UEFI 2.10
//! section 3.1.3 `EFI_LOAD_OPTION` and section 10.3 (device paths);
//! <https://systemd.io/BOOT_LOADER_INTERFACE/> (the Loader variables are UTF-16 text).

use super::bytes::u16_at;

/// The boot manager's variables (UEFI 2.10 section 3.3, `EFI_GLOBAL_VARIABLE`).
pub const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// The boot loader's variables (the Boot Loader Interface).
pub const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// A boot entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOption {
    /// As the boot menu shows it.
    pub description: String,
    /// The file on the ESP, e.g. `\EFI\debian\shimx64.efi`; empty if the entry names a device only.
    pub path: String,
    /// The partition's GUID, lower case, where the entry names one.
    pub partition: Option<String>,
}

/// The value of a variable, without the attributes in front.
fn value(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(4..)
}

/// UTF-16 up to a NUL or the end; and how many bytes that took.
fn utf16(bytes: &[u8]) -> (String, usize) {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
        .take_while(|unit| *unit != 0)
        .collect();
    (String::from_utf16_lossy(&units), (units.len() + 1) * 2)
}

/// A variable that holds text.
pub fn text(bytes: &[u8]) -> Option<String> {
    value(bytes).map(|value| utf16(value).0)
}

/// A variable that holds a 16-bit number: `BootCurrent`.
pub fn number(bytes: &[u8]) -> Option<u16> {
    u16_at(value(bytes)?, 0)
}

/// A variable that holds a boot entry: `Boot0001`.
pub fn load_option(bytes: &[u8]) -> Option<LoadOption> {
    let option = value(bytes)?;
    let length = usize::from(u16_at(option, 4)?);
    let (description, taken) = utf16(option.get(6..)?);
    let paths = option.get(6 + taken..)?;
    let mut paths = paths.get(..length).unwrap_or(paths);
    let mut found = LoadOption { description, ..LoadOption::default() };
    // One node after the other: type, subtype, length with this header, data.
    while let (Some(&[kind, subtype]), Some(length)) = (paths.first_chunk::<2>(), u16_at(paths, 2)) {
        let Some(data) = paths.get(4..usize::from(length)) else { break };
        match (kind, subtype) {
            (4, 1) => found.partition = data.get(20..36).filter(|_| data.get(37) == Some(&2)).map(guid),
            (4, 4) => {
                let (part, _) = utf16(data);
                if !found.path.is_empty() && !found.path.ends_with('\\') && !part.starts_with('\\') {
                    found.path.push('\\');
                }
                found.path.push_str(&part);
            }
            (0x7f, _) => break,
            _ => {}
        }
        paths = paths.get(usize::from(length)..).unwrap_or_default();
    }
    Some(found)
}

/// A GUID as text; its first three parts are little endian.
fn guid(bytes: &[u8]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::new();
    for (position, index) in ORDER.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{:02x}", bytes.get(*index).copied().unwrap_or_default()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utf16_bytes(text: &str) -> Vec<u8> {
        text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
    }

    fn option(description: &str, nodes: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
        let mut path = Vec::new();
        for (kind, subtype, data) in nodes {
            path.extend([*kind, *subtype]);
            path.extend((data.len() as u16 + 4).to_le_bytes());
            path.extend(data);
        }
        let mut bytes = vec![7, 0, 0, 0, 1, 0, 0, 0];
        bytes.extend((path.len() as u16).to_le_bytes());
        bytes.extend(utf16_bytes(description));
        bytes.extend(path);
        bytes.extend(b"optional data");
        bytes
    }

    #[test]
    fn boot_entries() {
        let mut disk = vec![0; 38];
        disk[20..36].copy_from_slice(&[0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 1, 2, 3, 4, 5]);
        (disk[36], disk[37]) = (2, 2);
        let nodes = [(4, 1, disk), (4, 4, utf16_bytes("\\EFI\\proxmox\\grubx64.efi")), (0x7f, 0xff, vec![])];
        let found = load_option(&option("proxmox", &nodes)).expect("an entry");
        assert_eq!(found.description, "proxmox");
        assert_eq!(found.path, "\\EFI\\proxmox\\grubx64.efi");
        assert_eq!(found.partition.as_deref(), Some("c12a7328-f81f-11d2-ba4b-000102030405"));
        let split = [(4, 4, utf16_bytes("\\EFI\\BOOT")), (4, 4, utf16_bytes("BOOTX64.EFI"))];
        assert_eq!(load_option(&option("x", &split)).map(|o| o.path).as_deref(), Some("\\EFI\\BOOT\\BOOTX64.EFI"));
        assert_eq!(load_option(&option("", &[])).map(|o| o.path).as_deref(), Some(""));
        assert_eq!(load_option(b"\x07\0\0\0\x01"), None);
    }

    #[test]
    fn texts_and_numbers() {
        let mut bytes = vec![6, 0, 0, 0];
        bytes.extend(utf16_bytes("systemd-boot 257.8-1"));
        assert_eq!(text(&bytes).as_deref(), Some("systemd-boot 257.8-1"));
        assert_eq!(number(&[6, 0, 0, 0, 3, 0]), Some(3));
        assert_eq!(number(&[6, 0, 0, 0, 3]), None);
        assert_eq!(text(&[6]), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            load_option(&bytes);
            text(&bytes);
        }
    }
}
