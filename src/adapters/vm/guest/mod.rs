//! What helps with passed devices inside their VM: files for the guest's own system.
//!
//! Goes in: functions of a host. Comes out: a page about them, and a script that uses the ids by which the guest knows them. The texts
//! are templates beside this file.

mod hardware;
mod template;

pub use hardware::Hardware;

use crate::facts::pci::Function;
use crate::parse::windows_instance::WindowsInstance;
use template::fill;

/// What runs in the VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum System {
    /// Windows, and the places of the functions in it that are known.
    Windows(Vec<WindowsInstance>),
    /// Linux.
    Linux,
}

impl System {
    /// `windows` or `linux`.
    pub fn name(&self) -> &'static str {
        match self {
            System::Windows(_) => "windows",
            System::Linux => "linux",
        }
    }
}

/// A file for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFile {
    /// Its name, without a folder.
    pub name: &'static str,
    /// What is in it, as the guest's programs read it.
    pub bytes: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
}

/// Below a device's key; the value `MSISupported` (REG_DWORD) there is 1 where MSI may be used
/// (<https://learn.microsoft.com/windows-hardware/drivers/kernel/enabling-message-signaled-interrupts-in-the-registry>).
const MSI_KEY: &str = r"Device Parameters\Interrupt Management\MessageSignaledInterruptProperties";
/// Where Windows has its PCI devices.
const ENUM: &str = r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Enum\PCI";

/// The files for functions of one device, or of identical ones; each function's numbers in `hardware`, in the same order.
pub fn files(system: &System, functions: &[&Function], hardware: &[Hardware]) -> Vec<GuestFile> {
    let mut words = hardware::words(functions);
    let title = hardware.first().map(|first| first.name.clone()).unwrap_or_default();
    // Identical devices are one to a guest.
    let mut distinct: Vec<&Hardware> = Vec::new();
    for one in hardware {
        if !distinct.iter().any(|other| other.windows_id() == one.windows_id()) {
            distinct.push(one);
        }
    }
    let list = |line: &dyn Fn(&Hardware) -> String, between: &str| {
        distinct.iter().map(|one| line(one)).collect::<Vec<_>>().join(between)
    };
    let sound = functions.iter().find(|function| function.class.known().is_some_and(|class| class >> 16 == 0x04));
    let sound = sound.map(|function| hardware::harmless(&function.name())).unwrap_or_default();
    match system {
        System::Windows(instances) => {
            if !instances.is_empty() {
                words.insert("instance");
            }
            let pattern = distinct.first().map(|one| format!(r"PCI\{}\*", one.windows_id())).unwrap_or_default();
            let values = [
                ("device", title),
                ("functions", list(&|one| format!("  {}\n  PCI\\{}", one.name, one.windows_id()), "\n\n")),
                ("commented", list(&|one| format!("#   {}\n#     PCI\\{}", one.name, one.windows_id()), "\n")),
                ("array", list(&|one| format!("    '{}'", one.windows_id()), ",\n")),
                ("pattern", pattern),
                ("sound", sound),
            ];
            let page = fill(include_str!("windows.txt"), &words, &values);
            let script = fill(include_str!("msi.ps1"), &words, &values);
            let mut files = vec![
                GuestFile { name: "README.txt", bytes: windows_text(&page), mode: 0o644 },
                GuestFile { name: "msi.ps1", bytes: windows_text(&script), mode: 0o644 },
            ];
            if !instances.is_empty() {
                files.push(GuestFile { name: "msi.reg", bytes: registry_file(instances), mode: 0o644 });
            }
            files
        }
        System::Linux => {
            let id = |one: &Hardware| {
                format!(
                    "{:04x} {:04x} {:04x} {:04x} '{}'",
                    one.ids.vendor, one.ids.device, one.subsystem.vendor, one.subsystem.device, one.name
                )
            };
            let shown = |one: &Hardware| format!("{} [{}], subsystem [{}]", one.name, one.ids, one.subsystem);
            let values = [
                ("device", title),
                ("functions", list(&|one| format!("  {}", shown(one)), "\n")),
                ("commented", list(&|one| format!("#   {}", shown(one)), "\n")),
                ("looks", list(&|one| format!("look {}", id(one)), "\n")),
                ("modules", hardware::modules(functions).join(" ")),
                ("sound", sound),
            ];
            let page = fill(include_str!("linux.txt"), &words, &values);
            let script = fill(include_str!("check.sh"), &words, &values);
            vec![
                GuestFile { name: "README.txt", bytes: page.into_bytes(), mode: 0o644 },
                GuestFile { name: "check.sh", bytes: script.into_bytes(), mode: 0o755 },
            ]
        }
    }
}

/// UTF-8 that Windows PowerShell takes for what it is: with a byte order mark, which it needs for that, and its ends of lines.
fn windows_text(text: &str) -> Vec<u8> {
    format!("\u{feff}{}", text.replace('\n', "\r\n")).into_bytes()
}

/// What regedit reads: UTF-16LE with a byte order mark (<https://support.microsoft.com/kb/310516>).
fn registry_file(instances: &[WindowsInstance]) -> Vec<u8> {
    let mut text = "\u{feff}Windows Registry Editor Version 5.00\r\n\r\n".to_owned();
    for WindowsInstance { id, instance } in instances {
        text.push_str(&format!("[{ENUM}\\{id}\\{instance}\\{MSI_KEY}]\r\n\"MSISupported\"=dword:00000001\r\n\r\n"));
    }
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests;
