//! The value of vfio-pci's parameter `ids`, read as the driver reads it.
//!
//! Goes in: the text after `ids=`. Comes out: one entry per item, each with what the driver makes of it, and what
//! a person meant where the driver makes nothing of it. It is not asked here whether such a device exists.
//!
//! Rules: Linux `drivers/vfio/pci/vfio_pci.c` `vfio_pci_fill_ids` (items at commas, empty ones skipped, each read by
//! `sscanf("%x:%x:%x:%x:%x:%x")`, at least two numbers; what follows the last number is dropped) and
//! `drivers/pci/pci.h` `pci_match_one_device`.

/// The most bytes that the driver stores; a longer value keeps the module from loading (`static char ids[1024]`).
pub const LIMIT: usize = 1023;

/// Matches any id (`PCI_ANY_ID`).
const ANY: u32 = u32::MAX;

/// Which devices one item takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdSpec {
    /// Vendor id.
    pub vendor: u32,
    /// Device id.
    pub device: u32,
    /// Subsystem vendor id; all ones for any.
    pub subvendor: u32,
    /// Subsystem device id; all ones for any.
    pub subdevice: u32,
    /// Class, 24 bits.
    pub class: u32,
    /// Which bits of the class count.
    pub mask: u32,
}

impl IdSpec {
    /// True if a device with these values is taken; `None` if that hangs on a value that is not known.
    /// `ids` and `subsystem` are (vendor, device).
    pub fn matches(&self, ids: Option<(u16, u16)>, subsystem: Option<(u16, u16)>, class: Option<u32>) -> Option<bool> {
        let same = |wanted: u32, is: u16| wanted == ANY || wanted == u32::from(is);
        let (vendor, device) = ids?;
        if !same(self.vendor, vendor) || !same(self.device, device) {
            return Some(false);
        }
        if self.subvendor != ANY || self.subdevice != ANY {
            let (vendor, device) = subsystem?;
            if !same(self.subvendor, vendor) || !same(self.subdevice, device) {
                return Some(false);
            }
        }
        if self.mask == 0 {
            return Some(true);
        }
        Some((self.class ^ class?) & self.mask == 0)
    }
}

/// What is wrong with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A placeholder of a guide was left in: `xxxx:xxxx`, `<vendor-id>`.
    Placeholder,
    /// One number where two are needed, because the ids were split by a comma or a blank.
    OneNumber,
    /// An address such as `01:00.0`.
    Address,
    /// More ids behind a `;` or another character that ends nothing: those are dropped.
    Separator,
    /// More than 16 bits: no device has such an id.
    TooBig,
    /// A name, or anything else that is no hexadecimal number.
    NotHex,
}

/// One item of the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// As written.
    pub text: &'a str,
    /// What the driver takes; `None` if it takes nothing.
    pub spec: Option<IdSpec>,
    /// What is wrong with it, if anything.
    pub fault: Option<Fault>,
}

/// The items of a value; empty items, which the driver skips, are left out.
pub fn parse(value: &str) -> Vec<Item<'_>> {
    value.split(',').filter(|text| !text.trim().is_empty()).map(item).collect()
}

fn item(text: &str) -> Item<'_> {
    let mut rest = text;
    let mut numbers = Vec::new();
    while numbers.len() < 6 {
        let Some((number, after)) = number(rest) else { break };
        numbers.push(number);
        match after.strip_prefix(':') {
            Some(more) if numbers.len() < 6 => rest = more,
            _ => {
                rest = after;
                break;
            }
        }
    }
    let get = |index: usize, default: u32| numbers.get(index).copied().unwrap_or(default);
    let spec = (numbers.len() >= 2).then(|| IdSpec {
        vendor: get(0, 0),
        device: get(1, 0),
        subvendor: get(2, ANY),
        subdevice: get(3, ANY),
        class: get(4, 0),
        mask: get(5, 0),
    });
    Item { text, spec, fault: fault(text, &numbers, rest) }
}

