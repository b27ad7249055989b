//! The kernel's structs as bytes; pure.
//!
//! Layouts are those of Linux 6.12 `include/uapi/linux/vfio.h` and `include/uapi/linux/iommufd.h`. Nearly all of them begin with their
//! own size in 32 bits (`argsz`, `size`), which limits what the kernel reads and writes.

/// A struct that begins with its own size.
#[derive(Debug)]
pub(super) struct Bytes(Vec<u8>);

impl Bytes {
    /// All zero but for the size.
    pub(super) fn new(size: usize) -> Bytes {
        let mut bytes = Bytes(vec![0; size.max(4)]);
        let size = u32::try_from(bytes.0.len()).unwrap_or(u32::MAX);
        bytes.put(0, &size.to_ne_bytes());
        bytes
    }

    pub(super) fn with_u32(mut self, at: usize, value: u32) -> Bytes {
        self.put(at, &value.to_ne_bytes());
        self
    }

    pub(super) fn with_u64(mut self, at: usize, value: u64) -> Bytes {
        self.put(at, &value.to_ne_bytes());
        self
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }

    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// What the kernel has written; 0 behind the end.
    pub(super) fn u32(&self, at: usize) -> u32 {
        u32_at(&self.0, at)
    }

    pub(super) fn u64(&self, at: usize) -> u64 {
        u64_at(&self.0, at)
    }

    pub(super) fn all(&self) -> &[u8] {
        &self.0
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u16::from_ne_bytes(*bytes))
}

/// The most capabilities of one struct that are followed.
const CAPABILITIES: usize = 64;

/// `struct vfio_info_cap_header` { u16 id; u16 version; u32 next }: the one with this id, in bytes from its start on.
fn capability(bytes: &[u8], first: u32, id: u16) -> Option<&[u8]> {
    let mut at = first as usize;
    for _ in 0..CAPABILITIES {
        let found = bytes.get(at..).filter(|found| at != 0 && found.len() >= 8)?;
        if u16_at(found, 0) == id {
            return Some(found);
        }
        at = u32_at(found, 4) as usize;
    }
    None
}

/// Pairs of 64 bits behind a capability's header { header; u32 count; u32 reserved }.
fn pairs(capability: &[u8]) -> Vec<(u64, u64)> {
    let count = u32_at(capability, 8) as usize;
    let pairs = capability.get(16..).unwrap_or_default().chunks_exact(16);
    pairs.take(count).map(|pair| (u64_at(pair, 0), u64_at(pair, 8))).collect()
}

/// Room for `struct vfio_region_info` { argsz, flags, index, cap_offset; u64 size, offset } and its capabilities: a sparse area has
/// 16 bytes, and real devices have a handful.
pub(super) const REGION_ROOM: usize = 4096;

const REGION_READ: u32 = 1;
const REGION_WRITE: u32 = 2;
const REGION_MMAP: u32 = 4;
const REGION_CAPS: u32 = 8;
const CAP_SPARSE_MMAP: u16 = 1;
const CAP_MSIX_MAPPABLE: u16 = 3;

/// A region of a device: a BAR, the option ROM, the configuration space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Bytes; 0 if it is not there.
    pub size: u64,
    /// Where it is in the device's file.
    pub(super) offset: u64,
    /// It can be read.
    pub readable: bool,
    /// It can be written.
    pub writable: bool,
    /// What of it can be mapped, as (offset in it, bytes).
    pub mappable: Vec<(u64, u64)>,
    /// The part with the MSI-X table can be mapped, too.
    pub msix_mappable: bool,
}

/// Reads the answer of `VFIO_DEVICE_GET_REGION_INFO`.
pub(super) fn region(bytes: &[u8]) -> Region {
    let (flags, size, offset) = (u32_at(bytes, 4), u64_at(bytes, 16), u64_at(bytes, 24));
    // A kernel that had no room for the capabilities says that there are none in here.
    let first = if flags & REGION_CAPS != 0 { u32_at(bytes, 12) } else { 0 };
    let mappable = match capability(bytes, first, CAP_SPARSE_MMAP) {
        _ if flags & REGION_MMAP == 0 => Vec::new(),
        Some(sparse) => pairs(sparse)
            .into_iter()
            .filter(|(at, bytes)| at.checked_add(*bytes).is_some_and(|end| end <= size))
            .collect(),
        None => vec![(0, size)],
    };
    Region {
        size,
        offset,
        readable: flags & REGION_READ != 0,
        writable: flags & REGION_WRITE != 0,
        mappable,
        msix_mappable: capability(bytes, first, CAP_MSIX_MAPPABLE).is_some(),
    }
}

