//! What a program of 64 bits needs to be started: ELF (System V ABI, "Object Files"; Linux include/uapi/linux/elf.h). Pure.

use super::bytes::{u16_at, u32_at, u64_at};

/// The type of the program header that names the dynamic loader.
const PT_INTERP: u32 = 3;

/// Does it need a dynamic loader, and so the libraries of the system that it runs on? `None`: this is no such program, or its start is not
/// all here.
pub fn is_dynamic(bytes: &[u8]) -> Option<bool> {
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64_at(bytes, 0x20)?).ok()?;
    let (size, count) = (usize::from(u16_at(bytes, 0x36)?), usize::from(u16_at(bytes, 0x38)?));
    let kinds = (0..count).map(|number| u32_at(bytes, table.checked_add(number.checked_mul(size)?)?));
    Some(kinds.collect::<Option<Vec<u32>>>()?.contains(&PT_INTERP))
}

#[cfg(test)]
mod tests {
    use super::is_dynamic;

    /// A header with one program header of this type.
    fn program(kind: u8) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(0x40 + 56, 0);
        for (at, value) in [(0x20, 0x40), (0x36, 56), (0x38, 1), (0x40, kind)] {
            bytes[at] = value;
        }
        bytes
    }

    #[test]
    fn who_needs_a_loader() {
        assert_eq!(is_dynamic(&program(3)), Some(true));
        assert_eq!(is_dynamic(&program(1)), Some(false));
        let cut = program(3);
        for bytes in [b"#!/bin/sh\n".as_slice(), b"", b"\x7fELF\x02\x01", &cut[..0x42]] {
            assert_eq!(is_dynamic(bytes), None);
        }
    }
}
