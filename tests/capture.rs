//! A capture of each constructed host answers as the host does, but for pseudonyms; and holds nothing that was planted.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;

use hosts::Entry;
use vfioneer::capture::{Options, write_capture};
use vfioneer::checks::verdict::verdict;
use vfioneer::facts::{self, Needs};
use vfioneer::goal::Goal;
use vfioneer::host::{Host, Recorded, archive};
use vfioneer::{checks, report};

/// `list --all --json` and `check --json`.
fn answers(host: &dyn Host) -> [String; 2] {
    let snap = facts::collect(host, Needs::ALL);
    let all: Vec<_> = snap.pci.functions.iter().collect();
    let findings = checks::run(&snap, &Goal::default());
    let verdict = verdict(&snap, &Goal::default(), &findings);
    [report::json::list(&snap, &all), report::json::check(verdict, &findings)]
}

/// Records a host and gives the file's bytes, unpacked, and the host that is read from it.
fn record(host: &dyn Host, exact: bool) -> (Vec<u8>, Recorded) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("host.tar.zst");
    write_capture(host, &Options { path: path.clone(), exact, force: false }).unwrap();
    let bytes = zstd::decode_all(std::fs::File::open(&path).unwrap()).unwrap();
    (bytes, archive::load(&path).unwrap())
}

/// UUIDs, MAC addresses, IP addresses, and `/dev/mapper` names made from pseudonyms differ; nothing else may.
fn without_pseudonyms(text: &str) -> String {
    let patterns = [
        r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
        r"by-uuid/[0-9A-Fa-f-]+",
        r"UUID=[0-9A-Fa-f-]+",
        r"[0-9a-f]{32}",
        r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}",
        r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
    ];
    patterns
        .iter()
        .fold(text.to_owned(), |text, pattern| regex::Regex::new(pattern).unwrap().replace_all(&text, "…").into_owned())
}

