use super::{Usage, UseKind, collect};
use crate::facts::Evidence;
use crate::facts::hypervisor::{self, Container, Hypervisor};
use crate::facts::pci::{Function, Header, Ids, Pci, Seen, Sriov};
use crate::host::{Builder, Fact, Recorded, Why};
use crate::parse::address::Address;

fn at(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn function(address: &str, class: u32, driver: &str) -> Function {
    let header = if class >> 8 == 0x0604 { Header::Bridge } else { Header::Endpoint };
    Function {
        class: Fact::Known(class),
        header: Fact::Known(header),
        driver: if driver.is_empty() { Fact::Absent } else { Fact::Known(driver.into()) },
        ..Function::unknown(at(address), Seen::Sysfs)
    }
}

fn pci(mut functions: Vec<Function>) -> Pci {
    functions.sort_by_key(|f| f.address);
    Pci { functions, missing: None }
}

fn of(host: &Recorded, functions: Vec<Function>) -> Usage {
    collect(host, &pci(functions), &Hypervisor::default())
}

fn shown(usage: &Usage, kind: UseKind) -> Vec<String> {
    usage.uses.iter().filter(|u| u.kind == kind).map(|u| format!("{} {}", u.address, u.by)).collect()
}

/// A disk of a controller: `/sys/dev/block` and `/sys/class/block` links.
fn block(host: &mut Builder, number: &str, name: &str, below: &str) {
    let target = format!("../../devices/{below}");
    host.add_link(&format!("/sys/dev/block/{number}"), &target);
    host.add_link(&format!("/sys/class/block/{name}"), &target);
}

const SATA: &str = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block";

#[test]
fn root_on_lvm_over_raid_and_swap_in_a_file() {
    let mut host = Recorded::builder();
    host.complete(true)
        .add_file(
            "/proc/self/mountinfo",
            "1 0 253:0 / / rw - ext4 /dev/mapper/vg-root rw\n2 1 253:0 /x /srv/bind rw - ext4 /dev/mapper/vg-root rw\n\
             3 1 259:1 / /data\\040x rw - xfs /dev/nvme1n1p1 rw\n4 1 0:5 / /proc rw - proc proc rw\n\
             5 1 7:0 / /snap/x rw - squashfs /dev/loop0 ro\n",
        )
        .add_file(
            "/proc/swaps",
            "Filename Type Size Used Priority\n/swapfile file 1 0 -2\n/dev/zram0 partition 1 0 100\n",
        );
    block(&mut host, "253:0", "dm-0", "virtual/block/dm-0");
    block(&mut host, "9:0", "md0", "virtual/block/md0");
    block(&mut host, "8:2", "sda2", &format!("{SATA}/sda/sda2"));
    block(&mut host, "259:1", "nvme1n1p1", "pci0000:00/0000:00:01.0/0000:01:00.0/nvme/nvme1/nvme1n1/nvme1n1p1");
    block(&mut host, "7:0", "loop0", "virtual/block/loop0");
    block(&mut host, "252:0", "zram0", "virtual/block/zram0");
    host.add_dir("/sys/devices/virtual/block/dm-0/slaves/md0").add_dir("/sys/devices/virtual/block/md0/slaves/sda2");
    // A ring must end.
    host.add_dir("/sys/devices/virtual/block/md0/slaves/dm-0");
    let functions = vec![
        function("0000:00:01.0", 0x060400, "pcieport"),
        function("0000:00:17.0", 0x010601, "ahci"),
        function("0000:01:00.0", 0x010802, "nvme"),
    ];
    let usage = of(&host.build(), functions);
    assert_eq!(shown(&usage, UseKind::RootStorage), ["0000:00:17.0 /", "0000:00:17.0 swap"]);
    assert_eq!(shown(&usage, UseKind::Storage), ["0000:00:17.0 /srv/bind", "0000:01:00.0 /data x"]);
    assert_eq!(usage.of(&at("00:17.0")).next().unwrap().evidence.line, Some(1));
}

#[test]
fn root_on_zfs_by_the_udev_database() {
    let mut host = Recorded::builder();
    host.complete(true)
        .add_file(
            "/proc/self/mountinfo",
            "1 0 0:30 / / rw - zfs rpool/ROOT/pve-1 rw\n2 1 0:31 / /tank rw - zfs tank rw\n",
        )
        .add_file("/proc/spl/kstat/zfs/rpool/state", "ONLINE\n")
        .add_file("/run/udev/data/b8:3", "S:disk/by-label/rpool\nE:ID_FS_LABEL=rpool\nE:ID_FS_TYPE=zfs_member\n")
        .add_file("/run/udev/data/b259:3", "E:ID_FS_LABEL=rpool\nE:ID_FS_TYPE=zfs_member\n")
        .add_file("/run/udev/data/b8:1", "E:ID_FS_TYPE=vfat\n")
        .add_file("/etc/kernel/proxmox-boot-uuids", "5A4B-1234\n\nDEAD-0000\n../x\n")
        .add_link("/dev/disk/by-uuid/5A4B-1234", "../../sda2");
    block(&mut host, "8:2", "sda2", &format!("{SATA}/sda/sda2"));
    block(&mut host, "8:3", "sda3", &format!("{SATA}/sda/sda3"));
    block(
        &mut host,
        "259:3",
        "nvme0n1p3",
        "pci0000:00/0000:00:0e.0/pci10000:e0/10000:e1:00.0/nvme/nvme0/nvme0n1/nvme0n1p3",
    );
    let functions = vec![
        function("0000:00:0e.0", 0x010400, "vmd"),
        function("0000:00:17.0", 0x010601, "ahci"),
        function("10000:e1:00.0", 0x010802, "nvme"),
    ];
    let usage = of(&host.build(), functions);
    let expected = ["0000:00:0e.0 /", "0000:00:17.0 /", "0000:00:17.0 ESP", "10000:e1:00.0 /"];
    assert_eq!(shown(&usage, UseKind::RootStorage), expected);
    assert!(usage.unread.iter().any(|(what, _)| what == "zpool tank"), "{:?}", usage.unread);
}

#[test]
fn root_on_btrfs_and_nvme_multipath() {
    let mut host = Recorded::builder();
    host.complete(true)
        .add_file(
            "/proc/self/mountinfo",
            "1 0 0:30 /@ / rw - btrfs /dev/mapper/luks rw\n2 1 259:1 / /boot rw - ext4 /dev/nvme0n1p1 rw\n",
        )
        .add_link("/dev/mapper/luks", "../dm-0")
        .add_dir("/sys/fs/btrfs/features")
        .add_dir("/sys/fs/btrfs/0a/devices/dm-0")
        .add_dir("/sys/fs/btrfs/0a/devices/sda2")
        .add_dir("/sys/devices/virtual/block/dm-0/slaves/nvme0n1p2")
        .add_dir("/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1")
        .add_link(
            "/sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0",
            "../../../pci0000:00/0000:00:1d.0/nvme/nvme0",
        )
        .add_link("/sys/class/nvme/nvme0", "../../devices/pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0");
    block(&mut host, "253:0", "dm-0", "virtual/block/dm-0");
    block(&mut host, "8:2", "sda2", &format!("{SATA}/sda/sda2"));
    block(&mut host, "259:1", "nvme0n1p1", "virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p1");
    block(&mut host, "259:2", "nvme0n1p2", "virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p2");
    let functions = vec![function("0000:00:17.0", 0x010601, "ahci"), function("0000:02:00.0", 0x010802, "nvme")];
    let usage = of(&host.build(), functions);
    assert_eq!(shown(&usage, UseKind::RootStorage), ["0000:00:17.0 /", "0000:02:00.0 /", "0000:02:00.0 /boot"]);
}

#[test]
fn disks_of_volumes_without_a_mount() {
    let mut host = Recorded::builder();
    host.complete(true).add_file("/proc/self/mountinfo", "").add_file("/sys/class/block/dm-3/dm/name", "vms-disk\n");
    block(&mut host, "8:16", "sdb", &format!("{SATA}/sdb"));
    host.add_dir(&format!("/sys/devices/{SATA}/sdb/holders/dm-3"));
    let usage = of(&host.build(), vec![function("0000:00:17.0", 0x010601, "ahci")]);
    assert_eq!(shown(&usage, UseKind::Storage), ["0000:00:17.0 vms-disk"]);
}

/// `/sys/class/net/<name>`, as a link to a card or to a virtual device.
fn interface(host: &mut Builder, name: &str, below: &str) {
    host.add_link(&format!("/sys/class/net/{name}"), &format!("../../devices/{below}/net/{name}"));
    host.add_dir(&format!("/sys/devices/{below}/net/{name}"));
}

fn network(host: &mut Builder) -> Vec<Function> {
    let route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                 vmbr0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\nvmbr0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                 enp5s0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n";
    host.complete(true).add_file("/proc/net/route", route).add_file(
        "/proc/net/tcp",
        "  sl  local_address\n   0: 00000000:0016 00000000:0000 0A 0\n   1: 0200000A:0016 0900000A:CAFE 01 0\n",
    );
    interface(host, "enp3s0", "pci0000:00/0000:03:00.0");
    interface(host, "enp4s0", "pci0000:00/0000:04:00.0");
    interface(host, "enp5s0", "pci0000:00/0000:05:00.0");
    interface(host, "bond0", "virtual");
    interface(host, "vmbr0", "virtual");
    host.add_link("/sys/devices/virtual/net/vmbr0/lower_bond0", "../bond0")
        .add_link("/sys/devices/virtual/net/bond0/lower_enp3s0", "../../../x")
        .add_link("/sys/devices/virtual/net/bond0/lower_vmbr0", "../vmbr0")
        .add_link("/sys/devices/pci0000:00/0000:03:00.0/net/enp3s0/master", "../../virtual/net/bond0")
        .add_file("/sys/devices/pci0000:00/0000:03:00.0/net/enp3s0/operstate", "up\n")
        .add_file("/sys/devices/pci0000:00/0000:04:00.0/net/enp4s0/operstate", "down\n");
    (3..6).map(|n| function(&format!("0000:0{n}:00.0"), 0x020000, "e1000e")).collect()
}

#[test]
fn routes_through_bridge_and_bond() {
    let mut host = Recorded::builder();
    let functions = network(&mut host);
    let usage = of(&host.build(), functions);
    assert_eq!(shown(&usage, UseKind::DefaultRoute), ["0000:03:00.0 vmbr0"]);
    assert_eq!(shown(&usage, UseKind::SshSession), ["0000:05:00.0 enp5s0"]);
    assert_eq!(shown(&usage, UseKind::Network), ["0000:03:00.0 enp3s0", "0000:05:00.0 enp5s0"]);
    assert_eq!(usage.consoles, Fact::Known(vec!["ssh".into()]));
    let text = format!("{usage:?}");
    assert!(!text.contains("0200000A") && !text.contains("10.0.0"), "addresses stay out: {text}");
}

#[test]
fn open_vswitch_bridges() {
    let mut host = Recorded::builder();
    let functions = network(&mut host);
    host.add_file("/proc/net/route", "h\nbr-ex\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
    interface(&mut host, "br-ex", "virtual");
    interface(&mut host, "ovs-system", "virtual");
    host.add_link("/sys/devices/pci0000:00/0000:04:00.0/net/enp4s0/master", "../../../virtual/net/ovs-system");
    assert_eq!(shown(&of(&host.build(), functions), UseKind::DefaultRoute), ["0000:04:00.0 br-ex"]);
}

/// A card with a screen at `0000:01:00.0`, and its node.
fn screen(host: &mut Builder) {
    host.complete(true)
        .add_link("/sys/class/drm/card0", "../../devices/pci0000:00/0000:01:00.0/drm/card0")
        .add_link("/sys/class/drm/renderD128", "../../devices/pci0000:00/0000:01:00.0/drm/renderD128")
        .add_values("/sys/class/drm/card0-HDMI-A-1", &[("status", "connected"), ("enabled", "enabled")])
        .add_values("/sys/class/drm/card0-DP-1", &[("status", "disconnected"), ("enabled", "disabled")])
        .add_values("/sys/class/vtconsole/vtcon0", &[("name", "(S) dummy device"), ("bind", "0")])
        .add_values("/sys/class/vtconsole/vtcon1", &[("name", "(M) frame buffer device"), ("bind", "1")])
        .add_link("/sys/class/graphics/fb0", "../../devices/pci0000:00/0000:01:00.0/graphics/fb0")
        .add_dir("/sys/class/graphics/fbcon")
        .add_file("/proc/consoles", "tty0                 -WU (EC  p  )    4:7\n")
        .add_file("/proc/net/tcp", "h\n");
}

#[test]
fn the_only_console() {
    let gpu = || function("0000:01:00.0", 0x030000, "amdgpu");
    let mut host = Recorded::builder();
    screen(&mut host);
    let usage = of(&host.build(), vec![gpu()]);
    assert_eq!(shown(&usage, UseKind::Display), ["0000:01:00.0 console"]);
    assert_eq!(shown(&usage, UseKind::OnlyConsole), ["0000:01:00.0 console"]);
    assert_eq!(usage.consoles, Fact::Known(vec![]));

    screen(&mut host);
    host.add_file("/sys/class/vtconsole/vtcon1/bind", "0\n");
    assert_eq!(shown(&of(&host.build(), vec![gpu()]), UseKind::Display), ["0000:01:00.0 display HDMI-A-1"]);

    screen(&mut host);
    host.add_values("/sys/class/tty/ttyS0", &[("type", "4")])
        .add_values("/sys/class/tty/ttyS1", &[("type", "0")])
        .add_dir("/sys/class/tty/ttyAMA0")
        .add_dir("/sys/class/tty/tty1");
    let usage = of(&host.build(), vec![gpu()]);
    assert_eq!(usage.serial_ports, Fact::Known(vec!["ttyAMA0".into(), "ttyS0".into()]));
    screen(&mut host);
    host.deny("/sys/class/tty/ttyS0/type");
    assert!(of(&host.build(), vec![gpu()]).serial_ports.is_unknown());

    // The boot display's driver came second.
    screen(&mut host);
    host.add_link("/sys/class/graphics/fb1", "../../devices/pci0000:00/0000:02:00.0/graphics/fb1");
    let second = Function { boot_display: Fact::Known(true), ..function("0000:02:00.0", 0x030000, "cirrus") };
    let usage = of(&host.build(), vec![gpu(), second]);
    assert_eq!(shown(&usage, UseKind::Display), ["0000:01:00.0 display HDMI-A-1", "0000:02:00.0 console"]);

    screen(&mut host);
    let bmc = Function {
        ids: Fact::Known(Ids { vendor: 0x1a03, device: 0x2000 }),
        ..function("0000:02:00.0", 0x030000, "ast")
    };
    let usage = of(&host.build(), vec![gpu(), bmc]);
    assert_eq!(
        (usage.consoles.clone(), shown(&usage, UseKind::OnlyConsole).len()),
        (Fact::Known(vec!["bmc".into()]), 0)
    );

    screen(&mut host);
    host.add_file("/proc/consoles", "ttyS0 -W- (EC  p a)    4:64\ntty0 -WU (E) 4:7\n");
    assert_eq!(of(&host.build(), vec![gpu()]).consoles, Fact::Known(vec!["ttyS0".into()]));

    screen(&mut host);
    host.deny("/proc/net/tcp");
    let usage = of(&host.build(), vec![gpu()]);
    assert!(usage.consoles.is_unknown(), "what cannot be read is no \"no\"");
    assert!(shown(&usage, UseKind::OnlyConsole).is_empty());
}

fn process(host: &mut Builder, pid: u32, comm: &str, open: &[&str]) {
    host.add_file(&format!("/proc/{pid}/comm"), format!("{comm}\n")).add_dir(&format!("/proc/{pid}/fd"));
    for (fd, target) in open.iter().enumerate() {
        host.add_link(&format!("/proc/{pid}/fd/{fd}"), target);
    }
}

#[test]
fn nodes_of_containers() {
    let mut host = Recorded::builder();
    screen(&mut host);
    let mut hypervisor = Hypervisor::default();
    let node = |path: &str| (path.to_owned(), Evidence::new("/etc/pve/lxc/200.conf", path));
    let nodes = vec![node("/dev/dri/renderD128"), node("/dev/net/tun")];
    hypervisor.containers.push(Container { id: "200".into(), name: String::new(), nodes });
    let usage = collect(&host.build(), &pci(vec![function("0000:01:00.0", 0x030000, "amdgpu")]), &hypervisor);
    assert_eq!(shown(&usage, UseKind::Container), ["0000:01:00.0 container 200"]);
}

#[test]
fn open_nodes() {
    let mut host = Recorded::builder();
    screen(&mut host);
    process(&mut host, 1, "systemd", &["/dev/null", "socket:[1]"]);
    process(&mut host, 2, "kthreadd", &[]);
    process(&mut host, 900, "Xorg", &["/dev/dri/card0", "/dev/dri/card0"]);
    process(&mut host, 901, "firefox", &["/dev/dri/renderD128"]);
    process(&mut host, 902, "python3", &["/dev/nvidiactl", "/dev/nvidia1"]);
    process(&mut host, 903, "kvm", &["/dev/vfio/vfio", "/dev/vfio/14", "anon_inode:kvm-vm"]);
    process(&mut host, 904, "usbmuxd", &["/dev/bus/usb/002/003", "/dev/bus/usb/0/0", "/dev/bus/usb/x"]);
    process(&mut host, 905, "testpmd", &["/sys/devices/pci0000:00/0000:05:00.0/resource0"]);
    process(&mut host, 906, "smartd", &["/dev/nvme0", "/dev/nvme0n1"]);
    host.add_file("/proc/driver/nvidia/gpus/0000:41:00.0/information", "Model: \t x\nDevice Minor: \t 1\n")
        .add_link("/sys/dev/char/189:130", "../../devices/pci0000:00/0000:00:14.0/usb2/2-1")
        .add_link("/sys/class/nvme/nvme0", "../../devices/pci0000:00/0000:06:00.0/nvme/nvme0")
        .add_link("/sys/class/block/nvme0n1", "../../devices/pci0000:00/0000:06:00.0/nvme/nvme0/nvme0n1");
    let mut functions: Vec<Function> = [
        ("0000:00:14.0", 0x0c0330, "xhci_hcd"),
        ("0000:01:00.0", 0x030000, "amdgpu"),
        ("0000:05:00.0", 0x020000, "uio_pci_generic"),
        ("0000:06:00.0", 0x010802, "nvme"),
        ("0000:41:00.0", 0x030200, "nvidia"),
        ("0000:42:00.0", 0x030000, "vfio-pci"),
        ("0000:43:00.0", 0x0c0330, "xhci_hcd"),
    ]
    .map(|(address, class, driver)| function(address, class, driver))
    .into();
    for f in functions.iter_mut().skip(5) {
        f.group = Fact::Known(14);
    }
    let usage = of(&host.build(), functions);
    let expected = [
        "0000:00:14.0 usbmuxd (pid 904)",
        "0000:01:00.0 firefox (pid 901)",
        "0000:05:00.0 testpmd (pid 905)",
        "0000:06:00.0 smartd (pid 906)",
        "0000:41:00.0 python3 (pid 902)",
        "0000:42:00.0 kvm (pid 903)",
    ];
    assert_eq!(shown(&usage, UseKind::Process), expected);
    assert!(shown(&usage, UseKind::Display).contains(&"0000:01:00.0 Xorg (pid 900)".to_owned()));
    assert_eq!(usage.complete, Fact::Known(()));
}

#[test]
fn what_is_hidden_is_not_complete() {
    let mut host = Recorded::builder();
    host.complete(true);
    process(&mut host, 1, "systemd", &[]);
    process(&mut host, 2, "kthreadd", &[]);
    host.deny("/proc/1/fd");
    assert_eq!(of(&host.build(), vec![]).complete, Fact::Unknown(Why::NotPermitted));
    process(host.complete(true), 77, "bash", &[]);
    assert_eq!(of(&host.build(), vec![]).complete, Fact::Unknown(Why::NotPermitted), "hidepid");
    process(host.complete(true), 1, "bash", &[]);
    assert!(of(&host.build(), vec![]).complete.is_unknown(), "a container's process 1");
    assert_eq!(of(&host.build(), vec![]).complete, Fact::Unknown(Why::NotRecorded), "nothing recorded");
}

#[test]
fn virtual_machines_and_functions() {
    let mut host = Recorded::builder();
    host.complete(true)
        .add_file("/usr/bin/pveversion", "")
        .add_link("/etc/pve/qemu-server", "nodes/pve/qemu-server")
        .add_file("/etc/pve/nodes/pve/qemu-server/105.conf", "name: win\nhostpci0: mapping=gpu\n")
        .add_file("/etc/pve/nodes/pve/qemu-server/106.conf", "hostpci0: 02:00,pcie=1\n")
        .add_file(
            "/etc/pve/mapping/pci.cfg",
            "gpu\n\tmap id=10de:2684,node=pve,path=0000:01:00\n\tmap id=10de:9999,node=b,path=0000:02:00\n",
        )
        .add_file("/run/qemu-server/105.pid", "4711\n")
        .add_dir("/proc/4711");
    let host = host.build();
    let ids = Fact::Known(Ids { vendor: 0x10de, device: 0x2684 });
    let gpu = |address: &str| Function { ids: ids.clone(), ..function(address, 0x030000, "vfio-pci") };
    let vf = Function { physical: Fact::Known(at("03:00.0")), ..function("0000:03:00.1", 0x020000, "vfio-pci") };
    let sriov = Fact::Known(Sriov { total: 8, active: 1, autoprobe: None });
    let pf = Function { sriov, ..function("0000:03:00.0", 0x020000, "ice") };
    let mdev = Function { mdevs: Fact::Known(vec!["a".into()]), ..function("0000:04:00.0", 0x030000, "nvidia") };
    let pci = pci(vec![gpu("0000:01:00.0"), gpu("0000:02:00.0"), pf, vf, mdev]);
    let found = hypervisor::collect(&host);
    assert_eq!(found.vms.len(), 2);
    let usage = collect(&host, &pci, &found);
    assert_eq!(shown(&usage, UseKind::RunningVm), ["0000:01:00.0 VM 105 (win)"]);
    assert_eq!(shown(&usage, UseKind::VirtualFunctions), ["0000:03:00.0 0000:03:00.1: vfio-pci"]);
    assert_eq!(shown(&usage, UseKind::Mdev), ["0000:04:00.0 1 mediated"]);
}

#[test]
fn an_empty_recording_knows_nothing() {
    let usage = of(&Recorded::builder().complete(false).build(), vec![]);
    assert!(usage.uses.is_empty() && usage.complete.is_unknown() && usage.consoles.is_unknown());
    assert!(!usage.unread.is_empty());
}
