use super::super::case::Case;
use super::needed;
use crate::checks::testing::{self as t, GPU, IGPU};
use crate::facts::Snapshot;
use crate::facts::hypervisor::{Asked, HypervisorKind};
use crate::facts::iommu::TableKind;
use crate::facts::pci::Function;
use crate::facts::system::CpuVendor;
use crate::goal::{Goal, Method};
use crate::host::Fact;

fn goal(devices: &[&str]) -> Goal {
    Goal { devices: devices.iter().map(|address| t::at(address)).collect(), ..Goal::default() }
}

const CARD: &[&str] = &[GPU, "0000:01:00.1"];

/// `+word` and `-word`, as they are shown.
fn words(snap: &Snapshot, goal: &Goal) -> Vec<String> {
    let sign = |present| if present { '+' } else { '-' };
    needed(&Case::new(snap, goal), Vec::new())
        .iter()
        .map(|word| format!("{}{}", sign(word.present), word.word))
        .collect()
}

/// Intel, IOMMU off, no default in the kernel.
fn off() -> Snapshot {
    let mut snap = t::healthy();
    snap.iommu.groups.clear();
    snap.iommu.units = Fact::Known(Vec::new());
    t::config(&mut snap, "INTEL_IOMMU_DEFAULT_ON", None);
    for function in &mut snap.pci.functions {
        function.group = Fact::Absent;
    }
    snap
}

fn amd(mut snap: Snapshot) -> Snapshot {
    snap.system.cpu_vendor = Fact::Known(CpuVendor::Amd);
    snap.iommu.table = Fact::Known(TableKind::Ivrs);
    snap
}

#[test]
fn the_iommu_is_asked_for_only_where_it_does_not_come_by_itself() {
    type Change = fn(&mut Snapshot);
    let cases: [(&str, Snapshot, Change, &[&str]); 11] = [
        ("on by default", t::healthy(), |_| (), &[]),
        ("on by default, said all the same", t::healthy(), |s| t::cmdline(s, "ro intel_iommu=on"), &[]),
        ("off by default", off(), |_| (), &["+intel_iommu=on"]),
        ("AMD", amd(off()), |_| (), &[]),
        ("switched off", off(), |s| t::cmdline(s, "ro intel_iommu=off"), &["-intel_iommu=off", "+intel_iommu=on"]),
        ("AMD switched off", amd(off()), |s| t::cmdline(s, "ro amd_iommu=off"), &["-amd_iommu=off"]),
        (
            "switched off beside another item",
            amd(off()),
            |s| t::cmdline(s, "ro iommu=off,noforce"),
            &["-iommu=off,noforce", "+iommu=noforce"],
        ),
        ("on by the firmware's wish", t::healthy(), |s| t::config(s, "INTEL_IOMMU_DEFAULT_ON", None), &[]),
        (
            "on by a word that has more",
            t::healthy(),
            |s| {
                t::config(s, "INTEL_IOMMU_DEFAULT_ON", None);
                t::cmdline(s, "ro intel_iommu=on,sm_on");
            },
            &["+intel_iommu=on,sm_on"],
        ),
        (
            "another kernel that can boot",
            t::healthy(),
            |s| {
                let mut other = t::installed("6.2.16-3-pve");
                if let Fact::Known(config) = &mut other.config {
                    config.remove("INTEL_IOMMU_DEFAULT_ON");
                }
                s.kernel.installed.insert(0, other);
            },
            &["+intel_iommu=on"],
        ),
        ("no configuration to read", off(), |s| s.kernel.installed[0].config = Fact::Absent, &["+intel_iommu=on"]),
    ];
    for (name, mut snap, change, expected) in cases {
        change(&mut snap);
        assert_eq!(words(&snap, &goal(CARD)), expected, "{name}");
        assert!(words(&snap, &Goal::default()).is_empty(), "{name}: nobody asks");
    }
}

