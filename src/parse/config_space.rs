//! PCI configuration space: header fields and capabilities.
//!
//! Goes in: the bytes of sysfs `config` (64 without root, 256, or 4096) or of a hex dump. Comes out: numbers.
//! Never fails on short, dead or cyclic content: what is not in the bytes is [`Found::Hidden`].
//! Offsets are those of `include/uapi/linux/pci_regs.h` (PCI Local Bus 3.0 chapter 6, PCIe Base chapter 7).

use super::bytes::{u8_at, u16_at, u32_at};

/// Capability ids that are looked for (PCI Code and ID Assignment Specification, section 2).
pub mod cap {
    /// PCI Express.
    pub const EXPRESS: u8 = 0x10;
    /// Advanced Features (FLR for conventional PCI).
    pub const AF: u8 = 0x13;
}

/// Extended capability ids that are looked for (PCI Code and ID Assignment Specification, section 3).
pub mod ext {
    /// Device Serial Number.
    pub const DSN: u16 = 0x0003;
    /// Access Control Services.
    pub const ACS: u16 = 0x000d;
    /// Resizable BAR.
    pub const REBAR: u16 = 0x0015;
}

/// The result of looking for a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// It is there.
    At(T),
    /// The whole list was read; it is not in it.
    None,
    /// The bytes end before the list does: sysfs shows 64 bytes to users other than root.
    Hidden,
    /// The device does not answer, or the list is broken.
    Broken,
}

impl<T> Found<T> {
    /// Applies `f`, which looks further into the bytes, to what was found.
    pub fn and_then<U>(self, f: impl FnOnce(T) -> Found<U>) -> Found<U> {
        match self {
            Found::At(value) => f(value),
            Found::None => Found::None,
            Found::Hidden => Found::Hidden,
            Found::Broken => Found::Broken,
        }
    }
}

/// A PCIe link (link capabilities 0Ch, link status 12h, link capabilities 2 2Ch of the PCIe capability).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Generation: 1 for 2.5 GT/s to 6 for 64 GT/s; 0 if there is no link.
    pub speed: u32,
    /// Lanes; 0 if there is no link.
    pub width: u32,
    /// The highest generation that the function can do.
    pub max_speed: u32,
    /// The most lanes that the function can do.
    pub max_width: u32,
}

/// The bytes of one function's configuration space.
#[derive(Clone, Copy, Debug)]
pub struct ConfigSpace<'a>(pub &'a [u8]);

impl<'a> ConfigSpace<'a> {
    /// The byte at an offset.
    pub fn u8(&self, at: usize) -> Option<u8> {
        u8_at(self.0, at)
    }

    /// The little-endian 16 bits at an offset.
    pub fn u16(&self, at: usize) -> Option<u16> {
        u16_at(self.0, at)
    }

    /// The little-endian 32 bits at an offset.
    pub fn u32(&self, at: usize) -> Option<u32> {
        u32_at(self.0, at)
    }

    /// True if there is a whole standard header (64 bytes).
    pub fn has_header(&self) -> bool {
        self.0.len() >= 64
    }

    /// True if the function does not answer: reads of it give all ones.
    pub fn is_dead(&self) -> bool {
        self.0.len() >= 4 && self.0.iter().take(64).all(|byte| *byte == 0xff)
    }

    /// Vendor and device id (00h, 02h).
    pub fn ids(&self) -> Option<(u16, u16)> {
        Some((self.u16(0)?, self.u16(2)?))
    }

    /// Base class, subclass, programming interface: 24 bits (09h).
    pub fn class(&self) -> Option<u32> {
        Some(self.u32(8)? >> 8)
    }

    /// Revision id (08h).
    pub fn revision(&self) -> Option<u8> {
        self.u8(8)
    }

    /// Header type without the multi-function bit (0Eh).
    pub fn header_type(&self) -> Option<u8> {
        Some(self.u8(0x0e)? & 0x7f)
    }

    /// Subsystem vendor and device of an endpoint (2Ch, 2Eh).
    pub fn subsystem(&self) -> Option<(u16, u16)> {
        Some((self.u16(0x2c)?, self.u16(0x2e)?))
    }

    /// The offset of a capability in the first 256 bytes.
    pub fn capability(&self, id: u8) -> Found<usize> {
        if self.is_dead() {
            return Found::Broken;
        }
        let (Some(status), Some(header)) = (self.u16(0x06), self.header_type()) else { return Found::Hidden };
        if status & 0x10 == 0 {
            return Found::None;
        }
        let start = if header == 2 { 0x14 } else { 0x34 };
        let Some(mut at) = self.u8(start) else { return Found::Hidden };
        // 48 capabilities of 4 bytes fill the space behind the header: a longer list is a loop.
        for _ in 0..48 {
            let offset = usize::from(at & 0xfc);
            if offset < 0x40 {
                return Found::None;
            }
            let (Some(found), Some(next)) = (self.u8(offset), self.u8(offset + 1)) else { return Found::Hidden };
            if found == 0xff {
                return Found::Broken;
            }
            if found == id {
                return Found::At(offset);
            }
            at = next;
        }
        Found::Broken
    }

