//! `vfioneer bind` and `vfioneer unbind`: functions go to vfio now, and come back, without a reboot.

use super::change::{self, consent, settle};
use super::{Answer, Global, quoted};
use crate::error::Result;
use crate::facts::pci::Function;
use crate::goal::Request;
use crate::host::{Caller, HostMut, Interrupt, console};
use crate::live::hand_over::{Desk, Event, Move, NEEDS, Stops, Way, holders, manager};
use crate::parse::address::Address;
use crate::plan::{self, HandOver, guards};
use crate::report::{self, Style, plain};
use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The exit code where a guard refuses.
const REFUSED: u8 = 3;
/// Between two looks at whether a rehearsal is to end.
const TICK: Duration = Duration::from_millis(100);

/// Arguments of `bind`.
#[derive(Args, Debug)]
#[command(
    after_help = "Until the next boot, or `vfioneer unbind`. To have it at every boot: `vfioneer apply DEVICE`.\n\
    The guards are those of `vfioneer plan --help`.\n\n\
    Exit codes: 0 done or nothing to do, 2 usage, 3 refused and nothing changed,\n\
    4 failed and taken back, 5 a person is needed."
)]
pub struct BindArgs {
    /// The functions: an address, a slot, an id, part of a name
    #[arg(required = true)]
    device: Vec<String>,
    /// Only the named functions, not all of a GPU's slot
    #[arg(long)]
    only: bool,
    /// Do it in spite of these guards, separated by commas
    #[arg(long, value_name = "GUARD", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    allow: Vec<String>,
    /// Give the functions back by itself after so many seconds, or when interrupted
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    rehearse: Option<u64>,
    /// Stop the display manager first; it is started again when the functions come back
    #[arg(long)]
    stop_display_manager: bool,
    /// End the processes that have the functions open
    #[arg(long)]
    kill: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Arguments of `unbind`.
#[derive(Args, Debug)]
#[command(
    after_help = "To the driver from which `bind` took each, or, where nobody knows that, to the one that the kernel\n\
    has for it. What is claimed at every boot is claimed again at the next one: `vfioneer rollback` ends that.\n\n\
    Exit codes: 0 done or nothing to do, 2 usage, 3 refused and nothing changed,\n\
    4 failed and taken back, 5 a person is needed."
)]
pub struct UnbindArgs {
    /// The functions: an address, a slot, an id, part of a name
    #[arg(required = true)]
    device: Vec<String>,
    /// Only the named functions, not all of a GPU's slot
    #[arg(long)]
    only: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) fn bind(global: &Global, args: &BindArgs) -> Result<Answer> {
    let request = Request {
        devices: args.device.clone(),
        only: args.only,
        allow: args.allow.iter().cloned().collect(),
        ..Request::default()
    };
    guards::check_names(&request.allow)?;
    let host = change::host(global)?.heeding(Interrupt::watch());
    settle(&host)?;
    let snap = global.snapshot(NEEDS)?;
    let goal = request.resolve(&snap.pci)?;
    let manager = args.stop_display_manager.then(|| manager(&host)).flatten();
    let stops = Stops { manager, displays: args.stop_display_manager, kill: args.kill };
    let found = plan::hand_over(&snap, &stops.excuse(&snap, &goal));
    if !found.refused.is_empty() {
        return refused(global, "bind", &found);
    }
    if args.stop_display_manager && manager.is_none() {
        console::stderr("vfioneer: no display manager runs here (display-manager.service)\n");
    }
    if !found.functions.is_empty() && !args.yes {
        let mut before: Vec<String> = stops.service().iter().map(|one| one.told(Way::There)).collect();
        let ended = holders(&snap.usage, &addresses(&found));
        before.extend(
            ended.values().filter(|_| args.kill).map(|name| format!("{name} is ended if it still has it then")),
        );
        let to = |address: &Address| {
            found.functions.iter().find(|(of, _)| of == address).map(|(_, driver)| driver.clone()).unwrap_or_default()
        };
        console::stderr("Handed over now, until the next boot:\n");
        console::stderr(&report::hand_over::preview(&Style::stderr(), &snap, &found, &before, &to));
        consent(false, "Do this?")?;
    }
    let began = Instant::now();
    if found.functions.is_empty() {
        return Ok(answer(global, "bind", &[], &found.ready, began, false, ""));
    }
    let desk = Desk::open(&host, &Caller::new())?;
    let look = || global.snapshot(NEEDS);
    let moves = desk.take(&look, &snap, &goal, &found, stops, &mut |event| tell(global, event))?;
    drop(desk);
    let moves: Vec<(Way, Move)> = moves.into_iter().map(|one| (Way::There, one)).collect();
    let names = typed(&args.device, args.only);
    let Some(seconds) = args.rehearse else {
        return Ok(answer(global, "bind", &moves, &found.ready, began, false, &format!("vfioneer unbind {names}")));
    };
    console::stderr(&format!("Handed over; given back in {seconds} s, or at Ctrl-C.\n"));
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until && !host.interrupt().asked() {
        sleep(TICK);
    }
    let functions: Vec<&Function> = found.functions.iter().filter_map(|(address, _)| snap.pci.get(address)).collect();
    // The kernel would wait for a VM that was started meanwhile, and so is the end of that.
    let mut told = false;
    loop {
        let now = global.snapshot(NEEDS)?;
        let Some(held) = plan::give_back(&now, &goal).refused.into_iter().next() else { break };
        if !std::mem::replace(&mut told, true) {
            console::stderr(&format!("Given back once that has ended: {}\n", plain(&held.reason)));
        }
        sleep(Duration::from_secs(1));
    }
    Desk::open(&host.heeding(Interrupt::default()), &Caller::new())?
        .give_back(&functions, &mut |event| tell(global, event))?;
    Ok(answer(global, "bind", &moves, &found.ready, began, true, ""))
}

