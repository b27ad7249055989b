//! nova itself judges what `vm render --target nova` writes and what `vm show --nova` says: `make nova`, which installs it from PyPI.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use vfioneer::adapters::vm::nova_fit::Fit;
use vfioneer::adapters::vm::{Passed, Shape, nova};
use vfioneer::facts::Snapshot;
use vfioneer::facts::hypervisor::nova::{device_type, rules};
use vfioneer::facts::pci::Function;

/// Where `make nova` has put a Python with nova.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.nova/bin/python");

/// A function as nova's libvirt driver reports it (nova/virt/libvirt/host.py `_get_pcidev_info`); none where it is not known enough.
fn reported(function: &Function) -> Option<Value> {
    let ids = function.ids.known()?;
    let mut device = json!({
        "dev_id": format!("pci_{}", function.address),
        "address": function.address.to_string(),
        "vendor_id": format!("{:04x}", ids.vendor),
        "product_id": format!("{:04x}", ids.device),
        "numa_node": function.numa_node.known(),
        "label": format!("label_{:04x}_{:04x}", ids.vendor, ids.device),
        "dev_type": device_type(function)?,
    });
    if let Some(physical) = function.physical.known() {
        device["parent_addr"] = physical.to_string().into();
    }
    Some(device)
}

fn judged(cases: &[Value]) -> Vec<Value> {
    let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nova/judge.py");
    let mut child = Command::new(PYTHON)
        .arg(judge)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{PYTHON}: {error}: `make nova` installs it"));
    let text = serde_json::to_vec(cases).unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&text).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What we say of a configuration, in the judge's words.
fn ours(snap: &Snapshot, conf: &str, flavor: Option<&str>) -> Value {
    let mut snap = snap.clone();
    snap.hypervisor.rules = rules("nova.conf", conf);
    // Those that libvirt does not report in full are left out on both sides.
    snap.pci.functions.retain(|function| !function.is_bridge() && reported(function).is_some());
    let fit = Fit::of(&snap);
    if !fit.is_valid() {
        return json!("error");
    }
    let mut specs: Vec<String> =
        fit.specs.iter().flat_map(|line| line.functions.iter().flatten()).map(ToString::to_string).collect();
    specs.sort();
    specs.dedup();
    let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in &fit.aliases {
        let all = aliases.entry(line.rule.name.clone().unwrap()).or_default();
        all.extend(line.functions.iter().flatten().map(ToString::to_string));
        all.sort();
        all.dedup();
    }
    let served = flavor.map(|flavor| fit.flavor(flavor).unwrap().iter().all(|request| request.is_served()));
    json!({ "specs": specs, "aliases": aliases, "served": served })
}

