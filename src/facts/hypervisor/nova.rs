//! OpenStack nova: which PCI devices the compute service may give away.

use super::{Hypervisor, HypervisorKind};
use crate::facts::Evidence;
use crate::facts::pci::Function;
use crate::host::{Fact, Host};
use crate::parse::address::Address;
use crate::parse::oslo_conf::{self, Entry};
use regex::Regex;
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

/// Where a `device_spec` allows devices (nova/pci/devspec.py).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Domain, bus, slot and function; none: any.
    Pattern([Option<u32>; 4]),
    /// The same four as regular expressions, each matched from its start.
    Regex([String; 4]),
    /// The interface of this name.
    Interface(String),
}

impl Place {
    /// Everywhere: what a specification without an address means.
    const ANY: Place = Place::Pattern([None; 4]);

    /// An address as nova reads it: `*` or nothing is any, and what is missing is missing in front: `:0a:00.` is `*:0a:00.*`
    /// (`PciAddressGlobSpec`). The error says what is no such address.
    fn pattern(text: &str) -> Result<Place, String> {
        const MOST: [u32; 4] = [0xffff, 0xff, 0x1f, 7];
        let (slot, function) = text.split_once('.').unwrap_or((text, ""));
        let parts: Vec<&str> = slot.split(':').collect();
        let missing = 3usize.checked_sub(parts.len()).ok_or_else(|| format!("{text:?} is no PCI address"))?;
        let mut pattern = [None; 4];
        let given = std::iter::repeat_n("", missing).chain(parts).chain([function]);
        for ((value, part), most) in pattern.iter_mut().zip(given).zip(MOST) {
            let part = part.trim();
            if !part.is_empty() && part != "*" {
                let number = hex(part).filter(|number| *number <= most);
                *value = Some(number.ok_or_else(|| format!("{part:?} in {text:?} is not a number up to {most:x}"))?);
            }
        }
        Ok(Place::Pattern(pattern))
    }

    /// True if a function is there; none where that is not known. A physical function's address means its virtual ones, too
    /// (`WhitelistPciAddress.match`).
    fn holds(&self, function: &Function) -> Option<bool> {
        let own = [&Fact::Known(function.address), &function.physical];
        match self {
            Place::Pattern(pattern) => {
                let exact = pattern.iter().all(Option::is_some);
                let at = |address: &Address| {
                    pattern.iter().zip(numbers(address)).all(|(wanted, own)| wanted.is_none_or(|wanted| wanted == own))
                };
                Some(own.iter().take(1 + usize::from(exact)).filter_map(|address| address.known()).any(at))
            }
            Place::Regex(parts) => {
                let shown = function.address.to_string();
                let own = shown.split([':', '.']);
                let fits = |(pattern, own): (&String, &str)| {
                    Regex::new(&format!("^(?:{pattern})")).ok().map(|pattern| pattern.is_match(own))
                };
                parts.iter().zip(own).map(fits).try_fold(true, |all, one| one.map(|one| all && one))
            }
            Place::Interface(_) => None,
        }
    }
}

fn numbers(address: &Address) -> [u32; 4] {
    [address.domain, address.bus.into(), address.device.into(), address.function.into()]
}

/// As Python's `int(text, 16)` reads it.
fn hex(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}

/// One device specification of `[pci]`: `device_spec` (before 26.0.0 `passthrough_whitelist`) or `alias`.
/// <https://docs.openstack.org/nova/latest/configuration/config.html#pci>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciRule {
    /// The option's name.
    pub option: String,
    /// `name` of an alias.
    pub name: Option<String>,
    /// `vendor_id`; none: any.
    pub vendor: Option<u16>,
    /// `product_id`, the same.
    pub product: Option<u16>,
    /// `address` or `devname`.
    pub place: Place,
    /// `device_type` of an alias: `type-PCI`, `type-PF`, `type-VF`; none: any but `type-PF`.
    pub device_type: Option<String>,
    /// Says what is wrong, if nova does not take it.
    pub malformed: Option<String>,
    /// Where it stands.
    pub evidence: Evidence,
}

impl PciRule {
    /// True for an alias, which asks for devices; false for what allows them.
    pub fn is_alias(&self) -> bool {
        self.option == "alias"
    }

    /// True if a function has the rule's ids and is where it allows devices; none where the function's ids are unknown, or an address is a
    /// regular expression that is not understood here, or an interface is meant.
    pub fn fits(&self, function: &Function) -> Option<bool> {
        if self.malformed.is_some() || function.address.domain > 0xffff {
            return Some(false);
        }
        if self.vendor.is_some() || self.product.is_some() {
            let ids = function.ids.known()?;
            let same = |wanted: &Option<u16>, own: u16| wanted.is_none_or(|wanted| wanted == own);
            if !same(&self.vendor, ids.vendor) || !same(&self.product, ids.device) {
                return Some(false);
            }
        }
        self.place.holds(function)
    }

    /// True if an alias takes devices of a type. Without `device_type` it takes all but physical functions, which nova keeps from requests that
    /// do not ask for one (nova/pci/stats.py `_filter_pools_for_unrequested_pfs`).
    pub fn takes(&self, device_type: &str) -> bool {
        match &self.device_type {
            Some(wanted) => wanted == device_type,
            None => device_type != PF,
        }
    }
}

/// The type of a function with the SR-IOV capability, used or not.
pub const PF: &str = "type-PF";
/// That of a virtual function.
pub const VF: &str = "type-VF";
/// That of all others.
pub const STANDARD: &str = "type-PCI";

