//! `list --all --json` compared field by field with `lspci -Dnnkmmv` and a raw dump of sysfs of the same machine.

use std::collections::BTreeMap;

use serde_json::Value;

/// Per address, key and value as sysfs has them.
pub type Sysfs = BTreeMap<String, BTreeMap<String, String>>;
/// Per address, the fields that lspci prints; a field can come more than once.
pub type Lspci = BTreeMap<String, Vec<(String, String)>>;

/// Reads the output of `dump.sh`.
pub fn parse_sysfs(text: &str) -> Sysfs {
    let mut functions = Sysfs::new();
    for line in text.lines() {
        let mut words = line.splitn(3, ' ');
        if let (Some(address), Some(key)) = (words.next(), words.next()) {
            let value = words.next().unwrap_or_default().trim();
            functions.entry(address.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        }
    }
    functions
}

/// Reads the output of `lspci -Dnnkmmv`.
pub fn parse_lspci(text: &str) -> Lspci {
    let mut functions = Lspci::new();
    for record in text.split("\n\n") {
        let mut fields = record.lines().filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            Some((key.to_owned(), value.trim().to_owned()))
        });
        if let Some((_, slot)) = fields.next() {
            functions.insert(slot, fields.collect());
        }
    }
    functions
}

/// Every difference between the program's answer and the machine.
pub fn compare(list: &Value, lspci: &Lspci, sysfs: &Sysfs) -> Vec<String> {
    let mut problems = Vec::new();
    if list["schema"] != "vfioneer/list/1" {
        problems.push(format!("list: schema is {}", list["schema"]));
    }
    let devices = list["devices"].as_array().cloned().unwrap_or_default();
    let listed: Vec<&str> = devices.iter().filter_map(|device| device["address"].as_str()).collect();
    let real: Vec<&str> = sysfs.keys().map(String::as_str).collect();
    if listed != real {
        problems.push(format!("list: addresses are {listed:?}, sysfs has {real:?}"));
    }
    if real != lspci.keys().collect::<Vec<_>>() {
        problems.push(format!("lspci has {:?}, sysfs has {real:?}", lspci.keys()));
    }
    for device in &devices {
        let address = device["address"].as_str().unwrap_or_default();
        let (Some(raw), Some(fields)) = (sysfs.get(address), lspci.get(address)) else { continue };
        let wrong = with_sysfs(device, raw).into_iter().chain(with_lspci(device, fields));
        problems.extend(wrong.map(|problem| format!("list: {address}: {problem}")));
    }
    problems
}

fn with_sysfs(device: &Value, raw: &BTreeMap<String, String>) -> Vec<String> {
    let text = |key: &str| raw.get(key).cloned();
    let hex = |key: &str| text(key).map(|value| value.trim_start_matches("0x").to_owned());
    let number = |key: &str| text(key).and_then(|value| value.parse::<i64>().ok()).filter(|n| *n >= 0);
    let subsystem = |key: &str| hex(key).filter(|_| hex("subsystem_vendor").is_some_and(|id| id != "0000"));
    let resets: Vec<String> = text("reset_method").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let parent = text("parent").filter(|name| name.matches(':').count() == 2);
    let wanted = [
        ("vendor_id", Value::from(hex("vendor"))),
        ("device_id", Value::from(hex("device"))),
        ("subsystem_vendor_id", Value::from(subsystem("subsystem_vendor"))),
        ("subsystem_device_id", Value::from(subsystem("subsystem_device"))),
        ("class", Value::from(hex("class"))),
        ("driver", Value::from(text("driver"))),
        ("iommu_group", Value::from(number("iommu_group"))),
        ("numa_node", Value::from(number("numa_node"))),
        ("reset_methods", Value::from(resets)),
        ("parent", Value::from(parent)),
    ];
    let mut problems = Vec::new();
    for (key, wanted) in wanted {
        if device.get(key) != Some(&wanted) {
            problems.push(format!("{key} is {}, sysfs says {wanted}", device[key]));
        }
    }
    let display = &device["boot_display"];
    let right = match text("boot_vga").as_deref() {
        Some("1") => *display == true,
        Some(_) => *display == false,
        // Not a VGA device: not known to be one, or known not to be one.
        None => display.is_null() || *display == false,
    };
    if !right {
        problems.push(format!("boot_display is {display}, sysfs says {:?}", text("boot_vga")));
    }
    problems
}

fn with_lspci(device: &Value, fields: &[(String, String)]) -> Vec<String> {
    let get = |key: &str| fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let id = |key: &str| get(key).and_then(split).map(|(_, id)| id.to_owned());
    // lspci writes "Vendor" and "Device" for what its list of names does not know.
    let name = |key: &str| get(key).and_then(split).map(|(name, _)| name).filter(|name| *name != key);
    let mut problems = Vec::new();
    let mut differ = |key: &str, own: Option<String>, other: Option<String>| {
        if other.is_some() && own != other {
            problems.push(format!("{key} is {own:?}, lspci says {other:?}"));
        }
    };
    let own = |key: &str| device[key].as_str().map(str::to_owned);
    differ("vendor_id", own("vendor_id"), id("Vendor"));
    differ("device_id", own("device_id"), id("Device"));
    differ("subsystem_vendor_id", own("subsystem_vendor_id"), id("SVendor"));
    differ("subsystem_device_id", own("subsystem_device_id"), id("SDevice"));
    differ("class", own("class").and_then(|class| class.get(..4).map(str::to_owned)), id("Class"));
    differ("vendor", own("vendor"), name("Vendor").map(str::to_owned));
    differ("name", own("name"), name("Device").map(str::to_owned));
    for (key, field) in [("iommu_group", "IOMMUGroup"), ("numa_node", "NUMANode")] {
        differ(key, device[key].as_i64().map(|n| n.to_string()), get(field).map(str::to_owned));
    }
    let driver = get("Driver");
    if device["driver"].as_str() != driver {
        problems.push(format!("driver is {}, lspci says {driver:?}", device["driver"]));
    }
    problems
}

/// `Name of it [1234]` as name and id.
fn split(value: &str) -> Option<(&str, &str)> {
    let (name, id) = value.strip_suffix(']')?.rsplit_once('[')?;
    Some((name.trim(), id))
}