#[test]
fn graphics_that_the_kernel_leaves_out_are_asked_for() {
    let mut snap = t::healthy();
    t::config(&mut snap, "INTEL_IOMMU_DEFAULT_ON", None);
    t::config(&mut snap, "INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF", Some("y"));
    t::change(&mut snap, IGPU, |f| f.group = Fact::Absent);
    assert_eq!(words(&snap, &goal(&[IGPU])), ["+intel_iommu=on"]);
    assert!(words(&snap, &goal(CARD)).is_empty());
    t::cmdline(&mut snap, "ro intel_iommu=on,igfx_off");
    assert_eq!(words(&snap, &goal(&[IGPU])), ["-intel_iommu=on,igfx_off", "+intel_iommu=on"]);
}

#[test]
fn framebuffers() {
    type Change = fn(&mut Snapshot);
    let show = |snap: &mut Snapshot| t::change(snap, GPU, |f: &mut Function| f.boot_display = Fact::Known(true));
    let old = |snap: &mut Snapshot| t::release(snap, "5.15.0-119-generic");
    let cases: [(&str, Change, &[&str]); 5] = [
        ("6.0 and later evicts it", |_| (), &[]),
        (
            "5.15 with efifb",
            |s| {
                t::release(s, "5.15.0-119-generic");
                t::config(s, "SYSFB_SIMPLEFB", None);
            },
            &["+video=efifb:off"],
        ),
        ("5.15 with simpledrm", |s| t::release(s, "5.15.158-2-pve"), &["+initcall_blacklist=sysfb_init"]),
        ("no VGA class, nothing seen", |s| t::change(s, GPU, |f| f.class = Fact::Known(0x03_8000)), &[]),
        (
            "no VGA class, seen in its BAR",
            |s| {
                t::change(s, GPU, |f| f.class = Fact::Known(0x03_8000));
                let iomem = "80000000-80ffffff : 0000:01:00.0\n  80000000-807fffff : BOOTFB\n";
                s.kernel.iomem = Fact::Known(t::file("/proc/iomem", iomem));
            },
            &["+initcall_blacklist=sysfb_init"],
        ),
    ];
    for (name, change, expected) in cases {
        let mut snap = t::healthy();
        show(&mut snap);
        change(&mut snap);
        assert_eq!(words(&snap, &goal(CARD)), expected, "{name}");
    }
    let mut other = t::healthy();
    old(&mut other);
    assert!(words(&other, &goal(CARD)).is_empty(), "not the boot display");
}

#[test]
fn ids_stand_on_the_command_line_where_vfio_pci_is_built_in() {
    let ids = Goal { method: Method::Ids, ..goal(CARD) };
    let mut snap = t::healthy();
    assert!(words(&snap, &ids).is_empty(), "a module reads modprobe.d");
    t::cmdline(&mut snap, "ro vfio-pci.ids=1912:0014");
    assert_eq!(
        words(&snap, &ids),
        ["-vfio-pci.ids=1912:0014", "+vfio-pci.ids=1912:0014,10de:2684,10de:22ba"],
        "unless the command line has some, too"
    );
    t::cmdline(&mut snap, "ro");
    if let Fact::Known(builtin) = &mut snap.kernel.installed[0].builtin {
        builtin.insert("vfio_pci".into());
    }
    assert_eq!(words(&snap, &ids), ["+vfio-pci.ids=10de:2684,10de:22ba"]);
    assert!(words(&snap, &goal(CARD)).is_empty());
    t::cmdline(&mut snap, "ro vfio-pci.ids=1912:0014,10DE:2684");
    assert_eq!(
        words(&snap, &ids),
        ["-vfio-pci.ids=1912:0014,10DE:2684", "+vfio-pci.ids=1912:0014,10DE:2684,10de:22ba"]
    );
    t::cmdline(&mut snap, "ro vfio-pci.ids=10de:2684,10de:22ba");
    assert!(words(&snap, &ids).is_empty());
    // What takes it already is not said again in a wider form.
    let own = snap.pci.get(&t::at("0000:01:00.0")).unwrap().subsystem.known().unwrap().to_string();
    t::cmdline(&mut snap, &format!("ro vfio-pci.ids=10de:2684:{own},10de:22ba"));
    assert!(words(&snap, &ids).is_empty());
}

