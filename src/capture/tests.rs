#![allow(clippy::disallowed_methods)] // What was written is looked at as it is.

use super::*;
use crate::host::{Query, Recorded, Tree};
use crate::parse::address::Address;

const SECRET: &str = "hush-hush";

/// A host with what identifies it in every place.
fn host() -> Recorded {
    let mut b = Recorded::builder();
    let gpu = "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0";
    let mut config = vec![0; 4096];
    config[0x100..0x104].copy_from_slice(&0x0001_0003u32.to_le_bytes());
    config[0x104..0x10c].copy_from_slice(&[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
    b.add_values("/sys/devices/pci0000:00/0000:00:01.0", &[("vendor", "0x8086"), ("device", "0x1901"), ("class", "0x060400")])
        .add_values(gpu, &[("vendor", "0x10de"), ("device", "0x2684"), ("class", "0x030000"), ("boot_vga", "1")])
        .add_file(&format!("{gpu}/config"), &config)
        .add_link(&format!("{gpu}/iommu_group"), "../../../../kernel/iommu_groups/14")
        .add_link(&format!("{gpu}/driver"), "../../../../bus/pci/drivers/vfio-pci")
        .add_link("/sys/bus/pci/devices/0000:00:01.0", "../../../devices/pci0000:00/0000:00:01.0")
        .add_link("/sys/bus/pci/devices/0000:01:00.0", "../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0")
        .add_link("/sys/kernel/iommu_groups/14/devices/0000:01:00.0", "../../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0")
        .add_file("/sys/kernel/iommu_groups/14/type", "DMA-FQ\n")
        .add_dir("/sys/class/iommu")
        .add_file("/proc/sys/kernel/osrelease", "6.8.12-4-pve\n")
        .add_file("/proc/sys/kernel/hostname", "zaphod\n")
        .add_file("/proc/cmdline", format!("root=UUID=1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed ro quiet intel_iommu=on rd.luks.key={SECRET}\n"))
        .add_file("/etc/default/grub", format!("GRUB_CMDLINE_LINUX_DEFAULT=\"quiet intel_iommu=on\"\n# password={SECRET}\n"))
        .add_file("/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n")
        .add_file("/etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:2684\n")
        .add_file("/proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Core(TM) i7\nflags\t\t: vmx\n")
        .add_file("/proc/self/mountinfo", "25 1 8:2 / / rw - ext4 /dev/sda2 rw\n30 25 0:40 / /mnt rw - nfs4 files.zaphod.example:/export rw\n")
        .add_link("/etc/pve/local", "nodes/zaphod")
        .add_file("/etc/pve/nodes/zaphod/qemu-server/105.conf", format!("hostpci0: 0000:01:00,pcie=1\nname: win11\nnet0: virtio=BC:24:11:AA:BB:CC\ncipassword: {SECRET}\n"))
        .add_link("/etc/pve/qemu-server", "nodes/zaphod/qemu-server")
        .add_file("/etc/nova/nova.conf", format!("[pci]\ndevice_spec = {{ \"address\": \"0000:01:00.0\" }}\n[database]\nconnection = mysql://nova:{SECRET}@10.1.1.1/nova\n"))
        .deny("/sys/firmware/acpi/tables/DMAR")
        .query(Query::KernelLog, "[    0.000000] Linux version 6.8.12-4-pve\n[    1.500000] e1000e: eth0 3c:7c:3f:1e:aa:01\n[    2.000000] systemd[1]: Hostname set to <zaphod>.\n");
    b.build()
}

fn options(path: PathBuf) -> Options {
    Options { path, exact: false, force: false }
}

/// All that a snapshot says, with what may differ left out.
fn said(snap: &facts::Snapshot) -> String {
    let mut snap = snap.clone();
    snap.origin = facts::Origin::Paste(String::new());
    format!("{snap:#?}")
}

#[test]
fn a_capture_answers_like_the_host_but_for_pseudonyms() {
    let dir = tempfile::tempdir().unwrap();
    let host = host();
    let live = facts::collect(&host, Needs::ALL);
    // With names kept the answers are the same to the letter, but for secrets.
    let exact = Options { exact: true, ..options(dir.path().join("exact")) };
    write_capture(&host, &exact).unwrap();
    let again = facts::collect(&archive::load(&exact.path).unwrap(), Needs::ALL);
    let differing: Vec<(String, String)> = said(&live)
        .lines()
        .zip(said(&again).lines())
        .filter(|(a, b)| a != b)
        .map(|(a, b)| (a.trim().to_owned(), b.trim().to_owned()))
        .collect();
    for (before, after) in &differing {
        let left_out = after.contains("REMOVED") || after.contains("\\n#\\n") || after.contains("\\n[pci]");
        assert!(before.contains(SECRET) && left_out, "{before}\n{after}");
    }
    assert_eq!(said(&live).lines().count(), said(&again).lines().count());
    // With pseudonyms all that is not a name is the same.
    let scrubbed = options(dir.path().join("scrubbed"));
    let report = write_capture(&host, &scrubbed).unwrap();
    let again = facts::collect(&archive::load(&scrubbed.path).unwrap(), Needs::ALL);
    assert_eq!(said(&live).lines().count(), said(&again).lines().count());
    let gpu = Address::parse("01:00.0").unwrap();
    let (before, after) = (live.pci.get(&gpu).unwrap(), again.pci.get(&gpu).unwrap());
    assert_eq!((&before.ids, &before.driver, &before.group), (&after.ids, &after.driver, &after.group));
    assert_eq!(live.hypervisor.vms.len(), again.hypervisor.vms.len());
    assert!(report.pseudonyms.contains_key(&Kind::Uuid), "{report:?}");
    assert!(report.secrets > 0 && report.bytes > 0, "{report:?}");
}

#[test]
fn nothing_that_identifies_is_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    for exact in [false, true] {
        let path = dir.path().join(exact.to_string());
        write_capture(&host(), &Options { exact, ..options(path.clone()) }).unwrap();
        let unpacked = zstd::decode_all(std::fs::File::open(&path).unwrap()).unwrap();
        let text = String::from_utf8_lossy(&unpacked);
        assert!(!text.contains(SECRET));
        let names = ["zaphod", "1b9d6bcd", "BC:24:11", "3c:7c:3f", "10.1.1.1"];
        if exact {
            assert!(text.contains("zaphod"));
        } else {
            for name in names {
                assert!(!text.contains(name), "{name}");
            }
            assert!(!unpacked.windows(8).any(|w| w == [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]));
        }
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, if exact { 0o600 } else { 0o644 });
    }
}

