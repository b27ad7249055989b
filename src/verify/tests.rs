//! Each expectation: when it holds, when it doesn't and what is said, when it cannot be known.

use super::*;
use crate::checks::testing::{self as t, DISK, GPU, RELEASE};
use crate::facts::TextFile;
use crate::facts::boot::Chain;
use crate::facts::own::{CLAIMS, SRIOV_RULES};
use crate::facts::pci::Sriov;
use crate::facts::usage::{Use, UseKind};
use crate::goal::Method;
use crate::host::Fact;
use crate::parse::sriov_rules::{self, Rule};
use crate::steps::sha256;

const SOUND: &str = "0000:01:00.1";
const SCRIPT: &str = "etc/vfioneer/claim.sh";
const HOOK: &str = "scripts/init-top/00-vfioneer";

fn driver() -> Expectation {
    Expectation::Driver { address: t::at(GPU), id: "10de:2684".into(), driver: "vfio-pci".into() }
}

fn images() -> Expectation {
    Expectation::Images {
        method: Method::Identity,
        modules: vec!["vfio_pci".into()],
        files: vec![(SCRIPT.into(), sha256(b"the script"))],
    }
}

fn word(word: &str, present: bool) -> Expectation {
    Expectation::CommandLine { word: word.into(), present }
}

/// A host on which all of it is true.
fn good() -> Snapshot {
    let mut snap = t::passthrough();
    t::in_images(&mut snap, SCRIPT, "the script");
    t::in_images(&mut snap, "etc/vfioneer/claims", "# vfioneer claims 1\n");
    if let Fact::Known(content) = &mut snap.initramfs.images[0].content {
        content.scripts.push(HOOK.into());
    }
    t::in_images(&mut snap, "scripts/init-top/ORDER", "/scripts/init-top/00-vfioneer \"$@\"\n/scripts/init-top/udev\n");
    for words in ["root=/dev/sda1 quiet iommu=pt", "root=/dev/sda1 single"] {
        let entry = t::place(&mut snap, Chain::Grub, "/boot/grub/grub.cfg", "linux /boot/vmlinuz", words);
        entry.generated = true;
        entry.release = Some(RELEASE.into());
        entry.title = Some(format!("Debian, {words}"));
    }
    t::cmdline(&mut snap, "root=/dev/sda1 quiet iommu=pt");
    snap.own.boot_id = Fact::Known("second".into());
    snap
}

fn all() -> Vec<Expectation> {
    vec![
        Expectation::IommuOn,
        word("iommu=pt", true),
        word("nofb", false),
        Expectation::Entries { word: "iommu=pt".into(), present: true },
        Expectation::Entries { word: "nofb".into(), present: false },
        driver(),
        Expectation::GroupViable { address: t::at(GPU) },
        Expectation::NothingElseTaken { addresses: vec![t::at(GPU), t::at(SOUND)] },
        images(),
    ]
}

/// `state reason` of each.
fn said(snap: &Snapshot, expect: &[Expectation]) -> Vec<String> {
    let outcomes = running(snap, &Applied { expect, boot_id: Some("first") });
    outcomes.iter().map(shown).collect()
}

fn shown(outcome: &Outcome) -> String {
    for text in [&outcome.about, &outcome.text] {
        assert!(!text.contains('{') && (text.is_empty() || text.ends_with('.')), "{text}");
    }
    assert_eq!(outcome.reason.is_empty(), outcome.text.is_empty(), "{}", outcome.about);
    let state = format!("{:?}", outcome.state).to_lowercase();
    format!("{state} {}", outcome.reason).trim().to_owned()
}

fn one(snap: &Snapshot, expect: Expectation) -> String {
    said(snap, &[expect, images()]).swap_remove(0)
}

#[test]
fn a_host_on_which_all_is_true() {
    assert!(said(&good(), &all()).iter().all(|said| said == "holds"), "{:?}", said(&good(), &all()));
    let next = next_boot(&good(), &all());
    assert_eq!(next.iter().map(shown).collect::<Vec<_>>(), ["holds", "holds", "holds"]);
}

#[test]
fn a_host_of_which_nothing_is_known() {
    let snap = t::unknown();
    for (expect, said) in all().iter().zip(said(&snap, &all())) {
        assert!(said.starts_with("unknown"), "{expect:?}: {said}");
    }
}

