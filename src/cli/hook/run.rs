//! `vfioneer hook run`: one VM's start or end.

use super::SettingsArgs;
use crate::cli::{Answer, Global, change};
use crate::error::{Error, Result};
use crate::facts::hypervisor::{Asked, HypervisorKind};
use crate::facts::pci::Function;
use crate::facts::usage::{Use, UseKind};
use crate::facts::{Needs, Snapshot};
use crate::goal::Goal;
use crate::host::{Caller, Fact, Interrupt, TreeMut, console};
use crate::live::hand_over::{Desk, NEEDS};
use crate::live::reset::slots;
use crate::live::vm::given::{Book, Given};
use crate::live::vm::runs::{self, Phase, Run};
use crate::live::vm::{Task, Vm, managed, settings_of};
use crate::parse::address::Address;
use crate::parse::libvirt_xml::{self, HostDevice};
use crate::parse::vm_settings::VmSettings;
use crate::report::{self, plain};
use clap::{Args, Subcommand};
use std::ffi::OsString;

/// Who calls, and for what.
#[derive(Debug, Subcommand)]
pub enum RunVerb {
    /// Before a VM starts: prove its devices well, and hand over those that the host has
    #[command(after_help = "Around plain QEMU:\n\n  \
        vfioneer hook run prepare 01:00 && qemu-system-x86_64 …\n  \
        vfioneer hook run release 01:00\n\n\
        Exit codes: 0 the VM can start, 2 usage, 3 refused and nothing changed,\n\
        4 failed and taken back, 5 a person is needed.")]
    Prepare(PrepareArgs),
    /// After a VM has ended: prove its devices well, reset those that are not, give back what was the host's
    #[command(after_help = "What is to be done `prepare` was told.\n\n\
        Exit codes: 0 done, 2 usage, 3 refused and nothing done,\n\
        4 a device is not well, 5 a person is needed.")]
    Release(ReleaseArgs),
    /// Called by the script that `hook install --libvirt` puts in place; a domain's XML is on standard input
    #[command(after_help = "Only `prepare begin` and `release end` do anything, and only for a VM that has\n\
        settings, or a device that vfioneer claims at boot or has handed over. A VM of\n\
        which it understands nothing may start, if it has no settings.")]
    Libvirt(LibvirtArgs),
    /// Called by Proxmox VE's hookscript that `hook install --proxmox` sets
    Proxmox(ProxmoxArgs),
}

/// Arguments of `hook run prepare`.
#[derive(Args, Debug)]
pub struct PrepareArgs {
    /// Devices; a GPU stands for all functions of its slot
    #[arg(required = true)]
    device: Vec<String>,
    /// Only the named functions, not all of a GPU's slot
    #[arg(long)]
    only: bool,
    /// What `vfioneer history` calls the VM; without it, its first function's address
    #[arg(long, value_name = "NAME")]
    vm: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Arguments of `hook run release`.
#[derive(Args, Debug)]
pub struct ReleaseArgs {
    /// Devices, as they were given to `prepare`
    #[arg(required = true)]
    device: Vec<String>,
    /// Only the named functions, not all of a GPU's slot
    #[arg(long)]
    only: bool,
}

/// What libvirt gives its hooks.
#[derive(Args, Debug)]
pub struct LibvirtArgs {
    /// The domain's name
    #[arg(allow_hyphen_values = true)]
    name: OsString,
    /// prepare, start, started, stopped, release, reconnect, …
    operation: String,
    /// begin or end
    #[arg(allow_hyphen_values = true, default_value = "-")]
    suboperation: String,
    /// Nothing that matters here
    #[arg(allow_hyphen_values = true)]
    extra: Vec<OsString>,
    /// Where runs are written down
    #[arg(long, value_name = "FILE", default_value = runs::FILE)]
    log: String,
}

/// What Proxmox VE gives its hookscripts.
#[derive(Args, Debug)]
pub struct ProxmoxArgs {
    /// The VM's number
    vmid: u32,
    /// pre-start, post-start, pre-stop or post-stop
    phase: String,
}

/// One VM and what there is to be done for it.
struct Job<'a> {
    vm: Vm,
    phase: Phase,
    functions: Vec<Address>,
    /// Those of them that may be taken from the host.
    take: Vec<Address>,
    settings: VmSettings,
    log: &'a str,
}

pub(super) fn run(global: &Global, verb: &RunVerb) -> Result<Answer> {
    match verb {
        RunVerb::Prepare(args) => prepare(global, args),
        RunVerb::Release(args) => release(global, args),
        RunVerb::Libvirt(args) => libvirt(global, args),
        RunVerb::Proxmox(args) => proxmox(global, args),
    }
}

