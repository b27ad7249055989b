//! What was done when VMs started and ended, as text and as JSON.

use super::{Style, cut, plain, wrap};
use crate::live::vm::runs::Run;
use serde_json::{Value, json};

/// One run that came to its end, for whoever typed it.
pub fn text(style: &Style, run: &Run) -> String {
    let mut text = String::new();
    for line in &run.done {
        text.push_str(&format!("{}\n", plain(line)));
    }
    for (address, rung) in &run.resets {
        text.push_str(&format!("{address}: reset ({rung})\n"));
    }
    let devices: Vec<String> = run.devices.iter().map(ToString::to_string).collect();
    if !devices.is_empty() {
        text.push_str(&format!("{}: {} ({} ms)\n", style.good("well"), devices.join(" "), run.ms));
    }
    text
}

/// The same as JSON: `vfioneer/hook-run/1`.
pub fn json(run: &Run) -> String {
    let mut value = value(run);
    if let Some(object) = value.as_object_mut() {
        object.insert("schema".to_owned(), json!("vfioneer/hook-run/1"));
    }
    format!("{value:#}\n")
}

/// A run in `history --json`.
pub fn value(run: &Run) -> Value {
    let resets = run.resets.iter().map(|(address, rung)| json!({ "device": address, "method": rung }));
    json!({
        "when": run.when,
        "vm": run.vm.name,
        "hypervisor": run.vm.kind,
        "phase": run.phase,
        "devices": run.devices,
        "done": run.done,
        "resets": resets.collect::<Vec<_>>(),
        "ms": run.ms,
        "failed": run.failed,
    })
}

/// The last runs of all VMs; nothing if there were none.
pub fn last(style: &Style, runs: &[Run]) -> String {
    const SHOWN: usize = 10;
    if runs.is_empty() {
        return String::new();
    }
    let from = runs.len().saturating_sub(SHOWN);
    let text = list(style, runs.get(from..).unwrap_or_default());
    let more = if from > 0 { format!("{from} earlier ones: vfioneer history --vm VM\n") } else { String::new() };
    format!("\n{}\n{text}{more}", style.strong("VMs that started and ended"))
}

/// Runs, one a line, and below it why one failed.
pub fn list(style: &Style, runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        let devices: Vec<String> = run.devices.iter().map(ToString::to_string).collect();
        let mut what = run.resets.iter().map(|(_, rung)| format!("reset {rung}")).collect::<Vec<_>>();
        what.push(if run.failed.is_some() { "failed".to_owned() } else { "well".to_owned() });
        let name = if run.vm.name.is_empty() { "-" } else { &run.vm.name };
        let line = format!(
            "{}  {}  {:<7}  {:>6} ms  {}  {}",
            run.when,
            name,
            run.phase.name(),
            run.ms,
            what.join(", "),
            devices.join(" ")
        );
        text.push_str(&cut(&plain(&line), style.width.unwrap_or(200)));
        text.push('\n');
        if let Some(why) = &run.failed {
            text.push_str(&wrap(&plain(why), 4, style.text_width()));
        }
    }
    text
}
