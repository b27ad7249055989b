//! sysfs of a constructed host: PCI functions, IOMMU groups, USB devices.

use super::{Entry, HostFile, Tree, config_space, line};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// One PCI function as written in `host.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// `DDDD:BB:DD.F`.
    pub at: String,
    /// `vvvv:dddd`.
    pub id: String,
    /// Subsystem ids.
    pub subsystem: Option<String>,
    /// Six hex digits.
    pub class: String,
    /// Revision id.
    #[serde(default)]
    pub revision: u8,
    /// The bound driver.
    pub driver: Option<String>,
    /// `driver_override`.
    pub driver_override: Option<String>,
    /// IOMMU group.
    pub group: Option<u32>,
    /// The bridge above.
    pub parent: Option<String>,
    /// The function that opens the PCI domain it is in (Intel VMD).
    pub behind: Option<String>,
    /// `endpoint`, `legacy`, `root`, `upstream`, `downstream`, `to-pci`, `integrated`, or `pci` for conventional.
    #[serde(default = "endpoint")]
    pub port: String,
    /// ACS capability and control registers.
    pub acs: Option<[u16; 2]>,
    /// Function level reset.
    #[serde(default)]
    pub flr: bool,
    /// Words of `reset_method`; left out: no method.
    pub reset: Option<String>,
    /// `boot_vga`.
    pub boot_vga: Option<bool>,
    /// NUMA node.
    pub numa: Option<u32>,
    /// Device serial number.
    pub serial: Option<String>,
    /// Active and possible virtual functions.
    pub sriov: Option<[u32; 2]>,
    /// The physical function of a virtual one.
    pub physfn: Option<String>,
    /// BARs: index to `start size`, hex start, size with K, M or G.
    #[serde(default)]
    pub bars: BTreeMap<String, String>,
    /// `resourceN_resize` by BAR index, hex.
    #[serde(default)]
    pub resize: BTreeMap<String, String>,
    /// `current-width max-width`.
    pub link: Option<[u32; 2]>,
    /// Power state.
    #[serde(default = "d0")]
    pub power: String,
    /// Network interface name.
    pub net: Option<String>,
    /// Block devices below it: name and `major:minor`.
    #[serde(default)]
    pub block: BTreeMap<String, String>,
    /// DRM card number with its connectors: name to status.
    pub card: Option<u32>,
    /// Connected outputs of the card.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// UUIDs of active mediated devices.
    #[serde(default)]
    pub mdev: Vec<String>,
    /// Config space reads as all ones.
    #[serde(default)]
    pub dead: bool,
}

fn endpoint() -> String {
    "endpoint".to_owned()
}

fn d0() -> String {
    "D0".to_owned()
}

impl Function {
    /// Vendor and device id.
    pub fn ids(&self) -> (u16, u16) {
        pair(&self.id)
    }

    /// Subsystem vendor and device id.
    pub fn subsystem_ids(&self) -> Option<(u16, u16)> {
        self.subsystem.as_deref().map(pair)
    }

    /// 24 bits.
    pub fn class_code(&self) -> u32 {
        u32::from_str_radix(&self.class, 16).unwrap_or_else(|_| panic!("{}: class {}", self.at, self.class))
    }

    /// Type 1 header.
    pub fn is_bridge(&self) -> bool {
        self.class_code() >> 8 == 0x0604
    }
}

fn pair(ids: &str) -> (u16, u16) {
    let (vendor, device) = ids.split_once(':').unwrap_or_else(|| panic!("ids {ids}"));
    let hex = |digits| u16::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("ids {ids}"));
    (hex(vendor), hex(device))
}

/// One USB device as written in `host.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usb {
    /// Address of the controller.
    pub controller: String,
    /// `1-4`.
    pub port: String,
    /// `vvvv:pppp`.
    pub id: String,
    /// Product string.
    pub name: String,
    /// `03/01/01` and so on, one per interface.
    pub interfaces: Vec<String>,
}

