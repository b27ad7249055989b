//! `vfioneer history [ID]`: who changed what on this host, when, and how it ended.

use super::{Answer, Global};
use crate::apply::history;
use crate::error::{Error, Result};
use crate::report;
use clap::Args;

/// Arguments of `history`.
#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// Show the steps of this transaction, their results and what their commands printed
    #[arg(value_parser = super::transaction)]
    id: Option<u32>,
}

pub(super) fn run(global: &Global, args: &HistoryArgs) -> Result<Answer> {
    global.has_history()?;
    let host = global.host()?;
    let entries = history::all(host.as_ref())?;
    let Some(id) = args.id else {
        return Ok(Answer::yes(match global.json {
            true => report::transaction::history_json(&entries),
            false => report::transaction::history(&global.style(), &entries),
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