/// A function's type (nova/virt/libvirt/host.py `_get_pcidev_info`: by libvirt's capabilities `phys_function` and `virt_functions`); none
/// where that is not known.
pub fn device_type(function: &Function) -> Option<&'static str> {
    match (&function.physical, &function.sriov) {
        (Fact::Known(_), _) => Some(VF),
        (_, Fact::Known(_)) => Some(PF),
        (_, Fact::Absent) => Some(STANDARD),
        (_, Fact::Unknown(_)) => None,
    }
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
            Ok(Value::Array(list)) if entry.key != "alias" => {
                rules.extend(list.iter().map(|value| match value {
                    Value::Object(map) => rule(source, entry, map),
                    _ => malformed(source, entry, "the list has something else than JSON objects".into()),
                }));
            }
            Ok(_) => rules.push(malformed(source, entry, "not a JSON object".into())),
            Err(error) => rules.push(malformed(source, entry, json_error(entry, &error))),
        }
    }
    rules
}

/// What is wrong with a value, with the line of the file if it is not the entry's first.
fn json_error(entry: &Entry, error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    match error.line() {
        0 | 1 => what.to_owned(),
        line => format!("{what} (line {})", (entry.line as usize).saturating_add(line - 1)),
    }
}

fn plain(source: &str, entry: &Entry) -> PciRule {
    let text = format!("{} = {}", entry.key, entry.value.replace('\n', " "));
    PciRule {
        option: entry.key.clone(),
        name: None,
        vendor: None,
        product: None,
        place: Place::ANY,
        device_type: None,
        malformed: None,
        evidence: Evidence::at(source, entry.line, text),
    }
}

fn malformed(source: &str, entry: &Entry, what: String) -> PciRule {
    PciRule { malformed: Some(what), ..plain(source, entry) }
}

fn rule(source: &str, entry: &Entry, map: &Map<String, Value>) -> PciRule {
    let empty = PciRule { name: text(map, "name").ok().flatten(), ..plain(source, entry) };
    filled(empty.clone(), map).unwrap_or_else(|what| PciRule { malformed: Some(what), ..empty })
}

/// The keys of an alias; nova refuses others (nova/pci/request.py `_ALIAS_SCHEMA`, 34.0.0).
const ALIAS_KEYS: &[&str] = &[
    "name",
    "capability_type",
    "product_id",
    "vendor_id",
    "device_type",
    "numa_policy",
    "resource_class",
    "traits",
    "live_migratable",
];

/// A rule with what a JSON object says; the error says what nova would not take.
fn filled(mut rule: PciRule, map: &Map<String, Value>) -> Result<PciRule, String> {
    rule.vendor = id(map, "vendor_id")?;
    rule.product = id(map, "product_id")?;
    if rule.is_alias() {
        for key in ["vendor_id", "product_id"] {
            if let Some(id) = text(map, key)?.filter(|id| !(id.len() == 4 && id.bytes().all(|b| b.is_ascii_hexdigit())))
            {
                return Err(format!("{key} {id:?} is not four hexadecimal digits"));
            }
        }
        if let Some(key) = map.keys().find(|key| !ALIAS_KEYS.contains(&key.as_str())) {
            return Err(format!("an alias has no key {key:?}"));
        }
        rule.name = Some(text(map, "name")?.unwrap_or_default().trim().to_owned()).filter(|name| !name.is_empty());
        if rule.name.is_none() {
            return Err("an alias needs a name".into());
        }
        rule.device_type = text(map, "device_type")?;
        if rule.device_type.as_ref().is_some_and(|kind| ![STANDARD, PF, VF].contains(&kind.as_str())) {
            return Err(format!("device_type is {STANDARD}, {PF} or {VF}"));
        }
        if (rule.vendor.is_none() || rule.product.is_none()) && !map.contains_key("resource_class") {
            return Err("an alias needs vendor_id and product_id".into());
        }
        return Ok(rule);
    }
    let address = map.get("address").filter(|address| **address != Value::Null);
    rule.place = match (address, text(map, "devname")?) {
        (Some(_), Some(_)) => return Err("address and devname exclude each other".into()),
        (None, Some(name)) => Place::Interface(name),
        (None, None) => Place::ANY,
        (Some(Value::String(pattern)), None) => Place::pattern(pattern)?,
        (Some(Value::Object(parts)), None) => {
            let part = |key: &str| Ok::<_, String>(text(parts, key)?.unwrap_or_else(|| ".*".into()));
            let parts = [part("domain")?, part("bus")?, part("slot")?, part("function")?];
            match parts.iter().find(|part| is_no_regex(part)) {
                Some(part) => return Err(format!("{part:?} is no regular expression")),
                None => Place::Regex(parts),
            }
        }
        (Some(_), None) => return Err("address is no text".into()),
    };
    Ok(rule)
}

/// True if Python does not understand it either, which has look-around and back-references besides.
fn is_no_regex(text: &str) -> bool {
    matches!(Regex::new(text), Err(regex::Error::Syntax(why)) if !why.contains("not supported"))
}

fn text(map: &Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    match map.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{key} is no text")),
    }
}

fn id(map: &Map<String, Value>, key: &str) -> Result<Option<u16>, String> {
    let Some(text) = text(map, key)? else { return Ok(None) };
    if text.trim() == "*" {
        return Ok(None);
    }
    hex(&text).and_then(|id| u16::try_from(id).ok()).map(Some).ok_or_else(|| format!("{key} {text:?} is no PCI id"))
}
