//! GRUB's configuration in two places: the one that the firmware's loader reads, and the one that is generated.

use super::{Check, Ctx, Finding, Severity, Subject, distros};
use crate::facts::Evidence;
use crate::facts::boot::{Chain, GrubConfig};
use crate::facts::system::Distro;

pub(super) const CHECK: Check = Check { ids: &["grub-stub-overwritten", "grub-cfg-split"], run };

fn run(ctx: &Ctx<'_>) -> Vec<Finding> {
    let boot = &ctx.snap.boot;
    let grub = |chain: Chain| matches!(chain, Chain::Grub | Chain::GrubBls);
    if !boot.candidates.is_empty() && !boot.candidates.iter().any(|candidate| grub(candidate.chain)) {
        return Vec::new();
    }
    let whole = |config: &&GrubConfig| !config.stub && !config.file.text.trim().is_empty();
    let on_esp = boot.grub_configs.iter().filter(|config| config.esp).find(whole);
    let in_boot = boot.grub_configs.iter().filter(|config| !config.esp).find(whole);
    let (Some(on_esp), Some(in_boot)) = (on_esp, in_boot) else { return Vec::new() };
    if on_esp.file.text == in_boot.file.text && on_esp.file.path == in_boot.file.path {
        return Vec::new();
    }
    let grubby = boot.candidates.iter().any(|candidate| candidate.chain == Chain::GrubBls);
    let stub_expected = grubby && ctx.snap.system.distro.known().is_some_and(|distro| !whole_on_esp(distro));
    let id = if stub_expected { "grub-stub-overwritten" } else { "grub-cfg-split" };
    let same = on_esp.file.text == in_boot.file.text;
    let severity = if same && !stub_expected { Severity::Info } else { Severity::Warning };
    vec![
        Finding::new(id, severity, Subject::Line(on_esp.file.path.clone(), 1))
            .value("esp", &on_esp.file.path)
            .value("boot", &in_boot.file.path)
            .evidence(first_lines(on_esp))
            .evidence(first_lines(in_boot)),
    ]
}

/// The first line that says something.
fn first_lines(config: &GrubConfig) -> Evidence {
    let told = |line: &&str| !line.trim().is_empty() && line.trim() != "#";
    let found = (1u32..).zip(config.file.text.lines()).find(|(_, line)| told(line));
    let (number, text) = found.unwrap_or((1, ""));
    Evidence::at(config.file.path.clone(), number, text.trim())
}

/// Later versions keep a stub on the ESP that leads to `/boot/grub2/grub.cfg`.
fn whole_on_esp(distro: &Distro) -> bool {
    let major: Option<u32> = distro.version.split('.').next().and_then(|major| major.parse().ok());
    let last = distros::row(distro).and_then(|row| row.grub_cfg_on_esp_until);
    matches!((major, last), (Some(major), Some(last)) if major <= last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::*;
    use crate::facts::Snapshot;
    use crate::facts::boot::Candidate;
    use crate::host::Fact;

    fn config(path: &str, text: &str, stub: bool) -> GrubConfig {
        let esp = path.contains("/EFI/");
        GrubConfig { file: file(path, text).into(), stub, esp, ..GrubConfig::default() }
    }

    fn host(id: &str, like: &str, version: &str, chain: Chain, stub: bool) -> Snapshot {
        let mut snap = healthy();
        snap.system.distro = Fact::Known(Distro {
            id: id.into(),
            like: like.split_whitespace().map(str::to_owned).collect(),
            version: version.into(),
            ..Distro::default()
        });
        snap.boot.candidates = vec![Candidate { chain, evidence: Vec::new(), proven: true }];
        let esp = format!("/boot/efi/EFI/{id}/grub.cfg");
        snap.boot.grub_configs = vec![
            config(&esp, if stub { "configfile $prefix/grub.cfg\n" } else { "#\n# DO NOT EDIT\nmenuentry\n" }, stub),
            config("/boot/grub2/grub.cfg", "### BEGIN /etc/grub.d/00_header ###\n", false),
        ];
        snap
    }

    #[test]
    fn stubs_and_whole_files() {
        for (snap, expected) in [
            (host("rocky", "rhel centos fedora", "9.4", Chain::GrubBls, true), vec![]),
            (
                host("rocky", "rhel centos fedora", "9.4", Chain::GrubBls, false),
                vec!["warning grub-stub-overwritten /boot/efi/EFI/rocky/grub.cfg:1"],
            ),
            (
                host("rocky", "rhel centos fedora", "8.10", Chain::GrubBls, false),
                vec!["warning grub-cfg-split /boot/efi/EFI/rocky/grub.cfg:1"],
            ),
            (
                host("fedora", "", "42", Chain::GrubBls, false),
                vec!["warning grub-stub-overwritten /boot/efi/EFI/fedora/grub.cfg:1"],
            ),
            (
                host("debian", "", "12", Chain::Grub, false),
                vec!["warning grub-cfg-split /boot/efi/EFI/debian/grub.cfg:1"],
            ),
            (host("debian", "", "12", Chain::Grub, true), vec![]),
            (host("debian", "", "12", Chain::ProxmoxSystemdBoot, false), vec![]),
        ] {
            let found: Vec<_> = shown(&check(&snap)).into_iter().filter(|line| line.contains(" grub-")).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn version_8_has_its_file_on_the_esp() {
        let mut snap = host("rocky", "rhel centos fedora", "8.10", Chain::GrubBls, false);
        snap.boot.grub_configs.truncate(1);
        assert!(!shown(&check(&snap)).iter().any(|line| line.contains(" grub-")));
    }
}
