//! The ROM files that VMs show to their devices: are they there, and what is in them.
//!
//! Goes in: a host, and its VMs. Comes out: a [`Rom`] per path. A ROM belongs to its maker: only what was read in it is kept, never
//! its bytes, so that a recording has none either.

use super::{Hypervisor, HypervisorKind, Vm, VmDevice, rom_places};
use crate::host::{Digest, Fact, Host};
use crate::parse::rom::{LARGEST, Rom};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read};

/// The computation that gives a [`Rom`] as JSON. Recordings hold its results by this name.
const DIGEST: Digest = Digest { name: "rom-1", compute };
/// The most images of one file; a card has five or six.
const MOST_IMAGES: usize = 64;
/// The most files that are read.
const MOST_FILES: usize = 64;

fn compute(data: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    data.take(LARGEST as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > LARGEST {
        return Err(io::Error::new(ErrorKind::InvalidData, "larger than any ROM (16 MiB)"));
    }
    let rom = Rom::read(&bytes);
    if rom.images.len() > MOST_IMAGES || rom.faults.len() > MOST_IMAGES {
        return Err(io::Error::new(ErrorKind::InvalidData, "more images than any ROM has"));
    }
    serde_json::to_vec(&rom).map_err(io::Error::from)
}

/// Where configurations of containers' own libvirt lie; paths in them are within the container.
const CONTAINERS: &[&str] = &["/var/lib/docker/", "/var/lib/containers/"];

/// The path on the host of a device's ROM file; none where that is not certain.
pub(super) fn path(vm: &Vm, device: &VmDevice) -> Option<String> {
    let name = device.rom_file.as_deref().filter(|name| !name.is_empty())?;
    // Without its configuration (only its process was seen) it has read its ROM already.
    let config = vm.config.known()?;
    match vm.kind {
        HypervisorKind::Proxmox => {
            let place = rom_places().iter().find(|place| place.hypervisor == vm.kind)?;
            Some(format!("{}/{name}", place.dir))
        }
        HypervisorKind::Libvirt => {
            let inside = CONTAINERS.iter().any(|dir| config.path.starts_with(dir));
            (name.starts_with('/') && !inside).then(|| name.to_owned())
        }
        _ => None,
    }
}

/// Reads the ROM files of all VMs.
pub(super) fn collect(host: &dyn Host, all: &mut Hypervisor) {
    let wanted = all.vms.iter().flat_map(|vm| vm.devices.iter().filter_map(|device| path(vm, device)));
    let wanted: BTreeSet<String> = wanted.collect();
    for path in wanted.into_iter().take(MOST_FILES) {
        let rom = host.digest(&path, &DIGEST).and_then(|bytes| Fact::from(serde_json::from_slice::<Rom>(&bytes)));
        all.roms.insert(path, rom);
    }
}
