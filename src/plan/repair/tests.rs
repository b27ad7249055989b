//! Each repair, and that what was repaired is no longer found.

use crate::checks::testing::{self as t, GPU};
use crate::facts::boot::{Candidate, Chain};
use crate::facts::usage::{Use, UseKind};
use crate::facts::{Evidence, Snapshot};
use crate::goal::Goal;
use crate::host::Fact;
use crate::plan::{Plan, make};
use crate::steps::Action;

const PATH: &str = "/etc/modprobe.d/vfio.conf";

fn goal(devices: &[&str]) -> Goal {
    Goal { devices: devices.iter().map(|address| t::at(address)).collect(), repair: true, ..Goal::default() }
}

/// The plan, and that without `--repair` none of it is planned.
fn plan(snap: &Snapshot, devices: &[&str]) -> Plan {
    let plan = make(snap, &goal(devices));
    assert_eq!(format!("{:?}", plan.refused), "[]");
    let without = make(snap, &Goal { repair: false, ..goal(devices) });
    assert!(without.steps.len() <= plan.steps.len());
    plan
}

/// What a file becomes; `None` if it stays.
fn after(plan: &Plan, wanted: &str) -> Option<String> {
    plan.steps.iter().find_map(|step| match &step.action {
        Action::WriteFile { path, after, .. } if path == wanted => after.text().map(str::to_owned),
        Action::RemoveFile { path, .. } if path == wanted => Some(String::new()),
        _ => None,
    })
}

fn modprobe(snap: &Snapshot, text: &str) -> Snapshot {
    let mut snap = snap.clone();
    t::modprobe(&mut snap, PATH, text);
    snap
}

fn words(plan: &Plan) -> Vec<String> {
    plan.words.iter().map(|word| format!("{}{}", if word.present { '+' } else { '-' }, word.word)).collect()
}

#[test]
fn lines_of_modprobe() {
    for (text, expected) in [
        ("# mine\nblacklist nvidia*\nblacklist nouveau\n", Some("# mine\nblacklist nouveau\n")),
        ("blacklist nouveau nvidia\n", Some("blacklist nouveau\n")),
        ("options kvm allow_unsafe_assigned_interrupts=1\n", Some("")),
        ("options vfio_pci  nonsense=1 ids=10de:2684\n", Some("options vfio_pci  ids=10de:2684\n")),
        ("softdep nouveau pre:vfio-pci\n", Some("softdep nouveau pre: vfio-pci\n")),
        ("softdep nouveau vfio-pci\r\n", Some("softdep nouveau pre: vfio-pci\r\n")),
        ("softdep drm pre: vfio-pci", Some("")),
        ("softdep drm pre:vfio-pci", Some("")),
        ("vfio-pci\n", Some("# vfio-pci\n")),
        ("blacklist radeon\n# b\nblacklist radeon\n", Some("blacklist radeon\n# b\n")),
        ("options vfio-pci ids=10de:2684;10de:22ba\n", Some("options vfio-pci ids=10de:2684,10de:22ba\n")),
        ("options vfio-pci ids=10de:2684, 10de:22ba x\n", Some("options vfio-pci ids=10de:2684,10de:22ba\n")),
        ("options vfio-pci ids=xxxx:xxxx\n", Some("# options vfio-pci ids=xxxx:xxxx\n")),
        ("options vfio-pci disable_vga=1 ids=<id>\n", Some("options vfio-pci disable_vga=1\n")),
        ("options vfio-pci ids=10de:2684 ids=10de:22ba\n", Some("options vfio-pci ids=10de:22ba\n")),
        ("options vfio-pci ids=10de:2684\noptions vfio-pci ids=10de:22ba\n", Some("options vfio-pci ids=10de:22ba\n")),
        ("options vfio-pci ids=10de:2684;\\\n10de:22ba\n", Some("options vfio-pci ids=10de:2684,10de:22ba\n")),
        ("options vfio-pci ids=10de:2684 disable_vga=1\noptions kvm ignore_msrs=1\n", None),
        ("install nouveau /bin/false\n# blacklist nvidia*\n", None),
        ("", None),
    ] {
        let snap = modprobe(&t::healthy(), text);
        let plan = plan(&snap, &[]);
        assert_eq!(after(&plan, PATH).as_deref(), expected, "{text:?}");
        assert_eq!(plan.steps.is_empty(), expected.is_none(), "{text:?}: {:#?}", plan.steps);
        let Some(mended) = expected else { continue };
        assert!(plan.steps[0].why.ends_with(").") && plan.steps[0].why.len() > 30, "{}", plan.steps[0].why);
        assert!(plan.steps[1..].iter().any(|step| matches!(step.action, Action::Generate { .. })), "images follow");
        let again = modprobe(&t::healthy(), mended);
        assert_eq!(after(&make(&again, &goal(&[])), PATH), None, "{mended:?} is mended again");
        for finding in t::check(&again) {
            assert!(
                !["modprobe-line-ignored", "ids-malformed", "config-line-duplicated"].contains(&finding.id)
                    || finding.variant == "disable-vga",
                "{mended:?}: {finding:?}"
            );
        }
    }
}

