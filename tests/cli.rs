//! The program as a user types it: exit codes, what goes to which stream, and the fields of each JSON document.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/program.rs"]
mod program;

use program::{run, vfioneer};
use serde_json::Value;
use std::process::{Command, Stdio};

fn tree(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    hosts::write(&hosts::tree(&hosts::load(name)), dir.path()).unwrap();
    dir
}

const GOOD: &str = "ubuntu24.04-intel-grub-gpu-and-igpu";
const BAD: &str = "ubuntu22.04-intel-grub-iommu-off";

#[test]
fn exit_codes_and_streams() {
    let (good, bad, out) = (tree(GOOD), tree(BAD), tempfile::tempdir().unwrap());
    let (good, bad) = (good.path().to_str().unwrap(), bad.path().to_str().unwrap());
    let file = out.path().join("a file.tar.zst");
    let file = file.to_str().unwrap();
    let folder = out.path().to_str().unwrap();
    // In order: the capture is there when it is read.
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--help"], 0, "Usage: vfioneer"),
        (&["--version"], 0, "vfioneer "),
        (&["--root", good], 0, "Next: vfioneer --root"),
        (&["--root", bad], 0, "off in the kernel"),
        (&["--root", good, "list"], 0, "01:00.0"),
        (&["--root", good, "list", "10de:2484", "02:00"], 0, "0000:02:00.0"),
        (&["--root", good, "list", "rtx 3070"], 0, "0000:01:00.0"),
        (&["--root", good, "list", "intel"], 2, "more than one device"),
        (&["--root", good, "list", "7f:00.0"], 2, "no PCI function matches"),
        (&["--root", good, "list", ""], 2, "empty"),
        (&["--root", good, "list", "--all", "--usb"], 2, "cannot be used with"),
        (&["--root", good, "list", "--usb", "01:00"], 2, "cannot be used with"),
        (&["--root", good, "check"], 0, "Nothing stands in the way"),
        (&["--root", good, "check", "01:00"], 0, "can be handed over now"),
        (&["--root", bad, "check"], 1, "iommu-off-in-kernel"),
        (&["--root", good, "check", "--only"], 2, "required"),
        (&["--root", good, "explain", "group", "12"], 0, "IOMMU group 12"),
        (&["--root", good, "explain", "group", "99"], 2, "no IOMMU group 99"),
        (&["explain"], 0, "code-43"),
        (&["explain", "error", "43"], 0, "code-43"),
        (&["explain", "no video"], 0, "black-screen"),
        (&["explain", "vfio 0000:01:00.0: group 14 is not viable"], 0, "group-not-viable"),
        (&["explain", "qwertz uiop"], 2, "no page about"),
        (&["explain", "broken reset"], 0, "No page is about \"broken reset\" itself. The nearest:"),
        (&["--root", good, "history", "abc"], 2, "give a number that `vfioneer history` shows"),
        (&["check", "--log", "-"], 0, "The text is empty.\n"),
        (&["check", "--log", folder], 2, "is a directory\n"),
        (&["--root", good, "capture", file], 0, "--from '"),
        (&["--root", good, "capture", file], 3, "--force"),
        (&["--root", good, "capture", "--force", file], 0, "Wrote"),
        (&["--root", good, "capture", folder], 3, "is a directory"),
        (&["--from", file, "check"], 0, "Nothing stands in the way"),
        (&["--from", file, "--root", good], 2, "a host is mounted, or recorded"),
        (&["--from", file, "history", "--root", good], 2, "a host is mounted, or recorded"),
        (&["--from", file, "history"], 3, "is a recording, which holds no history"),
        (&["--from", file, "verify"], 3, "is a recording, which holds no history"),
        (&["--from", file, "probe", "01:00"], 3, "only on the running machine"),
        (&["--root", good, "verify", "--probe"], 3, "only on the running machine"),
        (&["verify", "--probe", "--next-boot"], 2, "cannot be used with"),
        (&["--from", file, "check", "--log", "x"], 2, "cannot be used with"),
        (&["check", "--log", "/nowhere/log"], 2, "/nowhere/log"),
        (&["frobnicate"], 2, "unrecognized subcommand"),
    ];
    for (args, code, words) in cases {
        let said = vfioneer(args);
        said.sane("");
        assert_eq!(said.code, *code, "{args:?}: {}{}", said.out, said.err);
        let (stream, other) = if *code < 2 { (&said.out, &said.err) } else { (&said.err, &said.out) };
        assert!(stream.contains(words), "{args:?}: {stream}");
        assert_eq!(other, "", "{args:?}");
    }
}

#[test]
fn an_error_is_a_document_too() {
    let good = tree(GOOD);
    let good = good.path().to_str().unwrap();
    for (args, code, kind) in [
        (&["--root", good, "list", "7f:00.0", "--json"][..], 2, "usage"),
        (&["--root", good, "list", "--usb", "--tree", "--json"], 2, "usage"),
        (&["--root", good, "verify", "--json"], 3, "refused"),
    ] {
        let said = vfioneer(args);
        let document = said.json();
        assert_eq!((said.code, &document["schema"]), (code, &"vfioneer/error/1".into()), "{args:?}");
        assert_eq!((&document["kind"], &document["exit_code"]), (&kind.into(), &code.into()));
        let message = document["message"].as_str().unwrap();
        assert!(said.err.contains(message) && document["hints"].is_array(), "{message}: {}", said.err);
    }
}

