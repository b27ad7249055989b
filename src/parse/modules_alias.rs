//! Which modules match a device: `modules.alias` and `modules.builtin.modinfo`.
//!
//! Goes in: their text, and the vendors of interest. Comes out: an index that is asked with a modalias.
//! Patterns are those of `scripts/mod/file2alias.c` (`do_pci_entry`), matched as fnmatch(3) without flags does.

use std::collections::{BTreeSet, HashMap};

/// Aliases of PCI devices.
#[derive(Debug, Default)]
pub struct Aliases {
    rows: Vec<Row>,
    /// Rows for one vendor, in the order of the text.
    by_vendor: HashMap<u16, Vec<usize>>,
    /// Rows for any vendor, in the order of the text.
    any: Vec<usize>,
}

#[derive(Debug)]
struct Row {
    /// Behind `pci:` or `vfio_pci:`.
    pattern: String,
    module: String,
    /// True for `vfio_pci:`: matched only for `driver_override`.
    vfio: bool,
}

impl Aliases {
    /// Adds the lines `alias pci:… MODULE` and `alias vfio_pci:… MODULE` of `modules.alias`.
    pub fn add_alias_file(&mut self, text: &[u8], vendors: &BTreeSet<u16>) {
        for line in text.split(|b| *b == b'\n') {
            // Almost all lines are for other buses: look at bytes before anything else.
            let Some(rest) = line.strip_prefix(b"alias ") else { continue };
            if !(rest.starts_with(b"pci:") || rest.starts_with(b"vfio_pci:")) {
                continue;
            }
            let mut words = rest.split(|b| *b == b' ').filter(|word| !word.is_empty());
            if let (Some(alias), Some(module)) = (words.next(), words.next()) {
                self.add(alias, module, vendors);
            }
        }
    }

    /// Adds the records `MODULE.alias=pci:…`, each ended by a zero byte, of `modules.builtin.modinfo`.
    pub fn add_builtin_modinfo(&mut self, bytes: &[u8], vendors: &BTreeSet<u16>) {
        for record in bytes.split(|b| *b == 0) {
            let Some(dot) = record.iter().position(|b| *b == b'.') else { continue };
            let (module, rest) = record.split_at(dot);
            if let Some(alias) = rest.strip_prefix(b".alias=") {
                self.add(alias, module, vendors);
            }
        }
    }

    fn add(&mut self, alias: &[u8], module: &[u8], vendors: &BTreeSet<u16>) {
        let (pattern, vfio) = match (alias.strip_prefix(b"pci:"), alias.strip_prefix(b"vfio_pci:")) {
            (Some(pattern), _) => (pattern, false),
            (_, Some(pattern)) => (pattern, true),
            _ => return,
        };
        let vendor = vendor(pattern);
        if vendor.is_some_and(|vendor| !vendors.contains(&vendor)) {
            return;
        }
        let (Ok(pattern), Ok(module)) = (std::str::from_utf8(pattern), std::str::from_utf8(module)) else { return };
        let row = self.rows.len();
        self.rows.push(Row { pattern: pattern.to_owned(), module: module.trim().replace('-', "_"), vfio });
        match vendor {
            Some(vendor) => self.by_vendor.entry(vendor).or_default().push(row),
            None => self.any.push(row),
        }
    }

    /// Rows that match, in the order of the text.
    fn matching(&self, device: &Device) -> Vec<&Row> {
        let modalias = device.modalias();
        let mut rows: Vec<usize> = self
            .by_vendor
            .get(&device.vendor)
            .into_iter()
            .flatten()
            .chain(&self.any)
            .copied()
            .filter(|row| self.rows.get(*row).is_some_and(|row| glob(row.pattern.as_bytes(), modalias.as_bytes())))
            .collect();
        rows.sort_unstable();
        rows.iter().filter_map(|row| self.rows.get(*row)).collect()
    }

    /// The modules that match, each once, in the order of the text: the order in which libkmod finds them.
    pub fn modules(&self, device: &Device) -> Vec<String> {
        let mut found = Vec::new();
        for row in self.matching(device).into_iter().filter(|row| !row.vfio) {
            if !found.contains(&row.module) {
                found.push(row.module.clone());
            }
        }
        found
    }

    /// The modules whose `vfio_pci:` aliases match, the one with the fewest wildcards first: the choice that
    /// `Documentation/driver-api/vfio.rst` asks user space to make.
    pub fn vfio_variants(&self, device: &Device) -> Vec<String> {
        let mut rows: Vec<&Row> = self.matching(device).into_iter().filter(|row| row.vfio).collect();
        rows.sort_by_key(|row| row.pattern.bytes().filter(|b| *b == b'*').count());
        let mut found: Vec<String> = Vec::new();
        for row in rows {
            if !found.contains(&row.module) {
                found.push(row.module.clone());
            }
        }
        found
    }
}

/// What a modalias is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Subsystem vendor and device id; zero if it has none.
    pub subsystem: (u16, u16),
    /// Base class, subclass and programming interface.
    pub class: u32,
}