#[test]
fn what_counts_with_another_kernel_stays() {
    let mut snap = t::healthy();
    snap.kernel.installed.push(t::installed("6.1.0-30-amd64"));
    let mut older = t::installed("5.15.0-1");
    older.builtin = Fact::Known(t::set(&["vfio_pci"]));
    older.config = Fact::default();
    snap.kernel.installed.push(older);
    let text = "softdep drm pre: vfio-pci\n";
    assert_eq!(after(&plan(&modprobe(&snap, text), &[]), PATH), None);
    t::cmdline(&mut snap, "quiet video=efifb:off");
    t::place(&mut snap, Chain::Grub, "/etc/default/grub", "GRUB_CMDLINE_LINUX=\"x\"", "video=efifb:off");
    assert!(words(&plan(&snap, &[])).is_empty());
}

#[test]
fn lists_of_modules() {
    for (path, text, mended) in [
        ("/etc/modules", "# loop\nvfio\nvfio_virqfd\nvfio_pci\nvfio\n", "# loop\nvfio\nvfio_pci\n"),
        ("/etc/initramfs-tools/modules", "vfio_virqfd", ""),
    ] {
        let mut snap = t::healthy();
        t::load(&mut snap, path, text, path.contains("initramfs"));
        assert_eq!(after(&plan(&snap, &[]), path).as_deref(), Some(mended), "{path}");
        snap.kernel.installed[0].release = "6.1.0-30-amd64".into();
        let old = after(&plan(&snap, &[]), path).unwrap_or_default();
        assert!(old.is_empty() || old.contains("virqfd"), "a kernel before 6.2 may need it: {old}");
    }
    for (path, text, mended) in [
        ("/etc/dracut.conf.d/v.conf", "force_drivers+=\" vfio_pci vfio_virqfd \"\n", "force_drivers+=\" vfio_pci \"\n"),
        ("/etc/mkinitcpio.conf", "MODULES=(vfio_pci vfio_virqfd vfio)\n", "MODULES=(vfio_pci vfio)\n"),
    ] {
        let mut snap = t::healthy();
        t::load(&mut snap, path, "vfio_virqfd\n", true);
        snap.modules.files.last_mut().expect("the file").text = text.into();
        assert_eq!(after(&plan(&snap, &[]), path).as_deref(), Some(mended), "{path}");
    }
}

fn with_words(line: &str) -> Snapshot {
    let mut snap = t::healthy();
    snap.boot.places.clear();
    t::cmdline(&mut snap, line);
    let text = format!("GRUB_CMDLINE_LINUX_DEFAULT=\"{line}\"");
    t::place(&mut snap, Chain::Grub, "/etc/default/grub", &text, line).key = "GRUB_CMDLINE_LINUX_DEFAULT".into();
    snap
}

