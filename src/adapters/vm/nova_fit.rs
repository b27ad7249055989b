//! What nova makes of its `[pci]` lines on a host: which functions a `device_spec` allows, which of them an alias takes, and whether a flavor
//! can be served. Pure.
//!
//! Rules: nova 34.0.0 `nova/pci/whitelist.py`, `nova/pci/request.py`, `nova/pci/stats.py`.

use crate::facts::Snapshot;
use crate::facts::hypervisor::nova::{self, PciRule};
use crate::facts::pci::{Function, Ids};
use crate::parse::address::Address;

/// Why nothing fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Never {
    /// nova does not take the line.
    Malformed(String),
    /// This host has no function of these ids; of the same vendor it has this one, if any.
    NotHere(Option<Ids>),
    /// This one has the ids, and is at another address.
    Elsewhere(Address),
    /// This one has the ids, and is of this type.
    OtherType(Address, &'static str),
    /// This one has ids and type, and no `device_spec` allows it.
    NotAllowed(Address),
    /// Something that nova would look at is not known here.
    Unknown,
}

/// A line, and the functions that fit it; none: why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The line.
    pub rule: &'a PciRule,
    /// What fits.
    pub functions: Result<Vec<Address>, Never>,
}

/// One request of a flavor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The alias.
    pub alias: String,
    /// How many devices.
    pub count: u32,
    /// What it gets here; none if there is no such alias.
    pub functions: Option<Vec<Address>>,
}

impl Request {
    /// It gets all that it asks for.
    pub fn is_served(&self) -> bool {
        self.functions.as_ref().is_some_and(|functions| functions.len() == self.count as usize)
    }
}

/// All lines of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit<'a> {
    /// `device_spec`.
    pub specs: Vec<Line<'a>>,
    /// `alias`.
    pub aliases: Vec<Line<'a>>,
    /// Physical functions that are allowed together with virtual ones of theirs.
    pub with_virtual: Vec<Address>,
    /// Names of aliases that are given twice, with different types.
    pub mixed: Vec<String>,
}

impl<'a> Fit<'a> {
    /// For a host.
    pub fn of(snap: &'a Snapshot) -> Fit<'a> {
        let (aliases, specs): (Vec<&PciRule>, Vec<&PciRule>) =
            snap.hypervisor.rules.iter().partition(|rule| rule.is_alias());
        let specs: Vec<Line<'_>> =
            specs.into_iter().map(|rule| Line { rule, functions: allowed_by(snap, rule) }).collect();
        let mut allowed: Vec<Address> =
            specs.iter().flat_map(|line| line.functions.iter().flatten().copied()).collect();
        allowed.sort();
        allowed.dedup();
        let mixed = |rule: &&PciRule| {
            let same = |other: &&PciRule| other.name == rule.name && other.device_type != rule.device_type;
            rule.malformed.is_none() && aliases.iter().any(same)
        };
        let mut mixed: Vec<String> =
            aliases.iter().filter(|rule| mixed(rule)).filter_map(|rule| rule.name.clone()).collect();
        mixed.dedup();
        let physical = |address: &Address| snap.pci.get(address)?.physical.known().copied();
        let mut with_virtual: Vec<Address> =
            allowed.iter().filter_map(physical).filter(|physical| allowed.contains(physical)).collect();
        with_virtual.dedup();
        Fit {
            aliases: aliases.into_iter().map(|rule| Line { rule, functions: taken_by(snap, rule, &allowed) }).collect(),
            specs,
            with_virtual,
            mixed,
        }
    }

    /// nova takes all lines.
    pub fn is_valid(&self) -> bool {
        self.mixed.is_empty() && self.lines().all(|line| line.rule.malformed.is_none())
    }

    /// All lines, those that allow first.
    pub fn lines(&self) -> impl Iterator<Item = &Line<'a>> {
        self.specs.iter().chain(&self.aliases)
    }

