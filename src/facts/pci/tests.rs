//! Functions of hosts in memory.

use super::*;
use crate::facts::Needs;
use crate::facts::kernel::Kernel;
use crate::host::{Builder, Host, Kind, Recorded, Why};

fn at(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// Configuration space of 4096 bytes: header type, ids, class, and a PCIe capability of a port type.
fn config(header: u8, ids: (u16, u16), class: u32, port: u8) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[0..2].copy_from_slice(&ids.0.to_le_bytes());
    bytes[2..4].copy_from_slice(&ids.1.to_le_bytes());
    bytes[6] = 0x10;
    bytes[8..12].copy_from_slice(&(class << 8 | 0xa1).to_le_bytes());
    bytes[0x0e] = header;
    bytes[0x34] = 0x40;
    bytes[0x40..0x44].copy_from_slice(&[0x10, 0, port << 4 | 2, 0]);
    if header == 0 {
        bytes[0x2c..0x30].copy_from_slice(&[0x43, 0x10, 0xad, 0x88]);
    }
    bytes[0x100..0x108].copy_from_slice(&[0x0d, 0, 1, 0, 0x1f, 0, 0x1d, 0]);
    bytes
}

struct Sysfs(Builder);

impl Sysfs {
    fn new() -> Self {
        Sysfs(Recorded::builder())
    }

    /// Adds a function below `/sys/devices/` and its link; returns its directory.
    fn add(&mut self, path: &str) -> String {
        let name = path.rsplit('/').next().unwrap();
        let dir = format!("/sys/devices/{path}");
        self.0.add_dir(&dir);
        self.0.add_link(&format!("/sys/bus/pci/devices/{name}"), &format!("../../../devices/{path}"));
        dir
    }

    fn gpu(&mut self) -> String {
        let port = self.add("pci0000:00/0000:00:01.0");
        self.0.add_file(&format!("{port}/config"), config(1, (0x8086, 0x4c01), 0x060400, 4));
        let dir = self.add("pci0000:00/0000:00:01.0/0000:01:00.0");
        self.0
            .add_file(&format!("{dir}/config"), config(0, (0x10de, 0x2684), 0x030000, 1))
            .add_link(&format!("{dir}/driver"), "../../../../bus/pci/drivers/nouveau")
            .add_link(&format!("{dir}/iommu_group"), "../../../../kernel/iommu_groups/14")
            .add_link(&format!("{dir}/consumer:pci:0000:01:00.1"), "../../../virtual/devlink/x")
            .add_values(
                &dir,
                &[
                    ("numa_node", "-1"),
                    ("reset_method", "flr bus"),
                    ("boot_vga", "1"),
                    ("power_state", "D0"),
                    ("d3cold_allowed", "1"),
                    ("driver_override", "(null)"),
                    ("max_link_speed", "16.0 GT/s PCIe"),
                    ("max_link_width", "16"),
                    ("current_link_speed", "2.5 GT/s PCIe"),
                    ("current_link_width", "8"),
                    ("resource1_resize", "00000000000fffc0"),
                    ("resource", "0xfa000000 0xfaffffff 0x40200\n0x0 0x0 0x0"),
                ],
            );
        dir
    }

    fn collect(&mut self, needs: Needs) -> Pci {
        collect(&self.0.build(), needs)
    }
}