fn prepare(global: &Global, args: &PrepareArgs) -> Result<Answer> {
    let settings = args.settings.settings()?;
    let functions = resolve(global, &args.device, args.only)?;
    // One without a name is told from others by what it has.
    let name = args.vm.clone().or_else(|| functions.first().map(ToString::to_string)).unwrap_or_default();
    let vm = Vm { kind: "qemu".to_owned(), name };
    let take = functions.clone();
    answer(global, Job { vm, phase: Phase::Prepare, functions, take, settings, log: runs::FILE })
}

fn release(global: &Global, args: &ReleaseArgs) -> Result<Answer> {
    let book = Book::load(&change::host(global)?)?;
    // One that was pulled out is known by what was written down of it.
    let noted = |device: &String| {
        let address = Address::parse(device)?;
        book.given.iter().any(|given| given.functions.contains(&address)).then_some(address)
    };
    let functions = match args.device.iter().map(noted).collect::<Option<Vec<Address>>>() {
        Some(noted) => noted,
        None => resolve(global, &args.device, args.only)?,
    };
    let has = |given: &&Given| given.functions.iter().any(|f| functions.contains(f));
    let given = book.given.iter().find(has);
    if let Some(given) = given.filter(|given| !given.ended) {
        let snap = global.snapshot(NEEDS)?;
        let held = |used: &&Use| used.kind == UseKind::Process;
        if let Some(used) = given.functions.iter().find_map(|one| snap.usage.of(one).find(held)) {
            return Err(Error::refused(format!("{} runs: {} has {} open", given.vm, used.by, used.address))
                .hint("shut it down first"));
        }
    }
    let unnamed = || functions.first().map(ToString::to_string).unwrap_or_default();
    let vm = given.map_or_else(|| Vm { kind: "qemu".to_owned(), name: unnamed() }, |given| given.vm.clone());
    let settings = VmSettings::default();
    answer(global, Job { vm, phase: Phase::Release, functions, take: Vec::new(), settings, log: runs::FILE })
}

fn resolve(global: &Global, devices: &[String], only: bool) -> Result<Vec<Address>> {
    Ok(Goal::resolve(devices, only, &global.snapshot(Needs::LIST)?.pci)?.devices)
}

