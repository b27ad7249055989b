//! `vfioneer plan`: what would change on this host for a goal, and why.

use super::change::REFUSED;
use super::{Answer, Global, quoted, rom};
use crate::checks::{self, Severity};
use crate::error::{Error, Result};
use crate::facts::{Needs, Snapshot};
use crate::goal::{Goal, Method, Request, RomFile};
use crate::host::{Fact, console, output};
use crate::plan::{self, Plan, guards};
use crate::report;
use crate::report::plan::Next;
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a goal is made of, for the verbs that take one.
#[derive(Args, Debug)]
pub struct GoalArgs {
    /// The devices to give to VMs
    device: Vec<String>,
    /// Only the named functions, not the whole slot of a GPU
    #[arg(long)]
    only: bool,
    /// Read the goal from a TOML file; what else is given here adds to it
    #[arg(long, value_name = "FILE")]
    goal: Option<PathBuf>,
    /// How the devices are claimed at boot: identity (address, ids, slot, serial number) or ids (vfio-pci ids=)
    #[arg(long, value_name = "METHOD", value_parser = ["identity", "ids"])]
    method: Option<String>,
    /// Do what a guard refuses; several times, or with commas
    #[arg(long, value_name = "GUARD", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    allow: Vec<String>,
    /// Add iommu=pt: the host's own devices bypass translation (passthrough does not need it)
    #[arg(long)]
    iommu_pt: bool,
    /// Add a serial console, such as ttyS0 or ttyS0,115200
    #[arg(long, value_name = "TTY")]
    serial_console: Option<String>,
    /// Repair what is wrong in today's configuration, too
    #[arg(long)]
    repair: bool,
    /// The VM that gets the devices
    #[arg(long, value_name = "VM", value_parser = NonEmptyStringValueParser::new())]
    vm: Option<String>,
    /// A ROM file for the VM's guest: it is put where the hypervisor reads it
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    rom: Option<String>,
    /// Keep the devices, and have each make this many virtual functions (SR-IOV) for VMs; 0: no more
    #[arg(long, value_name = "N")]
    vfs: Option<u16>,
}

/// Arguments of `plan`.
#[derive(Args, Debug)]
#[command(after_help = guards_help())]
pub struct PlanArgs {
    #[command(flatten)]
    goal: GoalArgs,
    /// Write the plan to a file, which `vfioneer apply` takes; `-`: to standard output, and nothing else there
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace FILE even if it is no plan
    #[arg(long, requires = "output")]
    force: bool,
    /// Exit with 1 if something is to be done
    #[arg(long)]
    check: bool,
}

fn guards_help() -> String {
    let mut text = "Guards, as --allow takes them; naming one gives away\n".to_owned();
    for (name, meaning) in guards::NAMES {
        text.push_str(&format!("  {name:<18} {meaning}\n"));
    }
    text.push_str(
        "\nA goal file is TOML with the same names; all of them may be left out:\n\
         \x20 devices = [\"10de:2684\", \"01:00\"]\n\
         \x20 method = \"identity\"\n\
         \x20 allow = [\"in-use\"]\n\
         \x20 iommu-pt = false\n\
         \x20 rom = \"/root/gpu.rom\"\n\
         \x20 vfs = 4\n",
    );
    text.push_str("\nExit codes: 0 done, 1 with --check: something is to be done, 2 usage, 3 refused.");
    text
}

