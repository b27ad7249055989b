//! What passthrough guides get wrong, row by row: which finding reports it on a host that followed the guide, and a host
//! where the same word is right or harmless and nothing is reported.

use super::testing::*;
use super::{Finding, Severity, pages};
use crate::facts::boot::{Candidate, Chain, GrubConfig};
use crate::facts::initramfs::{Content, Generator};
use crate::facts::modules::Directive;
use crate::facts::system::{CpuVendor, Distro};
use crate::facts::{Evidence, Snapshot};
use crate::host::Fact;

type Break = fn(&mut Snapshot);

/// How a row is covered.
enum Row {
    /// The finding and wording that report it; a host that shows it; a host with the same word that is well.
    Reported(&'static str, &'static str, Break, Break),
    /// It is about single devices; the finding that reports it, tested beside its check.
    Device(&'static str),
    /// No host can show it, and why.
    Nowhere(&'static str),
}
use Row::{Device, Nowhere, Reported};

fn well(_: &mut Snapshot) {}

fn chain(snap: &mut Snapshot, chain: Chain) {
    snap.boot.candidates =
        vec![Candidate { chain, evidence: vec![Evidence::new("efivars", "BootCurrent")], proven: true }];
    snap.boot.places.clear();
}

/// The lines of `/etc/kernel/cmdline`, of which Proxmox reads the first.
fn kernel_cmdline(snap: &mut Snapshot, text: &str) {
    chain(snap, Chain::ProxmoxSystemdBoot);
    for (number, line) in (1u32..).zip(text.lines()) {
        let added = place(snap, Chain::ProxmoxSystemdBoot, "/etc/kernel/cmdline", "", line);
        added.file = file("/etc/kernel/cmdline", text).into();
        added.line = number;
        added.effective = number == 1;
    }
    cmdline(snap, &format!("initrd=x {}", text.lines().next().unwrap_or_default()));
}

fn hook(snap: &mut Snapshot, text: &str) {
    let path = "/etc/libvirt/hooks/qemu";
    let file = Fact::Known(file(path, &format!("#!/bin/sh\n{text}")));
    snap.hypervisor.hooks.push(crate::facts::hypervisor::Hook { path: path.into(), mode: 0o755, file });
}

/// The card is claimed, and a VM has it.
fn given(snap: &mut Snapshot, lines: &str) {
    *snap = passthrough();
    let base = "hostpci0: 0000:01:00,pcie=1,x-vga=1\nmachine: q35\nbios: ovmf\nmemory: 8192\n";
    proxmox_vm(snap, "105", &format!("{base}{lines}"));
}

fn el(snap: &mut Snapshot, version: &str) {
    snap.system.distro = Fact::Known(Distro {
        id: "rocky".into(),
        like: vec!["rhel".into(), "centos".into(), "fedora".into()],
        version: version.into(),
        ..Distro::default()
    });
    chain(snap, Chain::GrubBls);
    snap.initramfs.generator = Fact::Known(Generator::Dracut);
}

fn grub_files(snap: &mut Snapshot, stub: bool, in_boot: bool) {
    let whole = "### BEGIN /etc/grub.d/00_header ###\n";
    let esp = file("/boot/efi/EFI/rocky/grub.cfg", if stub { "configfile $prefix/grub.cfg\n" } else { whole });
    snap.boot.grub_configs = vec![GrubConfig { file: esp.into(), stub, esp: true, ..GrubConfig::default() }];
    if in_boot {
        let boot = file("/boot/grub2/grub.cfg", whole);
        snap.boot.grub_configs.push(GrubConfig { file: boot.into(), ..GrubConfig::default() });
    }
}

fn entry(snap: &mut Snapshot, words: &str) {
    let chain = snap.boot.chain().unwrap_or_default();
    let entry = place(snap, chain, "/boot/loader/entries/a.conf", &format!("options {words}"), words);
    entry.generated = true;
    entry.release = Some(RELEASE.into());
}

fn iommu_off(snap: &mut Snapshot) {
    snap.iommu.units = Fact::Known(Vec::new());
    snap.iommu.groups.clear();
    snap.pci.functions.iter_mut().for_each(|f| f.group = Fact::Absent);
}

fn built_in(snap: &mut Snapshot, module: &str) {
    for kernel in &mut snap.kernel.installed {
        if let Fact::Known(all) = &mut kernel.builtin {
            all.insert(module.to_owned());
        }
    }
}

const WITHOUT: &str = "cmdline-word-without-effect";
const IGNORED: &str = "modprobe-line-ignored";

/// The rows, counted from 1.
const ROWS: &[Row] = &[
    // 1: echo "intel_iommu=on" >> /etc/kernel/cmdline
    Reported(
        "cmdline-second-line",
        "",
        |s| kernel_cmdline(s, "root=ZFS=rpool/ROOT/pve-1 boot=zfs\nintel_iommu=on\n"),
        |s| kernel_cmdline(s, "root=ZFS=rpool/ROOT/pve-1 boot=zfs intel_iommu=on\n"),
    ),
    // 2: the file holds nothing but intel_iommu=on
    Reported(
        "cmdline-without-root",
        "",
        |s| kernel_cmdline(s, "intel_iommu=on\n"),
        |s| kernel_cmdline(s, "root=ZFS=rpool/ROOT/pve-1 boot=zfs\n"),
    ),
    // 3: UEFI means systemd-boot
    Reported(
        "cmdline-not-in-effect",
        "wrong-loader",
        |s| {
            kernel_cmdline(s, "root=/dev/mapper/pve-root intel_iommu=on\n");
            s.boot.candidates[0].chain = Chain::Grub;
            s.boot.places[0].effective = false;
            cmdline(s, "root=/dev/mapper/pve-root ro quiet");
        },
        |s| kernel_cmdline(s, "root=ZFS=rpool/ROOT/pve-1 boot=zfs intel_iommu=on\n"),
    ),
    // 4: pve-efiboot-tool
    Nowhere("an old name of proxmox-boot-tool that is typed by hand; both names do the same where both exist"),
    // 5: amd_iommu=on
    Reported(
        WITHOUT,
        "amd-iommu-on",
        |s| {
            s.system.cpu_vendor = Fact::Known(CpuVendor::Amd);
            cmdline(s, "ro amd_iommu=on iommu=pt");
        },
        |s| {
            s.system.cpu_vendor = Fact::Known(CpuVendor::Amd);
            cmdline(s, "ro amd_iommu=force_isolation");
        },
    ),
    // 6: intel_iommu=on always, or never
    Reported(
        "iommu-off-in-kernel",
        "default-off",
        |s| {
            iommu_off(s);
            config(s, "INTEL_IOMMU_DEFAULT_ON", None);
        },
        |s| cmdline(s, "ro intel_iommu=on"),
    ),
    // 7: "DMAR: IOMMU enabled" proves it
    Reported(
        "iommu-off-in-firmware",
        "menu",
        |s| {
            iommu_off(s);
            s.iommu.table = Fact::Absent;
            cmdline(s, "ro intel_iommu=on");
            s.log = Fact::Known(file("dmesg", "[    0.028012] DMAR: IOMMU enabled\n"));
        },
        |s| s.log = Fact::Known(file("dmesg", "[    0.028012] DMAR: IOMMU enabled\n")),
    ),
    // 8: interrupt remapping proves it
    Reported(
        "iommu-off-in-kernel",
        "default-off",
        |s| {
            iommu_off(s);
            config(s, "INTEL_IOMMU_DEFAULT_ON", None);
            s.log = Fact::Known(file("dmesg", "[ 0.1] DMAR-IR: Enabled IRQ remapping in x2apic mode\n"));
        },
        well,
    ),
    // 9: vfio_virqfd in /etc/modules
    Reported(
        IGNORED,
        "virqfd",
        |s| load(s, "/etc/modules", "vfio\nvfio_iommu_type1\nvfio_pci\nvfio_virqfd\n", false),
        |s| {
            release(s, "5.15.158-2-pve");
            load(s, "/etc/modules", "vfio\nvfio_iommu_type1\nvfio_pci\nvfio_virqfd\n", false);
        },
    ),
    // 10: options for a vfio-pci that is built in
    Reported(
        IGNORED,
        "builtin",
        |s| {
            built_in(s, "vfio_pci");
            modprobe(s, "/etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:2684,10de:22ba\n");
        },
        |s| {
            *s = passthrough();
        },
    ),
    // 11: /etc/modules is early
    Reported(
        "early-load-missing",
        "",
        |s| {
            modprobe(s, "/etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:2684,10de:22ba\n");
            load(s, "/etc/modules", "vfio_pci\n", false);
        },
        |s| *s = passthrough(),
    ),
    // 12: update-initramfs -u
    Reported(
        "initramfs-stale",
        "",
        |s| {
            *s = passthrough();
            in_images(s, "/etc/modprobe.d/vfio.conf", "# nothing yet\n");
        },
        |s| *s = passthrough(),
    ),
    // 13: video=vesafb:off,efifb:off
    Reported(
        WITHOUT,
        "video-joined",
        |s| cmdline(s, "ro video=vesafb:off,efifb:off"),
        |s| {
            cmdline(s, "ro video=HDMI-A-1:1920x1080@60,rotate=90");
        },
    ),
    // 14: video=efifb:off to free the boot display
    Reported(
        WITHOUT,
        "framebuffer-evicted",
        |s| cmdline(s, "ro video=efifb:off"),
        |s| {
            release(s, "5.10.0-30-amd64");
            config(s, "SYSFB_SIMPLEFB", None);
            cmdline(s, "ro video=efifb:off");
        },
    ),
    // 15: nofb nomodeset
    Reported(
        "cmdline-word-risky",
        "nomodeset",
        |s| cmdline(s, "ro nofb nomodeset"),
        |s| {
            cmdline(s, "ro i915.modeset=1 nouveau.modeset=0");
        },
    ),
    // 16: disable_vga=1
    Reported(
        IGNORED,
        "disable-vga",
        |s| modprobe(s, "/etc/modprobe.d/vfio.conf", "options vfio-pci disable_vga=1\n"),
        |s| modprobe(s, "/etc/modprobe.d/vfio.conf", "options vfio-pci disable_vga=0\n"),
    ),
    // 17: allow_unsafe_interrupts=1
    Reported(
        "unsafe-interrupts-on",
        "needless",
        |s| modprobe(s, "/etc/modprobe.d/i.conf", "options vfio_iommu_type1 allow_unsafe_interrupts=1\n"),
        |s| modprobe(s, "/etc/modprobe.d/i.conf", "options vfio_iommu_type1 allow_unsafe_interrupts=0\n"),
    ),
    // 18: options kvm allow_unsafe_assigned_interrupts=1
    Reported(
        IGNORED,
        "removed",
        |s| modprobe(s, "/etc/modprobe.d/kvm.conf", "options kvm allow_unsafe_assigned_interrupts=1\n"),
        |s| modprobe(s, "/etc/modprobe.d/kvm.conf", "options kvm nx_huge_pages=never\n"),
    ),
    // 19: options kvm ignore_msrs=1
    Reported(
        "kvm-ignores-msrs",
        "",
        |s| modprobe(s, "/etc/modprobe.d/kvm.conf", "options kvm ignore_msrs=1\n"),
        |s| modprobe(s, "/etc/modprobe.d/kvm.conf", "options kvm ignore_msrs=0\n"),
    ),
    // 20: pcie_acs_override on a kernel without it
    Reported(
        WITHOUT,
        "acs-override",
        |s| {
            release(s, "5.15.0-130-generic");
            s.kernel.acs_override = Fact::Known(false);
            cmdline(s, "ro pcie_acs_override=downstream,multifunction");
        },
        |s| cmdline(s, "ro pci=disable_acs_redir=pci:8086:460d"),
    ),
    // 21: intremap=no_x2apic_optout
    Reported(
        "cmdline-word-risky",
        "x2apic-optout",
        |s| cmdline(s, "ro intremap=no_x2apic_optout"),
        |s| {
            cmdline(s, "ro intremap=no_x2apic_optout");
            if let Fact::Known(content) = &mut s.iommu.content {
                content.x2apic_opt_out = Some(true);
            }
        },
    ),
    // 22: blacklist nvidia*
    Reported(
        IGNORED,
        "blacklist-wildcard",
        |s| modprobe(s, "/etc/modprobe.d/b.conf", "blacklist nvidia*\n"),
        |s| modprobe(s, "/etc/modprobe.d/b.conf", "blacklist nvidia\nsoftdep nvidia* pre: vfio-pci\n"),
    ),
    // 23: blacklist snd_hda_intel and graphics drivers for the whole host
    Reported(
        "blacklist-too-wide",
        "sound",
        |s| modprobe(s, "/etc/modprobe.d/b.conf", "blacklist snd_hda_intel\n"),
        |s| {
            *s = passthrough();
            modprobe(s, "/etc/modprobe.d/b.conf", "blacklist nouveau\nblacklist nvidiafb\n");
            in_images(s, "/etc/modprobe.d/b.conf", "blacklist nouveau\nblacklist nvidiafb\n");
        },
    ),
    // 24: softdep drm pre: vfio-pci
    Reported(
        IGNORED,
        "softdep-builtin",
        |s| modprobe(s, "/etc/modprobe.d/b.conf", "softdep drm pre: vfio-pci\n"),
        |s| modprobe(s, "/etc/modprobe.d/b.conf", "softdep nouveau pre: vfio-pci\n"),
    ),
    // 25: only the VGA function is bound
    Device("function-left-behind"),
    // 26: no FLR means that it hangs
    Device("reset-needs-whole-slot"),
    // 27: a hook on "stopped end" that removes the device for every VM
    Reported(
        "hook-for-every-vm",
        "stopped",
        |s| hook(s, "if [ \"$2\" = stopped ]; then\necho 1 > /sys/bus/pci/rescan\nfi\n"),
        |s| hook(s, "if [ \"$1 $2\" = 'win11 release' ]; then\necho 1 > /sys/bus/pci/rescan\nfi\n"),
    ),
    // 28: docker cp of a hook into the container
    Reported(
        "hook-in-container-layer",
        "",
        |s| s.hypervisor.layer_hooks.push("/var/lib/docker/overlay2/ab/diff/etc/libvirt/hooks/qemu".into()),
        |s| hook(s, "exit 0\n"),
    ),
    // 29: vendor-reset for NVIDIA
    Reported(
        IGNORED,
        "vendor-reset",
        |s| load(s, "/etc/modules", "vendor-reset\n", false),
        |s| {
            load(s, "/etc/modules", "vendor-reset\n", false);
            add(s, with_driver(function("0000:05:00.0", "1002:731f", 0x03_0000), "amdgpu"));
        },
    ),
    // 30: grub2-mkconfig -o /boot/efi/EFI/rocky/grub.cfg
    Reported(
        "grub-stub-overwritten",
        "",
        |s| {
            el(s, "9.2");
            grub_files(s, false, true);
        },
        |s| {
            el(s, "8.10");
            grub_files(s, false, false);
        },
    ),
    // 31: GRUB_CMDLINE_LINUX and grub2-mkconfig
    Reported(
        "cmdline-not-in-effect",
        "not-refreshed",
        |s| {
            el(s, "9.4");
            place(s, Chain::GrubBls, "/etc/default/grub", "GRUB_CMDLINE_LINUX=\"intel_iommu=on\"", "intel_iommu=on");
            entry(s, "root=/dev/mapper/rl-root ro");
            cmdline(s, "root=/dev/mapper/rl-root ro");
        },
        |s| {
            el(s, "9.4");
            place(s, Chain::GrubBls, "/etc/default/grub", "GRUB_CMDLINE_LINUX=\"intel_iommu=on\"", "intel_iommu=on");
            entry(s, "root=/dev/mapper/rl-root ro intel_iommu=on");
            cmdline(s, "root=/dev/mapper/rl-root ro intel_iommu=on");
        },
    ),
    // 32: dracut -f
    Reported(
        "initramfs-stale",
        "module-missing",
        |s| {
            el(s, "9.4");
            load(s, "/etc/dracut.conf.d/vfio.conf", "vfio_pci\n", true);
            let mut other = s.initramfs.images[0].clone();
            other.path = "/boot/initramfs-5.14.0-427.el9.img".into();
            other.release = "5.14.0-427.el9".into();
            s.kernel.installed.push(installed("5.14.0-427.el9"));
            s.initramfs.images[0].content = Fact::Known(Content { modules: set(&["vfio_pci"]), ..Content::default() });
            s.initramfs.images.push(other);
        },
        |s| {
            el(s, "9.4");
            load(s, "/etc/dracut.conf.d/vfio.conf", "vfio_pci\n", true);
            s.initramfs.images[0].content = Fact::Known(Content { modules: set(&["vfio_pci"]), ..Content::default() });
        },
    ),
    // 33: echo VID DID > new_id
    Nowhere("a command that leaves no trace: the device is with vfio-pci or is not, which native-driver-won says"),
    // 34: selinux=0
    Reported(
        "cmdline-word-risky",
        "selinux",
        |s| {
            el(s, "9.4");
            cmdline(s, "root=/dev/mapper/rl-root ro selinux=0");
        },
        |s| {
            el(s, "9.4");
            cmdline(s, "root=/dev/mapper/rl-root ro selinux=1");
        },
    ),
    // 35: dump the boot card's ROM through sysfs
    Device("rom-shadowed"),
    // 36: cpu: host,hidden=1 and args: -cpu
    Reported(
        "vm-second-cpu-argument",
        "",
        |s| given(s, "cpu: host,hidden=1\nargs: -cpu 'host,+kvm_pv_unhalt,+kvm_pv_eoi,hv_vendor_id=NV43FIX,kvm=off'\n"),
        |s| given(s, "cpu: host,hidden=1,hv-vendor-id=NV43FIX\nargs: -smbios type=0\n"),
    ),
    // 37: Primary GPU with OVMF
    Nowhere("x-vga=1 under OVMF is not handed to QEMU and does no harm; nothing is reported"),
];

#[test]
fn each_row_is_reported_where_it_is_wrong_and_nowhere_else() {
    assert_eq!(ROWS.len(), 37);
    for (number, row) in (1..).zip(ROWS) {
        match row {
            Reported(id, variant, wrong, right) => {
                let is = |f: &&Finding| f.id == *id && f.variant == *variant;
                let mut snap = healthy();
                wrong(&mut snap);
                let findings = check(&snap);
                let found: Vec<_> = findings.iter().filter(is).collect();
                assert!(!found.is_empty(), "row {number}: {id}/{variant} is missing: {:?}", shown(&findings));
                assert!(found.iter().all(|f| !f.evidence.is_empty()), "row {number}: {id} has no evidence");
                let mut snap = healthy();
                right(&mut snap);
                let findings = check(&snap);
                let bad: Vec<_> =
                    findings.into_iter().filter(|f| f.id == *id || f.severity != Severity::Info).collect();
                assert_eq!(shown(&bad), Vec::<String>::new(), "row {number}: accused where it is right");
            }
            Device(id) => {
                assert!(super::CHECKS.iter().any(|check| check.ids.contains(id)), "row {number}: {id} is no finding");
            }
            Nowhere(why) => assert!(!why.is_empty(), "row {number}"),
        }
    }
}

/// Every host of this table and some more: each finding's sentence is whole.
#[test]
fn every_finding_of_these_hosts_reads_well() {
    let mut hosts: Vec<Snapshot> = vec![healthy(), passthrough(), unknown()];
    for row in ROWS {
        if let Reported(_, _, wrong, right) = row {
            for change in [wrong, right] {
                let mut snap = healthy();
                change(&mut snap);
                hosts.push(snap);
            }
        }
    }
    for snap in &hosts {
        for goal in [&[][..], &[GPU], &[IGPU], &[DISK]] {
            for finding in check_for(snap, goal) {
                well_worded(&finding);
            }
        }
    }
}

fn well_worded(finding: &Finding) {
    let page = pages::page(finding.id).expect("a page");
    if !finding.variant.is_empty() {
        let key = |base: &str| page.head(&format!("{base}.{}", finding.variant));
        let special = ["message", "remedy", "fix"].iter().any(|base| !key(base).is_empty());
        assert!(special, "{} has no wording {}", finding.id, finding.variant);
    }
    for text in [pages::message(finding), pages::remedy(finding)] {
        assert!(!text.is_empty(), "{}", finding.id);
        assert!(!text.contains('{'), "{}/{}: {text}", finding.id, finding.variant);
        assert!(!text.contains("  ") && !text.contains("()"), "{}/{}: {text}", finding.id, finding.variant);
    }
}

/// A file that hides nothing and a host of which nothing is known are no reason for a panic or an accusation.
#[test]
fn odd_input_does_no_harm() {
    let mut snap = unknown();
    let text = "options\nblacklist\nsoftdep\noptions vfio-pci\noptions vfio-pci ids=\n\u{fffd}\u{fffd}\n\\\n";
    modprobe(&mut snap, "x", text);
    snap.modules.directives.push(Directive {
        file: 99,
        line: u32::MAX,
        word: "options".into(),
        ..Directive::default()
    });
    let odd = place(&mut snap, Chain::Unknown, "", "", "");
    odd.line = 0;
    odd.words = vec![String::new(), "\"".into(), "=".into(), "=x".into(), "vfio-pci.ids=".repeat(1000)];
    cmdline(&mut snap, "\" = -- \u{fffd}");
    // The one thing that is plainly wrong there is the list of ids.
    for finding in check(&snap).iter().filter(|finding| finding.id != "ids-malformed") {
        assert_ne!(finding.severity, Severity::Error, "{}", finding.id);
    }
}
