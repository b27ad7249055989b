//! A constructed host for the claim script: `/sys` of plain files and links in a temporary directory, with as much of
//! the kernel's behaviour as the script can see (`kernel.sh`).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use vfioneer::adapters::claim::{self, SCRIPT};
use vfioneer::facts::{self, Needs, pci::Pci};
use vfioneer::host::Tree;
use vfioneer::parse::address::Address;
use vfioneer::parse::claims;

/// The shells that run initramfs scripts: Debian without and with busybox, dracut, Arch.
pub const SHELLS: &[&[&str]] = &[&["dash"], &["bash"], &["busybox", "sh"], &["/usr/lib/klibc/bin/sh"]];

/// The line that the tests add to: after each write the kernel acts.
const WRITE: &str = "    { echo \"$2\" >\"$1\"; } 2>/dev/null\n";

/// An identity: vendor, device, subsystem vendor, subsystem device.
pub type Ids = (u16, u16, u16, u16);

/// A constructed host.
pub struct Machine {
    dir: tempfile::TempDir,
}

/// What a run of the script did.
pub struct Run {
    /// Its lines in the kernel's log, without level and `vfioneer: ` or `vfioneer-sriov: `.
    pub log: Vec<String>,
    /// What it wrote to the kernel, `path text`, and what it loaded, `modprobe name`.
    pub writes: Vec<String>,
}

impl Machine {
    /// A host without functions, on which the module `vfio-pci` can be loaded.
    pub fn new() -> Machine {
        let machine = Machine { dir: tempfile::tempdir().unwrap() };
        for dir in ["sys/bus/pci/devices", "sys/bus/pci/drivers", "proc", "dev", "etc/vfioneer", "sbin", "modules"] {
            fs::create_dir_all(machine.path(dir)).unwrap();
        }
        machine.file("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda2 ro quiet\n");
        machine.file("modules/vfio-pci", "");
        machine.file("sys/bus/pci/drivers_probe", "");
        machine.program("sbin/modprobe", include_str!("modprobe.sh"));
        machine.program("kernel.sh", include_str!("kernel.sh"));
        machine
    }