pub(super) fn run(global: &Global, args: &PlanArgs) -> Result<Answer> {
    let request = args.goal.request()?;
    let to_stdout = args.output.as_deref().is_some_and(|path| path == Path::new("-"));
    let file = args.output.as_deref().filter(|_| !to_stdout).map(|path| place(path, args.force)).transpose()?;
    let snap = global.snapshot(Needs::PLAN)?;
    let goal = resolved(request, &snap).map_err(|error| args.goal.named_in(error))?;
    let plan = plan::make(&snap, &goal);
    if let Some(path) = file.filter(|_| plan.refused.is_empty()) {
        output::write(&path, report::plan::json(&plan).as_bytes(), 0o644, true)?;
    }
    let mut text = if global.json || (to_stdout && plan.refused.is_empty()) {
        report::plan::json(&plan)
    } else {
        let options = global.host_options();
        let arguments = args.goal.typed();
        let file = args.output.as_ref().map(|path| quoted(&path.display().to_string()));
        let left = if args.goal.asks_for_repair(&plan) { left(&snap, &goal) } else { Vec::new() };
        let style = global.style();
        let (verbose, file) = (global.verbose, file.as_deref());
        // In a pipe the diff is for patch.
        let whole = verbose || style.width.is_none();
        let next = Next { options: &options, arguments: &arguments, file, left: &left, verbose, whole };
        report::plan::text(&style, &snap, &plan, &next)
    };
    if !plan.refused.is_empty() {
        let mut guards: Vec<&str> = plan.refused.iter().map(|refusal| refusal.guard).collect();
        guards.dedup();
        // Who reads a plan from standard output gets one or nothing.
        let reasons = if to_stdout && !global.json { std::mem::take(&mut text) } else { String::new() };
        console::stderr(&format!("{reasons}vfioneer: refused ({}): nothing was changed\n", guards.join(", ")));
    }
    let code = match () {
        () if !plan.refused.is_empty() => REFUSED,
        () if args.check && !plan.is_empty() => 1,
        () => 0,
    };
    Ok(Answer { text, code })
}

/// The goal for a host, with the ROM file that it names read.
pub(super) fn resolved(request: Request, snap: &Snapshot) -> Result<Goal> {
    let mut goal = request.resolve(&snap.pci)?;
    let file = goal.request.rom.clone();
    goal.rom = file.map(|path| rom::file(&path).map(|bytes| RomFile { path, bytes })).transpose()?;
    Ok(goal)
}

/// The findings that are left where nothing is to be repaired: errors and warnings, each id once.
fn left(snap: &Snapshot, goal: &Goal) -> Vec<&'static str> {
    let findings = checks::run(snap, goal);
    let mut ids: Vec<&str> = Vec::new();
    for finding in findings.iter().filter(|finding| finding.severity <= Severity::Warning) {
        if !ids.contains(&finding.id) {
            ids.push(finding.id);
        }
    }
    ids
}

/// Where the plan is written: links followed. Only a plan is replaced unasked.
fn place(path: &Path, force: bool) -> Result<PathBuf> {
    let name = path.display();
    if let Some(what) = output::no_file(path) {
        return Err(Error::usage(format!("cannot write the plan to {name}: it is {what}"))
            .hint("give the name of a file, or `-o -` for standard output"));
    }
    let target = output::target(path);
    let is_plan = || output::start(&target).is_some_and(|start| begins_as_plan(&start));
    if !force && output::is_there(&target) && !is_plan() {
        return Err(Error::refused(format!("{name} is there already, and is no plan of vfioneer's"))
            .hint("give another name, or --force to replace it"));
    }
    Ok(target)
}

/// True for the first bytes of a plan, of whichever version.
fn begins_as_plan(start: &[u8]) -> bool {
    let letters: Vec<u8> = start.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).take(64).collect();
    letters.starts_with(b"{\"schema\":\"vfioneer/plan/")
}

