use super::*;

fn at(paste: &Paste, address: &str) -> Device {
    paste.devices.by_address.get(&Address::parse(address).unwrap()).unwrap_or_else(|| panic!("{address}")).clone()
}

#[test]
fn groups_of_many_scripts() {
    let many = [
        "IOMMU Group 14:\n\t0b:00.0 VGA compatible controller [0300]: X Y [10de:1b80] (rev a1)\n\t0b:00.1 Audio device [0403]: X Z [10de:10f0] (rev a1)\n",
        "IOMMU Group 14: 0b:00.0 VGA compatible controller [0300]: X Y [10de:1b80] (rev a1) (driver: nvidia)\nIOMMU Group 14: 0b:00.1 Audio device [0403]: X Z [10de:10f0] (rev a1) (driver: snd_hda_intel)\n",
        "Group 14:\t[10de:1b80] [R] 0b:00.0  VGA compatible controller   Y\n\t\t[10de:10f0]     0b:00.1  Audio device                Z\n",
        "### Group 14 ###\n    0b:00.0 VGA compatible controller: X Y (rev a1)\n    0b:00.1 Audio device: X Z (rev a1)\n",
        "Group:  14   0000:0b:00.0 VGA compatible controller [0300]: X Y [10de:1b80]   Driver: nvidia\nGroup:  14   0000:0b:00.1 Audio device [0403]: X Z [10de:10f0]\n",
        "> **IOMMU Group 14**\n> 0b:00.0 VGA compatible controller [0300]: X Y [10de:1b80] (rev a1)\n> 0b:00.1 Audio device [0403]: X Z [10de:10f0] (rev a1)\n",
        "/sys/kernel/iommu_groups/14/devices/0000:0b:00.0\r\n/sys/kernel/iommu_groups/14/devices/0000:0b:00.1\r\n",
        "[    0.6] pci 0000:0b:00.0: Adding to iommu group 14\n[    0.6] pci 0000:0b:00.1: Adding to iommu group 14\n",
        "IOMMU Group 14:\n    - 0000:0b:00.0 Y\n    - 0000:0b:00.1 Z\n",
        "IOMMU Group  14: 0000:0b:00.0 VGA compatible controller [0300] X Y [10de:1b80] (rev a1)\n        Kernel driver in use: vfio-pci\nIOMMU Group  14: 0000:0b:00.1 Audio device [0403] X Z [10de:10f0] (rev a1)\n",
    ];
    for text in many {
        let paste = read("paste", text);
        assert_eq!(paste.devices.by_address.len(), 2, "{text}");
        for address in ["0b:00.0", "0b:00.1"] {
            assert_eq!(at(&paste, address).group, Some(Some(14)), "{address} in {text}");
        }
    }
}

#[test]
fn a_listing_after_groups_has_no_group() {
    let text = "IOMMU Group 1:\n\t00:01.0 PCI bridge [0604]: X [8086:1901]\n\nroot@pve:~# lspci -nnk\n\
        00:02.0 VGA compatible controller [0300]: Intel [8086:3e92]\n\tKernel driver in use: i915\n\tKernel modules: i915\n\
        00:03.0 Audio device [0403]: Intel [8086:1234]\n\tKernel modules: snd_hda_intel\n";
    let paste = read("paste", text);
    assert_eq!(at(&paste, "00:02.0").group, None);
    assert_eq!(at(&paste, "00:02.0").driver, Some(Some("i915".into())));
    assert_eq!(at(&paste, "00:03.0").driver, Some(None));
    assert_eq!(at(&paste, "00:01.0").group, Some(Some(1)));
}

#[test]
fn links_tell_parents() {
    let text = "/sys/kernel/iommu_groups/15/devices/0000:05:00.0 -> ../../../../devices/pci0000:00/0000:00:02.1/0000:03:00.0/0000:05:00.0\n";
    let paste = read("paste", text);
    let parent = |address: &str| at(&paste, address).parent;
    assert_eq!(parent("05:00.0"), Some(Address::parse("03:00.0")));
    assert_eq!(parent("03:00.0"), Some(Address::parse("00:02.1")));
    assert_eq!(parent("00:02.1"), Some(None));
    assert_eq!((at(&paste, "03:00.0").bridge, at(&paste, "05:00.0").bridge), (Some(true), None));
}

#[test]
fn members_without_address() {
    let text = "IOMMU Group  12: Advanced Micro Devices, Inc. [AMD]: 400 Series Chipset SATA Controller (rev 01): [1022:43c8]\n";
    let paste = read("paste", text);
    assert!(paste.devices.by_address.is_empty());
    assert_eq!(paste.members.len(), 1);
    assert_eq!((paste.members[0].group, paste.members[0].ids), (12, (0x1022, 0x43c8)));
}

