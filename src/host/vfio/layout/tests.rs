use super::*;

/// `sizeof(struct vfio_region_info)`, `sizeof(struct vfio_iommu_type1_info)`.
const REGION_INFO: usize = 32;
const TYPE1_INFO: usize = 24;

/// Numbers as the kernel writes them, one behind the other.
#[derive(Default)]
struct Reply(Vec<u8>);

impl Reply {
    fn u16(mut self, value: u16) -> Reply {
        self.0.extend(value.to_ne_bytes());
        self
    }
    fn u32(mut self, value: u32) -> Reply {
        self.0.extend(value.to_ne_bytes());
        self
    }
    fn u64(mut self, value: u64) -> Reply {
        self.0.extend(value.to_ne_bytes());
        self
    }
    fn bytes(mut self, bytes: &[u8]) -> Reply {
        self.0.extend(bytes);
        self
    }
}

#[test]
fn structs_begin_with_their_size() {
    for size in [8, 16, REGION_INFO, TYPE1_INFO, HOT_RESET_INFO + 4] {
        let bytes = Bytes::new(size);
        assert_eq!((bytes.u32(0) as usize, bytes.all().len()), (size, size));
    }
    let bytes = Bytes::new(16).with_u32(4, 7).with_u64(8, u64::MAX).with_u32(14, 1).with_u32(99, 1);
    assert_eq!((bytes.u32(0), bytes.u32(4), bytes.u64(8), bytes.u64(16)), (16, 7, u64::MAX, 0));
}

#[test]
fn a_region_without_capabilities_is_mapped_whole() {
    let reply = Reply::default().u32(32).u32(0b111).u32(0).u32(0).u64(0x20000).u64(1 << 40);
    assert_eq!(reply.0.len(), REGION_INFO);
    let found = region(&reply.0);
    assert_eq!((found.size, found.offset, found.readable, found.writable), (0x20000, 1 << 40, true, true));
    assert_eq!((found.mappable, found.msix_mappable), (vec![(0, 0x20000)], false));
    let ports = Reply::default().u32(32).u32(0b011).u32(2).u32(0).u64(32).u64(0);
    assert_eq!(region(&ports.0).mappable, []);
    assert_eq!(region(&[]), Region::default());
}

#[test]
fn capabilities_say_what_can_be_mapped() {
    let reply = Reply::default().u32(88).u32(0b1111).u32(0).u32(32).u64(0x4000).u64(0);
    let reply = reply.u16(CAP_MSIX_MAPPABLE).u16(1).u32(40);
    // Two areas; the second leads out of the region and is not believed.
    let reply = reply.u16(CAP_SPARSE_MMAP).u16(1).u32(0).u32(2).u32(0);
    let reply = reply.u64(0x1000).u64(0x3000).u64(0x3000).u64(u64::MAX);
    let found = region(&reply.0);
    assert_eq!((found.mappable, found.msix_mappable), (vec![(0x1000, 0x3000)], true));
}

#[test]
fn capabilities_that_go_round_end() {
    let reply = Reply::default().u32(40).u32(0b1111).u32(0).u32(32).u64(0x1000).u64(0).u16(9).u16(1).u32(32);
    assert_eq!(region(&reply.0).mappable, [(0, 0x1000)]);
}

#[test]
fn a_page_for_dma_is_within_a_range() {
    let reply = Reply::default().u32(24).u32(3).u64(0xfffff000).u32(24).u32(0);
    assert_eq!(reply.0.len(), TYPE1_INFO);
    let reply = reply.u16(CAP_IOVA_RANGE).u16(1).u32(0).u32(2).u32(0);
    let reply = reply.u64(0).u64(0xfedf_ffff).u64(0xfef0_0000).u64(u64::MAX);
    let ranges = iova_ranges(&reply.0);
    assert_eq!(ranges, [(0, 0xfedf_ffff), (0xfef0_0000, u64::MAX)]);
    assert_eq!(free_page(&ranges, 4096), Some(0x10_0000));
    assert_eq!(iova_ranges(&Reply::default().u32(24).u32(1).u64(4096).u64(0).0), []);
    for (ranges, free) in [
        (vec![], Some(LOW)),
        (vec![(0, 0xffff)], Some(0)),
        (vec![(1, 0x1ffe)], None),
        (vec![(0x20_0001, 0x20_1fff)], Some(0x20_1000)),
        (vec![(u64::MAX - 1, u64::MAX)], None),
        (vec![(u64::MAX - 0xfff, u64::MAX)], Some(u64::MAX - 0xfff)),
    ] {
        assert_eq!(free_page(&ranges, 4096), free, "{ranges:?}");
    }
}

#[test]
fn what_a_hot_reset_touches() {
    let reply = Reply::default().u32(32).u32(0).u32(2);
    assert_eq!(reply.0.len(), HOT_RESET_INFO);
    let reply = reply.u32(7).u16(0).bytes(&[1, 0]).u32(8).u16(1).bytes(&[2, 0x1b]);
    assert_eq!(reply.0.len(), HOT_RESET_INFO + 2 * DEPENDENT);
    assert_eq!(
        dependents(&reply.0),
        [
            Dependent { segment: 0, bus: 1, device: 0, function: 0, owner: Owner::Group(7) },
            Dependent { segment: 1, bus: 2, device: 3, function: 3, owner: Owner::Group(8) },
        ]
    );
}

#[test]
fn iommufd_tells_devices_apart() {
    let reply = Reply::default().u32(36).u32(HOT_RESET_DEV_ID).u32(9);
    let reply = reply.u32(5).u16(0).bytes(&[1, 0]).u32(0).u16(0).bytes(&[1, 1]).u32(NOT_OWNED).u16(0).bytes(&[1, 2]);
    let owners: Vec<Owner> = dependents(&reply.0).iter().map(|one| one.owner).collect();
    assert_eq!(owners, [Owner::Ours, Owner::Ours, Owner::Other]);
}
