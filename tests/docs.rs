//! The command line reference and the book of findings are generated from the program
//! (`UPDATE_EXPECT=1 cargo test --test docs` writes them) and checked here.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use vfioneer::checks::pages;
use vfioneer::facts::boot::Chain;
use vfioneer::facts::{self, Needs};

#[path = "lab/cards.rs"]
mod cards;
#[path = "lab/cells.rs"]
mod cells;
#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "lab/machine.rs"]
mod machine;
#[path = "lab/takes.rs"]
mod takes;
#[path = "lab/variant.rs"]
mod variant;

fn generated(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == text, "{} is not what the program says: UPDATE_EXPECT=1 rewrites it", path.display());
}

#[test]
fn the_command_line_reference() {
    let mut text = "# Command line reference\n\nGenerated from the program's own help.\n".to_owned();
    let mut command = vfioneer::cli::command().term_width(80);
    section(&mut text, "vfioneer", &command.render_long_help().to_string());
    for verb in command.get_subcommands_mut() {
        let name = format!("vfioneer {}", verb.get_name());
        let help = verb.clone().bin_name(&name).term_width(80).render_long_help().to_string();
        section(&mut text, &name, &help);
    }
    generated("cli.md", &text);
}

fn section(text: &mut String, name: &str, help: &str) {
    let lines: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    write!(text, "\n## `{name}`\n\n```text\n{}\n```\n", lines.trim_end()).unwrap();
}

#[test]
fn the_book_of_findings() {
    let mut text = "# Findings, symptoms and terms\n\nEach is also shown by `vfioneer explain ID`.\n\n".to_owned();
    let mut all = pages::all();
    all.sort_by_key(|page| page.id);
    for page in &all {
        writeln!(text, "- [`{id}`](#{id}): {title}", id = page.id, title = page.head("title")).unwrap();
    }
    for page in &all {
        write!(text, "\n## {}\n\n{}.\n\n", page.id, page.head("title").trim_end_matches('.')).unwrap();
        for line in page.body.trim().lines() {
            let line = if line.starts_with("## ") { format!("#{line}") } else { line.to_owned() };
            writeln!(text, "{line}").unwrap();
        }
    }
    generated("findings.md", &text);
}

#[test]
fn what_is_supported_and_how_that_was_proven() {
    let mut text = "# Support\n\nGenerated from the tests that prove it. What is planned and applied depends on what boots a host and on what builds \
        its initramfs.\n\n\
        - **booted**: in the lab, on a real kernel that was booted by this chain, with the distribution's own tools: plan, apply, \
        reboot, verify, rollback, reboot, and the host is as before (the cells `take-…` in `tests/lab/proven.txt`)\n\
        - **recorded**: on a constructed host in `tests/hosts/`, with scripts in place of the distribution's tools: plan, apply, nothing \
        left to plan, rollback to the first bytes (`expected/apply-*.diff` there)\n\
        - **instructions**: recognised and read; the exact change is printed, not made\n\n\
        | boot chain | initramfs | booted | recorded | instructions |\n| --- | --- | --- | --- | --- |\n"
        .to_owned();
    let mut rows: BTreeMap<(String, String), [Vec<String>; 2]> = BTreeMap::new();
    for name in hosts::names() {
        let file = hosts::load(&name);
        let snap = facts::collect(
            &hosts::recorded::recorded(&name, &file, &hosts::tree(&file)),
            Needs { images: false, ..Needs::ALL },
        );
        let Some(chain) = snap.boot.chain() else { continue };
        let generator =
            snap.initramfs.generator.known().map_or("", |generator| called(&format!("{generator:?}"))).to_owned();
        let expected = |file: String| hosts::dir().join(&name).join("expected").join(file);
        let applied = file.plans.keys().any(|goal| expected(format!("apply-{goal}.diff")).is_file());
        let by_hand = file.plans.keys().any(|goal| {
            std::fs::read_to_string(expected(format!("plan-{goal}.txt")))
                .is_ok_and(|text| text.contains("To do by hand"))
        });
        let [recorded, instructions] = rows.entry((chain.title().to_owned(), generator)).or_default();
        // Of these, the boot files themselves are a person's matter, whatever is applied besides.
        let read_only = [Chain::Bootc, Chain::Sdbootutil, Chain::Limine, Chain::Refind, Chain::NixOs].contains(&chain);
        if (read_only && applied) || (by_hand && !applied) {
            instructions.push(format!("`{name}`"));
        } else if applied {
            recorded.push(format!("`{name}`"));
        }
    }
    let booted = booted();
    for row in booted.keys() {
        rows.entry(row.clone()).or_default();
    }
    for (row, [recorded, instructions]) in &rows {
        let (chain, generator) = row;
        if recorded.is_empty() && instructions.is_empty() && !booted.contains_key(row) {
            continue;
        }
        let booted: Vec<&str> = booted.get(row).into_iter().flatten().map(String::as_str).collect();
        let booted = booted.join("; ");
        let (recorded, instructions) = (recorded.join(" "), instructions.join(" "));
        writeln!(text, "| {chain} | {generator} | {booted} | {recorded} | {instructions} |").unwrap();
    }
    text.push_str(&hooks());
    text.push_str(&given());
    generated("support.md", &text);
}

