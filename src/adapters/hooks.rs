//! Hooks of package managers that say before the reboot if what boots next would not claim.
//!
//! Goes in: a snapshot. Comes out: the hooks that this host's package manager runs, as files. They ask
//! `vfioneer verify --next-boot --quiet`, change nothing, and never fail what runs them.

use super::Work;
use crate::facts::Snapshot;
use crate::facts::initramfs::Generator;
use crate::steps::Step;
use crate::steps::reasons::reason;

/// One hook and where it is run.
struct Row {
    path: &'static str,
    text: &'static str,
    mode: u32,
    /// A program that the host must have.
    needs: &'static str,
    /// Who must build its images, where only that one runs the hook.
    generator: Option<Generator>,
    /// Programs whose own hooks come behind this one, or make it needless.
    unless: &'static [&'static str],
}

/// Run in the order of their names; each name sorts behind those that build images and entries there:
///
/// - Debian's kernels run `/etc/kernel/postinst.d` (linux-image's postinst; `zz-update-grub`, `zz-systemd-boot`, `zz-proxmox-boot`);
/// - update-initramfs runs `/etc/initramfs/post-update.d` (initramfs-tools 0.137, `update-initramfs` `run_bootloader`);
/// - kernel-install runs `/etc/kernel/install.d` (kernel-install(8); `90-loaderentry`, `99-grub-mkconfig`);
/// - pacman runs `/etc/pacman.d/hooks` (alpm-hooks(5); `90-mkinitcpio-install`).
const ROWS: &[Row] = &[
    Row {
        path: "/etc/kernel/postinst.d/zzz-vfioneer",
        text: include_str!("hooks/kernel-postinst"),
        mode: 0o755,
        needs: "/usr/bin/dpkg",
        generator: None,
        unless: &[],
    },
    Row {
        path: "/etc/initramfs/post-update.d/zzz-vfioneer",
        text: include_str!("hooks/initramfs-post-update"),
        mode: 0o755,
        needs: "/usr/bin/dpkg",
        generator: Some(Generator::InitramfsTools),
        unless: &[],
    },
    Row {
        path: "/etc/kernel/install.d/99-vfioneer.install",
        text: include_str!("hooks/kernel-install"),
        mode: 0o755,
        needs: "/usr/bin/kernel-install",
        generator: None,
        // openSUSE's kernels run no kernel-install (suse-module-tools `kernel-scriptlets`).
        unless: &["/usr/bin/dpkg", "/usr/bin/pacman", "/usr/bin/rpm-ostree", "/usr/bin/zypper"],
    },
    Row {
        path: "/etc/pacman.d/hooks/zz-vfioneer.hook",
        text: include_str!("hooks/pacman.hook"),
        mode: 0o644,
        needs: "/usr/bin/pacman",
        generator: None,
        unless: &[],
    },
];

/// The hooks that this host lacks.
pub fn work(snap: &Snapshot) -> Work {
    let mut work = Work::default();
    let has = |program: &str| snap.own.programs.contains(program);
    let mut watched = false;
    for row in ROWS {
        let runs = row.generator.is_none_or(|generator| snap.initramfs.generator.known() == Some(&generator));
        if !has(row.needs) || !runs || row.unless.iter().any(|program| has(program)) {
            continue;
        }
        watched = true;
        let before = snap.own.text(row.path);
        if before != Some(row.text) {
            work.files.push(Step::write(row.path, before, row.text, row.mode, reason("next-boot-hook", &[])));
        }
    }
    // rpm-ostree and NixOS have every image built with the claims.
    let always = matches!(snap.initramfs.generator.known(), Some(Generator::RpmOstree | Generator::NixOs));
    if !watched && !always {
        work.notes.push(reason("next-boot-unwatched", &[]));
    }
    work
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::healthy;
    use crate::facts::TextFile;
    use crate::facts::own;
    use crate::host::Fact;
    use crate::steps::Action;

    fn written(programs: &[&str], generator: Option<Generator>) -> Vec<String> {
        let mut snap = healthy();
        snap.own.programs = programs.iter().map(|name| (*name).to_owned()).collect();
        snap.initramfs.generator = generator.map_or(Fact::Absent, Fact::Known);
        let first = work(&snap);
        assert!(first.commands.is_empty() && first.manual.is_empty());
        let mut paths = Vec::new();
        for step in first.files {
            let text = step.text().unwrap().to_owned();
            let Action::WriteFile { path, mode, .. } = step.action else { panic!("a file") };
            assert_eq!(mode == 0o755, text.starts_with("#!/bin/sh\n"), "{path}");
            snap.own.files.insert(path.clone(), Fact::Known(TextFile { path: path.clone(), text }));
            paths.push(path);
        }
        assert!(work(&snap).is_empty(), "a second time there is nothing to do");
        paths
    }

    #[test]
    fn the_hooks_of_each_family() {
        let debian = ["/usr/bin/dpkg", "/usr/bin/kernel-install"];
        let both = ["/etc/kernel/postinst.d/zzz-vfioneer", "/etc/initramfs/post-update.d/zzz-vfioneer"];
        assert_eq!(written(&debian, Some(Generator::InitramfsTools)), both);
        assert_eq!(written(&debian, Some(Generator::Dracut)), both[..1]);
        let fedora = written(&["/usr/bin/kernel-install"], Some(Generator::Dracut));
        assert_eq!(fedora, ["/etc/kernel/install.d/99-vfioneer.install"]);
        assert!(written(&["/usr/bin/kernel-install", "/usr/bin/rpm-ostree"], Some(Generator::RpmOstree)).is_empty());
        let arch = written(&["/usr/bin/kernel-install", "/usr/bin/pacman"], Some(Generator::Mkinitcpio));
        assert_eq!(arch, ["/etc/pacman.d/hooks/zz-vfioneer.hook"]);
        assert!(written(&[], None).is_empty());
    }

    #[test]
    fn each_is_read_back_and_never_fails() {
        for row in ROWS {
            assert!(own::FILES.contains(&row.path), "{}", row.path);
            assert!(row.text.contains("timeout 60 vfioneer verify --next-boot --quiet"), "{}", row.path);
            let programs = row.unless.iter().chain([&row.needs]);
            assert!(programs.into_iter().all(|program| own::PROGRAMS.contains(program)), "{}", row.path);
        }
    }
}
