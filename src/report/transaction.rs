//! What became of a transaction, and the history of all, as text and as JSON.

use super::plan::what;
use super::{Style, count, cut, plain, wrap};
use crate::apply::history::{Entry, State};
use crate::apply::journal::{Left, Progress};
use crate::apply::store::Transaction;
use crate::apply::{Recovered, RolledBack};
use crate::host::Caller;
use crate::live::vm::runs::Run;
use crate::plan::Plan;
use serde_json::{Value, json};

/// The output of a step's commands: name and text.
pub type Outputs<'a> = &'a dyn Fn(usize) -> Vec<(String, String)>;

/// Nothing is to be done.
pub fn nothing(json: bool) -> String {
    if json {
        return document(
            &json!({ "schema": "vfioneer/apply/1", "transaction": null, "outcome": "nothing-to-do", "reboot": false }),
        );
    }
    "Nothing to do.\n".to_owned()
}

/// Interrupted transactions were undone, and nothing else was done. `next`: the command that rolls back one that is in effect, if one is.
pub fn recovered(style: &Style, all: &[Recovered], next: Option<&str>) -> String {
    let mut text = String::new();
    for one in all {
        if one.rollback {
            text.push_str(&rolled_back(style, &one.done));
            continue;
        }
        text.push_str(&format!("Undone: transaction {}, which was interrupted.\n", one.done.id));
        if one.done.reboot {
            text.push_str("Next: reboot. Until then this host runs as it was started.\n");
        }
    }
    if let Some(next) = next {
        text.push_str(&format!("To roll back the one that is in effect: {next}\n"));
    }
    text
}

/// The same as JSON: `vfioneer/rollback/1`.
pub fn recovered_json(all: &[Recovered]) -> String {
    let outcome = match all.first() {
        _ if all.iter().any(Recovered::is_incomplete) => State::Incomplete,
        Some(first) if first.rollback => State::RolledBack,
        _ => State::Undone,
    };
    let all_left: Vec<Left> = all.iter().flat_map(|one| one.done.left.iter().cloned()).collect();
    document(&json!({
        "schema": "vfioneer/rollback/1",
        "transaction": all.first().map(|one| one.done.id),
        "outcome": outcome.id(),
        "left": left(&all_left),
        "reboot": all.iter().any(|one| one.done.reboot),
    }))
}

/// A plan was applied.
pub fn applied(style: &Style, id: u32, plan: &Plan, options: &str) -> String {
    let steps = count(plan.steps.len(), "step", "steps");
    let next = match plan.reboot {
        true => format!("Next: reboot, then vfioneer {options}verify"),
        false if plan.expect.is_empty() => "No reboot is needed.".to_owned(),
        false => format!("No reboot is needed. Next: vfioneer {options}verify"),
    };
    format!("{} as transaction {id}: {steps}.\n{next}\nTo undo it: vfioneer {options}rollback\n", style.good("Applied"))
}

/// `apply --json`: `vfioneer/apply/1`.
pub fn applied_json(id: u32, plan: &Plan) -> String {
    document(&json!({
        "schema": "vfioneer/apply/1",
        "transaction": id,
        "outcome": "applied",
        "steps": plan.steps.len(),
        "devices": plan.devices,
        "reboot": plan.reboot,
    }))
}

/// What a rollback will undo.
pub fn will_be_undone(style: &Style, transaction: &Transaction) -> String {
    let by = by(transaction.journal.by.as_ref());
    let mut text = format!("{} {}, {by}:\n", style.strong("Transaction"), transaction.id);
    for step in &transaction.plan.steps {
        text.push_str(&format!("  {}\n", plain(&what(&step.action))));
    }
    text.push_str("Files come back as they were; what was generated is generated again.\n");
    text
}

/// A transaction was rolled back.
pub fn rolled_back(style: &Style, done: &RolledBack) -> String {
    let mut text = format!("{} transaction {}.\n", style.good("Rolled back"), done.id);
    for left in &done.left {
        let line = format!("{} {}", left.path, left.reason);
        text.push_str(&format!("  {} {}\n", style.warning("left:"), wrap(&plain(&line), 8, style.text_width()).trim()));
    }
    text.push_str(match done.reboot {
        true => "Next: reboot. Until then this host runs as it was started.\n",
        false => "No reboot is needed.\n",
    });
    text
}

/// `rollback --json`: `vfioneer/rollback/1`.
pub fn rolled_back_json(done: &RolledBack) -> String {
    let outcome = if done.left.iter().any(|left| left.matters) { State::Incomplete } else { State::RolledBack };
    document(&json!({
        "schema": "vfioneer/rollback/1",
        "transaction": done.id,
        "outcome": outcome.id(),
        "left": left(&done.left),
        "reboot": done.reboot,
    }))
}

