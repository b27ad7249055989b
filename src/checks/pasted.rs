//! What only a paste can show: groups without addresses, two kinds of files with kernel words, nova's lines.
//!
//! On a host the facts say more, so these look at pastes alone.

use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::iommu::Unaddressed;
use crate::facts::{Evidence, Origin, Snapshot};

pub(super) const CHECK: Check = Check { ids: &["group-shared", "cmdline-not-in-effect", "nova-config-invalid"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let snap = ctx.snap;
    if !matches!(snap.origin, Origin::Paste(_)) {
        return Vec::new();
    }
    let mut findings: Vec<Finding> = groups(snap);
    findings.extend(two_places(snap));
    for rule in &snap.hypervisor.rules {
        if let Some(reason) = &rule.malformed {
            let subject = Subject::Line(rule.evidence.source.clone(), rule.evidence.line.unwrap_or(1));
            findings.push(
                Finding::new("nova-config-invalid", Severity::Error, subject)
                    .value("reason", reason)
                    .evidence(rule.evidence.clone()),
            );
        }
    }
    findings
}

/// Makers whose cards people give to VMs, with words that their graphics and accelerators have in pci.ids.
const CARDS: &[(u16, &[&str])] = &[
    (
        0x10de,
        &[
            "GeForce", "Quadro", "Tesla", "RTX", "GTX", "NVS", "GRID", "A100", "H100", "H200", "B200", "L40", "L4]",
            "T4]",
        ],
    ),
    (0x1002, &["Radeon", "FirePro", "Instinct", "Navi", "Vega", "Polaris", "Ellesmere", "Baffin"]),
    (0x8086, &["Arc ", "[Arc", "DG2", "Battlemage"]),
];

fn is_card(member: &Unaddressed) -> bool {
    let audio = member.name.contains("Audio") || member.name.contains("USB") || member.name.contains("UCSI");
    let known = |(vendor, words): &(u16, &[&str])| {
        *vendor == member.ids.vendor && words.iter().any(|word| member.name.contains(word))
    };
    !audio && CARDS.iter().any(known)
}

/// Bridges and ports are in nobody's way, and neither is a card's own sound or USB function.
fn in_the_way(card: &Unaddressed, member: &Unaddressed) -> bool {
    let bridge = ["Bridge", "bridge", "Port", "Switch", "Root Complex"].iter().any(|word| member.name.contains(word));
    member.ids.vendor != card.ids.vendor && !bridge
}

fn groups(snap: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, group) in &snap.iommu.groups {
        let Some(card) = group.unaddressed.iter().find(|member| is_card(member)) else { continue };
        let others: Vec<&Unaddressed> = group.unaddressed.iter().filter(|member| in_the_way(card, member)).collect();
        if others.is_empty() {
            continue;
        }
        let names: Vec<String> = others.iter().map(|other| format!("{} [{}]", other.name, other.ids)).collect();
        let mut finding = Finding::new("group-shared", Severity::Warning, Subject::Group(*number))
            .variant("unaddressed")
            .value("group", number)
            .value("wanted", &card.name)
            .value("others", names.join(", "))
            .evidence(card.evidence.clone());
        for other in others.iter().take(8) {
            finding = finding.evidence(other.evidence.clone());
        }
        findings.push(finding);
    }
    findings
}

/// GRUB's settings and a one-line command line file: a loader reads one of them.
fn two_places(snap: &Snapshot) -> Option<Finding> {
    let evidence = |place: &crate::facts::boot::Place| {
        let text = place.file.text.lines().nth(place.line as usize - 1).unwrap_or_default();
        Evidence::at(place.file.path.clone(), place.line, text.trim())
    };
    let grub =
        snap.boot.places.iter().find(|place| place.key.starts_with("GRUB_CMDLINE") && !place.words.is_empty())?;
    let words = snap.boot.places.iter().find(|place| place.key.is_empty() && !place.words.is_empty())?;
    if !snap.boot.candidates.is_empty() {
        return None;
    }
    let finding = Finding::new("cmdline-not-in-effect", Severity::Info, Subject::Host).variant("two-places");
    Some(finding.evidence(evidence(grub)).evidence(evidence(words)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::pasted::snapshot;
    use crate::goal::Goal;

    fn found(text: &str) -> Vec<(&'static str, String)> {
        let snap = snapshot("paste", text);
        run(&Ctx::new(&snap, &Goal::default())).into_iter().map(|f| (f.id, f.subject.to_string())).collect()
    }

    #[test]
    fn a_group_without_addresses() {
        let card = "IOMMU Group 9: NVIDIA Corporation: GA106 [GeForce RTX 3060] (rev a1): [10de:2504]\n\
            IOMMU Group 9: NVIDIA Corporation: GA106 High Definition Audio Controller (rev a1): [10de:228e]\n\
            IOMMU Group 9: Advanced Micro Devices, Inc. [AMD]: 400 Series Chipset PCIe Port (rev 01): [1022:43c7]\n";
        assert_eq!(found(card), []);
        let disk = format!("{card}IOMMU Group 9: Kingston: A2000 NVMe SSD (rev 03): [2646:2263]\n");
        assert_eq!(found(&disk), [("group-shared", "group 9".to_owned())]);
    }

    #[test]
    fn two_kinds_of_files() {
        let words = "root=ZFS=rpool/ROOT/pve-1 boot=zfs intel_iommu=on\n";
        assert_eq!(found(words), []);
        let both = format!("{words}GRUB_CMDLINE_LINUX_DEFAULT=\"quiet intel_iommu=on\"\n");
        assert_eq!(found(&both), [("cmdline-not-in-effect", "host".to_owned())]);
    }

    #[test]
    fn lines_that_nova_refuses() {
        assert_eq!(found("device_spec = { \"vendor_id\": \"10de\" }\n"), []);
        assert_eq!(
            found("x\ndevice_spec = { \"vendor_id\": 10de }\n"),
            [("nova-config-invalid", "paste:2".to_owned())]
        );
    }
}
