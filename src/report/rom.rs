//! What is in an option ROM, and what a patch changed, as text and as JSON (`vfioneer/rom/1`, `vfioneer/rom-patch/1`).

use super::{Style, check, count, json, plain, size, wrap};
use crate::checks::rom::place;
use crate::checks::{Finding, Severity};
use crate::parse::rom::{Change, CodeType, Compression, Field, Image, Part, Rom};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

/// The most images and findings that are listed as text; `--json` has all.
const LISTED: usize = 40;
/// The most bytes of a change, and devices of a list, that are shown.
const SHOWN: usize = 8;

/// What is told of a ROM.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What to call it: a file, or a device.
    pub name: &'a str,
    /// What was read.
    pub rom: &'a Rom,
    /// The ids of the card that it is meant for.
    pub card: Option<(u16, u16)>,
    /// What is wrong.
    pub findings: &'a [Finding],
}

impl Told<'_> {
    /// `rom show`.
    pub fn show(&self, style: &Style) -> String {
        let rom = self.rom;
        let mut text = format!(
            "{}: {}, {}\n",
            style.strong(&plain(self.name)),
            size(rom.size as u64),
            count(rom.images.len(), "image", "images")
        );
        if !rom.images.is_empty() {
            text.push_str(&format!("{}\n\n", picture(rom, style.text_width())));
            text.push_str(&style.faint("  offset       length  image              ids        class"));
            text.push('\n');
            for image in rom.images.iter().take(LISTED) {
                text.push_str(&row(image));
                text.push_str(&style.faint(wrap(&details(image), 4, style.text_width()).trim_end()));
                text.push('\n');
            }
            let more = rom.images.len().saturating_sub(LISTED);
            if more > 0 {
                text.push_str(&format!("  … and {more} more (--json shows all)\n"));
            }
            text.push('\n');
            text.push_str(&self.verdict(style));
        }
        if !self.findings.is_empty() {
            text.push('\n');
        }
        text + &self.told(style, false)
    }

    /// The findings; of very many the first.
    fn told(&self, style: &Style, verbose: bool) -> String {
        let mut text: String =
            self.findings.iter().take(LISTED).map(|finding| check::one(style, finding, verbose)).collect();
        let more = self.findings.len().saturating_sub(LISTED);
        if more > 0 {
            text.push_str(&format!("… and {more} more (--json shows all)\n\n"));
        }
        text
    }

    /// `rom check`.
    pub fn check(&self, style: &Style) -> String {
        let mut text = self.told(style, true);
        let number = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let errors = number(Severity::Error);
        text.push_str(&format!(
            "{}: {}, {}, {}\n",
            if errors == 0 { style.good("good") } else { style.error("bad") },
            count(errors, "error", "errors"),
            count(number(Severity::Warning), "warning", "warnings"),
            count(number(Severity::Info), "note", "notes"),
        ));
        if !self.rom.images.is_empty() {
            text.push_str(&self.verdict(style));
        }
        if let Some(first) = self.findings.first() {
            text.push_str(&format!("More about one of them: vfioneer explain {}\n", first.id));
        }
        text
    }

    /// What the firmware of a VM would do with it.
    fn verdict(&self, style: &Style) -> String {
        let machines: Vec<String> = self.rom.uefi().iter().map(ToString::to_string).collect();
        let ovmf = match machines.is_empty() {
            true => style.warning("finds nothing to run"),
            false => format!("{} on {}", style.good("runs it"), machines.join(", ")),
        };
        let seabios = match self.rom.seabios(self.card) {
            None => style.warning("finds nothing to run"),
            Some(image) => format!("{} (the image at {})", style.good("runs it"), place(image.offset)),
        };
        format!("OVMF (UEFI)  {ovmf}\nSeaBIOS      {seabios}\n")
    }

    /// `rom show --json` and `rom check --json`.
    pub fn json(&self) -> String {
        format!("{:#}\n", self.document())
    }

    fn document(&self) -> Value {
        let rom = self.rom;
        json!({
            "schema": "vfioneer/rom/1",
            "name": self.name,
            "size": rom.size,
            "prefix": rom.prefix.map(|prefix| json!({ "length": prefix.length, "nvgi": prefix.nvgi })),
            "images": rom.images.iter().map(image).collect::<Vec<_>>(),
            "rest": rom.rest.map(|rest| json!({
                "offset": rest.offset,
                "length": rest.length,
                "padding": rest.padding.map(|byte| format!("{byte:02x}")),
            })),
            "uefi": !rom.uefi().is_empty(),
            "uefi_machines": rom.uefi().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "bios": rom.seabios(self.card).is_some(),
            "problems": json::findings(self.findings),
        })
    }
}

