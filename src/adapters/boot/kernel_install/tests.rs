#![allow(clippy::disallowed_methods)] // The plugin runs in a shell.

use super::super::testing::{Files, words};
use super::*;
use crate::steps::Action;

const OPTIONS: &str = "root=UUID=1 ro quiet systemd.machine_id=0a1b";

fn entry(release: &str, options: &str) -> String {
    format!(
        "# Boot Loader Specification type#1 entry\n\
         # File created by /usr/lib/kernel/install.d/90-loaderentry.install (systemd 257.13-1~deb13u1)\n\
         title      Debian GNU/Linux 13 (trixie)\nversion    {release}\nmachine-id 0a1b\nsort-key   debian\n\
         options    {options}\nlinux      /0a1b/{release}/linux\ninitrd     /0a1b/{release}/initrd.img-{release}\n"
    )
}

fn path(release: &str) -> String {
    format!("/boot/efi/loader/entries/0a1b-{release}.conf")
}

/// Debian 13 with two kernels.
fn debian() -> Files {
    let mut host = Files::new(&[
        (
            "/proc/cmdline",
            "initrd=\\0a1b\\6.12.1-amd64\\initrd.img-6.12.1-amd64 root=UUID=1 ro quiet systemd.machine_id=0a1b\n",
        ),
        ("/boot/efi/loader/loader.conf", "timeout 3\n"),
        ("/boot/efi/EFI/systemd/systemd-bootx64.efi", ""),
    ])
    .loader("LoaderInfo", "systemd-boot 257.13-1~deb13u1")
    .loader("LoaderEntrySelected", "0a1b-6.12.1-amd64.conf");
    for release in ["6.1.0-9-amd64", "6.12.1-amd64"] {
        host = host
            .with(&path(release), entry(release, OPTIONS))
            .with(&format!("/boot/vmlinuz-{release}"), "MZ")
            .with(&format!("/usr/lib/modules/{release}/modules.dep"), "")
            .with(&format!("/boot/initrd.img-{release}"), "image")
            .with(&format!("/boot/efi/0a1b/{release}/initrd.img-{release}"), "image");
    }
    host
}

#[test]
fn every_entry_and_those_to_come() {
    let host = debian();
    let change = WordChange { images: true, ..words("intel_iommu=on iommu=pt", "quiet") };
    let work = host.work(&change);
    assert!(work.manual.is_empty(), "{work:?}");
    let after = host.after(&work);
    let options = "root=UUID=1 ro systemd.machine_id=0a1b intel_iommu=on iommu=pt";
    for release in ["6.1.0-9-amd64", "6.12.1-amd64"] {
        assert_eq!(after.text(&path(release)), Some(entry(release, options).as_str()));
    }
    assert_eq!(after.text(CMDLINE), Some(format!("{options}\n").as_str()));
    let generated: Vec<&Action> =
        work.commands.iter().map(|step| &step.action).filter(|a| matches!(a, Action::Generate { .. })).collect();
    let [_, Action::Generate { argv, output, product }] = generated.as_slice() else { panic!("{generated:?}") };
    assert_eq!(argv, &["cp", "/boot/initrd.img-6.12.1-amd64", "{out}"]);
    assert_eq!(output, "/boot/efi/0a1b/6.12.1-amd64/initrd.img-6.12.1-amd64");
    assert!(matches!(product, crate::steps::Product::Image { release, .. } if release == "6.12.1-amd64"));
    assert!(after.work(&words("intel_iommu=on iommu=pt", "quiet")).is_empty());
}

#[test]
fn what_is_there_is_kept() {
    let host = debian().with(CMDLINE, "# mine\nroot=UUID=1 ro\nquiet iommu=pt\n");
    let after = host.after(&host.work(&words("iommu=pt", "")));
    // The file had it, the entries had not.
    assert_eq!(after.text(CMDLINE), host.text(CMDLINE));
    assert!(
        after
            .text(&path("6.12.1-amd64"))
            .unwrap()
            .contains("options    root=UUID=1 ro quiet systemd.machine_id=0a1b iommu=pt\n")
    );
    // Nothing is wanted: no file appears.
    assert!(debian().work(&words("quiet", "nofb")).is_empty());
    let vendor = debian().with(VENDOR, "root=UUID=1\nro\n");
    let after = vendor.after(&vendor.work(&words("iommu=pt", "")));
    assert_eq!(after.text(CMDLINE), Some("root=UUID=1 iommu=pt\nro\n"));
    assert_eq!(after.text(VENDOR), vendor.text(VENDOR));
}

