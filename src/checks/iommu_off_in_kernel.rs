//! The firmware offers an IOMMU, and the kernel does not use it, or leaves the integrated graphics out.

use super::{Check, Ctx, Finding, Severity, Subject, words};
use crate::facts::Evidence;
use crate::facts::iommu::TableKind;
use crate::facts::pci::Function;
use crate::host::Fact;

pub(super) const CHECK: Check = Check { ids: &["iommu-off-in-kernel", "iommu-off-for-igpu"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let iommu = &ctx.snap.iommu;
    match (iommu.table.known(), iommu.running()) {
        (Some(table), Fact::Known(false)) => vec![off(ctx, *table)],
        (_, Fact::Known(true)) => igpu(ctx),
        _ => Vec::new(),
    }
}

fn off(ctx: &Ctx<'_>, table: TableKind) -> Finding {
    let snap = ctx.snap;
    let mut finding = Finding::new("iommu-off-in-kernel", Severity::Error, Subject::Host);
    let switch = word_that_switches_off(ctx, table);
    let running = words::running(snap);
    let intel_on = running.value("intel_iommu").is_some_and(|value| value.split(',').any(|item| item == "on"));
    let lacks = match table {
        TableKind::Dmar => words::config_is(snap, "INTEL_IOMMU", "n"),
        TableKind::Ivrs => words::config_is(snap, "AMD_IOMMU", "n"),
        TableKind::Iort => None,
    };
    if let Some((word, evidence)) = switch {
        let places = words::all(snap).into_iter().find(|other| other.text == word).map(|other| other.evidence);
        finding = finding.variant("word").value("word", word);
        finding.evidence.extend(places.unwrap_or_else(|| vec![evidence]));
    } else if lacks == Some(true) {
        finding = finding.variant("kernel-lacks");
        if let Some(kernel) = snap.kernel.running() {
            let name = if table == TableKind::Dmar { "CONFIG_INTEL_IOMMU" } else { "CONFIG_AMD_IOMMU" };
            finding = finding.evidence(Evidence::new(kernel.config_path.clone(), format!("{name} is not set")));
        }
    } else if table == TableKind::Dmar && !intel_on {
        let default_on = ["INTEL_IOMMU_DEFAULT_ON", "INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF"]
            .map(|name| words::config_is(snap, name, "y"));
        let written = words::all(snap).into_iter().find(|word| word.name == "intel_iommu" && !word.running);
        if let Some(word) = written.filter(|word| word.items().any(|item| item == "on")) {
            finding = finding.variant("written");
            finding.evidence.extend(word.evidence);
        } else if default_on == [Some(false), Some(false)] {
            finding = finding.variant("default-off");
            if let Some(kernel) = snap.kernel.running() {
                let text = "CONFIG_INTEL_IOMMU_DEFAULT_ON is not set";
                finding = finding.evidence(Evidence::new(kernel.config_path.clone(), text));
            }
        } else if default_on.iter().all(|on| *on != Some(true)) {
            finding = finding.variant("intel");
        }
        if let Some(evidence) = words::running_evidence(snap) {
            finding = finding.evidence(evidence);
        }
    } else if table == TableKind::Ivrs && stoney(ctx).is_some() {
        finding = finding.variant("stoney");
        if let Some(function) = stoney(ctx) {
            finding = finding.evidence(function.evidence("device", "0x98e4"));
        }
    } else if let Some(evidence) = words::running_evidence(snap).filter(|_| intel_on) {
        finding = finding.variant("failed").evidence(evidence);
        let prefixes = ["DMAR: ", "AMD-Vi: "];
        for line in prefixes.iter().flat_map(|prefix| words::log_lines(snap, prefix, 3)) {
            finding = finding.evidence(line);
        }
    }
    finding.evidence(Evidence::new("/sys/class/iommu", "empty"))
}

/// The word of the running command line that switches the IOMMU off: of `intel_iommu=` the last on or off counts
/// (Linux drivers/iommu/intel/iommu.c `intel_iommu_setup`), `iommu=off` is for all of x86
/// (arch/x86/kernel/pci-dma.c `iommu_setup`).
fn word_that_switches_off(ctx: &Ctx<'_>, table: TableKind) -> Option<(String, Evidence)> {
    let evidence = words::running_evidence(ctx.snap)?;
    let line = words::running(ctx.snap);
    let (own, general) = match table {
        TableKind::Dmar => ("intel_iommu", "iommu"),
        TableKind::Ivrs => ("amd_iommu", "iommu"),
        TableKind::Iort => return None,
    };
    if let Some(word) = line.all(general).find(|word| word.list().any(|item| item == "off")) {
        return Some((word.text.to_owned(), evidence));
    }
    let mut off = None;
    for word in line.all(own) {
        for item in word.list() {
            match item {
                "off" => off = Some(word.text.to_owned()),
                "on" if table == TableKind::Dmar => off = None,
                _ => {}
            }
        }
    }
    off.map(|word| (word, evidence))
}

/// Stoney Ridge, on which the kernel leaves the IOMMU off (Linux drivers/iommu/amd/init.c `detect_ivrs`).
fn stoney<'a>(ctx: &Ctx<'a>) -> Option<&'a Function> {
    let known = |f: &&Function| f.ids.known().is_some_and(|ids| (ids.vendor, ids.device) == (0x1002, 0x98e4));
    ctx.snap.pci.functions.iter().find(known)
}

