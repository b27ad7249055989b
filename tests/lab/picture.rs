//! Pictures of an emulated screen: QEMU's `screendump` writes PPM, people look at PNG.

use std::io::Write;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

/// A PPM picture (`P6`, 8 bits a channel, netpbm's ppm(5)) as PNG (ISO/IEC 15948). Fails with what is wrong with it, also where all of it has one
/// colour: nothing was drawn then.
pub fn png(ppm: &[u8]) -> Result<Vec<u8>, String> {
    let mut words = Vec::new();
    let mut at = 0;
    while words.len() < 4 {
        let rest = ppm.get(at..).unwrap_or_default();
        let word: Vec<u8> = rest.iter().copied().take_while(|byte| !byte.is_ascii_whitespace()).collect();
        if word.is_empty() {
            return Err("the picture is cut off".to_owned());
        }
        at += word.len() + 1;
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    let number = |index: usize| words[index].parse::<u32>().map_err(|_| format!("{:?} is no number", words[index]));
    let (width, height) = (number(1)?, number(2)?);
    let pixels = &ppm[at..];
    if words[0] != "P6" || words[3] != "255" || pixels.len() != width as usize * height as usize * 3 {
        return Err(format!("no picture of QEMU's: {} with {} bytes", words.join(" "), pixels.len()));
    }
    if pixels.chunks(3).all(|pixel| pixel == &pixels[..3]) {
        return Err("the picture has one colour".to_owned());
    }
    let mut data = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in pixels.chunks(width as usize * 3) {
        // Each row begins with its filter: none.
        data.write_all(&[0]).and_then(|()| data.write_all(row)).map_err(|e| e.to_string())?;
    }
    let data = data.finish().map_err(|e| e.to_string())?;
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    // 8 bits a channel, red green blue.
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    for (name, body) in [(b"IHDR", &header), (b"IDAT", &data), (b"IEND", &Vec::new())] {
        let mut crc = Crc::new();
        crc.update(name);
        crc.update(body);
        png.extend((body.len() as u32).to_be_bytes());
        png.extend(name);
        png.extend(body);
        png.extend(crc.sum().to_be_bytes());
    }
    Ok(png)
}
