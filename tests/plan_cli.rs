//! `vfioneer plan` as a user types it: exit codes, streams, files, and that nothing on the host changes.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/program.rs"]
mod program;

use program::vfioneer;
use serde_json::Value;
use std::path::Path;

fn tree(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    hosts::write(&hosts::tree(&hosts::load(name)), dir.path()).unwrap();
    dir
}

const GOOD: &str = "ubuntu24.04-intel-grub-gpu-and-igpu";
const DONE: &str = "pve8-amd-sdboot-zfs-passthrough";
const TWINS: &str = "debian12-amd-grub-nvme-twins";

/// Every path below a directory with what is there.
fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut ahead = vec![dir.to_owned()];
    while let Some(at) = ahead.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
            let bytes = match () {
                () if kind.is_dir() => {
                    ahead.push(path.clone());
                    Vec::new()
                }
                () if kind.is_symlink() => std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
                () => std::fs::read(&path).unwrap_or_default(),
            };
            found.push((path.display().to_string(), bytes));
        }
    }
    found.sort();
    found
}

#[test]
fn exit_codes_and_what_is_said() {
    let (good, done, twins, own) = (tree(GOOD), tree(DONE), tree(TWINS), tempfile::tempdir().unwrap());
    let (limine, off) = (tree("arch-intel-limine"), tree("ubuntu24.04-intel-grub-vtd-off-in-firmware"));
    let before = content(good.path());
    let [good_path, done, twins, limine, off] =
        [&good, &done, &twins, &limine, &off].map(|dir| dir.path().to_str().unwrap());
    let typed = format!("Next: vfioneer --root {good_path} apply 01:00 --allow group\n");
    let by_hand = format!("Next: vfioneer --root {limine} plan 01:00\n");
    let empty = own.path().join("empty.toml");
    std::fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    let goal = own.path().join("a goal.toml");
    let bad = own.path().join("bad.toml");
    std::fs::write(&goal, "devices = [\"10de:2484\", \"01:00.1\"]\niommu-pt = true\n").unwrap();
    std::fs::write(&bad, "devices = []\n\ncolour = 5\n").unwrap();
    let (goal, bad) = (goal.to_str().unwrap(), bad.to_str().unwrap());
    let cases: &[(&str, &[&str], i32, &str)] = &[
        (good_path, &["01:00"], 0, "write /etc/vfioneer/claims (new)"),
        (good_path, &["01:00", "01:00", "--allow", "group,group"], 0, &typed),
        (limine, &["01:00"], 0, &by_hand),
        (off, &["--repair"], 0, "Nothing that --repair mends. Left: iommu-off-in-firmware.\nNext: vfioneer --root"),
        (good_path, &["01:00", "--check"], 1, "/etc/vfioneer/claims"),
        (good_path, &["01:00", "-v"], 0, "The functions are claimed one by one, before any driver."),
        (good_path, &["--goal", goal], 0, "+ iommu=pt"),
        (good_path, &["--goal", goal, "--serial-console", "ttyS0"], 0, "+ console=ttyS0,115200"),
        (good_path, &["--goal", bad], 2, "bad.toml:3: unknown field `colour`"),
        (good_path, &["--goal", "/nowhere/goal.toml"], 2, "there is no such file"),
        (good_path, &[], 2, "no device is named"),
        (good_path, &["--goal", empty], 2, "the goal was read from"),
        (good_path, &["01:00", "--allow", ""], 2, "--allow"),
        (good_path, &["01:00", "--vm", ""], 2, "--vm"),
        (good_path, &["7f:00"], 2, "no PCI function matches"),
        (good_path, &["01:00", "--allow", "everything"], 2, "there is no such guard"),
        (good_path, &["01:00", "--method", "guess"], 2, "possible values: identity, ids"),
        (good_path, &["01:00", "--serial-console", "tty0"], 2, "is no serial console"),
        (good_path, &["01:00.0", "--only"], 3, "--allow group"),
        (done, &["0b:00", "--check"], 0, "Nothing to do"),
        (twins, &["04:00"], 3, "--allow root-storage"),
    ];
    for (root, args, code, wanted) in cases {
        let args: Vec<&str> = ["--root", root, "plan"].iter().chain(*args).copied().collect();
        let said = vfioneer(&args);
        assert_eq!(said.code, *code, "{args:?}: {}{}", said.out, said.err);
        let stream = if *code == 2 { &said.err } else { &said.out };
        assert!(stream.contains(wanted), "{args:?} does not say {wanted}: {stream}");
        assert_eq!((said.out.is_empty(), said.err.is_empty()), (*code == 2, *code < 2), "{args:?}");
    }
    assert_eq!(content(good.path()), before, "a plan changes nothing");
}

