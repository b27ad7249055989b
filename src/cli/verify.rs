//! `vfioneer verify`: is every expectation of a transaction true now, and will it be in the next boot?

use super::{Answer, Global, probe};
use crate::apply::history;
use crate::apply::store::Transaction;
use crate::error::{Error, Result};
use crate::facts::{self, Needs, Snapshot};
use crate::host::{Host, TreeMut, console};
use crate::live::probe::Probe;
use crate::report::at_host;
use crate::report::verify::{self as report, Asked};
use crate::steps::Expectation;
use crate::verify::{self, Applied, Outcome, State};
use clap::Args;

/// The exit code where something cannot be known.
const NOT_KNOWN: u8 = 3;

/// Arguments of `verify`.
#[derive(Args, Debug, Default)]
#[command(after_help = "Exit codes: 0 all of it is true, 1 something is not, 2 usage,\n\
    3 nothing was applied, or something cannot be known (not root).")]
pub struct VerifyArgs {
    /// The transaction, by its number in `vfioneer history`; without it the last one that was applied
    #[arg(value_parser = super::transaction)]
    id: Option<u32>,
    /// Ask only whether what boots next will still do what was applied
    #[arg(long)]
    next_boot: bool,
    /// Open the devices through vfio, too, as `vfioneer probe` does; that resets them
    #[arg(long, conflicts_with = "next_boot")]
    probe: bool,
    /// Print only what is not true, and nothing while vfioneer itself is at work
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<Answer> {
    global.has_history()?;
    let opener = if args.probe { Some(probe::host(global)?) } else { None };
    let host = global.host()?;
    let Some(transaction) = find(host.as_ref(), args)? else { return Ok(Answer::yes(String::new())) };
    let label = host.label();
    let needs = if args.next_boot { Needs::NEXT_BOOT } else { Needs::PLAN };
    let read = || facts::collect(host.as_ref(), needs);
    let snap = if args.quiet { read() } else { console::with_progress(&format!("reading {label}"), read) };
    let mut outcomes: Vec<Outcome> = Vec::new();
    for transaction in with_devices(host.as_ref(), args, &transaction)? {
        let expect = &transaction.plan.expect;
        let mut more = if args.next_boot {
            verify::next_boot(&snap, expect)
        } else {
            let boot_id = transaction.journal.boot_id.as_deref().filter(|_| transaction.plan.reboot);
            verify::running(&snap, &Applied { expect, boot_id })
        };
        if let Some(opener) = &opener {
            more.extend(probed(opener, &snap, expect));
        }
        more.retain(|one| !outcomes.contains(one));
        outcomes.extend(more);
    }
    let asked = Asked { id: transaction.id, next_boot: args.next_boot };
    let text = match global.json {
        true => report::json(asked, &outcomes),
        false => at_host(&report::text(&global.style(), asked, &outcomes, args.quiet), &global.host_options()),
    };
    let code = match () {
        () if report::any(&outcomes, State::Fails) => 1,
        () if report::any(&outcomes, State::Unknown) => NOT_KNOWN,
        () => 0,
    };
    Ok(Answer { text, code })
}

/// Opens each function that is to be on a vfio driver, and is there.
fn probed(host: &TreeMut, snap: &Snapshot, expect: &[Expectation]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for expectation in expect {
        let Expectation::Driver { address, .. } = expectation else { continue };
        let Some(function) = snap.pci.get(address).filter(|function| function.on_vfio()) else { continue };
        let answer = match probe::every(host, snap, function, None) {
            Ok(probes) if probes.iter().all(Probe::is_ready) => verify::Answer::Ready,
            Ok(_) => verify::Answer::NotReady,
            Err(error) => verify::Answer::NotTried(error.message),
        };
        outcomes.push(verify::probed(address, &answer));
    }
    outcomes
}

/// True if it has a device given to vfio; not if it only says so in a VM's configuration.
fn gave_devices(transaction: &Transaction) -> bool {
    let about =
        |expect: &Expectation| matches!(expect, Expectation::Driver { .. } | Expectation::VirtualFunctions { .. });
    transaction.plan.expect.iter().any(about)
}

/// The last transaction, and, if it gave no device to vfio (a VM's configuration, a hook, a repair), those before it down to the one that did: their expectations
/// count as well. The oldest first.
fn with_devices(host: &dyn Host, args: &VerifyArgs, last: &Transaction) -> Result<Vec<Transaction>> {
    let mut chain = vec![last.clone()];
    if args.id.is_some() {
        return Ok(chain);
    }
    let earlier = history::all(host)?.into_iter().rev().filter_map(|entry| entry.transaction.ok());
    for mut one in earlier.filter(|one| one.id < last.id && one.journal.is_in_effect()) {
        if chain.last().is_some_and(gave_devices) {
            break;
        }
        let later: Vec<&Expectation> = chain.iter().flat_map(|later| &later.plan.expect).collect();
        one.plan.expect.retain(|expect| !later.iter().any(|later| expect.yields_to(later)));
        chain.push(one);
    }
    chain.reverse();
    Ok(chain)
}

/// The transaction that is asked about; none for a hook that has nothing to ask.
fn find(host: &dyn Host, args: &VerifyArgs) -> Result<Option<Transaction>> {
    let all = history::all(host)?;
    let read = || all.iter().filter_map(|entry| entry.transaction.as_ref().ok());
    let open = read().find(|one| one.journal.is_open()).map(|one| one.id);
    let found = match args.id {
        Some(id) => all.iter().find(|entry| entry.id == id),
        // One that cannot be read may be in effect: it is not passed by.
        None => {
            all.iter().rev().find(|entry| entry.transaction.as_ref().map_or(true, |one| one.journal.is_in_effect()))
        }
    };
    if args.quiet && (open.is_some() || found.is_none()) {
        return Ok(None);
    }
    if let Some(id) = open.filter(|id| args.id.is_none_or(|asked| asked == *id)) {
        return Err(Error::refused(format!("transaction {id} is not finished: it is at work, or was interrupted"))
            .hint("wait for it; an interrupted one is undone by the next `vfioneer apply` or `vfioneer rollback`"));
    }
    match (found.map(|entry| &entry.transaction), args.id) {
        (Some(Ok(one)), _) if one.journal.is_in_effect() => Ok(Some(one.clone())),
        (Some(Ok(one)), _) => Err(Error::refused(format!("transaction {} is not in effect: it was undone", one.id))
            .hint("`vfioneer history` shows what was")),
        (Some(Err(what)), _) => Err(Error::refused(format!("the record of a transaction cannot be used: {what}"))
            .hint("`vfioneer history` shows what there is")),
        (None, Some(id)) => {
            Err(Error::usage(format!("there is no transaction {id}")).hint("`vfioneer history` shows what there is"))
        }
        (None, None) => Err(Error::refused("nothing was applied on this host, so there is nothing to verify")
            .hint("`vfioneer plan DEVICE` shows what would be done, `vfioneer check` what is wrong today")),
    }
}
