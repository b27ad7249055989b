//! What became of a reset, as text and as JSON.

use super::{Style, plain, wrap};
use crate::live::reset::Outcome;
use crate::parse::address::Address;
use crate::plan::reset::Ladder;
use serde_json::{Value, json};
use std::time::Duration;

/// One slot: its ladder and what came of it.
pub type Climbed = (Ladder, Outcome);

/// All slots.
pub fn text(style: &Style, all: &[Climbed]) -> String {
    let mut text = String::new();
    for (ladder, outcome) in all {
        let name = ladder.functions.first().map(ToString::to_string).unwrap_or_default();
        for attempt in &outcome.attempts {
            let said = attempt.failed.as_deref().unwrap_or("the device is well");
            let line = format!("{name}  {}  {}: {}", attempt.rung, seconds(attempt.took), plain(said));
            text.push_str(&wrap(&line, 2, style.text_width()));
        }
        match outcome.worked() {
            Some(attempt) => {
                text.push_str(&format!("{} by {}: {name}\n", style.good("Reset"), attempt.rung));
            }
            None => {
                text.push_str(&format!("{}: {name}\n", style.error("No reset brought it back")));
                for (rung, why) in &ladder.left_out {
                    text.push_str(&wrap(&format!("- {rung} was not tried: {}", plain(why)), 2, style.text_width()));
                }
                for line in &ladder.advice {
                    text.push_str(&wrap(&format!("- {}", plain(line)), 2, style.text_width()));
                }
            }
        }
    }
    text
}

fn seconds(took: Duration) -> String {
    format!("{:.3} s", took.as_secs_f64())
}

/// Whether functions are well as they are; `why` not.
pub fn check(why: Option<&str>) -> String {
    format!("{}\n", plain(why.unwrap_or("Every function answers, is awake and has its addresses.")))
}

/// The same as JSON: `vfioneer/reset-check/1`.
pub fn check_json(functions: &[Address], why: Option<&str>) -> String {
    let answer =
        json!({ "schema": "vfioneer/reset-check/1", "functions": functions, "well": why.is_none(), "why": why });
    format!("{answer:#}\n")
}

/// The same as JSON: `vfioneer/reset/1`.
pub fn json(all: &[Climbed]) -> String {
    let devices: Vec<Value> = all.iter().map(device).collect();
    let done = all.iter().all(|(_, outcome)| outcome.worked().is_some());
    format!("{:#}\n", json!({ "schema": "vfioneer/reset/1", "done": done, "devices": devices }))
}

fn device((ladder, outcome): &Climbed) -> Value {
    let milliseconds = |took: Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let attempts: Vec<Value> = outcome
        .attempts
        .iter()
        .map(|one| {
            json!({
                "rung": one.rung,
                "worked": one.failed.is_none(),
                "why": one.failed,
                "milliseconds": milliseconds(one.took),
            })
        })
        .collect();
    let left: Vec<Value> = ladder.left_out.iter().map(|(rung, why)| json!({ "rung": rung, "why": why })).collect();
    json!({
        "functions": ladder.functions,
        "rung": outcome.worked().map(|attempt| &attempt.rung),
        "attempts": attempts,
        "left_out": left,
        "advice": if outcome.worked().is_some() { &[][..] } else { ladder.advice.as_slice() },
    })
}
