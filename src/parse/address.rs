//! PCI addresses `DDDD:BB:DD.F`.

use std::fmt;
use std::str::FromStr;

/// The address of a PCI function: domain, bus, device, function.
///
/// Domains have four hex digits or more (Intel VMD makes `10000`; Linux prints `%04x:%02x:%02x.%d`,
/// `drivers/pci/probe.c` `pci_setup_device`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// PCI domain (segment).
    pub domain: u32,
    /// Bus number.
    pub bus: u8,
    /// Device number on the bus, 0 to 31.
    pub device: u8,
    /// Function number, 0 to 7.
    pub function: u8,
}

impl Address {
    /// Parses `DDDD:BB:DD.F`, or `BB:DD.F` with domain 0.
    pub fn parse(text: &str) -> Option<Address> {
        let (rest, function) = text.rsplit_once('.')?;
        let mut parts = rest.rsplit(':');
        let device = hex(parts.next()?, 2, 2)?;
        let bus = hex(parts.next()?, 2, 2)?;
        let domain = match parts.next() {
            Some(domain) => hex(domain, 4, 8)?,
            None => 0,
        };
        let function = hex(function, 1, 1)?;
        if parts.next().is_some() || device > 31 || function > 7 {
            return None;
        }
        Some(Address { domain, bus: bus as u8, device: device as u8, function: function as u8 })
    }

    /// The same slot: domain, bus and device number are equal.
    pub fn same_slot(&self, other: &Address) -> bool {
        (self.domain, self.bus, self.device) == (other.domain, other.bus, other.device)
    }

    /// The slot, `DDDD:BB:DD`.
    pub fn slot(&self) -> String {
        format!("{:04x}:{:02x}:{:02x}", self.domain, self.bus, self.device)
    }
}

fn hex(digits: &str, least: usize, most: usize) -> Option<u32> {
    let length_ok = (least..=most).contains(&digits.len());
    (length_ok && digits.bytes().all(|b| b.is_ascii_hexdigit())).then(|| u32::from_str_radix(digits, 16).ok())?
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.device, self.function)
    }
}

impl FromStr for Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Address::parse(text).ok_or_else(|| format!("{text:?} is no PCI address"))
    }
}

impl serde::Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn parses_what_tools_print() {
        for (text, shown) in [
            ("01:00.0", "0000:01:00.0"),
            ("0000:01:00.0", "0000:01:00.0"),
            ("10000:e1:00.0", "10000:e1:00.0"),
            ("0009:01:1f.7", "0009:01:1f.7"),
            ("0000:AF:00.1", "0000:af:00.1"),
        ] {
            assert_eq!(Address::parse(text).map(|a| a.to_string()).as_deref(), Some(shown), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in ["", "01:00", "1:00.0", "01:20.0", "01:00.8", "000:01:00.0", "0:0:01:00.0", "01:0g.0", "+1:00.0"] {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
