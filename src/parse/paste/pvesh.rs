//! `pvesh get /nodes/NAME/hardware/pci`: its table, cut off by the terminal's width, and its JSON.
//!
//! Columns: <https://pve.proxmox.com/pve-docs/api-viewer/#/nodes/{node}/hardware/pci>.

use super::Devices;
use super::device::Device;
use crate::parse::address::Address;

/// The most JSON that is read, in bytes.
const JSON_LIMIT: usize = 8 << 20;

/// The columns of a table whose head was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    columns: Vec<String>,
}

impl Table {
    /// Takes a line of a table. False: it is none.
    pub(super) fn take(&mut self, line: &str, number: u32, devices: &mut Devices) -> bool {
        let text = line.trim();
        if text.starts_with(['┌', '╞', '├', '└']) {
            return true;
        }
        let Some(inner) = text.strip_prefix('│') else { return false };
        let cells: Vec<&str> = inner.split('│').map(str::trim).collect();
        if cells.contains(&"id") && cells.contains(&"class") {
            self.columns = cells.into_iter().map(str::to_owned).collect();
            return true;
        }
        let cell = |name: &str| {
            let at = self.columns.iter().position(|column| column == name)?;
            cells.get(at).copied().filter(|cell| !cell.is_empty())
        };
        let text: String = line.trim().chars().take(400).collect();
        record(cell, Device { line: number, text, ..Device::default() }, devices);
        true
    }
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn record<'c>(cell: impl Fn(&str) -> Option<&'c str>, mut device: Device, devices: &mut Devices) {
    let Some(address) = cell("id").and_then(Address::parse) else { return };
    let id = |name: &str| cell(name).and_then(number).and_then(|id| u16::try_from(id).ok());
    device.class = cell("class").and_then(number);
    device.ids = id("vendor").zip(id("device"));
    device.subsystem = id("subsystem_vendor").zip(id("subsystem_device"));
    // A group of -1 stands for none.
    device.group = cell("iommugroup").and_then(|group| match group {
        "-1" => Some(None),
        group => group.parse().ok().map(Some),
    });
    device.vendor_name = cell("vendor_name").map(str::to_owned);
    device.name = cell("device_name").map(str::to_owned);
    devices.see(address, device);
}

/// Takes the JSON form: an array of objects with `id` and `class`. Lines are those of each object's `id`.
pub(super) fn json(text: &str, devices: &mut Devices) {
    if text.len() > JSON_LIMIT || !text.contains("\"iommugroup\"") {
        return;
    }
    let (Some(start), Some(end)) = (text.find('['), text.rfind(']')) else { return };
    let Some(Ok(serde_json::Value::Array(records))) = text.get(start..=end).map(serde_json::from_str) else { return };
    for entry in &records {
        let value = |name: &str| match entry.get(name)? {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let Some(id) = value("id") else { continue };
        let line = text.find(&format!("\"{id}\"")).map_or(1, |at| crate::parse::lines::line_at(text, at));
        let shown = text.lines().nth(line as usize - 1).unwrap_or_default().trim();
        let device = Device { line, text: shown.chars().take(400).collect(), ..Device::default() };
        let names = [
            "id",
            "class",
            "vendor",
            "device",
            "subsystem_vendor",
            "subsystem_device",
            "iommugroup",
            "vendor_name",
            "device_name",
        ];
        let cells: Vec<(&str, String)> = names.iter().filter_map(|name| Some((*name, value(name)?))).collect();
        record(|name| cells.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str()), device, devices);
    }
}
