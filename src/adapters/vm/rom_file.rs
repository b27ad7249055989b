//! A card's ROM in a file that a VM shows its guest, where the hypervisor's QEMU may read it.
//!
//! Goes in: a snapshot, the card, the ROM. Comes out: the file as a step. Its name tells the card and the content, so that a file that a
//! VM already uses is never replaced by another one.

use crate::adapters::Work;
use crate::facts::Snapshot;
use crate::facts::hypervisor::{HypervisorKind, RomPlace, rom_places};
use crate::facts::pci::Function;
use crate::goal::RomFile;
use crate::host::Fact;
use crate::steps::reasons::reason;
use crate::steps::{Expectation, Step, sha256};

/// Digits of the content's hash in the name.
const DIGITS: usize = 12;

/// The file, if it is not there yet, and how a VM's configuration names it.
pub fn work(snap: &Snapshot, card: &Function, rom: &RomFile, vm: Option<&str>) -> Work {
    let device = card.name();
    let Some(place) = place(snap, vm) else {
        let manual = vec![reason("rom-file-no-place", &[("device", &device), ("file", &rom.path)])];
        return Work { manual, ..Work::default() };
    };
    let (path, mut work) = placed(snap, card, rom, place);
    let name = path.rsplit('/').next().unwrap_or_default();
    let reference = place.reference.replace("{name}", name).replace("{path}", &path);
    work.notes.push(reason("rom-file-reference", &[("device", &device), ("reference", &reference)]));
    work
}

/// The file's path where that VM's hypervisor reads it, and the file if it is not there yet; `None` if that one takes no ROM file.
pub fn for_vm(snap: &Snapshot, card: &Function, rom: &RomFile, kind: HypervisorKind) -> Option<(String, Work)> {
    let place = rom_places().iter().find(|place| place.hypervisor == kind)?;
    Some(placed(snap, card, rom, place))
}

fn placed(snap: &Snapshot, card: &Function, rom: &RomFile, place: &RomPlace) -> (String, Work) {
    let mut work = Work::default();
    let inside = rom.path.strip_prefix(&place.dir).and_then(|rest| rest.strip_prefix('/')).filter(|_| snap.is_live());
    let name = inside.map_or_else(|| name(card, &rom.bytes), str::to_owned);
    let path = format!("{}/{name}", place.dir);
    let wanted = sha256(&rom.bytes);
    let before = match snap.own.roms.get(&path) {
        Some(Fact::Known(there)) => Some(there.clone()),
        _ => None,
    };
    if inside.is_none() && before.as_ref() != Some(&wanted) {
        let why = reason("rom-file", &[("device", &card.name())]);
        work.files.push(Step::write_binary(&path, before, rom.bytes.clone(), 0o644, why));
    }
    work.expect.push(Expectation::File { path: path.clone(), sha256: Some(wanted) });
    (path, work)
}

/// Where the VM's hypervisor reads it, or the first one of this host; `None` if those that are here take no ROM file.
fn place(snap: &Snapshot, vm: Option<&str>) -> Option<&'static RomPlace> {
    let of = |kind: HypervisorKind| rom_places().iter().find(|place| place.hypervisor == kind);
    let kinds = &snap.hypervisor.kinds;
    match snap.hypervisor.vms.iter().find(|known| vm.is_some_and(|vm| known.id == vm || known.name == vm)) {
        Some(vm) => of(vm.kind),
        None if kinds.is_empty() => of(HypervisorKind::Qemu),
        None => kinds.iter().find_map(|(kind, _)| of(*kind)),
    }
}

fn name(card: &Function, bytes: &[u8]) -> String {
    let ids = card.ids.known().map(|ids| format!("{:04x}-{:04x}-", ids.vendor, ids.device)).unwrap_or_default();
    let hash: String = sha256(bytes).chars().take(DIGITS).collect();
    format!("vfioneer-{ids}{hash}.rom")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::Origin;
    use crate::host::Kind;

    fn rom(path: &str) -> RomFile {
        RomFile { path: path.into(), bytes: b"rom".to_vec() }
    }

    fn on(kinds: &[HypervisorKind]) -> Snapshot {
        let mut snap = t::healthy();
        snap.hypervisor.kinds = kinds.iter().map(|kind| (*kind, None)).collect();
        snap
    }

    fn gpu(snap: &Snapshot) -> &Function {
        snap.pci.get(&crate::parse::address::Address::parse(GPU).unwrap()).unwrap()
    }

    /// The path of the step, and what the notes say.
    fn told(snap: &Snapshot, rom: &RomFile) -> (Option<String>, String) {
        let work = work(snap, gpu(snap), rom, None);
        (work.files.first().and_then(Step::path).map(str::to_owned), work.notes.concat() + &work.manual.concat())
    }

    #[test]
    fn where_each_hypervisor_reads_it() {
        use HypervisorKind::{Kubevirt, Libvirt, Nova, Proxmox, Qemu};
        for (kinds, dir, reference) in [
            (&[Proxmox, Qemu][..], "/usr/share/kvm", "romfile=vfioneer-"),
            (&[Libvirt, Qemu], "/usr/share/vgabios", "<rom file='/usr/share/vgabios/vfioneer-"),
            (&[Libvirt, Nova], "/usr/share/vgabios", "<rom file="),
            (&[Qemu], "/usr/share/vgabios", "romfile=/usr/share/vgabios/"),
            (&[], "/usr/share/vgabios", "romfile=/usr/share/vgabios/"),
        ] {
            let (path, notes) = told(&on(kinds), &rom("/root/a.rom"));
            let path = path.unwrap();
            assert!(path.starts_with(&format!("{dir}/vfioneer-10de-2684-")), "{path}");
            assert!(notes.contains(reference), "{notes}");
        }
        let (path, manual) = told(&on(&[Kubevirt]), &rom("/root/a.rom"));
        assert!(path.is_none() && manual.contains("/root/a.rom"), "{manual}");
    }

    #[test]
    fn what_is_there_is_taken() {
        let mut snap = on(&[HypervisorKind::Proxmox]);
        let (path, _) = told(&snap, &rom("/root/a.rom"));
        snap.own.roms.insert(path.clone().unwrap(), Fact::Known(sha256(b"rom")));
        assert_eq!(told(&snap, &rom("/root/a.rom")).0, None);
        snap.own.roms.insert(path.clone().unwrap(), Fact::Known(sha256(b"damaged")));
        assert_eq!(told(&snap, &rom("/root/a.rom")).0, path);
        // One of the user's own, in the right place.
        snap.origin = Origin::Host(Kind::Live, String::new());
        let (path, notes) = told(&snap, &rom("/usr/share/kvm/mine.rom"));
        assert!(path.is_none() && notes.contains("romfile=mine.rom"), "{notes}");
    }
}
