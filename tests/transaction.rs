//! `apply`, `rollback` and `history` as a user types them, on a mounted host whose tools run in a chroot. Needs root, unshare and a static
//! busybox; without them there is nothing to see, and `tests/recovery` shows the rest.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/program.rs"]
mod program;

use program::{Said, vfioneer};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const HOST: &str = "ubuntu24.04-intel-grub-gpu-and-igpu";
const BUSYBOX: &str = "/usr/bin/busybox";
/// Makes the menu again from a template, with the words that are set.
const MKCONFIG: &str = r#"#!/bin/sh
echo "Generating grub configuration file ..." >&2
. /etc/default/grub
sed "s/quiet splash/$GRUB_CMDLINE_LINUX_DEFAULT/" /usr/share/menu > "$2"
"#;

struct Mounted {
    dir: tempfile::TempDir,
}

impl Mounted {
    /// None where commands cannot be run in a chroot.
    fn new() -> Option<Mounted> {
        let mounted = Mounted { dir: tempfile::tempdir().unwrap() };
        hosts::write(&hosts::tree(&hosts::load(HOST)), mounted.dir.path()).unwrap();
        std::fs::create_dir_all(mounted.at("bin")).unwrap();
        std::fs::create_dir_all(mounted.at("usr/share")).unwrap();
        std::fs::copy(BUSYBOX, mounted.at("bin/busybox")).ok()?;
        for name in ["sh", "sed", "true"] {
            let _ = symlink("busybox", mounted.at("bin").join(name));
        }
        mounted.write("etc/machine-id", "00112233445566778899aabbccddeeff\n");
        std::fs::copy(mounted.at("boot/grub/grub.cfg"), mounted.at("usr/share/menu")).unwrap();
        mounted.tool(MKCONFIG);
        let mut chroot = Command::new("unshare");
        chroot.args(["--mount", "--", "chroot"]).arg(mounted.dir.path()).arg("/bin/true");
        chroot.output().is_ok_and(|output| output.status.success()).then_some(mounted)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        std::fs::write(self.at(path), text).unwrap();
    }

    fn tool(&self, script: &str) {
        self.write("usr/sbin/grub-mkconfig", script);
        std::fs::set_permissions(self.at("usr/sbin/grub-mkconfig"), PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Runs a verb on it, and holds what every run must hold to.
    #[track_caller]
    fn run(&self, args: &[&str], code: i32) -> Said {
        let root = self.dir.path().to_str().unwrap();
        let said = vfioneer(&[&["--root", root], args].concat());
        let all = format!("{}: exit code {}\n{}{}", said.args, said.code, said.out, said.err);
        assert_eq!(said.code, code, "{all}");
        assert!(!said.err.contains("bug in vfioneer"), "{all}");
        assert!(!all.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\t')), "{all:?}");
        said
    }

    /// All files but vfioneer's own records.
    fn state(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let mut files = BTreeMap::new();
        walk(self.dir.path(), &mut files);
        files.retain(|path, _| !path.starts_with(self.at("var/lib/vfioneer")));
        files
    }
}

fn walk(dir: &Path, files: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            walk(&path, files);
        }
        let bytes = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        files.insert(path, (meta.permissions().mode(), bytes));
    }
}

const APPLY: &[&str] = &["apply", "--iommu-pt", "--yes"];

#[test]
fn a_root_may_be_named_from_where_one_stands() {
    let Some(host) = Mounted::new() else { return };
    let (above, name) = (host.dir.path().parent().unwrap(), host.dir.path().file_name().unwrap().to_str().unwrap());
    for (verb, code) in [(APPLY, 10), (&["rollback", "--yes"], 0)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vfioneer"));
        let said = program::run(command.current_dir(above).args(["--root", name]).args(verb));
        assert_eq!(said.code, code, "{}{}", said.out, said.err);
    }
}

#[test]
fn there_and_back() {
    let Some(host) = Mounted::new() else { return };
    let first = host.state();
    assert!(host.run(&["history"], 0).out.contains("changed nothing"));
    assert!(host.run(&["rollback", "--yes"], 0).out.contains("Nothing to do"));
    let said = host.run(&["apply", "--iommu-pt"], 3);
    assert!(said.err.contains("+GRUB_CMDLINE_LINUX_DEFAULT=\"quiet splash iommu=pt\"") && said.err.contains("--yes"));
    assert!(host.state() == first, "asked for consent, it had changed something");

    let said = host.run(APPLY, 10);
    assert!(said.out.contains("reboot, then vfioneer --root"), "{}", said.out);
    assert!(said.err.contains("[2/2] make /boot/grub/grub.cfg"), "{}", said.err);
    let menu = std::fs::read_to_string(host.at("boot/grub/grub.cfg")).unwrap();
    assert!(menu.contains("quiet splash iommu=pt $vt_handoff"), "{menu}");
    assert!(host.run(APPLY, 0).out.contains("Nothing to do"), "applied twice");
    for (path, mode) in [("", 0o700), ("/lock", 0o600), ("/transactions/1", 0o700), ("/transactions/1/journal", 0o600)]
    {
        let meta = std::fs::metadata(host.at(&format!("var/lib/vfioneer{path}"))).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, mode, "{path}");
    }

