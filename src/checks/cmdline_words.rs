//! Kernel words that do nothing, do something else than they are used for, or do harm: rows of
//! `data/cmdline_words.toml`, and words that the kernel itself says it does not know.

use super::words::{self, Word};
use super::{Check, Ctx, Finding, Severity, acs_override_on, distros};
use crate::facts::Snapshot;
use crate::facts::initramfs::Generator;
use crate::facts::system::CpuVendor;
use crate::host::Fact;
use crate::parse::cmdline::Cmdline;
use regex::Regex;
use serde::Deserialize;
use std::sync::LazyLock;

pub(super) const CHECK: Check = Check { ids: &IDS, run };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    name: String,
    value: Option<String>,
    known: Option<Vec<String>>,
    since: Option<String>,
    before: Option<String>,
    cpu: Option<String>,
    when: Option<String>,
    variant: String,
    severity: String,
    unknown: Option<String>,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader of the table"))]
    source: String,
}

#[derive(Deserialize)]
struct Table {
    passthrough: Vec<String>,
    word: Vec<Row>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let table = toml::from_str::<Table>(include_str!("../../data/cmdline_words.toml"));
    table.unwrap_or(Table { passthrough: Vec::new(), word: Vec::new() })
});

/// True if a parameter (with `_` for `-`) has to do with passthrough.
pub(super) fn is_about_passthrough(name: &str) -> bool {
    TABLE.passthrough.iter().any(|beginning| name.starts_with(beginning))
}

/// True if the rows say of a word that it does nothing on this host, wherever it might stand.
pub(crate) fn does_nothing(ctx: &Ctx<'_>, text: &str) -> bool {
    let line = Cmdline::parse(text);
    let Some(word) = line.words.first() else { return true };
    let value = word.value.unwrap_or_default().to_owned();
    let (name, text) = (word.name.clone(), text.to_owned());
    let word = Word { name, value, text, running: false, evidence: Vec::new() };
    let dead =
        |compiled| judge(ctx, compiled, &word).is_some_and(|finding| finding.id == "cmdline-word-without-effect");
    COMPILED.iter().any(dead) || misspelt(&word).is_some()
}

struct Compiled {
    row: &'static Row,
    value: Option<Regex>,
}

static COMPILED: LazyLock<Vec<Compiled>> = LazyLock::new(|| {
    let compile = |row: &'static Row| {
        let value = match &row.value {
            Some(value) => Some(Regex::new(&format!("^(?:{value})$")).ok()?),
            None => None,
        };
        Some(Compiled { row, value })
    };
    TABLE.word.iter().filter_map(compile).collect()
});

/// The ids that rows may name.
const IDS: [&str; 2] = ["cmdline-word-without-effect", "cmdline-word-risky"];

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut reported: Vec<String> = Vec::new();
    let all = words::all(ctx.snap);
    for word in &all {
        for finding in COMPILED.iter().filter_map(|compiled| judge(ctx, compiled, word)) {
            reported.push(word.name.clone());
            findings.push(finding);
        }
    }
    for word in all.iter().filter(|word| !reported.contains(&word.name)) {
        findings.extend(misspelt(word).or_else(|| unknown_to_kernel(ctx.snap, word)));
    }
    findings
}

fn judge(ctx: &Ctx<'_>, compiled: &Compiled, word: &Word) -> Option<Finding> {
    let row = compiled.row;
    if row.name != word.name || compiled.value.as_ref().is_some_and(|value| !value.is_match(&word.value)) {
        return None;
    }
    let strange = row.known.as_ref().map(|known| word.items().find(|item| !known.iter().any(|k| k == item)));
    if strange == Some(None) {
        return None;
    }
    let id = IDS.into_iter().find(|id| *id == row.id)?;
    let conditions = [
        row.since.as_deref().map(|version| words::kernel_at_least(ctx.snap, version_of(version)?)),
        row.before.as_deref().map(|version| words::kernel_at_least(ctx.snap, version_of(version)?).map(|new| !new)),
        row.cpu.as_deref().map(|cpu| cpu_is(ctx.snap, cpu)),
        row.when.as_deref().map(|when| holds(ctx, when)),
    ];
    let conditions = || conditions.iter().flatten();
    let (severity, variant) = if conditions().any(|holds| *holds == Some(false)) {
        return None;
    } else if conditions().all(|holds| *holds == Some(true)) {
        let severity = match row.severity.as_str() {
            "error" => Severity::Error,
            "warning" => Severity::Warning,
            _ => Severity::Info,
        };
        (severity, row.variant.as_str())
    } else {
        (Severity::Info, row.unknown.as_deref()?)
    };
    let mut finding = Finding::new(id, severity, word.subject())
        .variant(variant)
        .value("word", &word.text)
        .value("item", strange.flatten().unwrap_or(&word.value));
    finding.evidence.clone_from(&word.evidence);
    Some(finding)
}

