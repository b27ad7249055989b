//! What a probe came to, as text and as JSON (`vfioneer/probe/1`).

use super::{Short, Style, count, name_within, plain, size, wrap};
use crate::facts::pci::Pci;
use crate::host::vfio::Irq;
use crate::live::probe::{Detail, Interface, Probe, Stage, State, Step, Touched};
use crate::parse::address::Address;
use serde_json::{Value, json};

/// `probe --json`.
pub fn json(probes: &[Probe], pci: &Pci) -> String {
    let one = |probe: &Probe| {
        json!({
            "address": probe.address.to_string(),
            "name": name(pci, &probe.address),
            "interface": probe.interface,
            "ready": probe.is_ready(),
            "steps": probe.steps.iter().map(step).collect::<Vec<_>>(),
        })
    };
    let document = json!({
        "schema": "vfioneer/probe/1",
        "ready": probes.iter().all(Probe::is_ready),
        "probes": probes.iter().map(one).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

fn step(step: &Step) -> Value {
    let detail = match &step.detail {
        // As everywhere, numbers that people know in hex are text.
        Detail::Config { vendor, device } => json!({
            "what": "config",
            "vendor_id": format!("{vendor:04x}"),
            "device_id": format!("{device:04x}"),
        }),
        Detail::Bar { size, mapped, value } => json!({
            "what": "bar",
            "size": size,
            "mapped": mapped,
            "value": format!("{value:08x}"),
        }),
        Detail::Rom { size, start: [first, second] } => json!({
            "what": "rom",
            "size": size,
            "start": format!("{first:02x} {second:02x}"),
        }),
        other => json!(other),
    };
    let index = match step.stage {
        Stage::Bar(index) => Some(index),
        _ => None,
    };
    json!({ "stage": stage(step.stage), "index": index, "state": step.detail.state(), "detail": detail })
}

/// Its name in JSON.
fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Open => "open",
        Stage::Config => "config",
        Stage::Bar(_) => "bar",
        Stage::Interrupts => "interrupts",
        Stage::Dma => "dma",
        Stage::Rom => "rom",
        Stage::Reset => "reset",
        Stage::Close => "close",
    }
}

fn name(pci: &Pci, address: &Address) -> Option<String> {
    pci.get(address).map(|function| function.name())
}

/// For a person.
pub fn text(style: &Style, probes: &[Probe], pci: &Pci) -> String {
    let short = Short::of(pci);
    let mut text = String::new();
    for probe in probes {
        text.push_str(&one(style, probe, pci, short));
        text.push('\n');
    }
    let ready = probes.iter().filter(|probe| probe.is_ready()).count();
    let all = count(probes.len(), "probe", "probes");
    text.push_str(&match ready == probes.len() {
        true => format!("{}: all is well in {all}. What is left to prove takes a VM.\n", style.good("Ready")),
        false => format!("{}: {ready} of {all} went well.\n", style.error("Not ready")),
    });
    text
}

fn one(style: &Style, probe: &Probe, pci: &Pci, short: Short) -> String {
    let by = match probe.interface {
        Interface::Group => "by its group",
        Interface::Iommufd => "by iommufd",
    };
    let address = short.show(&probe.address);
    let room = style.text_width().saturating_sub(address.len() + by.len() + 4);
    let name = pci.get(&probe.address).map(|function| name_within(function, room)).unwrap_or_default();
    let mut text = format!("{}  {name}, {by}\n", style.strong(&address));
    for step in &probe.steps {
        match &step.detail {
            Detail::Reset { alone, touches } => {
                text.push_str(&reset(style, *alone, touches.as_deref(), step.detail.state()));
                let others = touches.iter().flatten().filter(|one| one.address != probe.address.to_string());
                text.extend(others.map(|one| other(style, one, pci, short)));
            }
            _ => text.push_str(&line(style, step.detail.state(), &sentence(step))),
        }
    }
    if probe.is_silent() {
        text.push_str(&line(style, State::Fails, "none of its BARs answers: each reads as all ones"));
    }
    text
}

fn line(style: &Style, state: State, sentence: &str) -> String {
    let label = match state {
        State::Works => style.good("yes"),
        State::Absent => "-  ".to_owned(),
        State::Fails => format!("{} ", style.error("no")),
    };
    format!("  {label}  {}", wrap(&plain(sentence), 7, style.text_width()).trim_start())
}

/// What a stage is called while it fails.
fn tried(stage: Stage) -> String {
    match stage {
        Stage::Open => "opening it".to_owned(),
        Stage::Config => "reading its configuration space".to_owned(),
        Stage::Bar(index) => format!("reading BAR {index}"),
        Stage::Interrupts => "switching an interrupt on and off".to_owned(),
        Stage::Dma => "mapping a page for DMA".to_owned(),
        Stage::Rom => "reading its option ROM".to_owned(),
        Stage::Reset => "asking what a reset touches".to_owned(),
        Stage::Close => "closing it".to_owned(),
    }
}

fn sentence(step: &Step) -> String {
    match &step.detail {
        Detail::Opened => "it opens".to_owned(),
        Detail::Held { why } | Detail::Failed { why } => format!("{}: {why}", tried(step.stage)),
        Detail::Config { vendor, device } => format!("it answers: {vendor:04x}:{device:04x}"),
        Detail::NoAnswer => "it does not answer: its configuration space reads as all ones".to_owned(),
        Detail::Bar { size: bytes, mapped, value } => {
            let how = if *mapped { "mapped" } else { "through the kernel" };
            let what = if *value == u32::MAX { "all ones".to_owned() } else { format!("{value:08x}") };
            let Stage::Bar(index) = step.stage else { return String::new() };
            format!("BAR {index}, {}, {how}: reads {what}", size(*bytes))
        }
        Detail::Interrupts { counts, tried } => {
            let counts: Vec<String> = counts.iter().map(|(irq, count)| format!("{} {count}", kind(*irq))).collect();
            match tried {
                Some(irq) => format!("{} goes on and off; there is {}", kind(*irq), counts.join(", ")),
                None => "it has no interrupts".to_owned(),
            }
        }
        Detail::Dma { iova, size: bytes, unmapped } if bytes == unmapped => {
            format!("DMA: {} mapped at {iova:#x}, and unmapped", size(*bytes))
        }
        Detail::Dma { size: bytes, unmapped, .. } => {
            format!("DMA: of {} mapped, {} were unmapped", size(*bytes), size(*unmapped))
        }
        Detail::NoRom => "it has no option ROM that can be read".to_owned(),
        Detail::Rom { size: bytes, start: [first, second] } if step.detail.state() == State::Works => {
            format!("option ROM, {}: begins with {first:02x} {second:02x}", size(*bytes))
        }
        Detail::Rom { size: bytes, start: [first, second] } => {
            format!("option ROM, {}: begins with {first:02x} {second:02x}, not 55 aa", size(*bytes))
        }
        Detail::Reset { .. } => tried(step.stage),
        Detail::Closed => "it closes".to_owned(),
    }
}

fn kind(irq: Irq) -> &'static str {
    match irq {
        Irq::Intx => "INTx",
        Irq::Msi => "MSI",
        Irq::Msix => "MSI-X",
        Irq::Err => "error",
        Irq::Req => "request",
    }
}

