//! Whatever text comes, the parsers of a host's files answer: no panic, no hang.

use super::{
    cpuinfo, kconfig, libvirt_xml, modlist, mountinfo, os_release, oslo_conf, proxmox_conf, qemu_args, route, version,
};
use proptest::prelude::*;

/// Text made of the pieces that these formats are made of, and of anything else.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\PC{0,6}",
        "[0-9a-fA-F:./=,;\\[\\]{}\"'<> \t\n#\\\\-]{0,12}",
        prop::sample::select(vec![
            "hostpci0: ",
            "mapping=",
            "\tmap node=a,path=",
            "0000:01:00.0",
            "[pci]\n",
            "device_spec = ",
            "<domain>",
            "</domain>",
            "<hostdev type='pci'>",
            "<address bus='0x1' slot='",
            " - ",
            "\\040",
            "CONFIG_VFIO=y\n",
            "-device\0vfio-pci,host=",
            "flags\t: ",
            "E:ID_FS_TYPE=zfs_member\n",
            "0000000000000000FFFF0000020200C0:0016 ",
            "\0",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn on_any_text(text in text(), other in "\\PC{0,12}") {
        cpuinfo::parse(&text);
        kconfig::parse(&text);
        let _ = libvirt_xml::parse(&text);
        modlist::dep(&text);
        modlist::builtin(&text);
        modlist::loaded(&text);
        mountinfo::parse(&text);
        mountinfo::swaps(&text);
        os_release::parse(&text);
        oslo_conf::parse(&text);
        proxmox_conf::current(&text);
        proxmox_conf::host_pci(&text);
        proxmox_conf::mappings(&text);
        qemu_args::parse(&text);
        route::v4(&text);
        route::v6_defaults(&text);
        route::v6_addresses(&text);
        route::tcp(&text);
        prop_assert_eq!(version::compare(&text, &other), version::compare(&other, &text).reverse());
    }
}
