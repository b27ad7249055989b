//! `vfioneer rollback [ID]`: what a transaction changed is brought back.

use super::change::{self, Progress, REBOOT};
use super::{Answer, Global};
use crate::apply::setup::Setup;
use crate::apply::{Recovered, Session, rollback};
use crate::error::{Error, Result};
use crate::host::{Caller, TreeMut, console};
use crate::report::{self, Style};
use clap::Args;

/// Something was left as it is, and a person has to look at it.
const LEFT: u8 = 5;

/// Arguments of `rollback`.
#[derive(Args, Debug)]
#[command(after_help = "An interrupted transaction is undone first; without a number, that is all then.\n\
    With --root, it works from a rescue system, too.\n\n\
    Exit codes: 0 done or nothing to do, 2 usage, 3 refused and nothing changed,\n\
    5 a person is needed, 10 done: reboot.")]
pub struct RollbackArgs {
    /// The transaction, by its number in `vfioneer history`; without it the newest in effect
    id: Option<u32>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) fn run(global: &Global, args: &RollbackArgs) -> Result<Answer> {
    let host = change::host(global)?;
    let mut progress = Progress::new(global);
    let recovered = Session::open(&host, Caller::new())?.recover(&mut |event| progress.tell(event))?;
    if args.id.is_none() && !recovered.is_empty() {
        give_up(&host, |setup| setup.transaction.is_none())?;
        let text = match global.json {
            true => report::transaction::recovered_json(&recovered),
            false => {
                let next =
                    rollback::choose(&host, None)?.map(|_| format!("vfioneer {}rollback", global.host_options()));
                report::transaction::recovered(&global.style(), &recovered, next.as_deref())
            }
        };
        let reboot = recovered.iter().any(|one| one.done.reboot);
        return Ok(Answer { text, code: code(recovered.iter().any(Recovered::is_incomplete), reboot) });
    }
    let Some(transaction) = rollback::choose(&host, args.id)? else {
        give_up(&host, |_| true)?;
        return Ok(Answer::yes(report::transaction::nothing(global.json)));
    };
    if !args.yes {
        console::stderr(&report::transaction::will_be_undone(&Style::stderr(), &transaction));
    }
    change::consent(args.yes, &format!("Roll back transaction {}?", transaction.id))?;
    let session = Session::open(&host, Caller::new())?;
    session.recover(&mut |event| progress.tell(event))?;
    // The locks were not held while somebody read what will be undone.
    let transaction = match rollback::choose(&host, args.id)? {
        Some(now) if now.id == transaction.id => now,
        _ => {
            return Err(
                Error::refused("meanwhile, another transaction is the newest").hint("look again, then try again")
            );
        }
    };
    // What is open would do all of it again.
    let id = transaction.id;
    give_up(&host, |setup| setup.transaction.is_none_or(|claim| claim == id))?;
    let done = session.rollback(transaction, &mut |event| progress.tell(event))?;
    let text = match global.json {
        true => report::transaction::rolled_back_json(&done),
        false => report::transaction::rolled_back(&global.style(), &done),
    };
    Ok(Answer { text, code: code(done.left.iter().any(|left| left.matters), done.reboot) })
}

/// Gives an open setup up, if it is such a one. VMs that it holds back start with the host again when its transaction is undone.
fn give_up(host: &TreeMut, is: impl Fn(&Setup) -> bool) -> Result<()> {
    if Setup::load(host)?.is_some_and(|setup| is(&setup)) {
        Setup::forget(host)?;
        console::stderr("The setup that was open is given up.\n");
    }
    Ok(())
}

fn code(incomplete: bool, reboot: bool) -> u8 {
    match (incomplete, reboot) {
        (true, _) => LEFT,
        (false, true) => REBOOT,
        (false, false) => 0,
    }
}