#[test]
fn kernel_words() {
    for (line, expected) in [
        ("quiet nofb", &["-nofb"][..]),
        ("intel_iommu=on,nonsense", &["-intel_iommu=on,nonsense", "+intel_iommu=on"]),
        ("intel_iommu=a,b,c", &["-intel_iommu=a,b,c"]),
        ("iommu=pt,igfx_off", &["-iommu=pt,igfx_off", "+iommu=pt"]),
        ("amd_iommu=on", &["-amd_iommu=on"]),
        ("video=efifb:off,vesafb:off", &["-video=efifb:off,vesafb:off"]),
        ("modprobe.blacklist=nvidia*,nouveau", &["-modprobe.blacklist=nvidia*,nouveau", "+modprobe.blacklist=nouveau"]),
        ("quietintel_iommu=on", &["-quietintel_iommu=on", "+quiet", "+intel_iommu=on"]),
        ("intel_iomu=on", &["-intel_iomu=on"]),
        (
            "vfio-pci.ids=10de:2684;10de:22ba",
            &["-vfio-pci.ids=10de:2684;10de:22ba", "+vfio-pci.ids=10de:2684,10de:22ba"],
        ),
        (
            "vfio-pci.ids=10de:2684, 10de:22ba",
            &["-vfio-pci.ids=10de:2684,", "-10de:22ba", "+vfio-pci.ids=10de:2684,10de:22ba"],
        ),
        ("vfio-pci.ids=10de:2684 vfio-pci.ids=10de:22ba", &["-vfio-pci.ids=10de:2684"]),
        ("vfio-pci.ids=xxxx:yyyy", &["-vfio-pci.ids=xxxx:yyyy"]),
        ("intel_iommu=on iommu=pt pcie_acs_override=downstream nomodeset vfio-pci.disable_vga=1", &[]),
    ] {
        let plan = plan(&with_words(line), &[]);
        assert_eq!(words(&plan), expected, "{line}");
        let mut kept: Vec<&str> = line.split(' ').collect();
        kept.retain(|word| !plan.words.iter().any(|w| !w.present && w.word == *word));
        kept.extend(plan.words.iter().filter(|w| w.present).map(|w| w.word.as_str()));
        let again = with_words(&kept.join(" "));
        assert!(words(&make(&again, &goal(&[]))).is_empty(), "{line} is mended twice");
    }
}

fn proxmox(text: &str) -> Snapshot {
    let mut snap = t::healthy();
    snap.boot.places.clear();
    let chain = Chain::ProxmoxSystemdBoot;
    snap.boot.candidates = vec![Candidate { chain, evidence: Vec::new(), proven: true }];
    for (number, line) in (1u32..).zip(text.lines()) {
        let place = t::place(&mut snap, chain, CMDLINE, "", line);
        place.file = t::file(CMDLINE, text).into();
        place.line = number;
        place.effective = number == 1;
    }
    t::cmdline(&mut snap, "initrd=\\x root=ZFS=rpool/ROOT/pve-1 boot=zfs");
    snap
}

const CMDLINE: &str = "/etc/kernel/cmdline";

#[test]
fn the_first_line_of_proxmox() {
    let first = "root=ZFS=rpool/ROOT/pve-1 boot=zfs";
    for (text, mended) in [
        (format!("{first}\nintel_iommu=on iommu=pt\n"), format!("{first} intel_iommu=on iommu=pt\n")),
        (format!("{first} quiet\n# note\n\nquiet\n"), format!("{first} quiet\n# note\n\n")),
        (format!("{first}\namd_iommu=on\n"), format!("{first}\n")),
        (format!("{first}\nmodprobe.blacklist=nouveau pcie_acs_override=downstream\n"), format!("{first}\n")),
        (format!("intel_iommu=on\n{first}\n"), format!("intel_iommu=on {first}\n")),
        ("intel_iommu=on\n".to_owned(), format!("intel_iommu=on {first}\n")),
        (format!("{first}intel_iommu=on\n"), format!("{first} intel_iommu=on\n")),
    ] {
        let plan = plan(&proxmox(&text), &[]);
        assert_eq!(after(&plan, CMDLINE).as_deref(), Some(mended.as_str()), "{text:?}");
        let again = make(&proxmox(&mended), &goal(&[]));
        assert_eq!(after(&again, CMDLINE), None, "{mended:?}");
        let found = t::check(&proxmox(&mended));
        let bad = ["cmdline-second-line", "cmdline-without-root", "cmdline-words-glued"];
        assert!(!found.iter().any(|finding| bad.contains(&finding.id)), "{mended:?}");
    }
    // This file knows no comments, so the words of one are nothing to add to.
    let comment = make(&proxmox(&format!("# c\n{first}\n")), &goal(&[]));
    assert_eq!(after(&comment, CMDLINE), None);
}

