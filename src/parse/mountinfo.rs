//! `/proc/self/mountinfo` and `/proc/swaps` to lists. Pure.

/// One mount (Linux 6.12 Documentation/filesystems/proc.rst, section 3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The line, counted from 1.
    pub line: u32,
    /// (major, minor) of the file system's device; major 0 for those without a single block device.
    pub dev: (u32, u32),
    /// Which part of the file system is mounted: `/` for all of it.
    pub root: String,
    /// Where.
    pub point: String,
    /// File system type.
    pub kind: String,
    /// A device, or whatever the file system calls its source: `rpool/ROOT/pve-1`.
    pub source: String,
}

/// Parses mountinfo; lines that do not fit are skipped.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().enumerate().filter_map(|(index, line)| mount(index, line)).collect()
}

fn mount(index: usize, line: &str) -> Option<Mount> {
    // Spaces in names are escaped, so ` - ` is the separator after the optional fields.
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(2);
    let (major, minor) = left.next()?.split_once(':')?;
    let (root, point) = (unescape(left.next()?), unescape(left.next()?));
    let mut right = right.split(' ');
    Some(Mount {
        line: u32::try_from(index + 1).ok()?,
        dev: (major.parse().ok()?, minor.parse().ok()?),
        root,
        point,
        kind: right.next()?.to_owned(),
        source: unescape(right.next()?),
    })
}

/// The paths in `/proc/swaps` with their lines.
pub fn swaps(text: &str) -> Vec<(u32, String)> {
    let lines = (1u32..).zip(text.lines()).skip(1);
    lines.filter_map(|(line, text)| Some((line, unescape(text.split_ascii_whitespace().next()?)))).collect()
}

/// Undoes the octal escapes `\040` of seq_path (fs/seq_file.c `mangle_path`).
fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..3).filter(|d| first == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        match code.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{parse, swaps};

    #[test]
    fn mounts() {
        let mounts = parse(
            "25 1 253:1 / / rw,relatime shared:1 - ext4 /dev/mapper/pve-root rw,errors=remount-ro\n\
             30 25 0:26 / /mnt/a\\040b rw - zfs rpool/data\\134x rw\nnonsense\n1 2 3 - x\n1 2 x:y / / - a b c\n",
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!((mounts[0].dev, mounts[0].point.as_str(), mounts[0].line), ((253, 1), "/", 1));
        assert_eq!((mounts[1].point.as_str(), mounts[1].source.as_str()), ("/mnt/a b", "rpool/data\\x"));
    }

    #[test]
    fn swap() {
        let text = "Filename\t\t\tType\t\tSize\tUsed\tPriority\n/dev/dm-0   partition\t8388604\t0\t-2\n/swap\\040file file 1 0 -3\n";
        assert_eq!(swaps(text), [(2, "/dev/dm-0".to_owned()), (3, "/swap file".to_owned())]);
        assert!(swaps("").is_empty());
    }
}
