//! The firmware gives no table that describes an IOMMU.

use super::{Check, Ctx, Finding, Severity, Subject};
use crate::facts::Evidence;
use crate::facts::system::{CpuVendor, System};
use crate::host::Fact;
use serde::Deserialize;
use std::sync::LazyLock;

pub(super) const CHECK: Check = Check { ids: &["iommu-off-in-firmware", "firmware-old"], run };

/// Firmware older than this, compared with the newest initramfs of the host, is worth an update.
const OLD_YEARS: i64 = 3;

#[derive(Deserialize)]
struct Menu {
    vendor: String,
    cpu: String,
    path: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader of the table"))]
    source: String,
}

#[derive(Deserialize)]
struct Menus {
    menu: Vec<Menu>,
}

static MENUS: LazyLock<Vec<Menu>> = LazyLock::new(|| {
    toml::from_str::<Menus>(include_str!("../../data/firmware_menus.toml")).map(|menus| menus.menu).unwrap_or_default()
});

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let snap = ctx.snap;
    let system = &snap.system;
    let guest_or_container = system.is_guest == Fact::Known(true) || system.container.known().is_some();
    if !snap.iommu.table.is_absent() || snap.iommu.running() == Fact::Known(true) || guest_or_container {
        return Vec::new();
    }
    let (cpu, feature) = match system.cpu_vendor {
        Fact::Known(CpuVendor::Intel) => ("intel", "VT-d"),
        Fact::Known(CpuVendor::Amd) => ("amd", "IOMMU (AMD-Vi)"),
        // On other machines a device tree can describe the IOMMU: only an empty class says that there is none.
        Fact::Known(_) if snap.iommu.running() == Fact::Known(false) => {
            let evidence = Evidence::new("/sys/class/iommu", "empty");
            let finding = Finding::new("iommu-off-in-firmware", Severity::Error, Subject::Host);
            return vec![finding.variant("other").evidence(evidence)];
        }
        _ => return Vec::new(),
    };
    let tables = if cpu == "intel" { "no DMAR" } else { "no IVRS" };
    let mut finding = Finding::new("iommu-off-in-firmware", Severity::Error, Subject::Host)
        .value("feature", feature)
        .evidence(Evidence::new("/sys/firmware/acpi/tables", tables));
    match menu(system, cpu) {
        Some((vendor, path)) => {
            finding = finding.variant("menu").value("vendor", vendor).value("menu", path);
        }
        None => finding = finding.variant(cpu_variant(cpu)),
    }
    for (file, value) in [("board_vendor", &system.board_vendor), ("board_name", &system.board)] {
        if let Some(value) = value.known() {
            finding = finding.evidence(Evidence::new(format!("/sys/class/dmi/id/{file}"), value.clone()));
        }
    }
    let mut findings = vec![finding];
    findings.extend(old(ctx));
    findings
}

fn cpu_variant(cpu: &str) -> &'static str {
    if cpu == "intel" { "intel" } else { "amd" }
}

/// The maker as SMBIOS says it, and the menu.
fn menu(system: &System, cpu: &str) -> Option<(String, &'static str)> {
    for vendor in [&system.board_vendor, &system.vendor] {
        let Some(vendor) = vendor.known() else { continue };
        let lower = vendor.to_ascii_lowercase();
        let fits = |menu: &&Menu| menu.cpu == cpu && first_word_is(&lower, &menu.vendor);
        if let Some(menu) = MENUS.iter().filter(fits).max_by_key(|menu| menu.vendor.len()) {
            return Some((vendor.clone(), menu.path.as_str()));
        }
    }
    None
}

