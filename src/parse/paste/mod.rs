//! Text that somebody pasted: logs, listings and files in any mixture, with prompts, quotes and colours.
//!
//! Goes in: any text. Comes out: [`Paste`], what is recognised in it, line by line. Never fails: what is not
//! recognised is left out, and a caller can ask of a line whether it looks like an error.

mod classes;
mod details;
mod device;
mod groups;
mod kernel_log;
mod plain;
mod pvesh;
mod sections;

pub use device::{Device, Region};
pub use groups::Member;
pub use kernel_log::KernelLog;
pub use plain::{looks_like_error, plain};
pub use sections::{FileKind, Section};

use super::address::Address;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The bytes of one line that are looked at for devices and files.
const LINE_LIMIT: usize = 16 << 10;
/// Functions that are kept: more than any machine has.
const DEVICES: usize = 16_384;

/// Devices by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// What is known of each.
    pub by_address: BTreeMap<Address, Device>,
}

impl Devices {
    /// Adds a sighting; what was known before wins.
    fn see(&mut self, address: Address, device: Device) {
        let room = self.by_address.len() < DEVICES;
        match self.by_address.get_mut(&address) {
            Some(known) => known.merge(device),
            None if room => {
                self.by_address.insert(address, device);
            }
            None => {}
        }
    }
}

/// All that was recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paste {
    /// Every function that is named with something about it.
    pub devices: Devices,
    /// Members of groups that a listing shows without addresses.
    pub members: Vec<Member>,
    /// What the kernel's messages tell.
    pub log: KernelLog,
    /// Configuration files.
    pub sections: Vec<Section>,
}

/// Recognises what is in a text; `name` is its file name, which can tell what it is.
pub fn read(name: &str, text: &str) -> Paste {
    let mut reader = Reader { sections: sections::Sections::named(name), ..Reader::default() };
    for (line, number) in text.lines().zip(1u32..) {
        let cut = line.char_indices().nth(LINE_LIMIT).map_or(line, |(end, _)| line.get(..end).unwrap_or(line));
        reader.take(&plain(cut), number);
    }
    let mut paste = reader.finish();
    pvesh::json(text, &mut paste.devices);
    paste
}

#[derive(Default)]
struct Reader {
    devices: Devices,
    log: KernelLog,
    sections: sections::Sections,
    groups: groups::Groups,
    table: pvesh::Table,
    /// The device that lines below belong to.
    open: Option<(Address, Device)>,
    /// It is a record of `lspci -vmm`.
    record: bool,
}

impl Reader {
    fn take(&mut self, line: &str, number: u32) {
        let line = untagged(line);
        let line = line.as_ref();
        let text = line.trim();
        if self.record_line(line) {
            return;
        }
        if text.is_empty() {
            self.groups.blank();
            self.sections.take(line, number);
            return;
        }
        if text == "--" {
            self.close();
            return;
        }
        let is_detail = self.open.as_mut().is_some_and(|(_, device)| device.detail(line) || device.bare_detail(line));
        if is_detail {
            return;
        }
        if let Some((address, mut device)) = self.groups.device(line, number) {
            self.close();
            self.sections.end();
            device.line = number;
            device.text = text.chars().take(400).collect();
            self.open = Some((address, device));
            return;
        }
        if self.groups.links(line, number, &mut self.devices) || self.table.take(line, number, &mut self.devices) {
            self.close();
            return;
        }
        if let Some(address) = details::record_start(line) {
            self.close();
            self.sections.end();
            let text = text.chars().take(400).collect();
            self.open = Some((address, Device { line: number, text, ..Device::default() }));
            self.record = true;
            return;
        }
        // Deeper lines of a long listing that are not known belong to the device all the same.
        let indented = line.starts_with([' ', '\t']);
        if !indented {
            self.close();
        }
        if self.log.take(line, number, &mut self.devices) {
            return;
        }
        if self.sections.announce(line) {
            self.groups.blank();
            return;
        }
        if self.open.is_none() || !indented {
            self.sections.take(line, number);
        }
    }

    /// A line of an open `lspci -vmm` record; an empty one ends it.
    fn record_line(&mut self, line: &str) -> bool {
        if !self.record {
            return false;
        }
        let Some((key, value)) = line.split_once(':') else {
            self.close();
            return line.trim().is_empty();
        };
        if details::record_start(line).is_some() {
            self.close();
            return false;
        }
        let key = key.trim();
        let plausible = !key.is_empty() && key.len() < 20 && key.bytes().all(|b| b.is_ascii_alphanumeric());
        if !plausible {
            self.close();
            return false;
        }
        if let Some((_, device)) = self.open.as_mut() {
            device.record_line(key, value.trim());
        }
        true
    }

    fn close(&mut self) {
        self.record = false;
        if let Some((address, device)) = self.open.take() {
            self.devices.see(address, device);
        }
    }

    fn finish(mut self) -> Paste {
        self.close();
        Paste { devices: self.devices, members: self.groups.members, log: self.log, sections: self.sections.all }
    }
}

/// Without the tags of forums around a line (`[code]`, `[/CODE]`, `[B]…[/B]`), and Markdown's bold marks.
fn untagged(line: &str) -> Cow<'_, str> {
    if !line.contains("[/") && !line.contains("[code") && !line.contains("[CODE") && !line.contains("**") {
        return Cow::Borrowed(line);
    }
    let mut text = line.replace("**", "");
    for tag in ["code", "CODE", "b", "B", "i", "I", "quote", "QUOTE", "icode", "ICODE"] {
        text = text.replace(&format!("[/{tag}]"), "").replace(&format!("[{tag}]"), "");
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests;