/// Adds all of `/sys` that describes functions.
pub fn add(tree: &mut Tree, host: &HostFile) {
    tree.insert("/sys/bus/pci/devices".to_owned(), Entry::Dir);
    let by_address: BTreeMap<&str, &Function> = host.functions.iter().map(|f| (f.at.as_str(), f)).collect();
    assert_eq!(by_address.len(), host.functions.len(), "two functions at one address");
    let slots: BTreeSet<&str> = host.functions.iter().filter(|f| !f.at.ends_with(".0")).map(|f| slot(&f.at)).collect();
    for function in &host.functions {
        let dir = directory(&by_address, function);
        let link = format!("../../../{}", &dir["/sys/".len()..]);
        tree.insert(format!("/sys/bus/pci/devices/{}", function.at), Entry::Link(link));
        attributes(tree, &dir, function, slots.contains(slot(&function.at)));
        let domain = host.iommu.as_ref().and_then(|iommu| iommu.domain.as_deref()).unwrap_or("DMA-FQ");
        relations(tree, &dir, &by_address, function, domain);
        users(tree, &dir, function);
    }
    for usb in &host.usb {
        let controller = by_address.get(usb.controller.as_str()).expect("USB controller");
        add_usb(tree, &directory(&by_address, controller), usb);
    }
}

fn slot(address: &str) -> &str {
    address.split('.').next().unwrap_or(address)
}

fn directory(all: &BTreeMap<&str, &Function>, function: &Function) -> String {
    match &function.parent {
        Some(parent) => {
            let bridge = all.get(parent.as_str()).unwrap_or_else(|| panic!("{}: no parent {parent}", function.at));
            format!("{}/{}", directory(all, bridge), function.at)
        }
        None => {
            let bus = function.at.rsplit_once(':').map_or("", |(bus, _)| bus);
            let above = function.behind.as_ref().map(|opener| {
                let opener = all.get(opener.as_str()).unwrap_or_else(|| panic!("{}: no {opener}", function.at));
                directory(all, opener)
            });
            format!("{}/pci{bus}/{}", above.as_deref().unwrap_or("/sys/devices"), function.at)
        }
    }
}

fn attributes(tree: &mut Tree, dir: &str, function: &Function, multifunction: bool) {
    let (vendor, device) = function.ids();
    let (subvendor, subdevice) = function.subsystem_ids().unwrap_or((0, 0));
    let class = function.class_code();
    line(tree, format!("{dir}/vendor"), format_args!("0x{vendor:04x}"));
    line(tree, format!("{dir}/device"), format_args!("0x{device:04x}"));
    line(tree, format!("{dir}/class"), format_args!("0x{class:06x}"));
    line(tree, format!("{dir}/revision"), format_args!("0x{:02x}", function.revision));
    line(tree, format!("{dir}/subsystem_vendor"), format_args!("0x{subvendor:04x}"));
    line(tree, format!("{dir}/subsystem_device"), format_args!("0x{subdevice:04x}"));
    line(tree, format!("{dir}/irq"), 0);
    line(tree, format!("{dir}/numa_node"), function.numa.map_or(-1, i64::from));
    line(tree, format!("{dir}/driver_override"), function.driver_override.as_deref().unwrap_or("(null)"));
    line(tree, format!("{dir}/power_state"), &function.power);
    line(tree, format!("{dir}/d3cold_allowed"), 1);
    let modalias = format!(
        "pci:v{vendor:08X}d{device:08X}sv{subvendor:08X}sd{subdevice:08X}bc{:02X}sc{:02X}i{:02X}",
        class >> 16,
        class >> 8 & 0xff,
        class & 0xff
    );
    line(tree, format!("{dir}/modalias"), modalias);
    let mut space = config_space::bytes(function, multifunction);
    if function.dead {
        space.fill(0xff);
    }
    tree.insert(format!("{dir}/config"), Entry::File(space));
    if let Some(methods) = &function.reset {
        line(tree, format!("{dir}/reset_method"), methods);
        tree.insert(format!("{dir}/reset"), Entry::File(Vec::new()));
    }
    if let Some(boot) = function.boot_vga {
        line(tree, format!("{dir}/boot_vga"), u8::from(boot));
    }
    if let Some([width, most]) = function.link {
        line(tree, format!("{dir}/current_link_width"), width);
        line(tree, format!("{dir}/max_link_width"), most);
        line(tree, format!("{dir}/current_link_speed"), "2.5 GT/s PCIe");
        line(tree, format!("{dir}/max_link_speed"), "16.0 GT/s PCIe");
    }
    resources(tree, dir, function);
}

