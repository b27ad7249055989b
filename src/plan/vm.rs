//! A plan that gives a VM devices, or takes them from it: a transaction like any other. Nothing happens to a VM that runs before it is started anew.

use super::case::Case;
use super::guards::{self, Refusal};
use super::texts::said;
use super::{Plan, rom};
use crate::adapters::Work;
use crate::adapters::vm::{self, Passed};
use crate::checks::{Finding, Subject};
use crate::facts::Snapshot;
use crate::facts::hypervisor::{Firmware, HypervisorKind, Vm};
use crate::goal::Goal;
use crate::host::Fact;
use crate::parse::address::Address;
use crate::parse::proxmox_conf;

/// How a VM is given devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct How<'a> {
    /// By this cluster mapping, which is made where there is none.
    pub mapping: Option<&'a str>,
}

/// Gives them.
pub fn attach(snap: &Snapshot, goal: &Goal, vm: &Vm, how: How<'_>) -> Plan {
    let mut plan = Plan { devices: goal.devices.clone(), ..Plan::empty(snap) };
    let there = given(snap, vm);
    // Not what `--allow group` adds: that has to leave its drivers, and needs no place in the guest.
    let new: Vec<Address> = goal.devices.iter().copied().filter(|address| !there.contains(address)).collect();
    if new.is_empty() {
        return plan;
    }
    let case = Case::new(snap, goal);
    plan.refused = closed(snap, vm);
    // A virtual function is not there when devices are claimed at boot; for a VM that is no fault.
    plan.refused.extend(guards::all(&case).into_iter().filter(|refusal| refusal.guard != "virtual-function"));
    plan.refused.extend(others(&case, vm));
    plan.refused.extend(parts(snap, vm, &there, &new));
    if plan.refused.is_empty() {
        match work(&case, vm, &new, how) {
            Ok(work) => fill(&mut plan, work),
            Err(why) => plan.refused.push(Refusal::told("vm", subject(vm), why)),
        }
        plan.notes.extend(notes(&case, vm, &new));
    }
    finish(plan)
}

/// Takes functions, which the host may not have any more.
pub fn detach(snap: &Snapshot, gone: &[Address], vm: &Vm) -> Plan {
    let mut plan = Plan { devices: gone.to_vec(), ..Plan::empty(snap) };
    plan.refused = closed(snap, vm);
    if plan.refused.is_empty() {
        match vm::detach(snap, vm, gone) {
            Ok(work) => fill(&mut plan, work),
            Err(why) => plan.refused.push(Refusal::told("vm", subject(vm), why)),
        }
        match plan.steps.is_empty() {
            true => plan.notes.push(said("note-vm-not-given", &[("vm", &vm.id), ("devices", &joined(gone))])),
            false => plan.notes.extend(next_start(vm)),
        }
    }
    finish(plan)
}

