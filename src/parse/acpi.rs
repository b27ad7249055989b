//! The firmware's IOMMU tables: DMAR (Intel), IVRS (AMD), IORT (ARM).
//!
//! Goes in: the bytes of one table as `/sys/firmware/acpi/tables` gives them. Comes out: what matters for passthrough.
//! Lengths in the table are not trusted. Layouts: Intel VT-d specification 5.1 chapter 8 ("BIOS Considerations"),
//! AMD I/O Virtualization Technology (IOMMU) specification 48882 chapter 5 ("IVRS"), ARM DEN 0049 (IORT);
//! the same in `include/acpi/actbl1.h` and `actbl2.h` of Linux.

use super::bytes::{u8_at, u16_at, u32_at, u64_at};

/// A device that the firmware names: where to start, and the way from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// PCI segment, start bus, and (device, function) at each step: more than one step leads through bridges.
    Path(u16, u8, Vec<(u8, u8)>),
    /// PCI segment, first and last requester id (bus, device and function in 16 bits).
    Range(u16, u16, u16),
    /// Every device.
    All,
}

/// Memory that devices must reach under the same address: RMRR, IVMD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Whose it is; several may share one region.
    pub devices: Vec<Scope>,
    /// First address.
    pub start: u64,
    /// Last address.
    pub end: u64,
}

/// What a table says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// DMAR flags bit 0. IVRS has no such flag.
    pub interrupt_remapping: Option<bool>,
    /// DMAR flags bit 1.
    pub x2apic_opt_out: Option<bool>,
    /// DMAR flags bit 2; IVinfo bit 1 (Linux `IOMMU_IVINFO_DMA_REMAP`).
    pub platform_opt_in: Option<bool>,
    /// Remapping units described.
    pub units: usize,
    /// Reserved memory.
    pub reserved: Vec<Reserved>,
}

/// The length of the standard header (ACPI 6.5, 5.2.6).
const HEADER: usize = 36;

/// Reads DMAR.
pub fn dmar(bytes: &[u8]) -> Result<Table, String> {
    let bytes = whole(bytes, b"DMAR", 48)?;
    let flags = u8_at(bytes, 37).unwrap_or_default();
    let mut table = Table {
        interrupt_remapping: Some(flags & 1 != 0),
        x2apic_opt_out: Some(flags & 2 != 0),
        platform_opt_in: Some(flags & 4 != 0),
        ..Table::default()
    };
    for part in parts(bytes, 48, |part| (u16_at(part, 0), u16_at(part, 2))) {
        let (kind, part) = part?;
        match kind {
            0 => table.units += 1,
            1 => {
                let (Some(segment), Some(start), Some(end)) = (u16_at(part, 6), u64_at(part, 8), u64_at(part, 16))
                else {
                    return Err("DMAR: short RMRR".into());
                };
                table.reserved.push(Reserved { devices: scopes(part, 24, segment)?, start, end });
            }
            _ => {}
        }
    }
    Ok(table)
}

/// The device scopes of a remapping structure.
fn scopes(part: &[u8], start: usize, segment: u16) -> Result<Vec<Scope>, String> {
    parts(part, start, |scope| (u8_at(scope, 0).map(u16::from), u8_at(scope, 1).map(u16::from)))
        .map(|scope| {
            let (_, scope) = scope?;
            let bus = u8_at(scope, 5).ok_or("DMAR: short device scope")?;
            let path = scope.get(6..).unwrap_or_default();
            Ok(Scope::Path(segment, bus, path.chunks_exact(2).map(|step| (step[0], step[1])).collect()))
        })
        .collect()
}

/// Reads IVRS.
pub fn ivrs(bytes: &[u8]) -> Result<Table, String> {
    let bytes = whole(bytes, b"IVRS", 48)?;
    let info = u32_at(bytes, 36).unwrap_or_default();
    let mut table = Table { platform_opt_in: Some(info & 2 != 0), ..Table::default() };
    // The same unit is described once per format (10h, 11h, 40h).
    let mut units: Vec<(u16, u64)> = Vec::new();
    for part in parts(bytes, 48, |part| (u8_at(part, 0).map(u16::from), u16_at(part, 2))) {
        let (kind, part) = part?;
        match kind {
            0x10 | 0x11 | 0x40 => {
                let (Some(base), Some(segment)) = (u64_at(part, 8), u16_at(part, 16)) else {
                    return Err("IVRS: short IVHD".into());
                };
                if !units.contains(&(segment, base)) {
                    units.push((segment, base));
                }
            }
            0x20..=0x22 => {
                let (Some(device), Some(last), Some(segment), Some(start), Some(length)) =
                    (u16_at(part, 4), u16_at(part, 6), u16_at(part, 8), u64_at(part, 16), u64_at(part, 24))
                else {
                    return Err("IVRS: short IVMD".into());
                };
                let scope = match kind {
                    0x20 => Scope::All,
                    0x21 => Scope::Range(segment, device, device),
                    _ => Scope::Range(segment, device, last),
                };
                let end = start.saturating_add(length.saturating_sub(1));
                table.reserved.push(Reserved { devices: vec![scope], start, end });
            }
            _ => {}
        }
    }
    table.units = units.len();
    Ok(table)
}

/// Reads IORT: how many SMMUs (node types 3 and 4) there are.
pub fn iort(bytes: &[u8]) -> Result<Table, String> {
    let bytes = whole(bytes, b"IORT", 48)?;
    let count = u32_at(bytes, 36).unwrap_or_default() as usize;
    let start = u32_at(bytes, 40).unwrap_or_default() as usize;
    if start < HEADER {
        return Err("IORT: nodes inside the header".into());
    }
    let mut table = Table::default();
    for part in parts(bytes, start, |node| (u8_at(node, 0).map(u16::from), u16_at(node, 1))).take(count) {
        let (kind, _) = part?;
        table.units += usize::from(matches!(kind, 3 | 4));
    }
    Ok(table)
}

