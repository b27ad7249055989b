//! The story of an IOMMU group, for `explain group N`: its members, the bridges above them with their ACS bits, what
//! joins the members, and where a card would be alone.

use super::{Short, Style, plain, wrap};
use crate::facts::Snapshot;
use crate::facts::isolation::{BridgeStory, Cause, Isolation, group_story};
use crate::facts::pci::{Acs, Function, PortType};
use crate::host::Fact;
use serde_json::{Value, json};

/// The bits of the ACS registers as specifications and `lspci` order them (PCIe Base 7.7.11.2).
const BITS: [(&str, u16); 7] =
    [("SV", 0x01), ("TB", 0x02), ("RR", 0x04), ("CR", 0x08), ("UF", 0x10), ("EC", 0x20), ("DT", 0x40)];

/// The whole story, wrapped to the terminal.
pub fn text(style: &Style, snap: &Snapshot, group: u32) -> String {
    let short = Short::of(&snap.pci);
    let story = group_story(&snap.pci, group);
    let mut text = format!("{}\n", style.strong(&format!("IOMMU group {group}")));
    for function in snap.pci.group(group) {
        member(&mut text, style, &short, function);
    }
    if story.endpoints.len() < 2 {
        text.push_str("\nNothing else shares it: this device can go to a VM alone.\n");
    }
    if !story.bridges.is_empty() {
        text.push_str(&format!("\n{}\n", style.strong("Bridges above, nearest the root first")));
        for bridge in &story.bridges {
            text.push_str(&bridge_line(style, &short, bridge));
        }
        text.push_str(&style.faint("  + on, - off, . not there (counts as on). Needed: SV, RR, CR, UF\n"));
    }
    if story.members.len() > 1 {
        text.push_str(&format!("\n{}\n", style.strong("What joins it")));
        for cause in &story.causes {
            text.push_str(&wrap(&cause_text(&short, cause), 2, style.text_width()));
        }
        if story.incomplete {
            text.push_str("  Not all registers could be read: run it as root to see more.\n");
        } else if story.causes.is_empty() {
            text.push_str("  Nothing in the registers explains it: a quirk of the kernel, or of the firmware.\n");
        }
    }
    if story.endpoints.len() > 1 && !story.free.is_empty() {
        text.push_str(&format!("\n{}\n", style.strong("Root ports where a card would be alone")));
        for port in &story.free {
            let holds: Vec<String> = port.holds.iter().map(|address| short.show(address)).collect();
            let state = if holds.is_empty() { "free".to_owned() } else { format!("holds {}", holds.join(" ")) };
            text.push_str(&wrap(&format!("{}  {state}", short.show(&port.address)), 2, style.text_width()));
        }
    }
    text
}

fn member(text: &mut String, style: &Style, short: &Short, function: &Function) {
    let driver = match &function.driver {
        _ if function.is_bridge() => "a bridge: does not count".to_owned(),
        Fact::Known(driver) => format!("driver {driver}"),
        Fact::Absent => "no driver".to_owned(),
        Fact::Unknown(_) => "driver unknown".to_owned(),
    };
    let address = short.show(&function.address);
    let width = style.width.unwrap_or(usize::MAX);
    let name = super::cut(&plain(&function.name()), width.saturating_sub(address.len() + 4));
    text.push_str(&format!("  {}  {name}\n", style.strong(&address)));
    text.push_str(&format!("  {:pad$}  {}\n", "", style.faint(&plain(&driver)), pad = address.len()));
}

fn bridge_line(style: &Style, short: &Short, bridge: &BridgeStory) -> String {
    let kind = bridge.port_type.known().map_or("bridge", |port| port_name(*port));
    let registers = match &bridge.acs {
        Fact::Known(acs) => bits(*acs),
        Fact::Absent => "no ACS".to_owned(),
        Fact::Unknown(_) => "ACS not readable".to_owned(),
    };
    let verdict = isolation_name(&bridge.isolation);
    let verdict = match &bridge.isolation {
        Isolation::Isolates | Isolation::ByKernel => style.good(verdict),
        Isolation::Unknown(_) => style.warning(verdict),
        _ => style.error(verdict),
    };
    format!("  {}  {kind:15} {registers:27} {verdict}\n", short.show(&bridge.address))
}

fn bits(acs: Acs) -> String {
    let show = |(name, mask): &(&str, u16)| {
        let sign = match (acs.enabled & mask != 0, acs.capable & mask != 0) {
            (true, _) => '+',
            (false, true) => '-',
            (false, false) => '.',
        };
        format!("{name}{sign}")
    };
    BITS.iter().map(show).collect::<Vec<_>>().join(" ")
}

fn port_name(port: PortType) -> &'static str {
    match port {
        PortType::Endpoint | PortType::LegacyEndpoint => "endpoint",
        PortType::RootPort => "root port",
        PortType::Upstream => "upstream port",
        PortType::Downstream => "downstream port",
        PortType::ToPci => "bridge to PCI",
        PortType::FromPci => "bridge from PCI",
        PortType::Integrated => "integrated",
        PortType::EventCollector => "event collector",
    }
}