    let history = host.run(&["history", "--json"], 0).json();
    assert_eq!(
        (&history["schema"], &history["transactions"][0]["outcome"]),
        (&"vfioneer/history/1".into(), &"applied".into())
    );
    assert_eq!(history["transactions"][0]["by"]["uid"], 0);
    let said = host.run(&["history", "1"], 0);
    assert!(said.out.contains("| Generating grub configuration file"), "{}", said.out);
    let detail = host.run(&["history", "1", "--json"], 0).json();
    assert_eq!(detail["transactions"][0]["steps"][1]["result"], "done");
    host.run(&["history", "7"], 2);
    host.run(&["rollback", "7", "--yes"], 2);
    assert!(host.run(&["rollback"], 3).err.contains("change /etc/default/grub"));

    let said = host.run(&["rollback", "--yes", "--json"], 0).json();
    assert_eq!((&said["schema"], &said["outcome"]), (&"vfioneer/rollback/1".into(), &"rolled-back".into()));
    assert!(host.state() == first, "not as it was");
    host.run(&["rollback", "1", "--yes"], 3);
    let said = host.run(&["apply", "--iommu-pt", "--yes", "--json"], 10).json();
    assert_eq!((&said["schema"], &said["transaction"]), (&"vfioneer/apply/1".into(), &2.into()));
}

#[test]
fn a_tool_that_fails_and_a_file_that_somebody_changed() {
    let Some(host) = Mounted::new() else { return };
    host.tool("#!/bin/sh\necho no such device: /dev/sda >&2\nexit 7\n");
    let first = host.state();
    let said = host.run(APPLY, 4);
    for words in
        ["status 7", "| no such device: /dev/sda", "/var/lib/vfioneer/transactions/1/output/1", "Everything was undone"]
    {
        assert!(said.err.contains(words), "{words}: {}", said.err);
    }
    let kept = format!("{}/var/lib/vfioneer/transactions/1/output/1", host.dir.path().display());
    assert!(
        said.err.contains(&format!("all of its output is in {kept}\n")) && Path::new(&kept).is_file(),
        "{}",
        said.err
    );
    assert!(host.state() == first, "not undone");
    assert!(host.run(&["history"], 0).out.contains("failed"));

    host.tool(MKCONFIG);
    host.run(APPLY, 10);
    let text = std::fs::read_to_string(host.at("etc/default/grub")).unwrap() + "# mine\n";
    host.write("etc/default/grub", &text);
    let said = host.run(&["rollback", "--yes"], 5);
    assert!(said.out.contains("/etc/default/grub") && said.out.contains("before/0"), "{}", said.out);
    assert_eq!(std::fs::read_to_string(host.at("etc/default/grub")).unwrap(), text);
}