/// True if a vendor's name begins with this, and `hp` does not mean `hpe` (ASUS calls itself `ASUSTeK`, too).
fn first_word_is(vendor: &str, wanted: &str) -> bool {
    let Some(rest) = vendor.strip_prefix(wanted) else { return false };
    wanted.len() > 3 || !rest.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// A firmware much older than the newest image that was built on this host.
fn old(ctx: &Ctx<'_>) -> Option<Finding> {
    let date = ctx.snap.system.bios_date.known()?;
    let year: i64 = date.rsplit('/').next()?.trim().parse().ok()?;
    let newest = ctx.snap.initramfs.images.iter().map(|image| image.mtime).max()?;
    // The mean Gregorian year has 31 556 952 seconds.
    let built = 1970 + newest / 31_556_952;
    (year > 1990 && built - year >= OLD_YEARS).then(|| {
        Finding::new("firmware-old", Severity::Info, Subject::Host)
            .value("date", date)
            .value("board", ctx.snap.system.board.known().cloned().unwrap_or_default())
            .evidence(Evidence::new("/sys/class/dmi/id/bios_date", date.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;
    use crate::facts::Snapshot;

    fn off(board_vendor: &str, cpu: CpuVendor) -> Snapshot {
        let mut snap = healthy();
        snap.system.board_vendor = Fact::Known(board_vendor.into());
        snap.system.vendor = Fact::Unknown(crate::host::Why::NotRecorded);
        snap.system.cpu_vendor = Fact::Known(cpu);
        snap.iommu.table = Fact::Absent;
        snap.iommu.units = Fact::Known(Vec::new());
        snap.iommu.groups.clear();
        snap
    }

    #[test]
    fn the_menu_of_the_board() {
        for (vendor, cpu, variant, part) in [
            ("ASUSTeK COMPUTER INC.", CpuVendor::Intel, "menu", "System Agent"),
            ("ASUSTeK COMPUTER INC.", CpuVendor::Amd, "menu", "AMD CBS"),
            ("Micro-Star International Co., Ltd.", CpuVendor::Intel, "menu", "VT-D Tech"),
            ("Gigabyte Technology Co., Ltd.", CpuVendor::Amd, "menu", "Miscellaneous"),
            ("HPE", CpuVendor::Intel, "menu", "RBSU"),
            ("HP", CpuVendor::Intel, "menu", "System Security"),
            ("Dell Inc.", CpuVendor::Intel, "menu", "Direct I/O"),
            ("LENOVO", CpuVendor::Intel, "menu", "ThinkPad"),
            ("Supermicro", CpuVendor::Intel, "menu", "IIO"),
            ("Default string", CpuVendor::Intel, "intel", ""),
            ("Hpqx", CpuVendor::Amd, "amd", ""),
        ] {
            let snap = off(vendor, cpu);
            let findings = check(&snap);
            let found = only(&findings, "iommu-off-in-firmware");
            assert_eq!(found.len(), 1, "{vendor}");
            assert_eq!(found[0].variant, variant, "{vendor}");
            assert!(found[0].values.iter().any(|(_, value)| value.contains(part)), "{vendor}");
        }
    }

    #[test]
    fn nothing_without_proof() {
        let mut running = off("x", CpuVendor::Intel);
        running.iommu.units = Fact::Known(vec!["dmar0".into()]);
        let mut unseen = off("x", CpuVendor::Intel);
        unseen.iommu.table = Fact::Unknown(crate::host::Why::NotPermitted);
        let mut guest = off("x", CpuVendor::Intel);
        guest.system.is_guest = Fact::Known(true);
        for snap in [running, unseen, guest] {
            assert!(only(&check(&snap), "iommu-off-in-firmware").is_empty());
        }
    }

    #[test]
    fn an_old_firmware_is_named_with_it() {
        let mut snap = off("x", CpuVendor::Intel);
        assert!(only(&check(&snap), "firmware-old").is_empty());
        snap.system.bios_date = Fact::Known("03/14/2018".into());
        assert_eq!(only(&check(&snap), "firmware-old").len(), 1);
        snap.system.bios_date = Fact::Known("nonsense".into());
        assert!(only(&check(&snap), "firmware-old").is_empty());
    }

    #[test]
    fn the_table_is_sorted_and_sourced() {
        let keys: Vec<_> = MENUS.iter().map(|m| (m.vendor.clone(), m.cpu.clone())).collect();
        let mut sorted = keys.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(keys, sorted);
        assert!(MENUS.len() > 15);
        for menu in MENUS.iter() {
            assert!(menu.source.starts_with("https://") && matches!(menu.cpu.as_str(), "intel" | "amd"));
            assert!(!menu.path.is_empty() && menu.vendor == menu.vendor.to_ascii_lowercase());
        }
    }
}