    /// The offset of an extended capability. 256 bytes are a function without extended space.
    pub fn extended(&self, id: u16) -> Found<usize> {
        if self.is_dead() {
            return Found::Broken;
        }
        if self.0.len() < 256 {
            // Only a PCI Express function has extended space.
            return match self.capability(cap::EXPRESS) {
                Found::None => Found::None,
                Found::Broken => Found::Broken,
                Found::At(_) | Found::Hidden => Found::Hidden,
            };
        }
        if self.0.len() == 256 {
            return Found::None;
        }
        let mut offset = 0x100;
        for _ in 0..(4096 - 256) / 8 {
            let Some(header) = self.u32(offset) else { return Found::Hidden };
            if header == 0 || header == u32::MAX {
                return Found::None;
            }
            if (header & 0xffff) as u16 == id {
                return Found::At(offset);
            }
            offset = (header >> 20) as usize & 0xffc;
            if offset < 0x100 {
                return Found::None;
            }
        }
        Found::Broken
    }

    /// PCIe device/port type (PCI Express capabilities register, bits 4 to 7).
    pub fn port_type(&self) -> Found<u8> {
        self.capability(cap::EXPRESS).and_then(|at| match self.u16(at + 2) {
            Some(register) => Found::At((register >> 4 & 0x0f) as u8),
            None => Found::Hidden,
        })
    }

    /// The link's speeds and widths, as [`LinkState`]; none for a function inside the root complex, and where the
    /// registers tell no width.
    pub fn link(&self) -> Found<LinkState> {
        if matches!(self.port_type(), Found::At(9 | 10)) {
            return Found::None;
        }
        self.capability(cap::EXPRESS).and_then(|at| {
            let (Some(capable), Some(status)) = (self.u32(at + 0x0c), self.u16(at + 0x12)) else {
                return Found::Hidden;
            };
            // Link capabilities 2 (version 2 of the capability) lists all speeds; before, there were only two.
            let version2 = self.u16(at + 2).is_some_and(|flags| flags & 0x0f >= 2);
            let speeds = self.u32(at + 0x2c).filter(|_| version2).map_or(0, |register| register >> 1 & 0x7f);
            let max_speed = if speeds == 0 { capable & 0x0f } else { speeds.ilog2() + 1 };
            let max_width = capable >> 4 & 0x3f;
            if max_width == 0 {
                return Found::None;
            }
            let (speed, width) = (u32::from(status) & 0x0f, u32::from(status) >> 4 & 0x3f);
            Found::At(LinkState { speed, width, max_speed, max_width })
        })
    }

    /// Function level reset: device capabilities bit 28, or Advanced Features bit 1 where there is no PCIe.
    pub fn flr(&self) -> Found<bool> {
        match self.capability(cap::EXPRESS) {
            Found::At(at) => match self.u32(at + 4) {
                Some(register) if register & 1 << 28 != 0 => return Found::At(true),
                Some(_) => {}
                None => return Found::Hidden,
            },
            Found::None => {}
            Found::Hidden => return Found::Hidden,
            Found::Broken => return Found::Broken,
        }
        match self.capability(cap::AF) {
            Found::At(at) => match self.u8(at + 3) {
                Some(register) => Found::At(register & 2 != 0),
                None => Found::Hidden,
            },
            Found::None => Found::At(false),
            Found::Hidden => Found::Hidden,
            Found::Broken => Found::Broken,
        }
    }

    /// ACS capability and control registers.
    pub fn acs(&self) -> Found<(u16, u16)> {
        self.extended(ext::ACS).and_then(|at| match (self.u16(at + 4), self.u16(at + 6)) {
            (Some(capable), Some(enabled)) => Found::At((capable, enabled)),
            _ => Found::Hidden,
        })
    }

    /// Device serial number.
    pub fn serial(&self) -> Found<u64> {
        self.extended(ext::DSN).and_then(|at| match (self.u32(at + 4), self.u32(at + 8)) {
            (Some(low), Some(high)) => Found::At(u64::from(high) << 32 | u64::from(low)),
            _ => Found::Hidden,
        })
    }