#[test]
fn grub_variables_that_are_set_twice() {
    let path = "/etc/default/grub";
    let one = "GRUB_CMDLINE_LINUX=\"quiet\"\n";
    let other = "GRUB_CMDLINE_LINUX=\"quiet iommu=pt\"\n";
    for (text, mended) in [
        (format!("{one}# x\n{one}"), Some(format!("# x\n{one}"))),
        (format!("{other}{one}"), Some(format!("# {other}{one}"))),
        (format!("{one}GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX x\"\n"), None),
        (format!("{other}GRUB_CMDLINE_LINUX+=\" y\"\n{one}"), None),
        (format!("GRUB_CMDLINE_LINUX=\"x\"; GRUB_TIMEOUT=30\n{one}"), None),
    ] {
        let mut snap = t::healthy();
        snap.boot.places.clear();
        let place = t::place(&mut snap, Chain::Grub, path, "", "quiet");
        place.file = t::file(path, &text).into();
        place.key = "GRUB_CMDLINE_LINUX".into();
        assert_eq!(after(&plan(&snap, &[]), path), mended, "{text}");
    }
}

#[test]
fn ids_that_take_too_much_go_when_claims_take_over() {
    // A twin, on which the host shows its desktop.
    let mut snap = t::healthy();
    let twin = "0000:05:00.0";
    t::add(&mut snap, t::with_driver(t::function(twin, "10de:2684", 0x03_0000), "nouveau"));
    let evidence = Evidence::new("/proc/1/fd/1", "/dev/dri/card1");
    snap.usage.uses.push(Use { address: t::at(twin), kind: UseKind::Display, by: "Xorg".into(), evidence });
    let card = [GPU, "0000:01:00.1"];
    let snap = modprobe(&snap, "options vfio-pci ids=10de:2684,10de:22ba\n");
    assert_eq!(after(&plan(&snap, &[]), PATH), None, "nothing would claim the card then");
    assert_eq!(after(&plan(&snap, &card), PATH).as_deref(), Some("options vfio-pci ids=10de:22ba\n"));
    // Another card hangs on the ids.
    let mut other = snap.clone();
    t::add(&mut other, t::with_driver(t::function("0000:06:00.0", "10de:22ba", 0x03_0000), "vfio-pci"));
    assert_eq!(after(&plan(&other, &card), PATH), None);
}

#[test]
fn a_blacklist_that_claims_make_needless_goes() {
    let mut snap = modprobe(&t::healthy(), "blacklist nouveau\nblacklist nvidia\n");
    let mut screen = t::with_driver(t::function("0000:05:00.0", "10de:1c82", 0x03_0000), "nouveau");
    screen.boot_display = Fact::Known(true);
    t::change(&mut snap, t::IGPU, |f| f.boot_display = Fact::Known(false));
    t::add(&mut snap, screen);
    assert_eq!(after(&plan(&snap, &[]), PATH), None);
    assert_eq!(after(&plan(&snap, &[GPU, "0000:01:00.1"]), PATH).as_deref(), Some("blacklist nvidia\n"));
}

#[test]
fn what_was_written_and_never_made_is_made() {
    let mut snap = with_words("quiet iommu=pt");
    t::cmdline(&mut snap, "quiet");
    let entry = t::place(&mut snap, Chain::Grub, "/boot/grub/grub.cfg", "linux /boot/vmlinuz quiet", "quiet");
    (entry.generated, entry.release) = (true, Some(t::RELEASE.into()));
    assert_eq!(words(&plan(&snap, &[])), ["+iommu=pt"]);
    let mut stale = t::passthrough();
    t::in_images(&mut stale, "/etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:1b80\n");
    let plan = plan(&stale, &[]);
    assert!(plan.steps.iter().all(|step| matches!(step.action, Action::Generate { .. })) && plan.steps.len() == 1);
}
