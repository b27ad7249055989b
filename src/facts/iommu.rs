//! IOMMU: firmware tables, running units, groups, interrupt remapping.

use super::Needs;
use super::pci::Pci;
use crate::host::{Fact, Host};
use std::collections::BTreeMap;

/// The firmware's IOMMU table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// Intel VT-d.
    Dmar,
    /// AMD-Vi.
    Ivrs,
    /// ARM SMMU.
    Iort,
}

/// What the table says (unknown without root).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableContent {
    /// DMAR flags bit 0, or IVRS: interrupt remapping is offered.
    pub interrupt_remapping: Option<bool>,
    /// DMAR flags bit 1.
    pub x2apic_opt_out: Option<bool>,
    /// DMAR flags bit 2.
    pub platform_opt_in: Option<bool>,
    /// Remapping units described.
    pub units: usize,
    /// Devices with reserved memory (RMRR, IVMD), as printed addresses and ranges.
    pub reserved: Vec<(String, u64, u64)>,
}

/// One line of a group's `reserved_regions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// First address.
    pub start: u64,
    /// Last address.
    pub end: u64,
    /// `direct`, `direct-relaxable`, `reserved`, `msi`.
    pub kind: String,
}

/// One IOMMU group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// `DMA`, `DMA-FQ`, `identity`, …
    pub domain_type: Fact<String>,
    /// Reserved regions.
    pub reserved: Fact<Vec<Reserved>>,
}

/// The host's IOMMU.
#[derive(Clone, Debug, Default)]
pub struct Iommu {
    /// Which table the firmware gives; absent if none; unknown if that could not be seen.
    pub table: Fact<TableKind>,
    /// What the table says.
    pub content: Fact<TableContent>,
    /// Names in `/sys/class/iommu`: `dmar0`, `ivhd0`, `smmu3.…`. Known and empty: none is running.
    pub units: Fact<Vec<String>>,
    /// Is interrupt remapping on? From kernel messages, else from `/proc/interrupts`/`/sys/kernel/debug`, else unknown.
    pub interrupt_remapping: Fact<bool>,
    /// What says so.
    pub interrupt_remapping_evidence: Option<super::Evidence>,
    /// Groups by number.
    pub groups: BTreeMap<u32, Group>,
}

impl Iommu {
    /// Is an IOMMU translating DMA for devices of this host?
    pub fn running(&self) -> Fact<bool> {
        if !self.groups.is_empty() {
            return Fact::Known(true);
        }
        self.units.as_ref().map(|units| !units.is_empty())
    }
}

/// Reads the IOMMU's state.
pub fn collect(_host: &dyn Host, _needs: Needs, _pci: &Pci) -> Iommu {
    Iommu::default()
}
