//! Whether an image claims functions by vfioneer's script, and when.
//!
//! Goes in: a [`Content`]. Comes out: the table of claims in it, and whether the script runs before udev.

use super::Content;
use crate::parse::{modprobe, shell_vars};

/// vfioneer's table of claims and its script in an image: the paths that they have on the host.
const CLAIMS: &str = "etc/vfioneer/claims";
const SCRIPT: &str = "etc/vfioneer/claim.sh";

impl Content {
    /// The text of vfioneer's table of claims.
    pub fn claims(&self) -> Option<&str> {
        self.files.get(CLAIMS).map(String::as_str)
    }

    /// True if the image runs vfioneer's script, and before udev looks for drivers. What was asked of the generator
    /// does not count, only what it made of it:
    ///
    /// - initramfs-tools runs the scripts of `scripts/init-top/ORDER` from top to bottom; that file is made from names and
    ///   dependencies (0.148 `scripts/functions` `cache_run_scripts`);
    /// - dracut sources `hooks/pre-udev` before it starts udev, in its own init and under systemd (`dracut-pre-udev.service`);
    /// - mkinitcpio runs the hooks of `EARLYHOOKS` in its file `config` in turn, udev being one of them; with systemd as
    ///   init it is a unit that starts before udev's;
    /// - rpm-ostree's images have it as modprobe's `install` command of vfio-pci.
    pub fn claims_before_udev(&self) -> bool {
        if self.claims().is_none() || !self.files.contains_key(SCRIPT) {
            return false;
        }
        let has = |path: &str| self.scripts.binary_search_by(|script| script.as_str().cmp(path)).is_ok();
        if let Some(order) = self.files.get("scripts/init-top/ORDER") {
            let names = order.lines().filter_map(|line| line.split_whitespace().next());
            let own = "/scripts/init-top/00-vfioneer";
            return has(own.trim_start_matches('/')) && first(names, own, "/scripts/init-top/udev");
        }
        let unit = "usr/lib/systemd/system/vfioneer-claim.service";
        let wanted = "usr/lib/systemd/system/sysinit.target.wants/vfioneer-claim.service";
        if has(wanted) && self.files.get(unit).is_some_and(|text| starts_before_udev(text)) {
            return true;
        }
        if let Some(config) = self.files.get("config") {
            let values = shell_vars::evaluate(&[&shell_vars::parse(config)], true);
            let early = values.get("EARLYHOOKS").map_or("", |value| value.text.as_str());
            return has("hooks/vfioneer") && first(early.split_ascii_whitespace(), "vfioneer", "udev");
        }
        let pre_udev = |path: &String| path.ends_with("/hooks/pre-udev/00-vfioneer-claim.sh");
        let installs = |(path, text): (&String, &String)| {
            let runs = |d: &modprobe::Directive| {
                d.word == "install" && d.module_name() == "vfio_pci" && d.rest.contains(SCRIPT)
            };
            path.contains("modprobe.d/") && modprobe::parse(text).iter().any(runs)
        };
        self.scripts.iter().any(pre_udev) || self.files.iter().any(installs)
    }
}

/// True if the first of two names to come is the first one.
fn first<'a>(mut order: impl Iterator<Item = &'a str>, own: &str, udev: &str) -> bool {
    order.find(|name| *name == own || *name == udev) == Some(own)
}

/// True if a unit is ordered before udev (systemd.unit(5), `Before=`).
fn starts_before_udev(unit: &str) -> bool {
    let mut before = unit.lines().filter_map(|line| line.strip_prefix("Before=")).flat_map(str::split_ascii_whitespace);
    before.any(|name| name == "systemd-udevd.service")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::cpio::tests::build;

    fn claiming(files: &[(&str, &[u8])]) -> bool {
        let own: &[(&str, &[u8])] =
            &[("etc/vfioneer/claims", b"# vfioneer claims 1\n"), ("etc/vfioneer/claim.sh", b"x")];
        let content = |files: &[(&str, &[u8])]| Content::read(&mut build(files).as_slice()).expect("read");
        assert!(!content(files).claims_before_udev() && !content(own).claims_before_udev());
        let found = content(&[own, files].concat());
        assert_eq!(found.claims(), Some("# vfioneer claims 1\n"));
        found.claims_before_udev()
    }

    #[test]
    fn the_claim_script_of_initramfs_tools_comes_before_udev() {
        let script = ("scripts/init-top/00-vfioneer", &b"#!/bin/sh\n"[..]);
        let lines = |names: &[&str]| -> Vec<u8> {
            let next = "[ -e /conf/param.conf ] && . /conf/param.conf";
            names
                .iter()
                .map(|name| format!("/scripts/init-top/{name} \"$@\"\n{next}\n"))
                .collect::<String>()
                .into_bytes()
        };
        assert!(claiming(&[script, ("scripts/init-top/ORDER", &lines(&["blacklist", "00-vfioneer", "udev"]))]));
        assert!(!claiming(&[script, ("scripts/init-top/ORDER", &lines(&["udev", "00-vfioneer"]))]));
        assert!(!claiming(&[script, ("scripts/init-top/ORDER", &lines(&["udev"]))]));
        assert!(!claiming(&[("scripts/init-top/ORDER", &lines(&["00-vfioneer", "udev"]))]));
    }

    #[test]
    fn the_claim_hook_of_dracut_lies_in_pre_udev() {
        for place in ["usr/lib/dracut", "lib/dracut", "var/lib/dracut"] {
            let path = |point: &str| format!("{place}/hooks/{point}/00-vfioneer-claim.sh");
            assert!(claiming(&[(&path("pre-udev"), b"x")]), "{place}");
            assert!(!claiming(&[(&path("pre-mount"), b"x")]), "{place}");
        }
    }

    #[test]
    fn the_claim_hook_of_mkinitcpio_runs_early_or_is_a_unit() {
        let hook = ("hooks/vfioneer", &b"run_earlyhook() {\n"[..]);
        assert!(claiming(&[hook, ("config", b"EARLYHOOKS=\"vfioneer udev\"\nHOOKS=\"udev\"\n")]));
        assert!(!claiming(&[hook, ("config", b"EARLYHOOKS=\"udev vfioneer\"\n")]));
        assert!(!claiming(&[hook, ("config", b"EARLYHOOKS=\"udev\"\nHOOKS=\"vfioneer\"\n")]));
        assert!(!claiming(&[("config", b"EARLYHOOKS=\"vfioneer\"\n")]));
        let unit = "usr/lib/systemd/system/vfioneer-claim.service";
        let wanted = ("usr/lib/systemd/system/sysinit.target.wants/vfioneer-claim.service", &b""[..]);
        let early = b"[Unit]\nBefore=x.service systemd-udevd.service\n";
        assert!(claiming(&[(unit, early), wanted, ("config", b"EARLYHOOKS=\"\"\n")]));
        assert!(!claiming(&[(unit, early), ("config", b"EARLYHOOKS=\"\"\n")]));
        assert!(!claiming(&[(unit, b"[Unit]\nAfter=systemd-udevd.service\n"), wanted]));
    }

    #[test]
    fn the_claim_script_of_rpm_ostree_is_an_install_command() {
        let line =
            |module: &str| format!("install {module} /bin/sh /etc/vfioneer/claim.sh; /sbin/modprobe -i vfio-pci\n");
        assert!(claiming(&[("etc/modprobe.d/vfioneer.conf", line("vfio-pci").as_bytes())]));
        assert!(!claiming(&[("etc/modprobe.d/vfioneer.conf", line("nouveau").as_bytes())]));
    }
}
