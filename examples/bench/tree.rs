//! A made-up host: root ports with a switch below each, and graphics cards, disks and network cards below that.
//!
//! Attributes are those of Linux 6.12. Files with equal content are one file with many names, or the tree would
//! take gigabytes.

use std::collections::HashMap;
use std::fs;
use std::io::Result;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const RELEASE: &str = "6.12.0-bench";

/// Most file systems allow some 65,000 names for one file.
const NAMES: usize = 50_000;

/// What a function is.
struct Model {
    ids: (u16, u16),
    class: u32,
    /// PCIe device/port type.
    port: u8,
    driver: &'static str,
}

const ROOT_PORT: Model = Model { ids: (0x8086, 0x352a), class: 0x060400, port: 4, driver: "pcieport" };
const UPSTREAM: Model = Model { ids: (0x1000, 0xc030), class: 0x060400, port: 5, driver: "pcieport" };
const DOWNSTREAM: Model = Model { ids: (0x1000, 0xc030), class: 0x060400, port: 6, driver: "pcieport" };
const GPU: [Model; 4] = [
    Model { ids: (0x10de, 0x1e07), class: 0x030000, port: 1, driver: "nouveau" },
    Model { ids: (0x10de, 0x10f7), class: 0x040300, port: 0, driver: "snd_hda_intel" },
    Model { ids: (0x10de, 0x1ad6), class: 0x0c0330, port: 0, driver: "xhci_hcd" },
    Model { ids: (0x10de, 0x1ad7), class: 0x0c8000, port: 0, driver: "nvidia-gpu" },
];
const DISK: [Model; 1] = [Model { ids: (0x144d, 0xa80a), class: 0x010802, port: 0, driver: "nvme" }];
const NETWORK: [Model; 2] = [
    Model { ids: (0x15b3, 0x101d), class: 0x020000, port: 0, driver: "mlx5_core" },
    Model { ids: (0x15b3, 0x101d), class: 0x020000, port: 0, driver: "mlx5_core" },
];

/// The slot of the first graphics card of every made-up host.
pub const CARD: &str = "0000:03:00";

/// Writes a host of `count` functions below `root`.
pub fn make(root: &Path, count: usize) -> Result<()> {
    let mut tree = Tree { root: root.to_owned(), pool: HashMap::new(), left: count, groups: 0 };
    tree.file("proc/sys/kernel/osrelease", format!("{RELEASE}\n").as_bytes())?;
    tree.file("proc/cmdline", b"BOOT_IMAGE=/vmlinuz root=/dev/sda1 intel_iommu=on\n")?;
    tree.file("sys/firmware/acpi/tables/DSDT", b"")?;
    tree.file("sys/class/iommu/dmar0/intel-iommu/version", b"1:0\n")?;
    tree.file(&format!("lib/modules/{RELEASE}/modules.alias"), aliases().as_bytes())?;
    fs::create_dir_all(root.join("sys/bus/pci/devices"))?;
    for domain in 0.. {
        if tree.left == 0 {
            break;
        }
        tree.domain(domain)?;
    }
    Ok(())
}

struct Tree {
    root: PathBuf,
    /// Content to a file that has it, and how many names that has.
    pool: HashMap<Vec<u8>, (PathBuf, usize)>,
    left: usize,
    groups: u32,
}