#[test]
fn the_command_line() {
    let mut snap = good();
    t::cmdline(&mut snap, "root=/dev/sda1 quiet nofb");
    assert_eq!(one(&snap, word("iommu=pt", true)), "fails other-entry-booted");
    assert_eq!(one(&snap, word("nofb", false)), "fails other-entry-booted");
    snap.own.boot_id = Fact::Known("first".into());
    assert_eq!(one(&snap, word("iommu=pt", true)), "fails not-rebooted");
    snap.own.boot_id = Fact::Absent;
    t::cmdline(&mut snap, "root=/dev/sda1 quiet vfioneer=off");
    assert_eq!(one(&snap, word("iommu=pt", true)), "fails switched-off");
    t::cmdline(&mut snap, "root=/dev/sda1 quiet");
    snap.boot.places[1].words.retain(|word| word != "iommu=pt");
    assert_eq!(one(&snap, word("iommu=pt", true)), "fails in-no-entry");
    let entry = t::place(&mut snap, Chain::Grub, "/boot/grub/grub.cfg", "linux /boot/vmlinuz-9", "quiet iommu=pt");
    entry.generated = true;
    entry.release = Some("9.9.9".into());
    assert_eq!(one(&snap, word("iommu=pt", true)), "fails wrong-entry-booted");
    snap.boot.places.clear();
    assert_eq!(one(&snap, word("iommu=pt", true)), "fails booted-unclear");
    snap.kernel.cmdline = Fact::Absent;
    assert_eq!(one(&snap, word("iommu=pt", true)), "unknown not-known");
    assert_eq!(one(&snap, word("nofb", false)), "holds");
}

#[test]
fn entries() {
    let entries = |word: &str, present| Expectation::Entries { word: word.into(), present };
    let mut snap = good();
    let entry = t::place(&mut snap, Chain::Grub, "/boot/grub/grub.cfg", "linux /boot/vmlinuz-9", "quiet nofb");
    entry.generated = true;
    let outcomes = running(&snap, &Applied { expect: &[entries("iommu=pt", true)], boot_id: None });
    assert_eq!(shown(&outcomes[0]), "fails entries-lack");
    assert_eq!(outcomes[0].evidence.len(), 1, "the recovery entry does not count");
    assert_eq!(one(&snap, entries("nofb", false)), "fails in-some-entries");
    assert_eq!(one(&snap, entries("quiet", false)), "fails in-all-entries");
    snap.boot.places.clear();
    assert_eq!(one(&snap, entries("nofb", false)), "unknown no-entries");
    snap.boot.unread.push(("/boot/grub/grub.cfg".into(), Why::NotPermitted));
    assert_eq!(one(&snap, entries("nofb", false)), "unknown not-root");
}

#[test]
fn the_default_entry() {
    let mut snap = good();
    let saved = |title: &str| Some(Evidence::at("/boot/grub/grubenv", 2, format!("saved_entry={title}")));
    let last = |snap: &Snapshot| next_boot(snap, &all()).last().map(shown);
    snap.boot.saved_entry = saved("Debian, root=/dev/sda1 quiet iommu=pt");
    assert_eq!((last(&snap).as_deref(), next_boot(&snap, &all()).len()), (Some("holds"), 4));
    snap.boot.saved_entry = saved("Debian, root=/dev/sda1 single");
    assert_eq!(last(&snap).as_deref(), Some("fails default-apart"));
    snap.boot.saved_entry = saved("gone");
    assert_eq!(next_boot(&snap, &all()).len(), 3);
    assert!(next_boot(&snap, &[driver()]).is_empty(), "nothing is asked of the next boot");
}

fn native() -> Snapshot {
    let mut snap = good();
    t::change(&mut snap, GPU, |f| f.driver = Fact::Known("nouveau".into()));
    snap
}

fn log(snap: &mut Snapshot, text: &str) {
    snap.log = Fact::Known(t::file("dmesg", text));
}

