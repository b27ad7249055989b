//! Whatever is in a host's files: the program answers or refuses with a documented exit code, within seconds, and
//! its JSON is JSON. It never panics and never writes into the tree.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

#[path = "support/hosts/mod.rs"]
mod hosts;
#[path = "support/program.rs"]
mod program;

use program::{Said, vfioneer};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A constructed host with shared groups of functions, GRUB and a GPU at 01:00.
const HOST: &str = "pve8-intel-grub-rtx4090-guide";
const GPU: &str = "0000:01:00.0";

struct Bad {
    dir: tempfile::TempDir,
}

impl Bad {
    fn new() -> Bad {
        let dir = tempfile::tempdir().unwrap();
        hosts::write(&hosts::tree(&hosts::load(HOST)), dir.path()).unwrap();
        Bad { dir }
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    /// The real place of a path within the tree, as the kernel's links lead there.
    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let at = self.at(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&at);
        fs::write(at, bytes).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let at = self.at(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&at);
        let _ = fs::remove_dir_all(&at);
        symlink(target, at).unwrap();
    }

    fn remove(&self, path: &str) {
        let at = self.at(path);
        if at.is_dir() && !at.is_symlink() { fs::remove_dir_all(at).unwrap() } else { fs::remove_file(at).unwrap() }
    }

    fn remove_if_there(&self, path: &str) {
        let _ = fs::remove_file(self.at(path));
    }

    fn fifo(&self, path: &str) {
        let at = self.at(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&at);
        assert!(std::process::Command::new("mkfifo").arg(at).status().unwrap().success());
    }

    fn run(&self, args: &[&str]) -> Said {
        let root = self.root().to_str().unwrap();
        let mut all = vec!["--root", root];
        all.extend(args);
        vfioneer(&all)
    }

    /// The verbs that look at a device answer.
    fn shows_the_device(&self, case: &str) {
        self.answers(
            case,
            &[&["list", "01:00"], &["list", "--all", "--json"], &["check", "01:00", "--json"], &["plan", "01:00"]],
        );
    }

    fn answers(&self, case: &str, all: &[&[&str]]) {
        for args in all {
            let said = self.run(args);
            said.sane(case);
            if args.contains(&"--json") && said.code < 2 {
                assert!(said.json()["schema"].as_str().unwrap().starts_with("vfioneer/"), "{case}: {args:?}");
            }
        }
    }

    /// All verbs answer, and nothing is written into the host.
    fn survives(&self, case: &str) {
        let before = names(self.root());
        let verbs: [&[&str]; 8] = [
            &[],
            &["list", "--all", "--json"],
            &["list", "--tree"],
            &["list", "01:00"],
            &["check", "-v"],
            &["check", "01:00.0", "--only", "--json"],
            &["plan", "01:00", "--method", "ids", "--iommu-pt", "--serial-console", "ttyS0", "--json"],
            &["explain", "group", "12"],
        ];
        self.answers(case, &verbs);
        let out = tempfile::tempdir().unwrap();
        let file = out.path().join("host.tar.zst");
        let said = self.run(&["capture", file.to_str().unwrap()]);
        said.sane(case);
        if said.code == 0 {
            let again = vfioneer(&["--from", file.to_str().unwrap(), "check", "--json"]);
            again.sane(case);
            assert_eq!(again.json()["verdict"], self.run(&["check", "--json"]).json()["verdict"], "{case}");
        }
        assert_eq!(before, names(self.root()), "{case}: something was written into the host");
    }
}

/// All names below a directory.
fn names(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}

fn pci(file: &str) -> String {
    format!("/sys/bus/pci/devices/{GPU}/{file}")
}

