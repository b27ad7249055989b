//! Everything about one function, for `list DEVICE`.

use super::{Short, Style, plain, wrap};
use crate::facts::Snapshot;
use crate::facts::pci::{Function, Header};
use crate::host::Fact;

/// A block of labelled lines.
pub fn function(style: &Style, snap: &Snapshot, function: &Function) -> String {
    let short = Short::of(&snap.pci);
    let mut text = format!("{}  {}\n", style.strong(&function.address.to_string()), plain(&function.name()));
    let mut line = |label: &str, value: String| {
        if !value.is_empty() {
            let wrapped = wrap(&plain(&value), 18, style.text_width());
            text.push_str(&format!("  {label:<16}{}", wrapped.trim_start()));
        }
    };
    line("ids", ids(function));
    line("class", function.class.known().map_or_else(String::new, |class| format!("{class:06x}")));
    line("driver", said(&function.driver, "none"));
    line("driver override", function.driver_override.known().cloned().unwrap_or_default());
    line("could use", function.candidates.known().map(|names| names.join(", ")).unwrap_or_default());
    line("IOMMU group", group(snap, function, short));
    line("path", path(snap, function, short));
    line("NUMA node", function.numa_node.known().map(u32::to_string).unwrap_or_default());
    line(
        "reset",
        function.reset_methods.known().map_or_else(|| said(&Fact::<String>::Absent, "no method"), |m| m.join(", ")),
    );
    line("power", said(&function.power_state, ""));
    line("link", link(function));
    line("boot display", boot_display(function));
    line("memory", bars(function));
    line("resizable", resizable(function));
    line("option ROM", said(&function.rom_size.clone().map(size), "none"));
    line("virtual", virtual_functions(function, short));
    line("mdev", function.mdevs.known().map(|ids| ids.join(", ")).unwrap_or_default());
    line("serial number", function.serial.known().cloned().unwrap_or_default());
    for used in snap.usage.of(&function.address) {
        line("in use by", used.by.clone());
    }
    text
}

/// A number of bytes with the largest unit that divides it: `256 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024 && value.is_multiple_of(1024) && unit + 1 < UNITS.len() {
        value /= 1024;
        unit += 1;
    }
    format!("{value} {}", UNITS[unit])
}

fn said<T: ToString>(fact: &Fact<T>, none: &str) -> String {
    match fact {
        Fact::Known(value) => value.to_string(),
        Fact::Absent => none.to_owned(),
        Fact::Unknown(why) => format!("unknown ({why})"),
    }
}

fn ids(function: &Function) -> String {
    let ids = function.ids.known().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    match function.subsystem.known() {
        Some(subsystem) => format!("{ids}, subsystem {subsystem}"),
        None => ids,
    }
}

fn group(snap: &Snapshot, function: &Function, short: Short) -> String {
    let Some(number) = function.group.known() else { return said(&function.group, "none") };
    let others: Vec<String> = snap
        .pci
        .group(*number)
        .filter(|other| other.address != function.address && !other.is_bridge())
        .map(|other| short.show(&other.address))
        .collect();
    let domain = snap.iommu.groups.get(number).and_then(|group| group.domain_type.known());
    let kind = domain.map_or_else(String::new, |kind| format!(" ({kind})"));
    if others.is_empty() { format!("{number}{kind}") } else { format!("{number}{kind}, with {}", others.join(", ")) }
}

fn path(snap: &Snapshot, function: &Function, short: Short) -> String {
    let mut path: Vec<String> =
        snap.pci.path_up(&function.address).iter().rev().map(|f| short.show(&f.address)).collect();
    path.push(short.show(&function.address));
    if path.len() > 1 { path.join(" → ") } else { "root bus".to_owned() }
}

fn link(function: &Function) -> String {
    function.link.known().map_or_else(String::new, |link| {
        format!("x{} of x{}, {} of {}", link.width, link.max_width, link.speed, link.max_speed)
    })
}

fn boot_display(function: &Function) -> String {
    if !function.is_display() {
        return String::new();
    }
    match function.boot_display {
        Fact::Known(true) => "yes".to_owned(),
        Fact::Known(false) | Fact::Absent => "no".to_owned(),
        Fact::Unknown(_) => "unknown".to_owned(),
    }
}

fn bars(function: &Function) -> String {
    let Some(bars) = function.bars.known() else { return String::new() };
    let shown: Vec<String> =
        bars.iter().filter(|bar| bar.index < 6).map(|bar| format!("BAR {} {}", bar.index, size(bar.size))).collect();
    shown.join(", ")
}

fn resizable(function: &Function) -> String {
    let Some(bars) = function.resizable.known() else { return String::new() };
    let shown: Vec<String> = bars
        .iter()
        .map(|bar| {
            let sizes: Vec<String> =
                (0..44).filter(|bit| bar.sizes >> bit & 1 == 1).map(|bit| size((1u64 << 20) << bit)).collect();
            format!("BAR {}: {}", bar.index, sizes.join(", "))
        })
        .collect();
    shown.join("; ")
}

fn virtual_functions(function: &Function, short: Short) -> String {
    if let Some(physical) = function.physical.known() {
        return format!("virtual function of {}", short.show(physical));
    }
    match (function.sriov.known(), function.header.known()) {
        (Some(sriov), header) if header != Some(&Header::Bridge) => {
            format!("SR-IOV, {} of {} virtual functions", sriov.active, sriov.total)
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_in_whole_units() {
        assert_eq!(super::size(0), "0 B");
        assert_eq!(super::size(4096), "4 KiB");
        assert_eq!(super::size(1536), "1536 B");
        assert_eq!(super::size(32 << 30), "32 GiB");
    }
}