    /// What a flavor's property asks for gets here, in its order: what one has is not there for the next. `text` is `a1:2,b:1`, with or
    /// without `pci_passthrough:alias=` in front. The error says what is no such property.
    pub fn flavor(&self, text: &str) -> Result<Vec<Request>, String> {
        let value = text.trim().trim_matches(['"', '\'']).trim();
        let value = value.strip_prefix("pci_passthrough:alias").unwrap_or(value).trim_start_matches(['"', '\'']);
        let value = value.strip_prefix('=').unwrap_or(value).trim_matches(['"', '\'']);
        let mut taken: Vec<Address> = Vec::new();
        let mut requests = Vec::new();
        for part in value.split(',') {
            let (alias, count) = part.split_once(':').ok_or_else(|| format!("{part:?} is no ALIAS:COUNT"))?;
            let count: u32 = count.trim().parse().map_err(|_| format!("{count:?} in {part:?} is no count"))?;
            let alias = alias.trim();
            let lines: Vec<&Line<'_>> =
                self.aliases.iter().filter(|line| line.rule.name.as_deref() == Some(alias)).collect();
            let free = |address: &&Address| !taken.contains(address);
            let mut functions: Vec<Address> =
                lines.iter().flat_map(|line| line.functions.iter().flatten()).filter(free).copied().collect();
            functions.sort();
            functions.dedup();
            functions.truncate(count as usize);
            taken.extend(&functions);
            let functions = (!lines.is_empty()).then_some(functions);
            requests.push(Request { alias: alias.to_owned(), count, functions });
        }
        Ok(requests)
    }
}

/// nova lists bridges, too, and nobody means them.
fn devices(snap: &Snapshot) -> impl Iterator<Item = &Function> {
    snap.pci.functions.iter().filter(|function| !function.is_bridge())
}

fn has_ids(rule: &PciRule, function: &Function) -> Option<bool> {
    let ids = function.ids.known()?;
    Some(
        rule.vendor.is_none_or(|vendor| vendor == ids.vendor)
            && rule.product.is_none_or(|product| product == ids.device),
    )
}

/// Why no function has a rule's ids.
fn not_here(snap: &Snapshot, rule: &PciRule) -> Never {
    let ids = devices(snap).filter_map(|function| function.ids.known());
    Never::NotHere(ids.copied().find(|ids| Some(ids.vendor) == rule.vendor))
}

fn allowed_by(snap: &Snapshot, rule: &PciRule) -> Result<Vec<Address>, Never> {
    if let Some(why) = &rule.malformed {
        return Err(Never::Malformed(why.clone()));
    }
    let fits: Vec<Address> =
        devices(snap).filter(|function| rule.fits(function) == Some(true)).map(|function| function.address).collect();
    if !fits.is_empty() {
        return Ok(fits);
    }
    if devices(snap).any(|function| rule.fits(function).is_none()) {
        return Err(Never::Unknown);
    }
    let same = devices(snap).find(|function| has_ids(rule, function) == Some(true));
    Err(same.map_or_else(|| not_here(snap, rule), |function| Never::Elsewhere(function.address)))
}