#[test]
fn list_of_a_gpu_behind_a_port() {
    let mut sysfs = Sysfs::new();
    sysfs.gpu();
    sysfs.0.add_dir("/sys/bus/pci/devices/stray").add_dir("/sys/bus/pci/devices/01:00.0");
    let pci = sysfs.collect(Needs::LIST);
    assert_eq!(pci.missing, None);
    assert_eq!(pci.functions.len(), 2, "names that are no full address are skipped");
    let gpu = pci.get(&at("01:00.0")).unwrap();
    assert_eq!(gpu.ids, Fact::Known(Ids { vendor: 0x10de, device: 0x2684 }));
    assert_eq!(gpu.subsystem, Fact::Known(Ids { vendor: 0x1043, device: 0x88ad }));
    assert_eq!((&gpu.class, &gpu.revision), (&Fact::Known(0x030000), &Fact::Known(0xa1)));
    assert_eq!(gpu.header, Fact::Known(Header::Endpoint));
    assert_eq!(gpu.name(), "NVIDIA Corporation AD102 [GeForce RTX 4090]");
    assert_eq!(gpu.class_name.as_deref(), Some("VGA compatible controller"));
    assert_eq!(gpu.driver, Fact::Known("nouveau".into()));
    assert_eq!(gpu.group, Fact::Known(14));
    assert_eq!(gpu.numa_node, Fact::Absent);
    assert_eq!(gpu.parent, Fact::Known(at("00:01.0")));
    assert_eq!(gpu.reset_methods, Fact::Known(vec!["flr".into(), "bus".into()]));
    assert_eq!(gpu.boot_display, Fact::Known(true));
    assert_eq!(gpu.dead, Fact::Known(false));
    assert_eq!(gpu.acs, Fact::Unknown(Why::NotRead), "list asks for no details");
    let port = pci.get(&at("00:01.0")).unwrap();
    assert_eq!((&port.driver, &port.group, &port.parent), (&Fact::Absent, &Fact::Absent, &Fact::Absent));
    assert_eq!(
        (&port.subsystem, &port.reset_methods, &port.boot_display),
        (&Fact::Absent, &Fact::Absent, &Fact::Absent)
    );
}

#[test]
fn details_of_a_gpu() {
    let mut sysfs = Sysfs::new();
    sysfs.gpu();
    let pci = sysfs.collect(Needs::ALL);
    let gpu = pci.get(&at("01:00.0")).unwrap();
    assert_eq!(gpu.port_type, Fact::Known(PortType::LegacyEndpoint));
    assert_eq!(gpu.acs, Fact::Known(Acs { capable: 0x1f, enabled: 0x1d }));
    assert_eq!((&gpu.flr, &gpu.serial, &gpu.sriov), (&Fact::Known(false), &Fact::Absent, &Fact::Absent));
    assert_eq!(gpu.resizable, Fact::Known(vec![Resizable { index: 1, sizes: 0xfffc0 }]));
    assert_eq!(gpu.link.known().map(|link| (link.width, link.max_width)), Some((8, 16)));
    assert_eq!(gpu.bars.known().map(Vec::len), Some(1));
    assert_eq!((&gpu.rom_size, &gpu.driver_override), (&Fact::Absent, &Fact::Absent));
    assert_eq!(gpu.linked, Fact::Known(vec![at("01:00.1")]));
    assert_eq!((&gpu.mdevs, &gpu.physical), (&Fact::Known(vec![]), &Fact::Absent));
    assert_eq!((gpu.power_state.known().map(String::as_str), &gpu.d3cold_allowed), (Some("D0"), &Fact::Known(true)));
    assert_eq!(pci.get(&at("00:01.0")).unwrap().port_type, Fact::Known(PortType::RootPort));
}

#[test]
fn without_root_capabilities_are_unknown_and_not_absent() {
    let mut sysfs = Sysfs::new();
    let dir = sysfs.gpu();
    let mut short = config(0, (0x10de, 0x2684), 0x030000, 1);
    short.truncate(64);
    sysfs.0.add_file(&format!("{dir}/config"), short);
    let pci = sysfs.collect(Needs::ALL);
    let gpu = pci.get(&at("01:00.0")).unwrap();
    assert_eq!(gpu.ids, Fact::Known(Ids { vendor: 0x10de, device: 0x2684 }));
    for why in [gpu.acs.why(), gpu.port_type.why(), gpu.flr.why(), gpu.serial.why()] {
        assert_eq!(why, Some(&Why::NotPermitted));
    }
}