#[test]
fn why_the_native_driver_has_it() {
    let mut snap = native();
    assert_eq!(one(&snap, driver()), "fails native-first");
    if let Fact::Known(builtin) = &mut snap.kernel.installed[0].builtin {
        builtin.insert("nouveau".into());
    }
    assert_eq!(one(&snap, driver()), "fails native-builtin");
    t::in_images(&mut snap, SCRIPT, "an older script");
    assert_eq!(one(&snap, driver()), "fails image-of-running");
    log(&mut snap, "[    1.0] vfioneer: there is no list of claims\n");
    assert_eq!(one(&snap, driver()), "fails script-said");
    log(&mut snap, "[    1.0] vfioneer: 0000:01:00.0 is not claimed: 10de:2684 is not found\n");
    let outcome = running(&snap, &Applied { expect: &[driver()], boot_id: None }).swap_remove(0);
    assert_eq!(shown(&outcome), "fails refused");
    assert!(outcome.text.ends_with("says: 0000:01:00.0 is not claimed: 10de:2684 is not found."), "{}", outcome.text);
    log(&mut snap, "[    1.0] vfioneer: 0000:01:00.0 is claimed by vfio-pci\n");
    assert_eq!(one(&snap, driver()), "fails taken-back");
    log(&mut snap, "[    1.0] systemd[1]: vfioneer: 0000:01:00.0 is claimed by vfio-pci\n");
    assert_eq!(one(&snap, driver()), "fails image-of-running", "only the kernel's own lines count");
    snap.own.boot_id = Fact::Known("first".into());
    assert_eq!(one(&snap, driver()), "fails not-rebooted");
    t::change(&mut snap, GPU, |f| f.driver = Fact::Unknown(Why::NotRecorded));
    assert_eq!(one(&snap, driver()), "unknown not-known");
}

fn claimed(snap: &mut Snapshot, twins: &str) {
    let text = format!("# vfioneer claims 1\n0000:01:00.0 vfio-pci 10de 2684 - - 0000:00/01.0/00.0 - {twins}\n");
    snap.own.files.insert(CLAIMS.into(), Fact::Known(TextFile { path: CLAIMS.into(), text }));
}

#[test]
fn a_function_that_moved() {
    let mut snap = good();
    claimed(&mut snap, "no");
    let mut moved = snap.pci.get(&t::at(GPU)).expect("the card").clone();
    snap.pci.functions.retain(|f| f.address != moved.address);
    assert_eq!(one(&snap, driver()), "fails gone");
    moved.address = t::at("0000:05:00.0");
    moved.parent = Fact::Absent;
    t::add(&mut snap, moved.clone());
    assert_eq!(one(&snap, driver()), "holds moved");
    let nothing_else = Expectation::NothingElseTaken { addresses: vec![t::at(GPU), t::at(SOUND)] };
    assert_eq!(said(&snap, &[driver(), nothing_else])[1], "holds", "it is the same card");
    moved.address = t::at("0000:06:00.0");
    t::add(&mut snap, moved.clone());
    assert_eq!(one(&snap, driver()), "fails several");
    t::add(&mut snap, t::function(GPU, "10de:1111", 0x03_0000));
    snap.pci.functions.retain(|f| f.address.bus < 5);
    assert_eq!(one(&snap, driver()), "fails another-there");
    // The twin stands where the card was, and the card behind its own port has another bus number.
    snap.pci.functions.retain(|f| f.address.bus < 1);
    let mut twin = moved.clone();
    twin.address = t::at(GPU);
    twin.driver = Fact::Known("nouveau".into());
    t::add(&mut snap, twin);
    moved.address = t::at("0000:02:00.0");
    moved.parent = Fact::Known(t::at("0000:00:01.0"));
    t::add(&mut snap, moved);
    assert_eq!(one(&snap, driver()), "holds moved");
}

#[test]
fn groups_and_others() {
    let group = Expectation::GroupViable { address: t::at(GPU) };
    let others = Expectation::NothingElseTaken { addresses: vec![t::at(GPU), t::at(SOUND)] };
    let mut snap = good();
    t::change(&mut snap, SOUND, |f| f.driver = Fact::Known("snd_hda_intel".into()));
    assert_eq!(one(&snap, group.clone()), "fails group-offends");
    t::change(&mut snap, SOUND, |f| f.driver = Fact::Unknown(Why::NotRecorded));
    assert_eq!(one(&snap, group.clone()), "unknown not-known");
    t::change(&mut snap, GPU, |f| f.group = Fact::Absent);
    assert_eq!(one(&snap, group), "fails no-group");

    let mut snap = good();
    t::change(&mut snap, DISK, |f| f.driver = Fact::Known("vfio-pci".into()));
    assert_eq!(one(&snap, others.clone()), "fails taken-unclear");
    t::change(&mut snap, DISK, |f| f.driver_override = Fact::Known("vfio-pci".into()));
    assert_eq!(one(&snap, others.clone()), "fails taken-by-override");
    t::modprobe(&mut snap, "/etc/modprobe.d/more.conf", "options vfio-pci ids=8086:7ae2\n");
    assert_eq!(one(&snap, others.clone()), "fails taken-by-ids");
    let vm =
        Use { address: t::at(DISK), kind: UseKind::RunningVm, by: "VM 100".into(), evidence: Evidence::new("x", "y") };
    snap.usage.uses.push(vm);
    assert_eq!(one(&snap, others), "holds", "a VM took it for itself");
}

