//! Files that hold nothing but kernel words: lines that are not read, a missing root, words that grew together.

use super::words;
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::boot::{Chain, Place};
use crate::facts::{Evidence, TextFile};
use crate::parse::cmdline::Cmdline;
use crate::parse::lines::lines;
use std::collections::BTreeSet;

pub(super) const CHECK: Check =
    Check { ids: &["cmdline-second-line", "cmdline-without-root", "cmdline-words-glued"], run };

/// The file of proxmox-boot-tool, kernel-install and mkinitcpio.
const CMDLINE: &str = "/etc/kernel/cmdline";

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let boot = &ctx.snap.boot;
    let may_boot = |chain: Chain| boot.candidates.is_empty() || boot.candidates.iter().any(|c| c.chain == chain);
    let file = boot.places.iter().find(|place| place.file.path.ends_with(CMDLINE) && !place.generated);
    if let Some(place) = file {
        if place.chain == Chain::ProxmoxSystemdBoot && may_boot(Chain::ProxmoxSystemdBoot) {
            findings.extend(second_line(&place.file));
            findings.extend(proxmox_root(&place.file));
        } else if matches!(place.chain, Chain::SystemdBoot | Chain::Uki | Chain::Sdbootutil) && place.effective {
            findings.extend(other_root(ctx, place));
        }
    }
    findings.extend(glued(ctx));
    findings
}

/// proxmox-boot-tool takes the first line alone (proxmox-kernel-helper `zz-proxmox-boot` `get_first_line`, since 7.1-5).
fn second_line(file: &TextFile) -> Option<Finding> {
    let mut all = lines(&file.text);
    let first = all.next()?;
    let has = |text: &str| {
        let line = Cmdline::parse(first.text);
        words_of(text).iter().all(|word| line.has_word(word))
    };
    let rest: Vec<_> = all.filter(|line| !line.text.trim().is_empty() && !line.text.trim().starts_with('#')).collect();
    let second = rest.first()?;
    let lost: Vec<&str> = rest.iter().map(|line| line.text.trim()).collect();
    let all_there = rest.iter().all(|line| has(line.text));
    // Words that do nothing, or nothing that is needed: they are not worth a place in the first line.
    let needless = |word: &String| matches!(word.as_str(), "amd_iommu=on" | "iommu=pt" | "nofb");
    let all_needless = rest.iter().all(|line| words_of(line.text).iter().all(needless));
    let mut finding =
        Finding::new("cmdline-second-line", Severity::Warning, Subject::Line(file.path.clone(), second.number))
            .variant(match () {
                () if all_there => "repeated",
                () if all_needless => "needless",
                () => "",
            })
            .value("words", lost.join(" "))
            .evidence(Evidence::at(file.path.clone(), first.number, first.text.trim()));
    for line in rest.iter().take(3) {
        finding = finding.evidence(Evidence::at(file.path.clone(), line.number, line.text.trim()));
    }
    Some(finding)
}

fn words_of(text: &str) -> Vec<String> {
    crate::parse::cmdline::words(text)
}

/// Without `root=` in its first line the hook ends with an error before any ESP is written.
fn proxmox_root(file: &TextFile) -> Option<Finding> {
    let first = file.text.lines().next().unwrap_or_default();
    if Cmdline::parse(first).has("root") {
        return None;
    }
    let finding = Finding::new("cmdline-without-root", Severity::Error, Subject::Line(file.path.clone(), 1));
    Some(finding.evidence(Evidence::at(file.path.clone(), 1, first.trim())))
}

/// Elsewhere a root can be found by its partition type; but if the running kernel was given one, the next should be, too.
fn other_root(ctx: &Ctx<'_>, place: &Place) -> Option<Finding> {
    let running = words::running(ctx.snap);
    let evidence = words::running_evidence(ctx.snap).filter(|_| running.has("root"))?;
    let sources = ctx.snap.boot.places.iter().filter(|other| other.effective && !other.generated);
    let given = sources.flat_map(|other| &other.words).any(|word| word.starts_with("root=") || word.contains('$'));
    let finding =
        Finding::new("cmdline-without-root", Severity::Warning, words::subject(&words::place_evidence(place)));
    (!given).then(|| finding.variant("other").evidence(words::place_evidence(place)).evidence(evidence))
}

/// Parameters that guides append to a line; if the line had no line break at its end, they grow into its last word.
const APPENDED: &[&str] = &[
    "intel_iommu=",
    "amd_iommu=",
    "iommu=",
    "pcie_acs_override=",
    "vfio-pci.ids=",
    "vfio_pci.ids=",
    "initcall_blacklist=",
];

