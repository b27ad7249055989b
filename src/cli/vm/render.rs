//! `vfioneer vm render`: what a VM is given as text, for a hypervisor that need not be here.

use crate::adapters::vm::proxmox_text::{self, Given};
use crate::adapters::vm::{Passed, Rendered, Shape, domain, lxc, nova, qemu};
use crate::cli::{Answer, Global};
use crate::error::{Error, Result};
use crate::facts::pci::Function;
use crate::facts::{Needs, Snapshot};
use crate::goal::Goal;
use crate::host::{Fact, console};
use crate::parse::address::Address;
use crate::parse::rom::Rom;
use crate::report;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use serde_json::json;

/// Arguments of `vm render`.
#[derive(Args, Debug)]
#[command(after_help = "The text goes to stdout as it is, what else is to be known to stderr. Nothing is changed.\n\
    All functions of a slot become one slot of the guest's, behind a PCIe root port.\n\n\
    Exit codes: 0 done, 2 usage, 3 refused: the target cannot have these devices.")]
pub struct RenderArgs {
    /// The devices; a GPU stands for all functions of its slot
    #[arg(required = true)]
    device: Vec<String>,
    /// For which hypervisor
    #[arg(short, long)]
    target: Target,
    /// Only the named functions, not all of a GPU's slot
    #[arg(long)]
    only: bool,
    /// The VM's name; its number (Proxmox VE), the flavor's name (nova), the container's (LXC)
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    vm: Option<String>,
    /// libvirt: a whole new domain, not only the elements for one that is there
    #[arg(long)]
    new: bool,
    /// Memory [default: 8192]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(64..=64 << 20))]
    memory: Option<u64>,
    /// Processors [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    cpus: Option<u16>,
    /// The image or block device that it boots from
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    disk: Option<String>,
    /// The option ROM for the display, or for the one device: its path where the VM runs
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    rom: Option<String>,
    /// What starts it [default: ovmf, but for a ROM without a UEFI image]
    #[arg(long, value_name = "WHAT")]
    firmware: Option<FirmwareArg>,
    /// Give it an IOMMU of its own, Intel's
    #[arg(long)]
    viommu: bool,
    /// It runs where there is no KVM
    #[arg(long)]
    no_kvm: bool,
    /// Hide the hypervisor, for old drivers of NVIDIA's
    #[arg(long)]
    hide: bool,
}

/// A form of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// A command that starts the VM
    Qemu,
    /// Elements of a domain's XML, or with --new all of it
    Libvirt,
    /// `qm set`, and the lines that it makes
    Proxmox,
    /// The same by a cluster mapping
    ProxmoxMapping,
    /// OpenStack: nova.conf, flavor and image, also under kolla
    Nova,
    /// A container's device nodes: the device stays with the host's driver
    Lxc,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Target::Qemu => "qemu",
            Target::Libvirt => "libvirt",
            Target::Proxmox => "proxmox",
            Target::ProxmoxMapping => "proxmox-mapping",
            Target::Nova => "nova",
            Target::Lxc => "lxc",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FirmwareArg {
    Ovmf,
    Seabios,
}

/// What is read: what a VM sees of a device, who has it, and what is claimed.
const NEEDS: Needs = Needs { pci_details: true, boot: true, kernel: true, vms: true, ..Needs::LIST };

