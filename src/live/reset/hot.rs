//! vfio's reset of all that is below a bridge: whoever asks must have every function of it open.

use crate::error::{Error, Result};
use crate::facts::pci::Pci;
use crate::host::vfio::{Container, Group, Owner};
use crate::parse::address::Address;

/// Opens the groups of all functions that the reset takes along, and resets. Blocks as long as the kernel does.
pub fn reset(pci: &Pci, main: &Address) -> Result<()> {
    let fail = |error: crate::host::vfio::Failure| Error::refused(error.to_string());
    let group_of = |address: &Address| pci.get(address).and_then(|f| f.group.known().copied());
    let own = group_of(main).ok_or_else(|| Error::refused(format!("{main} has no IOMMU group")))?;
    let container = Container::open().map_err(fail)?;
    let open = |number| {
        let group = Group::open(number).map_err(fail)?;
        container.add(&group).map_err(fail)?;
        Ok::<Group, Error>(group)
    };
    let mut groups = vec![open(own)?];
    container.set_iommu().map_err(fail)?;
    let first = groups.first().ok_or_else(|| Error::bug("the group that was opened is not there"))?;
    let device = first.device(&main.to_string()).map_err(fail)?;
    for dependent in device.hot_reset_info().map_err(fail)? {
        // Opened by its group, a device is told the groups of the others.
        let Owner::Group(number) = dependent.owner else {
            return Err(Error::refused("the kernel does not say whose groups it takes along"));
        };
        if !groups.iter().any(|group| group.number() == number) {
            groups.push(open(number)?);
        }
    }
    let all: Vec<&Group> = groups.iter().collect();
    device.hot_reset(&all).map_err(fail)
}
