//! Functions: who has them, whether they can go to a VM, and whether anything else was taken.

use super::{Ctx, Judged, State, boot};
use crate::adapters::claim::path;
use crate::adapters::sriov::is_given;
use crate::checks::device::{is_endpoint, list, named, stands_aside};
use crate::checks::{intent, words};
use crate::facts::pci::{Function, is_vfio_driver};
use crate::facts::usage::UseKind;
use crate::facts::{Evidence, Snapshot, own};
use crate::host::{Fact, Why};
use crate::parse::address::Address;
use crate::parse::modprobe::module_name;
use crate::steps::Expectation;

/// Evidence of one outcome.
pub(super) const SHOWN: usize = 4;

/// An IOMMU runs.
pub(super) fn iommu(ctx: &Ctx<'_>) -> Judged {
    let about = "about-iommu";
    match ctx.snap.iommu.running() {
        Fact::Known(true) => Judged::holds(about),
        Fact::Unknown(why) => Judged::unknown(about, "/sys/class/iommu", &why),
        _ => {
            let (reason, evidence) = match (ctx.same_boot(), ctx.snap.iommu.table.is_absent()) {
                (Some(same), _) => ("not-rebooted", Some(same)),
                (None, true) => {
                    ("iommu-no-table", Some(Evidence::new("/sys/firmware/acpi/tables", "no DMAR, no IVRS")))
                }
                (None, false) => ("iommu-off", words::running_evidence(ctx.snap)),
            };
            Judged::fails(about, reason).evidence(evidence)
        }
    }
}