/// One image's part of the document.
fn image(image: &Image) -> Value {
    let pcir = image.pcir.as_ref();
    let hex4 = |number: u16| format!("{number:04x}");
    json!({
        "offset": image.offset,
        "length": image.length,
        "code_type": pcir.map(|pcir| pcir.code_type.number()),
        "vendor_id": pcir.map(|pcir| hex4(pcir.vendor)),
        "device_id": pcir.map(|pcir| hex4(pcir.device)),
        "device_list": pcir.map(|pcir| pcir.devices.iter().map(|device| hex4(*device)).collect::<Vec<_>>()),
        "class": pcir.map(|pcir| format!("{:06x}", pcir.class)),
        "revision": pcir.map(|pcir| pcir.revision),
        "last": image.is_last(),
        "checksum_ok": image.checksum.map(|sum| sum == 0),
        "seen_by": { "bios": image.reach.bios, "uefi": image.reach.uefi },
        "pcir": pcir.map(|pcir| json!({ "length": pcir.length, "last": pcir.last })),
        "npde": image.npde.map(|npde| json!({ "length": npde.length, "last": npde.last })),
        "efi": image.efi.as_ref().map(|efi| json!({
            "machine": efi.machine.to_string(),
            "subsystem": efi.subsystem.to_string(),
            "compressed": efi.compression != Compression::None,
            "driver": efi.payload.map(|driver| json!({
                "size": driver.size,
                "machine": driver.machine.to_string(),
                "signed": driver.signed,
            })),
        })),
    })
}

/// What an image is.
fn kind(image: &Image) -> String {
    match image.code_type() {
        None => "no PCI image".to_owned(),
        Some(CodeType::Legacy) => "BIOS".to_owned(),
        Some(CodeType::OpenFirmware) => "Open Firmware".to_owned(),
        Some(CodeType::PaRisc) => "PA-RISC".to_owned(),
        Some(CodeType::Efi) => match &image.efi {
            Some(efi) => format!("UEFI {}", efi.machine),
            None => "UEFI".to_owned(),
        },
        Some(CodeType::Nbsi) => "NVIDIA NBSI".to_owned(),
        Some(CodeType::Fwsec) => "NVIDIA FWSEC".to_owned(),
        Some(CodeType::Other(number)) => format!("type {number:02x}"),
    }
}

fn row(image: &Image) -> String {
    let offset = format!("{:08x}", image.offset);
    let length = size(image.length as u64);
    let (ids, class) = image.pcir.as_ref().map_or_else(Default::default, |pcir| {
        (format!("{:04x}:{:04x}", pcir.vendor, pcir.device), format!("{:06x}", pcir.class))
    });
    let line = format!("  {offset}  {length:>9}  {:<18} {ids:<10} {class}", kind(image));
    format!("{}\n", line.trim_end())
}

/// What a row has no room for.
fn details(image: &Image) -> String {
    let mut parts = Vec::new();
    if let Some(pcir) = &image.pcir {
        parts.push(format!("revision {:04x}", pcir.revision));
        if !pcir.devices.is_empty() {
            let shown: Vec<String> = pcir.devices.iter().take(SHOWN).map(|device| format!("{device:04x}")).collect();
            let more = pcir.devices.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            parts.push(format!("for the devices {}{more}", shown.join(" ")));
        }
    }
    parts.extend(image.checksum.map(|sum| match sum {
        0 => "checksum right".to_owned(),
        _ => format!("checksum wrong ({sum:02x})"),
    }));
    if let Some(efi) = &image.efi {
        parts.push(efi.subsystem.to_string());
        parts.push(match (efi.compression, efi.payload) {
            (Compression::None, _) => "not packed".to_owned(),
            (_, Some(driver)) => format!("packed, {} unpacked", size(driver.size as u64)),
            (_, None) => "packed".to_owned(),
        });
        parts.extend(efi.payload.map(|driver| if driver.signed { "signed" } else { "not signed" }.to_owned()));
    }
    if let (Some(npde), Some(pcir)) = (&image.npde, &image.pcir) {
        if npde.length != pcir.length {
            parts.push(format!("{} by NPDE, {} by PCIR", size(npde.length as u64), size(pcir.length as u64)));
        }
        let goes_on = npde.last == Some(false) && pcir.last;
        parts.extend(goes_on.then(|| "the last for firmware, not by NPDE".to_owned()));
    }
    parts.extend(match (image.reach.bios, image.reach.uefi) {
        (true, true) => None,
        (false, true) => Some("only OVMF comes to it".to_owned()),
        (true, false) => Some("OVMF does not come to it".to_owned()),
        (false, false) => Some("firmware does not come to it".to_owned()),
    });
    if image.is_last() {
        parts.push("last".to_owned());
    }
    parts.join(", ")
}

