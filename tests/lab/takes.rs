//! The table of cells that take a device: planned, applied, booted, verified, rolled back, booted again.

use crate::cells::{GPU, NIC, NVME, SHARED_GPU, State, Vendor, variants};
use crate::machine::Machine;
use crate::variant::{Generator, Layout, Loader, Variant};

/// What else happens to the host while the device is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    Nothing,
    /// Another kernel is installed after `apply`, and boots.
    Kernel,
    /// A card is put in before all others: the device is at another address.
    Moved,
    /// The entry without passthrough is booted once.
    Off,
    /// The NIC is taken by `--method ids`.
    Ids,
    /// The device shares its group: nothing may happen.
    Refused,
    /// The IOMMU was switched off on the command line, and `--repair` is asked for.
    Repair,
    /// The driver that has the device is built into the kernel.
    BuiltIn,
    /// The device stays, and makes virtual functions that are taken.
    Vfs,
    /// The power is cut this many times, at random moments.
    Cuts(u32),
}

/// Several boots of one disk.
#[derive(Clone, Copy, Debug)]
pub struct Take {
    pub variant: Variant,
    pub vendor: Vendor,
    pub extra: Extra,
}

impl Take {
    /// The name by which a cell is chosen.
    pub fn name(&self) -> String {
        let word = match self.extra {
            Extra::Nothing => "",
            Extra::Kernel => "-kernel",
            Extra::Moved => "-moved",
            Extra::Off => "-off",
            Extra::Ids => "-ids",
            Extra::Refused => "-refused",
            Extra::Repair => "-repair",
            Extra::BuiltIn => "-builtin",
            Extra::Vfs => "-vfs",
            Extra::Cuts(_) => "-cuts",
        };
        format!("take-debian{}-{}-{}{word}", self.variant.debian, self.vendor.name(), self.variant.name())
    }

    /// The hardware at first.
    pub fn machine(&self) -> Machine {
        Machine {
            vendor: self.vendor,
            state: self.state(),
            uefi: self.variant.uefi(),
            moved: false,
            honest_disk: matches!(self.extra, Extra::Cuts(_)),
        }
    }

    /// What is right or wrong with the host at first.
    pub fn state(&self) -> State {
        match self.extra {
            Extra::Refused => State::SharedGroup,
            Extra::Repair => State::OffInKernel,
            Extra::BuiltIn => State::BuiltInDriver,
            Extra::Vfs => State::Sriov,
            _ => State::IdenticalGpus,
        }
    }

    /// Whether the device has a twin, which must stay with the host.
    pub fn has_twin(&self) -> bool {
        self.device() == GPU && matches!(self.state(), State::IdenticalGpus | State::BuiltInDriver)
    }

    /// The device that is taken.
    pub fn device(&self) -> &'static str {
        match self.extra {
            Extra::Refused => SHARED_GPU,
            Extra::Ids => NIC,
            Extra::Vfs => NVME,
            _ => GPU,
        }
    }

    /// What `plan` is told besides the device.
    pub fn options(&self) -> &'static str {
        match self.extra {
            Extra::Ids => "--method ids",
            Extra::Repair => "--repair",
            Extra::Vfs => "--vfs 4",
            _ => "",
        }
    }
}

/// What `LAB=subset` runs of these: each release, vendor and generator, and each loader but systemd-boot, which the unified
/// image is started by.
pub const SUBSET: [&str; 3] =
    ["take-debian13-intel-grub-bios-tools", "take-debian12-amd-grub-uefi-dracut-lvm", "take-debian13-intel-uki-tools"];

