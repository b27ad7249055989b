//! `vfioneer vm attach` and `vm detach`: a VM's devices, as a transaction.

use super::select;
use crate::cli::plan::resolved;
use crate::cli::{Answer, Global, change};
use crate::error::Result;
use crate::facts::hypervisor::{Asked, Vm};
use crate::facts::{Needs, Snapshot};
use crate::goal::Request;
use crate::host::output;
use crate::parse::address::Address;
use crate::parse::proxmox_conf::{self, Path};
use crate::plan::vm::How;
use crate::plan::{self, Plan, guards};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;

/// Arguments of `vm attach`.
#[derive(Args, Debug)]
#[command(override_usage = "vfioneer vm attach [OPTIONS] <DEVICE>... <VM>")]
#[command(after_help = "The VM gets the devices at its next start; nothing happens to one that runs.\n\
    VMs of Proxmox VE are changed by `qm set`, those of libvirt by `virsh define`;\n\
    with --root the files themselves are. All functions of a slot become one slot of\n\
    the guest's. It is a transaction: `vfioneer rollback` undoes it, as `vm detach`\n\
    does.\n\n\
    Guards are those of `vfioneer plan --help`.\n\n\
    Exit codes: 0 done or nothing to do, 2 usage, 3 refused and nothing changed,\n\
    4 failed and undone, 5 a person is needed.")]
pub struct AttachArgs {
    /// The devices, then the VM: its number or name
    #[arg(required = true, num_args = 2.., value_names = ["DEVICE", "VM"], value_parser = NonEmptyStringValueParser::new())]
    names: Vec<String>,
    /// Only the named functions, not the whole slot of a GPU
    #[arg(long)]
    only: bool,
    /// A ROM file for the guest: it is put where the hypervisor reads it
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    rom: Option<String>,
    /// Proxmox VE: by the cluster mapping NAME, which is made where there is none
    #[arg(long, value_name = "NAME", value_parser = mapping_name)]
    mapping: Option<String>,
    /// Do what a guard refuses; several times, or with commas
    #[arg(long, value_name = "GUARD", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    allow: Vec<String>,
    #[command(flatten)]
    way: WayArgs,
}

/// Arguments of `vm detach`.
#[derive(Args, Debug)]
#[command(override_usage = "vfioneer vm detach [OPTIONS] <DEVICE>... <VM>")]
#[command(after_help = "A VM that runs keeps the devices until it has ended. It is a transaction:\n\
    `vfioneer rollback` undoes it.\n\n\
    Exit codes: 0 done or nothing to do, 2 usage, 3 refused and nothing changed,\n\
    4 failed and undone, 5 a person is needed.")]
pub struct DetachArgs {
    /// The devices, then the VM: its number or name
    #[arg(required = true, num_args = 2.., value_names = ["DEVICE", "VM"], value_parser = NonEmptyStringValueParser::new())]
    names: Vec<String>,
    /// Only the named functions, not the whole slot of a GPU
    #[arg(long)]
    only: bool,
    #[command(flatten)]
    way: WayArgs,
}

/// Whether it is done, and who is asked.
#[derive(Args, Debug)]
pub struct WayArgs {
    /// Show what would change, and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// What a change of a VM's devices needs to know of a host; images say nothing of VMs.
const NEEDS: Needs = Needs { images: false, ..Needs::PLAN };

pub(super) fn attach(global: &Global, args: &AttachArgs) -> Result<Answer> {
    let (devices, vm) = named(&args.names);
    let request = Request {
        devices,
        only: args.only,
        allow: args.allow.iter().cloned().collect(),
        rom: args.rom.as_deref().map(output::absolute),
        ..Request::default()
    };
    guards::check_names(&request.allow)?;
    change(global, &args.way, &|snap| {
        let goal = resolved(request.clone(), snap)?;
        Ok(plan::vm::attach(snap, &goal, select(snap, &vm)?, How { mapping: args.mapping.as_deref() }))
    })
}

pub(super) fn detach(global: &Global, args: &DetachArgs) -> Result<Answer> {
    let (devices, vm) = named(&args.names);
    let request = Request { devices, only: args.only, ..Request::default() };
    change(global, &args.way, &|snap| {
        let vm = select(snap, &vm)?;
        let gone = match resolved(request.clone(), snap) {
            Ok(goal) => goal.devices,
            Err(error) => of_vm(&request.devices, vm).ok_or(error)?,
        };
        Ok(plan::vm::detach(snap, &gone, vm))
    })
}

/// Functions that a VM is given by just these addresses, and that may have left the host; none if one of the names is something else.
fn of_vm(names: &[String], vm: &Vm) -> Option<Vec<Address>> {
    let asked = |name: &String| match proxmox_conf::path(name) {
        Path::Function(address) => Some(Asked::Function(address)),
        Path::Slot(address) => Some(Asked::Slot(address)),
        Path::Malformed(_) => None,
    };
    let one = |name: &String| {
        let asked = asked(name)?;
        let is = vm.devices.iter().any(|device| device.asked == asked);
        match asked {
            Asked::Function(address) => is.then(|| vec![address]),
            Asked::Slot(slot) => is.then(|| (0..8).map(|function| Address { function, ..slot }).collect()),
            _ => None,
        }
    };
    names.iter().map(one).collect::<Option<Vec<_>>>().map(|all| all.concat())
}

/// The devices, and the VM behind them.
fn named(names: &[String]) -> (Vec<String>, String) {
    match names.split_last() {
        Some((vm, devices)) => (devices.to_vec(), vm.clone()),
        None => Default::default(),
    }
}

fn change(global: &Global, way: &WayArgs, make: &dyn Fn(&Snapshot) -> Result<Plan>) -> Result<Answer> {
    if way.dry_run {
        let snap = global.snapshot(NEEDS)?;
        let plan = make(&snap)?;
        return Ok(change::shown(global, &snap, &plan));
    }
    change::transaction(global, change::host(global)?, way.yes, &|_| {
        let snap = global.snapshot(NEEDS)?;
        Ok((make(&snap)?, snap))
    })
}

/// A name that Proxmox VE takes (pve-common `PVE/JSONSchema.pm` `pve-configid`).
pub(in crate::cli) fn mapping_name(text: &str) -> std::result::Result<String, String> {
    let sane = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() > 1
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    sane.then(|| text.to_owned())
        .ok_or_else(|| "a mapping's name is a letter, then letters, digits, - and _".to_owned())
}