/// The lab's cells of that part that passed.
fn cells(part: &str) -> String {
    let proven = include_str!("lab/proven.txt").lines().filter(|cell| cell.starts_with(part));
    proven.map(|cell| format!("`{cell}`")).collect::<Vec<_>>().join(" ")
}

/// What VMs and containers did in the lab with what they were given.
fn given() -> String {
    let mut text =
        "\n## In a VM or a container, in the lab\n\n| what | from | cells |\n| --- | --- | --- |\n".to_owned();
    for (what, from, part) in [
        (
            "firmware boots over a NIC, with its option ROM",
            "`vm render --target qemu`; `vm attach` with libvirt",
            "swift-vm-firmware-",
        ),
        (
            "Linux on KVM has a NIC, its MAC and its interrupts",
            "`vm render --target qemu`; `vm guest --linux`",
            "swift-vm-linux-",
        ),
        ("one of two identical GPUs shows a VM, the other the host", "`vm render --target qemu`", "swift-vm-twins-"),
        ("LXC container has a GPU's node, another one has not", "`vm render --target lxc`", "swift-vm-container-"),
    ] {
        writeln!(text, "| {what} | {from} | {} |", cells(part)).unwrap();
    }
    text
}

/// What runs when a VM starts and ends: in the lab with the real program, or on a constructed host.
fn hooks() -> String {
    let tests = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hook.rs")).unwrap();
    let test = |name: &str| if tests.contains(&format!("fn {name}()")) { format!("`{name}`") } else { String::new() };
    let mut text = "\n## When a VM starts and ends\n\n\
        | hypervisor | with the real one, in the lab | installed and removed on a constructed host (`tests/hook.rs`) |\n\
        | --- | --- | --- |\n"
        .to_owned();
    for (name, part, of) in [
        ("libvirt", "swift-hook-libvirt-", "libvirts_hook_comes_and_goes"),
        ("plain QEMU", "swift-hook-screen-", "-"),
        ("libvirt in kolla's container", "-", "kollas_hook_is_on_the_host"),
        ("Proxmox VE", "-", "proxmox_gets_a_snippet_and_each_vm_its_hookscript"),
    ] {
        writeln!(text, "| {name} | {} | {} |", cells(part), test(of)).unwrap();
    }
    text
}

/// A generator by the name of its package or project.
fn called(generator: &str) -> &'static str {
    match generator {
        "InitramfsTools" => "initramfs-tools",
        "Dracut" => "dracut",
        "Mkinitcpio" => "mkinitcpio",
        "RpmOstree" => "dracut, by rpm-ostree",
        "Booster" => "booster",
        "NixOs" => "NixOS's own",
        other => panic!("a name for {other}"),
    }
}

/// Per chain and generator, the releases, firmwares and layouts of the lab's cells that were seen to pass.
fn booted() -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut all: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    let proven: Vec<&str> = include_str!("lab/proven.txt").lines().collect();
    for take in takes::all().into_iter().filter(|take| proven.contains(&take.name().as_str())) {
        let variant = take.variant;
        let (generator, hostonly) = match variant.generator {
            variant::Generator::Tools => ("initramfs-tools", ""),
            variant::Generator::Dracut => ("dracut", ""),
            variant::Generator::DracutAny => ("dracut", ", hostonly=no"),
        };
        let layout = match variant.layout {
            variant::Layout::Plain => "",
            variant::Layout::Boot => ", /boot of its own",
            variant::Layout::Lvm => ", LVM",
            variant::Layout::Btrfs => ", btrfs",
            variant::Layout::Xfs => ", /boot of its own with XFS",
        };
        let firmware = if variant.uefi() { "UEFI" } else { "BIOS" };
        let what = format!("Debian {}, {firmware}{layout}{hostonly}", variant.debian);
        all.entry((variant.chain().to_owned(), generator.to_owned())).or_default().insert(what);
    }
    all
}

#[test]
fn the_table_of_guides_names_findings_and_hosts_that_there_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut findings, mut hosts) = (0, 0);
    for line in text.lines().filter(|line| line.starts_with('|') && !line.starts_with("| ---")) {
        let line = line.replace("\\|", "¦");
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let table_of_lines =
            cells.len() == 4 && cells[0] != "guides" && !cells[1].starts_with("`tests") && cells[0] != "guide";
        let host = cells.get(1).and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        if let Some(host) = host.filter(|name| hosts::names().iter().any(|known| known == name)) {
            assert!(
                hosts::load(host).plans.contains_key("gpu") || hosts::load(host).plans.contains_key("mended"),
                "{host}"
            );
            hosts += 1;
        } else if table_of_lines {
            for id in cells[3].split(", ").filter(|id| !id.is_empty()) {
                let id = id.strip_prefix("explain ").unwrap_or(id);
                assert!(pages::page(id).is_some(), "{id} is no page: {line}");
                findings += 1;
            }
        }
    }
    assert!(findings > 40 && hosts == 6, "{findings} findings, {hosts} hosts");
}
