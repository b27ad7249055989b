use super::rules::{self, Keep};
use super::*;

fn scrubber() -> Scrubber {
    Scrubber::new([7; 32], false)
}

/// What a file of the host becomes.
fn file(scrubber: &mut Scrubber, path: &str, content: &str) -> String {
    let (rule, keys) = rules::rule(path).unwrap_or_else(|| panic!("no row for {path}"));
    scrubber.learn_file(rule, content.as_bytes());
    scrubber.ready();
    String::from_utf8(scrubber.file(rule, keys, content.as_bytes()).unwrap()).unwrap()
}

#[test]
fn the_table_is_sound() {
    rules::check().unwrap();
}

#[test]
fn rows_are_found_by_path() {
    for (path, keep) in [
        ("/sys/devices/pci0000:00/0000:00:02.0/config", Some(Keep::PciConfig)),
        ("/sys/devices/pci0000:00/0000:00:02.0/vendor", Some(Keep::Text)),
        ("/sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/serial", Some(Keep::Serial)),
        ("/sys/devices/virtual/dmi/id/product_serial", Some(Keep::Skip)),
        ("/sys/devices/virtual/dmi/id/bios_version", Some(Keep::Whole)),
        ("/sys/firmware/acpi/tables/DMAR", Some(Keep::Whole)),
        ("/sys/firmware/acpi/tables/MSDM", Some(Keep::Skip)),
        ("/proc/cmdline", Some(Keep::Text)),
        ("/proc/1/environ", Some(Keep::Environ)),
        ("/proc/self/mountinfo", Some(Keep::Text)),
        ("/proc/net/tcp", Some(Keep::Net)),
        ("/etc/default/grub", Some(Keep::Text)),
        ("/etc/default/grub.d/vfio.cfg", Some(Keep::Text)),
        ("/etc/modprobe.d/vfio.conf", Some(Keep::Text)),
        ("/usr/lib/modprobe.d/nvidia.conf", Some(Keep::Text)),
        ("/usr/lib/modules/6.8.12-4-pve/modules.builtin", Some(Keep::Whole)),
        ("/boot/loader/entries/arch.conf", Some(Keep::Text)),
        ("/boot/efi/EFI/rocky/grub.cfg", Some(Keep::Text)),
        ("/boot/grub/grub.cfg", Some(Keep::Text)),
        ("/boot/config-6.8.12-4-pve", Some(Keep::Whole)),
        ("/etc/pve/nodes/pve/qemu-server/105.conf", Some(Keep::Keys)),
        ("/etc/pve/qemu-server/105.conf", Some(Keep::Keys)),
        ("/etc/libvirt/qemu/win11.xml", Some(Keep::Xml)),
        ("/run/libvirt/qemu/win11.xml", Some(Keep::Xml)),
        ("/etc/nova/nova.conf", Some(Keep::Keys)),
        ("/etc/kolla/nova-compute/nova.conf", Some(Keep::Keys)),
        ("/etc/shadow", Some(Keep::Skip)),
        ("/etc/ssh/ssh_host_ed25519_key", Some(Keep::Skip)),
        ("/root/.ssh/id_ed25519", Some(Keep::Skip)),
        ("/etc/pve/priv/authkey.key", Some(Keep::Skip)),
        ("/etc/cloud/cloud.cfg", None),
        ("/var/lib/cloud/instance/user-data.txt", None),
        ("/etc/kolla/passwords.yml", None),
        ("/home/anna/notes.txt", None),
        ("/etc/libvirt/secrets/base64", None),
    ] {
        assert_eq!(rules::rule(path).map(|(rule, _)| rule.keep), keep, "{path}");
    }
}