fn resources(tree: &mut Tree, dir: &str, function: &Function) {
    let mut lines = vec!["0x0000000000000000 0x0000000000000000 0x0000000000000000".to_owned(); 13];
    for (index, text) in &function.bars {
        let (start, size) = text.split_once(' ').unwrap_or_else(|| panic!("{}: bar {text}", function.at));
        let start = u64::from_str_radix(start, 16).expect("bar start");
        let (digits, unit) = size.split_at(size.len() - 1);
        let factor: u64 = match unit {
            "K" => 1 << 10,
            "M" => 1 << 20,
            "G" => 1 << 30,
            _ => panic!("{}: bar size {size}", function.at),
        };
        let end = start + digits.parse::<u64>().expect("bar size") * factor - 1;
        let index: usize = index.parse().expect("bar index");
        // IORESOURCE_MEM, with PREFETCH and MEM_64 for what lies above 4 GiB, ROM as the kernel marks it.
        let flags: u64 = if index == 6 {
            0x46200
        } else if start >> 32 > 0 {
            0x14220c
        } else {
            0x40200
        };
        lines[index] = format!("0x{start:016x} 0x{end:016x} 0x{flags:016x}");
        if index == 6 {
            tree.insert(format!("{dir}/rom"), Entry::File(Vec::new()));
        }
    }
    line(tree, format!("{dir}/resource"), lines.join("\n"));
    for (index, bits) in &function.resize {
        line(tree, format!("{dir}/resource{index}_resize"), bits);
    }
}

fn up(dir: &str) -> String {
    "../".repeat(dir.matches('/').count() - 1)
}

fn relations(tree: &mut Tree, dir: &str, all: &BTreeMap<&str, &Function>, function: &Function, domain: &str) {
    if let Some(driver) = &function.driver {
        tree.insert(format!("{dir}/driver"), Entry::Link(format!("{}bus/pci/drivers/{driver}", up(dir))));
        tree.insert(format!("/sys/bus/pci/drivers/{driver}"), Entry::Dir);
    }
    if let Some(group) = function.group {
        tree.insert(format!("{dir}/iommu_group"), Entry::Link(format!("{}kernel/iommu_groups/{group}", up(dir))));
        let base = format!("/sys/kernel/iommu_groups/{group}");
        tree.entry(format!("{base}/type")).or_insert_with(|| Entry::File(format!("{domain}\n").into_bytes()));
        tree.entry(format!("{base}/reserved_regions"))
            .or_insert_with(|| Entry::File(b"0x00000000fee00000 0x00000000feefffff msi\n".to_vec()));
        tree.insert(
            format!("{base}/devices/{}", function.at),
            Entry::Link(format!("../../../../{}", &dir["/sys/".len()..])),
        );
    }
    if let Some([active, total]) = function.sriov {
        line(tree, format!("{dir}/sriov_totalvfs"), total);
        line(tree, format!("{dir}/sriov_numvfs"), active);
        line(tree, format!("{dir}/sriov_drivers_autoprobe"), 1);
    }
    if let Some(physical) = &function.physfn {
        assert!(all.contains_key(physical.as_str()), "{}: no physfn {physical}", function.at);
        tree.insert(format!("{dir}/physfn"), Entry::Link(format!("../{physical}")));
        let brothers = all.values().filter(|f| f.physfn.as_ref() == Some(physical) && f.at < function.at).count();
        let above = dir.rsplit_once('/').map_or("", |(above, _)| above);
        tree.insert(format!("{above}/{physical}/virtfn{brothers}"), Entry::Link(format!("../{}", function.at)));
    }
    for uuid in &function.mdev {
        tree.insert(format!("{dir}/{uuid}"), Entry::Dir);
        tree.insert(
            format!("/sys/bus/mdev/devices/{uuid}"),
            Entry::Link(format!("../../../{}/{uuid}", &dir["/sys/".len()..])),
        );
        tree.insert(format!("{dir}/mdev_supported_types"), Entry::Dir);
    }
}

