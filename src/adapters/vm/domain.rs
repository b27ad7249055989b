//! libvirt: a whole new domain, or the elements for one that is elsewhere.
//!
//! Format: <https://libvirt.org/formatdomain.html>. `<os firmware>` with features: libvirt 7.2.0.

use super::libvirt::{escaped, hostdev, hostdevs};
use super::passed::Passed;
use super::qemu::common;
use super::shape::{HIDDEN, Rendered, Shape, arch, machine, note};
use super::window_arguments;
use crate::error::{Error, Result};
use crate::facts::Snapshot;
use crate::facts::hypervisor::HypervisorKind;
use crate::parse::libvirt_edit::{self, GuestSlot};

/// The name of a domain that has none.
const NAME: &str = "vfioneer";
/// The first root port that a domain which is not known is likely to have free: virt-install makes 14, and puts few devices there.
const FIRST_PORT: u8 = 10;
/// Buses that a domain can have.
const PORTS: usize = 200;

/// The `<hostdev>` elements, for a domain's `<devices>`. Of a domain of this host it is known where its guest has room.
pub fn elements(snap: &Snapshot, passed: &Passed, shape: &Shape) -> Result<Rendered> {
    let several = passed.slots.iter().filter(|slot| slot.members.len() > 1).count();
    let vm = snap
        .hypervisor
        .vms
        .iter()
        .find(|vm| vm.kind == HypervisorKind::Libvirt && shape.name.as_ref() == Some(&vm.id))
        .and_then(|vm| Some((vm.config.known()?, vm.machine.as_ref()?)));
    let mut notes = Vec::new();
    let places = match vm {
        Some((file, machine)) => libvirt_edit::free_slots(&file.text, machine.pcie, several)
            .map_err(|why| Error::refused(format!("{}: {why}", file.path)))?,
        None => {
            let places = ports(FIRST_PORT, several)?;
            let shown: Vec<String> = places.iter().map(|place| format!("0x{:02x}", place.bus)).collect();
            if several > 0 {
                notes.push(note("guest-bus", &[("buses", &shown.join(" "))]));
            }
            places
        }
    };
    notes.extend(managed(passed));
    notes.extend(common(snap, passed, None));
    let mut text = hostdevs(passed, &places).join("\n");
    text.push('\n');
    Ok(Rendered { text, notes })
}

/// Places on root ports of their own.
fn ports(first: u8, count: usize) -> Result<Vec<GuestSlot>> {
    if count > PORTS {
        return Err(Error::refused(format!("{count} slots are more than a domain has")).hint("give fewer devices"));
    }
    Ok((first..=u8::MAX).take(count).map(|bus| GuestSlot { bus, slot: 0 }).collect())
}

fn managed(passed: &Passed) -> Option<String> {
    let unclaimed: Vec<String> =
        passed.members().filter(|member| !member.claimed).map(|member| member.host.to_string()).collect();
    (!unclaimed.is_empty()).then(|| note("managed", &[("devices", &unclaimed.join(" "))]))
}

/// A whole domain. Refuses what it cannot have.
pub fn new(snap: &Snapshot, passed: &Passed, shape: &Shape) -> Result<Rendered> {
    shape.fits(snap)?;
    let places = ports(1, passed.slots.len())?;
    let arch = arch(snap);
    let window = passed.mmio_mib().filter(|_| shape.uefi && !shape.kvm && arch == "x86_64");
    let mut lines = Vec::new();
    let mut line = |depth: usize, text: &str| lines.push(format!("{}{text}", "  ".repeat(depth)));
    let kind = if shape.kvm { "kvm" } else { "qemu" };
    match window {
        Some(_) => line(0, &format!("<domain type='{kind}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>")),
        None => line(0, &format!("<domain type='{kind}'>")),
    }
    line(1, &format!("<name>{}</name>", escaped(shape.name.as_deref().unwrap_or(NAME))));
    line(1, &format!("<memory unit='MiB'>{}</memory>", shape.memory_mib));
    line(1, &format!("<vcpu>{}</vcpu>", shape.cpus));
    line(1, if shape.uefi { "<os firmware='efi'>" } else { "<os>" });
    line(2, &format!("<type arch='{arch}' machine='{}'>hvm</type>", machine(arch)));
    if shape.uefi && arch == "x86_64" {
        // Secure Boot runs no option ROM that is not signed.
        line(2, "<firmware>");
        line(3, "<feature enabled='no' name='enrolled-keys'/>");
        line(3, "<feature enabled='no' name='secure-boot'/>");
        line(2, "</firmware>");
    }
    line(2, "<boot dev='hd'/>");
    line(1, "</os>");
    line(1, "<features>");
    line(2, "<acpi/>");
    line(2, if arch == "x86_64" { "<apic/>" } else { "<gic/>" });
    if shape.hide {
        line(2, &format!("<hyperv><vendor_id state='on' value='{HIDDEN}'/></hyperv>"));
        line(2, "<kvm><hidden state='on'/></kvm>");
    }
    if shape.viommu && shape.kvm {
        line(2, "<ioapic driver='qemu'/>");
    }
    line(1, "</features>");
    line(1, if shape.kvm { "<cpu mode='host-passthrough'/>" } else { "<cpu mode='maximum'/>" });
    line(1, "<devices>");
    if let Some(disk) = &shape.disk {
        let (kind, source) = if disk.starts_with("/dev/") { ("block", "dev") } else { ("file", "file") };
        line(2, &format!("<disk type='{kind}' device='disk'>"));
        line(3, &format!("<driver name='qemu' type='{}'/>", shape.disk_format().unwrap_or("raw")));
        line(3, &format!("<source {source}='{}'/>", escaped(disk)));
        line(3, "<target dev='vda' bus='virtio'/>");
        line(2, "</disk>");
    }
    line(2, "<controller type='pci' index='0' model='pcie-root'/>");
    for place in &places {
        line(2, &format!("<controller type='pci' index='{}' model='pcie-root-port'/>", place.bus));
    }
    for (slot, place) in passed.slots.iter().zip(&places) {
        for member in &slot.members {
            let first = member.function == 0 && slot.members.len() > 1;
            hostdev(member, Some((*place, first))).lines().for_each(|text| line(2, text));
        }
    }
    line(2, "<console type='pty'/>");
    if passed.members().any(|member| member.display) {
        line(2, "<video><model type='none'/></video>");
    }
    line(2, "<memballoon model='none'/>");
    if shape.viommu {
        line(2, "<iommu model='intel'>");
        line(3, "<driver intremap='on' caching_mode='on'/>");
        line(2, "</iommu>");
    }
    line(1, "</devices>");
    if let Some(mib) = window {
        line(1, "<qemu:commandline>");
        for argument in window_arguments(mib) {
            line(2, &format!("<qemu:arg value='{argument}'/>"));
        }
        line(1, "</qemu:commandline>");
    }
    line(0, "</domain>");
    let mut notes: Vec<String> = managed(passed).into_iter().collect();
    notes.extend(common(snap, passed, Some(shape)));
    notes.push(note("balloon", &[]));
    Ok(Rendered { text: lines.join("\n") + "\n", notes })
}