#[test]
fn the_plan_file_is_the_json() {
    let (good, twins, own) = (tree(GOOD), tree(TWINS), tempfile::tempdir().unwrap());
    let [good, twins] = [&good, &twins].map(|dir| dir.path().to_str().unwrap());
    let file = own.path().join("plan.json");
    let file = file.to_str().unwrap();
    let args = ["--root", good, "plan", "01:00", "--allow", "in-use"];
    let json = vfioneer(&[&args[..], &["--json"]].concat());
    let said = vfioneer(&[&args[..], &["-o", file]].concat());
    assert_eq!((json.code, said.code), (0, 0), "{}", said.err);
    assert_eq!(std::fs::read_to_string(file).unwrap(), json.out);
    assert!(said.out.contains(&format!("Next: vfioneer --root {good} apply {file}\n")), "{}", said.out);

    let plan: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(plan["schema"], "vfioneer/plan/1");
    assert_eq!(plan["applicable"], true, "a mounted host takes file steps: {:#}", plan["manual"]);
    assert_eq!(plan["devices"], serde_json::json!(["0000:01:00.0", "0000:01:00.1"]));
    assert_eq!(plan["goal"], serde_json::json!({ "devices": ["01:00"], "method": "identity", "allow": ["in-use"] }));
    assert_eq!(plan["reboot"], true, "it does not run");
    let first = &plan["steps"][0];
    assert_eq!((&first["kind"], &first["path"]), (&"write-file".into(), &"/etc/vfioneer/claims".into()));
    assert!(first["before_sha256"].is_null() && first["after"].is_string() && first["why"].is_string());
    assert!(first.get("before").is_none(), "what was there is not in the plan, only its hash");

    // A refused plan is written nowhere.
    let refused = own.path().join("refused.json");
    let said = vfioneer(&["--root", twins, "plan", "04:00", "-o", refused.to_str().unwrap(), "--json"]);
    assert_eq!(said.code, 3);
    let plan: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&plan["applicable"], &plan["steps"]), (&Value::Bool(false), &serde_json::json!([])));
    assert!(plan["refused"].as_array().unwrap().iter().any(|r| r["guard"] == "root-storage" && r["allowable"] == true));
    assert!(!refused.exists());
}

#[test]
fn a_plan_replaces_nothing_but_a_plan() {
    let (good, own) = (tree(GOOD), tempfile::tempdir().unwrap());
    let root = good.path().to_str().unwrap();
    let at = |name: &str| own.path().join(name);
    let plan = |name: &str, more: &[&str]| {
        let path = at(name);
        let args = ["--root", root, "plan", "01:00", "-o", path.to_str().unwrap()];
        vfioneer(&[&args[..], more].concat())
    };
    assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    std::os::unix::fs::symlink("pipe", at("to-pipe")).unwrap();
    std::fs::create_dir(at("dir")).unwrap();
    for (name, what) in [("pipe", "it is a FIFO"), ("to-pipe", "it is a FIFO"), ("dir", "it is a directory")] {
        for more in [&[][..], &["--force"]] {
            let said = plan(name, more);
            assert_eq!((said.code, said.out.as_str()), (2, ""), "{name}: {}", said.err);
            assert!(said.err.contains(what), "{name}: {}", said.err);
        }
    }
    use std::os::unix::fs::FileTypeExt;
    assert!(std::fs::symlink_metadata(at("pipe")).unwrap().file_type().is_fifo());
    assert!(at("to-pipe").is_symlink());

    std::fs::write(at("notes"), "mine\n").unwrap();
    assert_eq!(plan("notes", &[]).code, 3);
    assert_eq!(std::fs::read_to_string(at("notes")).unwrap(), "mine\n");
    assert_eq!(plan("notes", &["--force"]).code, 0);
    // It is a plan now, and a link to it stays one.
    std::os::unix::fs::symlink("notes", at("link")).unwrap();
    assert_eq!(plan("link", &["--iommu-pt"]).code, 0);
    assert!(at("link").is_symlink());
    assert!(std::fs::read_to_string(at("notes")).unwrap().contains("iommu=pt"));
    std::os::unix::fs::symlink("new.json", at("to-new")).unwrap();
    assert_eq!(plan("to-new", &[]).code, 0);
    assert!(at("to-new").is_symlink() && at("new.json").is_file());

    let said = vfioneer(&["--root", root, "plan", "01:00", "-o", "-"]);
    let json = vfioneer(&["--root", root, "plan", "01:00", "--json"]);
    assert_eq!((said.code, said.out, said.err.as_str()), (0, json.out, ""));
    assert!(!Path::new("-").exists());
}