/// Two lines: what it can do alone, and what a hot reset touches.
fn reset(style: &Style, alone: bool, touches: Option<&[Touched]>, state: State) -> String {
    let own = match alone {
        true => line(style, State::Works, "it can be reset alone"),
        false => line(style, State::Absent, "it cannot be reset alone"),
    };
    let Some(touched) = touches else { return own + &line(style, State::Absent, "there is no hot reset for it") };
    let strange = touched.iter().filter(|one| !one.is_ours()).count();
    let others = count(touched.len().saturating_sub(1), "other function", "other functions");
    let (state, hot) = match (touched, strange) {
        ([] | [_], _) => (state, "a hot reset touches only this function".to_owned()),
        (_, 0) => (state, format!("a hot reset touches {others}, on vfio too:")),
        // Where there is another reset, nothing is lost.
        (_, strange) => {
            let state = if alone { State::Absent } else { state };
            (state, format!("a hot reset is not possible: it touches {others}, {strange} not on vfio:"))
        }
    };
    own + &line(style, state, &hot)
}

/// A line for a function that a hot reset touches besides.
fn other(style: &Style, touched: &Touched, pci: &Pci, short: Short) -> String {
    let known = Address::parse(&touched.address);
    let address = known.map_or_else(|| touched.address.clone(), |address| short.show(&address));
    let driver = touched.driver.as_deref().unwrap_or("no driver");
    let group = touched.group.map_or_else(String::new, |group| format!(", group {group}"));
    let end = plain(&format!("  {driver}{group}"));
    let room = style.text_width().saturating_sub(9 + address.len() + end.len());
    let name = known.and_then(|address| pci.get(&address)).map(|function| name_within(function, room));
    let end = if touched.is_ours() { end } else { style.error(&end) };
    format!("         {address}  {}{end}\n", name.unwrap_or_default())
}

#[cfg(test)]
mod tests;
