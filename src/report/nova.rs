//! What nova makes of its configuration on this host, as text and as JSON.

use super::{Short, Style, name_within, plain, wrap};
use crate::adapters::vm::nova_fit::{Fit, Line, Never, Request};
use crate::facts::Snapshot;
use crate::facts::hypervisor::nova::device_type;
use crate::facts::pci::Function;
use crate::parse::address::Address;
use serde_json::{Value, json};

/// Each line with what fits, then each function that anybody gives away, then what a flavor gets.
pub fn text(style: &Style, snap: &Snapshot, fit: &Fit<'_>, requests: Option<&[Request]>) -> String {
    let mut text = String::new();
    if fit.lines().next().is_none() {
        text.push_str("nova gives no PCI device of this host away: no device_spec and no alias was found.\n");
    }
    for problem in problems(fit) {
        text.push_str(&wrap(&style.error(&plain(&problem)), 2, style.text_width()));
    }
    for line in fit.lines() {
        text.push_str(&shown(style, snap, line));
    }
    let functions: Vec<&Function> = listed(snap, fit).collect();
    if !functions.is_empty() {
        text.push_str(&format!("\n{}\n", style.strong("Devices")));
    }
    for function in functions {
        text.push_str(&device(style, snap, fit, function));
    }
    for request in requests.unwrap_or_default() {
        text.push_str(&format!("\n{}\n", asked(style, snap, request)));
    }
    if requests.is_some() && !fit.is_valid() {
        text.push_str("nova serves no flavor until its configuration is right.\n");
    }
    text
}

/// What makes nova refuse more than one line.
fn problems(fit: &Fit<'_>) -> Vec<String> {
    let mixed = fit.mixed.iter().map(|name| {
        format!("The alias {name} is given more than once, with different device_type: nova takes no alias at all.")
    });
    let with_virtual = fit.with_virtual.iter().map(|physical| {
        format!(
            "{physical} is allowed together with virtual functions of its own: with report_in_placement nova-compute \
             does not start, and else an instance that gets it takes them from others."
        )
    });
    mixed.chain(with_virtual).collect()
}

fn place(line: &Line<'_>) -> String {
    let evidence = &line.rule.evidence;
    let number = evidence.line.map(|number| format!(":{number}")).unwrap_or_default();
    format!("{}{number}", evidence.source)
}

fn shown(style: &Style, snap: &Snapshot, line: &Line<'_>) -> String {
    let short = Short::of(&snap.pci);
    let name = line.rule.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let head = plain(&format!("{}{name}", line.rule.option));
    let mut text = format!("\n{}  {}\n", style.strong(&head), style.faint(&plain(&place(line))));
    match &line.functions {
        Ok(functions) => {
            let all: Vec<String> = functions.iter().map(|address| short.show(address)).collect();
            text.push_str(&wrap(&format!("{} {}", style.good("fits"), all.join(" ")), 2, style.text_width()));
        }
        Err(why) => {
            let word = if *why == Never::Unknown { style.warning("?") } else { style.error("never fits") };
            let why = plain(&sentence(line, why));
            text.push_str(&wrap(&format!("{word}: {why}"), 2, style.text_width()));
        }
    }
    text
}

/// Why a line fits nothing.
fn sentence(line: &Line<'_>, why: &Never) -> String {
    let rule = line.rule;
    let id = |id: Option<u16>| id.map_or_else(|| "*".to_owned(), |id| format!("{id:04x}"));
    let ids = format!("{}:{}", id(rule.vendor), id(rule.product));
    match why {
        Never::Malformed(what) => format!("nova does not take it: {what}."),
        Never::NotHere(None) => format!("this host has no {ids}."),
        Never::NotHere(Some(other)) => format!("this host has no {ids}; it has {other}."),
        Never::Elsewhere(address) => format!("{address} has these ids, and is at another address than the line says."),
        Never::OtherType(address, kind) => match &rule.device_type {
            Some(wanted) => format!("{address} is {kind}, and the alias asks for {wanted}."),
            None => format!(
                "{address} is {kind}, which nova gives only to an alias that asks for it: \"device_type\": \"{kind}\"."
            ),
        },
        Never::NotAllowed(address) => format!("no device_spec allows {address}, which has its ids and type."),
        Never::Unknown => "what nova would look at is not known here.".to_owned(),
    }
}

