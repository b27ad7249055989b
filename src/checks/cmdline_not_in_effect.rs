//! Words that are written in a file and that the running kernel did not get, and how far they came.

use super::cmdline_words::is_about_passthrough;
use super::{Check, Ctx, Finding, Severity, words};
use crate::facts::Evidence;
use crate::facts::boot::{Chain, Place, Reach, booting_entries, configured_words, refresh_command};
use crate::parse::cmdline::Cmdline;

pub(super) const CHECK: Check = Check { ids: &["cmdline-not-in-effect"], run };

/// Words of one place that came equally far.
struct Group<'a> {
    place: &'a Place,
    reach: Reach,
    words: Vec<&'a str>,
}

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let snap = ctx.snap;
    let Some(running) = snap.kernel.cmdline.known() else { return Vec::new() };
    let release = snap.kernel.release.known().map(String::as_str);
    let mut groups: Vec<Group<'_>> = Vec::new();
    for configured in configured_words(&snap.boot, &running.text, release) {
        let line = Cmdline::parse(configured.word);
        let relevant = line.words.first().is_some_and(|word| is_about_passthrough(&word.name));
        if configured.reach == Reach::Running || !relevant {
            continue;
        }
        let same =
            |group: &&mut Group<'_>| std::ptr::eq(group.place, configured.place) && group.reach == configured.reach;
        match groups.iter_mut().find(same) {
            Some(group) => group.words.push(configured.word),
            None => {
                groups.push(Group { place: configured.place, reach: configured.reach, words: vec![configured.word] })
            }
        }
    }
    groups.iter().filter_map(|group| finding(ctx, group)).collect()
}

fn finding(ctx: &Ctx<'_>, group: &Group<'_>) -> Option<Finding> {
    let boot = &ctx.snap.boot;
    let chain = boot.chain().unwrap_or_default();
    let written = words::place_evidence(group.place);
    let (severity, variant) = match group.reach {
        Reach::Running => return None,
        Reach::NotBooted => (Severity::Warning, "not-rebooted"),
        Reach::NotGenerated => (Severity::Warning, "not-refreshed"),
        // cmdline-second-line says it of further lines there.
        Reach::NotRead if group.place.chain == Chain::ProxmoxSystemdBoot && chain == group.place.chain => return None,
        Reach::NotRead if group.place.chain == chain => (Severity::Warning, "replaced"),
        Reach::NotRead => (Severity::Warning, "wrong-loader"),
        Reach::Unclear => (Severity::Info, ""),
    };
    let missing = group.words.join(" ");
    let mut finding = Finding::new("cmdline-not-in-effect", severity, words::subject(&written))
        .variant(variant)
        .value("command", refresh_command(chain, &missing))
        .value("words", missing)
        .value("file", &group.place.file.path)
        .value("chain", chain.id())
        .evidence(written);
    finding.evidence.extend(words::running_evidence(ctx.snap));
    match group.reach {
        Reach::NotRead => {
            let candidate = boot.candidates.iter().find(|candidate| candidate.chain == chain);
            finding.evidence.extend(candidate.into_iter().flat_map(|c| c.evidence.iter().take(2).cloned()));
        }
        Reach::NotGenerated | Reach::NotBooted => {
            let release = ctx.snap.kernel.release.known().map(String::as_str);
            let entry: Option<Evidence> = booting_entries(boot, release).first().map(|p| words::place_evidence(p));
            finding.evidence.extend(entry.filter(|entry| !finding.evidence.contains(entry)));
        }
        _ => {}
    }
    if variant == "not-refreshed" && finding.values.iter().any(|(name, value)| *name == "command" && value.is_empty()) {
        finding = finding.variant("");
    }
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;
    use crate::facts::Snapshot;
    use crate::facts::boot::Candidate;

    const ENTRY: &str = "linux /boot/vmlinuz root=/dev/mapper/pve-root ro quiet";

    fn host(chain: Chain, source: &str, words_of_entry: &str) -> Snapshot {
        let mut snap = healthy();
        snap.boot.candidates = vec![Candidate { chain, evidence: vec![Evidence::new("x", "y")], proven: true }];
        snap.boot.places.clear();
        place(&mut snap, chain, source, "WORDS=\"quiet intel_iommu=on splash\"", "quiet intel_iommu=on splash");
        let entry = place(&mut snap, chain, "/boot/grub/grub.cfg", ENTRY, words_of_entry);
        entry.generated = true;
        entry.release = Some(RELEASE.into());
        snap
    }

    fn found(snap: &Snapshot) -> Vec<(String, String)> {
        let findings = check(snap);
        let value = |f: &Finding, name: &str| {
            f.values.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()).unwrap_or_default()
        };
        let found = only(&findings, "cmdline-not-in-effect");
        found.iter().map(|f| (format!("{} {}", f.variant, value(f, "words")), value(f, "command"))).collect()
    }

    #[test]
    fn how_far_it_came() {
        let grub = "/etc/default/grub";
        let mut snap = host(Chain::Grub, grub, "root=/dev/mapper/pve-root ro quiet");
        assert_eq!(found(&snap)[0].0, "not-refreshed intel_iommu=on");
        assert!(found(&snap)[0].1.starts_with("update-grub"));
        snap = host(Chain::Grub, grub, "root=/dev/mapper/pve-root ro quiet intel_iommu=on");
        assert_eq!(found(&snap)[0].0, "not-rebooted intel_iommu=on");
        cmdline(&mut snap, "root=/dev/mapper/pve-root ro quiet intel_iommu=on");
        assert!(found(&snap).is_empty());
        let el = host(Chain::GrubBls, grub, "root=/dev/mapper/pve-root ro quiet");
        assert_eq!(found(&el)[0].1, "grubby --update-kernel=ALL --args=\"intel_iommu=on\"");
    }

    #[test]
    fn a_loader_that_does_not_boot_this_host() {
        let mut snap = host(Chain::Grub, "/etc/default/grub", "root=/dev/mapper/pve-root ro quiet");
        snap.boot.candidates[0].chain = Chain::ProxmoxSystemdBoot;
        snap.boot.places[0].effective = false;
        assert_eq!(found(&snap)[0].0, "wrong-loader intel_iommu=on");
        snap.boot.candidates[0].chain = Chain::Grub;
        assert_eq!(found(&snap)[0].0, "replaced intel_iommu=on");
        snap.boot.candidates.clear();
        assert_eq!(found(&snap)[0].0, " intel_iommu=on");
        snap.kernel.cmdline = crate::host::Fact::default();
        assert!(found(&snap).is_empty());
    }
}
