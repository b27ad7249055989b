//! What is given to vfio-pci as `ids`: items that it cannot read, that no device has, or that take too much.

use super::intent::{Claim, claims};
use super::words::{self, ModuleOption};
use super::{Check, Ctx, Finding, Severity};
use crate::facts::pci::Function;
use crate::facts::usage::{Use, UseKind};
use crate::facts::{Evidence, Snapshot};
use crate::host::Fact;
use crate::parse::cmdline::Cmdline;
use crate::parse::vfio_ids::{self, Fault, LIMIT};

pub(super) const CHECK: Check = Check { ids: &["ids-malformed", "ids-match-nothing", "ids-take-too-much"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let options = words::options(ctx.snap, "vfio_pci");
    for option in options.iter().filter(|option| option.name == "ids") {
        findings.extend(malformed(option));
    }
    findings.extend(blanks(ctx.snap));
    for claim in merged(claims(ctx.snap)) {
        findings.extend(matched(ctx, &claim));
    }
    findings
}

fn malformed(option: &ModuleOption) -> Vec<Finding> {
    let finding = |variant| {
        Finding::new("ids-malformed", Severity::Error, words::subject(&option.evidence))
            .variant(variant)
            .evidence(option.evidence.clone())
    };
    if option.value.len() > LIMIT {
        return vec![finding("too-long").value("item", format!("{} bytes", option.value.len()))];
    }
    let faulty = |item: vfio_ids::Item<'_>| {
        let variant = match item.fault? {
            Fault::Placeholder => "placeholder",
            Fault::OneNumber => "one-number",
            Fault::Address => "address",
            Fault::Separator => "separator",
            Fault::TooBig => "too-big",
            Fault::NotHex => "",
        };
        Some(finding(variant).value("item", item.text.trim()))
    };
    vfio_ids::parse(&option.value).into_iter().filter_map(faulty).collect()
}

/// Ids behind a blank: `ids=10de:2684, 10de:22ba` ends at the blank, and the rest is no option.
fn blanks(snap: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    for directive in &snap.modules.directives {
        if directive.word != "options" || !words::matches_module(&directive.module, "vfio_pci") {
            continue;
        }
        let line = Cmdline::parse(&directive.rest);
        let stray = |word: &&crate::parse::cmdline::Word<'_>| {
            vfio_ids::parse(word.text).iter().any(|item| item.spec.is_some()) && word.value.is_none()
        };
        if let Some(word) = line.words.iter().find(stray).filter(|_| line.has("ids")) {
            let evidence = words::directive_evidence(snap, directive);
            findings.push(
                Finding::new("ids-malformed", Severity::Error, words::subject(&evidence))
                    .variant("blank")
                    .value("item", word.text)
                    .evidence(evidence),
            );
        }
    }
    let places = snap.boot.places.iter().filter(|place| place.effective);
    let lines = places.map(|place| (place.words.join(" "), words::place_evidence(place)));
    let running = snap.kernel.cmdline.known().map(|file| file.text.clone()).zip(words::running_evidence(snap));
    for (text, evidence) in lines.chain(running) {
        let line = Cmdline::parse(&text);
        let pairs = line.words.iter().zip(line.words.iter().skip(1));
        let mut stray = pairs.filter(|(list, word)| {
            let id = vfio_ids::parse(word.text).iter().any(|item| item.spec.is_some()) && word.value.is_none();
            list.name == "vfio_pci.ids" && id
        });
        if let Some((_, word)) = stray.next() {
            findings.push(
                Finding::new("ids-malformed", Severity::Error, words::subject(&evidence))
                    .variant("blank-word")
                    .value("item", word.text)
                    .evidence(evidence),
            );
        }
    }
    findings
}

/// Claims of the same ids in several places, as one.
struct Merged {
    claim: Claim,
    evidence: Vec<Evidence>,
}

fn merged(claims: Vec<Claim>) -> Vec<Merged> {
    let mut merged: Vec<Merged> = Vec::new();
    for claim in claims {
        match merged.iter_mut().find(|other| other.claim.spec == claim.spec) {
            Some(same) if same.evidence.contains(&claim.evidence) => {}
            Some(same) => same.evidence.push(claim.evidence),
            None => merged.push(Merged { evidence: vec![claim.evidence.clone()], claim }),
        }
    }
    merged
}

fn matched(ctx: &Ctx<'_>, merged: &Merged) -> Option<Finding> {
    let pci = &ctx.snap.pci;
    let claim = &merged.claim;
    let first = merged.evidence.first()?;
    let taken: Vec<&Function> = pci.functions.iter().filter(|f| claim.takes(f) == Some(true)).collect();
    let in_doubt = pci.functions.iter().any(|f| claim.takes(f).is_none());
    if taken.is_empty() {
        let ids_fit_a_device = claim.spec.vendor <= 0xffff && claim.spec.device <= 0xffff;
        if pci.functions.is_empty() || pci.missing.is_some() || in_doubt || !ids_fit_a_device {
            return None;
        }
        let mut finding =
            Finding::new("ids-match-nothing", Severity::Warning, words::subject(first)).value("ids", &claim.text);
        finding.evidence.clone_from(&merged.evidence);
        return Some(finding);
    }
    let of_host = |f: &&&Function| !f.is_bridge() && !f.on_vfio() && host_use(ctx.snap, f).is_some();
    let host = taken.iter().find(of_host)?;
    let used = host_use(ctx.snap, host)?;
    // Of a single device it may be the wish, unless nobody can wish it.
    let vital = matches!(used.kind, UseKind::RootStorage | UseKind::DefaultRoute | UseKind::SshSession);
    if taken.len() == 1 && !vital {
        return None;
    }
    let addresses: Vec<String> = taken.iter().map(|f| f.address.to_string()).collect();
    let mut finding = Finding::new("ids-take-too-much", Severity::Error, words::subject(first))
        .value("ids", &claim.text)
        .value("count", taken.len())
        .value("devices", addresses.join(", "))
        .value("device", host.address)
        .value("use", &used.by)
        .variant(if taken.len() == 1 { "one" } else { "" });
    finding.evidence.clone_from(&merged.evidence);
    Some(finding.evidence(used.evidence))
}

