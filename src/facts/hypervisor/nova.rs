//! OpenStack nova: which PCI devices the compute service may give away.

use super::{Hypervisor, HypervisorKind};
use crate::facts::Evidence;
use crate::facts::pci::Function;
use crate::host::{Fact, Host};
use crate::parse::oslo_conf::{self, Entry};
use serde_json::{Map, Value};

/// Files and drop-in directories that nova's services read, in packages and under kolla, where each service has its own.
const FILES: &[&str] = &[
    "/etc/nova/nova.conf",
    "/etc/nova/nova-compute.conf",
    "/etc/kolla/nova-compute/nova.conf",
    "/etc/kolla/nova-api/nova.conf",
    "/etc/kolla/nova-conductor/nova.conf",
    SCHEDULER,
];
/// The scheduler's, under kolla.
pub const SCHEDULER: &str = "/etc/kolla/nova-scheduler/nova.conf";
const DIRS: &[&str] = &["/etc/nova/nova.conf.d", "/etc/nova/nova-compute.conf.d"];

/// One device specification of `[pci]`: `device_spec` (before 26.0.0 `passthrough_whitelist`) or `alias`.
/// <https://docs.openstack.org/nova/latest/configuration/config.html#pci>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciRule {
    /// The option's name.
    pub option: String,
    /// `name` of an alias.
    pub name: Option<String>,
    /// `vendor_id`, hex digits, lower case; none: any.
    pub vendor: Option<String>,
    /// `product_id`, the same.
    pub product: Option<String>,
    /// `address` with its wildcards; none: any. An address of regular expressions is kept as its JSON text.
    pub address: Option<String>,
    /// `device_type` of an alias: `type-PCI`, `type-PF`, `type-VF`.
    pub device_type: Option<String>,
    /// Says what is wrong, if the value is no JSON object.
    pub malformed: Option<String>,
    /// Where it stands.
    pub evidence: Evidence,
}

impl PciRule {
    /// True if the rule fits a function; none where the function's ids are unknown or the address is a regular
    /// expression.
    pub fn fits(&self, function: &Function) -> Option<bool> {
        if self.malformed.is_some() {
            return Some(false);
        }
        if let Some(address) = &self.address {
            if address.starts_with('{') {
                return None;
            }
            if !glob(address, &function.address.to_string()) {
                return Some(false);
            }
        }
        if self.vendor.is_none() && self.product.is_none() {
            return Some(self.address.is_some());
        }
        let ids = function.ids.known()?;
        let same = |wanted: &Option<String>, own: u16| {
            wanted.as_ref().is_none_or(|text| text == "*" || u16::from_str_radix(text, 16) == Ok(own))
        };
        Some(same(&self.vendor, ids.vendor) && same(&self.product, ids.device))
    }
}

/// nova's address pattern: each of domain, bus, slot and function is a value or `*`; a missing tail is `*`.
fn glob(pattern: &str, address: &str) -> bool {
    let split = |text: &str| text.split([':', '.']).map(str::to_ascii_lowercase).collect::<Vec<_>>();
    let (pattern, address) = (split(pattern), split(address));
    pattern.len() <= address.len() && pattern.iter().zip(&address).all(|(wanted, own)| wanted == "*" || wanted == own)
}

pub(super) fn collect(host: &dyn Host, all: &mut Hypervisor) {
    let mut paths: Vec<String> = FILES.iter().map(|path| (*path).to_owned()).collect();
    for dir in DIRS {
        let names = all.names(host, dir);
        paths.extend(names.iter().filter(|name| name.ends_with(".conf")).map(|name| format!("{dir}/{name}")));
    }
    let mut found = false;
    for path in paths {
        let file = all.file(host, &path);
        found |= file != Fact::Absent && file != Fact::Unknown(crate::host::Why::NotRecorded);
        if let Fact::Known(file) = file {
            all.rules.extend(rules(&path, &file.text));
            all.files.push(file);
        }
    }
    if found {
        all.kinds.push((HypervisorKind::Nova, None));
    }
}

/// The rules of a configuration's text; `source` names it in the evidence.
pub fn rules(source: &str, text: &str) -> Vec<PciRule> {
    let options = ["device_spec", "passthrough_whitelist", "alias"];
    let entries = oslo_conf::parse(text);
    let mut rules = Vec::new();
    for entry in entries.iter().filter(|e| e.section == "pci" && options.contains(&e.key.as_str())) {
        match serde_json::from_str::<Value>(&entry.value) {
            Ok(Value::Object(map)) => rules.push(rule(source, entry, &map)),
            Ok(Value::Array(list)) => {
                rules.extend(list.iter().filter_map(Value::as_object).map(|map| rule(source, entry, map)));
            }
            Ok(_) => rules.push(malformed(source, entry, "not a JSON object".into())),
            Err(error) => rules.push(malformed(source, entry, error.to_string())),
        }
    }
    rules
}

fn plain(source: &str, entry: &Entry) -> PciRule {
    let text = format!("{} = {}", entry.key, entry.value.replace('\n', " "));
    PciRule {
        option: entry.key.clone(),
        name: None,
        vendor: None,
        product: None,
        address: None,
        device_type: None,
        malformed: None,
        evidence: Evidence::at(source, entry.line, text),
    }
}

fn malformed(source: &str, entry: &Entry, what: String) -> PciRule {
    PciRule { malformed: Some(what), ..plain(source, entry) }
}

fn rule(source: &str, entry: &Entry, map: &Map<String, Value>) -> PciRule {
    let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
    let hex = |key: &str| text(key).map(|id| id.trim().to_ascii_lowercase());
    let address = match map.get("address") {
        Some(Value::String(pattern)) => Some(pattern.trim().to_owned()),
        Some(Value::Object(parts)) => Some(Value::Object(parts.clone()).to_string()),
        _ => None,
    };
    PciRule {
        name: text("name"),
        vendor: hex("vendor_id"),
        product: hex("product_id"),
        address,
        device_type: text("device_type"),
        ..plain(source, entry)
    }
}
