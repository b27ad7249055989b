//! What is handed over and what came of it, as text and as JSON.

use super::plan::refusals;
use super::{Short, Style, name_within, plain};
use crate::facts::Snapshot;
use crate::live::hand_over::{Move, Way};
use crate::parse::address::Address;
use crate::plan::HandOver;
use serde_json::json;
use std::time::Duration;

/// What will be done: each function with its name, and where it goes; `before` are the moves that come first.
pub fn preview(
    style: &Style,
    snap: &Snapshot,
    found: &HandOver,
    before: &[String],
    to: &dyn Fn(&Address) -> String,
) -> String {
    let short = Short::of(&snap.pci);
    let mut text = String::new();
    for line in before {
        text.push_str(&format!("  {}\n", plain(line)));
    }
    for (address, _) in &found.functions {
        let Some(function) = snap.pci.get(address) else { continue };
        let from = function.driver.known().map_or("no driver", String::as_str);
        let way = format!("{from} -> {}", to(address));
        let address = short.show(address);
        let room = style.text_width().saturating_sub(address.len() + way.len() + 6);
        text.push_str(&format!("  {}  {way}  {}\n", style.strong(&address), name_within(function, room)));
    }
    text
}

/// Why nothing is done.
pub fn refused(style: &Style, found: &HandOver) -> String {
    format!("{}: nothing was changed, for these reasons.\n{}", style.error("refused"), refusals(style, &found.refused))
}

/// The refusal as JSON.
pub fn refused_json(verb: &str, found: &HandOver) -> String {
    document(&json!({
        "schema": format!("vfioneer/{verb}/1"), "done": false, "functions": [], "refused": found.refused,
    }))
}

/// What was done and how long it took; `returned`: and undone again.
pub fn done(style: &Style, moves: &[(Way, Move)], took: Duration, returned: bool, next: &str) -> String {
    if moves.is_empty() {
        return "Nothing to do: every function is there already.\n".to_owned();
    }
    let mut text = String::new();
    for (way, one) in moves {
        text.push_str(&format!("  {}\n", plain(&one.told(*way))));
    }
    let word = if returned { "Handed over and taken back" } else { "Done" };
    text.push_str(&format!("{} in {:.2} s.", style.strong(word), took.as_secs_f64()));
    text.push_str(&if next.is_empty() { "\n".to_owned() } else { format!(" Next: {next}\n") });
    text
}

/// The same as JSON. `ready`: functions that were there already.
pub fn done_json(verb: &str, moves: &[(Way, Move)], ready: &[Address], took: Duration, returned: bool) -> String {
    let functions: Vec<_> = moves
        .iter()
        .filter_map(|(way, one)| {
            let ([from, to], address) = (one.drivers(*way), one.address()?);
            Some(json!({ "address": address, "from": from, "to": to }))
        })
        .collect();
    let besides = moves.iter().filter(|(_, one)| one.address().is_none());
    let besides: Vec<String> = besides.map(|(way, one)| one.told(*way)).collect();
    document(&json!({
        "schema": format!("vfioneer/{verb}/1"),
        "done": true,
        "functions": functions,
        "besides": besides,
        "ready": ready,
        "returned": returned,
        "milliseconds": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "refused": [],
    }))
}

fn document(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