/// The table without what follows its own length, if it is the table that is wanted.
fn whole<'a>(bytes: &'a [u8], signature: &[u8; 4], least: usize) -> Result<&'a [u8], String> {
    let name = String::from_utf8_lossy(signature);
    if !bytes.starts_with(signature) {
        return Err(format!("no {name} table"));
    }
    let length = u32_at(bytes, 4).map_or(0, |length| length as usize);
    if length < least || length > bytes.len() {
        return Err(format!("{name}: length {length} of {} bytes", bytes.len()));
    }
    Ok(bytes.get(..length).unwrap_or_default())
}

/// Parts one behind the other, each with its kind; `header` finds kind and length in the bytes from a part's start.
fn parts(
    bytes: &[u8],
    start: usize,
    header: impl Fn(&[u8]) -> (Option<u16>, Option<u16>),
) -> impl Iterator<Item = Result<(u16, &[u8]), String>> {
    let mut rest = bytes.get(start..).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (kind, length) = header(rest);
        let part = length.filter(|length| *length >= 4).and_then(|length| rest.split_at_checked(length.into()));
        let (Some(kind), Some((part, behind))) = (kind, part) else {
            let left = rest.len();
            rest = &[];
            return Some(Err(format!("structure with a bad length, {left} bytes before the end")));
        };
        rest = behind;
        Some(Ok((kind, part)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(signature: &[u8; 4], fixed: &[u8], body: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(fixed);
        bytes.extend(body.concat());
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(signature);
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        bytes
    }

    const DRHD: &[u8] = &[0, 0, 24, 0, 1, 0, 0, 0, 0, 0, 0xd9, 0xfe, 0, 0, 0, 0, 3, 8, 0, 0, 2, 0xf0, 0x1f, 0];
    /// 7b800000 to 7bffffff for 00:02.0, and through the bridge 00:1c.4 for 00.0 below it.
    const RMRR: &[u8] = &[
        1, 0, 42, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x7b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7b, 0, 0, 0, 0, //
        1, 8, 0, 0, 0, 0, 2, 0, 1, 10, 0, 0, 0, 0, 0x1c, 4, 0, 0,
    ];

    fn a_dmar() -> Vec<u8> {
        table(b"DMAR", &[38, 0b101, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[DRHD, DRHD, RMRR])
    }

    #[test]
    fn dmar_has_units_flags_and_reserved_memory() {
        let found = dmar(&a_dmar()).unwrap();
        assert_eq!(found.units, 2);
        assert_eq!(
            (found.interrupt_remapping, found.x2apic_opt_out, found.platform_opt_in),
            (Some(true), Some(false), Some(true))
        );
        assert_eq!(
            found.reserved,
            [Reserved {
                devices: vec![Scope::Path(0, 0, vec![(2, 0)]), Scope::Path(0, 0, vec![(0x1c, 4), (0, 0)])],
                start: 0x7b80_0000,
                end: 0x7bff_ffff
            }]
        );
    }

    #[test]
    fn ivrs_counts_a_unit_once_for_all_its_formats() {
        let mut ivhd10 = vec![0x10, 0xb0, 24, 0, 2, 0, 0x40, 0, 0, 0, 0x80, 0xfc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut ivhd11 = ivhd10.clone();
        ivhd11[0] = 0x11;
        ivhd11[2] = 40;
        ivhd11.resize(40, 0);
        ivhd10.extend([2, 0, 0, 0]);
        ivhd10[2] = 28;
        let mut ivmd = vec![0x22, 8, 32, 0, 0x08, 0x01, 0x0f, 0x01, 0, 0, 0, 0, 0, 0, 0, 0];
        ivmd.extend(0x1000u64.to_le_bytes());
        ivmd.extend(0x2000u64.to_le_bytes());
        let bytes = table(b"IVRS", &[0x41, 0x30, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[&ivhd10, &ivhd11, &ivmd]);
        let found = ivrs(&bytes).unwrap();
        assert_eq!((found.units, found.interrupt_remapping, found.platform_opt_in), (1, None, Some(false)));
        assert_eq!(
            found.reserved,
            [Reserved { devices: vec![Scope::Range(0, 0x108, 0x10f)], start: 0x1000, end: 0x2fff }]
        );
    }

    #[test]
    fn iort_counts_smmus() {
        let nodes: [&[u8]; 3] = [&[0, 24, 0, 0], &[4, 6, 0, 0, 0, 0], &[3, 4, 0, 0]];
        let mut its = nodes[0].to_vec();
        its.resize(24, 0);
        let bytes = table(b"IORT", &[3, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0], &[&its, nodes[1], nodes[2]]);
        assert_eq!(iort(&bytes).unwrap().units, 2);
    }

    #[test]
    fn bad_lengths_end_in_an_error() {
        let good = a_dmar();
        for cut in 0..good.len() {
            assert!(dmar(&good[..cut]).is_err(), "cut at {cut}");
        }
        let mut zero = good.clone();
        zero[50] = 0;
        assert!(dmar(&zero).is_err(), "a structure of length 0");
        let mut long = good;
        long[50] = 0xff;
        long[51] = 0xff;
        assert!(dmar(&long).is_err(), "a structure beyond the end");
        assert!(ivrs(&a_dmar()).is_err());
        assert!(iort(&table(b"IORT", &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[])).is_err());
    }
}
