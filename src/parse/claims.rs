//! The table of functions that are claimed at boot: `/etc/vfioneer/claims`.
//!
//! Goes in: a text. Comes out: its claims, and the lines that are none; and back. `src/adapters/claim/claim.sh` reads the
//! same format with a shell's `read`, so it is words between spaces, one function a line, functions of one slot
//! together. A line that begins with `#` is a comment:
//!
//! ```text
//! # vfioneer claims 1
//! # address driver vendor device subvendor subdevice path serial twins
//! 0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/00.0 - no
//! ```

use super::address::Address;
use super::lines::lines;
use std::fmt;

/// One function to be claimed, with what identifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Where it was when the claim was written.
    pub address: Address,
    /// The driver that gets it, as the kernel names it: `vfio-pci`, `mlx5_vfio_pci`.
    pub driver: String,
    /// Vendor and device id.
    pub ids: (u16, u16),
    /// Subsystem vendor and device id; none where the function has none: it is then not compared.
    pub subsystem: Option<(u16, u16)>,
    /// Where it is plugged in.
    pub path: SlotPath,
    /// Device serial number, `xx-xx-xx-xx-xx-xx-xx-xx`, the first byte the most significant; only one that tells it from
    /// every other function of its ids.
    pub serial: Option<String>,
    /// Was there another function with the same ids, subsystem ids and function number? Such a one is looked for
    /// nowhere but at its path, unless it has a serial number.
    pub twins: bool,
}

/// The way to a function that stays when bus numbers change: domain and number of the root bus, then device and
/// function number of each hop below it. `0000:00/01.0/00.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotPath {
    /// PCI domain.
    pub domain: u32,
    /// The root bus.
    pub bus: u8,
    /// Device (0 to 31) and function (0 to 7) of each bridge from the root bus down, then of the function itself; never empty.
    pub hops: Vec<(u8, u8)>,
}

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// In the file's order.
    pub claims: Vec<Claim>,
    /// Lines that are neither claim nor comment, counted from 1; all of them if the file is of another version.
    pub malformed: Vec<u32>,
}

const HEADER: &str = "# vfioneer claims ";
const VERSION: &str = "1";
const COLUMNS: &str = "# address driver vendor device subvendor subdevice path serial twins";

/// Reads a table.
pub fn parse(text: &str) -> Claims {
    let other =
        text.lines().find_map(|line| line.strip_prefix(HEADER)).is_some_and(|version| version.trim() != VERSION);
    let mut found = Claims::default();
    for line in lines(text).filter(|line| !line.text.is_empty() && !line.text.starts_with('#')) {
        // A carriage return would be part of the last word for the script.
        match claim(line.text).filter(|_| !other && line.ending != "\r\n") {
            Some(claim) => found.claims.push(claim),
            None => found.malformed.push(line.number),
        }
    }
    found
}

/// Writes a table; [`parse`] gives the claims back.
pub fn write(claims: &[Claim]) -> String {
    let mut text = format!("{HEADER}{VERSION}\n{COLUMNS}\n");
    for claim in claims {
        text.push_str(&format!("{claim}\n"));
    }
    text
}

fn claim(line: &str) -> Option<Claim> {
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let mut word = || words.next();
    let address = word().and_then(|text| Address::parse(text).filter(|address| address.to_string() == text))?;
    let driver = word().filter(|name| is_driver(name))?.to_owned();
    let ids = (hex16(word()?)?, hex16(word()?)?);
    let subsystem = match (word()?, word()?) {
        ("-", "-") => None,
        (vendor, device) => Some((hex16(vendor)?, hex16(device)?)),
    };
    let path = SlotPath::parse(word()?)?;
    let serial = match word()? {
        "-" => None,
        text if is_serial(text) => Some(text.to_owned()),
        _ => return None,
    };
    let twins = match word()? {
        "yes" => true,
        "no" => false,
        _ => return None,
    };
    word().is_none().then_some(Claim { address, driver, ids, subsystem, path, serial, twins })
}