/// Where a function of a plan is now.
pub(super) enum Found<'a> {
    Here(&'a Function),
    Moved(&'a Function),
    /// Something else is there, or nothing.
    Gone(Option<&'a Function>),
    /// More than one could be it.
    Several(Vec<&'a Function>),
    Unreadable(Why),
}

/// Why the functions are not known, or not all of them.
fn unread(snap: &Snapshot) -> Option<Why> {
    snap.pci.missing.clone().or_else(|| snap.pci.functions.is_empty().then_some(Why::NotRead))
}

/// Looks for a function where it was, then by the identity that was recorded for it.
pub(super) fn find<'a>(snap: &'a Snapshot, address: &Address, id: &str) -> Found<'a> {
    let is = |f: &&Function| f.ids.known().is_some_and(|ids| ids.to_string() == id);
    let there = snap.pci.get(address);
    if let Some(why) = there.and_then(|f| f.ids.why().cloned()).or_else(|| unread(snap)) {
        return Found::Unreadable(why);
    }
    let recorded = crate::parse::claims::parse(snap.own.text(own::CLAIMS).unwrap_or_default());
    let claim = recorded.claims.iter().find(|claim| claim.address == *address);
    let same = |f: &&Function| {
        let Some(claim) = claim else { return true };
        let subsystem = f.subsystem.known().map(|ids| (ids.vendor, ids.device));
        (claim.subsystem.is_none() || claim.subsystem == subsystem)
            && (claim.serial.is_none() || claim.serial.as_ref() == f.serial.known())
    };
    let functions = snap.pci.functions.iter();
    let all: Vec<&Function> = functions.filter(|f| is(f) && f.physical.known().is_none()).filter(same).collect();
    // The script goes by the slot first: bus numbers change, and a twin may stand where the other was.
    let in_slot = |f: &&&Function| claim.is_some_and(|c| path(&snap.pci, &f.address).is_ok_and(|path| path == c.path));
    let by_slot = all.iter().find(in_slot).or_else(|| all.iter().find(|f| f.address == *address));
    match by_slot {
        Some(one) if one.address == *address => return Found::Here(one),
        Some(one) => return Found::Moved(one),
        None => {}
    }
    let others: Vec<&Function> = all.into_iter().filter(|f| f.address.function == address.function).collect();
    match others.as_slice() {
        [] => Found::Gone(there),
        [one] => Found::Moved(one),
        _ => Found::Several(others),
    }
}

/// A function is on its driver, wherever it is now.
pub(super) fn driver(ctx: &Ctx<'_>, address: &Address, id: &str, wanted: &str) -> Judged {
    let about = "about-driver";
    let judged = match find(ctx.snap, address, id) {
        Found::Here(function) => on_driver(ctx, function, address, wanted),
        Found::Moved(function) => {
            let mut judged = on_driver(ctx, function, address, wanted);
            if judged.state == State::Holds {
                judged.reason = "moved";
            }
            judged.value("now", function.address).evidence([function.evidence("uevent", format!("PCI_ID={id}"))])
        }
        Found::Gone(there) => {
            let seen = there.map(|f| f.evidence("device", named(f)));
            Judged::fails(about, if there.is_some() { "another-there" } else { "gone" }).evidence(seen)
        }
        Found::Several(all) => Judged::fails(about, "several")
            .value("devices", list(all.iter().map(|f| f.address)))
            .evidence(all.iter().take(SHOWN).map(|f| driver_line(f))),
        Found::Unreadable(why) => Judged::unknown(about, "/sys/bus/pci/devices", &why),
    };
    judged.value("address", address).value("id", id).value("wanted", wanted)
}

pub(super) fn driver_line(function: &Function) -> Evidence {
    function.evidence("driver", function.driver.known().map_or("none", String::as_str))
}

fn on_driver(ctx: &Ctx<'_>, function: &Function, was: &Address, wanted: &str) -> Judged {
    let about = "about-driver";
    let shown = driver_line(function);
    match &function.driver {
        Fact::Known(driver) if module_name(driver) == module_name(wanted) => Judged::holds(about).evidence([shown]),
        Fact::Unknown(why) => Judged::unknown(about, &shown.source, why),
        driver => {
            let (reason, evidence) = why_not_taken(ctx, function, was);
            let said = evidence.first().map_or("", |line| line.text.as_str());
            let said = said.split_once("vfioneer: ").map_or(said, |(_, said)| said).trim_end_matches('.').to_owned();
            Judged::fails(about, reason)
                .value("driver", driver.known().map_or("no driver", String::as_str))
                .value("said", said)
                .value("rebuild", words::rebuild(ctx.snap))
                .evidence([shown])
                .evidence(evidence)
        }
    }
}

/// The likely reason why a function is not where it should be, the strongest evidence first.
fn why_not_taken(ctx: &Ctx<'_>, function: &Function, was: &Address) -> (&'static str, Vec<Evidence>) {
    if let Some(same) = ctx.same_boot() {
        return ("not-rebooted", vec![same]);
    }
    if let Some(line) = ctx.switched_off() {
        return ("switched-off", vec![line]);
    }
    let said = script_lines(ctx.snap);
    let about = |line: &&Evidence| {
        let names = |address: &Address| line.text.contains(&format!("vfioneer: {address} "));
        names(&function.address) || names(was)
    };
    if let Some(line) = said.iter().rev().find(about) {
        let claimed = line.text.contains(" is claimed by ") || line.text.contains(" already");
        return (if claimed { "taken-back" } else { "refused" }, vec![line.clone()]);
    }
    if let Some(line) = said.first() {
        return ("script-said", vec![line.clone()]);
    }
    if let Some(found) = image_of_running(ctx) {
        return found;
    }
    let driver = function.driver.known().map(|name| module_name(name));
    let running = ctx.snap.kernel.running();
    let builtin = |name: &String| running.and_then(|k| k.builtin.known()).is_some_and(|all| all.contains(name));
    match driver {
        None => ("no-driver", Vec::new()),
        Some(name) if builtin(&name) => {
            let release = running.map_or("", |kernel| kernel.release.as_str());
            ("native-builtin", vec![Evidence::new(format!("/lib/modules/{release}/modules.builtin"), name)])
        }
        Some(_) => ("native-first", Vec::new()),
    }
}

/// What the claim script wrote into the kernel's log of this boot.
fn script_lines(snap: &Snapshot) -> Vec<Evidence> {
    let lines = words::log_lines(snap, "vfioneer: ", 200);
    // Another program may quote such a line; the kernel's own stand behind its time, or behind nothing.
    let own = |line: &Evidence| {
        let text = line.text.split_once("] ").map_or(line.text.as_str(), |(_, text)| text);
        text.starts_with("vfioneer: ")
    };
    lines.into_iter().filter(own).collect()
}

/// The image of the running kernel, if it does not claim as it should.
fn image_of_running(ctx: &Ctx<'_>) -> Option<(&'static str, Vec<Evidence>)> {
    let release = ctx.snap.kernel.release.known()?;
    let expected = ctx.applied.expect.iter().find_map(|expect| match expect {
        Expectation::Images { modules, files, .. } => Some((modules, files)),
        _ => None,
    });
    let (modules, files) = expected?;
    for image in ctx.snap.initramfs.of(release) {
        let Fact::Known(content) = &image.content else { continue };
        let faults = boot::faults_of(ctx.snap, image, content, modules, files);
        if !faults.is_empty() {
            let lines = faults.iter().take(SHOWN).map(|fault| boot::fault_line(image, fault));
            return Some(("image-of-running", lines.collect()));
        }
    }
    None
}

/// Every endpoint of the function's group is on vfio or on nothing.
pub(super) fn group_viable(ctx: &Ctx<'_>, address: &Address) -> Judged {
    let about = "about-group";
    let pci = &ctx.snap.pci;
    let judged = match pci.get(address).map(|f| &f.group) {
        None => match unread(ctx.snap) {
            Some(why) => Judged::unknown(about, "/sys/bus/pci/devices", &why),
            None => Judged::fails(about, "gone"),
        },
        Some(Fact::Unknown(why)) => Judged::unknown(about, "iommu_group", why),
        Some(Fact::Absent) => match ctx.same_boot() {
            Some(same) => Judged::fails(about, "not-rebooted").evidence([same]),
            None => Judged::fails(about, "no-group"),
        },
        Some(Fact::Known(group)) => {
            let members: Vec<&Function> = pci.group(*group).filter(|f| is_endpoint(f) != Some(false)).collect();
            let offenders: Vec<&&Function> = members.iter().filter(|f| stands_aside(f) == Some(false)).collect();
            let blind = members.iter().find_map(|f| f.driver.why());
            match (offenders.is_empty(), blind, ctx.same_boot()) {
                (true, None, _) => Judged::holds(about),
                (true, Some(why), _) => Judged::unknown(about, "/sys/bus/pci/devices", why),
                (false, _, Some(same)) => Judged::fails(about, "not-rebooted").evidence([same]),
                (false, _, None) => Judged::fails(about, "group-offends")
                    .value("offenders", list(offenders.iter().map(|f| named(f))))
                    .evidence(offenders.iter().take(SHOWN).map(|f| driver_line(f))),
            }
            .value("group", group)
        }
    };
    judged.value("address", address).value("group", "unknown")
}

/// Nothing but these is on a vfio driver, besides what a running VM has taken for itself, and virtual functions that are made for VMs.
pub(super) fn nothing_else(ctx: &Ctx<'_>, addresses: &[Address]) -> Judged {
    let about = "about-nothing-else";
    let snap = ctx.snap;
    if let Some(why) = unread(snap) {
        return Judged::unknown(about, "/sys/bus/pci/devices", &why);
    }
    let moved: Vec<Address> = ctx.applied.expect.iter().filter_map(|expect| moved_to(snap, expect)).collect();
    let used = |f: &Function| snap.usage.of(&f.address).any(|used| used.kind == UseKind::RunningVm);
    let known = |f: &Function| addresses.contains(&f.address) || moved.contains(&f.address);
    let taken: Vec<&Function> =
        snap.pci.functions.iter().filter(|f| f.on_vfio() && !known(f) && !used(f) && !is_given(snap, f)).collect();
    let Some(first) = taken.first() else { return Judged::holds(about) };
    let claims = intent::claims(snap);
    let ids = claims.iter().find(|claim| claim.takes(first) == Some(true));
    let over = first.driver_override.known().filter(|name| is_vfio_driver(name));
    let (reason, shown) = match (ids, over) {
        (Some(claim), _) => ("taken-by-ids", Some(claim.evidence.clone())),
        (None, Some(name)) => ("taken-by-override", Some(first.evidence("driver_override", name.clone()))),
        (None, None) => ("taken-unclear", None),
    };
    Judged::fails(about, reason)
        .value("devices", list(taken.iter().map(|f| named(f))))
        .evidence(taken.iter().take(SHOWN).map(|f| driver_line(f)))
        .evidence(shown)
}

fn moved_to(snap: &Snapshot, expect: &Expectation) -> Option<Address> {
    let Expectation::Driver { address, id, .. } = expect else { return None };
    match find(snap, address, id) {
        Found::Moved(function) => Some(function.address),
        _ => None,
    }
}