fn joined(functions: &[Address]) -> String {
    functions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Lets VMs that were held back start with the host again.
pub fn let_go(snap: &Snapshot, held: &[String]) -> Plan {
    let mut plan = Plan::empty(snap);
    fill(&mut plan, vm::proxmox::let_go(snap, held));
    finish(plan)
}

fn work(case: &Case<'_>, vm: &Vm, devices: &[Address], how: How<'_>) -> Result<Work, String> {
    let (rom, mut work) = rom::for_vm(case, vm.kind)?;
    let rom = rom.as_ref().map(|(card, path)| (*card, path.as_str()));
    work.extend(vm::attach(case.snap, vm, &Passed::of(case.snap, devices, rom), how.mapping)?);
    Ok(work)
}

fn fill(plan: &mut Plan, work: Work) {
    plan.steps = work.files;
    plan.steps.extend(work.commands);
    plan.expect = work.expect;
    plan.notes = work.notes;
    plan.manual = work.manual;
}

fn finish(mut plan: Plan) -> Plan {
    plan.applicable = plan.applicable && plan.refused.is_empty() && plan.manual.is_empty();
    plan
}

fn subject(vm: &Vm) -> String {
    format!("vm {}", vm.id)
}

/// The functions that a VM is given already.
fn given(snap: &Snapshot, vm: &Vm) -> Vec<Address> {
    vm.devices.iter().flat_map(|device| snap.hypervisor.functions(device, &snap.pci)).collect()
}

/// Why a VM's configuration is not changed.
fn closed(snap: &Snapshot, vm: &Vm) -> Vec<Refusal> {
    let mut refused: Vec<Refusal> = locked(vm).into_iter().collect();
    if vm.of_nova {
        refused.push(Refusal::firm("vm-of-nova", subject(vm), &[("vm", &vm.id)]));
    }
    if vm.kind == HypervisorKind::Libvirt && vm.machine.is_none() {
        let path = vm.config.known().map(|file| &file.path);
        let unread = snap.hypervisor.unread.iter().find(|(unread, _)| Some(unread) == path).map(|(_, why)| why);
        let why = vm.config.why().or(unread).map(ToString::to_string).unwrap_or_default();
        refused.push(Refusal::firm("vm-unreadable", subject(vm), &[("vm", &vm.id), ("why", &why)]));
    }
    refused
}

/// VMs that are given the devices already.
fn others(case: &Case<'_>, vm: &Vm) -> Vec<Refusal> {
    let mut refused = Vec::new();
    let is = |other: &&Vm| (other.kind, &other.id) != (vm.kind, &vm.id);
    for other in case.snap.hypervisor.vms.iter().filter(is) {
        let theirs = given(case.snap, other);
        let both: Vec<String> =
            case.chosen.iter().filter(|f| theirs.contains(&f.address)).map(|f| f.address.to_string()).collect();
        if !both.is_empty() {
            let values = [("devices", both.join(" ")), ("vm", other.id.clone())];
            let values = values.each_ref().map(|(name, value)| (*name, value.as_str()));
            refused.push(Refusal::allowable("other-vm", "other-vm", subject(other), &values));
        }
    }
    refused.retain(|refusal: &Refusal| !case.allows(refusal.guard));
    refused
}

/// Slots of which the VM has other functions already: these and the new ones would be in two slots of the guest's.
fn parts(snap: &Snapshot, vm: &Vm, there: &[Address], new: &[Address]) -> Option<Refusal> {
    let is_virtual = |address: &Address| snap.pci.get(address).is_some_and(|f| f.physical.known().is_some());
    let other = |address: &&Address| {
        !is_virtual(address) && there.iter().any(|there| there.same_slot(address) && !is_virtual(there))
    };
    let part = new.iter().find(other)?;
    let slot = Address { function: 0, ..*part }.to_string();
    let slot = slot.trim_end_matches(".0");
    Some(Refusal::firm("vm-part-of-slot", subject(vm), &[("vm", &vm.id), ("slot", slot)]))
}

/// Proxmox VE changes no guest that a backup, a migration or a snapshot has locked.
fn locked(vm: &Vm) -> Option<Refusal> {
    let text = &vm.config.known()?.text;
    let entries = (vm.kind == HypervisorKind::Proxmox).then(|| proxmox_conf::current(text))?;
    let lock = entries.into_iter().find(|entry| entry.key == "lock")?;
    Some(Refusal::firm("vm-locked", subject(vm), &[("vm", &vm.id), ("lock", &lock.value)]))
}

fn next_start(vm: &Vm) -> Option<String> {
    (vm.running == Fact::Known(true)).then(|| said("note-vm-runs", &[("vm", &vm.id)]))
}

/// What the user should know of this VM with these devices.
fn notes(case: &Case<'_>, vm: &Vm, devices: &[Address]) -> Vec<String> {
    let passed = Passed::of(case.snap, devices, None);
    let mut notes: Vec<String> = next_start(vm).into_iter().collect();
    let mut say = |id: &str, value: &str| notes.push(said(id, &[("vm", &vm.id), ("device", value)]));
    let late: Vec<String> = passed.members().filter(|m| !m.claimed).map(|m| m.host.to_string()).collect();
    if !late.is_empty() {
        say("note-vm-unclaimed", &late.join(" "));
    }
    let Some(machine) = &vm.machine else { return notes };
    let display = passed.members().find(|member| member.display).map(|member| member.host.to_string());
    if !machine.pcie {
        say("note-vm-not-pcie", &joined(devices));
    }
    if let (Some(display), Firmware::SeaBios) = (&display, machine.firmware) {
        say("note-vm-seabios", display);
    }
    if machine.balloon_mib.is_some() {
        say("note-vm-balloon", "");
    }
    let shadowed = |finding: &Finding| {
        finding.id == "rom-shadowed" && devices.iter().any(|address| finding.subject == Subject::Function(*address))
    };
    if let (Some(display), None, true) = (&display, &case.goal.rom, case.findings.iter().any(shadowed)) {
        say("note-vm-rom-shadowed", display);
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::hypervisor::{Asked, Machine};
    use crate::facts::{Origin, TextFile};
    use crate::host::Kind;
    use crate::parse::libvirt_xml;
    use crate::steps::Action;

    /// A running host with a claimed card and a VM of that configuration.
    fn host(kind: HypervisorKind, path: &str, text: &str) -> (Snapshot, Vm) {
        let mut snap = t::passthrough();
        snap.origin = Origin::Host(Kind::Live, "here".into());
        for address in [GPU, "0000:01:00.1"] {
            t::change(&mut snap, address, |f| f.driver = Fact::Known("vfio-pci".into()));
        }
        t::vm(&mut snap, kind, "105", Asked::Malformed(String::new()));
        let vm = snap.hypervisor.vms.last_mut().unwrap();
        vm.devices.clear();
        vm.config = Fact::Known(TextFile { path: path.into(), text: text.into() });
        vm.machine = match kind {
            HypervisorKind::Proxmox => Some(Machine::of_proxmox(path, text)),
            _ => libvirt_xml::parse(text).ok().map(|domain| Machine::of_libvirt(path, &domain)),
        };
        let vm = vm.clone();
        (snap, vm)
    }

    fn commands(plan: &Plan) -> Vec<(String, String)> {
        let one = |step: &crate::steps::Step| match &step.action {
            Action::Run { argv, undo, .. } => Some((argv.join(" "), undo.join(" "))),
            _ => None,
        };
        plan.steps.iter().filter_map(one).collect()
    }

    #[test]
    fn proxmox_s_own_commands_on_the_running_host() {
        let (mut snap, vm) =
            host(HypervisorKind::Proxmox, "/etc/pve/qemu-server/105.conf", "bios: ovmf\nmachine: q35\n");
        let goal = Goal { devices: vec![t::at(GPU), t::at("0000:01:00.1")], ..Goal::default() };
        let plan = attach(&snap, &goal, &vm, How::default());
        assert!(plan.refused.is_empty() && plan.applicable, "{:?}", plan.refused);
        // With the digest that `sha1sum` gives of that text.
        let digest = "--digest 6c93d0df1a2e2b8e8b0249c2651ac8577f710a8c";
        let set = (format!("qm set 105 --hostpci0 0000:01:00,pcie=1 {digest}"), "qm set 105 --delete hostpci0");
        assert_eq!(commands(&plan), [(set.0, set.1.to_owned())]);
        assert!(plan.notes.is_empty(), "{:?}", plan.notes);

        let how = How { mapping: Some("gpu1") };
        assert_eq!(attach(&snap, &goal, &vm, how).refused[0].guard, "vm");
        snap.hypervisor.node = Some("n1".into());
        let ids = snap.pci.get(&t::at(GPU)).unwrap().ids.known().unwrap().to_string();
        let made = commands(&attach(&snap, &goal, &vm, how));
        let map = format!("pvesh create /cluster/mapping/pci --id gpu1 --map node=n1,path=0000:01:00,id={ids}");
        assert!(made[0].0.starts_with(&map) && made[0].1 == "pvesh delete /cluster/mapping/pci/gpu1", "{made:?}");
        assert_eq!(made[1].0, format!("qm set 105 --hostpci0 mapping=gpu1,pcie=1 {digest}"));
    }

    #[test]
    fn libvirt_reads_what_was_written() {
        let path = "/etc/libvirt/qemu/a.xml";
        let text = "<domain>\n <os><type machine='pc-q35-9.0'>hvm</type></os>\n <devices>\n  <emulator>/q</emulator>\n </devices>\n</domain>\n";
        let (snap, mut vm) = host(HypervisorKind::Libvirt, path, text);
        let goal = Goal { devices: vec![t::at(GPU)], ..Goal::default() };
        let plan = attach(&snap, &goal, &vm, How::default());
        let define = format!("virsh --connect qemu:///system define {path}");
        assert_eq!(commands(&plan), [(define.clone(), define)], "{:?}", plan.refused);
        assert!(plan.steps[0].text().unwrap().contains("managed='no'"));
        vm.running = Fact::Known(true);
        assert!(attach(&snap, &goal, &vm, How::default()).notes[0].contains("next start"));
        vm.of_nova = true;
        assert_eq!(attach(&snap, &goal, &vm, How::default()).refused[0].guard, "vm-of-nova");
    }

    #[test]
    fn a_window_for_large_bars_goes_with_the_device() {
        let text = "bios: ovmf\ncpu: x86-64-v2-AES\nmachine: q35\n";
        let (mut snap, vm) = host(HypervisorKind::Proxmox, "/etc/pve/qemu-server/105.conf", text);
        let bar = crate::facts::pci::Bar { index: 1, start: 1 << 40, size: 64 << 30, flags: 0x14_220c };
        t::change(&mut snap, GPU, |f| f.bars = Fact::Known(vec![bar]));
        snap.origin = Origin::Host(Kind::Mounted, "here".into());
        let goal = Goal { devices: vec![t::at(GPU), t::at("0000:01:00.1")], ..Goal::default() };
        let plan = attach(&snap, &goal, &vm, How::default());
        let given = plan.steps[0].text().unwrap().to_owned();
        let args = "args: -fw_cfg name=opt/ovmf/X-PciMmio64Mb,string=131072\n";
        assert_eq!(given, format!("{args}bios: ovmf\ncpu: x86-64-v2-AES\nhostpci0: 0000:01:00,pcie=1\nmachine: q35\n"));
        let mut vm = vm;
        vm.devices = crate::facts::hypervisor::proxmox::devices("/etc/pve/qemu-server/105.conf", &given);
        vm.config = Fact::Known(TextFile { path: "/etc/pve/qemu-server/105.conf".into(), text: given });
        // As long as another one needs it, it stays.
        assert!(detach(&snap, &[t::at("0000:01:00.1")], &vm).steps[0].text().unwrap().starts_with("args:"));
        assert_eq!(detach(&snap, &goal.devices, &vm).steps[0].text(), Some(text));
    }

    #[test]
    fn who_starts_with_the_host_waits() {
        let path = "/etc/pve/qemu-server/105.conf";
        let (mut snap, _) = host(HypervisorKind::Proxmox, path, "hostpci0: 01:00\nonboot: 1\n");
        let devices = [t::at(GPU)];
        assert!(vm::proxmox::hold_back(&snap, &devices).0.is_empty(), "it is given nothing yet");
        let vm = snap.hypervisor.vms.last_mut().unwrap();
        let evidence = crate::facts::Evidence::at(path, 1, "hostpci0: 01:00");
        vm.devices.push(crate::facts::hypervisor::VmDevice {
            asked: Asked::Slot(t::at(GPU)),
            evidence,
            rom_file: None,
        });
        let (held, work) = vm::proxmox::hold_back(&snap, &devices);
        assert_eq!(held, ["105"]);
        let plan = Plan { steps: work.commands, ..Plan::empty(&snap) };
        let [(set, undo)] = commands(&plan).try_into().unwrap();
        assert!(set.starts_with("qm set 105 --onboot 0 --digest ") && undo == "qm set 105 --onboot 1", "{set} {undo}");
        assert!(let_go(&snap, &held).steps.is_empty(), "it starts with the host");
        snap.hypervisor.vms.last_mut().unwrap().config =
            Fact::Known(TextFile { path: path.into(), text: "hostpci0: 01:00\nonboot: 0\n".into() });
        assert!(commands(&let_go(&snap, &held))[0].0.starts_with("qm set 105 --onboot 1 --digest "));
        assert!(vm::proxmox::hold_back(&snap, &devices).0.is_empty());
    }
}