/// Reads a hexadecimal number as the kernel's `%x` does: white space and `0x` in front are allowed.
fn number(text: &str) -> Option<(u32, &str)> {
    let text = text.trim_start();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(end)?;
    let significant = digits.trim_start_matches('0');
    if digits.is_empty() {
        return None;
    }
    if significant.len() > 8 {
        return Some((0x1_0000, rest));
    }
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

fn fault(text: &str, numbers: &[u32], rest: &str) -> Option<Fault> {
    if crate::parse::address::Address::parse(text.trim()).is_some() {
        return Some(Fault::Address);
    }
    let lower = text.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split(':').map(str::trim).collect();
    let placeholder = |part: &&str| {
        let part = part.trim_matches(['<', '>', '[', ']', '{', '}', '$']);
        !part.is_empty() && (part.bytes().all(|b| b == b'x' || b == b'y' || b == b'z' || b == b'?'))
            || part.starts_with("vendor")
            || part.starts_with("device")
            || part == "vvvv"
            || part == "pppp"
            || part == "nnnn"
            || part == "your_id"
            || part == "id"
    };
    if numbers.len() < 2 {
        let hex_only = !lower.trim().is_empty() && lower.trim().bytes().all(|b| b.is_ascii_hexdigit());
        return Some(match () {
            () if parts.iter().any(placeholder) || text.contains(['<', '>']) => Fault::Placeholder,
            () if hex_only => Fault::OneNumber,
            () => Fault::NotHex,
        });
    }
    if numbers.iter().take(2).any(|n| *n > 0xffff && *n != ANY) {
        return Some(Fault::TooBig);
    }
    let rest = rest.trim();
    let more_ids = rest.contains(':') || rest.chars().any(|c| matches!(c, ';' | '|' | '+' | '/'));
    (!rest.is_empty() && more_ids).then_some(Fault::Separator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Item<'_> {
        parse(text).into_iter().next().unwrap()
    }

    #[test]
    fn items_as_the_driver_reads_them() {
        let plain = IdSpec { vendor: 0x10de, device: 0x2684, subvendor: ANY, subdevice: ANY, class: 0, mask: 0 };
        for text in ["10de:2684", "10DE:2684", "0x10de:0x2684", " 10de:2684", "10de: 2684", "10de:2684 ", "10de:2684)"]
        {
            assert_eq!((one(text).spec, one(text).fault), (Some(plain), None), "{text}");
        }
        let long = one("10de:2684:1043:88e2:030000:ffffff");
        assert_eq!(
            long.spec,
            Some(IdSpec { subvendor: 0x1043, subdevice: 0x88e2, class: 0x03_0000, mask: 0xff_ffff, ..plain })
        );
        assert_eq!(one("10de:ffffffff:ffffffff:ffffffff:030000").fault, None);
        assert_eq!(parse("10de:2684,,10de:22ba,").len(), 2);
        assert_eq!(parse("").len(), 0);
    }

    #[test]
    fn faults() {
        for (text, fault, taken) in [
            ("xxxx:xxxx", Fault::Placeholder, false),
            ("XXXX:YYYY", Fault::Placeholder, false),
            ("<vendor-id>", Fault::Placeholder, false),
            ("vendor:device", Fault::Placeholder, false),
            ("10de", Fault::OneNumber, false),
            ("01:00.0", Fault::Address, true),
            ("0000:01:00.0", Fault::Address, true),
            ("10de:2684;10de:22ba", Fault::Separator, true),
            ("10de2684:0", Fault::TooBig, true),
            ("nvidia", Fault::NotHex, false),
            ("10de-2684", Fault::NotHex, false),
            ("GeForce:4090", Fault::NotHex, false),
            ("10de:xxxx", Fault::Placeholder, false),
        ] {
            assert_eq!((one(text).fault, one(text).spec.is_some()), (Some(fault), taken), "{text}");
        }
    }

    #[test]
    fn matching() {
        let spec = |text| one(text).spec.unwrap();
        let card = Some((0x10de, 0x2684));
        let board = Some((0x1043, 0x88e2));
        assert_eq!(spec("10de:2684").matches(card, None, None), Some(true));
        assert_eq!(spec("10de:2685").matches(card, None, None), Some(false));
        assert_eq!(spec("10de:2684").matches(None, None, None), None);
        assert_eq!(spec("10de:2684:1043:88e2").matches(card, board, None), Some(true));
        assert_eq!(spec("10de:2684:1043:88e3").matches(card, board, None), Some(false));
        assert_eq!(spec("10de:2684:1043:88e2").matches(card, None, None), None);
        let display = spec("10de:ffffffff:ffffffff:ffffffff:00030000:ffff00ff");
        assert_eq!(display.matches(card, None, Some(0x03_0000)), Some(true));
        assert_eq!(display.matches(Some((0x10de, 0x22ba)), None, Some(0x04_0300)), Some(false));
    }

    proptest! {
        #[test]
        fn anything_can_stand_there(text in "[ -~é]{0,40}") {
            for item in parse(&text) {
                prop_assert!(item.spec.is_some() || item.fault.is_some());
            }
        }
    }
}