#[test]
fn attributes_that_the_kernel_would_not_write() {
    let garbage: [&[u8]; 4] = [b"", b"zz\n", b"-99999999999999999999\n", b"\xff\xfe\x00\xc3("];
    let attributes = [
        "class",
        "vendor",
        "device",
        "subsystem_vendor",
        "revision",
        "numa_node",
        "resource",
        "boot_vga",
        "reset_method",
        "max_link_width",
        "current_link_width",
        "current_link_speed",
        "power_state",
        "enable",
        "sriov_totalvfs",
        "sriov_numvfs",
        "d3cold_allowed",
        "modalias",
        "resource1_resize",
        "config",
    ];
    for bytes in garbage {
        let bad = Bad::new();
        for attribute in attributes {
            bad.put(&pci(attribute), bytes);
        }
        bad.survives(&format!("all attributes are {bytes:?}"));
    }
    let bad = Bad::new();
    for attribute in attributes {
        bad.remove_if_there(&pci(attribute));
    }
    bad.shows_the_device("no attributes");
    for attribute in attributes {
        bad.fifo(&pci(attribute));
    }
    bad.shows_the_device("attributes are FIFOs");
}

#[test]
fn config_space_of_any_size_and_content() {
    let header = || {
        let mut space = vec![0u8; 256];
        space[..4].copy_from_slice(&[0xde, 0x10, 0x84, 0x26]);
        space[6] = 0x10;
        space[0x34] = 0x40;
        space
    };
    let mut to_itself = header();
    to_itself[0x40..0x42].copy_from_slice(&[0x10, 0x40]);
    let mut round = header();
    round[0x40..0x42].copy_from_slice(&[0x01, 0x80]);
    round[0x80..0x82].copy_from_slice(&[0x10, 0x40]);
    let mut extended = header();
    extended.resize(4096, 0);
    extended[0x40..0x42].copy_from_slice(&[0x10, 0x00]);
    extended[0x100..0x104].copy_from_slice(&[0x0d, 0x00, 0x01, 0x20]);
    extended[0x200..0x204].copy_from_slice(&[0x15, 0x00, 0x01, 0x10]);
    for space in [
        vec![],
        vec![0xff; 1],
        vec![0xff; 64],
        vec![0xff; 256],
        vec![0xff; 4096],
        vec![0; 4096],
        to_itself,
        round,
        extended,
    ] {
        let bad = Bad::new();
        bad.put(&pci("config"), &space);
        let case = format!("config space of {} bytes, {:?}…", space.len(), &space[..space.len().min(4)]);
        bad.shows_the_device(&case);
    }
}

#[test]
fn links_and_names_that_lead_nowhere_or_round() {
    type Make = fn(&Bad);
    let cases: [(&str, Make); 13] = [
        ("group to nowhere", |bad| bad.link(&pci("iommu_group"), "../../../nowhere/zz")),
        ("group to itself", |bad| bad.link(&pci("iommu_group"), "iommu_group")),
        ("group out of the root", |bad| bad.link(&pci("iommu_group"), "../../../../../../../../../etc/passwd")),
        ("group number too large", |bad| bad.link(&pci("iommu_group"), "../../99999999999999999999")),
        ("driver to nowhere", |bad| bad.link(&pci("driver"), "/../..")),
        ("device to itself", |bad| bad.link(&format!("/sys/bus/pci/devices/{GPU}"), GPU)),
        ("device to the root", |bad| bad.link(&format!("/sys/bus/pci/devices/{GPU}"), "/")),
        ("odd address names", |bad| {
            for name in
                ["zz", "0000:ff:ff.f", "0000:01:00.00", "10000000:00:00.0", "..:..", "a b\nc\x1b[31m", "0000:01:00.9"]
            {
                bad.put(&format!("/sys/bus/pci/devices/{name}/class"), "0x030000\n");
            }
        }),
        ("files where directories belong", |bad| {
            for path in ["/sys/kernel/iommu_groups", "/sys/class/iommu", "/etc/modprobe.d", "/sys/bus/usb/devices"] {
                let _ = fs::remove_dir_all(bad.at(path));
                bad.put(path, "a file\n");
            }
        }),
        ("directories where files belong", |bad| {
            for path in
                ["/proc/cmdline", "/etc/default/grub", "/proc/modules", "/boot/grub/grub.cfg", "/etc/os-release"]
            {
                let _ = fs::remove_file(bad.at(path));
                fs::create_dir_all(bad.at(path).join("x")).unwrap();
            }
        }),
        ("FIFOs where files belong", |bad| {
            for path in [
                "/proc/cmdline",
                "/etc/default/grub",
                "/proc/modules",
                "/etc/modprobe.d/zz.conf",
                "/etc/pve/qemu-server/100.conf",
            ] {
                bad.fifo(path);
            }
        }),
        ("modprobe.d holds itself", |bad| bad.link("/etc/modprobe.d/again.conf", "../modprobe.d")),
        ("grub file sources itself", |bad| {
            bad.put(
                "/etc/default/grub",
                ". /etc/default/grub\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX\"\n",
            );
            bad.put("/boot/grub/grub.cfg", "configfile /boot/grub/grub.cfg\nsource /boot/grub/grub.cfg\n");
        }),
    ];
    for (case, make) in cases {
        let bad = Bad::new();
        make(&bad);
        bad.survives(case);
    }
}

