//! Pseudonyms that keep the shape of what they stand for.

use super::Kind;
use sha2::{Digest, Sha256};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The pseudonym of a value.
pub(super) fn of(salt: &[u8; 32], kind: Kind, original: &str) -> String {
    match kind {
        Kind::Mac => mac(salt, original),
        Kind::Ip => ip(salt, original),
        Kind::Uuid if original.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') => uuid(salt, original),
        Kind::Uuid | Kind::Serial => shaped(salt, original),
        Kind::Host => format!("host-{}", hex(&hash(salt, "host", original.as_bytes()), 6)),
        Kind::User => format!("user-{}", hex(&hash(salt, "user", original.as_bytes()), 6)),
    }
}

/// Values that say nothing about this host.
pub(super) fn is_well_known(original: &str) -> bool {
    if let Ok(address) = original.parse::<Ipv4Addr>() {
        return keeps_v4(address);
    }
    if let Ok(address) = original.parse::<Ipv6Addr>() {
        return keeps_v6(address);
    }
    let digits: Vec<u8> = original.bytes().filter(|b| b.is_ascii_alphanumeric()).collect();
    let one = |byte: u8| digits.iter().all(|b| b.eq_ignore_ascii_case(&byte));
    one(b'0') || one(b'f') || matches!(original, "localhost" | "root" | "localdomain" | "none" | "unknown")
}

fn keeps_v4(address: Ipv4Addr) -> bool {
    // "This", loopback, multicast, broadcast and netmasks.
    matches!(address.octets(), [0 | 127 | 224..=255, ..])
}

fn keeps_v6(address: Ipv6Addr) -> bool {
    address.is_unspecified() || address.is_loopback() || address.is_multicast()
}

fn hash(salt: &[u8; 32], what: &str, data: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(what.as_bytes());
    hasher.update([0]);
    hasher.update(data);
    hasher.finalize().into()
}

fn hex(bytes: &[u8], digits: usize) -> String {
    let all: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    all.chars().take(digits).collect()
}

/// As many bytes as asked for, from a value.
fn stream(salt: &[u8; 32], what: &str, data: &[u8]) -> impl Iterator<Item = u8> {
    let seed = hash(salt, what, data);
    (0u32..).flat_map(move |block| hash(&seed, "stream", &block.to_le_bytes()))
}

/// A locally administered address with the same separators and case.
fn mac(salt: &[u8; 32], original: &str) -> String {
    let digits: String = original.chars().filter(char::is_ascii_hexdigit).collect();
    let lower = digits.to_ascii_lowercase();
    let mut new = format!("02{}", hex(&hash(salt, "mac", lower.as_bytes()), 60));
    new.truncate(digits.len());
    fill(original, new.chars())
}

/// The same whether with dashes or without, upper or lower case.
fn uuid(salt: &[u8; 32], original: &str) -> String {
    let digits: String = original.chars().filter(char::is_ascii_hexdigit).collect();
    let lower = digits.to_ascii_lowercase();
    fill(original, hex(&hash(salt, "uuid", lower.as_bytes()), 64).chars())
}

/// Puts hex digits in the places of the original's, in its case.
fn fill(original: &str, mut digits: impl Iterator<Item = char>) -> String {
    let upper = original.bytes().any(|b| b.is_ascii_uppercase());
    let mut next = || digits.next().map_or('0', |d| if upper { d.to_ascii_uppercase() } else { d });
    original.chars().map(|c| if c.is_ascii_hexdigit() { next() } else { c }).collect()
}

/// Digits for digits, letters for letters; of a hexadecimal number hex digits.
fn shaped(salt: &[u8; 32], original: &str) -> String {
    let (prefix, rest) = match original.strip_prefix("0x") {
        Some(rest) => ("0x", rest),
        None => ("", original),
    };
    let pure_hex = rest.len() >= 8 && rest.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, '.' | '-' | ':'));
    let lower = rest.to_ascii_lowercase();
    let random = stream(salt, "serial", lower.as_bytes());
    let shape = |(c, random): (char, u8)| -> char {
        let from = |set: &[u8]| set.get(usize::from(random) % set.len()).map_or('0', |b| char::from(*b));
        match c {
            c if pure_hex && c.is_ascii_hexdigit() && rest.bytes().any(|b| b.is_ascii_uppercase()) => {
                from(b"0123456789ABCDEF")
            }
            c if pure_hex && c.is_ascii_hexdigit() => from(b"0123456789abcdef"),
            '0'..='9' => from(b"0123456789"),
            'a'..='z' => from(b"abcdefghijklmnopqrstuvwxyz"),
            'A'..='Z' => from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            other if other.is_ascii() => other,
            _ => '_',
        }
    };
    format!("{prefix}{}", rest.chars().zip(random).map(shape).collect::<String>())
}

fn ip(salt: &[u8; 32], original: &str) -> String {
    if let Ok(address) = original.parse::<Ipv4Addr>() {
        return v4(salt, address).to_string();
    }
    match original.parse::<Ipv6Addr>() {
        Ok(address) => v6(salt, address).to_string(),
        Err(_) => original.to_owned(),
    }
}

/// An address in 10.0.0.0/8. Two addresses share as many leading bits as before beyond the first eight, so that
/// an address stays in its network (as in Crypto-PAn, Xu et al., "Prefix-Preserving IP Address Anonymization", 2002).
pub(super) fn v4(salt: &[u8; 32], address: Ipv4Addr) -> Ipv4Addr {
    if keeps_v4(address) {
        return address;
    }
    let bits = keyed(salt, u128::from(address.to_bits()) << 96, 32) >> 96;
    Ipv4Addr::from_bits(10 << 24 | (bits as u32 & 0x00ff_ffff))
}

/// An address in 2001:db8::/32 (RFC 3849), or for a link-local one with the same prefix; networks are kept.
pub(super) fn v6(salt: &[u8; 32], address: Ipv6Addr) -> Ipv6Addr {
    if keeps_v6(address) {
        return address;
    }
    if let Some(inner) = address.to_ipv4_mapped() {
        return v4(salt, inner).to_ipv6_mapped();
    }
    let bits = keyed(salt, address.to_bits(), 128);
    let old = address.to_bits();
    Ipv6Addr::from_bits(if address.is_unicast_link_local() {
        old >> 64 << 64 | bits & u128::from(u64::MAX)
    } else {
        0x2001_0db8 << 96 | bits & (u128::MAX >> 32)
    })
}

/// Flips each bit by what stands before it.
fn keyed(salt: &[u8; 32], bits: u128, count: u32) -> u128 {
    let mut new = bits;
    for bit in 0..count {
        let before = if bit == 0 { 0 } else { bits >> (128 - bit) << (128 - bit) };
        let mut data = before.to_be_bytes().to_vec();
        data.push(bit as u8);
        if hash(salt, "ip", &data).first().is_some_and(|byte| byte & 1 == 1) {
            new ^= 1 << (127 - bit);
        }
    }
    new
}
