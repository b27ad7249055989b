use super::nova::rules;
use super::{Asked, HypervisorKind, Vm, collect, libvirt, proxmox};
use crate::facts::pci::{Function, Ids, Seen};
use crate::host::{Builder, Fact, Recorded};
use crate::parse::address::Address;
use crate::parse::rom::{LARGEST, roms};

fn at(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn function(address: &str, vendor: u16, device: u16) -> Function {
    Function { ids: Fact::Known(Ids { vendor, device }), ..Function::unknown(at(address), Seen::Sysfs) }
}

#[test]
fn proxmox_devices() {
    let text = "name: a\nhostpci0: 0000:01:00.0;01:00.1,pcie=1,romfile=x.rom\nhostpci1: mapping=g\nhostpci2: pcie=1\n\
                hostpcix: 02:00\n[s]\nhostpci3: 03:00\n";
    let devices = proxmox::devices("qm config", text);
    let asked: Vec<_> = devices.iter().map(|d| d.asked.clone()).collect();
    assert_eq!(
        asked,
        [
            Asked::Function(at("01:00.0")),
            Asked::Function(at("01:00.1")),
            Asked::Mapping("g".into()),
            Asked::Malformed("pcie=1".into())
        ]
    );
    assert_eq!((devices[1].evidence.line, devices[1].rom_file.as_deref()), (Some(2), Some("x.rom")));
}

#[test]
fn libvirt_domain() {
    let text = "<domain><name>n</name><devices><hostdev type='pci'><source>\
                <address domain='0' bus='1' slot='0' function='0'/></source></hostdev></devices></domain>";
    let (name, devices, _) = libvirt::domain("virsh dumpxml", text).unwrap();
    assert_eq!((name.as_str(), &devices[0].asked), ("n", &Asked::Function(at("01:00.0"))));
    assert!(libvirt::domain("x", "<a").is_err());
}

#[test]
fn nova_rules_fit_functions() {
    let gpu = function("0000:41:00.0", 0x10de, 0x20b5);
    for (value, fits) in [
        (r#"{"vendor_id":"10de","product_id":"20B5"}"#, Some(true)),
        (r#"{"vendor_id":"10de","product_id":"20b6"}"#, Some(false)),
        (r#"{"address":"0000:41:00.0"}"#, Some(true)),
        (r#"{"address":"*:41:*.*"}"#, Some(true)),
        (r#"{"address":"0000:42:00.*","vendor_id":"10de"}"#, Some(false)),
        (r#"{"address":":41:00."}"#, Some(true)),
        (r#"{"address":"41:0.0"}"#, Some(true)),
        (r#"{"address":"41:00.8"}"#, Some(false)),
        (r#"{"address":"0:0:41:00.0"}"#, Some(false)),
        (r#"{"address":{"bus":"4[0-9]"}}"#, Some(true)),
        (r#"{"address":{"bus":"4[0-9]","function":"1"}}"#, Some(false)),
        (r#"{"address":{"bus":"(?=4)41"}}"#, None),
        (r#"{"devname":"eth0"}"#, None),
        (r#"{"devname":"eth0","address":"41:00.0"}"#, Some(false)),
        (r#"{"vendor_id":4318}"#, Some(false)),
        (r#"[{"vendor_id":"10de"}]"#, Some(true)),
        ("{}", Some(true)),
        ("nonsense", Some(false)),
    ] {
        let found = rules("/etc/nova/nova.conf", &format!("[pci]\ndevice_spec = {value}\n[x]\ndevice_spec = {{}}\n"));
        assert_eq!(found.len(), 1, "{value}");
        assert_eq!(found[0].fits(&gpu), fits, "{value}");
        assert_eq!(found[0].evidence.line, Some(2));
    }
}

const DOMAIN: &str = "<domain type='kvm'>\n<name>win</name>\n<devices>\n<hostdev mode='subsystem' type='pci' managed='yes'>\n<source>\n\
    <address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>\n</source>\n</hostdev>\n</devices>\n</domain>\n";

fn process(host: &mut Builder, pid: u32, comm: &str, arguments: &str) {
    host.add_file(&format!("/proc/{pid}/comm"), format!("{comm}\n"));
    host.add_file(&format!("/proc/{pid}/cmdline"), arguments);
}

fn asked(vm: &Vm) -> Vec<String> {
    let show = |device: &super::VmDevice| match &device.asked {
        Asked::Function(address) => address.to_string(),
        Asked::Slot(address) => address.slot(),
        other => format!("{other:?}"),
    };
    vm.devices.iter().map(show).collect()
}

#[test]
fn libvirt_domains_hooks_and_running_ones() {
    let live = "<domstatus state='running'><domain><name>win</name><devices><hostdev type='pci'><source>\
                <address domain='0' bus='2' slot='0' function='0'/></source></hostdev></devices></domain></domstatus>";
    let mut host = Recorded::builder();
    host.complete(true)
        .add_file("/etc/libvirt/qemu.conf", "")
        .add_file("/etc/libvirt/qemu/win.xml", DOMAIN)
        .add_file("/etc/libvirt/qemu/bad.xml", "<domain")
        .add_file("/etc/libvirt/qemu/networks/default.xml", "<network/>")
        .add_file("/run/libvirt/qemu/win.xml", live)
        .add_file("/run/libvirt/qemu/transient.xml", live)
        .add_file("/etc/libvirt/hooks/qemu", "#!/bin/sh\n")
        .add_file("/etc/libvirt/hooks/qemu.d/10-gpu", "#!/bin/sh\n")
        .stat("/etc/libvirt/hooks/qemu", |stat| stat.mode = 0o755);
    host.deny("/etc/libvirt/qemu/closed.xml");
    let found = collect(&host.build());
    assert_eq!(found.kinds, [(HypervisorKind::Libvirt, None)]);
    let vm = |id: &str| found.vms.iter().find(|vm| vm.id == id).unwrap();
    assert_eq!(asked(vm("win")), ["0000:01:00.0", "0000:02:00.0"]);
    assert_eq!((vm("win").running.clone(), vm("bad").running.clone()), (Fact::Known(true), Fact::Known(false)));
    assert_eq!(vm("win").devices[0].evidence.line, Some(6));
    assert_eq!(vm("transient").running, Fact::Known(true));
    assert!(vm("closed").config.is_unknown());
    let unread: Vec<&str> = found.unread.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(unread, ["/etc/libvirt/qemu/bad.xml", "/etc/libvirt/qemu/closed.xml"]);
    let hooks: Vec<(&str, u32)> = found.hooks.iter().map(|hook| (hook.path.as_str(), hook.mode)).collect();
    assert_eq!(hooks, [("/etc/libvirt/hooks/qemu", 0o755), ("/etc/libvirt/hooks/qemu.d/10-gpu", 0o644)]);
}

#[test]
fn processes_tell_what_files_hide() {
    let mut host = Recorded::builder();
    host.complete(true).add_file("/usr/sbin/libvirtd", "").deny("/etc/libvirt/qemu");
    let json = "qemu\0-name\0guest=win,x=y\0-device\0{\"driver\":\"vfio-pci\",\"host\":\"0000:01:00.0\"}\0";
    process(&mut host, 10, "qemu-system-x86", json);
    process(&mut host, 11, "qemu-system-x86", "qemu\0-device\0vfio-pci,host=03:00.0\0");
    process(
        &mut host,
        12,
        "qemu-system-x86",
        "qemu\0-name\0mdev\0-device\0vfio-pci,sysfsdev=/sys/bus/mdev/devices/a-b\0",
    );
    process(&mut host, 13, "kvm", "");
    process(&mut host, 14, "bash", "-device\0vfio-pci,host=04:00.0\0");
    let found = collect(&host.build());
    let got: Vec<(HypervisorKind, &str, Vec<String>)> =
        found.vms.iter().map(|vm| (vm.kind, vm.id.as_str(), asked(vm))).collect();
    assert_eq!(
        got,
        [
            (HypervisorKind::Libvirt, "win", vec!["0000:01:00.0".to_owned()]),
            (HypervisorKind::Qemu, "11", vec!["0000:03:00.0".to_owned()]),
            (HypervisorKind::Qemu, "mdev", vec!["Malformed(\"a-b\")".to_owned()]),
        ]
    );
    let processes: Vec<(u32, &str)> = found.processes.iter().map(|(pid, vm)| (*pid, vm.as_str())).collect();
    assert_eq!(processes, [(10, "win"), (11, "11"), (12, "mdev")]);
    assert!(found.vms.iter().all(|vm| vm.running == Fact::Known(true)));
    assert!(!found.unread.is_empty());
}

#[test]
fn proxmox_vms_and_containers() {
    let mut host = Recorded::builder();
    host.complete(true)
        .add_file("/usr/bin/pveversion", "")
        .add_file("/var/lib/dpkg/status", "Package: pve-manager\nStatus: install ok installed\nVersion: 8.2.4\n")
        .add_file("/etc/pve/nodes/pve/qemu-server/105.conf", "name: win\nhostpci0: 01:00,pcie=1\n")
        .add_file("/etc/pve/nodes/pve/qemu-server/106.conf", "hostpci0: 02:00\n")
        .add_file("/etc/pve/nodes/pve/qemu-server/notes.txt", "hostpci0: 03:00\n")
        .add_file("/etc/pve/nodes/pve/lxc/200.conf", "hostname: jelly\ndev0: /dev/dri/renderD128,gid=104\ncores: 2\n")
        .add_file("/etc/pve/nodes/pve/lxc/201.conf", "lxc.mount.entry: /dev/nvidia0 dev/nvidia0 none bind 0 0\n")
        .add_file("/etc/pve/nodes/pve/lxc/202.conf", "hostname: plain\n")
        .add_file("/run/qemu-server/105.pid", "900\n")
        .add_file("/run/qemu-server/106.pid", "901\n");
    process(&mut host, 900, "kvm", "/usr/bin/kvm\0-id\x00105\0-name\0win\0-device\0vfio-pci,host=0000:01:00.1\0");
    let found = collect(&host.build());
    assert_eq!(found.kinds, [(HypervisorKind::Proxmox, Some("8.2.4".into()))]);
    assert_eq!(asked(&found.vms[0]), ["0000:01:00"], "the process asks for no more than the configuration");
    let running: Vec<_> = found.vms.iter().map(|vm| vm.running.clone()).collect();
    assert_eq!(running, [Fact::Known(true), Fact::Known(false)], "a pid file that was left behind");
    let nodes: Vec<(&str, &str)> = found.containers.iter().map(|c| (c.id.as_str(), c.nodes[0].0.as_str())).collect();
    assert_eq!(nodes, [("200", "/dev/dri/renderD128"), ("201", "/dev/nvidia0")]);
}

#[test]
fn rom_files() {
    let ids = (0x10de, 0x2684);
    let rom = roms::rom(&[roms::legacy(ids, 2)]);
    let domain = |file: &str| DOMAIN.replace("</hostdev>", &format!("<rom file='{file}'/></hostdev>"));
    let mut host = Recorded::builder();
    host.complete(true)
        .add_file("/usr/bin/pveversion", "")
        .add_file("/etc/pve/qemu-server/105.conf", "hostpci0: 01:00,romfile=a.rom\nhostpci1: 02:00,romfile=/b.rom\n")
        .add_file(
            "/etc/pve/qemu-server/106.conf",
            "hostpci0: 03:00,romfile=huge.rom\nhostpci1: 04:00,romfile=many.rom\n",
        )
        .add_file("/etc/pve/qemu-server/107.conf", "hostpci0: 05:00,romfile=no.rom\n")
        .add_file("/usr/share/kvm/a.rom", &rom)
        .add_file("/b.rom", &rom)
        .add_file("/usr/share/kvm/huge.rom", vec![0; LARGEST + 1])
        .add_file("/usr/share/kvm/many.rom", roms::rom(&vec![roms::legacy(ids, 1); 100]))
        .deny("/usr/share/kvm/no.rom")
        .add_file("/etc/libvirt/qemu/win.xml", domain("/usr/share/vgabios/c.rom"))
        .add_file("/etc/libvirt/qemu/odd.xml", domain("d.rom"))
        .add_file("/var/lib/docker/volumes/nova_libvirt_qemu/_data/e.xml", domain("/e.rom"));
    let found = collect(&host.build());
    let state = |path: &str| found.roms.get(path).map(|rom| rom.as_ref().map(|rom| rom.images.len()));
    assert_eq!(state("/usr/share/kvm/a.rom"), Some(Fact::Known(1)));
    assert_eq!(state("/usr/share/kvm//b.rom"), Some(Fact::Absent), "Proxmox takes a path as a name");
    for path in ["/usr/share/kvm/huge.rom", "/usr/share/kvm/many.rom", "/usr/share/kvm/no.rom"] {
        assert!(state(path).is_some_and(|rom| rom.is_unknown()), "{path}");
    }
    assert_eq!(state("/usr/share/vgabios/c.rom"), Some(Fact::Absent));
    assert_eq!(
        found.roms.len(),
        6,
        "a path within a container, or of nobody knows where, is not looked for: {:?}",
        found.roms.keys()
    );
    let vm = &found.vms[0];
    assert_eq!(found.rom(vm, &vm.devices[0]).map(|(path, _)| path).as_deref(), Some("/usr/share/kvm/a.rom"));
}

#[test]
fn nova_under_kolla() {
    let mut host = Recorded::builder();
    host.complete(true)
        .add_file(
            "/etc/kolla/nova-compute/nova.conf",
            "[DEFAULT]\n[pci]\nalias = {\"name\":\"a\",\"vendor_id\":\"10de\"}\n",
        )
        .add_file("/var/lib/docker/volumes/nova_libvirt_qemu/_data/instance-1.xml", DOMAIN)
        .add_file("/run/libvirt/qemu/instance-1.xml", "<domstatus/>");
    let found = collect(&host.build());
    let kinds: Vec<HypervisorKind> = found.kinds.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [HypervisorKind::Libvirt, HypervisorKind::Nova]);
    assert_eq!((found.vms.len(), found.vms[0].running.clone()), (1, Fact::Known(true)));
    assert_eq!((found.rules[0].option.as_str(), found.rules[0].name.as_deref()), ("alias", Some("a")));
    assert_eq!(found.files[0].path, "/etc/kolla/nova-compute/nova.conf");
}

#[test]
fn nothing_installed_and_nothing_recorded() {
    let empty = collect(&Recorded::builder().complete(true).build());
    assert!(empty.kinds.is_empty() && empty.vms.is_empty() && empty.unread.is_empty());
    let unknown = collect(&Recorded::builder().complete(false).build());
    assert!(unknown.kinds.is_empty() && unknown.vms.is_empty());
}
