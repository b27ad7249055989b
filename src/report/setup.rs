//! What `setup` says of the parts between the plans, as text and as JSON.

use super::{Style, wrap};
use crate::plan::Plan;
use serde_json::json;

/// What follows the plan that is asked about. `last`: the plan for the VM as it would be now.
pub fn then(style: &Style, plan: &Plan, vm: Option<&str>, last: Option<&Plan>, reboots: bool) -> String {
    let mut text = String::new();
    let mut part = |sentence: &str| {
        text.push_str(&wrap(sentence, 2, style.text_width()));
    };
    match (plan.reboot, reboots) {
        (true, true) => part("The host is rebooted, and it goes on by itself."),
        (true, false) => part("Reboot, and: vfioneer setup --resume"),
        (false, _) => {}
    }
    part("All of it is verified.");
    if let Some(vm) = vm {
        match last.is_some_and(|last| last.steps.is_empty()) {
            true => part(&format!("VM {vm} has the devices in its configuration already.")),
            false => part(&format!("VM {vm} is given the devices.")),
        }
    }
    format!("\n{}\n{text}", style.strong("And then"))
}

/// All is done, in so many transactions.
pub fn done(style: &Style, vm: Option<&str>, parts: usize, options: &str) -> String {
    let what = match vm {
        Some(vm) => format!("VM {vm} has the devices at its next start."),
        None => "The devices are ready for a VM.".to_owned(),
    };
    let undo = match parts {
        0 => String::new(),
        1 => format!("To undo it: vfioneer {options}rollback\n"),
        _ => format!(
            "To undo it: vfioneer {options}rollback, {parts} times: one part after the other, the last one first\n"
        ),
    };
    format!("{} {what}\n{undo}", style.good("Done."))
}

/// It goes on after the reboot.
pub fn reboot(style: &Style, by_itself: bool, options: &str) -> String {
    match by_itself {
        true => format!("{} The host reboots, and it goes on by itself.\n", style.good("Applied.")),
        false => format!("{} Next: reboot, then vfioneer {options}setup --resume\n", style.good("Applied.")),
    }
}

/// What was applied is not true.
pub fn not_true(options: &str) -> String {
    format!(
        "Not all of it is true, so the VM was given nothing. Once the cause is removed: vfioneer {options}setup --resume\n\
         To undo it: vfioneer {options}rollback\n"
    )
}

/// `setup --json`: `vfioneer/setup/1`.
pub fn json(done: bool, reboot: bool, vm: Option<&str>, transactions: &[u32]) -> String {
    let document =
        json!({ "schema": "vfioneer/setup/1", "done": done, "reboot": reboot, "vm": vm, "transactions": transactions });
    format!("{document:#}\n")
}
