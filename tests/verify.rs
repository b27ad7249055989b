//! `vfioneer verify` as a user and as a package hook types it, on trees with a transaction's records.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/program.rs"]
mod program;

use program::{Said, vfioneer};
use std::path::Path;

const TWINS: &str = "debian12-intel-grub-twins";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// True today on that host, for a boot and a next boot.
const TRUE: &str = r#"[
    {"kind":"iommu-on"},
    {"kind":"driver","address":"0000:01:00.0","id":"10de:2484","driver":"vfio-pci"},
    {"kind":"entries","word":"quiet","present":true},
    {"kind":"images","method":"ids","modules":["vfio_pci"],"files":[]}]"#;

/// Not true: another driver, a word that no entry has, a script that no image has.
const FALSE: &str = r#"[
    {"kind":"driver","address":"0000:04:00.0","id":"10de:2484","driver":"vfio-pci"},
    {"kind":"entries","word":"intel_iommu=on","present":true},
    {"kind":"images","method":"identity","modules":[],"files":[["etc/vfioneer/claim.sh","00"]]}]"#;

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path.trim_start_matches('/'));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn host() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    hosts::write(&hosts::tree(&hosts::load(TWINS)), dir.path()).unwrap();
    write(dir.path(), BOOT_ID, "second\n");
    dir
}

const BEGIN: &str = r#"{"record":"begin","schema":"vfioneer/journal/1","id":1,"by":{"uid":0,"when":"2026-01-02T03:04:05Z","argv":[]},"boot_id":"first","version":"0.1.0"}"#;

fn end(outcome: &str) -> String {
    format!("{{\"record\":\"end\",\"when\":\"2026-01-02T03:04:06Z\",\"outcome\":\"{outcome}\"}}\n")
}

fn transaction(root: &Path, id: u32, expect: &str, outcome: Option<&str>) {
    let dir = format!("/var/lib/vfioneer/transactions/{id}");
    let end = outcome.map_or_else(String::new, end);
    write(root, &format!("{dir}/journal"), &format!("{BEGIN}\n{end}"));
    let plan = format!(r#"{{"schema":"vfioneer/plan/1","reboot":true,"expect":{expect}}}"#);
    write(root, &format!("{dir}/plan.json"), &plan);
}

fn verify(root: &Path, args: &[&str]) -> Said {
    let said = vfioneer(&[&["--root", root.to_str().unwrap(), "verify"], args].concat());
    said.sane("");
    said
}

#[test]
fn nothing_was_applied() {
    let dir = host();
    let said = verify(dir.path(), &[]);
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    assert!(said.err.contains("nothing was applied"), "{}", said.err);
    let said = verify(dir.path(), &["--next-boot", "--quiet"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", ""), "a hook has nothing to say");
    assert_eq!(verify(dir.path(), &["7"]).code, 2);
}

#[test]
fn the_last_one_that_was_applied_counts() {
    let dir = host();
    transaction(dir.path(), 9, TRUE, Some("applied"));
    transaction(dir.path(), 10, FALSE, Some("rolled-back"));
    let said = verify(dir.path(), &[]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("All true: 4 expectations of transaction 9."), "{}", said.out);
    let said = verify(dir.path(), &["10"]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("not in effect"), "{}", said.err);
}

#[test]
fn what_is_not_true_is_said_with_the_reason() {
    let dir = host();
    transaction(dir.path(), 1, FALSE, Some("applied"));
    let said = verify(dir.path(), &[]);
    assert_eq!(said.code, 1);
    for words in ["3 of 3 expectations", "nouveau", "built without", "/boot/grub/grub.cfg:"] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    write(dir.path(), BOOT_ID, "first\n");
    assert!(verify(dir.path(), &[]).out.contains("was not rebooted"));
    let said = verify(dir.path(), &["--json"]);
    let document: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&document["answer"], said.code), (&"fails".into(), 1));
    assert_eq!(document["outcomes"][0]["reason"], "not-rebooted");
    assert_eq!(document["outcomes"][0]["expect"]["kind"], "driver");
}

#[test]
fn a_hook_is_told_what_the_next_boot_lacks() {
    let dir = host();
    transaction(dir.path(), 1, TRUE, Some("applied"));
    let said = verify(dir.path(), &["--next-boot", "--quiet"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", ""));
    transaction(dir.path(), 1, FALSE, Some("applied"));
    let said = verify(dir.path(), &["--next-boot", "--quiet"]);
    assert_eq!(said.code, 1);
    assert!(said.out.contains("will not do what was applied"), "{}", said.out);
    assert!(!said.out.contains("0000:04:00.0"), "the running system is not asked: {}", said.out);
    // While another transaction is at work, everything is half done.
    transaction(dir.path(), 2, FALSE, None);
    let said = verify(dir.path(), &["--next-boot", "--quiet"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", ""));
    let said = verify(dir.path(), &["--next-boot"]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains("not finished"), "{}", said.err);
}

#[test]
fn records_that_make_no_sense() {
    let dir = host();
    let applied = format!("{BEGIN}\n{}", end("applied"));
    let later = applied.replace("journal/1", "journal/2");
    for (journal, plan, code) in [
        ("\0\u{1}\n", "{}", 3),
        ("{}\n[]\n", "", 3),
        (&later, "{}", 3),
        (&applied, "not json", 3),
        (&applied, "{\"expect\":7}", 3),
        (&applied, "{\"expect\":[{\"kind\":\"driver\"}]}", 0),
    ] {
        write(dir.path(), "/var/lib/vfioneer/transactions/1/journal", journal);
        write(dir.path(), "/var/lib/vfioneer/transactions/1/plan.json", plan);
        let said = verify(dir.path(), &[]);
        assert_eq!(said.code, code, "{journal}: {}{}", said.out, said.err);
    }
}

#[test]
fn hook_scripts_warn_and_never_fail() {
    let dir = tempfile::tempdir().unwrap();
    let bin = dir.path().join("bin");
    for tool in ["timeout", "sh", "sleep"] {
        std::fs::create_dir_all(&bin).unwrap();
        let found =
            std::env::split_paths(&std::env::var("PATH").unwrap()).map(|dir| dir.join(tool)).find(|p| p.exists());
        std::os::unix::fs::symlink(found.unwrap(), bin.join(tool)).unwrap();
    }
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/adapters/hooks");
    let run = |hook: &str, package: &str| {
        let mut command = std::process::Command::new("/bin/sh");
        command.arg(hooks.join(hook)).args(["add", "6.1.0-1", "/boot"]).env_clear();
        command.env("PATH", &bin).env("DPKG_MAINTSCRIPT_PACKAGE", package);
        program::run(&mut command)
    };
    let all = ["kernel-postinst", "initramfs-post-update", "kernel-install"];
    for hook in all {
        let said = run(hook, "");
        assert_eq!((said.code, said.out + &said.err), (0, String::new()), "{hook}: the program is not there");
    }
    let fake = "#!/bin/sh\n[ \"$*\" = 'verify --next-boot --quiet' ] && echo 'will not do'\nexit 1\n";
    write(&bin, "vfioneer", fake);
    std::fs::set_permissions(bin.join("vfioneer"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for hook in all {
        let said = run(hook, "initramfs-tools");
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (0, "", "will not do\n"), "{hook}");
    }
    let said = run("initramfs-post-update", "linux-image-6.1.0-1-amd64");
    assert_eq!((said.code, said.out + &said.err), (0, String::new()), "the kernel's own hook asks");
}
