//! Proxmox VE's guest configuration (`qemu-server/<id>.conf`, `lxc/<id>.conf`) and section files (`mapping/pci.cfg`). Pure.
//!
//! Grammar: qemu-server `PVE/QemuServer.pm` `parse_vm_config` and `PVE/QemuServer/PCI.pm`, pve-common `PVE/SectionConfig.pm`.

use super::address::Address;

/// One `key: value` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1.
    pub line: u32,
    /// Before the colon.
    pub key: String,
    /// After it, without white space around.
    pub value: String,
    /// The line as it stands there.
    pub text: String,
}

/// The part of a guest's configuration that is in force: what stands above the first `[section]`, which is a
/// snapshot's, or changes that wait for the next start (`[PENDING]`).
pub fn current(text: &str) -> Vec<Entry> {
    let lines = (1u32..).zip(text.lines());
    let top = lines.take_while(|(_, line)| !line.starts_with('['));
    top.filter(|(_, line)| !line.starts_with('#')).filter_map(|(line, text)| entry(line, text)).collect()
}

/// What the guest has at its next start: [`current`] with the changes of `[PENDING]`, which qemu-server makes of what is set while it runs
/// (`PVE/QemuServer.pm` `vmconfig_apply_pending`; `delete:` has the keys that go, each with `!` in front where that is forced).
pub fn next(text: &str) -> Vec<Entry> {
    let mut entries = current(text);
    let lines = (1u32..).zip(text.lines()).skip_while(|(_, line)| !line.starts_with("[PENDING]")).skip(1);
    let pending = lines.take_while(|(_, line)| !line.starts_with('[')).filter(|(_, line)| !line.starts_with('#'));
    for change in pending.filter_map(|(line, text)| entry(line, text)) {
        if change.key == "delete" {
            let keys: Vec<&str> = change.value.split(',').map(|key| key.trim().trim_start_matches('!')).collect();
            entries.retain(|entry| !keys.contains(&entry.key.as_str()));
        } else {
            entries.retain(|entry| entry.key != change.key);
            entries.push(change);
        }
    }
    entries
}

fn entry(line: u32, text: &str) -> Option<Entry> {
    let (key, value) = text.split_once(':')?;
    let key_ok = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    key_ok.then(|| Entry { line, key: key.into(), value: value.trim().into(), text: text.trim().into() })
}

/// The value of `key=…` in a comma-separated list.
pub fn option<'a>(list: &'a str, key: &str) -> Option<&'a str> {
    list.split(',').find_map(|part| part.trim().strip_prefix(key)?.strip_prefix('='))
}

/// What a device's path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// `0000:01:00.0`: one function.
    Function(Address),
    /// `01:00`: all functions of the slot.
    Slot(Address),
    /// No address.
    Malformed(String),
}

/// Reads one path: domain optional, function optional.
pub fn path(text: &str) -> Path {
    let text = text.trim();
    match Address::parse(text) {
        Some(address) => Path::Function(address),
        None => Address::parse(&format!("{text}.0")).map_or_else(|| Path::Malformed(text.into()), Path::Slot),
    }
}

/// The value of a `hostpciN` line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPci {
    /// `[host=]a;b`.
    pub paths: Vec<Path>,
    /// `mapping=name`.
    pub mapping: Option<String>,
    /// All other `key=value` pairs.
    pub options: Vec<(String, String)>,
}

impl HostPci {
    /// The value of an option.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Parses the value of a `hostpciN` line; `host` is the key of the first item that has none.
pub fn host_pci(value: &str) -> HostPci {
    let mut device = HostPci::default();
    for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            None | Some(("host", _)) => {
                let list = part.strip_prefix("host=").unwrap_or(part);
                device.paths.extend(list.split(';').map(path));
            }
            Some(("mapping", name)) => device.mapping = Some(name.into()),
            Some((key, value)) => device.options.push((key.into(), value.into())),
        }
    }
    device
}

/// One `map` line of a PCI mapping: what the mapping means on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapLine {
    /// Counted from 1.
    pub line: u32,
    /// The mapping's name.
    pub mapping: String,
    /// The cluster node.
    pub node: String,
    /// `path=a;b`.
    pub paths: Vec<Path>,
    /// `id=vvvv:dddd`, empty if none.
    pub id: String,
    /// The line as it stands there.
    pub text: String,
}

