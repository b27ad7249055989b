//! libvirt: the `<hostdev>` elements of a domain.
//!
//! Goes in: a domain and what it is to get or lose. Comes out: its edited XML, and on the running host `virsh define`, by which the daemon learns of it.
//! Format: <https://libvirt.org/formatdomain.html#host-device-assignment>.

use super::{Member, Passed, command};
use crate::adapters::Work;
use crate::facts::hypervisor::{Machine, Vm};
use crate::facts::{Snapshot, TextFile};
use crate::parse::address::Address;
use crate::parse::libvirt_edit::{self, GuestSlot};
use crate::parse::libvirt_xml;
use crate::steps::Step;
use crate::steps::reasons::reason;

/// One function's element, its lines without indentation in front. `place`: where the guest is to have it; without, libvirt chooses.
///
/// A function that is claimed is not managed: libvirt would give it to a driver of the host's when the VM ends, which the claim is there to prevent.
pub fn hostdev(member: &Member, place: Option<(GuestSlot, bool)>) -> String {
    let managed = if member.claimed { "no" } else { "yes" };
    let Address { domain, bus, device, function } = member.host;
    let mut text = format!(
        "<hostdev mode='subsystem' type='pci' managed='{managed}'>\n  <source>\n    \
         <address domain='0x{domain:04x}' bus='0x{bus:02x}' slot='0x{device:02x}' function='0x{function:x}'/>\n  </source>\n"
    );
    if let Some(path) = &member.rom_file {
        text.push_str(&format!("  <rom file='{}'/>\n", escaped(path)));
    }
    if let Some((GuestSlot { bus, slot }, multifunction)) = place {
        let more = if multifunction { " multifunction='on'" } else { "" };
        let function = member.function;
        text.push_str(&format!(
            "  <address type='pci' domain='0x0000' bus='0x{bus:02x}' slot='0x{slot:02x}' function='0x{function:x}'{more}/>\n"
        ));
    }
    text + "</hostdev>"
}

/// A text as an attribute's value in single quotes.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}

/// The elements of all functions; `places`: one for each slot that has several.
pub fn hostdevs(passed: &Passed, places: &[GuestSlot]) -> Vec<String> {
    let mut places = places.iter();
    let mut elements = Vec::new();
    for slot in &passed.slots {
        let several = slot.members.len() > 1;
        let place = places.by_ref().take(usize::from(several)).next();
        elements.extend(slot.members.iter().map(|member| {
            let first = member.function == 0;
            hostdev(member, place.map(|place| (*place, first)))
        }));
    }
    elements
}

/// Gives a domain devices. Fails with a sentence.
pub(super) fn attach(snap: &Snapshot, vm: &Vm, file: &TextFile, passed: &Passed) -> Result<Work, String> {
    let malformed = |why: String| reason("vm-malformed", &[("path", &file.path), ("why", &why)]);
    let machine = vm.machine.as_ref();
    let several = passed.slots.iter().filter(|slot| slot.members.len() > 1).count();
    let pcie = machine.is_some_and(|machine| machine.pcie);
    let places = libvirt_edit::free_slots(&file.text, pcie, several).map_err(malformed)?;
    let mut text = libvirt_edit::add_devices(&file.text, &hostdevs(passed, &places)).map_err(malformed)?;
    let window = super::window(snap, vm, passed, &[]).filter(|_| machine.is_some_and(Machine::wants_window));
    if let Some(mib) = window {
        let [argument, value] = super::window_arguments(mib);
        text = libvirt_edit::add_argument(&text, &argument, &value).map_err(malformed)?;
    }
    define(snap, file, text, reason("vm-attach-libvirt", &[("vm", &vm.id)]))
}

/// Takes devices from a domain. Fails with a sentence.
pub(super) fn detach(snap: &Snapshot, vm: &Vm, file: &TextFile, gone: &[Address]) -> Result<Work, String> {
    let malformed = |why: String| reason("vm-malformed", &[("path", &file.path), ("why", &why)]);
    let (mut text, count) = libvirt_edit::remove_devices(&file.text, gone).map_err(malformed)?;
    if count == 0 {
        return Ok(Work::default());
    }
    if let Some(mib) = super::needless_window(snap, vm, gone) {
        let [argument, value] = super::window_arguments(mib);
        text = libvirt_edit::remove_argument(&text, &argument, &value).map_err(malformed)?;
    }
    define(snap, file, text, reason("vm-detach-libvirt", &[("vm", &vm.id)]))
}

/// The file written, and read by the daemon; what is undone is read again.
fn define(snap: &Snapshot, file: &TextFile, text: String, why: String) -> Result<Work, String> {
    // What is written must be understood, by us at least.
    libvirt_xml::parse(&text).map_err(|why| reason("vm-malformed", &[("path", &file.path), ("why", &why)]))?;
    let mut work = Work { files: vec![Step::write(&file.path, Some(&file.text), text, 0o600, why)], ..Work::default() };
    if snap.is_live() {
        let argv = ["virsh", "--connect", "qemu:///system", "define", &file.path];
        work.commands.push(command(&argv, &argv, &[&file.path], reason("vm-define", &[])));
    }
    Ok(work)
}