#[test]
fn files_that_are_empty_binary_or_enormous() {
    let files = [
        "/proc/cmdline",
        "/etc/default/grub",
        "/boot/grub/grub.cfg",
        "/proc/modules",
        "/etc/os-release",
        "/etc/modules",
        "/etc/modprobe.d/vfio.conf",
        "/proc/cpuinfo",
        "/proc/interrupts",
        "/proc/iomem",
        "/proc/mounts",
        "/etc/fstab",
        "/sys/firmware/acpi/tables/DMAR",
        "/etc/pve/qemu-server/100.conf",
        "/etc/libvirt/qemu/a.xml",
        "/etc/nova/nova.conf",
        "/boot/config-6.8.4-2-pve",
        "/boot/initrd.img-6.8.4-2-pve",
        "/lib/modules/6.8.4-2-pve/modules.alias",
        "/lib/modules/6.8.4-2-pve/modules.builtin",
        "/proc/sys/kernel/osrelease",
    ];
    let long = [b"a=\"".as_slice(), &vec![b'x'; 4 << 20]].concat();
    let lines = b"options vfio-pci ids=10de:2684\n".repeat(30_000);
    let binary: Vec<u8> = (0..=255u8).cycle().take(70_000).collect();
    for (case, bytes) in [
        ("empty", &b""[..]),
        ("binary", &binary),
        ("one long line", &long),
        ("many lines", &lines),
        ("not UTF-8", b"\xc3(\xff\n"),
    ] {
        let bad = Bad::new();
        for file in files {
            bad.put(file, bytes);
        }
        bad.survives(case);
    }
    // A sparse file larger than any limit.
    let bad = Bad::new();
    for file in files {
        bad.put(file, "");
        fs::File::options().write(true).open(bad.at(file)).unwrap().set_len(1 << 40).unwrap();
    }
    bad.survives("sparse and enormous");
}

#[test]
fn hosts_that_lack_nearly_everything() {
    let empty = tempfile::tempdir().unwrap();
    let bad = Bad { dir: empty };
    bad.survives("an empty directory");
    let list = bad.run(&["list"]);
    assert_eq!(list.code, 0);
    assert!(list.out.contains("No PCI functions: "), "{}", list.out);
    fs::create_dir_all(bad.at("/proc/self")).unwrap();
    bad.survives("only /proc");
    fs::create_dir_all(bad.at("/sys/bus/pci/devices")).unwrap();
    bad.survives("no devices");
    let bad = Bad::new();
    bad.remove("/sys");
    bad.survives("no /sys");
    // What could not be seen is not called absent.
    let screen = bad.run(&[]);
    assert!(screen.out.contains("cannot be seen") && !screen.out.contains("No GPU"), "{}", screen.out);
    assert_eq!(bad.run(&["list", "--json"]).json()["incomplete"], "no /sys/bus/pci");
    assert!(bad.run(&["list", "--usb", "--json"]).json()["usb"].is_null());
    let check = bad.run(&["check", "--json"]);
    assert!(!check.out.contains("iommu-off") && !check.out.contains("no-iommu-group"), "{}", check.out);
    assert_eq!(bad.run(&["list", "01:00"]).code, 2);
}

