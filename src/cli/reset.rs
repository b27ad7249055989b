//! `vfioneer reset DEVICE`: a device is reset by what it offers, and proven to be well.

use super::change::{self, consent};
use super::{Answer, Global};
use crate::error::{Error, Result};
use crate::facts::Needs;
use crate::facts::pci::Function;
use crate::goal::Goal;
use crate::host::{Caller, Interrupt, console};
use crate::live::hand_over::{Desk, NEEDS};
use crate::live::reset::{self as live, Outcome};
use crate::live::vm::given::Book;
use crate::parse::address::Address;
use crate::plan::reset::{Ladder, ladder};
use crate::report::reset as report;
use clap::Args;

/// Arguments of `reset`.
#[derive(Args, Debug)]
#[command(
    after_help = "The ways, in this order: those that the kernel lists for the function (device_specific, acpi, flr,\n\
    af_flr, pm, bus, cxl_bus), vfio's reset of the whole slot (hot), the bridge's (subordinate), and\n\
    taking the functions out of the kernel's list and looking for them again (rescan). The first one\n\
    after which the device answers, is awake and has its addresses ends it.\n\n\
    Exit codes: 0 the device is well, 1 no way brought it back, 2 usage, 3 refused\n\
    and nothing done, 5 a person is needed."
)]
pub struct ResetArgs {
    /// Devices; a GPU stands for all functions of its slot
    #[arg(required = true)]
    device: Vec<String>,
    /// Only the named functions, not all of a GPU's slot
    #[arg(long)]
    only: bool,
    /// Only this way
    #[arg(long, value_name = "WAY")]
    method: Option<String>,
    /// Do it although a driver of the host has the device
    #[arg(long, value_name = "GUARD", value_parser = ["in-use"])]
    allow: Option<String>,
    /// Only say whether the device is well as it is
    #[arg(long, conflicts_with_all = ["method", "allow"])]
    check: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Be the process that asks vfio, for the function at this full address
    #[arg(long, hide = true)]
    inside: bool,
}

pub(super) fn run(global: &Global, args: &ResetArgs) -> Result<Answer> {
    if args.inside {
        return inside(global, args);
    }
    let host = change::host(global)?.heeding(Interrupt::watch());
    change::settle(&host)?;
    if args.check {
        let goal = Goal::resolve(&args.device, args.only, &global.snapshot(Needs::LIST)?.pci)?;
        let why = live::prove(&Desk::open(&host, &Caller::new())?, &goal.devices)?.err();
        let text =
            if global.json { report::check_json(&goal.devices, why.as_deref()) } else { report::check(why.as_deref()) };
        return Ok(Answer { text, code: u8::from(why.is_some()) });
    }
    if !args.yes {
        for found in ladders(global, args)? {
            let names: Vec<&str> = found.rungs.iter().map(|rung| rung.name()).collect();
            let functions: Vec<String> = found.functions.iter().map(ToString::to_string).collect();
            console::stderr(&format!("Reset {}: {}\n", functions.join(" "), names.join(", then ")));
        }
        consent(false, "Do this?")?;
    }
    // Not while somebody is asked: VMs that start wait for it.
    let desk = Desk::open(&host, &Caller::new())?;
    let ladders = ladders(global, args)?;
    let mut all: Vec<(Ladder, Outcome)> = Vec::new();
    for found in ladders {
        let outcome = live::climb(&desk, &found, &mut |rung| {
            if global.verbose {
                console::stderr(&format!("{rung} …\n"));
            }
        })?;
        if outcome.worked().is_some() {
            Book::load(&host)?.judge(&host, &found.functions, None)?;
        }
        all.push((found, outcome));
    }
    drop(desk);
    let code = u8::from(!all.iter().all(|(_, outcome)| outcome.worked().is_some()));
    let text = if global.json { report::json(&all) } else { report::text(&global.style(), &all) };
    Ok(Answer { text, code })
}

/// What there is to try for each slot, as the host is now.
fn ladders(global: &Global, args: &ResetArgs) -> Result<Vec<Ladder>> {
    let snap = global.snapshot(NEEDS)?;
    let goal = Goal::resolve(&args.device, args.only, &snap.pci)?;
    let mut ladders = Vec::new();
    for slot in live::slots(&goal.devices) {
        let functions: Vec<&Function> = slot.iter().filter_map(|address| snap.pci.get(address)).collect();
        let found = ladder(&snap, &functions, args.allow.is_some(), args.method.as_deref()).map_err(Error::refused)?;
        ladders.push(only(found, args.method.as_deref())?);
    }
    Ok(ladders)
}

/// The ladder with the one rung that is asked for.
fn only(mut found: Ladder, method: Option<&str>) -> Result<Ladder> {
    let name = found.functions.first().map(ToString::to_string).unwrap_or_default();
    let there: Vec<String> = found.rungs.iter().map(|rung| rung.name().to_owned()).collect();
    if let Some(method) = method {
        found.rungs.retain(|rung| rung.name() == method);
    }
    if !found.rungs.is_empty() {
        return Ok(found);
    }
    let what = method.map_or_else(|| "no way to reset it".to_owned(), |method| format!("no way called {method}"));
    let error = Error::refused(format!("{name} has {what}"));
    let why = found.left_out.iter().map(|(rung, why)| format!("{rung}: {why}"));
    let error = why.fold(error, Error::hint);
    Err(if there.is_empty() { error } else { error.hint(format!("it has {}", there.join(", "))) })
}

/// The process that has the groups open while the kernel resets.
fn inside(global: &Global, args: &ResetArgs) -> Result<Answer> {
    let [address] = args.device.as_slice() else { return Err(Error::usage("one function is reset inside")) };
    let address = Address::parse(address).ok_or_else(|| Error::usage("a full address is needed inside"))?;
    let snap = global.snapshot(Needs::LIST)?;
    live::hot::reset(&snap.pci, &address)?;
    Ok(Answer::yes(String::new()))
}