fn libvirt(global: &Global, args: &LibvirtArgs) -> Result<Answer> {
    let nothing = || Ok(Answer::yes(String::new()));
    let phase = match (args.operation.as_str(), args.suboperation.as_str()) {
        ("prepare", "begin") => Phase::Prepare,
        ("release", "end") => Phase::Release,
        _ => return nothing(),
    };
    let name = args.name.to_string_lossy().into_owned();
    let vm = Vm { kind: "libvirt".to_owned(), name };
    let host = change::host(global)?;
    let text = match console::stdin() {
        Fact::Known(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Fact::Absent => Ok(String::new()),
        Fact::Unknown(why) => Err(why.to_string()),
    };
    let settings = settings_of(&host, &vm);
    let devices = match text.and_then(|text| libvirt_xml::parse(&text)) {
        Ok(domain) => domain.devices,
        Err(why) => {
            let error = Error::refused(format!("the XML of {vm} on standard input cannot be used: {why}"));
            if phase == Phase::Prepare && !matches!(settings, Ok(None)) {
                return Err(error);
            }
            console::stderr(&format!("vfioneer: {}\n", plain(&error.message)));
            Vec::new()
        }
    };
    // What is no address libvirt itself refuses.
    let functions: Vec<Address> = devices.iter().filter_map(|device| device.address.clone().ok()).collect();
    let ours = managed(&host, &functions);
    let given = phase == Phase::Release && Book::load(&host)?.of(&vm).is_some();
    if !given && (functions.is_empty() || matches!(settings, Ok(None)) && ours.is_empty()) {
        return nothing();
    }
    let own = matches!(settings, Ok(Some(_)));
    let settings = usable(settings, phase)?;
    // What libvirt itself takes (managed='yes') it also gives back, unless it was on vfio before.
    let may = |device: &HostDevice| own && (!device.managed || settings.returns());
    let take = devices
        .iter()
        .filter_map(|device| device.address.clone().ok().filter(|address| ours.contains(address) || may(device)));
    let take = take.collect();
    done(global, host, Job { vm, phase, functions, take, settings, log: &args.log })?;
    nothing()
}

/// The settings of a VM. Where they cannot be understood it does not start; its end is told nevertheless.
fn usable(settings: Result<Option<VmSettings>>, phase: Phase) -> Result<VmSettings> {
    match (settings, phase) {
        (Err(error), Phase::Release) => {
            console::stderr(&format!("vfioneer: {}\n", plain(&error.message)));
            Ok(VmSettings::default())
        }
        (settings, _) => Ok(settings?.unwrap_or_default()),
    }
}

fn proxmox(global: &Global, args: &ProxmoxArgs) -> Result<Answer> {
    let phase = match args.phase.as_str() {
        "pre-start" => Phase::Prepare,
        "post-stop" => Phase::Release,
        _ => return Ok(Answer::yes(String::new())),
    };
    let host = change::host(global)?;
    let vm = Vm { kind: "proxmox".to_owned(), name: args.vmid.to_string() };
    let snap = global.snapshot(Needs { vms: true, ..Needs::LIST })?;
    let functions = match (devices_of(&snap, &vm.name), phase) {
        (Err(error), Phase::Release) => {
            console::stderr(&format!("vfioneer: {}\n", plain(&error.message)));
            Vec::new()
        }
        (functions, _) => functions?,
    };
    let settings = usable(settings_of(&host, &vm), phase)?;
    if functions.is_empty() && Book::load(&host)?.of(&vm).is_none() {
        return Ok(Answer::yes(String::new()));
    }
    let take = functions.clone();
    done(global, host, Job { vm, phase, functions, take, settings, log: runs::FILE })?;
    Ok(Answer::yes(String::new()))
}

/// The functions of one of Proxmox VE's VMs, with all endpoints of their groups: it hands groups over whole (qemu-server `PVE/QemuServer/PCI.pm`
/// `prepare_pci_device`). Of a mapping with more than one card it chooses one itself, later: none of them is meant here.
fn devices_of(snap: &Snapshot, id: &str) -> Result<Vec<Address>> {
    let all = &snap.hypervisor;
    let vm = all.vms.iter().find(|vm| vm.kind == HypervisorKind::Proxmox && vm.id == id).ok_or_else(|| {
        Error::refused(format!("there is no VM {id} on this node")).hint("`qm list` shows what there is")
    })?;
    if let Fact::Unknown(why) = &vm.config {
        return Err(Error::refused(format!("the configuration of VM {id} cannot be read: {why}")));
    }
    let mut functions: Vec<Address> = Vec::new();
    for device in &vm.devices {
        let meant = all.functions(device, &snap.pci);
        if matches!(device.asked, Asked::Mapping(_)) && slots(&meant).len() > 1 {
            console::stderr(&format!(
                "vfioneer: {}: which card that is is not known before the start\n",
                device.evidence.text
            ));
            continue;
        }
        functions.extend(meant);
    }
    let groups: Vec<u32> = functions.iter().filter_map(|one| snap.pci.get(one)?.group.known().copied()).collect();
    let of_group = |f: &&Function| f.group.known().is_some_and(|group| groups.contains(group)) && !f.is_bridge();
    functions.extend(snap.pci.functions.iter().filter(of_group).map(|f| f.address));
    functions.sort();
    functions.dedup();
    Ok(functions)
}

fn answer(global: &Global, job: Job<'_>) -> Result<Answer> {
    let host = change::host(global)?;
    let run = done(global, host, job)?;
    Ok(Answer::yes(if global.json { report::runs::json(&run) } else { report::runs::text(&global.style(), &run) }))
}

/// Does it, and writes it down, whatever comes of it.
fn done(global: &Global, host: TreeMut, job: Job<'_>) -> Result<Run> {
    // A terminal that goes with its display must not end this half-way.
    let host = host.heeding(Interrupt::watch());
    let look = || global.snapshot(NEEDS);
    let (run, done) = match Desk::open(&host, &Caller::new()) {
        Ok(desk) => {
            // What another command could not take back is no reason against this VM, if it is not about its devices; then it is refused below.
            if let Err(error) = desk.recover(&mut |_| ()) {
                console::stderr(&format!("vfioneer: {}\n", plain(&error.message)));
            }
            let task = Task::new(&desk, &look, job.vm, job.phase, job.functions);
            match job.phase {
                Phase::Prepare => task.prepare(&job.settings, &job.take),
                Phase::Release => task.release(&job.settings),
            }
        }
        Err(error) => (Run::failed(job.vm, job.phase, job.functions, &error), Err(error)),
    };
    if let Err(error) = runs::add(&host, job.log, &run) {
        console::stderr(&format!("vfioneer: cannot write {}: {error}\n", job.log));
    }
    done.map(|()| run)
}
