//! What a paste shows line by line and no file or listing tells: the device list of a hook, the ids in a ROM, virtual
//! functions and huge pages that were asked for.
//!
//! On a host the facts say more, so these look at pastes alone.

use super::device::{companions, is_endpoint, list};
use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::pci::Function;
use crate::facts::{Evidence, Origin, Snapshot, TextFile};
use crate::host::Fact;
use crate::parse::address::Address;
use crate::parse::paste::plain;
use regex::Regex;
use std::sync::LazyLock;

pub(super) const CHECK: Check = Check {
    ids: &[
        "cmdline-second-line",
        "cmdline-words-glued",
        "function-left-behind",
        "grub-cfg-split",
        "hook-device-list",
        "hugepages-short",
        "modprobe-line-ignored",
        "native-driver-won",
        "rom-invalid",
        "sriov-not-created",
        "vm-not-q35",
    ],
    run,
};

/// The bytes of a line that are looked at.
const LINE_LIMIT: usize = 4000;

fn regex(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).ok()
}

/// `VIRSH_GPU=pci_0000_01_00_0`, `virsh nodedev-detach pci_0000_01_00_0`: libvirt's names of PCI devices.
static NODE_DEVICE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(
        "(?:[A-Z][A-Z0-9_]*=\"?|nodedev-(?:detach|dettach|reattach) +\"?)pci_([0-9a-f]{4})_([0-9a-f]{2})_([0-9a-f]{2})_([0-7])",
    )
});
/// `PCIR: type 0 (x86 PC-AT), vendor: 1002, device: 73bf`: what rom-parser prints.
static ROM_IDS: LazyLock<Option<Regex>> = LazyLock::new(|| regex("PCIR.*vendor: ([0-9a-f]{4}), device: ([0-9a-f]{4})"));
/// `devices/pci0000:00/0000:00:02.0/sriov_numvfs = 7`: a line of /etc/sysfs.conf, or a shell's `echo`.
static NUMVFS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(
        "(?:^[ \t]*(?:[^ \t=#]*/)?([0-9a-f:.]+)/sriov_numvfs *= *([1-9][0-9]*)|/([0-9a-f:.]+)/sriov_numvfs *- *- *- *- *([1-9][0-9]*))",
    )
});
static ADDED: LazyLock<Option<Regex>> = LazyLock::new(|| regex(r"vfio_pci: add \[([0-9a-f]{4}):([0-9a-f]{4})"));
static HUGE: LazyLock<Option<Regex>> =
    LazyLock::new(|| regex("(?:^|[ \"'])hugepagesz=1G(?:B)? +hugepages=([0-9]+)(?:[ \"']|$)"));
static MEMORY: LazyLock<Option<Regex>> = LazyLock::new(|| regex("^memory: +([0-9]+)$"));
static GRUB_CFG: LazyLock<Option<Regex>> =
    LazyLock::new(|| regex("(/boot/efi/EFI/[A-Za-z0-9_-]+/grub\\.cfg|/boot/grub2?/grub\\.cfg)"));
/// `proxmox-boot-tool`'s file as the installer writes it.
static ZFS_ROOT: LazyLock<Option<Regex>> = LazyLock::new(|| regex("^root=ZFS=[^ ]+ boot=zfs"));
static IOMMU_WORDS: LazyLock<Option<Regex>> =
    LazyLock::new(|| regex("^((?:intel_iommu|amd_iommu|iommu|vfio-pci\\.ids|pcie_acs_override|quiet)(?:[= ].*)?)$"));
/// A list of dracut.conf without a blank inside both quotes.
static DRACUT_LIST: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(
        "^(?:add_drivers|force_drivers|omit_drivers|install_items|add_dracutmodules)\\+=(?:\"[^ \"][^\"]*\"|\"[^\"]*[^ \"]\")",
    )
});
static PCIE: LazyLock<Option<Regex>> = LazyLock::new(|| regex("^hostpci[0-9]+: .*pcie=1"));
static I440FX: LazyLock<Option<Regex>> = LazyLock::new(|| regex("^machine: +pc(?:-i440fx[^ ]*)?$"));
static GRUB_LINE: LazyLock<Option<Regex>> = LazyLock::new(|| regex("^GRUB_CMDLINE_LINUX[A-Z_]*=(\".*)$"));

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let snap = ctx.snap;
    let (Origin::Paste(_), Fact::Known(log)) = (&snap.origin, &snap.log) else { return Vec::new() };
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(hook(snap, log));
    findings.extend(roms(snap, log));
    findings.extend(virtual_functions(snap, log));
    findings.extend(huge_pages(log));
    findings.extend(grub_files(log));
    findings.extend(added(snap, log));
    findings.extend(cards(ctx));
    findings.extend(lines_of_files(log));
    findings
}