fn taken_by(snap: &Snapshot, rule: &PciRule, allowed: &[Address]) -> Result<Vec<Address>, Never> {
    if let Some(why) = &rule.malformed {
        return Err(Never::Malformed(why.clone()));
    }
    // Placement's classes decide then, which are another service's.
    if rule.vendor.is_none() || rule.product.is_none() {
        return Err(Never::Unknown);
    }
    let same: Vec<&Function> = devices(snap).filter(|function| rule.fits(function) == Some(true)).collect();
    let takes = |function: &&Function| nova::device_type(function).is_some_and(|kind| rule.takes(kind));
    let fits: Vec<Address> = same
        .iter()
        .copied()
        .filter(takes)
        .map(|function| function.address)
        .filter(|address| allowed.contains(address))
        .collect();
    if !fits.is_empty() {
        return Ok(fits);
    }
    if let Some(function) = same.iter().copied().find(|function| takes(function)) {
        return Err(Never::NotAllowed(function.address));
    }
    Err(match same.first() {
        Some(first) => nova::device_type(first).map_or(Never::Unknown, |kind| Never::OtherType(first.address, kind)),
        None if devices(snap).any(|function| rule.fits(function).is_none()) => Never::Unknown,
        None => not_here(snap, rule),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{self as t, GPU};
    use crate::facts::pci::Sriov;
    use crate::host::Fact;

    fn host(lines: &[&str]) -> Snapshot {
        let mut snap = t::healthy();
        t::change(&mut snap, GPU, |f| f.sriov = Fact::Known(Sriov { total: 4, active: 0, autoprobe: None }));
        let text = format!("[pci]\n{}\n", lines.join("\n"));
        snap.hypervisor.rules = nova::rules("nova.conf", &text);
        snap
    }

    const SPEC: &str = r#"device_spec = {"vendor_id": "10de", "product_id": "2684"}"#;
    const ALIAS: &str = r#"alias = {"name": "a", "vendor_id": "10DE", "product_id": "2684", "device_type": "type-PF"}"#;

    fn alias(lines: &[&str]) -> Result<Vec<Address>, Never> {
        Fit::of(&host(lines)).aliases[0].functions.clone()
    }

    #[test]
    fn why_an_alias_gets_nothing() {
        let gpu = t::at(GPU);
        assert_eq!(alias(&[SPEC, ALIAS]), Ok(vec![gpu]));
        assert_eq!(alias(&[ALIAS]), Err(Never::NotAllowed(gpu)));
        assert_eq!(alias(&[SPEC, &ALIAS.replace("type-PF", "type-PCI")]), Err(Never::OtherType(gpu, nova::PF)));
        let silent = ALIAS.replace(", \"device_type\": \"type-PF\"", "");
        assert_eq!(alias(&[SPEC, &silent]), Err(Never::OtherType(gpu, nova::PF)));
        let other = Ids { vendor: 0x10de, device: 0x2684 };
        assert_eq!(alias(&[SPEC, &ALIAS.replace("2684", "2685")]), Err(Never::NotHere(Some(other))));
        assert_eq!(alias(&[SPEC, &ALIAS.replace("10DE", "1af4")]), Err(Never::NotHere(None)));
        for malformed in [
            "alias = [1",
            r#"alias = {"name": "a"}"#,
            &ALIAS.replace("type-PF", "type-X"),
            &ALIAS.replace("name", "nam"),
        ] {
            assert!(matches!(alias(&[SPEC, malformed]), Err(Never::Malformed(_))), "{malformed}");
        }
        let elsewhere = SPEC.replace('}', ", \"address\": \"02:00.0\"}");
        assert_eq!(Fit::of(&host(&[&elsewhere])).specs[0].functions, Err(Never::Elsewhere(gpu)));
        // The line within the value that is no JSON.
        let split = ["device_spec = {", "  \"vendor_id\": \"10de\",", "  \"product_id\": }"];
        let Err(Never::Malformed(why)) = Fit::of(&host(&split)).specs[0].functions.clone() else { panic!() };
        assert!(why.ends_with("(line 4)"), "{why}");
    }

    #[test]
    fn a_virtual_function_fits_an_alias_without_a_type_and_its_parents_address() {
        let mut snap = host(&[
            &format!("device_spec = {{\"address\": \"{GPU}\"}}"),
            r#"alias = {"name": "v", "vendor_id": "10de", "product_id": "22ba"}"#,
        ]);
        t::change(&mut snap, "0000:01:00.1", |f| {
            f.ids = Fact::Known(Ids { vendor: 0x10de, device: 0x22ba });
            f.physical = Fact::Known(t::at(GPU));
        });
        let fit = Fit::of(&snap);
        assert_eq!(fit.specs[0].functions, Ok(vec![t::at(GPU), t::at("0000:01:00.1")]));
        assert_eq!(fit.aliases[0].functions, Ok(vec![t::at("0000:01:00.1")]));
        assert_eq!(fit.with_virtual, [t::at(GPU)]);
    }

    #[test]
    fn flavors() {
        let snap = host(&[SPEC, ALIAS]);
        let fit = Fit::of(&snap);
        let served = |text: &str| -> Vec<bool> { fit.flavor(text).unwrap().iter().map(Request::is_served).collect() };
        for one in ["a:1", "pci_passthrough:alias=a:1", "\"pci_passthrough:alias\"=\"a:1\"", " a:1 "] {
            assert_eq!(served(one), [true], "{one}");
        }
        assert_eq!(served("a:2"), [false]);
        assert_eq!(served("a:1,a:1"), [true, false], "one card is given once");
        assert_eq!(served("b:1"), [false]);
        for wrong in ["", "a", "a:x", "a:1,", "a:-1", "a:99999999999"] {
            assert!(fit.flavor(wrong).is_err(), "{wrong}");
        }
        let twice = host(&[SPEC, ALIAS, &ALIAS.replace("type-PF", "type-PCI")]);
        assert!(!Fit::of(&twice).is_valid() && Fit::of(&twice).mixed == ["a"]);
    }
}
