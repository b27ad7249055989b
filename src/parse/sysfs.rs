//! Values of sysfs attributes of PCI functions and IOMMU groups (`Documentation/ABI/testing/sysfs-bus-pci`,
//! `sysfs-kernel-iommu_groups`).
//!
//! Goes in: the text of one attribute, or the target of one link. Comes out: numbers; `None` if it is not understood.

use super::address::Address;

/// `0x10de` or `10de`.
pub fn hex(text: &str) -> Option<u64> {
    let digits = text.trim();
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    digits.starts_with(|c: char| c.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// `0` or `1`.
pub fn switch(text: &str) -> Option<bool> {
    match text.trim() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// The last component of a link's target.
pub fn base_name(target: &str) -> Option<&str> {
    target.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty())
}

/// The functions on the way to a device, outermost first, from its path or a link's target:
/// `../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0`. Host bridges and other parts are left out.
pub fn functions_in(path: &str) -> Vec<Address> {
    path.split('/').filter(|part| part.len() >= "0000:00:00.0".len()).filter_map(Address::parse).collect()
}

/// One line of `resource`, `0x… 0x… 0x…`: first address, last address, flags.
fn region(line: &str) -> Option<(u64, u64, u64)> {
    let mut numbers = line.split_whitespace().map(hex);
    let (start, end, flags) = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some((start, end, flags))
}

/// `resource`: index, first address, size in bytes and flags of each region in use among the first seven
/// (six BARs and the expansion ROM, index 6; `enum` in `include/linux/pci.h`).
pub fn resources(text: &str) -> Option<Vec<(u8, u64, u64, u64)>> {
    let mut found = Vec::new();
    for (index, line) in (0u8..7).zip(text.lines()) {
        let (start, end, flags) = region(line)?;
        if flags == 0 || end < start || (start, end) == (0, 0) {
            continue;
        }
        found.push((index, start, (end - start).checked_add(1)?, flags));
    }
    Some(found)
}

/// `reserved_regions` of a group: first address, last address, kind. Lines that are not understood are an error.
pub fn reserved_regions(text: &str) -> Option<Vec<(u64, u64, String)>> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let mut words = line.split_whitespace();
            Some((hex(words.next()?)?, hex(words.next()?)?, words.next()?.to_owned()))
        })
        .collect()
}

/// The function below which `/proc/iomem` shows a firmware framebuffer, and the line that shows it, counted from 1.
///
/// The nesting tells it even where addresses are hidden as zero (without root). The names are those of
/// `drivers/firmware/sysfb*.c`, `drivers/video/screen_info_pci.c` and `arch/x86/kernel/sysfb*.c`, older and newer.
pub fn framebuffer(iomem: &str) -> Option<(Address, u32, String)> {
    let mut above: Vec<(usize, Option<Address>)> = Vec::new();
    for (number, line) in (1u32..).zip(iomem.lines()) {
        let indent = line.len() - line.trim_start().len();
        let Some((_, name)) = line.split_once(" : ") else { continue };
        let name = name.trim();
        above.retain(|(at, _)| *at < indent);
        if matches!(name, "BOOTFB" | "efifb" | "vesafb" | "simplefb" | "simple-framebuffer" | "vesadrm" | "efidrm")
            && let Some(function) = above.iter().rev().find_map(|(_, function)| *function)
        {
            return Some((function, number, line.trim().to_owned()));
        }
        above.push((indent, Address::parse(name)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn reads_numbers() {
        assert_eq!(hex("0x10de\n"), Some(0x10de));
        assert_eq!(hex("030000"), Some(0x30000));
        for bad in ["", "0x", "+1", "0x+1", "xyz", "0x11111111111111111"] {
            assert_eq!(hex(bad), None, "{bad}");
        }
        assert_eq!((switch("1\n"), switch("0"), switch("2"), switch("")), (Some(true), Some(false), None, None));
    }

    #[test]
    fn paths_name_the_bridges_above() {
        assert_eq!(
            functions_in("../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0"),
            [address("00:01.0"), address("01:00.0")]
        );
        assert_eq!(
            functions_in("../../../devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0"),
            [address("00:0e.0"), address("10000:e0:06.0"), address("10000:e1:00.0")]
        );
        assert_eq!(functions_in("/devices/platform/3ee000000.pcie/pci0009:00/0009:00:00.0"), [address("0009:00:00.0")]);
        assert!(functions_in("../../virtual/x").is_empty());
    }

    #[test]
    fn resources_keep_bars_and_rom() {
        let text = "0x00000000fa000000 0x00000000faffffff 0x0000000000040200\n\
0x000000d000000000 0x000000d00fffffff 0x000000000014220c\n\
0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
0x0000000000000000 0x0000000001ffffff 0x000000000014220c\n\
0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
0x000000000000f000 0x000000000000f07f 0x0000000000040101\n\
0x00000000fb000000 0x00000000fb07ffff 0x0000000000046200\n\
0x1 0x2 0x3\n";
        let bars = resources(text).unwrap();
        let short: Vec<_> = bars.iter().map(|(index, _, size, _)| (*index, *size)).collect();
        assert_eq!(short, [(0, 16 << 20), (1, 256 << 20), (3, 32 << 20), (5, 128), (6, 512 << 10)]);
        assert_eq!(resources("0x1 0x2\n"), None);
        assert_eq!(resources("0x0 0xffffffffffffffff 0x200\n"), None);
        assert_eq!(resources(""), Some(vec![]));
    }

    #[test]
    fn reserved_regions_have_kinds() {
        let regions = reserved_regions("0x00000000fee00000 0x00000000feefffff msi\n").unwrap();
        assert_eq!(regions, [(0xfee00000, 0xfeefffff, "msi".to_owned())]);
        assert_eq!(reserved_regions("0x1 msi\n"), None);
    }

    #[test]
    fn the_nesting_tells_whose_framebuffer() {
        let text = "00000000-00000000 : PCI Bus 0000:00\n  00000000-00000000 : PCI Bus 0000:01\n\
    00000000-00000000 : 0000:01:00.0\n      00000000-00000000 : BOOTFB\n  00000000-00000000 : 0000:00:1f.3\n";
        let (function, line, _) = framebuffer(text).unwrap();
        assert_eq!((function, line), (address("01:00.0"), 4));
        assert_eq!(framebuffer("00000000-00000000 : BOOTFB\n"), None);
        assert_eq!(framebuffer("0-1 : 0000:01:00.0\n0-1 : BOOTFB\n"), None);
    }
}