fn glued(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for word in words::all(ctx.snap) {
        let Some((before, after)) = split(&word.text) else { continue };
        if !seen.insert(word.text.clone()) {
            continue;
        }
        let fatal = ["root=", "boot=", "rootflags=", "init="].iter().any(|start| before.starts_with(start));
        let severity = if fatal { Severity::Error } else { Severity::Warning };
        let mut finding = Finding::new("cmdline-words-glued", severity, word.subject())
            .variant(if fatal { "root" } else { "" })
            .value("word", &word.text)
            .value("before", before)
            .value("after", after);
        finding.evidence.clone_from(&word.evidence);
        findings.push(finding);
    }
    findings
}

/// The two words that a word is made of, if a known parameter begins in the middle of it behind a letter or digit.
fn split(word: &str) -> Option<(&str, &str)> {
    APPENDED
        .iter()
        .filter_map(|name| {
            let at = word.find(name)?;
            let (before, after) = word.split_at_checked(at)?;
            before.ends_with(|c: char| c.is_ascii_alphanumeric()).then_some((before, after))
        })
        .min_by_key(|(before, _)| before.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;
    use crate::facts::Snapshot;
    use crate::facts::boot::Candidate;

    fn proxmox(text: &str) -> Snapshot {
        let mut snap = healthy();
        snap.boot.places.clear();
        let chain = Chain::ProxmoxSystemdBoot;
        snap.boot.candidates = vec![Candidate { chain, evidence: Vec::new(), proven: true }];
        for (number, line) in (1u32..).zip(text.lines()) {
            let added = place(&mut snap, chain, CMDLINE, "", line);
            added.file = file(CMDLINE, text).into();
            added.line = number;
            added.effective = number == 1;
        }
        snap
    }

    fn found(snap: &Snapshot) -> Vec<String> {
        shown(&check(snap)).into_iter().filter(|line| line.contains(" cmdline-")).collect()
    }

    #[test]
    fn proxmox_reads_one_line() {
        assert!(
            found(&proxmox("root=ZFS=rpool/ROOT/pve-1 boot=zfs intel_iommu=on\n")).is_empty()
                || found(&proxmox("root=ZFS=rpool/ROOT/pve-1 boot=zfs intel_iommu=on\n"))
                    .iter()
                    .all(|line| line.contains("cmdline-not-in-effect"))
        );
        let two = proxmox("root=ZFS=rpool/ROOT/pve-1 boot=zfs\nintel_iommu=on\n");
        assert_eq!(found(&two), ["warning cmdline-second-line /etc/kernel/cmdline:2"]);
        let repeated = proxmox("root=ZFS=rpool/ROOT/pve-1 boot=zfs quiet\n\nquiet\n");
        assert_eq!(found(&repeated), ["warning cmdline-second-line/repeated /etc/kernel/cmdline:3"]);
        let needless = proxmox("root=ZFS=rpool/ROOT/pve-1 boot=zfs\namd_iommu=on iommu=pt\n");
        assert_eq!(found(&needless), ["warning cmdline-second-line/needless /etc/kernel/cmdline:2"]);
        let rootless = proxmox("intel_iommu=on\n");
        assert!(found(&rootless).contains(&"error cmdline-without-root /etc/kernel/cmdline:1".to_owned()));
        let glued = proxmox("root=ZFS=rpool/ROOT/pve-1 boot=zfsintel_iommu=on\n");
        assert!(found(&glued).contains(&"error cmdline-words-glued/root /etc/kernel/cmdline:1".to_owned()));
    }

    #[test]
    fn where_grub_boots_the_file_is_not_read() {
        let mut snap = proxmox("intel_iommu=on\n\nquiet\n");
        snap.boot.candidates[0].chain = Chain::ProxmoxGrub;
        snap.boot.places[0].effective = false;
        assert!(!found(&snap).iter().any(|line| line.contains("second-line") || line.contains("without-root")));
    }

    #[test]
    fn kernel_install_joins_lines() {
        let mut snap = proxmox("root=UUID=1 ro\nintel_iommu=on\n");
        cmdline(&mut snap, "root=UUID=1 ro intel_iommu=on");
        for place in &mut snap.boot.places {
            place.chain = Chain::SystemdBoot;
            place.effective = true;
        }
        snap.boot.candidates[0].chain = Chain::SystemdBoot;
        assert!(found(&snap).is_empty());
        snap.boot.places.remove(0);
        assert_eq!(found(&snap), ["warning cmdline-without-root/other /etc/kernel/cmdline:2"]);
    }

    #[test]
    fn words_that_only_look_glued() {
        for word in ["intel_iommu=on", "iommu=pt", "x.y=a,iommu=1", "amd_iommu=off", "kvm-intel.nested=1"] {
            assert_eq!(split(word), None, "{word}");
        }
        assert_eq!(split("quietintel_iommu=on"), Some(("quiet", "intel_iommu=on")));
    }
}
