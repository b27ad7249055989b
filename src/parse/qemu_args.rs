//! A QEMU process's arguments to its name and its vfio devices. Pure.
//!
//! Grammar: <https://www.qemu.org/docs/master/system/invocation.html>.

/// One `-device vfio-pci…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VfioDevice {
    /// `host=`, as written; empty if `sysfsdev` or a descriptor is used.
    pub host: String,
    /// `sysfsdev=`, as written.
    pub sysfsdev: String,
    /// `romfile=`.
    pub rom_file: Option<String>,
    /// The option and its value.
    pub text: String,
}

/// What the arguments of a QEMU process say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Qemu {
    /// `-name`, without its options.
    pub name: String,
    /// libvirt names its guests `guest=…`.
    pub libvirt: bool,
    /// Proxmox VE's `-id`.
    pub id: Option<String>,
    /// In order.
    pub devices: Vec<VfioDevice>,
}

/// Parses `/proc/<pid>/cmdline`: arguments with NUL between them.
pub fn parse(cmdline: &str) -> Qemu {
    let mut qemu = Qemu::default();
    let mut words = cmdline.split('\0');
    while let Some(word) = words.next() {
        // QEMU takes `-name` and `--name` (system/vl.c `lookup_opt`).
        match word.strip_prefix("--").or_else(|| word.strip_prefix('-')) {
            Some("name") => {
                let value = words.next().unwrap_or_default();
                qemu.libvirt = value.starts_with("guest=");
                let first = value.split(',').next().unwrap_or_default();
                qemu.name = first.strip_prefix("guest=").unwrap_or(first).to_owned();
            }
            Some("id") => qemu.id = words.next().map(str::to_owned),
            Some("device") => qemu.devices.extend(words.next().and_then(device)),
            _ => {}
        }
    }
    qemu
}

fn device(value: &str) -> Option<VfioDevice> {
    let pairs = if value.starts_with('{') { json(value)? } else { plain(value) };
    let get = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    let driver = get("driver")?;
    if !matches!(driver.as_str(), "vfio-pci" | "vfio-pci-nohotplug" | "vfio-pci-igd-lpc-bridge") {
        return None;
    }
    Some(VfioDevice {
        host: get("host").unwrap_or_default(),
        sysfsdev: get("sysfsdev").unwrap_or_default(),
        rom_file: get("romfile").filter(|file| !file.is_empty()),
        text: format!("-device {value}").chars().take(400).collect(),
    })
}

/// `driver,key=value,…`; a comma in a value is written twice.
fn plain(value: &str) -> Vec<(String, String)> {
    let joined = value.replace(",,", "\u{1}");
    let mut pairs = Vec::new();
    for (index, part) in joined.split(',').enumerate() {
        let part = part.replace('\u{1}', ",");
        match part.split_once('=') {
            Some((key, value)) => pairs.push((key.to_owned(), value.to_owned())),
            None if index == 0 => pairs.push(("driver".to_owned(), part)),
            None => {}
        }
    }
    pairs
}

/// `{"driver":"vfio-pci","host":"0000:01:00.0",…}`, as libvirt writes it for QEMU 6.2 and later.
fn json(value: &str) -> Option<Vec<(String, String)>> {
    let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(value).ok()?;
    Some(map.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn proxmox_and_plain() {
        let qemu = parse(
            "/usr/bin/kvm\0-id\x00105\0-name\0win11,debug-threads=on\0-device\0vfio-pci,host=0000:01:00.0,id=hostpci0.0,romfile=a,,b.rom\0\
             -device\0virtio-net-pci,netdev=n\0--device\0driver=vfio-pci,sysfsdev=/sys/bus/pci/devices/0000:02:00.0\0-device\0",
        );
        assert_eq!((qemu.name.as_str(), qemu.id.as_deref(), qemu.libvirt), ("win11", Some("105"), false));
        assert_eq!(qemu.devices.len(), 2);
        assert_eq!(qemu.devices[0].host, "0000:01:00.0");
        assert_eq!(qemu.devices[0].rom_file.as_deref(), Some("a,b.rom"));
        assert!(qemu.devices[1].sysfsdev.ends_with("02:00.0"));
    }

    #[test]
    fn libvirt_json() {
        let qemu = parse(
            "/usr/bin/qemu-system-x86_64\0-name\0guest=win,debug-threads=on\0\
             -device\0{\"driver\":\"vfio-pci\",\"host\":\"0000:01:00.0\",\"x-vga\":true}\0-device\0{broken\0",
        );
        assert!(qemu.libvirt);
        assert_eq!(qemu.devices[0].host, "0000:01:00.0");
        assert_eq!(qemu.devices.len(), 1);
    }
}
