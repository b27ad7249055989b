//! Option ROM files of a constructed host.

use super::roms;
use serde::Deserialize;

/// The machine of OVMF's drivers.
const X86_64: u16 = 0x8664;

/// One ROM file, for one card.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RomFile {
    /// `10de:0fc6`, in every image.
    id: String,
    /// In order.
    images: Vec<Image>,
}

/// What an image is for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Image {
    /// A BIOS.
    Bios,
    /// UEFI, with a signature.
    Uefi,
    /// UEFI, without one.
    Unsigned,
}

impl RomFile {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let number = |digits: &str| u16::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("ids {}", self.id));
        let (vendor, device) = self.id.split_once(':').unwrap_or_else(|| panic!("ids {}", self.id));
        let ids = (number(vendor), number(device));
        let efi = |signed| roms::efi(ids, X86_64, &roms::driver(X86_64, signed), true);
        let image = |image: &Image| match image {
            Image::Bios => roms::legacy(ids, 128),
            Image::Uefi => efi(true),
            Image::Unsigned => efi(false),
        };
        roms::rom(&self.images.iter().map(image).collect::<Vec<_>>())
    }
}