pub(super) fn run(global: &Global, args: &RenderArgs) -> Result<Answer> {
    args.fits()?;
    let snap = global.snapshot(NEEDS)?;
    let goal = Goal::resolve(&args.device, args.only, &snap.pci)?;
    let chosen: Vec<&Function> = goal.devices.iter().filter_map(|address| snap.pci.get(address)).collect();
    if let Some(bridge) = chosen.iter().find(|function| function.is_bridge()) {
        return Err(Error::refused(format!("{} is a bridge, which no VM can have", bridge.address))
            .hint("name the devices behind it: `vfioneer list --tree` shows them"));
    }
    let mut notes = Vec::new();
    let rendered = match args.target {
        Target::Lxc => lxc::nodes(&snap, &goal.devices, args.vm.as_deref())?,
        _ => {
            let rom = args.rom.as_deref().map(|path| Ok::<_, Error>((card(&chosen)?, path))).transpose()?;
            let passed = Passed::of(&snap, &goal.devices, rom);
            let legacy = args.rom.as_deref().filter(|_| args.firmware.is_none()).filter(|path| is_legacy(global, path));
            notes.extend(legacy.map(|path| format!("{path} has no UEFI image, so that SeaBIOS starts the VM.")));
            render(&snap, &passed, args, legacy.is_none() && args.firmware != Some(FirmwareArg::Seabios))?
        }
    };
    notes.extend(rendered.notes);
    let notes: Vec<String> = notes.iter().map(|note| report::at_host(note, &global.host_options())).collect();
    Ok(Answer::yes(match global.json {
        true => document(args.target, &rendered.text, &notes),
        false => {
            console::stderr(&notes.iter().map(|note| said(note)).collect::<String>());
            rendered.text
        }
    }))
}

fn render(snap: &Snapshot, passed: &Passed, args: &RenderArgs, uefi: bool) -> Result<Rendered> {
    let shape = Shape {
        name: args.vm.clone(),
        memory_mib: args.memory.unwrap_or(8192),
        cpus: args.cpus.unwrap_or(4),
        disk: args.disk.clone(),
        uefi,
        viommu: args.viommu,
        kvm: !args.no_kvm,
        hide: args.hide,
    };
    let given = Given { memory: args.memory.is_some(), cpus: args.cpus.is_some() };
    match args.target {
        Target::Qemu => qemu::command(snap, passed, &shape),
        Target::Libvirt if args.new => domain::new(snap, passed, &shape),
        Target::Libvirt => domain::elements(snap, passed, &shape),
        Target::Proxmox => proxmox_text::commands(snap, passed, &shape, given),
        Target::ProxmoxMapping => proxmox_text::mappings(snap, passed, &shape, given),
        Target::Nova => nova::configuration(snap, passed, &shape),
        Target::Lxc => Ok(Rendered::default()),
    }
}

/// One note for stderr.
fn said(note: &str) -> String {
    let width = console::stderr_width().unwrap_or(usize::MAX);
    let text = report::wrap(&report::plain(&format!("vfioneer: {note}")), 2, width);
    text.trim_start().to_owned()
}

fn document(target: Target, text: &str, notes: &[String]) -> String {
    let document = json!({
        "schema": "vfioneer/vm-render/1",
        "target": target.name(),
        "text": text,
        "notes": notes,
    });
    format!("{document:#}\n")
}

/// The function that a ROM is for: the one display, or the only function.
fn card(chosen: &[&Function]) -> Result<Address> {
    let displays: Vec<&&Function> = chosen.iter().filter(|function| function.is_display()).collect();
    match (displays.as_slice(), chosen) {
        ([display], _) => Ok(display.address),
        ([], [one]) => Ok(one.address),
        _ => Err(Error::usage("--rom is for one device, and several are given").hint("name the one that it is for")),
    }
}

/// True if a ROM can be read here and no firmware but a BIOS runs it.
fn is_legacy(global: &Global, path: &str) -> bool {
    let Ok(host) = global.host() else { return false };
    // Proxmox VE's are named below its directory.
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/usr/share/kvm/{path}") };
    let Fact::Known(bytes) = host.read(&path) else { return false };
    let rom = Rom::read(&bytes);
    rom.uefi().is_empty() && rom.seabios(None).is_some()
}