#[test]
fn without_root_a_ports_service_tells_its_type() {
    let mut sysfs = Sysfs::new();
    for (path, service) in [("pci0000:00/0000:00:1c.0", "pcie001"), ("pci0000:00/0000:00:1c.0/0000:02:00.0", "pcie208")]
    {
        let dir = sysfs.add(path);
        let mut bytes = config(1, (0x8086, 0x4c01), 0x060400, 4);
        bytes.truncate(64);
        sysfs.0.add_file(&format!("{dir}/config"), bytes);
        sysfs.0.add_link(&format!("/sys/bus/pci_express/devices/{}:{service}", &path[path.len() - 12..]), "../x");
    }
    sysfs.0.add_link("/sys/bus/pci_express/devices/0000:00:1c.0:pciezzz", "../x");
    let types: Vec<_> = sysfs.collect(Needs::ALL).functions.into_iter().map(|f| f.port_type).collect();
    assert_eq!(types, [Fact::Known(PortType::RootPort), Fact::Known(PortType::Downstream)]);
}

#[test]
fn attributes_tell_what_config_space_does_not() {
    let values = [("vendor", "0x10de"), ("device", "0x2684"), ("class", "0x030000"), ("revision", "0xa1")];
    let sub = [("subsystem_vendor", "0x1043"), ("subsystem_device", "0x88ad")];
    for (content, dead) in [
        (Some(vec![0xff; 64]), Fact::Known(true)),
        (Some(vec![0xff; 4096]), Fact::Known(true)),
        (Some(vec![]), Fact::Unknown(Why::Malformed("config space of 0 bytes".into()))),
        (None, Fact::Unknown(Why::Io("no config".into()))),
    ] {
        let mut sysfs = Sysfs::new();
        let dir = sysfs.add("pci0000:00/0000:00:02.0");
        sysfs.0.add_values(&dir, &values).add_values(&dir, &sub);
        if let Some(content) = &content {
            sysfs.0.add_file(&format!("{dir}/config"), content);
        }
        let pci = sysfs.collect(Needs::ALL);
        let gpu = &pci.functions[0];
        assert_eq!(gpu.ids, Fact::Known(Ids { vendor: 0x10de, device: 0x2684 }), "{content:?}");
        assert_eq!(gpu.subsystem, Fact::Known(Ids { vendor: 0x1043, device: 0x88ad }));
        assert_eq!((&gpu.class, &gpu.revision), (&Fact::Known(0x030000), &Fact::Known(0xa1)));
        assert_eq!(gpu.dead, dead);
        assert!(gpu.header.is_unknown() && gpu.acs.is_unknown() && !gpu.is_bridge());
    }
}

#[test]
fn a_virtual_function_has_its_ids_from_sysfs() {
    let mut sysfs = Sysfs::new();
    let dir = sysfs.add("pci0000:00/0000:00:01.0/0000:01:10.0");
    sysfs
        .0
        .add_file(&format!("{dir}/config"), config(0, (0xffff, 0xffff), 0x020000, 0))
        .add_values(&dir, &[("vendor", "0x8086"), ("device", "0x154c")])
        .add_link(&format!("{dir}/physfn"), "../0000:01:00.0");
    let pci = sysfs.collect(Needs::ALL);
    assert_eq!(pci.functions[0].ids, Fact::Known(Ids { vendor: 0x8086, device: 0x154c }));
    assert_eq!(pci.functions[0].physical, Fact::Known(at("01:00.0")));
    assert_eq!(pci.functions[0].dead, Fact::Known(false));
}