/// Parses `/etc/pve/mapping/pci.cfg`: a name at the line's start, then indented `map key=value,…` lines.
pub fn mappings(text: &str) -> Vec<MapLine> {
    let mut found = Vec::new();
    let mut name = "";
    for (line, raw) in (1u32..).zip(text.lines()) {
        if raw.trim().is_empty() || raw.starts_with('#') {
            continue;
        }
        if !raw.starts_with([' ', '\t']) {
            // Section files say `type: name`; this one has a single type and only the name.
            name = raw.rsplit(':').next().unwrap_or(raw).trim();
            continue;
        }
        let Some(map) = raw.trim().strip_prefix("map ") else { continue };
        let value = |key: &str| option(map, key);
        found.push(MapLine {
            line,
            mapping: name.into(),
            node: value("node").unwrap_or_default().into(),
            paths: value("path").unwrap_or_default().split(';').filter(|p| !p.is_empty()).map(path).collect(),
            id: value("id").unwrap_or_default().to_ascii_lowercase(),
            text: raw.trim().into(),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn hostpci_values() {
        use Path::{Function, Malformed, Slot};
        for (value, paths, mapping) in [
            ("01:00,pcie=1,x-vga=1", vec![Slot(at("01:00.0"))], None),
            ("0000:01:00.0;0000:01:00.1,pcie=1", vec![Function(at("01:00.0")), Function(at("01:00.1"))], None),
            ("pcie=1,host=10000:e1:00.0", vec![Function(at("10000:e1:00.0"))], None),
            ("mapping=gpu1,pcie=1", vec![], Some("gpu1")),
            ("1:0", vec![Malformed("1:0".into())], None),
            ("", vec![], None),
            (",,=,", vec![], None),
        ] {
            let device = host_pci(value);
            assert_eq!((device.paths, device.mapping.as_deref()), (paths, mapping), "{value:?}");
        }
        assert_eq!(host_pci("01:00,romfile=a.rom").option("romfile"), Some("a.rom"));
    }

    #[test]
    fn only_the_current_section() {
        let text = "#a description%3A hostpci9%3A 02%3A00\n#hostpci8: 03:00\nname: win11\nhostpci0: 01:00,pcie=1\n\
                    bad line\n: x\n\n[before-update]\nhostpci1: 02:00\n[PENDING]\nhostpci2: 04:00\n";
        let entries = current(text);
        let keys: Vec<(u32, &str)> = entries.iter().map(|e| (e.line, e.key.as_str())).collect();
        assert_eq!(keys, [(3, "name"), (4, "hostpci0")]);
    }

    #[test]
    fn what_the_next_start_has() {
        let text = "hostpci0: 01:00\nhostpci1: 02:00\nmemory: 512\n[PENDING]\nhostpci1: 03:00\nhostpci2: 04:00\n\
                    delete: hostpci0,!memory\n[snap]\nhostpci5: 05:00\n";
        let shown: Vec<String> = next(text).iter().map(|e| format!("{}: {} {}", e.key, e.value, e.line)).collect();
        assert_eq!(shown, ["hostpci1: 03:00 5", "hostpci2: 04:00 6"]);
    }

    #[test]
    fn pci_mappings() {
        let lines = mappings(
            "gpu1\n\tdescription the big one\n\tmap id=10de:2204,iommugroup=14,node=n1,path=0000:01:00,subsystem-id=1\n\
             \tmap id=10DE:2204,node=n2,path=0000:41:00.0;0000:42:00.0\n\tmdev 0\n\nnic\n\tmap node=n1\n",
        );
        let got: Vec<(&str, &str, usize, &str)> =
            lines.iter().map(|l| (l.mapping.as_str(), l.node.as_str(), l.paths.len(), l.id.as_str())).collect();
        assert_eq!(got, [("gpu1", "n1", 1, "10de:2204"), ("gpu1", "n2", 2, "10de:2204"), ("nic", "n1", 0, "")]);
        assert_eq!(lines[1].line, 4);
    }
}