/// All transactions, one a line.
pub fn history(style: &Style, entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "vfioneer has changed nothing on this host.\n".to_owned();
    }
    let mut text = String::new();
    for entry in entries {
        let line = match &entry.transaction {
            Err(what) => format!("{:>4}  damaged: {what}", entry.id),
            Ok(one) => {
                let devices: Vec<String> = one.plan.devices.iter().map(ToString::to_string).collect();
                let state = State::of(&one.journal).id();
                format!("{:>4}  {:<12} {}  {}", one.id, state, by(one.journal.by.as_ref()), devices.join(" "))
            }
        };
        text.push_str(&cut(&plain(&line), style.width.unwrap_or(200)));
        text.push('\n');
    }
    text
}

/// `history --json`: `vfioneer/history/1`.
pub fn history_json(entries: &[Entry], runs: &[Run]) -> String {
    let one = |entry: &Entry| match &entry.transaction {
        Err(what) => json!({ "id": entry.id, "outcome": "damaged", "damage": what }),
        Ok(transaction) => summary(transaction),
    };
    document(&json!({
        "schema": "vfioneer/history/1",
        "transactions": entries.iter().map(one).collect::<Vec<_>>(),
        "runs": runs.iter().map(super::runs::value).collect::<Vec<_>>(),
    }))
}

/// One transaction with its steps, their results and output.
pub fn detail(style: &Style, transaction: &Transaction, outputs: Outputs<'_>) -> String {
    let journal = &transaction.journal;
    let mut text =
        format!("{} {}: {}\n", style.strong("Transaction"), transaction.id, State::of(journal).id().replace('-', " "));
    text.push_str(&format!("  {}\n", by(journal.by.as_ref())));
    if let Some(caller) = &journal.by {
        text.push_str(&format!("  {}\n", plain(&caller.argv.join(" "))));
    }
    if journal.rollback.is_some() {
        text.push_str(&format!("  rolled back {}\n", by(journal.rollback.as_ref())));
    }
    for (number, step) in transaction.plan.steps.iter().enumerate() {
        let progress = journal.steps.get(&number);
        text.push_str(&format!("\n{:>3}. {}\n", number + 1, plain(&what(&step.action))));
        text.push_str(&format!("     {}\n", result(progress).0));
        for left in progress.and_then(|step| step.undone.as_ref()).into_iter().flatten() {
            text.push_str(&format!("     left: {} {}\n", plain(&left.path), plain(&left.reason)));
        }
        if let Some(why) = progress.and_then(|step| step.failed.as_ref()) {
            text.push_str(&wrap(&plain(why), 5, style.text_width()));
        }
        for (_, output) in outputs(number) {
            text.extend(output.lines().map(|line| format!("     | {}\n", plain(line))));
        }
    }
    text
}

/// `history ID --json`.
pub fn detail_json(transaction: &Transaction, outputs: Outputs<'_>) -> String {
    let step = |(number, step): (usize, &crate::steps::Step)| {
        let progress = transaction.journal.steps.get(&number);
        let output: Vec<Value> =
            outputs(number).iter().map(|(name, text)| json!({ "name": name, "text": text })).collect();
        json!({
            "step": step,
            "result": result(progress).1,
            "failed": progress.and_then(|step| step.failed.as_ref()),
            "left": left(progress.and_then(|step| step.undone.as_deref()).unwrap_or_default()),
            "output": output,
        })
    };
    let mut whole = summary(transaction);
    if let Some(object) = whole.as_object_mut() {
        object.insert("steps".to_owned(), transaction.plan.steps.iter().enumerate().map(step).collect());
    }
    document(&json!({ "schema": "vfioneer/history/1", "transactions": [whole] }))
}

fn summary(transaction: &Transaction) -> Value {
    let journal = &transaction.journal;
    json!({
        "id": transaction.id,
        "outcome": State::of(journal).id(),
        "by": journal.by,
        "rolled_back_by": journal.rollback,
        "devices": transaction.plan.devices,
        "reboot": transaction.plan.reboot,
    })
}

/// What became of a step: for a person, and in JSON.
fn result(progress: Option<&Progress>) -> (&'static str, &'static str) {
    match progress {
        None => ("not begun", "not-begun"),
        Some(step) if step.undone.is_some() => ("undone", "undone"),
        Some(step) if step.failed.is_some() => ("failed", "failed"),
        Some(step) if step.done.is_some() => ("done", "done"),
        Some(step) if step.before.is_some() => ("begun", "begun"),
        Some(_) => ("not begun", "not-begun"),
    }
}

fn left(all: &[Left]) -> Value {
    all.iter().map(|left| json!({ "path": left.path, "reason": left.reason, "matters": left.matters })).collect()
}

/// When, and who.
fn by(caller: Option<&Caller>) -> String {
    let Some(caller) = caller else { return "by an unknown user".to_owned() };
    let unnamed = || if caller.uid == 0 { "root".to_owned() } else { format!("uid {}", caller.uid) };
    let who = caller.user.clone().unwrap_or_else(unnamed);
    format!("{} by {}", plain(&caller.when), plain(&who))
}

fn document(value: &Value) -> String {
    format!("{value:#}\n")
}