pub(super) fn unbind(global: &Global, args: &UnbindArgs) -> Result<Answer> {
    let request = Request { devices: args.device.clone(), only: args.only, ..Request::default() };
    let host = change::host(global)?.heeding(Interrupt::watch());
    settle(&host)?;
    let snap = global.snapshot(NEEDS)?;
    let goal = request.resolve(&snap.pci)?;
    let found = plan::give_back(&snap, &goal);
    if !found.refused.is_empty() {
        return refused(global, "unbind", &found);
    }
    if !found.functions.is_empty() && !args.yes {
        console::stderr("Given back to the host now:\n");
        let to = |_: &Address| "its own driver".to_owned();
        console::stderr(&report::hand_over::preview(&Style::stderr(), &snap, &found, &[], &to));
        consent(false, "Do this?")?;
    }
    let began = Instant::now();
    let functions: Vec<&Function> = goal.devices.iter().filter_map(|address| snap.pci.get(address)).collect();
    let done = Desk::open(&host, &Caller::new())?.give_back(&functions, &mut |event| tell(global, event))?;
    Ok(answer(global, "unbind", &done, &found.ready, began, false, ""))
}

fn addresses(found: &HandOver) -> Vec<Address> {
    found.functions.iter().map(|(address, _)| *address).collect()
}

fn tell(global: &Global, event: Event<'_>) {
    match event {
        Event::Move(way, one) if global.verbose => console::stderr(&format!("{}\n", plain(&one.told(way)))),
        Event::Move(..) | Event::Recovering => {}
    }
}

fn refused(global: &Global, verb: &str, found: &HandOver) -> Result<Answer> {
    let text = match global.json {
        true => report::hand_over::refused_json(verb, found),
        false => report::hand_over::refused(&global.style(), found),
    };
    console::stderr("vfioneer: refused: nothing was changed\n");
    Ok(Answer { text, code: REFUSED })
}

fn answer(
    global: &Global,
    verb: &str,
    moves: &[(Way, Move)],
    ready: &[Address],
    began: Instant,
    returned: bool,
    next: &str,
) -> Answer {
    let took = began.elapsed();
    Answer::yes(match global.json {
        true => report::hand_over::done_json(verb, moves, ready, took, returned),
        false => report::hand_over::done(&global.style(), moves, took, returned, next),
    })
}

/// The same devices again, for a command to type.
fn typed(devices: &[String], only: bool) -> String {
    let mut words: Vec<String> = devices.iter().map(|device| quoted(device)).collect();
    words.extend(only.then(|| "--only".to_owned()));
    words.join(" ")
}
