//! `plan --repair` on every constructed host: what was repaired is no longer found, and a second repair has nothing to do.
//! With `VFIONEER_CONFIGS=DIR`, the same for every grub, modprobe.d and module list below that directory.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;

use hosts::{Entry, HostFile, Tree};
use vfioneer::checks::{self, Finding};
use vfioneer::facts::{self, Needs, Snapshot};
use vfioneer::goal::{Goal, Request};
use vfioneer::plan::{self, Plan};
use vfioneer::steps::Action;

/// What `--repair` is about; the others of its findings' ids hang on a choice.
const MENDED: &[&str] =
    &["cmdline-second-line", "cmdline-without-root", "cmdline-words-glued", "config-line-duplicated", "ids-malformed"];

fn look(name: &str, file: &HostFile, tree: &Tree) -> Snapshot {
    facts::collect(&hosts::recorded::recorded(name, file, tree), Needs::PLAN)
}

fn plan(snap: &Snapshot) -> Plan {
    let request = Request { repair: true, ..Request::default() };
    plan::make(snap, &request.resolve(&snap.pci).unwrap())
}

/// The files as the plan leaves them; what generators would make of them, and the next boot, by their words alone.
fn applied(tree: &Tree, plan: &Plan) -> Tree {
    let mut tree = tree.clone();
    for step in &plan.steps {
        if let Action::WriteFile { path, after, before, .. } = &step.action {
            let there = match tree.get(path) {
                Some(Entry::File(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
                _ => None,
            };
            assert_eq!(&there, before, "{path}");
            tree.insert(path.clone(), Entry::File(after.as_bytes().to_vec()));
        } else if let Action::RemoveFile { path, .. } = &step.action {
            tree.remove(path);
        }
    }
    for (path, entry) in &mut tree {
        let Entry::File(bytes) = entry else { continue };
        let made = path == "/proc/cmdline" || path.starts_with("/boot/") || path.starts_with("/efi/");
        let Some(text) = String::from_utf8(bytes.clone()).ok().filter(|text| made && text.contains("root=")) else {
            continue;
        };
        let words = |line: &str| -> String {
            let mut line = line.to_owned();
            for word in &plan.words {
                let there = line.split_whitespace().any(|other| other == word.word);
                if there && !word.present {
                    line = line.split(' ').filter(|other| *other != word.word).collect::<Vec<_>>().join(" ");
                } else if !there && word.present {
                    line = format!("{line} {}", word.word);
                }
            }
            line
        };
        let line = |line: &str| if line.contains("root=") { words(line) } else { line.to_owned() };
        *bytes = text.lines().map(|text| line(text) + "\n").collect::<String>().into_bytes();
    }
    tree
}

fn found(snap: &Snapshot) -> Vec<Finding> {
    checks::run(snap, &Goal::default())
}

fn writes(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().filter_map(|step| step.path()).collect()
}

#[test]
fn what_was_repaired_is_no_longer_found() {
    let mut repaired = 0;
    let mut faults = String::new();
    for name in hosts::names() {
        let file = hosts::load(&name);
        let tree = hosts::tree(&file);
        let snap = look(&name, &file, &tree);
        let first = plan(&snap);
        let before = found(&snap);
        if !first.refused.is_empty() || !first.manual.is_empty() || writes(&first).is_empty() {
            continue;
        }
        repaired += 1;
        let after = look(&name, &file, &applied(&tree, &first));
        for finding in found(&after).iter().filter(|finding| MENDED.contains(&finding.id)) {
            faults += &format!("\n{name}: still {} {}", finding.id, finding.subject);
        }
        for finding in found(&after).iter().filter(|f| f.severity < checks::Severity::Info) {
            let known = |f: &&Finding| f.id == finding.id && f.variant == finding.variant;
            // The recording still shows the boot before.
            let follows = ["initramfs-stale", "cmdline-not-in-effect", "iommu-off-in-kernel"].contains(&finding.id);
            if !follows && !before.iter().any(|f| known(&f)) {
                faults += &format!("\n{name}: new {}/{} {}", finding.id, finding.variant, finding.subject);
            }
        }
        let second = plan(&after);
        if !writes(&second).is_empty() {
            faults += &format!("\n{name}: a second repair writes {:?} for {:?}", writes(&second), second.words);
        }
    }
    assert!(faults.is_empty(), "{faults}");
    assert!(repaired >= 5, "only {repaired} hosts have something to repair");
}

/// A healthy host, with one file more.
fn with_file(path: &str, text: &str) -> (HostFile, Tree) {
    let file = hosts::load("ubuntu24.04-intel-grub-gpu-and-igpu");
    let mut tree = hosts::tree(&file);
    tree.insert(path.to_owned(), Entry::File(text.as_bytes().to_vec()));
    (file, tree)
}

#[test]
fn configurations_of_others() {
    let Ok(dir) = std::env::var("VFIONEER_CONFIGS") else { return };
    let places = [
        ("grub", "/etc/default/grub"),
        ("modprobe.d", "/etc/modprobe.d/x.conf"),
        ("initramfs", "/etc/initramfs-tools/modules"),
        ("kernel-cmdline", "/etc/kernel/cmdline"),
    ];
    for (folder, path) in places {
        for entry in std::fs::read_dir(format!("{dir}/{folder}")).unwrap() {
            let entry = entry.unwrap().path();
            let text = String::from_utf8_lossy(&std::fs::read(&entry).unwrap()).into_owned();
            let (file, tree) = with_file(path, &text);
            let first = plan(&look("x", &file, &tree));
            let after = look("x", &file, &applied(&tree, &first));
            let second = plan(&after);
            assert!(writes(&second).is_empty(), "{}: {:?} {:?}", entry.display(), writes(&second), second.words);
        }
    }
}