#[test]
fn the_iommu() {
    let mut snap = good();
    snap.iommu.groups.clear();
    snap.iommu.units = Fact::Known(Vec::new());
    assert_eq!(one(&snap, Expectation::IommuOn), "fails iommu-off");
    snap.iommu.table = Fact::Absent;
    assert_eq!(one(&snap, Expectation::IommuOn), "fails iommu-no-table");
    snap.own.boot_id = Fact::Known("first".into());
    assert_eq!(one(&snap, Expectation::IommuOn), "fails not-rebooted");
}

#[test]
fn images_of_all_kernels() {
    let mut snap = good();
    t::in_images(&mut snap, "scripts/init-top/ORDER", "/scripts/init-top/udev\n/scripts/init-top/00-vfioneer\n");
    assert_eq!(one(&snap, images()), "fails image-late");
    t::in_images(&mut snap, SCRIPT, "another");
    assert_eq!(one(&snap, images()), "fails image-stale");
    let mut second = good();
    let mut image = second.initramfs.images[0].clone();
    image.release = "9.9.9".into();
    image.content = Fact::Known(crate::facts::initramfs::Content::default());
    second.initramfs.images.push(image);
    assert_eq!(one(&second, images()), "fails image-without-claim");
    second.initramfs.images[1].content = Fact::Unknown(Why::NotPermitted);
    assert_eq!(one(&second, images()), "unknown not-root");
    second.initramfs.images.pop();
    second.kernel.installed.push(t::installed("9.9.9"));
    assert_eq!(one(&second, images()), "holds", "nothing boots that kernel");
    let entry = t::place(&mut second, Chain::Grub, "/boot/grub/grub.cfg", "linux /boot/vmlinuz-9", "quiet");
    (entry.generated, entry.release) = (true, Some("9.9.9".into()));
    assert_eq!(one(&second, images()), "fails image-missing");
    let mut bare = good();
    if let Fact::Known(content) = &mut bare.initramfs.images[0].content {
        content.modules.clear();
    }
    assert_eq!(one(&bare, images()), "fails image-without-module");
    if let Fact::Known(builtin) = &mut bare.kernel.installed[0].builtin {
        builtin.insert("vfio_pci".into());
    }
    assert_eq!(one(&bare, images()), "holds", "it is built in");
}

#[test]
fn files() {
    let file = |sha256| Expectation::File { path: CLAIMS.into(), sha256 };
    let mut snap = good();
    assert_eq!(one(&snap, file(None)), "unknown not-known");
    snap.own.files.insert(CLAIMS.into(), Fact::Absent);
    assert_eq!(one(&snap, file(None)), "holds");
    assert_eq!(one(&snap, file(Some(sha256(b"x")))), "fails file-gone");
    let text = TextFile { path: CLAIMS.into(), text: "x".into() };
    snap.own.files.insert(CLAIMS.into(), Fact::Known(text));
    assert_eq!(one(&snap, file(Some(sha256(b"x")))), "holds");
    assert_eq!(one(&snap, file(Some(sha256(b"y")))), "fails file-changed");
    assert_eq!(one(&snap, file(None)), "fails file-there");
    let modprobe = Expectation::File { path: "/etc/modprobe.d/vfio.conf".into(), sha256: Some(sha256(b"x")) };
    assert_eq!(one(&snap, modprobe), "fails file-changed");
}

