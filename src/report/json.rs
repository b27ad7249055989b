//! The JSON documents: `vfioneer/list/1` and `vfioneer/check/1`. Hex ids are lower case without `0x`;
//! what is unknown or absent is `null`.

use crate::checks::verdict::Verdict;
use crate::checks::{Finding, pages};
use crate::error::Error;
use crate::facts::Snapshot;
use crate::facts::pci::Function;
use crate::facts::usb::UsbDevice;
use crate::host::Fact;
use serde_json::{Value, json};

/// `list --json`.
pub fn list(snap: &Snapshot, functions: &[&Function]) -> String {
    let devices: Vec<Value> = functions.iter().map(|f| device(f)).collect();
    let mut document = json!({ "schema": "vfioneer/list/1", "host": host(snap), "devices": devices });
    if let Some(why) = &snap.pci.missing {
        // A list that is short because it could not be read is not taken for a host without devices.
        document["incomplete"] = json!(why.to_string());
    }
    pretty(&document)
}

/// `list --usb --json`.
pub fn usb(snap: &Snapshot) -> String {
    let row = |d: &UsbDevice| json!({ "controller": d.controller, "port": d.port, "id": d.ids, "name": d.name, "kinds": d.kinds });
    let devices = snap.usb.known().map(|devices| devices.iter().map(row).collect::<Vec<Value>>());
    pretty(&json!({ "schema": "vfioneer/usb/1", "host": host(snap), "usb": devices }))
}

/// `check --json`.
pub fn check(verdict: Verdict, findings: &[Finding]) -> String {
    pretty(&json!({ "schema": "vfioneer/check/1", "verdict": verdict.word(), "findings": self::findings(findings) }))
}

/// Findings, as `check` has them.
pub(super) fn findings(findings: &[Finding]) -> Vec<Value> {
    findings
        .iter()
        .map(|finding| {
            json!({
                "id": finding.id,
                "severity": finding.severity,
                "subject": finding.subject.to_string(),
                "message": pages::message(finding),
                "evidence": finding.evidence,
                "fix": { "kind": pages::fix_kind(finding), "text": pages::remedy(finding) },
            })
        })
        .collect()
}

fn pretty(document: &Value) -> String {
    format!("{document:#}\n")
}

/// What a document says of the host as a whole.
pub fn host(snap: &Snapshot) -> Value {
    let system = &snap.system;
    json!({
        "board_vendor": value(&system.board_vendor),
        "board": value(&system.board),
        "bios_version": value(&system.bios_version),
        "bios_date": value(&system.bios_date),
        "cpu": value(&system.cpu_model),
        "distribution": system.distro.known().map(|distro| distro.name.clone()),
        "proxmox": system.distro.known().and_then(|distro| distro.proxmox.clone()),
        "kernel": value(&snap.kernel.release),
        "uefi": value(&system.uefi),
        "iommu": value(&snap.iommu.running()),
        "interrupt_remapping": value(&snap.iommu.interrupt_remapping),
        "guest_of": value(&system.guest_of),
        "container": value(&system.container),
    })
}

fn value<T: serde::Serialize>(fact: &Fact<T>) -> Value {
    fact.known().map_or(Value::Null, |known| json!(known))
}

fn device(function: &Function) -> Value {
    let hex4 = |id: u16| format!("{id:04x}");
    let ids = function.ids.known();
    let subsystem = function.subsystem.known();
    json!({
        "address": function.address,
        "vendor_id": ids.map(|ids| hex4(ids.vendor)),
        "device_id": ids.map(|ids| hex4(ids.device)),
        "subsystem_vendor_id": subsystem.map(|ids| hex4(ids.vendor)),
        "subsystem_device_id": subsystem.map(|ids| hex4(ids.device)),
        "class": function.class.known().map(|class| format!("{class:06x}")),
        "vendor": function.vendor_name,
        "name": function.device_name,
        "driver": value(&function.driver),
        "iommu_group": value(&function.group),
        "numa_node": value(&function.numa_node),
        "boot_display": value(&function.boot_display),
        "reset_methods": match &function.reset_methods {
            Fact::Known(methods) => json!(methods),
            Fact::Absent => json!([]),
            Fact::Unknown(_) => Value::Null,
        },
        "parent": value(&function.parent),
        "physical_function": value(&function.physical),
        "sriov": function.sriov.known().map(|sriov| {
            json!({ "total": sriov.total, "active": sriov.active, "drivers_autoprobe": sriov.autoprobe })
        }),
    })
}

/// What a command that ends with an error says with `--json`: `vfioneer/error/1`.
pub fn error(error: &Error) -> String {
    let document = json!({
        "schema": "vfioneer/error/1",
        "kind": error.kind_id(),
        "message": error.message,
        "hints": error.hints,
        "exit_code": error.exit_code(),
    });
    format!("{document:#}\n")
}