#[test]
fn a_file_is_replaced_only_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("host.tar.zst");
    std::fs::write(&path, "mine").unwrap();
    assert_eq!(write_capture(&host(), &options(path.clone())).unwrap_err().exit_code(), 3);
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    write_capture(&host(), &Options { force: true, ..options(path.clone()) }).unwrap();
    assert!(archive::load(&path).is_ok());
}

#[test]
fn what_processes_have_open_is_taken_only_for_devices() {
    let mut scrubber = Scrubber::new([1; 32], false);
    for (path, target, kept) in [
        ("/proc/12/fd/3", "/dev/vfio/14", "/dev/vfio/14"),
        ("/proc/12/fd/4", "socket:[123]", "socket:[123]"),
        ("/proc/12/fd/5", "/srv/letters/to-mother.odt", "/left-out"),
        ("/proc/12/cwd", "/srv/letters", "/left-out"),
        ("/sys/bus/x", "../../devices/y", "../../devices/y"),
    ] {
        assert_eq!(link(&mut scrubber, path, target), kept);
    }
}

#[test]
fn names_that_mean_something_are_not_taken_for_a_hosts() {
    let recorder_host =
        Recorded::builder().add_dir("/sys/bus/pci/drivers/nvidia").add_file("/etc/os-release", "ID=debian\n").build();
    let recorder = Recorder::new(&recorder_host);
    recorder.entries("/sys/bus/pci/drivers/nvidia");
    recorder.read("/etc/os-release");
    let recording = recorder.into_recording();
    let words = words(&recording);
    for name in ["nvidia", "debian", "localhost", "proxmox"] {
        assert!(words.contains(name), "{name}");
    }
    assert!(!words.contains("zaphod"));
}

#[test]
fn the_machine_that_runs_this_can_be_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path().join("self.tar.zst"));
    let report = write_capture(&Tree::live().without_writing(), &options).unwrap();
    let again = archive::load(&options.path).unwrap();
    let snap = facts::collect(&again, Needs::ALL);
    assert_eq!(snap.kernel.release, facts::collect(&Tree::live(), Needs::LIST).kernel.release);
    let unlisted: Vec<_> = report.left_out.iter().filter(|(_, why)| why == NOT_LISTED).collect();
    assert!(unlisted.is_empty(), "{unlisted:?}");
}
