//! What the firmware and the loader of the running boot left in EFI variables.

use crate::facts::Evidence;
use crate::host::{Fact, Host, Why};
use crate::parse::efi;

const DIR: &str = "/sys/firmware/efi/efivars";

/// What the EFI variables say of the running boot.
#[derive(Debug, Default)]
pub(super) struct Firmware {
    /// The entry that the firmware's boot manager started.
    pub entry: Fact<efi::LoadOption>,
    /// The variable that holds it, e.g. `Boot0001`.
    pub entry_name: String,
    /// `LoaderInfo`: the loader that started the kernel's image.
    pub loader: Fact<String>,
    /// `StubInfo`: set by the stub of a unified kernel image.
    pub stub: Fact<String>,
    /// `LoaderEntrySelected`.
    pub selected: Fact<String>,
}

impl Firmware {
    /// Reads the variables; all absent on a host without UEFI.
    pub(super) fn read(host: &dyn Host) -> Firmware {
        let loader = |name: &str| text(host, name);
        let mut firmware = Firmware {
            loader: loader("LoaderInfo"),
            stub: loader("StubInfo"),
            selected: loader("LoaderEntrySelected"),
            ..Firmware::default()
        };
        let current = host.read(&global("BootCurrent")).and_then(|bytes| understood(efi::number(&bytes)));
        firmware.entry = current.and_then(|number| {
            firmware.entry_name = format!("Boot{number:04X}");
            host.read(&global(&firmware.entry_name)).and_then(|bytes| understood(efi::load_option(&bytes)))
        });
        firmware
    }

    /// The boot manager's entry as evidence.
    pub(super) fn entry_evidence(&self) -> Option<Evidence> {
        let entry = self.entry.known()?;
        Some(Evidence::new(global(&self.entry_name), format!("{} {}", entry.description, entry.path).trim()))
    }

    /// A Loader variable as evidence.
    pub(super) fn loader_evidence(name: &str, text: &str) -> Evidence {
        Evidence::new(format!("{DIR}/{name}-{}", efi::LOADER), text)
    }
}

fn global(name: &str) -> String {
    format!("{DIR}/{name}-{}", efi::GLOBAL)
}

fn text(host: &dyn Host, name: &str) -> Fact<String> {
    host.read(&format!("{DIR}/{name}-{}", efi::LOADER)).and_then(|bytes| understood(efi::text(&bytes)))
}

fn understood<T>(value: Option<T>) -> Fact<T> {
    value.map_or_else(|| Fact::Unknown(Why::Malformed("too short".into())), Fact::Known)
}