/// Functions that people give away, and all that a line means.
fn listed<'a>(snap: &'a Snapshot, fit: &Fit<'_>) -> impl Iterator<Item = &'a Function> {
    let meant: Vec<Address> = fit.lines().flat_map(|line| line.functions.iter().flatten().copied()).collect();
    snap.pci.functions.iter().filter(move |function| function.is_candidate() || meant.contains(&function.address))
}

/// The `device_spec` that counts for a function, the first one, and the aliases that it is given to.
fn given<'a>(fit: &'a Fit<'_>, function: &Function) -> (Option<&'a Line<'a>>, Vec<&'a str>) {
    let has = |line: &&Line<'_>| line.functions.as_ref().is_ok_and(|all| all.contains(&function.address));
    let aliases = fit.aliases.iter().filter(has).filter_map(|line| line.rule.name.as_deref());
    (fit.specs.iter().find(has), aliases.collect())
}

fn device(style: &Style, snap: &Snapshot, fit: &Fit<'_>, function: &Function) -> String {
    let (spec, aliases) = given(fit, function);
    let kind = device_type(function).unwrap_or("type ?");
    let what = match (spec, aliases.is_empty()) {
        (None, _) => style.faint("no device_spec"),
        (Some(_), true) => style.warning("no alias"),
        (Some(_), false) => style.good(&plain(&aliases.join(" "))),
    };
    let address = Short::of(&snap.pci).show(&function.address);
    let room = style.text_width().saturating_sub(6 + address.len() + kind.len());
    format!("  {address}  {kind}  {}\n    {what}\n", name_within(function, room))
}

fn asked(style: &Style, snap: &Snapshot, request: &Request) -> String {
    let short = Short::of(&snap.pci);
    let head = plain(&format!("{}:{}", request.alias, request.count));
    match &request.functions {
        None => format!("{}  {}", style.strong(&head), style.error("no: there is no such alias")),
        Some(functions) => {
            let all: Vec<String> = functions.iter().map(|address| short.show(address)).collect();
            let word = match request.is_served() {
                true => style.good("yes:"),
                false => style.error(&format!("no: {} of {}", functions.len(), request.count)),
            };
            format!("{}  {word} {}", style.strong(&head), all.join(" "))
        }
    }
}

/// `vm show --nova --json`: `vfioneer/vm-nova/1`.
pub fn json(snap: &Snapshot, fit: &Fit<'_>, requests: Option<&[Request]>) -> String {
    let line = |line: &Line<'_>| {
        json!({
            "option": line.rule.option,
            "name": line.rule.name,
            "device_type": line.rule.device_type,
            "evidence": line.rule.evidence,
            "functions": line.functions.as_ref().ok(),
            "never": line.functions.as_ref().err().filter(|why| **why != Never::Unknown).map(|why| sentence(line, why)),
        })
    };
    let device = |function: &Function| {
        let (spec, aliases) = given(fit, function);
        json!({
            "address": function.address,
            "name": function.name(),
            "type": device_type(function),
            "device_spec": spec.map(|spec| &spec.rule.evidence),
            "aliases": aliases,
        })
    };
    let request = |request: &Request| {
        json!({
            "alias": request.alias,
            "count": request.count,
            "functions": request.functions,
            "served": request.is_served() && fit.is_valid(),
        })
    };
    let document = json!({
        "schema": "vfioneer/vm-nova/1",
        "valid": fit.is_valid(),
        "problems": problems(fit),
        "lines": fit.lines().map(line).collect::<Vec<Value>>(),
        "devices": listed(snap, fit).map(device).collect::<Vec<Value>>(),
        "flavor": requests.map(|all| all.iter().map(request).collect::<Vec<Value>>()),
    });
    format!("{document:#}\n")
}
