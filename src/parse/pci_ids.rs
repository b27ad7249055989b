//! Names from `pci.ids` (format: the comments at the top of the file, <https://pci-ids.ucw.cz/>).
//!
//! Goes in: the text, and the ids that are wanted. Comes out: their names. One pass, no table of the whole file.

use std::collections::{BTreeMap, BTreeSet};

/// The names of wanted vendors and devices.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Vendor id to name.
    pub vendors: BTreeMap<u16, String>,
    /// (vendor, device) to name.
    pub devices: BTreeMap<(u16, u16), String>,
    /// Class (base class and subclass, 16 bits) to the name of the subclass, else of the base class.
    pub classes: BTreeMap<u16, String>,
}

/// `2023.04.10` of the line `# Version: 2023.04.10`, looked for in the first lines.
pub fn version(text: &[u8]) -> Option<String> {
    text.split(|b| *b == b'\n').take(40).find_map(|line| {
        let line = std::str::from_utf8(line).ok()?.strip_prefix('#')?.trim_start().strip_prefix("Version:")?.trim();
        line.starts_with(|c: char| c.is_ascii_digit()).then(|| line.to_owned())
    })
}

/// Looks up ids (vendor, device) and classes (base class and subclass).
pub fn names(text: &[u8], ids: &BTreeSet<(u16, u16)>, classes: &BTreeSet<u16>) -> Names {
    let vendors: BTreeSet<u16> = ids.iter().map(|(vendor, _)| *vendor).collect();
    let mut names = Names::default();
    let mut vendor = None;
    let mut base: Option<u8> = None;
    for line in text.split(|b| *b == b'\n') {
        match line {
            [b'\t', b'\t', ..] | [b'#', ..] | [] => {}
            [b'\t', rest @ ..] => {
                if let Some(vendor) = vendor {
                    if let Some((device, name)) = entry::<4>(rest)
                        && ids.contains(&(vendor, device))
                    {
                        names.devices.insert((vendor, device), text_of(name));
                    }
                } else if let Some(base) = base
                    && let Some((sub, name)) = entry::<2>(rest)
                {
                    let class = u16::from(base) << 8 | sub;
                    if classes.contains(&class) {
                        names.classes.insert(class, text_of(name));
                    }
                }
            }
            [b'C', b' ', rest @ ..] => {
                vendor = None;
                base = entry::<2>(rest).map(|(base, name)| {
                    for class in classes.iter().filter(|class| *class >> 8 == base) {
                        names.classes.insert(*class, text_of(name));
                    }
                    base as u8
                });
            }
            _ => {
                // Vendors of no interest and other sections (there are none today) have no children of interest.
                base = None;
                vendor = entry::<4>(line).filter(|(id, _)| vendors.contains(id)).map(|(id, name)| {
                    names.vendors.insert(id, text_of(name));
                    id
                });
            }
        }
    }
    names
}

/// `8086  Intel Corporation`: the id of N hex digits, and the name.
fn entry<const N: usize>(line: &[u8]) -> Option<(u16, &[u8])> {
    let (digits, rest) = line.split_at_checked(N)?;
    let id = digits.iter().try_fold(0u16, |id, digit| Some(id << 4 | (*digit as char).to_digit(16)? as u16))?;
    let name = rest.trim_ascii();
    (rest.first() == Some(&b' ') && !name.is_empty()).then_some((id, name))
}

fn text_of(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"#\n#\tVersion: 2025.01.02\n# Date: x\n\n10de  NVIDIA Corporation\n\t2684  AD102 [GeForce RTX 4090]\n\
\t\t1043 88ad  TUF Gaming\n\t22ba  AD102 High Definition Audio Controller\n8086  Intel Corporation\n\t7ac4  Alder\n\
\tzzzz  no id\nfeb  short\nffff  Illegal Vendor ID\n\n# classes\n\
C 03  Display controller\n\t00  VGA compatible controller\n\t\t00  VGA controller\n\t02  3D controller\nC 12  Processing accelerators\n";

    #[test]
    fn finds_what_is_wanted_and_no_more() {
        let ids = BTreeSet::from([(0x10de, 0x2684), (0x10de, 0x0001), (0x8086, 0x2684), (0xabcd, 0x0001)]);
        let classes = BTreeSet::from([0x0300, 0x0380, 0x1200, 0x0c03]);
        let names = names(TEXT, &ids, &classes);
        assert_eq!(names.vendors.get(&0x10de).map(String::as_str), Some("NVIDIA Corporation"));
        assert_eq!(names.vendors.len(), 2);
        assert_eq!(
            names.devices.into_iter().collect::<Vec<_>>(),
            [((0x10de, 0x2684), "AD102 [GeForce RTX 4090]".to_owned())]
        );
        let classes: Vec<_> = names.classes.iter().map(|(class, name)| (*class, name.as_str())).collect();
        assert_eq!(
            classes,
            [
                (0x0300, "VGA compatible controller"),
                (0x0380, "Display controller"),
                (0x1200, "Processing accelerators")
            ]
        );
    }

    #[test]
    fn finds_the_version() {
        assert_eq!(version(TEXT).as_deref(), Some("2025.01.02"));
        assert_eq!(version(b"8086  Intel"), None);
        assert_eq!(version(b"\xff\xfe#\n"), None);
    }

    #[test]
    fn survives_nonsense() {
        let ids = BTreeSet::from([(0x10de, 0x2684)]);
        for text in
            [&b""[..], b"\n\n\t\n\t\t\n", b"10de", b"10de  \n\t2684", b"C \n\tC\n", b"\xff\xff\xff\xff  x\n\t\x80"]
        {
            assert!(names(text, &ids, &BTreeSet::new()).devices.is_empty());
        }
    }
}