#[test]
fn equal_stays_equal_and_shape_is_kept() {
    let mut s = scrubber();
    let text =
        "root=UUID=1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed mac=3c:7c:3f:1e:aa:01 ip=203.0.113.7 fe80::3e7c:3fff:fe1e:aa01";
    let new = s.text(text);
    assert_eq!(new, s.text(text));
    for gone in ["1b9d6bcd", "3c:7c", "203.0.113.7", "3e7c:3fff"] {
        assert!(!new.contains(gone), "{new}");
    }
    assert!(new.contains("mac=02:") && new.contains("ip=10.") && new.contains(" fe80::"), "{new}");
    assert_ne!(new, Scrubber::new([8; 32], false).text(text));
    // Case and dashes do not matter for what is the same.
    let (a, b) = (s.text("1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"), s.text("1B9D6BCD-BBFD-4B2D-9B5D-AB8DFBBD4BED"));
    assert_eq!(a.to_uppercase(), b);
    assert_eq!(s.text("1b9d6bcdbbfd4b2d9b5dab8dfbbd4bed"), a.replace('-', ""));
    assert_eq!(s.text("3C:7C:3F:1E:AA:01").to_lowercase(), s.text("3c:7c:3f:1e:aa:01"));
    assert_eq!(s.text("enx3c7c3f1eaa01").trim_start_matches("enx"), s.text("3c:7c:3f:1e:aa:01").replace(':', ""));
    assert_eq!(s.counts().get(&Kind::Mac), Some(&1));
}

#[test]
fn what_identifies_nobody_stays() {
    let mut s = scrubber();
    for text in [
        "0000:01:00.0 10de:2684 [10de:2684] 10000:e1:00.5 pci 0000:00:01.0: [8086:1901] type 01 class 0x060400",
        "0.0.0.0 127.0.0.1 255.255.255.0 ::1 :: ff02::1 00:00:00:00:00:00 ff:ff:ff:ff:ff:ff",
        "8be4df61-93ca-11d2-aa0d-00e098032b8c 4a67b082-0a4c-41cf-b6c7-440b29bb8c4f c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
        "Linux version 6.8.12-4-pve (gcc (Debian 12.2.0-14) 12.2.0, GNU ld 2.40) #1 SMP PREEMPT_DYNAMIC PMX 6.8.12-4",
        "4.18.0-553.8.1.el8_10.x86_64 1.2.3.4-1 v10.1.2.3 5.4.0.1ubuntu",
        "[    0.123456] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable",
        "2025-01-31T12:34:56 12:34:56 std::vec::Vec a::b",
        "options vfio-pci ids=10de:2684,10de:22ba disable_vga=1",
        "00000000-0000-0000-0000-000000000000",
    ] {
        assert_eq!(s.text(text), text);
    }
    assert!(s.counts().is_empty());
}

#[test]
fn what_is_learned_is_replaced_everywhere() {
    let mut s = scrubber();
    s.learn_text("UUID=1A2B-3C4D /boot/efi vfat\nUUID=0123456789ABCDEF /data ntfs\nPARTUUID=deadbeef-01 / ext4\n");
    s.learn_text("/dev/disk/by-id/nvme-Samsung_SSD_980_PRO_1TB_S5GXNX0R123456\n");
    s.learn_text("systemd[1]: Hostname set to <zaphod>.\n");
    s.learn(Kind::Host, "zaphod");
    s.ready();
    let new = s.text("/dev/disk/by-uuid/1A2B-3C4D deadbeef-01 0123456789ABCDEF zaphod zaphods");
    assert!(!new.contains("1A2B") && !new.contains("deadbeef") && !new.contains("0123456789"), "{new}");
    assert!(new.contains(" host-") && new.ends_with(" zaphods"), "{new}");
    let name = s.name("/dev/disk/by-id/nvme-Samsung_SSD_980_PRO_1TB_S5GXNX0R123456-part1");
    assert!(name.starts_with("/dev/disk/by-id/nvme-Samsung_SSD_980_PRO_1TB_") && name.ends_with("-part1"), "{name}");
    assert!(!name.contains("S5GXNX0R123456"), "{name}");
    let serial = s.text("S5GXNX0R123456");
    assert!(name.contains(&serial), "{name} {serial}");
    assert_eq!(s.name("/home/anna/rom.bin"), s.text("/home/anna/rom.bin"));
    assert!(!s.name("/home/anna/rom.bin").contains("anna"));
}