#[test]
fn virtual_functions() {
    let wanted = |count| Expectation::VirtualFunctions { address: t::at(t::NIC), id: "8086:10fb".into(), count };
    let good = || {
        let mut snap = t::with_nic();
        snap.own.boot_id = Fact::Known("second".into());
        t::make_virtual(&mut snap, 2, Some("vfio-pci"));
        snap
    };
    assert_eq!(one(&good(), wanted(2)), "holds");
    assert_eq!(one(&good(), wanted(0)), "fails vfs-there");
    assert_eq!(one(&good(), wanted(3)), "fails vfs-unsaid");
    let changed = |change: &dyn Fn(&mut Snapshot)| {
        let mut snap = good();
        change(&mut snap);
        one(&snap, wanted(2))
    };
    let part = |snap: &mut Snapshot, driver: Fact<String>| t::change(snap, "0000:05:10.1", |f| f.driver = driver);
    assert_eq!(changed(&|snap| part(snap, Fact::Known("ixgbevf".into()))), "fails vfs-not-taken");
    assert_eq!(changed(&|snap| part(snap, Fact::Absent)), "fails vfs-not-taken");
    assert_eq!(changed(&|snap| part(snap, Fact::default())), "unknown not-known");
    let shared = |snap: &mut Snapshot| {
        let group = snap.pci.get(&t::at(t::NIC)).unwrap().group.clone();
        t::change(snap, "0000:05:10.0", |f| f.group = group);
    };
    assert_eq!(changed(&shared), "fails vfs-group");
    let sriov = |snap: &mut Snapshot, fact: Fact<Sriov>| t::change(snap, t::NIC, |f| f.sriov = fact);
    let none = Fact::Known(Sriov { total: 63, active: 0, autoprobe: Some(true) });
    let on = Fact::Known(Sriov { total: 63, active: 2, autoprobe: Some(true) });
    assert_eq!(changed(&|snap| sriov(snap, on.clone())), "fails vfs-autoprobe");
    assert_eq!(changed(&|snap| sriov(snap, Fact::Absent)), "fails vfs-none");
    assert_eq!(changed(&|snap| sriov(snap, Fact::default())), "unknown not-known");
    let missing = |change: &dyn Fn(&mut Snapshot)| {
        changed(&|snap| {
            sriov(snap, none.clone());
            change(snap);
        })
    };
    assert_eq!(missing(&|_| ()), "fails vfs-unsaid");
    assert_eq!(missing(&|snap| log(snap, "[    9.1] vfioneer-sriov: 0000:05:00.0 keeps its 3\n")), "fails vfs-said");
    assert_eq!(missing(&|snap| t::cmdline(snap, "ro vfioneer=off")), "fails switched-off");
    assert_eq!(missing(&|snap| snap.own.boot_id = Fact::Known("first".into())), "fails not-rebooted");
    let on = |driver: Option<&str>, snap: &mut Snapshot| {
        t::change(snap, t::NIC, |f| f.driver = driver.map_or(Fact::Absent, |name| Fact::Known(name.to_owned())));
    };
    assert_eq!(missing(&|snap| on(None, snap)), "fails vfs-no-driver");
    assert_eq!(missing(&|snap| on(Some("vfio-pci"), snap)), "fails vfs-on-vfio");
    assert_eq!(changed(&|snap| snap.pci.functions.retain(|f| f.address != t::at(t::NIC))), "fails gone");
    // What a rule gives to vfio-pci is nothing that was taken besides.
    let mut snap = good();
    let nothing_else = Expectation::NothingElseTaken { addresses: Vec::new() };
    assert_eq!(one(&snap, nothing_else.clone()), "fails taken-unclear");
    let path = crate::adapters::claim::path(&snap.pci, &t::at(t::NIC)).unwrap();
    let rule = Rule { path, ids: (0x8086, 0x10fb), subsystem: None, count: 2 };
    let text = TextFile { path: SRIOV_RULES.into(), text: sriov_rules::write(&[rule]) };
    snap.own.files.insert(SRIOV_RULES.into(), Fact::Known(text));
    assert_eq!(one(&snap, nothing_else), "holds");
}

#[test]
fn every_sentence_is_an_id_and_a_text() {
    let mut ids = std::collections::BTreeSet::new();
    for line in ENGLISH.lines() {
        let (id, text) = line.split_once(": ").expect("an id");
        assert!(text.ends_with('.') && ids.insert(id), "{line}");
    }
    let sources = [
        include_str!("mod.rs"),
        include_str!("boot.rs"),
        include_str!("device.rs"),
        include_str!("file.rs"),
        include_str!("probed.rs"),
        include_str!("sriov.rs"),
    ];
    for id in ids {
        assert!(sources.iter().any(|source| source.contains(&format!("\"{id}\""))), "nobody says {id}");
    }
}