/// Every cell.
pub fn all() -> Vec<Take> {
    let variant = |debian, loader, generator, layout| Variant { debian, loader, generator, layout };
    let vendors = [Vendor::Intel, Vendor::Amd];
    let mut takes = Vec::new();
    for variant in variants() {
        let plain = variant.layout == Layout::Plain;
        for vendor in vendors {
            // Where the root lies has nothing to do with the processor.
            if plain || vendor == layout_vendor(variant) {
                takes.push(Take { variant, vendor, extra: Extra::Nothing });
            }
        }
    }
    let (tools, dracut, plain) = (Generator::Tools, Generator::Dracut, Layout::Plain);
    let specials = [
        (variant(13, Loader::GrubBios, tools, plain), Vendor::Intel, Extra::Kernel),
        (variant(13, Loader::SystemdBoot, dracut, plain), Vendor::Amd, Extra::Kernel),
        (variant(12, Loader::GrubUefi, dracut, plain), Vendor::Intel, Extra::Kernel),
        (variant(13, Loader::Uki, tools, plain), Vendor::Intel, Extra::Kernel),
        (variant(13, Loader::GrubBios, dracut, plain), Vendor::Intel, Extra::Moved),
        (variant(12, Loader::GrubBios, tools, plain), Vendor::Intel, Extra::Moved),
        (variant(12, Loader::GrubBios, tools, plain), Vendor::Amd, Extra::Off),
        (variant(13, Loader::GrubUefi, dracut, plain), Vendor::Intel, Extra::Off),
        (variant(13, Loader::SystemdBoot, tools, plain), Vendor::Intel, Extra::Off),
        (variant(13, Loader::GrubBios, tools, plain), Vendor::Amd, Extra::Ids),
        (variant(12, Loader::GrubBios, dracut, plain), Vendor::Intel, Extra::Ids),
        (variant(13, Loader::GrubBios, tools, plain), Vendor::Intel, Extra::Refused),
        (variant(12, Loader::GrubBios, tools, plain), Vendor::Amd, Extra::Refused),
        (variant(13, Loader::GrubBios, tools, plain), Vendor::Intel, Extra::BuiltIn),
        (variant(12, Loader::GrubBios, dracut, plain), Vendor::Amd, Extra::BuiltIn),
        // Of Debian's images, this one has the controller's driver, which is there before udev has the rule; the next one has not.
        (variant(13, Loader::GrubBios, tools, plain), Vendor::Intel, Extra::Vfs),
        (variant(12, Loader::GrubBios, Generator::DracutAny, Layout::Boot), Vendor::Intel, Extra::Vfs),
        (variant(12, Loader::GrubBios, tools, plain), Vendor::Intel, Extra::Repair),
        (variant(13, Loader::GrubBios, tools, plain), Vendor::Amd, Extra::Repair),
    ];
    // 30 cuts over the loaders and generators, more where GRUB reads XFS, and two in the subset.
    let cuts = [
        (variant(12, Loader::GrubUefi, tools, plain), 5),
        (variant(13, Loader::GrubBios, dracut, plain), 5),
        (variant(13, Loader::SystemdBoot, tools, plain), 5),
        (variant(12, Loader::SystemdBoot, dracut, plain), 5),
        (variant(13, Loader::Uki, tools, plain), 5),
        (variant(13, Loader::Uki, dracut, plain), 5),
        (variant(13, Loader::GrubUefi, dracut, Layout::Xfs), 5),
        (variant(13, Loader::GrubBios, tools, plain), 2),
    ];
    // What these do besides comes between the same boots, and is judged as strictly.
    let covers = |extra| matches!(extra, Extra::Moved | Extra::Off);
    takes.retain(|take| {
        !specials
            .iter()
            .any(|(variant, vendor, extra)| covers(*extra) && (*variant, *vendor) == (take.variant, take.vendor))
    });
    takes.extend(cuts.map(|(variant, count)| Take { variant, vendor: Vendor::Intel, extra: Extra::Cuts(count) }));
    takes.extend(specials.map(|(variant, vendor, extra)| Take { variant, vendor, extra }));
    takes
}

/// The vendor that a layout's own cell has: the two take turns.
fn layout_vendor(variant: Variant) -> Vendor {
    if (variant.debian == 12) == (variant.loader == Loader::GrubUefi) { Vendor::Amd } else { Vendor::Intel }
}
