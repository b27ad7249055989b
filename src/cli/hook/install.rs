//! `vfioneer hook install` and `hook remove`: the hypervisor's hook, as a transaction.

use super::SettingsArgs;
use crate::adapters::vm::hook::{Place, Wanted};
use crate::cli::change;
use crate::cli::{Answer, Global};
use crate::error::{Error, Result};
use crate::facts::hooks::{self, PROGRAM};
use crate::facts::hypervisor::{self, HypervisorKind};
use crate::facts::{Needs, Snapshot};
use crate::host::change::Command;
use crate::host::{Fact, Host, HostMut, Kind, TreeMut, console};
use crate::live::vm::given::{Book, Given};
use crate::live::vm::managed;
use crate::parse::address::Address;
use crate::parse::vm_settings::VmSettings;
use crate::parse::{elf, libvirt_xml};
use crate::plan::{self, Plan};
use crate::report::plain;
use clap::Args;
use std::time::Duration;

/// Whose hook.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct PlaceArgs {
    /// libvirt on this host: a script in /etc/libvirt/hooks/qemu.d, beside those of others
    #[arg(long)]
    libvirt: bool,
    /// libvirt in kolla's container: files on the host, and what to tell kolla-ansible
    #[arg(long)]
    kolla: bool,
    /// A VM of Proxmox VE: a hookscript in a snippets storage
    #[arg(long, value_name = "VMID")]
    proxmox: Option<u32>,
}

/// Arguments of `hook install`.
#[derive(Args, Debug)]
#[command(after_help = "Without --vm the hook acts for every VM with a device that vfioneer claims\n\
    at boot or has handed over. Settings are kept in /etc/vfioneer/vms, and may be\n\
    edited there. What the hook did is in `vfioneer history --vm VM`. Installing it\n\
    is a transaction: `vfioneer rollback` undoes it, as `hook remove` does.\n\n\
    Exit codes: 0 done or nothing to do, 2 usage, 3 refused and nothing changed,\n\
    4 failed and undone, 5 a person is needed.")]
pub struct InstallArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Settings for this VM of libvirt's
    #[arg(long, value_name = "NAME", conflicts_with = "proxmox")]
    vm: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Arguments of `hook remove`.
#[derive(Args, Debug)]
#[command(after_help = "The program stays where it is. VMs of libvirt run on while its daemon starts anew.\n\n\
    Exit codes: 0 done or nothing to do, 2 usage, 3 refused and nothing changed,\n\
    4 failed and undone, 5 a person is needed.")]
pub struct RemoveArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Only the settings of this VM of libvirt's
    #[arg(long, value_name = "NAME", conflicts_with = "proxmox")]
    vm: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl PlaceArgs {
    fn place(&self) -> Place {
        match self.proxmox {
            Some(id) => Place::Proxmox(id.to_string()),
            None if self.kolla => Place::Kolla,
            None => Place::Libvirt,
        }
    }
}

/// What a hook needs to know of a host.
const NEEDS: Needs = Needs { vms: true, fingerprint: true, ..Needs::LIST };
/// The first libvirt that reads `qemu.d` (<https://libvirt.org/hooks.html>).
const OLDEST: (u32, u32) = (6, 5);
/// How long a daemon may take to say its version, or a script to do nothing.
const LIMIT: Duration = Duration::from_secs(20);
/// Bytes of a program in which its program headers are.
const HEADERS: usize = 4096;