fn is_driver(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn is_serial(text: &str) -> bool {
    text.len() == 23 && text.split('-').all(|byte| byte.len() == 2 && is_lower_hex(byte))
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn hex16(text: &str) -> Option<u16> {
    (text.len() == 4 && is_lower_hex(text)).then(|| u16::from_str_radix(text, 16).ok())?
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Claim { address, driver, ids: (vendor, device), path, .. } = self;
        write!(f, "{address} {driver} {vendor:04x} {device:04x} ")?;
        match self.subsystem {
            Some((vendor, device)) => write!(f, "{vendor:04x} {device:04x}")?,
            None => f.write_str("- -")?,
        }
        let serial = self.serial.as_deref().unwrap_or("-");
        write!(f, " {path} {serial} {}", if self.twins { "yes" } else { "no" })
    }
}

impl SlotPath {
    /// Reads `0000:00/01.0/00.0`.
    pub fn parse(text: &str) -> Option<SlotPath> {
        let (root, hops) = text.split_once('/')?;
        // A root bus and its first hop make an address.
        let first = |hop: &str| Address::parse(&format!("{root}:{hop}"));
        let root_bus = first("00.0").filter(|address| address.slot().strip_suffix(":00") == Some(root))?;
        let hops: Option<Vec<(u8, u8)>> = hops
            .split('/')
            .map(|hop| first(hop).filter(|_| is_lower_hex(&hop.replace('.', ""))))
            .map(|hop| hop.map(|address| (address.device, address.function)))
            .collect();
        Some(SlotPath { domain: root_bus.domain, bus: root_bus.bus, hops: hops? })
    }
}

impl fmt::Display for SlotPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}", self.domain, self.bus)?;
        self.hops.iter().try_for_each(|(device, function)| write!(f, "/{device:02x}.{function:x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "# vfioneer claims 1\n\
        # address driver vendor device subvendor subdevice path serial twins\n\
        0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/00.0 - no\n\
        0000:01:00.1 vfio-pci 10de 22ba 1043 889a 0000:00/01.0/00.1 - no\n\
        0009:81:00.0 nvgrace_gpu_vfio_pci 10de 2342 - - 0009:80/00.0/1f.7 00-01-02-03-0a-0b-0c-ff yes\n";

    #[test]
    fn reads_and_writes_the_same() {
        let read = parse(TEXT);
        assert!(read.malformed.is_empty());
        assert_eq!(read.claims.len(), 3);
        assert_eq!(read.claims[2].path.hops, [(0, 0), (31, 7)]);
        assert_eq!(read.claims[2].serial.as_deref(), Some("00-01-02-03-0a-0b-0c-ff"));
        assert_eq!(write(&read.claims), TEXT);
    }

    #[test]
    fn names_lines_that_are_no_claims() {
        let good = "0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/00.0 - no";
        let bad = [
            "0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/00.0 -",
            "0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/00.0 - no more",
            "0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/00.0 - maybe",
            "01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/00.0 - no",
            "0000:01:00.0 ../../x 10de 2684 1043 889a 0000:00/01.0/00.0 - no",
            "0000:01:00.0 vfio-pci 10DE 2684 1043 889a 0000:00/01.0/00.0 - no",
            "0000:01:00.0 vfio-pci 10de 268 1043 889a 0000:00/01.0/00.0 - no",
            "0000:01:00.0 vfio-pci 10de 2684 - 889a 0000:00/01.0/00.0 - no",
            "0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00 - no",
            "0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/ - no",
            "0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/20.0 - no",
            "0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/1.0 - no",
            "0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/00.0 00-01-02 no",
            "0000:01:00.0 vfio-pci 10de 2684 1043 889a 0000:00/01.0/00.0 - no\r",
            "vfio-pci",
        ];
        for line in bad {
            let read = parse(&format!("# vfioneer claims 1\n\n{line}\n{good}\n"));
            assert_eq!((read.malformed.as_slice(), read.claims.len()), ([3].as_slice(), 1), "{line}");
        }
        assert_eq!(parse(&format!("# vfioneer claims 2\n{good}\n")).malformed, [2]);
        assert_eq!(parse(good).claims.len(), 1);
    }

    fn hop() -> impl Strategy<Value = (u8, u8)> {
        (0u8..32, 0u8..8)
    }

    fn address() -> impl Strategy<Value = Address> {
        let domain = prop_oneof![0u32..4, 0x10000u32..0x10004];
        (domain, any::<u8>(), hop()).prop_map(|(domain, bus, (device, function))| Address {
            domain,
            bus,
            device,
            function,
        })
    }

    prop_compose! {
        fn any_claim()(
            address in address(),
            driver in "[a-z0-9][a-zA-Z0-9_-]{0,20}",
            ids in any::<(u16, u16)>(),
            subsystem in any::<Option<(u16, u16)>>(),
            bus in any::<u8>(),
            hops in prop::collection::vec(hop(), 1..6),
            serial in prop::option::of("[0-9a-f]{2}(-[0-9a-f]{2}){7}"),
            twins in any::<bool>(),
        ) -> Claim {
            let path = SlotPath { domain: address.domain, bus, hops };
            Claim { address, driver, ids, subsystem, path, serial, twins }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(claims in prop::collection::vec(any_claim(), 0..8)) {
            prop_assert_eq!(parse(&write(&claims)), Claims { claims, malformed: Vec::new() });
        }

        #[test]
        fn any_text_is_read(text in "([0-9a-f:. /#-]|vfio|yes|no|\n){0,80}") {
            let read = parse(&text);
            prop_assert!(read.claims.len() + read.malformed.len() <= text.lines().count());
        }
    }
}