/// Lines that people write, right and wrong, for a function.
fn written(function: &Function) -> Vec<(String, Option<String>)> {
    let ids = function.ids.known().unwrap();
    let (vendor, product) = (format!("{:04x}", ids.vendor), format!("{:04x}", ids.device));
    let address = function.address;
    let spec = |text: &str| format!("device_spec = {text}\n");
    let by_ids = spec(&format!(r#"{{"vendor_id": "{vendor}", "product_id": "{product}"}}"#));
    let alias = |more: &str| {
        format!("alias = {{\"name\": \"a\", \"vendor_id\": \"{vendor}\", \"product_id\": \"{product}\"{more}}}\n")
    };
    let typed = |kind: &str| alias(&format!(", \"device_type\": \"{kind}\""));
    let flavor = || Some("a:1".to_owned());
    let mut all: Vec<(String, Option<String>)> =
        ["type-PCI", "type-PF", "type-VF"].iter().map(|kind| (by_ids.clone() + &typed(kind), flavor())).collect();
    let tail = address.to_string();
    let (slot, end) = tail.rsplit_once('.').unwrap();
    let bus = slot.rsplit(':').nth(1).unwrap();
    for place in [
        format!("\"{address}\""),
        format!("\"{}.\"", slot.split_once(':').unwrap().1),
        format!("\"*:{bus}:*.{end}\""),
        format!("\":{bus}:.\""),
        format!("\"{bus}:00.9\""),
        "\"ffff:ff:1f.7\"".to_owned(),
        "\"0:0:0:0.0\"".to_owned(),
        "null".to_owned(),
        format!("{{\"bus\": \"{bus}\", \"function\": \"[{end}7]\"}}"),
        format!("{{\"bus\": \"{}\"}}", &bus[..1]),
        "{\"bus\": \"[\"}".to_owned(),
        "{}".to_owned(),
        "5".to_owned(),
    ] {
        all.push((spec(&format!("{{\"address\": {place}}}")) + &alias(""), flavor()));
    }
    for line in [
        "{}",
        r#"{"vendor_id": "0x10de"}"#,
        r#"{"vendor_id": " 10de "}"#,
        r#"{"vendor_id": "*", "product_id": "*"}"#,
        r#"{"vendor_id": "10000"}"#,
        r#"{"vendor_id": "nvidia"}"#,
        r#"["10de"]"#,
        r#""10de""#,
        r#"[{"vendor_id": "10de"}, {"vendor_id": "8086"}]"#,
        r#"{"vendor_id": "10de", managed: "no"}"#,
    ] {
        all.push((spec(line) + &alias(""), flavor()));
    }
    for line in [
        alias(", \"type\": \"type-PF\""),
        typed("type-GPU"),
        "alias = {\"name\": \"a\"}\n".to_owned(),
        format!("alias = {{\"vendor_id\": \"{vendor}\", \"product_id\": \"{product}\"}}\n"),
        format!("alias = [{{\"name\": \"a\", \"vendor_id\": \"{vendor}\", \"product_id\": \"{product}\"}}]\n"),
        alias("")
            .to_uppercase()
            .replace("ALIAS", "alias")
            .replace("NAME", "name")
            .replace("_ID", "_id")
            .replace("VENDOR", "vendor")
            .replace("PRODUCT", "product")
            .replace("\"A\"", "\"a\""),
        alias("").replace(&product, "0x12"),
        typed("type-PF") + &typed("type-PCI"),
        typed("type-PF") + &typed("type-PF").replace(&product, "0001"),
        alias("").replace("\"a\"", "\" a \""),
    ] {
        all.push((by_ids.clone() + &line, None));
    }
    all.push((by_ids.clone() + &alias(""), Some("a:2".to_owned())));
    all.push((by_ids + &alias(""), Some("b:1".to_owned())));
    all
}

/// nova's words and ours are the same; its error's text is its own.
fn compare(cases: &[Value], names: &[String], said: &[Value]) {
    let mut faults = Vec::new();
    for ((answer, case), (name, ours)) in judged(cases).iter().zip(cases).zip(names.iter().zip(said)) {
        let mut nova = answer.clone();
        if nova["error"].is_string() {
            nova = json!("error");
        } else {
            for list in
                nova["aliases"].as_object_mut().unwrap().values_mut().chain([answer["specs"].clone()].iter_mut())
            {
                list.as_array_mut().unwrap().sort_by_key(ToString::to_string);
            }
            nova["specs"].as_array_mut().unwrap().sort_by_key(ToString::to_string);
        }
        if nova != *ours {
            faults.push(format!("{name}\n{}\n  nova {answer}\n  ours {ours}", case["conf"].as_str().unwrap()));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

fn devices(snap: &Snapshot) -> Vec<Value> {
    snap.pci.functions.iter().filter(|function| !function.is_bridge()).filter_map(reported).collect()
}

#[test]
#[ignore = "installs nova from PyPI: make nova"]
fn what_is_rendered_is_taken_and_gets_the_devices() {
    let (mut cases, mut names, mut said) = (Vec::new(), Vec::new(), Vec::new());
    for (name, snap) in hosts::recorded::snapshots() {
        for function in snap.pci.functions.iter().filter(|function| function.is_candidate()) {
            let passed = Passed::of(&snap, &[function.address], None);
            let shape = Shape {
                name: None,
                memory_mib: 1024,
                cpus: 1,
                disk: None,
                uefi: true,
                viommu: false,
                kvm: true,
                hide: false,
            };
            let Ok(rendered) = nova::configuration(&snap, &passed, &shape) else { continue };
            let asked = rendered.text.lines().find_map(|line| line.split_once("pci_passthrough:alias=")).unwrap().1;
            let alias = asked.split_once(':').unwrap().0.to_owned();
            // Its own address, and with it the virtual functions that it has.
            let expected = ours(&snap, &rendered.text, Some(asked));
            assert_eq!(expected["aliases"][&alias], json!([function.address.to_string()]), "{name}: {}", rendered.text);
            assert_eq!(expected["served"], true, "{name}: {}", rendered.text);
            cases.push(json!({ "conf": rendered.text, "devices": devices(&snap), "flavor": asked }));
            names.push(name.clone());
            said.push(expected);
        }
    }
    assert!(cases.len() > 100, "{}", cases.len());
    compare(&cases, &names, &said);
}

#[test]
#[ignore = "installs nova from PyPI: make nova"]
fn what_never_fits_is_what_nova_refuses() {
    let (mut cases, mut names, mut said) = (Vec::new(), Vec::new(), Vec::new());
    for (name, snap) in hosts::recorded::snapshots() {
        let all = snap.pci.functions.iter().filter(|function| reported(function).is_some() && function.is_candidate());
        let virtual_ones = all.clone().filter(|function| function.physical.known().is_some()).take(1);
        let displays = all.filter(|function| function.is_display()).take(1);
        for function in virtual_ones.chain(displays) {
            for (lines, flavor) in written(function) {
                let conf = format!("[pci]\n{lines}");
                said.push(ours(&snap, &conf, flavor.as_deref()));
                cases.push(json!({ "conf": conf, "devices": devices(&snap), "flavor": flavor }));
                names.push(format!("{name} {}", function.address));
            }
        }
    }
    assert!(cases.len() > 1000, "{}", cases.len());
    compare(&cases, &names, &said);
}