pub(super) fn install(global: &Global, args: &InstallArgs) -> Result<Answer> {
    let place = args.place.place();
    let settings = args.settings.settings()?;
    let vm = match (&place, &args.vm) {
        (Place::Proxmox(id), _) => Some((id.clone(), settings)),
        (_, Some(name)) => Some((name.clone(), settings)),
        (_, None) if settings != VmSettings::default() => {
            return Err(Error::usage("settings are one VM's, and none is named").hint("add --vm NAME"));
        }
        (_, None) => None,
    };
    let host = change::host(global)?;
    let program = program(&host, &place)?;
    if place == Place::Libvirt {
        is_new_enough(&host)?;
    }
    let make = |host: &TreeMut| {
        let snap = global.snapshot(NEEDS)?;
        if let (Some((name, _)), Place::Libvirt) = (&vm, &place) {
            is_there(&snap, name)?;
        }
        let wanted = Wanted { place: place.clone(), vm: vm.clone(), program: program.clone() };
        let found = hooks::collect(host);
        Ok((plan::hook::install(&snap, &found, &wanted).map_err(Error::refused)?, snap))
    };
    let (plan, snap) = make(&host)?;
    if place == Place::Libvirt && host.kind() == Kind::Live {
        rehearse(&host, &snap, &plan)?;
    }
    change::transaction(global, host, args.yes, &make)
}

/// What VMs have now, for whoever takes their hook away.
fn given(host: &TreeMut, place: &Place) -> Vec<String> {
    let book = Book::load(host).unwrap_or_default();
    let ours = |given: &&Given| match place {
        Place::Proxmox(id) => given.vm.kind == "proxmox" && given.vm.name == *id,
        Place::Libvirt | Place::Kolla => given.vm.kind == "libvirt",
    };
    let told = |given: &Given| {
        let functions: Vec<String> = given.functions.iter().map(ToString::to_string).collect();
        format!(
            "{} has {}. Once it has ended: vfioneer hook run release {}",
            given.vm,
            functions.join(" "),
            functions.join(" ")
        )
    };
    book.given.iter().filter(ours).map(told).collect()
}

pub(super) fn remove(global: &Global, args: &RemoveArgs) -> Result<Answer> {
    let place = args.place.place();
    let host = change::host(global)?;
    let make = |host: &TreeMut| {
        let snap = global.snapshot(NEEDS)?;
        let found = hooks::collect(host);
        let mut plan = plan::hook::remove(&snap, &found, &place, args.vm.as_deref()).map_err(Error::refused)?;
        if args.vm.is_none() {
            plan.notes.extend(given(host, &place));
        }
        Ok((plan, snap))
    };
    change::transaction(global, host, args.yes, &make)
}

/// The program's file, where it has to be copied first.
fn program(host: &TreeMut, place: &Place) -> Result<Option<String>> {
    let failed = |error: std::io::Error| Error::refused(format!("cannot read {PROGRAM}: {error}"));
    let there = host.sha256(PROGRAM).map_err(failed)?;
    if host.kind() != Kind::Live {
        return match there {
            Some(_) => Ok(None),
            None => Err(Error::refused(format!("{PROGRAM} is not there, and hooks run it"))
                .hint(format!("copy it into that system first: {PROGRAM}, mode 755"))),
        };
    }
    let own = host.link("/proc/self/exe").into_known().unwrap_or_default();
    let dynamic = host.read_start("/proc/self/exe", HEADERS).into_known().and_then(|bytes| elf::is_dynamic(&bytes));
    if *place == Place::Kolla && dynamic != Some(false) {
        return Err(Error::refused("this vfioneer needs libraries that kolla's container may not have")
            .hint("use the one that is linked statically: `make dist` builds it"));
    }
    match there {
        _ if own == PROGRAM => Ok(None),
        None => Ok(Some(own)),
        Some(there) => match host.sha256("/proc/self/exe").map_err(failed)? {
            Some(same) if same == there => Ok(None),
            _ => Err(Error::refused(format!("{PROGRAM} is another vfioneer than this one, and hooks would run that"))
                .hint(format!("put this one there first: sudo install -m 755 {own} {PROGRAM}"))
                .hint(format!("or use that one: sudo {PROGRAM} hook install …"))),
        },
    }
}

