//! What may stand before the first image: NVIDIA's `NVGI` header, or anything else.
//!
//! Programs that read the flash chip give it too; sysfs `rom` never does, because the card hides it.

use super::{BLOCK, image};
use crate::parse::bytes::{u8_at, u16_at, u32_at};

/// NVIDIA's vendor id.
const NVIDIA: u16 = 0x10de;
/// From the flash status to the ROM directory, in bytes (`RFW_FLASH_STATUS_SIZE`).
const FLASH_STATUS: usize = 4096;

/// Bytes before the first image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Prefix {
    /// How many.
    pub length: usize,
    /// The version of the `NVGI` header ("init from ROM") that they begin with, if they do.
    pub nvgi: Option<u8>,
}

/// Finds the first image of bytes that do not begin with one. `None` if there is none.
pub(super) fn find(bytes: &[u8]) -> Option<Prefix> {
    let nvgi = bytes.starts_with(b"NVGI").then(|| u8_at(bytes, 5)).flatten();
    let of_nvidia = |at: &usize| image::valid_vendor(bytes, *at) == Some(NVIDIA);
    let length = match nvgi {
        // The header's own pointer; else whatever is surely an image of NVIDIA, which need not be at a multiple of 512 here.
        Some(version) => pointed(bytes, version)
            .filter(|at| *at > 0)
            .filter(of_nvidia)
            .or_else(|| (4..bytes.len()).step_by(4).find(of_nvidia))?,
        None => (BLOCK..bytes.len()).step_by(BLOCK).find(|at| image::valid_vendor(bytes, *at).is_some())?,
    };
    Some(Prefix { length, nvgi })
}

/// Where the header says that the first image is.
fn pointed(bytes: &[u8], version: u8) -> Option<usize> {
    let at = match version {
        1 | 2 => usize::from(u16_at(bytes, 6)? & 0x7fff) + 4,
        3 => {
            let total = u32_at(bytes, 8)? & 0xf_ffff;
            let status = u32_at(bytes, usize::try_from(total).ok()?)?;
            let directory = usize::try_from(status).ok()?.checked_add(FLASH_STATUS)?;
            if bytes.get(directory..directory.checked_add(4)?) != Some(b"RFRD") {
                return None;
            }
            directory.checked_add(8)?
        }
        _ => return None,
    };
    usize::try_from(u32_at(bytes, at)?).ok()
}