/// Single lines of configuration files that are wrong by themselves.
fn lines_of_files(log: &TextFile) -> Vec<Finding> {
    let at = |evidence: &Evidence| Subject::Line(evidence.source.clone(), evidence.line.unwrap_or(1));
    let mut findings = Vec::new();
    for (_, evidence) in matches(&DRACUT_LIST, log).into_iter().take(1) {
        let finding = Finding::new("modprobe-line-ignored", Severity::Warning, at(&evidence)).variant("dracut-blanks");
        findings.push(finding.evidence(evidence));
    }
    if let Some((_, machine)) = matches(&I440FX, log).into_iter().next() {
        findings.extend(matches(&PCIE, log).into_iter().take(1).map(|(_, device)| {
            Finding::new("vm-not-q35", Severity::Error, at(&machine))
                .variant("config")
                .evidence(device)
                .evidence(machine.clone())
        }));
    }
    for (value, evidence) in matches(&GRUB_LINE, log) {
        let text = value.first().map_or("", String::as_str);
        // A line that ends in a backslash, or a quote that is escaped, is for the shell to judge.
        if !text.contains('\\') && text.matches('"').count() % 2 == 1 && text.matches('"').count() > 1 {
            let finding = Finding::new("cmdline-words-glued", Severity::Error, at(&evidence)).variant("quote");
            findings.push(finding.evidence(evidence));
        }
    }
    let second = |root: &Evidence| {
        let next = root.line? + 1;
        matches(&IOMMU_WORDS, log).into_iter().find(|(_, evidence)| evidence.line == Some(next))
    };
    for (_, root) in matches(&ZFS_ROOT, log) {
        if let Some((words, evidence)) = second(&root) {
            findings.push(
                Finding::new("cmdline-second-line", Severity::Warning, at(&evidence))
                    .value("words", words.join(" "))
                    .evidence(root)
                    .evidence(evidence),
            );
        }
    }
    findings
}

/// Every match of a pattern: its groups as far as they are there, and the line.
fn matches(pattern: &LazyLock<Option<Regex>>, log: &TextFile) -> Vec<(Vec<String>, Evidence)> {
    let Some(pattern) = pattern.as_ref() else { return Vec::new() };
    let mut found = Vec::new();
    for (line, number) in log.text.lines().zip(1u32..) {
        let line = plain(line.get(..LINE_LIMIT).unwrap_or(line));
        if let Some(groups) = pattern.captures(&line) {
            let values = groups.iter().skip(1).flatten().map(|group| group.as_str().to_owned()).collect();
            found.push((values, Evidence::at(log.path.clone(), number, line.trim())));
        }
        if found.len() >= 64 {
            break;
        }
    }
    found
}

/// Devices in a hook's list that no VM should get: bridges, and parts of processor and chipset beside a card.
fn hook(snap: &Snapshot, log: &TextFile) -> Option<Finding> {
    let named: Vec<(Address, Evidence)> = matches(&NODE_DEVICE, log)
        .into_iter()
        .filter_map(|(part, evidence)| {
            let [domain, bus, slot, function] = part.as_slice() else { return None };
            Some((Address::parse(&format!("{domain}:{bus}:{slot}.{function}"))?, evidence))
        })
        .collect();
    let card = named.iter().any(|(address, _)| address.bus > 0);
    // On Intel's chipsets these are the same devices since 2008: root ports of the processor, USB, SATA, LPC.
    let of_host = |address: &Address| match snap.pci.get(address) {
        Some(function) => is_endpoint(function) == Some(false),
        None => {
            card && address.domain == 0
                && address.bus == 0
                && matches!(address.device, 0x01 | 0x06 | 0x14 | 0x17 | 0x1c..=0x1f)
        }
    };
    let mut doubtful: Vec<&(Address, Evidence)> = named.iter().filter(|(address, _)| of_host(address)).collect();
    doubtful.dedup_by_key(|(address, _)| *address);
    if doubtful.is_empty() {
        return None;
    }
    let mut finding = Finding::new("hook-device-list", Severity::Warning, Subject::Host)
        .value("devices", list(doubtful.iter().map(|(address, _)| address)));
    finding.evidence = doubtful.into_iter().take(6).map(|(_, evidence)| evidence.clone()).collect();
    Some(finding)
}

