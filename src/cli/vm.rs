//! `vfioneer vm`: the VMs of this host and the devices that they are given.

mod attach;
mod guest;
mod nova;
mod render;

pub(super) use attach::mapping_name;

use super::{Answer, Global};
use crate::checks::{self, Finding, Subject};
use crate::error::{Error, Result};
use crate::facts::hypervisor::Vm;
use crate::facts::{Needs, Snapshot};
use crate::goal::Goal;
use crate::parse::address::Address;
use crate::report::{self, Style};
use clap::{Args, Subcommand};

/// The verbs of `vm`.
#[derive(Debug, Subcommand)]
pub enum VmVerb {
    /// List the VMs and containers of this host, whether they run, and the devices that they are given
    List,
    /// Show one VM's devices, where its configuration names them, how they are now, and what stands in their way
    Show(ShowArgs),
    /// Give a VM devices, from its next start on
    Attach(attach::AttachArgs),
    /// Take devices from a VM, from its next start on
    Detach(attach::DetachArgs),
    /// Print what a VM is given these devices by: a command, XML, configuration; nothing is changed
    Render(render::RenderArgs),
    /// Write what helps with a device inside its VM: MSI for Windows, checks for Linux, and a page about this device
    Guest(guest::GuestArgs),
}

/// Arguments of `vm show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// The VM's number or name; `libvirt:NAME` where two hypervisors have one of that name
    #[arg(required_unless_present = "nova", conflicts_with = "nova")]
    vm: Option<String>,
    /// Show instead which devices nova may give away, to which alias, and which never, and why
    #[arg(long)]
    nova: bool,
    /// With --nova: can this host serve a flavor with this property? 'pci_passthrough:alias=a1:2'
    #[arg(long, value_name = "PROPERTY", requires = "nova")]
    flavor: Option<String>,
}

pub(super) fn run(global: &Global, verb: &VmVerb) -> Result<Answer> {
    match verb {
        VmVerb::List => list(global),
        VmVerb::Show(ShowArgs { vm: Some(vm), .. }) => show(global, vm),
        VmVerb::Show(args) => nova::show(global, args.flavor.as_deref()),
        VmVerb::Attach(args) => attach::attach(global, args),
        VmVerb::Detach(args) => attach::detach(global, args),
        VmVerb::Render(args) => render::run(global, args),
        VmVerb::Guest(args) => guest::run(global, args),
    }
}

fn list(global: &Global) -> Result<Answer> {
    let snap = global.snapshot(Needs { vms: true, ..Needs::LIST })?;
    Ok(Answer::yes(match global.json {
        true => report::vm::list_json(&snap),
        false => report::at_host(&report::vm::list(&Style::table(), &snap), &global.host_options()),
    }))
}

fn show(global: &Global, vm: &str) -> Result<Answer> {
    let snap = global.snapshot(Needs::ALL)?;
    let vm = select(&snap, vm)?;
    let functions: Vec<Address> =
        vm.devices.iter().flat_map(|device| snap.hypervisor.functions(device, &snap.pci)).collect();
    let findings = about(&snap, vm, &functions);
    Ok(Answer::yes(match global.json {
        true => report::vm::show_json(&snap, vm, &findings),
        false => {
            let text = report::vm::show(&global.style(), &snap, vm, &findings, global.verbose);
            report::at_host(&text, &global.host_options())
        }
    }))
}

/// What the checks say of a VM, its configuration, its devices and their groups.
fn about(snap: &Snapshot, vm: &Vm, functions: &[Address]) -> Vec<Finding> {
    let path = vm.config.known().map(|file| file.path.as_str());
    let groups: Vec<u32> =
        functions.iter().filter_map(|address| snap.pci.get(address)?.group.known().copied()).collect();
    let goal = Goal { devices: functions.to_vec(), ..Goal::default() };
    let mut findings = checks::run(snap, &goal);
    findings.retain(|finding| match &finding.subject {
        Subject::Function(address) => functions.contains(address),
        Subject::Group(group) => groups.contains(group),
        Subject::Line(file, _) | Subject::File(file) => Some(file.as_str()) == path,
        Subject::Vm(id) => *id == vm.id,
        Subject::Host => false,
    });
    findings
}

/// A VM that another node has.
fn elsewhere<'a>(snap: &'a Snapshot, wanted: &str) -> Option<&'a (String, String)> {
    let id = wanted.strip_prefix("proxmox:").unwrap_or(wanted);
    snap.hypervisor.elsewhere.iter().find(|(known, _)| known == id)
}

/// The VM of a number, or of a name that only one has.
pub(super) fn select<'a>(snap: &'a Snapshot, wanted: &str) -> Result<&'a Vm> {
    let all = &snap.hypervisor.vms;
    let is = |vm: &&Vm| {
        let named = |name: &str| vm.id == name || vm.name == name;
        let kind = wanted.split_once(':').filter(|(kind, _)| *kind == vm.kind.name());
        named(wanted) || kind.is_some_and(|(_, name)| named(name))
    };
    let found: Vec<&Vm> = all.iter().filter(is).collect();
    let described = |vm: &Vm| match vm.name.is_empty() || vm.name == vm.id {
        true => format!("{}:{}", vm.kind.name(), vm.id),
        false => format!("{}:{}  {}", vm.kind.name(), vm.id, vm.name),
    };
    match found.as_slice() {
        [one] => Ok(one),
        [] if let Some((id, node)) = elsewhere(snap, wanted) => Err(Error::refused(format!(
            "VM {id} is on node {node} of this cluster, and vfioneer changes and shows its own host only"
        ))
        .hint(format!("run the command on {node}, or move the VM here first: qm migrate {id} NODE, on {node}"))),
        [] if all.is_empty() => Err(Error::usage(format!("there is no VM {wanted:?}: no VM was found on this host"))
            .hint(report::vm::why_none(snap))),
        [] => {
            let error = Error::usage(format!("there is no VM {wanted:?} on this host"));
            Err(all.iter().take(20).fold(error, |error, vm| error.hint(described(vm))))
        }
        more => {
            let error = Error::usage(format!("{wanted:?} is the name of more than one VM"));
            Err(more
                .iter()
                .fold(error, |error, vm| error.hint(described(vm)))
                .hint("give its number, or HYPERVISOR:NAME"))
        }
    }
}