/// The layout in one line of at most `columns`: `|BIOS 73.5 KiB|UEFI x86_64 170.5 KiB|`.
fn picture(rom: &Rom, columns: usize) -> String {
    let mut parts = Vec::new();
    if let Some(prefix) = &rom.prefix {
        let name = if prefix.nvgi.is_some() { "NVGI" } else { "something else" };
        parts.push(format!("{name} {}", size(prefix.length as u64)));
    }
    parts.extend(rom.images.iter().map(|image| format!("{} {}", kind(image), size(image.length as u64))));
    if let Some(rest) = &rom.rest {
        let what = rest.padding.map_or("data".to_owned(), |byte| format!("all {byte:02x}"));
        parts.push(format!("{what} {}", size(rest.length as u64)));
    }
    let whole = format!("|{}|", parts.join("|"));
    if whole.width() <= columns {
        return whole;
    }
    // As many from the start as there is room for; what is left out is counted.
    let tail = |left: usize| format!("… {left} more|");
    let mut line = "|".to_owned();
    let mut left = parts.len();
    for part in &parts {
        if line.width() + part.width() + 1 + tail(left).width() > columns {
            break;
        }
        line.push_str(&format!("{part}|"));
        left -= 1;
    }
    line + &tail(left)
}

/// `rom patch`: what was changed.
pub fn changes(style: &Style, from: &str, to: &str, changes: &[Change], bytes: usize) -> String {
    let mut text = String::new();
    for change in changes {
        text.push_str(&match change {
            Change::Cut { offset, length, .. } => {
                format!("{}  {}\n", style.error(&format!("- {offset:08x}")), cut_text(change, *length))
            }
            Change::Write { field, offset, before, after } => format!(
                "{}  {}: {} is now {}\n",
                style.warning(&format!("~ {offset:08x}")),
                field_name(*field),
                hex(before),
                hex(after)
            ),
        });
    }
    if changes.is_empty() {
        text.push_str("Nothing to change.\n");
    }
    let (from, to) = (plain(from), plain(to));
    text.push_str(&format!("{} {to} ({}); {from} is as it was.\n", style.strong("Wrote"), size(bytes as u64)));
    text
}

fn cut_text(change: &Change, length: usize) -> String {
    let what = match change {
        Change::Cut { part: Part::Prefix, .. } => "what stood before the first image",
        Change::Cut { part: Part::Image(Some(CodeType::Legacy)), .. } => "the BIOS image",
        Change::Cut { part: Part::Image(_), .. } => "another image",
        Change::Cut { part: Part::Filling, .. } | Change::Write { .. } => "what is no image",
    };
    format!("left out: {what}, {}", size(length as u64))
}

fn field_name(field: Field) -> &'static str {
    match field {
        Field::Vendor => "vendor id",
        Field::Device => "device id",
        Field::Length => "length of the image",
        Field::Last => "mark of the last image",
        Field::VendorLast => "NVIDIA's mark of the last image",
        Field::Checksum => "byte that makes the sum 0",
    }
}

fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    bytes.join(" ")
}

/// `rom patch --json`.
pub fn changes_json(from: &str, to: &Told<'_>, changes: &[Change]) -> String {
    let changes: Vec<Value> = changes
        .iter()
        .map(|change| match change {
            Change::Cut { part, offset, length } => json!({
                "kind": "cut",
                "what": match part {
                    Part::Prefix => "prefix",
                    Part::Image(_) => "image",
                    Part::Filling => "filling",
                },
                "offset": offset,
                "length": length,
            }),
            Change::Write { field, offset, before, after } => json!({
                "kind": "write",
                "what": match field {
                    Field::Vendor => "vendor-id",
                    Field::Device => "device-id",
                    Field::Length => "length",
                    Field::Last => "last",
                    Field::VendorLast => "npde-last",
                    Field::Checksum => "checksum",
                },
                "offset": offset,
                "before": hex(before),
                "after": hex(after),
            }),
        })
        .collect();
    let document = json!({
        "schema": "vfioneer/rom-patch/1",
        "from": from,
        "changes": changes,
        "result": to.document(),
    });
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests;
