//! `vfioneer history [ID]`: who changed what on this host, when, and how it ended; and what was done when VMs started and ended.

use super::{Answer, Global};
use crate::apply::history;
use crate::error::{Error, Result};
use crate::host::console;
use crate::live::vm::runs;
use crate::report;
use clap::Args;

/// Arguments of `history`.
#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// Show the steps of this transaction, their results and what their commands printed
    #[arg(value_parser = super::transaction)]
    id: Option<u32>,
    /// Show what was done when this VM started and ended: time, phase, duration, resets, devices
    #[arg(long, value_name = "VM", conflicts_with = "id")]
    vm: Option<String>,
}

pub(super) fn run(global: &Global, args: &HistoryArgs) -> Result<Answer> {
    global.has_history()?;
    let host = global.host()?;
    let runs = || {
        runs::all(host.as_ref(), &mut |path, why| console::stderr(&format!("vfioneer: cannot read {path}: {why}\n")))
    };
    if let Some(vm) = &args.vm {
        let mut runs = runs()?;
        runs.retain(|run| run.vm.name == *vm);
        return Ok(Answer::yes(match global.json {
            true => report::transaction::history_json(&[], &runs),
            false if runs.is_empty() => "Nothing is on record of this VM.\n".to_owned(),
            false => report::runs::list(&global.style(), &runs),
        }));
    }
    let entries = history::all(host.as_ref())?;
    let Some(id) = args.id else {
        let runs = runs()?;
        return Ok(Answer::yes(match global.json {
            true => report::transaction::history_json(&entries, &runs),
            false => {
                report::transaction::history(&global.style(), &entries) + &report::runs::last(&global.style(), &runs)
            }
        }));
    };
    let Some(entry) = entries.into_iter().find(|entry| entry.id == id) else {
        return Err(
            Error::usage(format!("there is no transaction {id}")).hint("`vfioneer history` shows what there is")
        );
    };
    let transaction = entry
        .transaction
        .map_err(|what| Error::refused(format!("the record of transaction {id} cannot be used: {what}")))?;
    let outputs = |step| history::outputs(host.as_ref(), &transaction, step);
    Ok(Answer::yes(match global.json {
        true => report::transaction::detail_json(&transaction, &outputs),
        false => report::transaction::detail(&global.style(), &transaction, &outputs),
    }))
}