/// Room for `struct vfio_iommu_type1_info` { argsz, flags; u64 pgsizes; u32 cap_offset, pad } and its capabilities, which list ranges
/// of 16 bytes.
pub(super) const TYPE1_ROOM: usize = 64 << 10;
const TYPE1_CAPS: u32 = 2;
const CAP_IOVA_RANGE: u16 = 1;

/// Addresses that a device may use for DMA, as (first, last), by `VFIO_IOMMU_GET_INFO`. Empty if the kernel does not say (before 5.4).
pub(super) fn iova_ranges(bytes: &[u8]) -> Vec<(u64, u64)> {
    let first = if u32_at(bytes, 4) & TYPE1_CAPS != 0 { u32_at(bytes, 16) } else { 0 };
    capability(bytes, first, CAP_IOVA_RANGE).map(pairs).unwrap_or_default()
}

/// Firmware and old devices use the first MiB in ways of their own.
const LOW: u64 = 1 << 20;

/// A page within one of the ranges, in the first MiB only if nothing else is allowed. Where the kernel names no ranges, all is
/// allowed.
pub(super) fn free_page(ranges: &[(u64, u64)], page: u64) -> Option<u64> {
    if ranges.is_empty() {
        return Some(LOW);
    }
    let fits = |from: u64| {
        ranges.iter().find_map(|(first, last)| {
            let start = (*first).max(from).checked_next_multiple_of(page)?;
            start.checked_add(page - 1).filter(|end| end <= last).map(|_| start)
        })
    };
    fits(LOW).or_else(|| fits(0))
}

/// `struct vfio_pci_hot_reset_info` { argsz, flags, count }, then `struct vfio_pci_dependent_device` { u32 group_id or devid; u16 segment;
/// u8 bus, devfn }.
pub(super) const HOT_RESET_INFO: usize = 12;
/// One entry of it.
pub(super) const DEPENDENT: usize = 8;
/// Below one bridge are at most 256 buses; no machine has more functions there than this.
pub(super) const DEPENDENTS: usize = 4096;
const HOT_RESET_DEV_ID: u32 = 1;
/// `VFIO_PCI_DEVID_NOT_OWNED`; `VFIO_PCI_DEVID_OWNED` is 0.
const NOT_OWNED: u32 = u32::MAX;

/// A function that a hot reset of another one resets, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependent {
    /// Its domain.
    pub segment: u16,
    /// Its bus.
    pub bus: u8,
    /// Its device number on the bus.
    pub device: u8,
    /// Its function number.
    pub function: u8,
    /// Whom it belongs to.
    pub owner: Owner,
}

/// Whom a function belongs to, as far as a hot reset is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Whoever has this group open.
    Group(u32),
    /// The same iommufd as the device that was asked.
    Ours,
    /// Somebody else.
    Other,
}

/// Reads the answer of `VFIO_DEVICE_GET_PCI_HOT_RESET_INFO`.
pub(super) fn dependents(bytes: &[u8]) -> Vec<Dependent> {
    let by_device = u32_at(bytes, 4) & HOT_RESET_DEV_ID != 0;
    let count = u32_at(bytes, 8) as usize;
    let entries = bytes.get(HOT_RESET_INFO..).unwrap_or_default().chunks_exact(DEPENDENT).take(count);
    let one = |entry: &[u8]| {
        let (bus, devfn) = (entry.get(6).copied().unwrap_or(0), entry.get(7).copied().unwrap_or(0));
        Dependent {
            segment: u16_at(entry, 4),
            bus,
            device: devfn >> 3,
            function: devfn & 7,
            owner: match (by_device, u32_at(entry, 0)) {
                (false, group) => Owner::Group(group),
                (true, NOT_OWNED) => Owner::Other,
                (true, _) => Owner::Ours,
            },
        }
    };
    entries.map(one).collect()
}

#[cfg(test)]
mod tests;