    /// Resizable BARs: index, and possible sizes with bit n for 2^n MiB.
    pub fn resizable(&self) -> Found<Vec<(u8, u64)>> {
        self.extended(ext::REBAR).and_then(|at| {
            let Some(first) = self.u32(at + 8) else { return Found::Hidden };
            let count = (first >> 5 & 7).min(6) as usize;
            let mut bars = Vec::with_capacity(count);
            for i in 0..count {
                let (Some(sizes), Some(control)) = (self.u32(at + 4 + 8 * i), self.u32(at + 8 + 8 * i)) else {
                    return Found::Hidden;
                };
                // The upper sizes (256 TB and more) are bits 16 to 31 of the control register.
                bars.push(((control & 7) as u8, u64::from(sizes >> 4) | u64::from(control >> 16) << 28));
            }
            Found::At(bars)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PCIe function with a power management capability before the PCIe one.
    fn express(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut put = |at: usize, data: &[u8]| {
            if let Some(part) = bytes.get_mut(at..at + data.len()) {
                part.copy_from_slice(data);
            }
        };
        put(0x00, &[0xde, 0x10, 0x84, 0x26, 0x07, 0x04, 0x10, 0x00, 0xa1, 0x00, 0x00, 0x03]);
        put(0x0e, &[0x80]);
        put(0x2c, &[0x43, 0x10, 0xad, 0x88]);
        put(0x34, &[0x60]);
        put(0x60, &[0x01, 0x78, 0x03, 0x00]);
        put(0x78, &[0x10, 0x00, 0x12, 0x00, 0x00, 0x00, 0x00, 0x10]);
        put(0x100, &[0x03, 0x00, 0x01, 0x20, 1, 2, 3, 4, 5, 6, 7, 8]);
        put(0x200, &[0x0d, 0x00, 0x01, 0x30, 0x5f, 0x00, 0x1d, 0x00]);
        put(0x300, &[0x15, 0, 1, 0, 0x00, 0xf0, 0xff, 0x00, 0x21, 0x08, 0x00, 0x00]);
        bytes
    }

    #[test]
    fn reads_a_whole_function() {
        let bytes = express(4096);
        let config = ConfigSpace(&bytes);
        assert_eq!(config.ids(), Some((0x10de, 0x2684)));
        assert_eq!(config.class(), Some(0x030000));
        assert_eq!(config.revision(), Some(0xa1));
        assert_eq!(config.header_type(), Some(0));
        assert_eq!(config.subsystem(), Some((0x1043, 0x88ad)));
        assert_eq!(config.port_type(), Found::At(1));
        assert_eq!(config.flr(), Found::At(true));
        assert_eq!(config.serial(), Found::At(0x0807_0605_0403_0201));
        assert_eq!(config.acs(), Found::At((0x5f, 0x1d)));
        assert_eq!(config.resizable(), Found::At(vec![(1, 0xfff00)]));
        assert_eq!(config.extended(0x0010), Found::None);
    }

    #[test]
    fn links() {
        let mut bytes = express(4096);
        assert_eq!(ConfigSpace(&bytes).link(), Found::None, "no width");
        bytes[0x84..0x88].copy_from_slice(&(16 << 4 | 3u32).to_le_bytes());
        bytes[0x8a..0x8c].copy_from_slice(&(8 << 4 | 1u16).to_le_bytes());
        let slow = LinkState { speed: 1, width: 8, max_speed: 3, max_width: 16 };
        assert_eq!(ConfigSpace(&bytes).link(), Found::At(slow));
        bytes[0xa4] = 0b11110;
        assert_eq!(ConfigSpace(&bytes).link(), Found::At(LinkState { max_speed: 4, ..slow }));
        assert_eq!(ConfigSpace(&bytes[..64]).link(), Found::Hidden);
        bytes[0x7a] = 0x92;
        assert_eq!(ConfigSpace(&bytes).link(), Found::None, "inside the root complex");
    }

    #[test]
    fn what_only_root_sees_is_hidden() {
        let bytes = express(64);
        let config = ConfigSpace(&bytes);
        assert_eq!(config.ids(), Some((0x10de, 0x2684)));
        assert_eq!(config.port_type(), Found::Hidden);
        assert_eq!(config.acs(), Found::Hidden);
        assert_eq!(config.flr(), Found::Hidden);
        let mut plain = bytes.clone();
        plain[6] = 0;
        assert_eq!(ConfigSpace(&plain).acs(), Found::None, "no capability list, so no PCIe, so no ACS");
    }

    #[test]
    fn broken_lists_end() {
        let mut bytes = express(4096);
        bytes[0x61] = 0x60;
        assert_eq!(ConfigSpace(&bytes).port_type(), Found::Broken, "a loop");
        bytes[0x61] = 0x12;
        assert_eq!(ConfigSpace(&bytes).port_type(), Found::None, "a pointer into the header");
        bytes[0x203] = 0x20;
        assert_eq!(ConfigSpace(&bytes).resizable(), Found::Broken, "a loop in extended space");
        for len in 0..bytes.len().min(600) {
            let config = ConfigSpace(&bytes[..len]);
            let _ = (config.port_type(), config.acs(), config.serial(), config.resizable(), config.subsystem());
        }
    }

    #[test]
    fn all_ones_is_dead() {
        let bytes = [0xff; 256];
        assert!(ConfigSpace(&bytes).is_dead());
        assert_eq!(ConfigSpace(&bytes).acs(), Found::Broken);
        assert!(!ConfigSpace(&[]).is_dead());
    }
}
