//! The same setting twice, of which only the last counts, and lines that were appended again and again.

use super::modprobe_line_ignored::is_admins;
use super::words;
use super::{Check, Ctx, Finding, Severity};
use crate::facts::modules::Directive;
use crate::facts::{Evidence, Snapshot, TextFile};
use crate::parse::cmdline::Cmdline;
use crate::parse::modprobe::module_name;
use crate::parse::shell_vars;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const CHECK: Check = Check { ids: &["config-line-duplicated"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let snap = ctx.snap;
    let mut findings = grub(snap);
    findings.extend(module_options(snap));
    findings.extend(directives(snap));
    findings.extend(lists(snap));
    findings.extend(kernel_words(snap));
    findings
}

fn finding(
    severity: Severity,
    variant: &'static str,
    what: &str,
    count: usize,
    evidence: Vec<Evidence>,
) -> Option<Finding> {
    let subject = words::subject(evidence.last()?);
    let first = evidence.first()?.text.clone();
    let mut finding = Finding::new("config-line-duplicated", severity, subject)
        .variant(variant)
        .value("what", what)
        .value("first", first)
        .value("count", count);
    finding.evidence = evidence;
    Some(finding)
}

/// A variable of `/etc/default/grub` that is set again without its former value: what stood before is lost.
fn grub(snap: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for place in snap.boot.places.iter().filter(|place| place.key.starts_with("GRUB_CMDLINE")) {
        if !seen.insert(&place.file.path) {
            continue;
        }
        let mut by_name: BTreeMap<String, Vec<Evidence>> = BTreeMap::new();
        for assignment in shell_vars::parse(&place.file.text).assignments {
            let name = assignment.name.clone();
            if !name.starts_with("GRUB_CMDLINE") || assignment.append || assignment.conditional {
                continue;
            }
            let lines = by_name.entry(name.clone()).or_default();
            if assignment.refers_to(&name) {
                lines.clear();
            }
            lines.push(at_line(&place.file, assignment.line));
        }
        for (name, lines) in by_name.into_iter().filter(|(_, lines)| lines.len() > 1) {
            let same = lines.windows(2).all(|pair| matches!(pair, [a, b] if a.text == b.text));
            let (severity, variant) = if same { (Severity::Info, "same") } else { (Severity::Warning, "") };
            findings.extend(finding(severity, variant, &name, lines.len(), lines));
        }
    }
    findings
}

fn at_line(file: &TextFile, number: u32) -> Evidence {
    let index = usize::try_from(number).unwrap_or(0).saturating_sub(1);
    Evidence::at(file.path.clone(), number, file.text.lines().nth(index).unwrap_or_default().trim())
}

/// Options of one module in several lines: modprobe hands over all, and of one option the last counts.
fn module_options(snap: &Snapshot) -> Vec<Finding> {
    let mut by_option: BTreeMap<(String, String), Vec<(String, Evidence)>> = BTreeMap::new();
    for directive in snap.modules.directives.iter().filter(|d| d.word == "options") {
        let module = module_name(&directive.module);
        if !module.starts_with("vfio") && module != "kvm" {
            continue;
        }
        for word in Cmdline::parse(&directive.rest).words {
            let value = word.value.unwrap_or_default().to_owned();
            let evidence = words::directive_evidence(snap, directive);
            by_option.entry((module.clone(), word.name)).or_default().push((value, evidence));
        }
    }
    let mut findings = Vec::new();
    for ((module, option), values) in by_option {
        let differ = values.windows(2).any(|pair| matches!(pair, [a, b] if a.0 != b.0));
        if !differ {
            continue; // Equal lines are reported as such.
        }
        let variant = if option == "ids" { "ids" } else { "option" };
        let what = format!("{}.{option}", module.replace('_', "-"));
        let mut evidence: Vec<Evidence> = Vec::new();
        let count = values.len();
        for (_, line) in values {
            if !evidence.contains(&line) {
                evidence.push(line);
            }
        }
        findings.extend(finding(Severity::Warning, variant, &what, count, evidence));
    }
    findings
}

/// Equal directives of the administrator.
fn directives(snap: &Snapshot) -> Vec<Finding> {
    let mut by_line: BTreeMap<String, Vec<Evidence>> = BTreeMap::new();
    let key = |directive: &Directive| {
        let rest: Vec<&str> = directive.rest.split_whitespace().collect();
        format!("{} {} {}", directive.word, module_name(&directive.module), rest.join(" ")).trim().to_owned()
    };
    for directive in &snap.modules.directives {
        let path = words::directive_path(snap, directive);
        if is_admins(path) && !matches!(directive.word.as_str(), "alias" | "install" | "remove") {
            let evidence = words::directive_evidence(snap, directive);
            by_line.entry(format!("{path}\n{}", key(directive))).or_default().push(evidence);
        }
    }
    let twice = by_line.into_iter().filter(|(_, lines)| lines.len() > 1);
    twice
        .filter_map(|(key, lines)| finding(Severity::Info, "same", key.split('\n').nth(1)?, lines.len(), lines))
        .collect()
}

/// The same module twice in one list.
fn lists(snap: &Snapshot) -> Vec<Finding> {
    let mut by_module: BTreeMap<(usize, String), Vec<Evidence>> = BTreeMap::new();
    for entry in &snap.modules.load {
        let path = snap.modules.files.get(entry.file).map_or("", |file| file.path.as_str());
        if is_admins(path) {
            let key = (entry.file, module_name(&entry.module));
            by_module.entry(key).or_default().push(words::entry_evidence(snap, entry));
        }
    }
    let twice = by_module.into_iter().filter(|(_, lines)| {
        // One line of a shell variable may name a module for several purposes.
        lines.windows(2).any(|pair| matches!(pair, [a, b] if a.line != b.line))
    });
    twice.filter_map(|((_, module), lines)| finding(Severity::Info, "same", &module, lines.len(), lines)).collect()
}

/// `vfio-pci.ids=` twice on one kernel command line: the last counts, and the ids of the first are not taken.
fn kernel_words(snap: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut lines: Vec<(String, Evidence)> = Vec::new();
    for place in snap.boot.places.iter().filter(|place| place.effective && !place.generated) {
        lines.push((place.words.join(" "), words::place_evidence(place)));
    }
    if let Some(evidence) = words::running_evidence(snap) {
        lines.push((evidence.text.clone(), evidence));
    }
    let mut seen: Vec<Vec<String>> = Vec::new();
    for (text, evidence) in lines {
        let line = Cmdline::parse(&text);
        let values: Vec<&str> = line.all("vfio_pci.ids").filter_map(|word| word.value).collect();
        let differ = values.windows(2).any(|pair| matches!(pair, [a, b] if a != b));
        let owned: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        if !differ || seen.contains(&owned) {
            continue;
        }
        seen.push(owned);
        let subject = words::subject(&evidence);
        findings.push(
            Finding::new("config-line-duplicated", Severity::Warning, subject)
                .variant("ids")
                .value("what", "vfio-pci.ids")
                .value("first", values.first().copied().unwrap_or_default())
                .value("count", values.len())
                .evidence(evidence),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Subject;
    use crate::checks::testing::*;
    use crate::facts::boot::Chain;

    fn line(path: &str, number: u32) -> Subject {
        Subject::Line(path.to_owned(), number)
    }

    fn found(snap: &Snapshot) -> Vec<(Severity, &'static str, Subject)> {
        let findings = check(snap);
        only(&findings, "config-line-duplicated").iter().map(|f| (f.severity, f.variant, f.subject.clone())).collect()
    }

    #[test]
    fn grub_variables() {
        let path = "/etc/default/grub";
        for (text, expected) in [
            ("GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"\"\n", vec![]),
            (
                "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet intel_iommu=on\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n",
                vec![(Severity::Warning, "", line(path, 2))],
            ),
            (
                "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT x\"\n",
                vec![],
            ),
            (
                "#GRUB_CMDLINE_LINUX_DEFAULT=\"a\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n",
                vec![(Severity::Info, "same", line(path, 3))],
            ),
        ] {
            let mut snap = healthy();
            snap.boot.places.clear();
            let added = place(&mut snap, Chain::Grub, path, text, "quiet");
            added.key = "GRUB_CMDLINE_LINUX_DEFAULT".into();
            added.file = file(path, text).into();
            assert_eq!(found(&snap), expected, "{text}");
        }
    }

    #[test]
    fn modules_and_options() {
        let mut snap = passthrough();
        modprobe(&mut snap, "/etc/modprobe.d/z.conf", "options vfio-pci ids=10de:1b80\n");
        assert_eq!(found(&snap), [(Severity::Warning, "ids", line("/etc/modprobe.d/z.conf", 1))]);

        let mut snap = healthy();
        let text = "options kvm ignore_msrs=0\noptions kvm ignore_msrs=0\nblacklist nouveau\nblacklist nouveau\n";
        modprobe(&mut snap, "/etc/modprobe.d/kvm.conf", text);
        let expected = [(Severity::Info, "same", 4), (Severity::Info, "same", 2)];
        assert_eq!(found(&snap), expected.map(|(s, v, n)| (s, v, line("/etc/modprobe.d/kvm.conf", n))));

        let mut snap = healthy();
        modprobe(&mut snap, "/etc/modprobe.d/a.conf", "blacklist nouveau\n");
        modprobe(&mut snap, "/usr/lib/modprobe.d/b.conf", "blacklist nouveau\n");
        load(&mut snap, "/etc/modules", "vfio\nvfio_pci\nvfio\n", false);
        assert_eq!(found(&snap), [(Severity::Info, "same", line("/etc/modules", 3))]);
    }

    #[test]
    fn ids_twice_on_the_command_line() {
        let mut snap = healthy();
        cmdline(&mut snap, "ro vfio-pci.ids=10de:2684 vfio_pci.ids=10de:22ba");
        assert_eq!(found(&snap), [(Severity::Warning, "ids", line("/proc/cmdline", 1))]);
    }
}