/// A ROM for another card than the one that is shown.
fn roms(snap: &Snapshot, log: &TextFile) -> Option<Finding> {
    let shown: Vec<(String, Evidence)> =
        matches(&ROM_IDS, log).into_iter().map(|(ids, evidence)| (ids.join(":"), evidence)).collect();
    let (first, evidence) = shown.first()?;
    let displays: Vec<&Function> =
        snap.pci.functions.iter().filter(|f| f.is_display() && f.ids.known().is_some()).collect();
    let ids = |function: &&Function| function.ids.known().map(ToString::to_string).unwrap_or_default();
    let same = |function: &&Function| shown.iter().any(|(rom, _)| *rom == ids(function));
    if displays.is_empty() || displays.iter().any(same) {
        return None;
    }
    Some(
        Finding::new("rom-invalid", Severity::Warning, Subject::Host)
            .variant("other-card")
            .value("ids", first)
            .value("cards", list(displays.iter().map(|f| format!("{} [{}]", f.address, ids(f)))))
            .evidence(evidence.clone()),
    )
}

/// Virtual functions that a file asks for, where the text shows none.
fn virtual_functions(snap: &Snapshot, log: &TextFile) -> Option<Finding> {
    matches(&NUMVFS, log).into_iter().find_map(|(values, evidence)| {
        let [address, count] = values.as_slice() else { return None };
        let address = Address::parse(address)?;
        let listed = snap.pci.functions.iter().any(|f| f.address.bus == address.bus && f.address > address);
        let active = snap.pci.get(&address).and_then(|f| f.sriov.known()).map(|sriov| sriov.active);
        if listed && snap.pci.slot(&address).count() > 1 || active.is_some_and(|active| active > 0) {
            return None;
        }
        let severity = if active == Some(0) { Severity::Warning } else { Severity::Info };
        Some(
            Finding::new("sriov-not-created", severity, Subject::Function(address))
                .variant("configured")
                .value("device", address)
                .value("count", count)
                .evidence(evidence),
        )
    })
}

/// A VM that needs every huge page of 1 GiB that is reserved, or more.
fn huge_pages(log: &TextFile) -> Option<Finding> {
    let number = |(values, evidence): (Vec<String>, Evidence)| Some((values.first()?.parse::<u64>().ok()?, evidence));
    let (pages, reserved) = matches(&HUGE, log).into_iter().find_map(number)?;
    let (memory, wanted) = matches(&MEMORY, log).into_iter().filter_map(number).max_by_key(|(memory, _)| *memory)?;
    let huge = log.text.lines().any(|line| line.trim() == "hugepages: 1024" || line.trim() == "hugepages: any");
    if !huge || memory < pages.saturating_mul(1024) {
        return None;
    }
    let more = memory > pages.saturating_mul(1024);
    let severity = if more { Severity::Error } else { Severity::Info };
    Some(
        Finding::new("hugepages-short", severity, Subject::Host)
            .variant(if more { "too-few" } else { "exact" })
            .value("pages", pages)
            .value("memory", memory)
            .evidence(reserved)
            .evidence(wanted),
    )
}

/// GRUB's file on the EFI partition and the one below /boot in one text.
fn grub_files(log: &TextFile) -> Option<Finding> {
    let files = matches(&GRUB_CFG, log);
    let of = |esp: bool| {
        files.iter().find_map(|(path, evidence)| {
            let path = path.first()?;
            (path.contains("/efi/") == esp).then_some((path.clone(), evidence.clone()))
        })
    };
    let ((esp, first), (boot, second)) = (of(true)?, of(false)?);
    Some(
        Finding::new("grub-cfg-split", Severity::Info, Subject::Host)
            .variant("named")
            .value("esp", esp)
            .value("boot", boot)
            .evidence(first)
            .evidence(second),
    )
}

