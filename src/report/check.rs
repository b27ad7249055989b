//! The findings of `check` as text.

use super::{Short, Style, count, cut, plain, wrap};
use crate::checks::verdict::{Verdict, device_verdict};
use crate::checks::{Finding, Severity, pages};
use crate::facts::{Evidence, Origin, Snapshot};
use crate::goal::Goal;
use std::collections::BTreeSet;

/// How many pieces of evidence are shown unless more is asked for.
const EVIDENCE_SHOWN: usize = 3;

/// Errors and warnings in full, the rest in short unless `verbose`; the verdict last.
pub fn findings(
    style: &Style,
    snap: &Snapshot,
    goal: &Goal,
    verdict: Verdict,
    findings: &[Finding],
    verbose: bool,
) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&one(style, finding, verbose));
    }
    text.push_str(&summary(style, snap, goal, verdict, findings));
    text
}

/// One finding.
pub(super) fn one(style: &Style, finding: &Finding, verbose: bool) -> String {
    let width = style.text_width();
    let label = match finding.severity {
        Severity::Error => style.error("error"),
        Severity::Warning => style.warning("warning"),
        Severity::Info => style.note("info"),
    };
    let mut text = format!("{label}  {}  {}\n", style.strong(finding.id), plain(&finding.subject.to_string()));
    text.push_str(&wrap(&plain(&pages::message(finding)), 2, width));
    let brief = finding.severity == Severity::Info && !verbose;
    if !brief {
        let shown = if verbose { finding.evidence.len() } else { EVIDENCE_SHOWN };
        for evidence in finding.evidence.iter().take(shown) {
            text.push_str(&style.faint(wrap(&proof(finding, evidence), 4, width).trim_end()));
            text.push('\n');
        }
        let more = finding.evidence.len().saturating_sub(shown);
        if more > 0 {
            text.push_str(&format!("    … and {} (-v shows all)\n", count(more, "more line", "more lines")));
        }
        let remedy = pages::remedy(finding);
        if !remedy.is_empty() {
            text.push_str(&format!("  → {}", wrap(&plain(&remedy), 4, width).trim_start()));
        }
    }
    text.push('\n');
    text
}

/// `source:line: text` in one line; of a long line only the part around what the finding is about.
fn proof(finding: &Finding, evidence: &Evidence) -> String {
    let line = evidence.line.map_or_else(String::new, |line| format!(":{line}"));
    let text = evidence.text.trim();
    let shown = finding.values.iter().find_map(|(_, value)| around(text, value)).unwrap_or_else(|| text.to_owned());
    plain(&format!("{}{line}: {shown}", evidence.source))
}

/// Longer lines are cut to their neighbourhood.
const LONG: usize = 100;

/// The words next to `wanted` in a long text, with `…` where something was left out; `None` if it is not there.
fn around(text: &str, wanted: &str) -> Option<String> {
    if text.len() <= LONG || wanted.len() < 3 {
        return None;
    }
    let at = text.find(wanted)?;
    let before: Vec<&str> = text.get(..at)?.split_inclusive(' ').collect();
    let after: Vec<&str> = text.get(at + wanted.len()..)?.split_inclusive(' ').collect();
    let kept_before = before.get(before.len().saturating_sub(2)..)?.concat();
    let kept_after = after.get(..after.len().min(3))?.concat();
    let start = if before.len() > 2 { "… " } else { "" };
    let end = if after.len() > 3 { " …" } else { "" };
    Some(format!("{start}{kept_before}{wanted}{}{end}", kept_after.trim_end()))
}

