//! Why a plan has not what guides have: the rows of `data/guide_lines.toml` that concern this host and this goal.

use super::case::Case;
use super::words::Word;
use crate::checks::device::is_endpoint;
use crate::checks::words;
use crate::facts::boot::Chain;
use crate::facts::initramfs::Generator;
use crate::facts::kernel::{InstalledKernel, numbers};
use crate::facts::system::CpuVendor;
use crate::goal::Method;
use crate::host::Fact;
use crate::parse::cmdline::Cmdline;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// One line that guides have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// What they say to write or run.
    pub line: String,
    /// Why the plan does without.
    pub why: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    line: String,
    word: Option<String>,
    when: Vec<String>,
    why: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers of the table, and its test"))]
    source: String,
}

#[derive(Deserialize)]
struct Table {
    line: Vec<Row>,
}

fn rows() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    ROWS.get_or_init(|| {
        toml::from_str::<Table>(include_str!("../../data/guide_lines.toml")).map(|table| table.line).unwrap_or_default()
    })
}

/// The rows that apply, and of which neither host nor plan has the line.
pub(super) fn left_out(case: &Case<'_>, planned: &[Word]) -> Vec<LeftOut> {
    if case.chosen.is_empty() {
        return Vec::new();
    }
    let present = &case.words;
    let has = |name: &str| {
        let planned = planned.iter().any(|word| word.present && Cmdline::parse(&word.word).has(name));
        let option = name
            .split_once('.')
            .is_some_and(|(module, option)| words::options(case.snap, module).iter().any(|known| known.name == option));
        planned || option || present.iter().any(|word| word.name == name)
    };
    let applies = |row: &&Row| {
        row.when.iter().all(|condition| holds(case, condition) == Some(true)) && !row.word.as_deref().is_some_and(has)
    };
    rows().iter().filter(applies).map(|row| LeftOut { line: row.line.clone(), why: row.why.clone() }).collect()
}

/// Whether a condition is known to hold; `None` for one that there is not.
fn holds(case: &Case<'_>, condition: &str) -> Option<bool> {
    let snap = case.snap;
    let cpu = |vendor| snap.system.cpu_vendor == Fact::Known(vendor);
    let kernels = &snap.kernel.installed;
    let all = |test: &dyn Fn(&InstalledKernel) -> bool| !kernels.is_empty() && kernels.iter().all(test);
    let set = |kernel: &InstalledKernel, name: &str| {
        kernel.config.known().is_some_and(|config| config.get(name).is_some_and(|value| value == "y"))
    };
    let since = |least: (u32, u32)| all(&|kernel| numbers(&kernel.release).is_some_and(|numbers| numbers >= least));
    let vendor = |id: u16| case.chosen.iter().any(|f| f.ids.known().is_some_and(|ids| ids.vendor == id));
    let built_by = |wanted| snap.initramfs.generator == Fact::Known(wanted);
    let boots_by = |chains: &[Chain]| snap.boot.chain().is_some_and(|chain| chains.contains(&chain));
    Some(match condition {
        "amd" => cpu(CpuVendor::Amd),
        "intel" => cpu(CpuVendor::Intel),
        "x86" => cpu(CpuVendor::Amd) || cpu(CpuVendor::Intel),
        "intel-default-on" => {
            all(&|kernel| set(kernel, "INTEL_IOMMU_DEFAULT_ON") || set(kernel, "INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF"))
        }
        "all-6.0" => since((6, 0)),
        "all-6.2" => since((6, 2)),
        "several-kernels" => kernels.len() > 1,
        "drm-builtin" => all(&|kernel| set(kernel, "DRM")),
        "gpu" => case.chosen.iter().any(|f| f.is_display()),
        "nvidia" => vendor(0x10de),
        "boot-display" => case.chosen.iter().any(|f| f.boot_display == Fact::Known(true)),
        "vga" => case.chosen.iter().any(|f| f.base_class() == Some(0x0300)),
        "identity" => case.goal.method == Method::Identity && case.adopted.is_none(),
        "group-alone" => alone(case),
        "interrupt-remapping" => snap.iommu.interrupt_remapping == Fact::Known(true),
        "initramfs-tools" => built_by(Generator::InitramfsTools),
        "dracut" => built_by(Generator::Dracut),
        // All but a few distributions that have neither of the other generators, and no such list.
        "systemd" => !built_by(Generator::NixOs) && !built_by(Generator::RpmOstree),
        "grub-bls" => boots_by(&[Chain::GrubBls]),
        "proxmox-boot-tool" => boots_by(&[Chain::ProxmoxSystemdBoot, Chain::ProxmoxGrub]),
        _ => return None,
    })
}

/// The groups of the chosen functions hold no other endpoint.
fn alone(case: &Case<'_>) -> bool {
    case.chosen.iter().all(|function| {
        let Fact::Known(group) = function.group else { return false };
        let mut members = case.snap.pci.group(group).filter(|f| is_endpoint(f) != Some(false));
        members.all(|f| case.chosen.iter().any(|chosen| chosen.address == f.address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::{self as t, GPU};
    use crate::goal::Goal;

    fn of(snap: &crate::facts::Snapshot) -> Vec<String> {
        let goal = Goal { devices: vec![t::at(GPU), t::at("0000:01:00.1")], ..Goal::default() };
        left_out(&Case::new(snap, &goal), &[]).into_iter().map(|line| line.line).collect()
    }

    #[test]
    fn every_row_can_be_judged_and_has_a_source() {
        let (snap, goal) = (t::healthy(), Goal::default());
        let case = Case::new(&snap, &goal);
        assert!(rows().len() > 15);
        for row in rows() {
            assert!(row.when.iter().all(|condition| holds(&case, condition).is_some()), "{}", row.line);
            assert!(!row.when.is_empty() && row.why.ends_with('.'), "{}", row.line);
            assert!(
                ["https://", "Linux ", "Proxmox "].iter().any(|start| row.source.starts_with(start)),
                "{}",
                row.line
            );
        }
    }

    #[test]
    fn only_what_concerns_this_host() {
        let snap = t::healthy();
        let lines = of(&snap);
        assert!(lines.contains(&"intel_iommu=on".to_owned()) && lines.contains(&"iommu=pt".to_owned()), "{lines:?}");
        assert!(!lines.iter().any(|line| line == "amd_iommu=on" || line.starts_with("video=")), "{lines:?}");

        let mut written = t::healthy();
        t::cmdline(&mut written, "ro quiet iommu=pt");
        t::modprobe(&mut written, "/etc/modprobe.d/a.conf", "options kvm ignore_msrs=1");
        let lines = of(&written);
        assert!(!lines.iter().any(|line| line == "iommu=pt" || line.contains("ignore_msrs")), "{lines:?}");

        let mut shared = t::healthy();
        t::change(&mut shared, "0000:00:1f.3", |f| f.group = Fact::Known(14));
        assert!(!of(&shared).iter().any(|line| line.starts_with("pcie_acs")));
    }
}
