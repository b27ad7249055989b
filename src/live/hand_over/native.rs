//! Which driver of the host a function belongs to, where nobody remembers.

use super::moves::command;
use crate::facts::pci::Function;
use crate::host::HostMut;
use std::io;

/// The driver of the module that `modules.alias` names for it first, loaded if it was not; `None`: the kernel has none for it.
///
/// A module's drivers are in `/sys/module/NAME/drivers`, as `pci:DRIVER` (Linux 6.12 drivers/base/module.c `module_add_driver`): often, not
/// always, of the same name.
pub(super) fn driver(host: &dyn HostMut, function: &Function) -> io::Result<Option<String>> {
    let candidates = function.candidates.known().map_or(&[][..], Vec::as_slice);
    for module in candidates.iter().filter(|module| !module.ends_with("vfio_pci") && *module != "pci_stub") {
        let dir = format!("/sys/module/{module}/drivers");
        if host.stat(&dir).is_absent() {
            // One that the user has blacklisted stays away; one that cannot be loaded is not it.
            match command(host, &["modprobe", "-b", "--", module]) {
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
                _ => {}
            }
        }
        let drivers = host.entries(&dir).into_known().unwrap_or_default();
        if let Some(driver) = drivers.iter().find_map(|name| name.strip_prefix("pci:")) {
            return Ok(Some(driver.to_owned()));
        }
    }
    Ok(None)
}