fn summary(style: &Style, snap: &Snapshot, goal: &Goal, verdict: Verdict, findings: &[Finding]) -> String {
    let number = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings, infos) = (number(Severity::Error), number(Severity::Warning), number(Severity::Info));
    let mut text = format!(
        "{}: {}, {}, {}\n",
        match verdict {
            Verdict::Ready => style.good("ready"),
            Verdict::Fixable => style.warning("fixable"),
            Verdict::Blocked => style.error("blocked"),
            Verdict::Unknown => style.warning("unknown"),
        },
        count(errors, "error", "errors"),
        count(warnings, "warning", "warnings"),
        count(infos, "note", "notes"),
    );
    let meaning = match (&snap.origin, verdict) {
        (Origin::Paste(_), Verdict::Unknown) => format!("{} That is a part of the picture.", read(snap)),
        (Origin::Paste(_), _) => format!("{} {}", read(snap), verdict.meaning()),
        (Origin::Host(..), Verdict::Ready) if goal.devices.is_empty() => {
            format!("{} For one device: `vfioneer check DEVICE`", verdict.meaning())
        }
        (Origin::Host(..), Verdict::Unknown) if snap.pci.functions.is_empty() => {
            format!("{} PCI functions: {}.", verdict.meaning(), plain(&snap.pci.why_none()))
        }
        // Nothing is wrong, and still something has to be done.
        (Origin::Host(..), Verdict::Fixable) if errors == 0 => "No error stands in the way.".to_owned(),
        _ => verdict.meaning().to_owned(),
    };
    text.push_str(&wrap(&meaning, 0, style.text_width()));
    if matches!(snap.origin, Origin::Host(..)) {
        text.push_str(&devices(snap, goal, findings));
    }
    if let Some(first) = findings.first() {
        text.push_str(&format!("More about one of them: vfioneer explain {}\n", first.id));
    }
    let unread = [&snap.modules.unread, &snap.boot.unread, &snap.initramfs.unread, &snap.hypervisor.unread];
    let unread: Vec<String> = unread.into_iter().flatten().map(|(path, why)| format!("{path} ({why})")).collect();
    if let Some(first) = unread.first() {
        let more = match unread.len() - 1 {
            0 => String::new(),
            number => format!(", and {number} more"),
        };
        let line = plain(&cut(&format!("Not read, so not judged: {first}{more}"), 200));
        text.push_str(&wrap(&line, 0, style.text_width()));
    }
    if let Some(why) = snap.usage.complete.why().filter(|_| matches!(snap.origin, Origin::Host(..))) {
        text.push_str(&format!("Who uses the devices could not be seen completely: {why}\n"));
    }
    text
}

/// How far each wanted slot is.
fn devices(snap: &Snapshot, goal: &Goal, findings: &[Finding]) -> String {
    let short = Short::of(&snap.pci);
    let mut text = String::new();
    let mut slots = BTreeSet::new();
    for address in &goal.devices {
        if slots.insert(address.slot()) {
            let verdict = device_verdict(snap, findings, address);
            text.push_str(&format!("{}  {}\n", short.show(address), plain(&verdict.text())));
        }
    }
    text
}

/// What of a paste was understood.
fn read(snap: &Snapshot) -> String {
    let groups: BTreeSet<u32> = snap
        .pci
        .functions
        .iter()
        .filter_map(|f| f.group.known().copied())
        .chain(snap.iommu.groups.keys().copied())
        .collect();
    let parts: Vec<String> = [
        (snap.log.known().map_or(0, |log| log.text.lines().count()), "line", "lines"),
        (snap.pci.functions.len(), "PCI function", "PCI functions"),
        (groups.len(), "IOMMU group", "IOMMU groups"),
        (usize::from(snap.kernel.cmdline.known().is_some()), "kernel command line", ""),
        (snap.boot.places.len(), "boot configuration line", "boot configuration lines"),
        (snap.modules.directives.len(), "modprobe directive", "modprobe directives"),
        (snap.hypervisor.vms.len(), "VM", "VMs"),
    ]
    .into_iter()
    .filter(|(number, ..)| *number > 0)
    .map(|(number, one, many)| count(number, one, many))
    .collect();
    if parts.is_empty() { "The text is empty.".to_owned() } else { format!("Read: {}.", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::around;

    #[test]
    fn a_long_line_is_cut_around_what_matters() {
        let line =
            format!("{} nofb quiet splash one two {}", "word ".repeat(20).trim_end(), "more ".repeat(9).trim_end());
        assert_eq!(around(&line, "nofb").as_deref(), Some("… word word nofb quiet splash …"));
        assert_eq!(around("a short line with nofb", "nofb"), None);
        assert_eq!(around(&line, "absent"), None);
    }
}