/// True if this claim takes what the host needs along: then to make it work is no advice.
pub(super) fn takes_too_much(ctx: &Ctx<'_>, claim: &Claim) -> bool {
    let merged = Merged { claim: claim.clone(), evidence: vec![claim.evidence.clone()] };
    matched(ctx, &merged).is_some_and(|finding| finding.id == "ids-take-too-much")
}

/// What this host does with a function and cannot do without it.
fn host_use(snap: &Snapshot, function: &Function) -> Option<Use> {
    let critical = |used: &&Use| {
        matches!(
            used.kind,
            UseKind::RootStorage
                | UseKind::Storage
                | UseKind::DefaultRoute
                | UseKind::SshSession
                | UseKind::Network
                | UseKind::Display
                | UseKind::OnlyConsole
        )
    };
    let found = snap.usage.of(&function.address).filter(critical).min_by_key(|used| used.kind).cloned();
    found.or_else(|| {
        let evidence = function.boot_display_evidence.clone()?;
        let display = function.boot_display == Fact::Known(true);
        display.then(|| Use { address: function.address, kind: UseKind::Display, by: "boot display".into(), evidence })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;

    fn malformed_of(line: &str) -> Vec<String> {
        let mut snap = unknown();
        modprobe(&mut snap, "vfio.conf", line);
        let findings = check(&snap);
        only(&findings, "ids-malformed").iter().map(|f| format!("{} {}", f.variant, f.values[0].1)).collect()
    }

    #[test]
    fn malformed_items() {
        for (line, expected) in [
            ("options vfio-pci ids=10de:2684,10de:22ba", vec![]),
            ("options vfio-pci ids=10DE:2684,", vec![]),
            ("options vfio-pci ids=xxxx:xxxx,10de:22ba", vec!["placeholder xxxx:xxxx"]),
            (
                "options vfio-pci ids=<vendor-id>,<device-id>",
                vec!["placeholder <vendor-id>", "placeholder <device-id>"],
            ),
            ("options vfio-pci ids=10de,2684", vec!["one-number 10de", "one-number 2684"]),
            ("options vfio-pci ids=01:00.0", vec!["address 01:00.0"]),
            ("options vfio-pci ids=10de:2684;10de:22ba", vec!["separator 10de:2684;10de:22ba"]),
            ("options vfio-pci ids=10de:2684, 10de:22ba", vec!["blank 10de:22ba"]),
            ("options vfio-pci ids=RTX4090", vec![" RTX4090"]),
            ("options snd ids=RTX4090", vec![]),
        ] {
            assert_eq!(malformed_of(line), expected, "{line}");
        }
        let long = format!("options vfio-pci ids={}", "10de:2684,".repeat(200));
        assert_eq!(malformed_of(&long), ["too-long 2000 bytes"]);
    }

    #[test]
    fn no_such_device() {
        let mut snap = healthy();
        modprobe(&mut snap, "/etc/modprobe.d/v.conf", "options vfio-pci ids=10de:2684,10de:1b80");
        let findings = check(&snap);
        assert_eq!(only(&findings, "ids-match-nothing").len(), 1);
        snap.pci.functions.clear();
        assert!(only(&check(&snap), "ids-match-nothing").is_empty());
    }

    #[test]
    fn a_device_of_the_host_has_the_same_id() {
        let mut snap = healthy();
        add(&mut snap, with_driver(function("0000:05:00.0", "8086:7ae2", 0x01_0601), "ahci"));
        modprobe(&mut snap, "/etc/modprobe.d/v.conf", "options vfio-pci ids=8086:7ae2");
        let findings = check(&snap);
        let found = only(&findings, "ids-take-too-much");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].evidence.len(), 2);
        // To make such a claim work is no advice.
        assert!(only(&findings, "native-driver-won").is_empty() && only(&findings, "early-load-missing").is_empty());
        // The subsystem tells them apart.
        let mut apart = healthy();
        let mut other = with_driver(function("0000:05:00.0", "8086:7ae2", 0x01_0601), "ahci");
        other.subsystem = Fact::Known(crate::facts::pci::Ids { vendor: 0x1849, device: 0x1234 });
        add(&mut apart, other);
        modprobe(&mut apart, "/etc/modprobe.d/v.conf", "options vfio-pci ids=8086:7ae2:1849:1234");
        assert!(only(&check(&apart), "ids-take-too-much").is_empty());
    }
}