#[test]
fn tables_and_json_of_proxmox() {
    let table = "┌──────────┬────────┬──────────────┬────────────┬────────┬─────\n\
        │ class    │ device │ id           │ iommugroup │ vendor │ device_na\n\
        ╞══════════╪════════╪══════════════╪════════════╪════════╪═════\n\
        │ 0x030000 │ 0x1b80 │ 0000:0b:00.0 │         14 │ 0x10de │ GP104 [Ge\n\
        ├──────────┼────────┼──────────────┼────────────┼────────┼─────\n\
        │ 0x040300 │ 0x10f0 │ 0000:0b:00.1 │         -1 │ 0x10de │\n";
    let json = "[\n {\n  \"class\" : \"0x030000\",\n  \"device\" : \"0x1b80\",\n  \"id\" : \"0000:0b:00.0\",\n  \"iommugroup\" : 14,\n  \"vendor\" : \"0x10de\"\n },\n {\"id\":\"0000:0b:00.1\",\"class\":\"0x040300\",\"vendor\":\"0x10de\",\"device\":\"0x10f0\",\"iommugroup\":-1}\n]\n";
    for text in [table, json] {
        let paste = read("paste", text);
        let card = at(&paste, "0b:00.0");
        assert_eq!(
            (card.class, card.ids, card.group),
            (Some(0x30000), Some((0x10de, 0x1b80)), Some(Some(14))),
            "{text}"
        );
        assert_eq!(at(&paste, "0b:00.1").group, Some(None));
    }
}

#[test]
fn kernel_messages_tell_devices() {
    let text = "[    0.000000] Linux version 6.8.12-4-pve (build@proxmox) (gcc)\n\
        Nov 02 10:00:00 pve kernel: Command line: BOOT_IMAGE=/vmlinuz root=/dev/sda quiet\n\
        [    0.5] pci 0000:00:01.0: [8086:1901] type 01 class 0x060400 PCIe Root Port\n\
        [    0.5] pci 0000:01:00.0: [10de:1b80] type 00 class 0x030000 PCIe Legacy Endpoint\n\
        [    0.5] pci 0000:00:01.0: PCI bridge to [bus 01]\n\
        [    0.6] pci 0000:01:00.0: vgaarb: setting as boot VGA device\n\
        [    0.7] DMAR-IR: Enabled IRQ remapping in x2apic mode\n";
    let paste = read("dmesg", text);
    assert_eq!(paste.log.release, Some((1, "6.8.12-4-pve".into())));
    assert_eq!(paste.log.cmdline, Some((2, "BOOT_IMAGE=/vmlinuz root=/dev/sda quiet".into())));
    assert_eq!(at(&paste, "00:01.0").secondary, Some((1, 1)));
    assert_eq!(at(&paste, "01:00.0").boot_display.map(|(line, _)| line), Some(6));
    assert_eq!(paste.log.remapping_on.map(|(line, _)| line), Some(7));
}

fn kinds(name: &str, text: &str) -> Vec<(FileKind, Option<String>, Vec<u32>)> {
    let lines = |s: &Section| s.lines.iter().map(|(number, _)| *number).collect();
    read(name, text).sections.iter().map(|s| (s.kind, s.name.clone(), lines(s))).collect()
}

#[test]
fn files_by_command_path_and_form() {
    let text = "root@pve:~# cat /etc/modprobe.d/vfio.conf\noptions vfio-pci ids=10de:1b80\nadd_drivers+=\"x\"\n\n\
        Some words.\n# /etc/default/grub\nGRUB_CMDLINE_LINUX=\"quiet\"\nGRUB_TIMEOUT=5\n```\nand more words\n\
        GRUB_CMDLINE_LINUX_DEFAULT=\"\"\nsoftdep nouveau pre: vfio-pci\nvfio_virqfd\n\
        BOOT_IMAGE=/vmlinuz root=UUID=1 ro\nroot@pve:~# qm config 105\nbios: ovmf\nhostpci0: 01:00,pcie=1\n";
    assert_eq!(
        kinds("paste", text),
        [
            (FileKind::Modprobe, Some("/etc/modprobe.d/vfio.conf".into()), vec![2, 3]),
            (FileKind::Grub, Some("/etc/default/grub".into()), vec![7, 8]),
            (FileKind::Grub, None, vec![11]),
            (FileKind::Modprobe, None, vec![12]),
            (FileKind::Modules, None, vec![13]),
            (FileKind::RunningCmdline, None, vec![14]),
            (FileKind::ProxmoxVm, Some("105".into()), vec![16, 17]),
        ]
    );
    assert_eq!(kinds("101.conf", "balloon: 0\nhostpci0: 01:00\n"), [(FileKind::ProxmoxVm, None, vec![1, 2])]);
}

#[test]
fn xml_of_a_domain_or_a_piece() {
    let text = "hello\n<domain type='kvm'>\n <name>x</name>\n</domain>\nbye\n<hostdev mode='subsystem' type='pci'>\n</hostdev>\n";
    assert_eq!(kinds("x", text).iter().map(|k| k.2.clone()).collect::<Vec<_>>(), [vec![2, 3, 4], vec![6, 7]]);
}

#[test]
fn prose_is_no_file() {
    for text in [
        "install the driver first\n",
        "options are many\n",
        "alias of it\n",
        "name: Bob\n".replace("name", "Name").as_str(),
        "# comment\n$ 5 is the price\n",
        "blacklist is what you want, I think\n",
    ] {
        assert_eq!(kinds("paste", text), [], "{text}");
    }
}

#[test]
fn any_input_is_survived() {
    let giant = "01:00.0 ".repeat(100_000);
    let binary: String = (0u8..=255).map(char::from).collect::<String>().repeat(50);
    for text in [
        "",
        "\n\n",
        "\u{0}",
        &giant,
        &binary,
        "IOMMU Group 99999999999: x",
        "Slot:\n",
        "│",
        "[{\"iommugroup\"",
        "<domain",
    ] {
        read("x", text);
    }
}