impl GoalArgs {
    /// The options beside a plan file, which has its own goal.
    pub(super) fn beside_plan(&self) -> Vec<&'static str> {
        let given = [
            ("--only", self.only),
            ("--goal", self.goal.is_some()),
            ("--method", self.method.is_some()),
            ("--allow", !self.allow.is_empty()),
            ("--iommu-pt", self.iommu_pt),
            ("--serial-console", self.serial_console.is_some()),
            ("--repair", self.repair),
            ("--vm", self.vm.is_some()),
            ("--rom", self.rom.is_some()),
            ("--vfs", self.vfs.is_some()),
        ];
        given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect()
    }

    /// What is named in place of devices.
    pub(super) fn named(&self) -> &[String] {
        &self.device
    }

    /// An error about a goal, with the file that it was read from.
    pub(super) fn named_in(&self, error: Error) -> Error {
        match &self.goal {
            Some(path) => error.hint(format!("the goal was read from {}", path.display())),
            None => error,
        }
    }

    fn asks_for_repair(&self, plan: &Plan) -> bool {
        self.repair && plan.is_empty() && plan.refused.is_empty()
    }

    /// What may be a plan file in place of devices: the only thing that is named.
    pub(super) fn plan_file(&self) -> Option<&str> {
        match self.device.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The goal file's request with what was typed added to it. Fails with a usage error if either is none, or names nothing.
    pub(super) fn request(&self) -> Result<Request> {
        let typed = Request {
            devices: self.device.clone(),
            only: self.only,
            method: self.method.as_deref().map(|name| if name == "ids" { Method::Ids } else { Method::Identity }),
            allow: self.allow.iter().cloned().collect(),
            iommu_pt: self.iommu_pt,
            serial_console: self.serial_console.clone(),
            repair: self.repair,
            vm: self.vm.clone(),
            rom: self.rom.as_deref().map(output::absolute),
            vfs: self.vfs,
        };
        let request = match &self.goal {
            None => typed,
            Some(path) => {
                let name = path.display().to_string();
                let text = match console::user_file(&name) {
                    Fact::Known(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                    Fact::Absent => {
                        return Err(Error::usage(format!("cannot read the goal {name}: there is no such file")));
                    }
                    Fact::Unknown(why) => return Err(Error::usage(format!("cannot read the goal {name}: {why}"))),
                };
                Request::from_toml(&name, &text)?.with(typed)
            }
        };
        guards::check_names(&request.allow).map_err(|error| self.named_in(error))?;
        if let (true, Some(rom)) = (request.devices.is_empty(), &request.rom) {
            return Err(self
                .named_in(Error::usage(format!("no device is named that the ROM file {rom} is for")))
                .hint("name one: `vfioneer plan 01:00 --rom FILE` (`vfioneer list` shows them)"));
        }
        if let (true, Some(vfs)) = (request.devices.is_empty(), request.vfs) {
            return Err(self
                .named_in(Error::usage(format!("no device is named that the {vfs} virtual functions are of")))
                .hint("name one: `vfioneer plan 01:00 --vfs 4` (`vfioneer list` shows them)"));
        }
        if request.vfs.is_some() && (request.rom.is_some() || request.method == Some(Method::Ids)) {
            return Err(self.named_in(Error::usage(
                "with --vfs the device stays with the host: --rom and --method ids are for one that goes",
            )));
        }
        if request.devices.is_empty() && !request.repair && !request.iommu_pt && request.serial_console.is_none() {
            return Err(self
                .named_in(Error::usage("no device is named, so there is nothing to plan"))
                .hint("name one: `vfioneer plan 01:00` (`vfioneer list` shows them)")
                .hint("or repair today's configuration: `vfioneer plan --repair`"));
        }
        Ok(request)
    }

    /// The same arguments again, for a command to type.
    pub(super) fn typed(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for device in self.device.iter().map(|device| quoted(device)) {
            if !words.contains(&device) {
                words.push(device);
            }
        }
        let mut flag = |name: &str, on: bool| words.extend(on.then(|| format!("--{name}")));
        flag("only", self.only);
        flag("iommu-pt", self.iommu_pt);
        flag("repair", self.repair);
        let mut option = |name: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("--{name} {}", quoted(&value))));
        };
        option("goal", self.goal.as_ref().map(|path| path.display().to_string()));
        option("method", self.method.clone());
        let allow: BTreeSet<&str> = self.allow.iter().map(String::as_str).collect();
        option("allow", (!allow.is_empty()).then(|| allow.into_iter().collect::<Vec<_>>().join(",")));
        option("serial-console", self.serial_console.clone());
        option("vm", self.vm.clone());
        option("rom", self.rom.clone());
        option("vfs", self.vfs.map(|count| count.to_string()));
        words.join(" ")
    }
}

/// Arguments that ask for the same as a plan's goal.
pub(super) fn arguments(request: &Request) -> String {
    let args = GoalArgs {
        device: request.devices.clone(),
        only: request.only,
        goal: None,
        method: (request.method == Some(Method::Ids)).then(|| "ids".to_owned()),
        allow: request.allow.iter().cloned().collect(),
        iommu_pt: request.iommu_pt,
        serial_console: request.serial_console.clone(),
        repair: request.repair,
        vm: request.vm.clone(),
        rom: request.rom.clone(),
        vfs: request.vfs,
    };
    args.typed()
}
