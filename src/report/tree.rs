//! `list --tree`: functions below the bridges that lead to them; `list --usb`: USB devices below controllers.

use super::{Short, Style, cut, name_and_parts, plain};
use crate::facts::Snapshot;
use crate::facts::pci::{Function, Pci};
use crate::parse::address::Address;
use std::collections::{BTreeMap, BTreeSet};
use unicode_width::UnicodeWidthStr;

/// The chosen functions and all bridges above them.
pub fn pci(style: &Style, snap: &Snapshot, functions: &[&Function]) -> String {
    let mut shown: BTreeSet<Address> = BTreeSet::new();
    for function in functions {
        shown.insert(function.address);
        shown.extend(snap.pci.path_up(&function.address).iter().map(|bridge| bridge.address));
    }
    let mut children: BTreeMap<Option<Address>, Vec<&Function>> = BTreeMap::new();
    for function in snap.pci.functions.iter().filter(|f| shown.contains(&f.address)) {
        let parent = function.parent.known().copied().filter(|parent| shown.contains(parent));
        children.entry(parent).or_default().push(function);
    }
    let mut text = String::new();
    branch(style, &snap.pci, &children, None, "", &mut text);
    text
}

fn branch(
    style: &Style,
    pci: &Pci,
    children: &BTreeMap<Option<Address>, Vec<&Function>>,
    parent: Option<Address>,
    margin: &str,
    text: &mut String,
) {
    // Depth is bounded by the bus numbers; a cycle in a broken recording must end too.
    if margin.len() > 3 * 256 {
        return;
    }
    let below = children.get(&parent).map_or(&[][..], Vec::as_slice);
    for (number, function) in below.iter().enumerate() {
        let last = number + 1 == below.len();
        let (turn, straight) = match (parent, last) {
            (None, _) => ("", ""),
            (_, false) => ("├─ ", "│  "),
            (_, true) => ("└─ ", "   "),
        };
        let driver = function.driver.known().map_or_else(String::new, |driver| format!(" ({})", plain(driver)));
        let group = function.group.known().map_or_else(String::new, |group| format!(" [group {group}]"));
        let address = Short::of(pci).show(&function.address);
        let around = margin.width() + turn.width() + address.width() + 1 + driver.width() + group.width();
        // The name gives way, so that driver and group are seen.
        let room = style.width.map_or(usize::MAX, |columns| columns.saturating_sub(around).max(12));
        let line = format!("{margin}{turn}{address} {}{driver}{group}", name_and_parts(function, room));
        text.push_str(&style.width.map_or(line.clone(), |columns| cut(&line, columns)));
        text.push('\n');
        branch(style, pci, children, Some(function.address), &format!("{margin}{straight}"), text);
    }
}

/// Which controller holds which USB devices.
pub fn usb(style: &Style, snap: &Snapshot) -> String {
    let Some(devices) = snap.usb.known() else {
        let why = snap.usb.why().map_or_else(|| "this host has none".to_owned(), ToString::to_string);
        return format!("USB devices are not known: {why}\n");
    };
    let short = Short::of(&snap.pci);
    let controllers = snap.pci.functions.iter().filter(|f| f.base_class() == Some(0x0c03));
    let mut text = String::new();
    for controller in controllers {
        let group = controller.group.known().map_or_else(String::new, |group| format!(" [group {group}]"));
        text.push_str(&format!(
            "{} {}{group}\n",
            style.strong(&short.show(&controller.address)),
            plain(&controller.name())
        ));
        let mut any = false;
        for device in devices.iter().filter(|d| d.controller == controller.address && !d.port.starts_with("usb")) {
            any = true;
            let line =
                format!("  {:<8} {}  {}  {}", device.port, device.ids, plain(&device.name), device.kinds.join(", "));
            text.push_str(style.width.map_or(line.clone(), |columns| cut(&line, columns)).trim_end());
            text.push('\n');
        }
        if !any {
            text.push_str("  nothing plugged in\n");
        }
    }
    if text.is_empty() { "This host has no USB controllers on PCI.\n".to_owned() } else { text }
}
