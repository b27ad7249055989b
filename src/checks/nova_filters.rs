//! A scheduler that picks hosts for PCI devices without looking whether they have one.

use super::{Check, Ctx, Finding, Severity, words};
use crate::facts::hypervisor::nova::SCHEDULER;
use crate::facts::{Evidence, TextFile};
use crate::parse::oslo_conf::{self, Entry};
use std::collections::BTreeMap;

pub(super) const CHECK: Check = Check { ids: &["nova-missing-filter"], run };

/// What looks at the devices of a host (nova/scheduler/filters/pci_passthrough_filter.py); not among the defaults
/// (nova/conf/scheduler.py `enabled_filters`).
const FILTER: &str = "PciPassthroughFilter";

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let hypervisor = &ctx.snap.hypervisor;
    let Some(rule) = hypervisor.rules.iter().find(|rule| rule.malformed.is_none()) else { return Vec::new() };
    // The files of `/etc/nova` are one configuration; under kolla, and in a paste, each file is one.
    let mut services: BTreeMap<&str, Vec<&TextFile>> = BTreeMap::new();
    for file in &hypervisor.files {
        let own = if file.path.starts_with("/etc/nova/") { "/etc/nova/" } else { file.path.as_str() };
        services.entry(own).or_default().push(file);
    }
    let finding = |files: Vec<&TextFile>| {
        let evidence = missing(&files)?;
        let variant = if evidence.line.is_some() { "" } else { "default" };
        let finding = Finding::new("nova-missing-filter", Severity::Warning, words::subject(&evidence));
        Some(finding.variant(variant).lines([Some(evidence), Some(rule.evidence.clone())]))
    };
    services.into_values().filter_map(finding).collect()
}

/// What says that one service's scheduler has no such filter; none if it has, if placement looks for devices instead, or if this is no
/// scheduler's configuration.
fn missing(files: &[&TextFile]) -> Option<Evidence> {
    let entries: Vec<(&TextFile, Entry)> =
        files.iter().flat_map(|file| oslo_conf::parse(&file.text).into_iter().map(|entry| (*file, entry))).collect();
    // The last one counts. No other section has such a key, and a paste may lack the heading.
    let last = |key: &str| entries.iter().rev().find(|(_, entry)| entry.key == key);
    if last("pci_in_placement")
        .is_some_and(|(_, entry)| matches!(entry.value.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on"))
    {
        return None;
    }
    match last("enabled_filters") {
        Some((file, entry)) => {
            let text = format!("enabled_filters = {}", entry.value.replace('\n', " "));
            let has = entry.value.split([',', '\n']).any(|name| name.trim().rsplit('.').next() == Some(FILTER));
            (!has).then(|| Evidence::at(file.path.clone(), entry.line, text))
        }
        None => {
            let file = files.iter().find(|file| file.path == SCHEDULER)?;
            Some(Evidence::new(file.path.clone(), "no enabled_filters"))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::checks::testing::*;
    use crate::facts::hypervisor::nova::{SCHEDULER, rules};

    const RULE: &str = "[pci]\ndevice_spec = {\"vendor_id\": \"10de\", \"product_id\": \"2684\"}\n";

    fn said(files: &[(&str, &str)]) -> Vec<String> {
        let mut snap = healthy();
        for (path, text) in files {
            snap.hypervisor.rules.extend(rules(path, text));
            snap.hypervisor.files.push(file(path, text));
        }
        shown(&only(&check(&snap), "nova-missing-filter"))
    }

    #[test]
    fn the_list_of_filters() {
        let nova = "/etc/nova/nova.conf";
        let with = |lines: &str| said(&[(nova, &format!("{RULE}[filter_scheduler]\n{lines}"))]);
        let missing = ["warning nova-missing-filter /etc/nova/nova.conf:4"];
        assert_eq!(with("enabled_filters = ComputeFilter,ImagePropertiesFilter\n"), missing);
        assert_eq!(with("enabled_filters = ComputeFilter\npci_in_placement = False\n"), missing);
        assert!(with("enabled_filters = ComputeFilter, PciPassthroughFilter\n").is_empty());
        assert!(with("enabled_filters = ComputeFilter\npci_in_placement = True\n").is_empty());
        assert!(with("").is_empty(), "a compute node that is no scheduler");
        let no_rule = said(&[(nova, "[filter_scheduler]\nenabled_filters = ComputeFilter\n")]);
        assert!(no_rule.is_empty(), "nobody asks for PCI devices");
        let list = "[filter_scheduler]\nenabled_filters = ComputeFilter\n";
        let later = "[filter_scheduler]\nenabled_filters = PciPassthroughFilter\n";
        assert!(said(&[(nova, &format!("{RULE}{list}")), ("/etc/nova/nova.conf.d/pci.conf", later)]).is_empty());
    }

    #[test]
    fn kolla_has_a_file_for_each_service() {
        let compute = ("/etc/kolla/nova-compute/nova.conf", RULE);
        assert_eq!(said(&[compute, (SCHEDULER, "[DEFAULT]\n")]), ["warning nova-missing-filter/default host"]);
        let list = "[filter_scheduler]\nenabled_filters = ComputeFilter\n";
        assert_eq!(said(&[compute, (SCHEDULER, list)]), [format!("warning nova-missing-filter {SCHEDULER}:2")]);
        assert!(said(&[compute]).is_empty());
    }
}
