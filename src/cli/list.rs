//! `vfioneer list`: what is there.

use super::{Answer, Global};
use crate::error::Result;
use crate::facts::Needs;
use crate::facts::pci::Function;
use crate::goal;
use crate::report::{self, Style};
use clap::Args;

/// Arguments of `list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// Only these devices, with everything that is known of each
    device: Vec<String>,
    /// Every function, bridges and chipset parts too
    #[arg(long, conflicts_with = "usb")]
    all: bool,
    /// Below the bridges that lead to them
    #[arg(long, conflicts_with = "usb")]
    tree: bool,
    /// Which controller holds which USB ports and devices (keyboard, mouse)
    #[arg(long, conflicts_with = "device")]
    usb: bool,
}

pub(super) fn run(global: &Global, args: &ListArgs) -> Result<Answer> {
    let details = !args.device.is_empty() && !args.tree;
    let needs = Needs {
        pci_details: details,
        candidates: details,
        kernel: details,
        usage: details,
        vms: details,
        usb: args.usb,
        ..Needs::LIST
    };
    let snap = global.snapshot(needs)?;
    if snap.pci.functions.is_empty() && args.device.is_empty() && !args.usb && !global.json {
        return Ok(Answer::yes(format!("No PCI functions: {}\n", snap.pci.why_none())));
    }
    let mut functions: Vec<&Function> = Vec::new();
    if args.device.is_empty() {
        functions.extend(snap.pci.functions.iter().filter(|f| args.all || f.is_candidate()));
    } else {
        for selector in &args.device {
            functions.extend(goal::select(selector, &snap.pci)?);
        }
        functions.sort_by_key(|f| f.address);
        functions.dedup_by_key(|f| f.address);
    }
    let style = Style::table();
    let text = match (global.json, args.usb, args.tree) {
        (true, true, _) => report::json::usb(&snap),
        (true, false, _) => report::json::list(&snap, &functions),
        (false, true, _) => report::tree::usb(&style, &snap),
        (false, false, true) => report::tree::pci(&style, &snap, &functions),
        (false, false, false) if details => {
            functions.iter().map(|f| report::detail::function(&style, &snap, f)).collect::<Vec<_>>().join("\n")
        }
        (false, false, false) if functions.is_empty() => {
            "No device of a kind that people give to VMs. `vfioneer list --all` shows every function.\n".to_owned()
        }
        (false, false, false) => report::list::table(&style, &snap, &functions),
    };
    Ok(Answer::yes(if global.json { text } else { report::at_host(&text, &global.host_options()) }))
}