fn version_of(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn cpu_is(snap: &Snapshot, cpu: &str) -> Option<bool> {
    snap.system.cpu_vendor.known().map(|vendor| match cpu {
        "intel" => *vendor == CpuVendor::Intel,
        "amd" => *vendor == CpuVendor::Amd,
        _ => false,
    })
}

/// The conditions that a row can name.
fn holds(ctx: &Ctx<'_>, when: &str) -> Option<bool> {
    let snap = ctx.snap;
    match when {
        "not-intel" => cpu_is(snap, "intel").map(|intel| !intel),
        "not-amd" => cpu_is(snap, "amd").map(|amd| !amd),
        "iommu-passthrough" => {
            let pt = |word: &Word| word.name == "iommu" && word.items().any(|item| item == "pt");
            Some(words::all(snap).iter().any(|word| pt(word) || word.name == "iommu.passthrough" && word.value == "1"))
        }
        "acs-patch-missing" => acs_override_on::carried(snap).map(|carried| !carried),
        "not-proxmox-kernel" => snap.kernel.release.known().map(|release| !release.ends_with("-pve")),
        "not-dracut" => words::generator_is(snap, Generator::Dracut)
            .zip(words::generator_is(snap, Generator::RpmOstree))
            .map(|(dracut, ostree)| !dracut && !ostree),
        "selinux-family" => selinux_family(snap),
        "not-selinux-family" => selinux_family(snap).map(|selinux| !selinux),
        "x2apic-not-opted-out" => {
            let message = "x2apic is disabled because BIOS sets x2apic opt out bit";
            if !words::log_lines(snap, message, 1).is_empty() {
                return Some(false);
            }
            snap.iommu.content.known()?.x2apic_opt_out.map(|out| !out)
        }
        "simple-framebuffer" => words::config_is(snap, "SYSFB_SIMPLEFB", "y"),
        "framebuffer-evicted" => match words::kernel_at_least(snap, (6, 0))? {
            true => Some(!boot_display_is_not_vga(ctx)),
            false => Some(false),
        },
        _ => None,
    }
}

/// Is SELinux on by default here?
fn selinux_family(snap: &Snapshot) -> Option<bool> {
    let distro = snap.system.distro.known()?;
    Some(distros::row(distro).is_some_and(|row| row.selinux))
}

/// vfio-pci evicts the framebuffer of VGA devices only (class 0300): for another display the word can be of use.
fn boot_display_is_not_vga(ctx: &Ctx<'_>) -> bool {
    ctx.functions(super::intent::Interest::Configured).any(|function| {
        function.is_display() && function.base_class() != Some(0x0300) && function.boot_display != Fact::Known(false)
    })
}

/// Parameters that people write by hand for passthrough, with the name that the kernel knows.
const OFTEN_WRITTEN: &[&str] = &["intel_iommu", "amd_iommu", "pcie_acs_override", "vfio_pci.ids", "intremap"];

/// A name one or two letters beside a parameter that people write by hand, or with its parts in the wrong order.
fn misspelt(word: &Word) -> Option<Finding> {
    if word.value.is_empty() || OFTEN_WRITTEN.contains(&word.name.as_str()) {
        return None;
    }
    let swapped = |known: &str| known.split_once('_').is_some_and(|(a, b)| word.name == format!("{b}_{a}"));
    let near = |known: &&&str| swapped(known) || distance_at_most_two(&word.name, known);
    let meant = OFTEN_WRITTEN.iter().find(near)?;
    let mut finding = Finding::new("cmdline-word-without-effect", Severity::Warning, word.subject())
        .variant("misspelt")
        .value("word", &word.text)
        .value("meant", meant);
    finding.evidence.clone_from(&word.evidence);
    Some(finding)
}

/// Whether two names differ by one or two letters put in, left out or changed. Names that are shorter than eight
/// letters have to be nearer.
fn distance_at_most_two(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let most = if b.len() < 9 { 1 } else { 2 };
    if a.len().abs_diff(b.len()) > most || a == b {
        return false;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().is_some_and(|distance| *distance <= most)
}

/// Beginnings of the words that have to do with passthrough, for the kernel's own list of words that it doesn't know.
const ABOUT_PASSTHROUGH: &[&str] =
    &["iommu", "intel_iommu", "amd_iommu", "vfio", "pci_stub", "acs", "pcie_acs", "intremap", "kvm", "efifb", "vesafb"];

/// A word that the running kernel lists as unknown (Linux init/main.c `print_unknown_bootoptions`, since 5.14).
fn unknown_to_kernel(snap: &Snapshot, word: &Word) -> Option<Finding> {
    if !word.running || !ABOUT_PASSTHROUGH.iter().any(|beginning| word.name.starts_with(beginning)) {
        return None;
    }
    let said = words::log_lines(snap, "Unknown kernel command line parameters", 4);
    let line = said.into_iter().find(|line| {
        line.text.split(['"', ' ']).any(|listed| listed.replace('-', "_") == word.text.replace('-', "_"))
    })?;
    let mut finding = Finding::new("cmdline-word-without-effect", Severity::Warning, word.subject())
        .variant("kernel-says")
        .value("word", &word.text);
    finding.evidence.clone_from(&word.evidence);
    Some(finding.evidence(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::pages;
    use crate::checks::testing::*;
    use crate::facts::boot::Chain;

    #[test]
    fn the_table_can_be_read() {
        let table = toml::from_str::<Table>(include_str!("../../data/cmdline_words.toml")).unwrap();
        assert_eq!(table.word.len(), COMPILED.len(), "a value is no regular expression");
        let names: Vec<_> = TABLE.word.iter().map(|row| row.name.as_str()).collect();
        let mut sorted = names.clone();
        sorted.sort();
        // `kvm.a` and `kvm.i`, `modprobe.` and `module_` aside, the order is for people.
        assert_eq!(names.len(), sorted.len());
        let snap = healthy();
        let goal = crate::goal::Goal::default();
        let ctx = Ctx::new(&snap, &goal);
        for row in TABLE.word.iter() {
            assert!(!row.source.is_empty(), "{}", row.name);
            assert!(IDS.contains(&row.id.as_str()), "{}", row.id);
            assert!(["error", "warning", "info"].contains(&row.severity.as_str()), "{}", row.severity);
            for version in [&row.since, &row.before].into_iter().flatten() {
                assert!(version_of(version).is_some(), "{version}");
            }
            let page = pages::page(&row.id).expect("a page");
            for variant in std::iter::once(&row.variant).chain(&row.unknown).filter(|v| !v.is_empty()) {
                assert!(!page.head(&format!("message.{variant}")).is_empty(), "{} has no {variant}", row.id);
            }
            if let Some(when) = &row.when {
                assert!(holds(&ctx, when).is_some(), "{when} is no condition, or not known on a known host");
            }
        }
    }

    fn found(snap: &Snapshot) -> Vec<String> {
        check(snap)
            .iter()
            .filter(|f| IDS.contains(&f.id))
            .map(|f| format!("{:?} {}/{}", f.severity, f.id, f.variant))
            .collect()
    }

    #[test]
    fn words_on_a_known_host() {
        let without = "cmdline-word-without-effect";
        for (line, expected) in [
            ("intel_iommu=on iommu=pt", vec![]),
            ("intel_iommu=on,igfx_off,relax_rmrr intremap=nopost", vec![]),
            ("amd_iommu=on", vec![format!("Info {without}/other-cpu")]),
            ("intel_iommu=pt", vec![format!("Warning {without}/intel-item")]),
            ("iommu=on", vec![format!("Info {without}/iommu-on")]),
            ("iommu=pt,igfx_off", vec![format!("Warning {without}/intel-item-in-iommu")]),
            ("nofb", vec![format!("Warning {without}/nofb")]),
            ("nomodeset", vec!["Warning cmdline-word-risky/nomodeset".into()]),
            ("video=efifb:off,vesafb:off", vec![format!("Warning {without}/video-joined")]),
            ("video=efifb:off", vec![format!("Info {without}/framebuffer-evicted")]),
            ("video=HDMI-A-1:1920x1080@60 video=HDMI-A-1:d", vec![]),
            ("intel_iomu=on", vec![format!("Warning {without}/misspelt")]),
            ("iommu_intel=on", vec![format!("Warning {without}/misspelt")]),
            ("intel_idle.max_cstate=1 amd_pstate=active iommu.strict=0 intel_pstate=disable", vec![]),
            ("pcie_acs_override=downstream", vec![]),
            ("modprobe.blacklist=nvidia*,nouveau", vec![format!("Warning {without}/blacklist-wildcard")]),
            ("modprobe.blacklist=nvidia,nouveau", vec![]),
            ("rd.driver.pre=vfio-pci", vec![format!("Warning {without}/dracut-only")]),
            ("intremap=no_x2apic_optout", vec!["Info cmdline-word-risky/x2apic-optout".into()]),
            ("selinux=0", vec![format!("Info {without}/selinux-needless")]),
            ("kvm.allow_unsafe_assigned_interrupts=1", vec![format!("Warning {without}/removed")]),
            ("vfio-pci.disable_vga=1", vec![format!("Info {without}/disable-vga")]),
            ("initcall_blacklist=sysfb_init pcie_aspm=off", vec![]),
        ] {
            let mut snap = healthy();
            cmdline(&mut snap, line);
            assert_eq!(found(&snap), expected, "{line}");
        }
    }

    #[test]
    fn conditions_decide() {
        let mut snap = healthy();
        cmdline(&mut snap, "amd_iommu=on pcie_acs_override=downstream video=efifb:off selinux=0");
        snap.system.cpu_vendor = Fact::Known(CpuVendor::Amd);
        snap.kernel.acs_override = Fact::Known(false);
        release(&mut snap, "5.15.158-2-pve");
        if let Fact::Known(distro) = &mut snap.system.distro {
            distro.like = vec!["rhel".into()];
        }
        let expected = [
            "Warning cmdline-word-without-effect/acs-override",
            "Warning cmdline-word-without-effect/framebuffer-simple",
            "Warning cmdline-word-risky/selinux",
            "Info cmdline-word-without-effect/amd-iommu-on",
        ];
        assert_eq!(found(&snap), expected);
        config(&mut snap, "SYSFB_SIMPLEFB", None);
        assert!(!found(&snap).iter().any(|f| f.contains("framebuffer")), "efifb:off works there");
    }

    #[test]
    fn a_pasted_file_gets_no_accusation_that_hangs_on_the_kernel() {
        let mut snap = unknown();
        let text = "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"";
        let words = "pcie_acs_override=downstream video=efifb:off rd.driver.pre=vfio-pci amd_iommu=on";
        place(&mut snap, Chain::Grub, "grub", text, words);
        let expected = [
            "Info cmdline-word-without-effect/acs-override-maybe",
            "Info cmdline-word-without-effect/framebuffer-evicted",
            "Info cmdline-word-without-effect/amd-iommu-on",
        ];
        assert_eq!(found(&snap), expected);
    }

    #[test]
    fn the_kernels_own_word() {
        let mut snap = healthy();
        cmdline(&mut snap, "ro iommu_groups=split BOOT_IMAGE=/vmlinuz");
        let text = "[ 0.0] Unknown kernel command line parameters \"iommu_groups=split BOOT_IMAGE=/vmlinuz\", will be passed to user space.\n";
        snap.log = Fact::Known(file("dmesg", text));
        assert_eq!(found(&snap), ["Warning cmdline-word-without-effect/kernel-says"]);
    }

    #[test]
    fn the_word_is_shown_where_it_can_be_changed() {
        let mut snap = healthy();
        cmdline(&mut snap, "quiet nofb");
        place(&mut snap, Chain::Grub, "/etc/default/grub", "GRUB_CMDLINE_LINUX=\"nofb\"", "nofb");
        let findings = check(&snap);
        let nofb = only(&findings, "cmdline-word-without-effect");
        assert_eq!(nofb[0].subject.to_string(), "/etc/default/grub:1");
        assert_eq!(nofb[0].evidence.len(), 2);
    }
}