#[test]
fn resets_of_older_and_newer_kernels() {
    type Case<'a> = (&'a [(&'a str, &'a str)], Fact<bool>, bool, bool);
    let cases: [Case<'_>; 4] = [
        (&[("reset_method", "")], Fact::Known(false), true, false),
        (&[("reset", "")], Fact::Known(true), false, true),
        (&[], Fact::Known(false), true, false),
        (&[("reset_method", "pm"), ("reset", "")], Fact::Known(true), false, false),
    ];
    for (values, resettable, absent, unknown) in cases {
        for needs in [Needs::LIST, Needs::ALL] {
            let mut sysfs = Sysfs::new();
            let dir = sysfs.add("pci0000:00/0000:00:02.0");
            sysfs.0.add_values(&dir, values);
            let pci = sysfs.collect(needs);
            let function = &pci.functions[0];
            assert_eq!(function.resettable, resettable, "{values:?}");
            assert_eq!(function.reset_methods.is_absent(), absent, "{values:?}");
            assert_eq!(function.reset_methods.is_unknown(), unknown, "{values:?}");
        }
    }
}

#[test]
fn vmd_functions_are_below_the_vmd_controller() {
    let mut sysfs = Sysfs::new();
    sysfs.add("pci0000:00/0000:00:0e.0");
    sysfs.add("pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0");
    sysfs.add("pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0");
    let pci = sysfs.collect(Needs::LIST);
    let path: Vec<String> = pci.path_up(&at("10000:e1:00.0")).iter().map(|f| f.address.to_string()).collect();
    assert_eq!(path, ["10000:e0:06.0", "0000:00:0e.0"]);
}

#[test]
fn malformed_values_are_unknown() {
    let mut sysfs = Sysfs::new();
    let dir = sysfs.add("pci0000:00/0000:00:02.0");
    sysfs
        .0
        .add_values(
            &dir,
            &[
                ("vendor", "zz"),
                ("device", "0x12345"),
                ("class", ""),
                ("numa_node", "x"),
                ("resource", "0x1"),
                ("d3cold_allowed", "maybe"),
                ("sriov_totalvfs", "-1"),
            ],
        )
        .add_file(&format!("{dir}/power_state"), [0xff, 0xfe])
        .add_link(&format!("{dir}/iommu_group"), "../../x");
    let pci = sysfs.collect(Needs::ALL);
    let function = &pci.functions[0];
    assert!(function.ids.is_unknown() && function.class.is_unknown() && function.numa_node.is_unknown());
    assert!(function.bars.is_unknown() && function.rom_size.is_unknown() && function.sriov.is_unknown());
    assert!(function.d3cold_allowed.is_unknown() && function.group.is_unknown());
    assert_eq!(function.name(), "0000:00:02.0");
}

#[test]
fn sriov_and_mediated_devices() {
    let mut sysfs = Sysfs::new();
    let dir = sysfs.add("pci0000:00/0000:00:02.0");
    sysfs
        .0
        .add_values(&dir, &[("sriov_totalvfs", "7"), ("sriov_numvfs", "2"), ("sriov_drivers_autoprobe", "1")])
        .add_dir(&format!("{dir}/4b20d080-1b54-4048-85b3-a6a62d165c01"));
    let pci = sysfs.collect(Needs::ALL);
    let function = &pci.functions[0];
    assert_eq!(function.sriov, Fact::Known(Sriov { total: 7, active: 2, autoprobe: Some(true) }));
    assert_eq!(function.mdevs.known().map(Vec::len), Some(1));
}

#[test]
fn a_host_without_sysfs_says_so() {
    let pci = Sysfs::new().collect(Needs::ALL);
    assert!(pci.functions.is_empty());
    assert_eq!(pci.missing, Some(Why::Io("no /sys/bus/pci".into())));
    let mut empty = Sysfs::new();
    empty.0.add_dir("/sys/bus/pci/devices");
    assert_eq!(empty.collect(Needs::ALL).missing, None);
}

/// Two displays, of which the second has the given attributes and messages.
fn two_displays(change: impl Fn(&mut Builder, &str)) -> Vec<(Fact<bool>, Option<String>)> {
    let mut sysfs = Sysfs::new();
    for path in ["pci0000:00/0000:00:02.0", "pci0000:00/0000:00:01.0/0000:01:00.0"] {
        let dir = sysfs.add(path);
        sysfs.0.add_file(&format!("{dir}/config"), config(0, (0x10de, 0x2684), 0x038000, 0));
        if path.ends_with("01:00.0") {
            change(&mut sysfs.0, &dir);
        }
    }
    let functions = sysfs.collect(Needs::LIST).functions;
    functions.into_iter().map(|f| (f.boot_display, f.boot_display_evidence.map(|e| e.source))).collect()
}