#[test]
fn a_plan_file_stands_alone() {
    let (good, limine, own) = (tree(GOOD), tree("arch-intel-limine"), tempfile::tempdir().unwrap());
    let [good, limine] = [&good, &limine].map(|dir| dir.path().to_str().unwrap());
    let at = |name: &str| own.path().join(name).display().to_string();
    let (file, empty, cut, other, folder) = (at("p.json"), at("empty.json"), at("cut.json"), at("other.json"), at("."));
    assert_eq!(vfioneer(&["--root", good, "plan", "01:00", "-o", &file]).code, 0);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&empty, "\n").unwrap();
    std::fs::write(&cut, &text[..text.len() / 2]).unwrap();
    std::fs::write(&other, text.replace("vfioneer/plan/1", "vfioneer/plan/9")).unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (&[&file, "--only", "--allow", "in-use"], 2, "--only, --allow cannot be used with a plan file"),
        (&[&file, &file], 2, "give one plan, or devices"),
        (&["01:00", &file], 2, "give one plan, or devices"),
        (&[&empty], 2, "empty.json is empty"),
        (&[&cut], 2, "cut.json is cut off"),
        (&[&other], 3, "was made by another version of vfioneer (vfioneer/plan/9): make it again"),
        (&[&folder], 2, "is a directory"),
    ];
    for (args, code, wanted) in cases {
        let said = vfioneer(&[&["--root", good, "apply"], *args].concat());
        assert_eq!(said.code, *code, "{args:?}: {}", said.err);
        assert!(said.err.contains(wanted), "{args:?}: {}", said.err);
    }
    let said = vfioneer(&["--root", limine, "apply", "01:00", "--yes", "--method", "identity"]);
    let hint = format!("`vfioneer --root {limine} plan 01:00 --method identity` shows what is left");
    assert!(said.code == 3 && said.err.contains(&hint), "{}", said.err);
}

#[test]
fn a_recording_is_planned_for_reading_only() {
    let (good, own) = (tree(GOOD), tempfile::tempdir().unwrap());
    let file = own.path().join("host.tar.zst");
    let file = file.to_str().unwrap();
    assert_eq!(vfioneer(&["--root", good.path().to_str().unwrap(), "capture", file]).code, 0);
    let said = vfioneer(&["--from", file, "plan", "01:00"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("for reading only"), "{}", said.out);
    let plan: Value = serde_json::from_str(&vfioneer(&["--from", file, "plan", "01:00", "--json"]).out).unwrap();
    assert!(plan["applicable"] == false && plan["host"].is_null());
    let plan = own.path().join("plan.json");
    let plan = plan.to_str().unwrap();
    assert_eq!(vfioneer(&["--from", file, "plan", "01:00", "-o", plan]).code, 0);
    let said = vfioneer(&["--root", good.path().to_str().unwrap(), "apply", plan, "--yes"]);
    assert!(said.code == 3 && said.err.contains("made from a recording"), "{}", said.err);
}