/// Ids that vfio-pci was told to take, and a device with them that another driver has.
fn added(snap: &Snapshot, log: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (ids, evidence) in matches(&ADDED, log) {
        let ids = ids.join(":");
        let mut with_ids =
            snap.pci.functions.iter().filter(|f| f.ids.known().is_some_and(|own| own.to_string() == ids));
        let Some((function, driver)) =
            with_ids.find_map(|f| f.driver.known().filter(|_| !f.on_vfio()).map(|driver| (f, driver)))
        else {
            continue;
        };
        if snap.pci.functions.iter().any(|f| f.on_vfio() && f.ids == function.ids) {
            continue;
        }
        findings.push(
            Finding::new("native-driver-won", Severity::Error, Subject::Function(function.address))
                .variant("added")
                .value("device", function.name())
                .value("driver", driver)
                .value("ids", ids)
                .evidence(evidence)
                .evidence(function.evidence("driver", driver)),
        );
    }
    findings
}

/// Graphics cards with USB and UCSI functions: people pass picture and sound, and the rest keeps the group.
fn cards(ctx: &Ctx<'_>) -> Vec<Finding> {
    let snap = ctx.snap;
    let mut findings = Vec::new();
    for function in snap.pci.functions.iter().filter(|f| f.is_display() && f.address.function == 0) {
        let rest: Vec<&Function> = companions(&snap.pci, function)
            .into_iter()
            .filter(|f| f.ids.known().map(|ids| ids.vendor) == function.ids.known().map(|ids| ids.vendor))
            .collect();
        let one_group = function.group.known().is_some() && rest.iter().all(|f| f.group == function.group);
        let somebody_acts = rest.iter().any(|f| f.on_vfio()) || function.on_vfio();
        if rest.len() < 2 || !one_group || somebody_acts {
            continue;
        }
        let ids = std::iter::once(function).chain(rest.iter().copied());
        let ids: Vec<String> = ids.filter_map(|f| f.ids.known().map(ToString::to_string)).collect();
        let mut finding = Finding::new("function-left-behind", Severity::Info, Subject::Function(function.address))
            .variant("card")
            .value("card", function.address)
            .value("count", rest.len() + 1)
            .value("rest", list(rest.iter().map(|f| f.address)))
            .value("ids", ids.join(","));
        for other in rest.iter().take(4) {
            finding = finding
                .evidence(other.evidence("iommu_group", other.group.known().map_or(0, |group| *group).to_string()));
        }
        findings.push(finding);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::pasted::snapshot;
    use crate::goal::Goal;

    fn found(text: &str) -> Vec<String> {
        let snap = snapshot("paste", text);
        let shown = |f: Finding| format!("{:?} {}/{} {}", f.severity, f.id, f.variant, f.subject);
        run(&Ctx::new(&snap, &Goal::default())).into_iter().map(shown).collect()
    }

    #[test]
    fn a_hooks_list() {
        let card = "VIRSH_GPU_VIDEO=pci_0000_01_00_0\nVIRSH_GPU_AUDIO=pci_0000_01_00_1\n";
        assert_eq!(found(card), [""; 0]);
        assert_eq!(found("VIRSH_GPU_VIDEO=pci_0000_00_02_0\n"), [""; 0]);
        assert_eq!(found("virsh nodedev-detach pci_0000_00_14_0\n"), [""; 0], "somebody may want the USB controller");
        let port = format!("{card}VIRSH_GPU_SERIAL=pci_0000_00_01_0\nVIRSH_DISK=pci_0000_00_17_0\n");
        assert_eq!(found(&port), ["Warning hook-device-list/ host"]);
        let bridge = "virsh nodedev-detach pci_0000_05_00_0\n05:00.0 PCI bridge [0604]: ASMedia [1b21:1184]\n";
        assert_eq!(found(bridge), ["Warning hook-device-list/ host"]);
    }

    #[test]
    fn roms_of_other_cards() {
        let card = "0b:00.0 VGA compatible controller [0300]: AMD Navi 10 [1002:731f] (rev c1)\n";
        let rom =
            |device: &str| format!("{card}\tPCIR: type 0 (x86 PC-AT), vendor: 1002, device: {device}, class: 030000\n");
        assert_eq!(found(&rom("731f")), [""; 0]);
        assert_eq!(found(&rom("73bf")), ["Warning rom-invalid/other-card host"]);
        assert_eq!(found("PCIR: type 0 (x86 PC-AT), vendor: 1002, device: 73bf, class: 030000\n"), [""; 0]);
    }

    #[test]
    fn virtual_functions_that_a_file_asks_for() {
        let line = "devices/pci0000:00/0000:00:02.0/sriov_numvfs = 7\n";
        assert_eq!(found(line), ["Info sriov-not-created/configured 0000:00:02.0"]);
        assert_eq!(found("devices/pci0000:00/0000:00:02.0/sriov_numvfs = 0\n"), [""; 0]);
        let both = "00:02.0 VGA compatible controller [0300]: Intel UHD [8086:46a6]\n\
            00:02.1 VGA compatible controller [0300]: Intel UHD [8086:46a6]\n";
        assert_eq!(found(&format!("{both}\n{line}")), [""; 0]);
    }

    #[test]
    fn huge_pages_without_slack() {
        let vm = |pages: u32| {
            format!("default_hugepagesz=1G hugepagesz=1G hugepages={pages}\nmemory: 122880\nhugepages: 1024\n")
        };
        assert_eq!(found(&vm(128)), [""; 0]);
        assert_eq!(found(&vm(120)), ["Info hugepages-short/exact host"]);
        assert_eq!(found(&vm(100)), ["Error hugepages-short/too-few host"]);
    }

    #[test]
    fn two_files_of_grub() {
        assert_eq!(found("/boot/grub2/grub.cfg\n"), [""; 0]);
        let both = "/boot/efi/EFI/rocky/grub.cfg (read)\n/boot/grub2/grub.cfg (made)\n";
        assert_eq!(found(both), ["Info grub-cfg-split/named host"]);
    }

    #[test]
    fn ids_that_another_driver_has() {
        let add = "vfio_pci: add [126f:2263[ffffffff:ffffffff]] class 0x000000/00000000\n";
        let disk = |driver: &str| {
            format!(
                "{add}82:00.0 Non-Volatile memory controller [0108]: SM [126f:2263]\n\tKernel driver in use: {driver}\n"
            )
        };
        assert_eq!(found(&disk("nvme")), ["Error native-driver-won/added 0000:82:00.0"]);
        assert_eq!(found(&disk("vfio-pci")), [""; 0]);
    }

    #[test]
    fn lines_that_are_wrong_by_themselves() {
        for (text, expected) in [
            ("add_drivers+=\" vfio vfio_pci \"\n", None),
            ("add_drivers+=\"vfio vfio_pci\"\n", Some("Warning modprobe-line-ignored/dracut-blanks paste:1")),
            ("hostpci0: 01:00,pcie=1\nmachine: q35\n", None),
            ("hostpci0: 01:00\nmachine: pc-i440fx-7.2\n", None),
            ("hostpci0: 01:00,pcie=1\nmachine: pc-i440fx-7.2\n", Some("Error vm-not-q35/config paste:2")),
            ("GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n", None),
            ("GRUB_CMDLINE_LINUX_DEFAULT=\"quiet \\\n", None),
            (
                "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"video=efifb:off\"\n",
                Some("Error cmdline-words-glued/quote paste:1"),
            ),
            ("root=ZFS=rpool/ROOT/pve-1 boot=zfs intel_iommu=on\n", None),
            ("root=ZFS=rpool/ROOT/pve-1 boot=zfs\nintel_iommu=on\n", Some("Warning cmdline-second-line/ paste:2")),
        ] {
            assert_eq!(found(text).first().map(String::as_str), expected, "{text}");
        }
    }

    #[test]
    fn cards_with_more_than_picture_and_sound() {
        let card = "IOMMU Group 15 09:00.0 VGA compatible controller [0300]: NVIDIA TU116 [10de:21c4]\n\
            IOMMU Group 15 09:00.1 Audio device [0403]: NVIDIA TU116 [10de:1aeb]\n";
        assert_eq!(found(card), [""; 0]);
        let usb = "IOMMU Group 15 09:00.2 USB controller [0c03]: NVIDIA TU116 [10de:1aec]\n";
        assert_eq!(found(&format!("{card}{usb}")), ["Info function-left-behind/card 0000:09:00.0"]);
    }
}