#[test]
fn secrets_are_removed_from_any_text() {
    for text in [
        "password_pbkdf2 root grub.pbkdf2.sha512.10000.HUSH.HUSH",
        "set superusers=\"HUSH\"",
        "quiet rd.luks.key=HUSH splash",
        "rd.iscsi.password=HUSH rd.iscsi.in.password=HUSH",
        "systemd.set_credential=passwd.hashed-password.root:HUSH ro",
        "netroot=iscsi:user:HUSH@10.0.0.1::::iqn",
        "connection = mysql+pymysql://nova:HUSH@db/nova",
        "transport_url = rabbit://openstack:HUSH@10.0.0.1:5672//",
        "admin_password = HUSH",
        "password = \"HUSH HUSH\"",
        "<graphics type='vnc' port='-1' passwd='HUSH'/>",
        "<secret type='passphrase' uuid='x'>HUSH</secret>",
        "-vnc :1,password=HUSH -object secret,id=sec0,data=HUSH,format=raw",
        "<qemu:arg value='secret,id=s,data=HUSH'/>",
        "cipassword: HUSH",
        "sshkeys: ssh-ed25519%20HUSH",
        "api_key=HUSH",
        "MY_SECRET='HUSH'",
        "https://user:HUSH@example.org/x",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nHUSH\nHUSH\n-----END OPENSSH PRIVATE KEY-----",
    ] {
        for exact in [false, true] {
            let mut s = Scrubber::new([1; 32], exact);
            let new = s.text(text);
            assert!(!new.contains("HUSH"), "{text} -> {new}");
            assert!(s.secrets_removed() > 0);
            assert_eq!(new.matches('\n').count(), text.matches('\n').count());
        }
    }
    // And nothing else.
    for text in
        ["GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"", "passthrough=1 iommu.passthrough=0", "options nvidia NVreg_X=1"]
    {
        assert_eq!(scrubber().text(text), text);
    }
}

#[test]
fn only_listed_keys_are_left_and_lines_keep_their_numbers() {
    let mut s = scrubber();
    let nova = "[DEFAULT]\nmy_ip = 10.20.30.40\ntransport_url = rabbit://HUSH\n# HUSH\n\n[pci]\ndevice_spec = { \"vendor_id\": \"10de\" }\n  , more\nalias = { \"name\": \"a1\" }\n[database]\nconnection = HUSH\n  HUSH\n[neutron]\npassword = HUSH\n";
    let new = file(&mut s, "/etc/nova/nova.conf", nova);
    assert!(!new.contains("HUSH") && !new.contains("10.20.30.40"), "{new}");
    assert_eq!(new.lines().nth(6), Some("device_spec = { \"vendor_id\": \"10de\" }"));
    assert_eq!(new.lines().nth(7), Some("  , more"));
    assert_eq!(new.lines().count(), nova.lines().count());
    let vm = "#notes: HUSH\nhostpci0: 0000:01:00,pcie=1\nname: win11\nciuser: HUSH\ncipassword: HUSH\nnet0: virtio=BC:24:11:AA:BB:CC,bridge=vmbr0\nipconfig0: ip=10.1.1.1/24\n\n[snap]\nhostpci1: mapping=gpu\n";
    let new = file(&mut s, "/etc/pve/qemu-server/105.conf", vm);
    assert!(!new.contains("HUSH") && !new.contains("BC:24:11") && !new.contains("10.1.1.1"), "{new}");
    assert!(new.contains("hostpci0: 0000:01:00,pcie=1") && new.contains("[snap]\nhostpci1: mapping=gpu"), "{new}");
    let udev = "S:disk/by-uuid/1A2B-3C4D\nE:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=rpool\nE:ID_SOMETHING=HUSH\nI:123\n";
    let new = file(&mut s, "/run/udev/data/b8:3", udev);
    assert!(new.contains("E:ID_FS_TYPE=zfs_member\nE:ID_FS_LABEL=rpool\n#\n#\n"), "{new}");
    assert_eq!(file(&mut s, "/proc/1/environ", "A=HUSH\0container=lxc\0B=HUSH"), "container=lxc");
}

#[test]
fn domains_keep_hardware_and_lose_people() {
    let xml = "<domain>\n<title>HUSH</title>\n<metadata>\n <nova:owner>HUSH</nova:owner>\n</metadata>\n<uuid>1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed</uuid>\n<hostdev mode='subsystem'><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></hostdev>\n<mac address='52:54:00:aa:bb:cc'/>\n<graphics passwd='HUSH'/></domain>";
    let new = file(&mut scrubber(), "/etc/libvirt/qemu/a.xml", xml);
    assert!(!new.contains("HUSH") && !new.contains("1b9d6bcd") && !new.contains("52:54:00"), "{new}");
    assert!(new.contains("<address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>"));
    assert_eq!(new.lines().count(), xml.lines().count());
    let qemu =
        "qemu\0-device\0vfio-pci,host=0000:01:00.0\0-uuid\x001b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed\0--password\0HUSH\0";
    let new = file(&mut scrubber(), "/proc/4711/cmdline", qemu);
    assert!(!new.contains("HUSH") && !new.contains("1b9d6bcd") && new.ends_with("REMOVED\0"), "{new:?}");
    assert_eq!(new.split('\0').count(), qemu.split('\0').count());
}

#[test]
fn the_serial_number_in_config_space_is_replaced() {
    let mut config = vec![0u8; 4096];
    config[0x100..0x104].copy_from_slice(&(0x1501_0001u32).to_le_bytes());
    config[0x150..0x154].copy_from_slice(&(0x0001_0003u32 | 0x200 << 20).to_le_bytes());
    config[0x154..0x15c].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    config[0x200..0x204].copy_from_slice(&(0x0001_0003u32).to_le_bytes());
    let mut s = scrubber();
    let (rule, keys) = rules::rule("/sys/devices/pci0000:00/0000:00:02.0/config").unwrap();
    let new = s.file(rule, keys, &config).unwrap();
    assert_ne!(new[0x154..0x15c], config[0x154..0x15c]);
    assert_eq!((&new[..0x154], &new[0x15c..]), (&config[..0x154], &config[0x15c..]));
    assert_eq!(s.file(rule, keys, &config).unwrap(), new);
    for odd in [vec![], vec![0xff; 4096], vec![0; 64], vec![3; 0x102], config[..0x158].to_vec()] {
        assert_eq!(s.file(rule, keys, &odd).unwrap(), odd);
    }
    // A list that turns in a circle.
    config[0x150..0x154].copy_from_slice(&(0x0001_0003u32 | 0x150 << 20).to_le_bytes());
    assert_eq!(s.file(rule, keys, &config).unwrap().len(), 4096);
}

#[test]
fn device_paths_lose_their_ids() {
    let mut entry = vec![7, 0, 0, 0, 1, 0, 0, 0, 46, 0];
    entry.extend("debian".encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
    entry.extend([4, 1, 42, 0]);
    entry.extend([1; 20]);
    entry
        .extend([0xcd, 0x6b, 0x9d, 0x1b, 0xfd, 0xbb, 0x2d, 0x4b, 0x9b, 0x5d, 0xab, 0x8d, 0xfb, 0xbd, 0x4b, 0xed, 2, 2]);
    entry.extend([0x7f, 0xff, 4, 0]);
    entry.extend("root=PARTUUID=1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed".encode_utf16().flat_map(u16::to_le_bytes));
    let mut s = scrubber();
    let (rule, keys) = rules::rule("/sys/firmware/efi/efivars/Boot0001-8be4df61-93ca-11d2-aa0d-00e098032b8c").unwrap();
    let new = s.file(rule, keys, &entry).unwrap();
    assert_eq!(new.len(), entry.len());
    let text = s.text("1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed");
    let tail: Vec<u8> = format!("root=PARTUUID={text}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(new.ends_with(&tail));
    let bits: Vec<u8> =
        (0..16).map(|i| u8::from_str_radix(&text.replace('-', "")[2 * i..2 * i + 2], 16).unwrap()).collect();
    assert_eq!(new[48..52], [bits[3], bits[2], bits[1], bits[0]]);
    assert_eq!(new[56..64], bits[8..]);
    for cut in 0..entry.len() {
        let _ = s.file(rule, keys, &entry[..cut]);
    }
    let mut text = vec![6, 0, 0, 0];
    text.extend("systemd-boot 255.4\0".encode_utf16().flat_map(u16::to_le_bytes));
    assert_eq!(s.file(rule, keys, &text).unwrap(), text);
    assert_eq!(s.file(rule, keys, &[6, 0, 0, 0, 1]).unwrap(), [6, 0, 0, 0, 1]);
}

#[test]
fn addresses_stay_in_their_networks() {
    let mut s = scrubber();
    let route = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\nvmbr0\t00000000\t0114A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\nvmbr0\t0014A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    let tcp = "  sl  local_address rem_address   st\n   0: 2A14A8C0:0016 3B0200CB:D431 01 00000000:00000000\n   1: 0100007F:0016 00000000:0000 0A\n";
    let (route, tcp) = (file(&mut s, "/proc/net/route", route), file(&mut s, "/proc/net/tcp", tcp));
    let word = |text: &str, line: usize, word: usize| {
        let word = text.lines().nth(line).unwrap().split_whitespace().nth(word).unwrap().to_owned();
        u32::from_str_radix(word.split(':').next().unwrap(), 16).unwrap()
    };
    assert_eq!(word(&route, 1, 1), 0);
    assert_ne!(word(&route, 1, 2), 0x0114_a8c0);
    let network = word(&route, 2, 1);
    assert_ne!(network, 0x0014_a8c0);
    assert_eq!(word(&tcp, 1, 1) & 0x00ff_ffff, network);
    assert_eq!(word(&tcp, 2, 1), 0x0100_007f);
    assert!(tcp.contains(":0016 ") && tcp.contains(":D431 01 00000000:00000000"), "{tcp}");
    let six =
        "fe8000000000000032aacefffe112233 02 40 20 80     eth0\n20010db8000000000000000000000001 03 40 00 80 eth1\n";
    let new = file(&mut s, "/proc/net/if_inet6", six);
    assert!(
        new.starts_with("fe80000000000000") && !new.contains("32aacefffe112233") && new.ends_with(" eth1\n"),
        "{new}"
    );
    let sockets = "   0: B80D0120000000000000000001000000:0016 00000000000000000000000000000000:0000 0A\n";
    let tcp6 = file(&mut s, "/proc/net/tcp6", sockets);
    let own = new.lines().nth(1).unwrap().split(' ').next().unwrap();
    let as_words: String = own
        .as_bytes()
        .chunks(8)
        .map(|w| {
            let w = u32::from_str_radix(std::str::from_utf8(w).unwrap(), 16).unwrap();
            format!("{:08X}", w.swap_bytes())
        })
        .collect();
    assert!(tcp6.contains(&format!("{as_words}:0016")), "{tcp6} {own}");
}

#[test]
fn exact_keeps_names_and_still_no_secrets() {
    let mut s = Scrubber::new([1; 32], true);
    s.learn(Kind::Host, "zaphod");
    s.ready();
    let text = "zaphod 3c:7c:3f:1e:aa:01 1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed 203.0.113.7 password=HUSH";
    assert_eq!(s.text(text), text.replace("HUSH", "REMOVED"));
    assert_eq!(s.name("/home/anna"), "/home/anna");
    assert!(s.counts().is_empty());
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(24))]
    #[test]
    fn any_text_is_survived(text in "\\PC*", path in "\\PC*") {
        let mut s = scrubber();
        s.learn_text(&text);
        s.ready();
        let new = s.text(&text);
        proptest::prop_assert_eq!(new.matches('\n').count(), text.matches('\n').count());
        let _ = s.name(&path);
        for path in ["/proc/net/tcp", "/etc/nova/nova.conf", "/proc/1/cmdline", "/etc/libvirt/qemu/a.xml", "/sys/firmware/efi/efivars/x"] {
            let (rule, keys) = rules::rule(path).unwrap();
            let _ = s.file(rule, keys, text.as_bytes());
        }
    }
}