    /// A path of the host.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Writes a file of the host.
    pub fn file(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    fn program(&self, path: &str, text: &str) {
        self.file(path, text);
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Adds a function: `pci0000:00/0000:00:01.0/0000:01:00.0`. Bridges above it are there already.
    pub fn add(&self, chain: &str, ids: Ids) -> PathBuf {
        let dir = self.path("sys/devices").join(chain);
        fs::create_dir_all(&dir).unwrap();
        let values = [("vendor", ids.0), ("device", ids.1), ("subsystem_vendor", ids.2), ("subsystem_device", ids.3)];
        for (name, value) in values {
            fs::write(dir.join(name), format!("{value:#06x}\n")).unwrap();
        }
        fs::write(dir.join("class"), "0x030000\n").unwrap();
        fs::write(dir.join("driver_override"), "(null)\n").unwrap();
        fs::write(dir.join("config"), config(ids, None)).unwrap();
        let name = chain.rsplit('/').next().unwrap();
        symlink(format!("../../../devices/{chain}"), self.path("sys/bus/pci/devices").join(name)).unwrap();
        dir
    }

    /// Removes a function and its link.
    pub fn remove(&self, chain: &str) {
        fs::remove_dir_all(self.path("sys/devices").join(chain)).unwrap();
        fs::remove_file(self.path("sys/bus/pci/devices").join(chain.rsplit('/').next().unwrap())).unwrap();
    }

    /// Gives a function to a driver that is built in.
    pub fn bind(&self, address: &str, driver: &str) {
        let drivers = self.path("sys/bus/pci/drivers");
        let function = self.path("sys/bus/pci/devices").join(address);
        fs::create_dir_all(drivers.join(driver)).unwrap();
        fs::write(drivers.join(driver).join("unbind"), "").unwrap();
        fs::write(function.join("native"), format!("{driver}\n")).unwrap();
        symlink(drivers.join(driver), function.join("driver")).unwrap();
    }

    /// The driver that has a function now.
    pub fn driver(&self, address: &str) -> Option<String> {
        let link = fs::read_link(self.path("sys/bus/pci/devices").join(address).join("driver")).ok()?;
        Some(link.file_name().unwrap().to_str().unwrap().to_owned())
    }

    /// What the program reads of it.
    pub fn pci(&self) -> Pci {
        let host = Tree::mounted(self.dir.path()).unwrap();
        facts::pci::collect(&host, Needs::ALL)
    }

    /// Writes the claims that the program makes for these functions now.
    pub fn claim(&self, addresses: &[&str]) {
        let addresses: Vec<Address> = addresses.iter().map(|text| Address::parse(text).unwrap()).collect();
        let made = claim::claims(&self.pci(), &addresses).unwrap();
        self.file("etc/vfioneer/claims", &claims::write(&made));
    }

    /// Runs the script in a shell.
    pub fn run(&self, shell: &[&str]) -> Run {
        self.run_with(shell, SCRIPT, &[])
    }

    /// Runs a script with arguments in a shell.
    pub fn run_with(&self, shell: &[&str], script: &str, arguments: &[&str]) -> Run {
        for path in ["dev/kmsg", "writes"] {
            self.file(path, "");
        }
        assert_eq!(script.matches(WRITE).count(), 1, "the tests hang on this line of the script");
        let kernel = self.path("kernel.sh");
        let acting = format!("{WRITE}    \"{}\" \"$1\" \"$2\"\n", kernel.display());
        self.file("script.sh", &script.replace(WRITE, &acting));
        self.finish(Command::new(shell[0]).args(&shell[1..]).arg(self.path("script.sh")).args(arguments))
    }

    /// Runs the script as it is, on a host whose kernel does nothing.
    pub fn run_plain(&self, shell: &[&str], script: &Path) -> Run {
        if self.path("dev").exists() {
            self.file("dev/kmsg", "");
        }
        self.finish(Command::new(shell[0]).args(&shell[1..]).arg(script))
    }

    fn finish(&self, command: &mut Command) -> Run {
        let output = command.env("VFIONEER_ROOT", self.dir.path()).output();
        let output = output.unwrap_or_else(|e| panic!("{command:?}: {e} (make setup installs the shells)"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.is_empty(), "{command:?}: {} {said}", output.status);
        let text = fs::read_to_string(self.path("dev/kmsg")).unwrap_or_default();
        let line = |line: &str| {
            let rest = line.strip_prefix("<4>").or_else(|| line.strip_prefix("<6>"));
            let rest = rest.and_then(|rest| rest.strip_prefix("vfioneer")).unwrap_or_else(|| panic!("{line}"));
            rest.strip_prefix("-sriov")
                .unwrap_or(rest)
                .strip_prefix(": ")
                .unwrap_or_else(|| panic!("{line}"))
                .to_owned()
        };
        let writes = fs::read_to_string(self.path("writes")).unwrap_or_default();
        Run { log: text.lines().map(line).collect(), writes: writes.lines().map(str::to_owned).collect() }
    }
}

/// 4096 bytes of configuration space; with a serial number behind another extended capability.
pub fn config(ids: Ids, serial: Option<u64>) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    for (at, value) in [(0, ids.0), (2, ids.1), (0x2c, ids.2), (0x2e, ids.3)] {
        bytes[at..at + 2].copy_from_slice(&u16::to_le_bytes(value));
    }
    // Capabilities: PCI Express, an endpoint.
    bytes[6] = 0x10;
    bytes[0x0b] = 3;
    bytes[0x34] = 0x40;
    bytes[0x40..0x44].copy_from_slice(&[0x10, 0, 0x02, 0]);
    if let Some(serial) = serial {
        bytes[0x100..0x104].copy_from_slice(&(0x0001_u32 | 1 << 16 | 0x1a0 << 20).to_le_bytes());
        bytes[0x1a0..0x1a4].copy_from_slice(&(0x0003_u32 | 1 << 16).to_le_bytes());
        bytes[0x1a4..0x1ac].copy_from_slice(&serial.to_le_bytes());
    }
    bytes
}