impl RenderArgs {
    /// Refuses what the target has no place for.
    fn fits(&self) -> Result<()> {
        use Target::{Libvirt, Nova, Proxmox, ProxmoxMapping, Qemu};
        let whole = self.target != Libvirt || self.new;
        let target = self.target;
        let given = [
            ("--new", self.new, &[Libvirt][..]),
            ("--memory", self.memory.is_some(), &[Qemu, Libvirt, Proxmox, ProxmoxMapping]),
            ("--cpus", self.cpus.is_some(), &[Qemu, Libvirt, Proxmox, ProxmoxMapping]),
            ("--disk", self.disk.is_some(), &[Qemu, Libvirt]),
            ("--no-kvm", self.no_kvm, &[Qemu, Libvirt, Proxmox, ProxmoxMapping]),
            ("--firmware", self.firmware.is_some(), &[Qemu, Libvirt, Proxmox, ProxmoxMapping, Nova]),
            ("--viommu", self.viommu, &[Qemu, Libvirt, Proxmox, ProxmoxMapping, Nova]),
            ("--hide", self.hide, &[Qemu, Libvirt, Proxmox, ProxmoxMapping, Nova]),
            ("--rom", self.rom.is_some(), &[Qemu, Libvirt, Proxmox, ProxmoxMapping]),
        ];
        for (option, _, targets) in given.iter().filter(|(_, given, _)| *given) {
            if !targets.contains(&target) {
                return Err(
                    Error::usage(format!("{option} says nothing to the target {}", target.name())).hint("leave it out")
                );
            }
            if !whole && *option != "--rom" {
                return Err(Error::usage(format!("{option} is for a whole domain")).hint("add --new, or leave it out"));
            }
        }
        path("--disk", self.disk.as_deref(), target == Libvirt)?;
        path("--rom", self.rom.as_deref(), matches!(target, Libvirt | Qemu))?;
        if let (Some(rom), Proxmox | ProxmoxMapping) = (&self.rom, target) {
            let name = rom.strip_prefix("/usr/share/kvm/").unwrap_or(rom);
            if name.is_empty() || name.contains(|c: char| "/,;".contains(c) || c.is_whitespace()) {
                return Err(Error::usage(format!("{rom:?} is no ROM file that Proxmox VE takes"))
                    .hint("give the name of a file in /usr/share/kvm, without comma, semicolon and space"));
            }
        }
        match &self.vm {
            Some(name) => named(target, name),
            None => Ok(()),
        }
    }
}

/// Refuses a path that cannot stand in the text.
fn path(option: &str, path: Option<&str>, absolute: bool) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    if path.contains(char::is_control) {
        return Err(
            Error::usage(format!("{option} {path:?} has control characters")).hint("give the file another name")
        );
    }
    if absolute && !path.starts_with('/') {
        return Err(Error::usage(format!("{option} {path:?} does not begin with /")).hint("give the whole path"));
    }
    Ok(())
}

/// Refuses a name that the target does not take: libvirt src/conf/domain_conf.c (`/`), pve-common `pve-vmid`, lxc.container.conf(5).
fn named(target: Target, name: &str) -> Result<()> {
    let number = name.parse::<u32>().ok().filter(|_| name.bytes().all(|b| b.is_ascii_digit()));
    let (fits, what) = match target {
        Target::Proxmox | Target::ProxmoxMapping => {
            (number.is_some_and(|number| (100..=999_999_999).contains(&number)), "a number from 100 to 999999999")
        }
        Target::Lxc => {
            let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            (name.chars().all(fits) && !name.starts_with(['.', '-']), "letters, digits, and . _ - within")
        }
        Target::Libvirt => (!name.contains('/') && !name.trim().is_empty(), "without a slash, and not only spaces"),
        Target::Qemu | Target::Nova => (!name.trim().is_empty(), "not only spaces"),
    };
    if !fits || name.contains(char::is_control) || name.chars().count() > 255 {
        return Err(Error::usage(format!("{name:?} is no name that the target {} takes", target.name()))
            .hint(format!("a name there is {what}, at most 255 characters, and no control characters")));
    }
    Ok(())
}