#[test]
fn what_is_suggested_leads_to_the_same_host() {
    let good = tree(GOOD);
    let good = good.path().to_str().unwrap();
    let said = vfioneer(&["--root", good, "list", "7f:00.0"]);
    assert!(said.err.contains(&format!("`vfioneer --root {good} list --all`")), "{}", said.err);
    let said = vfioneer(&["--root", good, "list"]);
    assert!(!said.out.contains("explain group") || said.out.contains(&format!("--root {good} explain group")));
    let said = vfioneer(&["--root", good]);
    assert!(said.out.contains(&format!("(vfioneer --root {good} list)")), "{}", said.out);
}

#[test]
fn columns_are_kept_to_where_they_are_given() {
    let good = tree(GOOD);
    let lines = |columns: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vfioneer"));
        let said = run(command.arg("--root").arg(good.path()).arg("list").env("COLUMNS", columns).stdin(Stdio::null()));
        said.out.lines().map(|line| line.chars().count()).max().unwrap()
    };
    assert!(lines("60") <= 60 && lines("no number") > 60);
}

#[test]
fn fields_of_the_documents() {
    let (good, bad) = (tree(GOOD), tree(BAD));
    let (good, bad) = (good.path().to_str().unwrap(), bad.path().to_str().unwrap());
    let json = |args: &[&str]| vfioneer(args).json();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();

    let list = json(&["--root", good, "list", "--json"]);
    assert_eq!(list["schema"], "vfioneer/list/1");
    let gpu = list["devices"].as_array().unwrap().iter().find(|d| d["address"] == "0000:01:00.0").unwrap();
    let fields = [
        "address",
        "vendor_id",
        "device_id",
        "subsystem_vendor_id",
        "subsystem_device_id",
        "class",
        "vendor",
        "name",
        "driver",
        "iommu_group",
        "numa_node",
        "boot_display",
        "reset_methods",
        "parent",
    ];
    for field in fields {
        assert!(gpu.get(field).is_some(), "{field}");
    }
    assert_eq!((&gpu["vendor_id"], &gpu["class"]), (&"10de".into(), &"030000".into()));
    assert!(gpu["iommu_group"].is_u64() && gpu["reset_methods"].is_array());

    let check = json(&["--root", bad, "check", "--json"]);
    assert_eq!(keys(&check), ["schema", "verdict", "findings"]);
    assert_eq!((&check["schema"], &check["verdict"]), (&"vfioneer/check/1".into(), &"fixable".into()));
    for finding in check["findings"].as_array().unwrap() {
        assert_eq!(keys(finding), ["id", "severity", "subject", "message", "evidence", "fix"]);
        assert!(["error", "warning", "info"].contains(&finding["severity"].as_str().unwrap()));
        assert!(["plan", "firmware", "manual", "none"].contains(&finding["fix"]["kind"].as_str().unwrap()));
        assert!(!finding["message"].as_str().unwrap().contains('{'));
        for evidence in finding["evidence"].as_array().unwrap() {
            assert!(evidence["source"].is_string() && evidence["text"].is_string());
        }
    }

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x");
    for (args, schema) in [
        (&["--root", good, "--json"][..], "vfioneer/overview/1"),
        (&["--root", good, "list", "--usb", "--json"], "vfioneer/usb/1"),
        (&["explain", "--json"], "vfioneer/explain-index/1"),
        (&["explain", "acs", "--json"], "vfioneer/explain/1"),
        (&["--root", good, "capture", file.to_str().unwrap(), "--json"], "vfioneer/capture/1"),
    ] {
        assert_eq!(json(args)["schema"], schema);
    }
    assert!(json(&["--root", good, "explain", "group", "12", "--json"])["schema"].is_string());
}

#[test]
fn odd_surroundings_do_no_harm() {
    let good = tree(GOOD);
    let good = good.path().to_str().unwrap();
    let program = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vfioneer"));
        command.args(["--root", good, "list"]).stdin(Stdio::null());
        command
    };
    for (case, mut command) in [
        ("no environment", {
            let mut c = program();
            c.env_clear();
            c
        }),
        ("locale C", {
            let mut c = program();
            c.env("LC_ALL", "C");
            c
        }),
        ("home is no directory", {
            let mut c = program();
            c.env("HOME", "/dev/null").env("XDG_CACHE_HOME", "/dev/null");
            c
        }),
        ("no working directory", {
            let mut c = program();
            c.current_dir("/proc/self/fd");
            c
        }),
    ] {
        let said = run(&mut command);
        said.sane(case);
        assert_eq!(said.code, 0, "{case}: {}", said.err);
        assert!(said.out.contains("01:00.0"), "{case}");
    }
    // A full disk is an error; a reader that goes away is none.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut child = program().stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let mut child = program().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
