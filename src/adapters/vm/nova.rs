//! OpenStack nova: its configuration, and what a flavor and an image say.
//!
//! Formats: nova 34.0.0 `nova/conf/pci.py`, `nova/pci/request.py`; <https://docs.openstack.org/nova/latest/admin/pci-passthrough.html>.
//! Merging: kolla-ansible `ansible/roles/nova-cell/tasks/config.yml`, `merge_configs`.

use super::passed::{Member, Passed};
use super::shape::{Rendered, Shape, arch, machine, note};
use crate::error::{Error, Result};
use crate::facts::Snapshot;
use crate::facts::hypervisor::nova::{VF, device_type};
use crate::facts::pci::{Function, Ids};
use serde_json::json;

/// The text, with places for what is this host's.
const TEXT: &str = include_str!("nova.conf");

/// What stands at a device that is bound at boot.
const MANAGED: &str = "\n# \"managed\": \"no\" (31.0.0 and later; leave it out before) is for those that are bound\n\
    # to vfio-pci at boot: libvirt must not give them to a driver of the host.";

/// One function as nova sees it.
struct Offer<'a> {
    function: &'a Function,
    member: &'a Member,
    ids: Ids,
    kind: &'static str,
}

impl Offer<'_> {
    /// `gpu-10de-20b7-pf`.
    fn alias(&self) -> String {
        let what = match self.function.base_class().map(|class| class >> 8) {
            Some(0x03) => "gpu",
            Some(0x02) => "nic",
            _ => "pci",
        };
        let kind = self.kind.trim_start_matches("type-").to_ascii_lowercase();
        format!("{what}-{:04x}-{:04x}-{kind}", self.ids.vendor, self.ids.device)
    }
}

/// The configuration. Refuses what nova cannot have.
pub fn configuration(snap: &Snapshot, passed: &Passed, shape: &Shape) -> Result<Rendered> {
    let offers = passed.members().map(|member| offer(snap, member)).collect::<Result<Vec<_>>>()?;
    for offer in &offers {
        let beside = |other: &&Offer<'_>| offer.function.physical.known() == Some(&other.function.address);
        if let Some(physical) = offers.iter().find(beside) {
            let (physical, virtual_one) = (physical.function.address, offer.function.address);
            return Err(Error::refused(format!("{virtual_one} is a virtual function of {physical}: nova has either"))
                .hint(format!("leave out one of {physical} and {virtual_one}")));
        }
    }
    let spec = |offer: &Offer<'_>| {
        let mut spec = json!({
            "vendor_id": format!("{:04x}", offer.ids.vendor),
            "product_id": format!("{:04x}", offer.ids.device),
            "address": offer.function.address.to_string(),
        });
        if let (true, Some(map)) = (offer.member.claimed, spec.as_object_mut()) {
            map.insert("managed".into(), "no".into());
        }
        format!("device_spec = {spec}")
    };
    let mut aliases: Vec<(String, &Offer<'_>, usize)> = Vec::new();
    for offer in &offers {
        let name = offer.alias();
        match aliases.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., count)) => *count += 1,
            None => aliases.push((name, offer, 1)),
        }
    }
    let alias = |(name, offer, _): &(String, &Offer<'_>, usize)| {
        let alias = json!({
            "name": name,
            "vendor_id": format!("{:04x}", offer.ids.vendor),
            "product_id": format!("{:04x}", offer.ids.device),
            "device_type": offer.kind,
        });
        format!("alias = {alias}")
    };
    let request: Vec<String> = aliases.iter().map(|(name, _, count)| format!("{name}:{count}")).collect();
    let mut more = String::new();
    for (asked, property) in [(shape.hide, "hw:hide_hypervisor_id=true"), (shape.viommu, "hw:viommu_model=intel")] {
        if asked {
            more.push_str(&format!(" --property {property}"));
        }
    }
    let claimed = offers.iter().any(|offer| offer.member.claimed);
    let lines = |lines: Vec<String>| lines.join("\n");
    let flavor = shape.name.as_deref().unwrap_or("FLAVOR");
    let values = [
        ("managed", if claimed { MANAGED.to_owned() } else { String::new() }),
        ("specs", lines(offers.iter().map(spec).collect())),
        ("aliases", lines(aliases.iter().map(alias).collect())),
        ("request", request.join(",")),
        ("more", more),
        ("machine", machine(arch(snap)).to_owned()),
        ("firmware", if shape.uefi { "uefi" } else { "bios" }.to_owned()),
        // Last: a name may look like a place.
        ("flavor", crate::parse::shell::quoted(flavor)),
    ];
    let text = values.iter().fold(TEXT.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value));
    Ok(Rendered { text, notes: notes(&offers, &aliases, passed) })
}

fn offer<'a>(snap: &'a Snapshot, member: &'a Member) -> Result<Offer<'a>> {
    let refused = |what: &str| {
        Error::refused(format!("{}: {what}", member.host)).hint("leave it out, or render for another target")
    };
    if member.host.domain > 0xffff {
        return Err(refused("nova takes no device of a PCI domain above ffff"));
    }
    let function = snap.pci.get(&member.host).ok_or_else(|| refused("it is not here"))?;
    let ids = *function.ids.known().ok_or_else(|| refused("its ids are not known"))?;
    let kind = device_type(function).ok_or_else(|| refused("it is not known whether it has the SR-IOV capability"))?;
    Ok(Offer { function, member, ids, kind })
}

fn notes(offers: &[Offer<'_>], aliases: &[(String, &Offer<'_>, usize)], passed: &Passed) -> Vec<String> {
    let mut notes = Vec::new();
    let in_slots = passed.slots.iter().filter(|slot| slot.members.len() > 1 && aliases.len() > 1);
    for slot in in_slots {
        if !offers.iter().any(|offer| offer.kind == VF && slot.members.contains(offer.member)) {
            notes.push(note("nova-slot", &[("slot", &slot.host())]));
        }
    }
    notes
}
