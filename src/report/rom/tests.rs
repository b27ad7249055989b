use super::*;
use crate::parse::rom::roms;

fn told(bytes: &[u8]) -> String {
    let rom = Rom::read(bytes);
    Told { name: "card.rom", rom: &rom, card: None, findings: &[] }.show(&Style { width: Some(80) })
}

#[test]
fn a_thousand_images_fit_the_terminal() {
    let one = roms::legacy((0x10de, 0x2204), 32);
    let text = anstream::adapter::strip_str(&told(&roms::rom(&vec![one; 1000]))).to_string();
    assert!(text.contains("… and 960 more"), "{text}");
    assert!(text.lines().all(|line| line.width() <= 80), "{text}");
    let line = text.lines().nth(1).unwrap();
    assert!(line.starts_with("|BIOS 16.0 KiB|BIOS") && line.ends_with("… 996 more|"), "{line}");
}
