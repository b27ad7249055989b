use super::*;
use crate::facts::pci::Header;
use crate::parse::address::Address;

fn at(snap: &Snapshot, address: &str) -> pci::Function {
    snap.pci.get(&Address::parse(address).unwrap()).unwrap_or_else(|| panic!("{address}")).clone()
}

#[test]
fn a_forum_post() {
    let text = "My card does not work:\n\n```\nroot@pve:~# lspci -nnk\n\
        0b:00.0 VGA compatible controller [0300]: NVIDIA Corporation GP104 [GeForce GTX 1080] [10de:1b80] (rev a1)\n\
        \tSubsystem: ASUSTeK Computer Inc. Device [1043:8591]\n\tKernel driver in use: nouveau\n\tKernel modules: nouveau\n\
        0b:00.1 Audio device [0403]: NVIDIA Corporation GP104 High Definition Audio Controller [10de:10f0] (rev a1)\n\
        \tKernel driver in use: vfio-pci\n```\n/sys/kernel/iommu_groups/14/devices/0000:0b:00.0\n\
        root@pve:~# cat /etc/modprobe.d/vfio.conf\noptions vfio-pci ids=10de:1b80\nroot@pve:~# cat /proc/cmdline\n\
        BOOT_IMAGE=/boot/vmlinuz-6.8.12-4-pve root=/dev/mapper/pve-root ro quiet\n\
        GRUB_CMDLINE_LINUX_DEFAULT=\"quiet intel_iommu=on\"\nhostpci0: 0b:00,pcie=1\n";
    let snap = snapshot("post.txt", text);
    let card = at(&snap, "0b:00.0");
    assert_eq!(card.driver, Fact::Known("nouveau".into()));
    assert_eq!(card.evidence("driver", "x"), Evidence::at("post.txt", 5, text.lines().nth(4).unwrap()));
    assert_eq!((card.group.clone(), card.class.clone()), (Fact::Known(14), Fact::Known(0x30000)));
    assert!(at(&snap, "0b:00.1").on_vfio());
    assert!(at(&snap, "0b:00.1").group.is_unknown());
    assert_eq!(snap.iommu.running(), Fact::Known(true));
    assert_eq!(snap.modules.directives.len(), 1);
    assert_eq!((snap.modules.directives[0].line, snap.modules.directives[0].module.as_str()), (14, "vfio-pci"));
    assert_eq!(snap.kernel.cmdline.known().unwrap().text.trim().split(' ').count(), 4);
    assert_eq!(snap.boot.places.len(), 1);
    assert_eq!((snap.boot.places[0].line, snap.boot.places[0].words.join(" ")), (17, "quiet intel_iommu=on".into()));
    assert_eq!(snap.hypervisor.vms[0].devices[0].evidence.line, Some(18));
}

#[test]
fn what_is_not_shown_is_unknown() {
    let snap = snapshot("x", "01:00.0 VGA compatible controller: NVIDIA Corporation X (rev a1)\n");
    let card = at(&snap, "01:00.0");
    assert!(card.driver.is_unknown() && card.ids.is_unknown() && card.acs.is_unknown() && card.parent.is_unknown());
    assert!(snap.iommu.running().is_unknown() && snap.kernel.cmdline.is_unknown() && snap.iommu.table.is_unknown());
    let empty = snapshot("x", "");
    assert!(empty.pci.functions.is_empty() && empty.boot.places.is_empty());
}

#[test]
fn bridges_are_known_by_what_is_behind_them() {
    let text = "00:01.0 PCI bridge [0604]: X [8086:1901] (prog-if 00 [Normal decode])\n\
        \tBus: primary=00, secondary=01, subordinate=01, sec-latency=0\n\
        \tCapabilities: [100 v1] Virtual Channel\n\n01:00.0 Audio device [0403]: X [10de:10f0]\n";
    let snap = snapshot("x", text);
    assert_eq!(at(&snap, "01:00.0").parent, Fact::Known(Address::parse("00:01.0").unwrap()));
    assert_eq!(at(&snap, "00:01.0").header, Fact::Known(Header::Bridge));
    assert!(at(&snap, "00:01.0").acs.is_absent() && at(&snap, "00:01.0").parent.is_absent());
}

#[test]
fn a_log_tells_of_the_machine() {
    let head = "[    0.0] Linux version 6.1.0-18-amd64 (x)\n[    0.0] DMI: ASUS System Product Name/ROG STRIX B550-F, BIOS 2803 04/28/2022\n";
    let tables = "[    0.0] ACPI: FACP 0x00000000CA5F9000 000114\n[    0.0] ACPI: APIC 0x00000000CA5F8000 00015E\n\
        [    0.0] ACPI: MCFG 0x00000000CA5F7000 00003C\n[    0.0] ACPI: DSDT 0x00000000CA5E7000 00003C\n";
    let snap = snapshot("dmesg", &format!("{head}{tables}"));
    assert_eq!(snap.iommu.table, Fact::Absent);
    assert_eq!(snap.system.board, Fact::Known("ROG STRIX B550-F".into()));
    assert_eq!(snap.system.bios_date, Fact::Known("04/28/2022".into()));
    let ivrs = snapshot("dmesg", &format!("{head}{tables}[    0.0] ACPI: IVRS 0x00000000CA5F6000 0000D0\n"));
    assert_eq!(ivrs.iommu.table, Fact::Known(TableKind::Ivrs));
    assert!(snapshot("dmesg", head).iommu.table.is_unknown());
}

#[test]
fn xml_and_nova_keep_their_lines() {
    let text = "x\n<hostdev mode='subsystem' type='pci' managed='yes'>\n  <source>\n\
        <address domain='0x0000' bus='0x0b' slot='0x00' function='0x0'/>\n  </source>\n</hostdev>\n\
        device_spec = { \"vendor_id\": \"10de\", \"product_id\": \"1b80\" }\n";
    let snap = snapshot("x", text);
    assert_eq!(snap.hypervisor.vms[0].devices[0].evidence.line, Some(4));
    assert_eq!(snap.hypervisor.rules.iter().map(|rule| rule.evidence.line).collect::<Vec<_>>(), [Some(7)]);
}