#[test]
fn wishes() {
    let wish =
        |console: Option<&str>| Goal { iommu_pt: true, serial_console: console.map(str::to_owned), ..Goal::default() };
    let mut snap = t::healthy();
    let all = words(&snap, &wish(Some("ttyS0,115200")));
    assert_eq!(all, ["+iommu=pt", "+console=tty0", "+console=ttyS0,115200"]);
    t::cmdline(&mut snap, "ro iommu.passthrough=1 console=ttyS0,9600");
    assert_eq!(words(&snap, &wish(Some("ttyS0,115200"))), ["+iommu.passthrough=1", "+console=ttyS0,9600"]);
    t::cmdline(&mut snap, "ro console=tty1");
    assert_eq!(words(&snap, &wish(Some("ttyS0,115200"))), ["+iommu=pt", "+console=ttyS0,115200"]);
    let mut arm = t::healthy();
    arm.system.cpu_vendor = Fact::Known(CpuVendor::Arm);
    arm.iommu.table = Fact::Known(TableKind::Iort);
    assert_eq!(words(&arm, &wish(None)), ["+iommu.passthrough=1"]);
}

#[test]
fn what_is_allowed_is_narrow() {
    let allowed = |guard: &str| Goal { allow: [guard.to_owned()].into(), ..goal(CARD) };
    let mut snap = t::healthy();
    // A port without ACS, with the host's sound behind it.
    t::change(&mut snap, "0000:00:01.0", |f| {
        f.acs = Fact::Absent;
        f.group = Fact::Known(14);
    });
    t::change(&mut snap, "0000:00:1f.3", |f| {
        f.group = Fact::Known(14);
        f.parent = Fact::Known(t::at("0000:00:01.0"));
    });
    assert_eq!(words(&snap, &allowed("acs-override")), ["+pcie_acs_override=id:8086:460d"]);
    assert!(words(&snap, &goal(CARD)).is_empty());
    // What other groups are made by stays.
    t::cmdline(&mut snap, "ro pcie_acs_override=multifunction");
    assert_eq!(
        words(&snap, &allowed("acs-override")),
        ["-pcie_acs_override=multifunction", "+pcie_acs_override=multifunction,id:8086:460d"]
    );
    t::cmdline(&mut snap, "ro");
    snap.kernel.acs_override = Fact::Known(false);
    assert!(words(&snap, &allowed("acs-override")).is_empty(), "this kernel would not know it");

    let mut snap = t::healthy();
    snap.iommu.interrupt_remapping = Fact::Known(false);
    assert_eq!(words(&snap, &allowed("unsafe-interrupts")), ["+vfio_iommu_type1.allow_unsafe_interrupts=1"]);
    t::vm(&mut snap, HypervisorKind::Libvirt, "win", Asked::Slot(t::at(GPU)));
    snap.hypervisor.vms[0].config = Fact::Known(t::file("/etc/libvirt/qemu/win.xml", "<driver iommufd='yes'/>"));
    assert_eq!(words(&snap, &allowed("unsafe-interrupts")), ["+iommufd.allow_unsafe_interrupts=1"]);
    t::modprobe(&mut snap, "/etc/modprobe.d/a.conf", "options vfio_iommu_type1 allow_unsafe_interrupts=1");
    assert!(words(&snap, &allowed("unsafe-interrupts")).is_empty(), "the user has it");
}

#[test]
fn every_word_has_a_sentence_and_says_whether_it_is_there() {
    let mut snap = off();
    for done in [false, true] {
        let found = needed(&Case::new(&snap, &goal(CARD)), Vec::new());
        assert!(found.iter().all(|word| word.why.ends_with('.') && !word.why.contains('{')), "{found:?}");
        assert_eq!(found[0].done, done);
        t::place(
            &mut snap,
            crate::facts::boot::Chain::Grub,
            "/etc/default/grub.d/a.cfg",
            "GRUB_CMDLINE_LINUX=\"intel_iommu=on\"",
            "intel_iommu=on",
        );
        let entry =
            t::place(&mut snap, crate::facts::boot::Chain::Grub, "/boot/grub/grub.cfg", "", "ro intel_iommu=on");
        entry.generated = true;
    }
}