fn isolation_name(isolation: &Isolation) -> &'static str {
    match isolation {
        Isolation::Isolates => "isolates",
        Isolation::ByKernel => "isolates (kernel)",
        Isolation::NoAcs | Isolation::Off(_) | Isolation::Conventional => "does not isolate",
        Isolation::Unknown(_) => "unknown",
    }
}

fn cause_text(short: &Short, cause: &Cause) -> String {
    let why = |isolation: &Isolation| match isolation {
        Isolation::NoAcs => "it has no ACS".to_owned(),
        Isolation::Off(bits) => {
            let names: Vec<&str> = bits.iter().map(|bit| bit.name).collect();
            format!("{} could be on and is off", names.join(", "))
        }
        Isolation::Conventional => "behind it all devices look like one to the IOMMU".to_owned(),
        Isolation::Isolates | Isolation::ByKernel | Isolation::Unknown(_) => isolation_name(isolation).to_owned(),
    };
    match cause {
        Cause::Bridge(bridge, isolation) => {
            format!("{} does not isolate what is below it: {}.", short.show(bridge), why(isolation))
        }
        Cause::Slot(first, isolation) => {
            format!("The functions of slot {} do not isolate each other: {}.", short.slot(first), why(isolation))
        }
    }
}

/// The same as JSON, `vfioneer/group/1`.
pub fn json(snap: &Snapshot, group: u32) -> String {
    let story = group_story(&snap.pci, group);
    let members: Vec<Value> = snap
        .pci
        .group(group)
        .map(|f| json!({ "address": f.address, "name": f.name(), "driver": f.driver.known(), "bridge": f.is_bridge() }))
        .collect();
    let bridges: Vec<Value> = story
        .bridges
        .iter()
        .map(|bridge| {
            let acs =
                bridge.acs.known().map(|acs| json!({ "capable": names(acs.capable), "enabled": names(acs.enabled) }));
            json!({
                "address": bridge.address, "port": bridge.port_type.known().map(|port| port_name(*port)),
                "acs": acs, "isolation": word(&bridge.isolation),
            })
        })
        .collect();
    let causes: Vec<Value> = story
        .causes
        .iter()
        .map(|cause| match cause {
            Cause::Bridge(at, isolation) => json!({ "kind": "bridge", "address": at, "isolation": word(isolation) }),
            Cause::Slot(at, isolation) => json!({ "kind": "slot", "address": at, "isolation": word(isolation) }),
        })
        .collect();
    let free: Vec<Value> =
        story.free.iter().map(|port| json!({ "address": port.address, "holds": port.holds })).collect();
    let document = json!({
        "schema": "vfioneer/group/1", "group": group, "members": members, "bridges": bridges, "causes": causes,
        "incomplete": story.incomplete, "root_ports": free,
    });
    format!("{document:#}\n")
}

fn names(register: u16) -> Vec<&'static str> {
    BITS.iter().filter(|(_, mask)| register & mask != 0).map(|(name, _)| *name).collect()
}

fn word(isolation: &Isolation) -> &'static str {
    match isolation {
        Isolation::Isolates => "isolates",
        Isolation::ByKernel => "by-kernel",
        Isolation::NoAcs => "no-acs",
        Isolation::Off(_) => "acs-off",
        Isolation::Conventional => "conventional",
        Isolation::Unknown(_) => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing as t;

    fn style() -> Style {
        Style { width: Some(80) }
    }

    #[test]
    fn tells_who_joins_a_group() {
        let mut snap = t::healthy();
        let mut port = t::root_port("0000:00:01.0", "8086:460d");
        port.group = Fact::Known(14);
        port.acs = Fact::Known(Acs { capable: 0x1f, enabled: 0x01 });
        t::add(&mut snap, port);
        t::change(&mut snap, "0000:00:1f.3", |f| {
            f.group = Fact::Known(14);
            f.parent = Fact::Known(t::at("0000:00:01.0"));
        });
        let story = anstream::adapter::strip_str(&text(&style(), &snap, 14)).to_string();
        for part in ["a bridge: does not count", "SV+ TB- RR- CR- UF- EC. DT.", "does not isolate", "driver nouveau"] {
            assert!(story.contains(part), "{part} is missing in:\n{story}");
        }
        assert!(story.lines().all(|line| line.chars().count() <= 80), "{story}");
        let document: Value = serde_json::from_str(&json(&snap, 14)).expect("JSON");
        assert_eq!(document["bridges"][0]["acs"]["enabled"], json!(["SV"]));
        assert_eq!(document["causes"][0]["isolation"], "acs-off");
    }

    #[test]
    fn a_device_alone_is_said_to_be_alone() {
        let story = text(&style(), &t::healthy(), 23);
        assert!(story.contains("can go to a VM alone"), "{story}");
    }
}