fn users(tree: &mut Tree, dir: &str, function: &Function) {
    if let Some(interface) = &function.net {
        line(tree, format!("{dir}/net/{interface}/operstate"), "up");
        tree.insert(format!("{dir}/net/{interface}/device"), Entry::Link(format!("../../../{}", function.at)));
        tree.insert(
            format!("/sys/class/net/{interface}"),
            Entry::Link(format!("../../{}/net/{interface}", &dir["/sys/".len()..])),
        );
    }
    let mut names: Vec<&String> = function.block.keys().collect();
    names.sort();
    for name in &names {
        // A partition lies below its disk: the longest other name that it begins with.
        let disk =
            names.iter().filter(|other| *other != name && name.starts_with(other.as_str())).max_by_key(|n| n.len());
        let at = match disk {
            Some(disk) => format!("{dir}/block/{disk}/{name}"),
            None => format!("{dir}/block/{name}"),
        };
        let number = &function.block[*name];
        line(tree, format!("{at}/dev"), number);
        if disk.is_some() {
            line(tree, format!("{at}/partition"), 1);
        } else {
            tree.insert(format!("{at}/device"), Entry::Link(format!("../../../{}", function.at)));
        }
        let below = &at["/sys/".len()..];
        tree.insert(format!("/sys/dev/block/{number}"), Entry::Link(format!("../../{below}")));
        tree.insert(format!("/sys/class/block/{name}"), Entry::Link(format!("../../{below}")));
    }
    if let Some(card) = function.card {
        let at = format!("{dir}/drm/card{card}");
        line(tree, format!("{at}/dev"), format_args!("226:{card}"));
        tree.insert(format!("{at}/device"), Entry::Link(format!("../../../{}", function.at)));
        let below = at["/sys/".len()..].to_owned();
        tree.insert(format!("/sys/class/drm/card{card}"), Entry::Link(format!("../../{below}")));
        tree.insert(format!("/sys/dev/char/226:{card}"), Entry::Link(format!("../../{below}")));
        let (node, minor) = (format!("renderD{}", 128 + card), 128 + card);
        line(tree, format!("{dir}/drm/{node}/dev"), format_args!("226:{minor}"));
        let below_node = format!("{}/drm/{node}", &dir["/sys/".len()..]);
        tree.insert(format!("/sys/class/drm/{node}"), Entry::Link(format!("../../{below_node}")));
        for output in &function.outputs {
            line(tree, format!("{at}/card{card}-{output}/status"), "connected");
            line(tree, format!("{at}/card{card}-{output}/enabled"), "enabled");
            tree.insert(
                format!("/sys/class/drm/card{card}-{output}"),
                Entry::Link(format!("../../{below}/card{card}-{output}")),
            );
        }
    }
}

fn add_usb(tree: &mut Tree, controller: &str, usb: &Usb) {
    let bus = usb.port.split('-').next().expect("bus");
    let root = format!("{controller}/usb{bus}");
    line(tree, format!("{root}/idVendor"), "1d6b");
    line(tree, format!("{root}/idProduct"), "0002");
    tree.insert(format!("/sys/bus/usb/devices/usb{bus}"), Entry::Link(format!("../../../{}", &root["/sys/".len()..])));
    let at = format!("{root}/{}", usb.port);
    let (vendor, product) = usb.id.split_once(':').expect("USB ids");
    line(tree, format!("{at}/idVendor"), vendor);
    line(tree, format!("{at}/idProduct"), product);
    line(tree, format!("{at}/product"), &usb.name);
    tree.insert(
        format!("/sys/bus/usb/devices/{}", usb.port),
        Entry::Link(format!("../../../{}", &at["/sys/".len()..])),
    );
    for (number, codes) in usb.interfaces.iter().enumerate() {
        let name = format!("{}:1.{number}", usb.port);
        let mut parts = codes.split('/');
        for attribute in ["bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol"] {
            line(tree, format!("{at}/{name}/{attribute}"), parts.next().expect("interface codes"));
        }
        let below = format!("{}/{name}", &at["/sys/".len()..]);
        tree.insert(format!("/sys/bus/usb/devices/{name}"), Entry::Link(format!("../../../{below}")));
    }
}
