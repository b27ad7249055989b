//! What opening a large initramfs takes, next to what decompressing it alone takes.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use vfioneer::facts::initramfs::read_image;
use vfioneer::host::{Fact, Tree};

const IMAGE: &str = "/boot/initrd.img-6.1.0-1-amd64";
/// Files of one MiB each. About a third of an image's content stays when it is compressed.
const FILES: usize = 320;
const FILE: usize = 1 << 20;

/// A host with an image of about 100 MiB, as `MODULES=most` with all firmware makes them.
pub fn make(dir: &Path) -> io::Result<PathBuf> {
    let path = dir.join(IMAGE.trim_start_matches('/'));
    std::fs::create_dir_all(dir.join("boot"))?;
    let mut child =
        Command::new("zstd").args(["-q", "-3"]).stdin(Stdio::piped()).stdout(File::create(&path)?).spawn()?;
    let mut writer = BufWriter::new(child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?);
    let mut state = 1_u64;
    for number in 0..FILES {
        let mut bytes = vec![0; FILE];
        for chunk in bytes.chunks_mut(24) {
            // xorshift64, by George Marsaglia: a third cannot be compressed, the rest repeats.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            for (at, byte) in chunk.iter_mut().enumerate() {
                *byte = state.to_le_bytes()[at % 8];
            }
        }
        entry(&mut writer, &format!("usr/lib/modules/6.1.0-1-amd64/kernel/m{number}.ko"), &bytes)?;
    }
    entry(&mut writer, "TRAILER!!!", b"")?;
    drop(writer);
    if child.wait()?.success() { Ok(path) } else { Err(io::Error::other("zstd failed")) }
}

/// cpio, "newc" (Linux `Documentation/driver-api/early-userspace/buffer-format.rst`).
fn entry(to: &mut impl Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    let sizes = (bytes.len(), name.len() + 1);
    write!(to, "070701{0:08x}{1:08x}{0:08x}{0:08x}{2:08x}{0:08x}{3:08x}", 0, 0o100_644, 1, sizes.0)?;
    write!(to, "{0:08x}{0:08x}{0:08x}{0:08x}{1:08x}{0:08x}{name}\0", 0, sizes.1)?;
    let pad = |length: usize| vec![0; length.next_multiple_of(4) - length];
    to.write_all(&pad(110 + sizes.1))?;
    to.write_all(bytes)?;
    to.write_all(&pad(sizes.0))
}

/// Opens the image as `apply` does.
pub fn open(dir: &Path) -> Result<(), String> {
    let host = Tree::mounted(dir).map_err(|e| e.to_string())?.without_writing();
    match read_image(&host, IMAGE) {
        Fact::Known(content) if !content.modules.is_empty() => Ok(()),
        other => Err(format!("the image cannot be read: {other:?}")),
    }
}
