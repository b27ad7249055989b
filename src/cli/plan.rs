//! `vfioneer plan`: what would change on this host for a goal, and why.

use super::{Answer, Global, quoted};
use crate::error::{Error, Result};
use crate::facts::Needs;
use crate::goal::{Method, Request};
use crate::host::{Fact, console, output};
use crate::plan::{self, guards};
use crate::report;
use clap::Args;
use std::path::PathBuf;

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
    #[arg(long, value_name = "GUARD", value_delimiter = ',')]
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
    #[arg(long, value_name = "VM")]
    vm: Option<String>,
}

/// The exit code where a guard refuses; the reasons are the result.
const REFUSED: u8 = 3;

/// Arguments of `plan`.
#[derive(Args, Debug)]
#[command(after_help = guards_help())]
pub struct PlanArgs {
    #[command(flatten)]
    goal: GoalArgs,
    /// Write the plan to a file, which `vfioneer apply` takes
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Exit with 1 if something is to be done
    #[arg(long)]
    check: bool,
}

fn guards_help() -> String {
    let mut text = "Guards, as --allow takes them; naming one gives away\n".to_owned();
    for (name, meaning) in guards::NAMES {
        text.push_str(&format!("  {name:<18} {meaning}\n"));
    }
    text.push_str("\nExit codes: 0 done, 1 with --check: something is to be done, 2 usage, 3 refused.");
    text
}

pub(super) fn run(global: &Global, args: &PlanArgs) -> Result<Answer> {
    let request = args.goal.request()?;
    if let Some(path) = &args.output {
        output::check_free(path, true)?;
    }
    let snap = global.snapshot(Needs::PLAN)?;
    let goal = request.resolve(&snap.pci)?;
    let plan = plan::make(&snap, &goal);
    if let Some(path) = args.output.as_ref().filter(|_| plan.refused.is_empty()) {
        output::write(path, report::plan::json(&plan).as_bytes(), 0o644, true)?;
    }
    let text = if global.json {
        report::plan::json(&plan)
    } else {
        let arguments = format!("{}{}", global.host_options(), args.goal.typed());
        let file = args.output.as_ref().map(|path| quoted(&path.display().to_string()));
        let style = global.style();
        let (verbose, file) = (global.verbose, file.as_deref());
        // In a pipe the diff is for patch.
        let whole = verbose || style.width.is_none();
        report::plan::text(&style, &snap, &plan, &report::plan::Next { arguments: &arguments, file, verbose, whole })
    };
    if !plan.refused.is_empty() {
        let mut guards: Vec<&str> = plan.refused.iter().map(|refusal| refusal.guard).collect();
        guards.dedup();
        console::stderr(&format!("vfioneer: refused ({}): nothing was changed\n", guards.join(", ")));
    }
    let code = match () {
        () if !plan.refused.is_empty() => REFUSED,
        () if args.check && !plan.is_empty() => 1,
        () => 0,
    };
    Ok(Answer { text, code })
}

impl GoalArgs {
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
        guards::check_names(&request.allow)?;
        if request.devices.is_empty() && !request.repair && !request.iommu_pt && request.serial_console.is_none() {
            return Err(Error::usage("no device is named, so there is nothing to plan")
                .hint("name one: `vfioneer plan 01:00` (`vfioneer list` shows them)")
                .hint("or repair today's configuration: `vfioneer plan --repair`"));
        }
        Ok(request)
    }

    /// The same arguments again, for a command to type.
    fn typed(&self) -> String {
        let mut words: Vec<String> = self.device.iter().map(|device| quoted(device)).collect();
        let mut flag = |name: &str, on: bool| words.extend(on.then(|| format!("--{name}")));
        flag("only", self.only);
        flag("iommu-pt", self.iommu_pt);
        flag("repair", self.repair);
        let mut option = |name: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("--{name} {}", quoted(&value))));
        };
        option("goal", self.goal.as_ref().map(|path| path.display().to_string()));
        option("method", self.method.clone());
        option("allow", (!self.allow.is_empty()).then(|| self.allow.join(",")));
        option("serial-console", self.serial_console.clone());
        option("vm", self.vm.clone());
        words.join(" ")
    }
}