/// Refuses a libvirt that would pass the script by.
fn is_new_enough(host: &TreeMut) -> Result<()> {
    if host.kind() != Kind::Live {
        return Ok(());
    }
    for daemon in ["virtqemud", "libvirtd"].into_iter().filter(|daemon| host.has_program(daemon)) {
        let argv = [daemon.to_owned(), "--version".to_owned()];
        let Ok(done) = host.run(&Command { argv: &argv, limit: LIMIT, interrupt: None, holds: None }, &mut |_| ())
        else {
            continue;
        };
        // `libvirtd (libvirt) 9.0.0`.
        let text = done.text();
        let version = text.split_whitespace().last().unwrap_or_default();
        let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
        if let (Some(major), Some(minor)) = (numbers.next(), numbers.next())
            && (major, minor) < OLDEST
        {
            return Err(Error::refused(format!(
                "libvirt {version} reads no scripts in qemu.d: that came with {}.{}.0",
                OLDEST.0, OLDEST.1
            ))
            .hint("have your own /etc/libvirt/hooks/qemu run: vfioneer hook run libvirt -- \"$@\""));
        }
        return Ok(());
    }
    Ok(())
}

/// Refuses settings for a VM that there is not.
fn is_there(snap: &Snapshot, name: &str) -> Result<()> {
    let all: Vec<&str> =
        snap.hypervisor.vms.iter().filter(|vm| vm.kind == HypervisorKind::Libvirt).map(|vm| vm.id.as_str()).collect();
    if all.contains(&name) {
        return Ok(());
    }
    let error = Error::usage(format!("libvirt has no VM {name:?} here"));
    Err(match all.is_empty() {
        true => error.hint("`virsh list --all` shows what there is"),
        false => error.hint(format!("it has {}", all.join(", "))),
    })
}

/// A script that fails on `reconnect` would have libvirt end the VM (libvirt src/qemu/qemu_process.c `qemuProcessReconnect`): it is run for each
/// running VM before the daemon starts anew. And what the hook will do at the VM's end is said now.
fn rehearse(host: &TreeMut, snap: &Snapshot, plan: &Plan) -> Result<()> {
    let script = plan.steps.iter().find(|step| step.path() == Some(hooks::LIBVIRT)).and_then(|step| step.text());
    let Some(script) = script else { return Ok(()) };
    let running = |vm: &&hypervisor::Vm| vm.kind == HypervisorKind::Libvirt && vm.running == Fact::Known(true);
    for vm in snap.hypervisor.vms.iter().filter(running) {
        let argv = ["sh", "-c", script, hooks::LIBVIRT, &vm.id, "reconnect", "begin", "-"].map(str::to_owned);
        let done = host
            .run(&Command { argv: &argv, limit: LIMIT, interrupt: None, holds: None }, &mut |_| ())
            .map_err(|error| Error::refused(format!("cannot try the script for {}: {error}", vm.id)))?;
        if !done.success() {
            return Err(Error::bug(format!("the script fails for the running VM {}: {}", vm.id, done.text())));
        }
        let path = format!("/run/libvirt/qemu/{}.xml", vm.id);
        let text = host.text(&path);
        let told = match text.and_then(|text| Fact::from(libvirt_xml::parse(&text))) {
            Fact::Known(domain) => {
                let functions: Vec<Address> = domain.devices.into_iter().filter_map(|d| d.address.ok()).collect();
                let ours: Vec<String> = managed(host, &functions).iter().map(ToString::to_string).collect();
                match ours.is_empty() {
                    true => "is left alone, unless it has settings".to_owned(),
                    false => format!("has {}, which will be proven well when it ends", ours.join(" ")),
                }
            }
            Fact::Absent => "has no XML here".to_owned(),
            Fact::Unknown(why) => format!("is left alone: its XML cannot be understood ({why})"),
        };
        console::stderr(&format!("VM {} runs: it {}.\n", plain(&vm.id), plain(&told)));
    }
    Ok(())
}