#[test]
fn the_boot_display_by_each_kind_of_evidence() {
    let found = two_displays(|_, _| {});
    assert!(found.iter().all(|(fact, _)| fact.is_unknown()), "nothing says so");

    let found = two_displays(|host, dir| {
        host.add_values(dir, &[("boot_vga", "0")]);
    });
    assert!(found[0].0.is_unknown());
    assert_eq!(found[1].0, Fact::Known(false));

    let found = two_displays(|host, dir| {
        host.add_values(dir, &[("boot_vga", "0"), ("drm/card1/boot_display", "1")]);
        host.add_link("/sys/class/drm/card1", &format!("../..{}/drm/card1", &dir[4..]));
        host.add_values("/sys/devices/pci0000:00/0000:00:02.0", &[("boot_vga", "1")]);
    });
    assert_eq!(found[0].0, Fact::Known(false), "boot_display goes before boot_vga");
    assert_eq!(found[1], (Fact::Known(true), Some("/sys/class/drm/card1/boot_display".into())));

    let found = two_displays(|host, _| {
        host.add_file("/proc/iomem", "0-0 : PCI Bus 0000:01\n  0-0 : 0000:01:00.0\n    0-0 : BOOTFB\n");
    });
    assert_eq!((&found[0].0, &found[1].0), (&Fact::Known(false), &Fact::Known(true)));
    assert_eq!(found[1].1.as_deref(), Some("/proc/iomem"));
}

#[test]
fn candidates_come_from_the_running_kernel() {
    let mut sysfs = Sysfs::new();
    sysfs.gpu();
    sysfs.0.add_file(
        "/usr/lib/modules/6.12.9/modules.alias",
        "alias pci:v000010DEd*sv*sd*bc03sc00i00* nouveau\nalias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n",
    );
    sysfs.0.add_file("/usr/lib/modules/6.12.9/modules.builtin.modinfo", b"p.alias=pci:v*d*sv*sd*bc06sc04i00*\0");
    let host = sysfs.0.build();
    let mut pci = collect(&host, Needs::LIST);
    let kernel = Kernel { release: Fact::Known("6.12.9".into()), ..Kernel::default() };
    add_candidates(&host, &kernel, &mut pci);
    let gpu = pci.get(&at("01:00.0")).unwrap();
    assert_eq!(gpu.candidates, Fact::Known(vec!["nouveau".into()]));
    assert_eq!(gpu.vfio_variants, Fact::Known(vec!["vfio_pci".into()]));
    assert_eq!(pci.get(&at("00:01.0")).unwrap().candidates, Fact::Known(vec!["p".into()]));

    let other = Kernel { release: Fact::Known("6.1.0".into()), ..Kernel::default() };
    add_candidates(&host, &other, &mut pci);
    assert!(pci.functions.iter().all(|function| function.candidates.is_unknown()));
}

#[test]
fn the_newest_names_win() {
    for (version, expected) in [("2022.01.01", "AD102 [GeForce RTX 4090]"), ("2099.01.01", "A Card")] {
        let mut sysfs = Sysfs::new();
        sysfs.gpu();
        let text = format!("#\tVersion: {version}\n10de  Maker\n\t2684  A Card\n");
        sysfs.0.add_file("/usr/share/misc/pci.ids", text).kind(Kind::Live);
        let host = sysfs.0.build();
        assert_eq!(host.kind(), Kind::Live);
        let pci = collect(&host, Needs::LIST);
        assert_eq!(pci.get(&at("01:00.0")).unwrap().device_name.as_deref(), Some(expected));
    }
}