#[test]
fn another_system_on_the_esp_is_left_alone() {
    let other = entry("6.17.1-300.fc43.x86_64", "root=UUID=2 ro rhgb");
    let host = debian().with("/boot/efi/loader/entries/ffff-6.17.1-300.fc43.x86_64.conf", &other);
    let work = host.work(&WordChange { escape: true, ..words("iommu=pt", "") });
    let after = host.after(&work);
    let entries = after.0.keys().filter(|path| path.contains("/loader/entries/ffff")).count();
    assert_eq!(
        (entries, after.text("/boot/efi/loader/entries/ffff-6.17.1-300.fc43.x86_64.conf")),
        (1, Some(other.as_str()))
    );
}

#[test]
fn entries_without_passthrough() {
    let counted = "/boot/efi/loader/entries/0a1b-6.12.2-amd64+3-1.conf";
    let host = debian().with(counted, entry("6.12.2-amd64", OPTIONS));
    let change = WordChange { escape: true, ..words("iommu=pt", "") };
    let after = host.after(&host.work(&change));
    assert_eq!(after.text(PLUGIN), Some(PLUGIN_SCRIPT));
    let off = after.text("/boot/efi/loader/entries/0a1b-6.12.1-amd64-vfioneer-off.conf").unwrap();
    assert!(off.contains("title      Debian GNU/Linux 13 (trixie), without passthrough (vfioneer=off)\n"), "{off}");
    assert!(off.contains("sort-key   debian-vfioneer-off\n"), "{off}");
    assert!(off.contains(&format!("options    {OPTIONS} iommu=pt vfioneer=off\n")), "{off}");
    assert!(off.contains("linux      /0a1b/6.12.1-amd64/linux\n"), "{off}");
    assert!(after.text("/boot/efi/loader/entries/0a1b-6.12.2-amd64-vfioneer-off.conf").is_some());
    assert!(after.work(&change).is_empty());
}

#[test]
fn the_plugin_writes_the_same_entry() {
    let dir = tempfile::tempdir().unwrap();
    let entries = dir.path().join("loader/entries");
    std::fs::create_dir_all(&entries).unwrap();
    let run = |verb: &str, release: &str| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/adapters/boot/files/95-vfioneer.install");
        let mut shell = std::process::Command::new("sh");
        shell.args([script, verb, release, "/nowhere", "/boot/vmlinuz"]).env("KERNEL_INSTALL_LAYOUT", "bls");
        shell.env("KERNEL_INSTALL_BOOT_ROOT", dir.path()).env("KERNEL_INSTALL_ENTRY_TOKEN", "0a1b");
        let output = shell.output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    };
    for (name, options) in [
        ("6.1", OPTIONS),
        ("6.2+3", "ro vfio-pci.ids=10de:2684,10de:22ba  vfio_pci.ids=1:2 quiet"),
        ("6.3", "vfio-pci.ids=1:2"),
    ] {
        let release = name.trim_end_matches("+3");
        let text = entry(release, options);
        std::fs::write(entries.join(format!("0a1b-{name}.conf")), &text).unwrap();
        run("add", release);
        let off = entries.join(format!("0a1b-{release}-vfioneer-off.conf"));
        assert_eq!(std::fs::read_to_string(&off).unwrap(), escape_text(&text, false));
        run("remove", release);
        assert!(!off.exists());
    }
    run("add", "6.9");
    assert_eq!(std::fs::read_dir(&entries).unwrap().count(), 3);
    assert!(escape_text("options a\n", true).ends_with(" vfioneer=off module_blacklist=vfio_pci\n"));
}