/// Integrated Intel graphics that the kernel leaves out of the IOMMU, by the distribution's default or by a word.
fn igpu(ctx: &Ctx<'_>) -> Vec<Finding> {
    let snap = ctx.snap;
    let line = words::running(snap);
    let items: Vec<&str> = line.all("intel_iommu").flat_map(|word| word.list()).collect();
    let by_word = items.iter().any(|item| matches!(*item, "igfx_off" | "intgpu_off"));
    let by_default = words::config_is(snap, "INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF", "y") == Some(true)
        && snap.kernel.cmdline.known().is_some()
        && !items.contains(&"on");
    if !by_word && !by_default {
        return Vec::new();
    }
    let left_out = |f: &&Function| {
        f.is_display()
            && f.address.bus == 0
            && f.ids.known().is_some_and(|ids| ids.vendor == 0x8086)
            && f.group.is_absent()
    };
    let mut findings = Vec::new();
    for function in snap.pci.functions.iter().filter(left_out) {
        let severity = ctx.severity_for(&function.address);
        let mut finding = Finding::new("iommu-off-for-igpu", severity, Subject::Function(function.address))
            .variant(if by_word { "word" } else { "" })
            .evidence(function.evidence("iommu_group", "not there"));
        if let Some(evidence) = words::running_evidence(snap) {
            finding = finding.evidence(evidence);
        }
        if let Some(kernel) = snap.kernel.running().filter(|_| !by_word) {
            let text = "CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF=y";
            finding = finding.evidence(Evidence::new(kernel.config_path.clone(), text));
        }
        findings.push(finding);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;
    use crate::facts::Snapshot;
    use crate::facts::boot::Chain;

    fn off_host() -> Snapshot {
        let mut snap = healthy();
        snap.iommu.units = Fact::Known(Vec::new());
        snap.iommu.groups.clear();
        for function in &mut snap.pci.functions {
            function.group = Fact::Absent;
        }
        snap
    }

    fn variant(snap: &Snapshot) -> &'static str {
        let findings = check(snap);
        let found = only(&findings, "iommu-off-in-kernel");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].severity, Severity::Error);
        found[0].variant
    }

    #[test]
    fn causes() {
        type Break = fn(&mut Snapshot);
        let cases: [(Break, &str); 12] = [
            (|_| (), ""),
            (|s| config(s, "INTEL_IOMMU_DEFAULT_ON", None), "default-off"),
            (|s| cmdline(s, "intel_iommu=on,off"), "word"),
            (|s| cmdline(s, "iommu=off intel_iommu=on"), "word"),
            (|s| cmdline(s, "intel_iommu=off intel_iommu=on"), "failed"),
            (|s| config(s, "INTEL_IOMMU", None), "kernel-lacks"),
            (
                |s| {
                    config(s, "INTEL_IOMMU_DEFAULT_ON", None);
                    place(s, Chain::Grub, "/etc/default/grub", "X=\"intel_iommu=on\"", "intel_iommu=on");
                },
                "written",
            ),
            (|s| s.kernel.installed.clear(), "intel"),
            (
                |s| {
                    s.iommu.table = Fact::Known(TableKind::Ivrs);
                    cmdline(s, "amd_iommu=off");
                },
                "word",
            ),
            (|s| s.iommu.table = Fact::Known(TableKind::Ivrs), ""),
            (
                |s| {
                    s.iommu.table = Fact::Known(TableKind::Ivrs);
                    let mut apu = function("0000:00:01.0", "1002:98e4", 0x03_0000);
                    apu.group = Fact::Absent;
                    add(s, apu);
                },
                "stoney",
            ),
            // The option parser prints this even where it comes to nothing.
            (|s| s.log = Fact::Known(file("dmesg", "[0.0] DMAR: IOMMU enabled\n")), ""),
        ];
        for (index, (break_it, expected)) in cases.into_iter().enumerate() {
            let mut snap = off_host();
            break_it(&mut snap);
            assert_eq!(variant(&snap), expected, "case {index}");
        }
    }

    #[test]
    fn unknown_accuses_nobody() {
        let mut snap = off_host();
        snap.iommu.units = Fact::Unknown(crate::host::Why::NotRecorded);
        assert!(only(&check(&snap), "iommu-off-in-kernel").is_empty());
    }

    #[test]
    fn integrated_graphics_left_out() {
        let mut snap = healthy();
        config(&mut snap, "INTEL_IOMMU_DEFAULT_ON", None);
        config(&mut snap, "INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF", Some("y"));
        change(&mut snap, IGPU, |f| f.group = Fact::Absent);
        assert_eq!(only(&check(&snap), "iommu-off-for-igpu")[0].severity, Severity::Info);
        assert_eq!(only(&check_for(&snap, &[IGPU]), "iommu-off-for-igpu")[0].severity, Severity::Error);
        cmdline(&mut snap, "intel_iommu=on");
        assert!(only(&check(&snap), "iommu-off-for-igpu").is_empty());
        cmdline(&mut snap, "intel_iommu=on,igfx_off");
        assert_eq!(only(&check(&snap), "iommu-off-for-igpu")[0].variant, "word");
    }
}