#[test]
fn every_constructed_host_answers_from_its_capture_as_it_does_itself() {
    let mut faults = String::new();
    for name in hosts::names() {
        let file = hosts::load(&name);
        let host = hosts::recorded::recorded(&name, &file, &hosts::tree(&file));
        let own = answers(&host);
        let (_, exact) = record(&host, true);
        let (_, scrubbed) = record(&host, false);
        for (how, said) in
            [("exact", answers(&exact)), ("scrubbed", answers(&scrubbed).map(|t| without_pseudonyms(&t)))]
        {
            for (own, said) in own.iter().zip(&said) {
                let own = if how == "exact" { own.clone() } else { without_pseudonyms(own) };
                for (own, said) in own.lines().zip(said.lines()).filter(|(own, said)| own != said) {
                    faults += &format!("\n{name}, {how}:\n  host    {own}\n  capture {said}");
                }
                if own.lines().count() != said.lines().count() {
                    faults += &format!("\n{name}, {how}: other findings");
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// What no capture may hold, by where it stands.
const PLANTED: &[(&str, &str, &[&str])] = &[
    (
        "/etc/nova/nova.conf",
        "[DEFAULT]\nmy_ip = 198.51.100.77\ntransport_url = rabbit://openstack:Rabb1tPw@198.51.100.78:5672/\n\
         host = chihuahua01\n[database]\nconnection = mysql+pymysql://nova:DbPassw0rd@198.51.100.79/nova\n\
         [keystone_authtoken]\npassword = Keyst0neSecret\nusername = nova\n[pci]\n\
         device_spec = {\"vendor_id\":\"10de\",\"product_id\":\"2484\"}\n",
        &["198.51.100.7", "Rabb1tPw", "chihuahua01", "DbPassw0rd", "Keyst0neSecret"],
    ),
    (
        "/etc/grub.d/40_custom",
        "#!/bin/sh\nset superusers=\"grubadmin\"\npassword_pbkdf2 grubadmin grub.pbkdf2.sha512.10000.ABCDEF0123456789ABCDEF.0011223344\n",
        &["ABCDEF0123456789ABCDEF", "0011223344"],
    ),
    (
        "/boot/grub/grub.cfg",
        "password_pbkdf2 grubadmin grub.pbkdf2.sha512.10000.FEDCBA9876543210FEDC.5566778899\n\
         menuentry 'Linux' {\n linux /vmlinuz root=UUID=deadbeef-1234-4abc-9def-0123456789ab ro quiet\n initrd /initrd.img\n}\n",
        &["FEDCBA9876543210FEDC", "5566778899", "deadbeef-1234-4abc-9def-0123456789ab"],
    ),
    ("/etc/hostname", "chihuahua01\n", &["chihuahua01"]),
    ("/proc/sys/kernel/hostname", "chihuahua01\n", &["chihuahua01"]),
    ("/etc/hosts", "198.51.100.77 chihuahua01.kennel.example chihuahua01\n", &["198.51.100.77", "kennel.example"]),
    ("/etc/machine-id", "0f1e2d3c4b5a69788796a5b4c3d2e1f0\n", &["0f1e2d3c4b5a69788796a5b4c3d2e1f0"]),
    ("/sys/class/dmi/id/product_serial", "SNPLANTED123\n", &["SNPLANTED123"]),
    ("/sys/class/dmi/id/product_uuid", "11112222-3333-4444-8555-666677778888\n", &["11112222-3333-4444"]),
    (
        "/etc/pve/qemu-server/100.conf",
        "name: secretvm\nargs: -vnc 0.0.0.0:1,password=on\ncipassword: C1Passw0rd\nciuser: waldemar\nsshkeys: ssh-ed25519%20AAAAC3PLANTEDKEY\n\
         net0: virtio=BC:24:11:AB:CD:EF,bridge=vmbr0\nsmbios1: uuid=99990000-aaaa-4bbb-8ccc-ddddeeeeffff\nhostpci0: 0000:01:00,pcie=1\n",
        &["C1Passw0rd", "waldemar", "AAAAC3PLANTEDKEY", "BC:24:11:AB:CD:EF", "99990000-aaaa"],
    ),
    (
        "/etc/libvirt/qemu/win.xml",
        "<domain type='kvm'><name>win</name><uuid>77776666-5555-4444-9333-222211110000</uuid><devices>\
         <graphics type='vnc' passwd='VncPassw0rd'/><interface type='network'><mac address='52:54:00:fe:dc:ba'/></interface>\
         </devices></domain>\n",
        &["77776666-5555", "VncPassw0rd", "52:54:00:fe:dc:ba"],
    ),
    ("/etc/shadow", "root:$6$PLANTEDHASH$x:19000:0:99999:7:::\n", &["PLANTEDHASH"]),
    ("/root/.ssh/id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\nPLANTEDPRIVATE\n", &["PLANTEDPRIVATE"]),
];

#[test]
fn nothing_that_was_planted_is_in_a_capture() {
    let (mut faults, mut seen) = (String::new(), 0);
    for name in hosts::names() {
        let file = hosts::load(&name);
        let mut tree = hosts::tree(&file);
        for (path, content, _) in PLANTED {
            // A directory or a link of the host's own at that place stays.
            if !matches!(tree.get(*path), Some(Entry::Dir | Entry::Link(_))) {
                tree.insert((*path).to_owned(), Entry::File(content.as_bytes().to_vec()));
            }
        }
        let host = hosts::recorded::recorded(&name, &file, &tree);
        let (bytes, _) = record(&host, false);
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        // That it was looked for where it would be: with names kept, it is there.
        let (exact, _) = record(&host, true);
        seen += usize::from(String::from_utf8_lossy(&exact).contains("deadbeef-1234"));
        for (path, _, secrets) in PLANTED {
            for secret in secrets.iter().filter(|secret| text.contains(&secret.to_lowercase())) {
                faults += &format!("\n{name}: {secret} of {path}");
            }
        }
    }
    assert!(seen > 0, "no exact capture holds what was planted");
    assert!(faults.is_empty(), "{faults}");
}

/// Option ROMs belong to their makers: a capture holds what was read in a VM's ROM file, and none of its bytes.
#[test]
fn the_bytes_of_no_rom_are_in_a_capture() {
    let file = hosts::load("pve8-intel-grub-x99-guide");
    let tree = hosts::tree(&file);
    let Some(Entry::File(rom)) = tree.get("/usr/share/kvm/vbios.rom") else { panic!("the host has a ROM file") };
    let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    assert!(has(rom, b"PCIR"));
    let host = hosts::recorded::recorded("x99", &file, &tree);
    for exact in [true, false] {
        let (bytes, recorded) = record(&host, exact);
        assert!(!has(&bytes, b"PCIR") && has(&bytes, b"\"images\""), "exact: {exact}");
        let said = answers(&recorded)[1].clone();
        assert!(said.contains("vm-firmware-mismatch"), "{said}");
    }
}
