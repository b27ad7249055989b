//! Hooks of hypervisors on constructed hosts: put into place, planned again, taken away, undone. What they do when a VM starts and ends is
//! tried in real kernels (`tests/lab/guest/swift/hook.sh`) and with a real libvirt (`tests/lab`).
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/program.rs"]
mod program;
#[path = "support/scripted.rs"]
mod scripted;

use program::{Said, vfioneer};
use scripted::Scripted;
use std::collections::BTreeMap;
use std::path::Path;
use vfioneer::adapters::vm::hook::{Place, Wanted};
use vfioneer::apply::{Session, rollback};
use vfioneer::facts::{self, Needs, hooks};
use vfioneer::host::Caller;
use vfioneer::host::change::TreeMut;
use vfioneer::parse::vm_settings::VmSettings;
use vfioneer::plan::{self, Plan};

const LIBVIRT: &str = "debian13-intel-grub-twins-by-address";
const KOLLA: &str = "rocky9-intel-bls-kolla-guide";
const PROXMOX: &str = "pve8-amd-sdboot-zfs-passthrough";

/// A constructed host in a directory.
fn written(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    hosts::write(&hosts::tree(&hosts::load(name)), dir.path()).unwrap();
    dir
}

fn put(root: &Path, path: &str, text: &str) {
    let at = root.join(path.trim_start_matches('/'));
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    std::fs::write(at, text).unwrap();
}

/// Every file below /etc, /usr and /var but vfioneer's own record.
fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = ["etc", "usr", "var"].map(|name| root.join(name)).to_vec();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten() {
            let at = entry.unwrap().path();
            match at.symlink_metadata().unwrap() {
                meta if meta.is_dir() && at != root.join("var/lib/vfioneer") => dirs.push(at),
                meta if meta.is_file() => drop(found.insert(at.display().to_string(), std::fs::read(&at).unwrap())),
                _ => {}
            }
        }
    }
    found
}

#[track_caller]
fn is(said: &Said, code: i32, part: &str) {
    assert!(
        said.code == code && (said.out.clone() + &said.err).contains(part),
        "{} {}{}",
        said.code,
        said.out,
        said.err
    );
}

#[test]
fn libvirts_hook_comes_and_goes() {
    let host = written(LIBVIRT);
    let root = host.path().to_str().unwrap();
    let run = |args: &[&str]| vfioneer(&[&["--root", root], args].concat());
    is(&run(&["hook", "install", "--libvirt", "--yes"]), 3, "/usr/bin/vfioneer is not there");
    put(host.path(), "/usr/bin/vfioneer", "the program\n");
    put(host.path(), "/etc/libvirt/hooks/qemu", "#!/bin/sh\n");
    let before = files(host.path());

    is(&run(&["hook", "install", "--libvirt"]), 3, "add --yes");
    is(&run(&["hook", "install", "--libvirt", "--vm", "win12", "--yes"]), 2, "win11");
    is(&run(&["hook", "install", "--libvirt", "--reset", "never", "--yes"]), 2, "--vm NAME");
    is(&run(&["hook", "install", "--libvirt", "--vm", "win11", "--allow", "all", "--yes"]), 2, "no such guard");
    is(&run(&["hook", "install", "--yes"]), 2, "--libvirt|--kolla|--proxmox");
    assert_eq!(files(host.path()), before, "nothing was changed by what was refused");

    let settings = ["--vm", "win11", "--single-gpu", "--reset", "always", "--allow", "unreset"];
    is(&run(&[&["hook", "install", "--libvirt", "--yes"], &settings[..]].concat()), 0, "Applied as transaction 1");
    let script = host.path().join("etc/libvirt/hooks/qemu.d/50-vfioneer");
    let text = std::fs::read_to_string(&script).unwrap();
    assert!(text.contains("exec /usr/bin/vfioneer hook run libvirt -- \"$@\"\n"), "{text}");
    let kept = std::fs::read_to_string(host.path().join("etc/vfioneer/vms/libvirt/win11.toml")).unwrap();
    assert!(kept.contains("single-gpu = true") && kept.contains("allow = [\"unreset\"]"), "{kept}");
    is(&run(&[&["hook", "install", "--libvirt", "--yes"], &settings[..]].concat()), 0, "Nothing to do");
    is(&run(&["verify"]), 0, "50-vfioneer");
    is(&run(&["history", "--vm", "win11"]), 0, "Nothing is on record");

    is(&run(&["hook", "remove", "--libvirt", "--vm", "win11", "--yes"]), 0, "Applied");
    assert!(script.exists());
    is(&run(&["hook", "remove", "--libvirt", "--yes"]), 0, "Applied");
    assert_eq!(files(host.path()), before);
    is(&run(&["verify"]), 0, "50-vfioneer is not there");
    is(&run(&["hook", "remove", "--libvirt", "--yes"]), 0, "Nothing to do");
    // Undone in the order in which they were done, the last one first.
    for _ in 0..3 {
        is(&run(&["rollback", "--yes"]), 0, "Rolled back");
    }
    assert_eq!(files(host.path()), before);
    assert!(!host.path().join("etc/libvirt/hooks/qemu.d").exists());

    put(host.path(), "/etc/libvirt/hooks/qemu.d/50-vfioneer", "#!/bin/sh\necho mine\n");
    is(&run(&["hook", "install", "--libvirt", "--yes"]), 3, "was not written by vfioneer");
    is(&run(&["hook", "remove", "--libvirt", "--yes"]), 0, "Nothing to do");
}

