use super::has_acs_override;
use std::io::Read;

/// Gives one byte at a time, so that the word is cut at every place.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.len().min(into.len()).min(7);
        into[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

#[test]
fn finds_the_override_symbol() {
    let with = b"0000000000000000 t pcie_acs_overri\n0000000000000000 t pcie_acs_override_setup\n0 t x\n";
    assert_eq!(has_acs_override(&mut Slow(with)).unwrap(), b"1");
    assert_eq!(has_acs_override(&mut &with[..]).unwrap(), b"1");
    assert_eq!(has_acs_override(&mut Slow(b"0 t pcie_acs_enable\n")).unwrap(), b"0");
    assert_eq!(has_acs_override(&mut Slow(b"")).unwrap(), b"?");
}