impl Device {
    /// As in sysfs `modalias`, without `pci:` (`drivers/pci/pci-sysfs.c` `modalias_show`).
    pub fn modalias(&self) -> String {
        format!(
            "v{:08X}d{:08X}sv{:08X}sd{:08X}bc{:02X}sc{:02X}i{:02X}",
            self.vendor,
            self.device,
            self.subsystem.0,
            self.subsystem.1,
            self.class >> 16 & 0xff,
            self.class >> 8 & 0xff,
            self.class & 0xff
        )
    }
}

/// The vendor of a pattern `v000010DEd…`; `None` for any vendor.
fn vendor(pattern: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(pattern.get(1..9)?).ok()?;
    let plain = pattern.first() == Some(&b'v') && digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u32::from_str_radix(digits, 16).ok())?.and_then(|vendor| vendor.try_into().ok())
}

/// fnmatch(3) with `*`, `?` and `[…]`, in time proportional to the product of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(t) {
        let next = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(p + 1),
            Some(b'[') => bracket(pattern.get(p + 1..).unwrap_or_default(), byte)
                .and_then(|(hit, length)| hit.then_some(p + 1 + length)),
            Some(&literal) => (literal == byte).then_some(p + 1),
            None => None,
        };
        match (next, star) {
            (Some(next), _) => {
                p = next;
                t += 1;
            }
            // Nothing fits here: let the last star take one byte more.
            (None, Some((at, from))) => {
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|b| *b == b'*')
}

/// Whether `byte` is in the set behind a `[`, and how long that set is with its `]`; `None` if it does not end.
fn bracket(set: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(set.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let end = start + 1 + set.get(start + 1..)?.iter().position(|b| *b == b']')?;
    let (mut at, mut hit) = (start, false);
    while at < end {
        let low = *set.get(at)?;
        let ranged = at + 2 < end && set.get(at + 1) == Some(&b'-');
        let high = if ranged { *set.get(at + 2)? } else { low };
        hit |= (low..=high).contains(&byte);
        at += if ranged { 3 } else { 1 };
    }
    Some((hit != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"# Aliases extracted from modules themselves.\n\
alias usb:v*p*d*dc*dsc*dp*ic03isc01ip01in* usbkbd\n\
alias pci:v000010DEd*sv*sd*bc03sc02i00* nouveau\n\
alias pci:v000010DEd*sv*sd*bc03sc00i00* nouveau\n\
alias pci:v*d*sv*sd*bc04sc03i00* snd_hda_intel\n\
alias pci:v000010DEd*sv*sd*bc03sc*i* nvidiafb\n\
alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core\n\
alias pci:v00008086d00001533sv*sd*bc*sc*i* igb\n\
alias pci:v000010DEd00002684sv*sd*bc03sc00i00* nvidia-drm\n\
alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n\
alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n\
alias pci:short\nalias pci:\nalias\n\xff\xfe\n";

    fn aliases(vendors: &[u16]) -> Aliases {
        let mut aliases = Aliases::default();
        aliases.add_alias_file(TEXT, &vendors.iter().copied().collect());
        aliases
    }

    fn gpu() -> Device {
        Device { vendor: 0x10de, device: 0x2684, subsystem: (0x1043, 0x88ad), class: 0x030000 }
    }

    #[test]
    fn modules_in_the_order_of_the_file() {
        let aliases = aliases(&[0x10de, 0x15b3]);
        assert_eq!(aliases.modules(&gpu()), ["nouveau", "nvidiafb", "nvidia_drm"]);
        assert_eq!(aliases.vfio_variants(&gpu()), ["vfio_pci"]);
        assert_eq!(aliases.modules(&Device { class: 0x040300, ..gpu() }), ["snd_hda_intel"]);
        let vf = Device { vendor: 0x15b3, device: 0x101e, subsystem: (0, 0), class: 0x020000 };
        assert_eq!(aliases.modules(&vf), ["mlx5_core"]);
        assert_eq!(aliases.vfio_variants(&vf), ["mlx5_vfio_pci", "vfio_pci"]);
        let nic = Device { vendor: 0x8086, device: 0x1533, subsystem: (0, 0), class: 0x020000 };
        assert!(aliases.modules(&nic).is_empty(), "vendors that nobody asked for are not kept");
    }

    #[test]
    fn built_in_drivers_count() {
        let mut aliases = Aliases::default();
        let info =
            b"xhci_pci.license=GPL\0xhci_pci.alias=pci:v*d*sv*sd*bc0Csc03i30*\0xhci_pci.file=drivers/usb\0noise\0";
        aliases.add_builtin_modinfo(info, &BTreeSet::new());
        let usb = Device { vendor: 0x1022, device: 0x149c, subsystem: (0, 0), class: 0x0c0330 };
        assert_eq!(aliases.modules(&usb), ["xhci_pci"]);
    }

    #[test]
    fn modalias_is_that_of_the_kernel() {
        assert_eq!(gpu().modalias(), "v000010DEd00002684sv00001043sd000088ADbc03sc00i00");
    }

    #[test]
    fn globs_match_as_fnmatch() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("a*b*c", "axbxbc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a[b-d]e", "ace", true),
            ("a[!b-d]e", "ace", false),
            ("a[]]e", "a]e", true),
            ("a[b", "a[b", false),
            ("abc", "abcd", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        let stars = "*a".repeat(60);
        assert!(!glob(stars.as_bytes(), "a".repeat(59).as_bytes()));
    }
}