impl Tree {
    /// Up to thirty root ports with six buses each.
    fn domain(&mut self, domain: u32) -> Result<()> {
        let top = format!("pci{domain:04x}:00");
        for port in 1..=30u32 {
            let bus = (port - 1) * 6 + 1;
            let Some(root_port) = self.function(&top, &format!("{domain:04x}:00:{port:02x}.0"), &ROOT_PORT)? else {
                return Ok(());
            };
            let Some(upstream) = self.function(&root_port, &format!("{domain:04x}:{bus:02x}:00.0"), &UPSTREAM)? else {
                return Ok(());
            };
            for (slot, card) in [&GPU[..], &DISK, &NETWORK, &GPU].into_iter().enumerate() {
                let name = format!("{domain:04x}:{:02x}:{slot:02x}.0", bus + 1);
                let Some(down) = self.function(&upstream, &name, &DOWNSTREAM)? else { return Ok(()) };
                for (number, model) in card.iter().enumerate() {
                    let name = format!("{domain:04x}:{:02x}:00.{number}", bus + 2 + slot as u32);
                    self.groups -= u32::from(number > 0 && card.len() > 2);
                    if self.function(&down, &name, model)?.is_none() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a function below another; gives its path below `sys/devices`, or `None` when there are enough.
    fn function(&mut self, parent: &str, name: &str, model: &Model) -> Result<Option<String>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let path = format!("{parent}/{name}");
        let dir = format!("sys/devices/{path}");
        fs::create_dir_all(self.root.join(&dir))?;
        let (vendor, device) = model.ids;
        let bridge = model.class >> 8 == 0x0604;
        let modalias = format!("pci:v{vendor:08X}d{device:08X}sv00001043sd000088ADbc{:02X}", model.class >> 16);
        let mut values = vec![
            ("vendor", format!("{vendor:#06x}")),
            ("device", format!("{device:#06x}")),
            ("subsystem_vendor", if bridge { "0x0000" } else { "0x1043" }.to_owned()),
            ("subsystem_device", if bridge { "0x0000" } else { "0x88ad" }.to_owned()),
            ("class", format!("{:#08x}", model.class)),
            ("revision", "0xa1".to_owned()),
            ("irq", "16".to_owned()),
            ("numa_node", "0".to_owned()),
            ("resource", resource(bridge)),
            ("modalias", modalias),
            ("power_state", "D0".to_owned()),
            ("d3cold_allowed", "1".to_owned()),
            ("driver_override", "(null)".to_owned()),
            ("current_link_speed", "16.0 GT/s PCIe".to_owned()),
            ("current_link_width", "16".to_owned()),
            ("max_link_speed", "16.0 GT/s PCIe".to_owned()),
            ("max_link_width", "16".to_owned()),
        ];
        for name in ["ari_enabled", "broken_parity_status", "enable", "msi_bus", "local_cpulist", "local_cpus"] {
            values.push((name, "0".to_owned()));
        }
        for name in ["consistent_dma_mask_bits", "dma_mask_bits"] {
            values.push((name, "64".to_owned()));
        }
        if !bridge {
            values.push(("reset_method", "flr bus".to_owned()));
            values.push(("reset", String::new()));
        }
        if model.class == 0x030000 {
            values.push(("boot_vga", "0".to_owned()));
        }
        for (name, value) in values {
            self.file(&format!("{dir}/{name}"), format!("{value}\n").as_bytes())?;
        }
        self.file(&format!("{dir}/config"), &config(model))?;

        let up = "../".repeat(path.split('/').count() + 1);
        let here = self.root.join(&dir);
        let driver = format!("bus/pci/drivers/{}", model.driver);
        fs::create_dir_all(self.root.join("sys").join(&driver))?;
        symlink(format!("{up}{driver}"), here.join("driver"))?;
        symlink(format!("{up}bus/pci"), here.join("subsystem"))?;
        let group = format!("kernel/iommu_groups/{}", self.groups);
        self.groups += 1;
        symlink(format!("{up}{group}"), here.join("iommu_group"))?;
        if !self.root.join("sys").join(&group).exists() {
            self.file(&format!("sys/{group}/type"), b"DMA-FQ\n")?;
            let regions = b"0x00000000fee00000 0x00000000feefffff msi\n";
            self.file(&format!("sys/{group}/reserved_regions"), regions)?;
        }
        symlink(format!("../../../devices/{path}"), self.root.join("sys/bus/pci/devices").join(name))?;
        Ok(Some(path))
    }

    fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let path = self.root.join(path);
        if let Some((first, names)) = self.pool.get_mut(content)
            && *names < NAMES
        {
            if let Err(error) = fs::hard_link(&first, &path) {
                if error.kind() != std::io::ErrorKind::NotFound {
                    return Err(error);
                }
                fs::create_dir_all(path.parent().unwrap_or(&path))?;
                fs::hard_link(&first, &path)?;
            }
            *names += 1;
            return Ok(());
        }
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&path, content)?;
        self.pool.insert(content.to_vec(), (path, 1));
        Ok(())
    }
}

fn resource(bridge: bool) -> String {
    let mut lines = vec!["0x0000000000000000 0x0000000000000000 0x0000000000000000"; 13];
    if !bridge {
        lines[0] = "0x00000000fa000000 0x00000000faffffff 0x0000000000040200";
        lines[1] = "0x000000d000000000 0x000000d00fffffff 0x000000000014220c";
        lines[6] = "0x00000000fb000000 0x00000000fb07ffff 0x0000000000046200";
    }
    lines.join("\n")
}

/// 4096 bytes, as root reads them: power management, MSI, PCIe; ACS in ports.
fn config(model: &Model) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(0, &model.ids.0.to_le_bytes());
    put(2, &model.ids.1.to_le_bytes());
    put(6, &[0x10]);
    put(8, &(model.class << 8 | 0xa1).to_le_bytes());
    let bridge = model.class >> 8 == 0x0604;
    put(0x0e, &[u8::from(bridge)]);
    if !bridge {
        put(0x2c, &[0x43, 0x10, 0xad, 0x88]);
    }
    put(0x34, &[0x40]);
    put(0x40, &[0x01, 0x50, 0x03, 0x00]);
    put(0x50, &[0x05, 0x60, 0x80, 0x00]);
    put(0x60, &[0x10, 0x00, model.port << 4 | 2, 0x00, 0x00, 0x00, 0x00, 0x10]);
    put(0x6c, &[0x04, 0x01]);
    put(0x72, &[0x04, 0x01]);
    put(0x100, &[0x01, 0x00, 0x02, 0x20]);
    if bridge {
        put(0x200, &[0x0d, 0x00, 0x01, 0x00, 0x5f, 0x00, 0x1d, 0x00]);
    }
    bytes
}

/// Twenty thousand aliases, as many as a distribution's kernel has; some thousand for PCI.
fn aliases() -> String {
    let mut text = String::from("# Aliases extracted from modules themselves.\n");
    for number in 0..14_000u32 {
        text.push_str(&format!(
            "alias usb:v{:04X}p{number:04X}d*dc*dsc*dp*ic*isc*ip*in* usb_{}\n",
            number / 7,
            number / 20
        ));
    }
    for number in 0..6_000u32 {
        let vendor = [0x8086, 0x1022, 0x10de, 0x15b3, 0x1000, 0x14e4][number as usize % 6];
        text.push_str(&format!("alias pci:v{vendor:08X}d{number:08X}sv*sd*bc*sc*i* module_{}\n", number / 20));
    }
    text.push_str(
        "alias pci:v000010DEd*sv*sd*bc03sc00i00* nouveau\nalias pci:v*d*sv*sd*bc04sc03i00* snd_hda_intel\n\
         alias pci:v*d*sv*sd*bc0Csc03i30* xhci_pci\nalias pci:v*d*sv*sd*bc01sc08i02* nvme\n\
         alias pci:v000015B3d0000101Dsv*sd*bc*sc*i* mlx5_core\nalias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n",
    );
    text
}