#[test]
fn kollas_hook_is_on_the_host() {
    let host = written(KOLLA);
    let root = host.path().to_str().unwrap();
    let run = |args: &[&str]| vfioneer(&[&["--root", root], args].concat());
    is(&run(&["hook", "install", "--libvirt", "--yes"]), 3, "is not there");
    put(host.path(), "/usr/bin/vfioneer", "the program\n");
    let said = run(&["hook", "install", "--kolla", "--yes"]);
    is(&said, 0, "nova_libvirt_extra_volumes");
    assert!(said.err.contains("kolla-ansible") && said.err.contains("--disable"), "{}", said.err);
    let text = std::fs::read_to_string(host.path().join("etc/kolla/libvirt-hooks/qemu.d/50-vfioneer")).unwrap();
    assert!(text.contains("hook run libvirt --log /var/log/kolla/libvirt/vfioneer.jsonl -- \"$@\""), "{text}");
    // What the container has written down is the host's to read.
    let log = "/var/lib/docker/volumes/kolla_logs/_data/libvirt/vfioneer.jsonl";
    let line = r#"{"when":"2026-01-02T03:04:05Z","vm":{"kind":"libvirt","name":"instance-0000001a"},"phase":"release",
        "devices":["0000:01:00.0"],"done":[],"resets":[["0000:01:00.0","flr"]],"ms":120,"failed":null}"#;
    put(host.path(), log, &(line.replace('\n', "") + "\n{\"cut off"));
    is(&run(&["history", "--vm", "instance-0000001a"]), 0, "reset flr, well  0000:01:00.0");
    let json = run(&["history", "--vm", "instance-0000001a", "--json"]).json();
    assert_eq!((&json["runs"][0]["resets"][0]["method"], json["runs"].as_array().unwrap().len()), (&"flr".into(), 1));
    is(&run(&["hook", "remove", "--kolla", "--yes"]), 0, "Applied");
    assert!(!host.path().join("etc/kolla/libvirt-hooks/qemu.d/50-vfioneer").exists());
    is(&run(&["verify"]), 0, "50-vfioneer");
}

/// A host whose commands are scripts.
struct Scripts {
    dir: tempfile::TempDir,
    host: TreeMut,
}

impl Scripts {
    fn new(name: &str) -> Scripts {
        let dir = written(name);
        let host = TreeMut::mounted(dir.path()).unwrap().with_runner(Box::<Scripted>::default());
        Scripts { dir, host }
    }

    fn snapshot(&self) -> facts::Snapshot {
        facts::collect(&self.host, Needs { vms: true, ..Needs::LIST })
    }

    fn install(&self, id: &str) -> Result<Plan, String> {
        let vm = Some((id.to_owned(), VmSettings::default()));
        let wanted = Wanted { place: Place::Proxmox(id.to_owned()), vm, program: None };
        plan::hook::install(&self.snapshot(), &hooks::collect(&self.host), &wanted)
    }

    fn remove(&self, id: &str) -> Plan {
        let place = Place::Proxmox(id.to_owned());
        plan::hook::remove(&self.snapshot(), &hooks::collect(&self.host), &place, None).unwrap()
    }

    fn apply(&self, plan: &Plan) -> u32 {
        Session::open(&self.host, Caller::new()).unwrap().apply(plan, &mut |_| ()).unwrap().id
    }
}

#[test]
fn proxmox_gets_a_snippet_and_each_vm_its_hookscript() {
    let host = Scripts::new(PROXMOX);
    let root = host.dir.path();
    let config = || std::fs::read_to_string(root.join("etc/pve/nodes/pve/qemu-server/105.conf")).unwrap();
    assert!(host.install("999").unwrap_err().contains("no VM 999"));
    assert!(host.install("105").unwrap_err().contains("storage"));
    put(root, "/etc/pve/storage.cfg", "dir: local\n\tpath /var/lib/vz\n\tcontent iso,backup\n");
    assert!(host.install("105").unwrap_err().contains("pvesm set local --content iso,backup,snippets"));
    put(root, "/etc/pve/storage.cfg", "dir: local\n\tpath /var/lib/vz\n\tcontent iso,snippets\n");
    std::fs::create_dir_all(root.join("var/lib/vz/snippets")).unwrap();
    let (before, first) = (files(root), config());

    let id = host.apply(&host.install("105").unwrap());
    assert!(config().contains("\nhookscript: local:snippets/vfioneer-hook\n"), "{}", config());
    assert!(root.join("var/lib/vz/snippets/vfioneer-hook").exists());
    assert!(host.install("105").unwrap().steps.is_empty(), "there is nothing left to do");
    let last = rollback::choose(&host.host, Some(id)).unwrap().unwrap();
    Session::open(&host.host, Caller::new()).unwrap().rollback(last, &mut |_| ()).unwrap();
    assert_eq!((files(root), config()), (before.clone(), first.clone()));

    host.apply(&host.install("105").unwrap());
    host.apply(&host.remove("105"));
    assert!(!root.join("var/lib/vz/snippets/vfioneer-hook").exists() && !config().contains("hookscript"));
    assert!(host.remove("105").steps.is_empty());

    // One VM's settings are not another's.
    put(root, "/etc/vfioneer/vms/proxmox/106.toml", "single-gpu = true\n");
    host.apply(&host.install("105").unwrap());
    host.apply(&host.remove("105"));
    assert!(root.join("etc/vfioneer/vms/proxmox/106.toml").exists());
    assert!(!root.join("etc/vfioneer/vms/proxmox/105.toml").exists());

    // Another hookscript is the user's.
    put(root, "/etc/pve/nodes/pve/qemu-server/105.conf", &(first + "hookscript: local:snippets/mine.pl\n"));
    assert!(host.install("105").unwrap_err().contains("mine.pl"));
    assert!(host.remove("105").steps.is_empty());
}