#[test]
fn what_was_interrupted_is_said_first() {
    let Some(host) = Mounted::new() else { return };
    host.run(APPLY, 10);
    assert_eq!(host.run(&["plan", "--iommu-pt"], 0).err, "");
    let journal = host.at("var/lib/vfioneer/transactions/1/journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    let begun: String = text
        .lines()
        .filter(|line| !line.contains("\"end\"") && !line.contains("\"swept\""))
        .map(|l| format!("{l}\n"))
        .collect();
    std::fs::write(&journal, begun).unwrap();
    let root = host.dir.path().display().to_string();
    for (args, code) in [(&[][..], 0), (&["plan", "--iommu-pt"], 0), (&["check"], 0)] {
        let said = host.run(args, code);
        assert!(said.err.starts_with("vfioneer: transaction 1 was interrupted"), "{}", said.err);
        assert!(said.err.contains(&format!("vfioneer --root {root} rollback\n")), "{}", said.err);
    }
    host.run(&["rollback", "--yes"], 0);
    assert_eq!(host.run(&["check"], 0).err, "");
}

#[test]
fn plans_that_are_not_this_host_s() {
    let Some(host) = Mounted::new() else { return };
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("plan.json");
    let name = file.to_str().unwrap();
    host.run(&["plan", "--iommu-pt", "-o", name], 0);
    let plan = std::fs::read_to_string(&file).unwrap();
    let refused = |text: &str, code: i32, words: &str| {
        std::fs::write(&file, text).unwrap();
        let first = host.state();
        let said = host.run(&["apply", name], code);
        assert!(said.err.contains(words), "{words}: {}", said.err);
        assert!(host.state() == first, "{words}: refused, it had changed something");
    };
    refused("not json", 2, "is no plan");
    refused("{}", 2, "does not say what it is");
    refused(&plan.replace("vfioneer/plan/1", "vfioneer/plan/9"), 3, "vfioneer/plan/9");
    refused(&plan.replace("splash iommu=pt", "splash iommu=pt init=/bin/sh"), 3, "step 1 (/etc/default/grub)");
    refused(&plan.replace("\"/boot/grub/grub.cfg\"", "\"/boot/vmlinuz-6.8.0-45-generic\""), 3, "step 2");
    refused(&plan.replace("\"goal\": {", "\"goal\": {\"nonsense\": 1,"), 2, "goal");
    host.write("etc/machine-id", "ffeeddccbbaa99887766554433221100\n");
    refused(&plan, 3, "another host");
    host.write("etc/machine-id", "00112233445566778899aabbccddeeff\n");
    let grub = std::fs::read_to_string(host.at("etc/default/grub")).unwrap();
    host.write("etc/default/grub", &format!("{grub}# changed\n"));
    refused(&plan, 3, "the file was changed since");
    host.write("etc/default/grub", &grub);
    host.run(&["apply", &format!("{name}.json")], 2);
    std::fs::write(&file, &plan).unwrap();
    // It was looked at already: nobody is asked.
    host.run(&["apply", name], 10);

    let capture = out.path().join("host.tar.zst");
    let capture = capture.to_str().unwrap();
    host.run(&["capture", capture], 0);
    let said = vfioneer(&["--from", capture, "apply", "--iommu-pt", "--yes"]);
    assert!(said.code == 3 && said.err.contains("cannot be changed"), "{}", said.err);
    assert_eq!(vfioneer(&["--from", capture, "rollback"]).code, 3);
}

/// Asks at a terminal, has something else happen, and answers yes. Gives the exit code and all that was said; none without script(1).
fn asked(host: &Mounted, args: &str, meanwhile: impl Fn()) -> Option<(Option<i32>, String)> {
    let command = format!("{} --root {} {args}", env!("CARGO_BIN_EXE_vfioneer"), host.dir.path().display());
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = script.spawn().ok()?;
    let mut said = Vec::new();
    let mut out = child.stdout.take().unwrap();
    let mut bytes = [0; 4096];
    let mut answered = false;
    while let Ok(count) = out.read(&mut bytes) {
        if count == 0 {
            break;
        }
        said.extend_from_slice(&bytes[..count]);
        if !answered && String::from_utf8_lossy(&said).contains("[y/N]") {
            meanwhile();
            child.stdin.as_mut().unwrap().write_all(b"y\n").unwrap();
            answered = true;
        }
    }
    Some((child.wait().unwrap().code(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn what_changed_while_somebody_was_asked() {
    let Some(host) = Mounted::new() else { return };
    let other = || host.write("etc/machine-id", "ffeeddccbbaa99887766554433221100\n");
    let Some((code, said)) = asked(&host, "apply --iommu-pt", other) else { return };
    assert!(code == Some(3) && said.contains("not what was shown"), "{code:?}: {said}");
    let (code, said) = asked(&host, "apply --iommu-pt", || ()).unwrap();
    assert_eq!(code, Some(10), "{said}");
    let (code, said) = asked(&host, "rollback", || drop(host.run(&["rollback", "--yes"], 0))).unwrap();
    assert!(code == Some(3) && said.contains("another transaction"), "{code:?}: {said}");
    let history = host.run(&["history", "--json"], 0).json();
    assert_eq!(history["transactions"][0]["outcome"], "rolled-back");
}

/// An interrupted rollback that is finished by the next command says what the first would have said.
#[test]
fn a_rollback_that_was_interrupted_is_finished_in_full() {
    let Some(host) = Mounted::new() else { return };
    host.run(APPLY, 10);
    let text = std::fs::read_to_string(host.at("etc/default/grub")).unwrap() + "# mine\n";
    host.write("etc/default/grub", &text);
    let journal = "var/lib/vfioneer/transactions/1/journal";
    let begun = std::fs::read_to_string(host.at(journal)).unwrap()
        + "{\"record\":\"rollback\",\"by\":{\"uid\":0,\"when\":\"x\",\"argv\":[]},\"boot_id\":null}\n";
    host.write(journal, &begun);
    let said = host.run(&["rollback", "--json"], 5).json();
    assert_eq!((&said["outcome"], &said["left"][0]["path"]), (&"incomplete".into(), &"/etc/default/grub".into()));
    host.write(journal, &begun);
    let said = host.run(&["rollback"], 5);
    assert!(said.out.contains("Rolled back transaction 1") && said.out.contains("/etc/default/grub"), "{}", said.out);
    host.write(journal, &begun);
    assert!(host.run(APPLY, 5).err.contains("/etc/default/grub was left as it is"));
}

#[test]
fn a_read_only_file_system_is_seen_before_anything_is_undone() {
    let Some(host) = Mounted::new() else { return };
    host.run(APPLY, 10);
    let first = host.state();
    let root = host.dir.path().display();
    let program = env!("CARGO_BIN_EXE_vfioneer");
    let script = format!(
        "mount --bind {root}/etc {root}/etc && mount -o remount,bind,ro {root}/etc && exec {program} --root {root} rollback --yes"
    );
    let said = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap();
    let err = String::from_utf8_lossy(&said.stderr);
    if err.contains("mount:") {
        return;
    }
    assert_eq!(said.status.code(), Some(3), "{err}");
    assert!(err.contains("mount it writable"), "{err}");
    assert!(host.state() == first, "refused, it had changed something");
    host.run(&["rollback", "--yes"], 0);
}