#[test]
fn roots_and_recordings_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    fs::write(&file, "text").unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let cases = [
        ("--root", at("a-file")),
        ("--root", at("missing")),
        ("--root", String::new()),
        ("--from", at("a-file")),
        ("--from", at("empty")),
        ("--from", at("missing")),
        ("--from", dir.path().to_str().unwrap().to_owned()),
        ("--from", "/dev/null".to_owned()),
        ("--from", String::new()),
    ];
    for (option, path) in cases {
        for verb in [&[][..], &["list"], &["check", "--json"], &["explain", "group", "1"]] {
            let mut args = vec![option, &path];
            args.extend(verb);
            let said = vfioneer(&args);
            said.sane(&format!("{option} {path:?} {verb:?}"));
            assert!(matches!(said.code, 2 | 3), "{option} {path:?}: {}", said.code);
            match verb.contains(&"--json") {
                true => assert_eq!(said.json()["schema"], "vfioneer/error/1", "{option} {path:?}"),
                false => assert_eq!(said.out, "", "{option} {path:?}"),
            }
            assert!(said.err.contains(&path), "{option} {path:?} is not named: {}", said.err);
        }
    }
}

#[test]
fn recordings_that_are_cut_off_or_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole.tar.zst");
    let said = Bad::new().run(&["capture", whole.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{}", said.err);
    let bytes = fs::read(&whole).unwrap();
    let bad = dir.path().join("bad.tar.zst");
    let path = bad.to_str().unwrap();
    for step in 0..12 {
        fs::write(&bad, &bytes[..bytes.len() * step / 12]).unwrap();
        let said = vfioneer(&["--from", path, "check"]);
        said.sane(&format!("cut at {step}/12"));
        assert!(matches!(said.code, 2 | 3), "cut at {step}/12: {}", said.code);
        assert!(said.err.contains(path), "{}", said.err);
        let mut damaged = bytes.clone();
        let at = (bytes.len() * step / 12 + 5).min(bytes.len() - 1);
        damaged[at] ^= 0x55;
        fs::write(&bad, &damaged).unwrap();
        vfioneer(&["--from", path, "check"]).sane(&format!("damaged at {at}"));
    }
}

#[test]
fn pasted_text_of_any_kind() {
    let dir = tempfile::tempdir().unwrap();
    let binary: Vec<u8> = (0..=255u8).cycle().take(1_000_000).collect();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("binary", binary),
        ("zeroes", vec![0; 1 << 20]),
        ("one line", vec![b'a'; 4 << 20]),
        ("blank lines", b"\n".repeat(1 << 20)),
        ("one line of lspci", b"01:00.0 VGA [0300]: NVIDIA [10de:2684] ".repeat(50_000)),
        (
            "many functions",
            (0..20_000)
                .map(|n| format!("{:04x}:{:02x}:00.0 VGA [0300]: N [10de:2684]\n", n / 256, n % 256))
                .collect::<String>()
                .into_bytes(),
        ),
        ("one XML", b"<domain><a>".repeat(100_000)),
        ("terminal control", b"vfio-pci 0000:01:00.0: BAR 1: can't reserve [mem \x1b]0;x\x07]\n".to_vec()),
    ];
    for (case, bytes) in cases {
        let file = dir.path().join("log");
        fs::write(&file, bytes).unwrap();
        let path = file.to_str().unwrap();
        let said = vfioneer(&["check", "--log", path]);
        said.sane(case);
        assert!(said.code < 2, "{case}: {} {}", said.code, said.err);
        let said = vfioneer(&["check", "--log", path, "--json"]);
        said.sane(case);
        said.json();
    }
    let file = dir.path().join("log");
    fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
    let said = vfioneer(&["check", "--log", file.to_str().unwrap()]);
    said.sane("enormous");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("larger than"), "{}", said.err);
}
