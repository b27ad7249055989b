//! Scrubs files by their format.

use super::rules::{Keep, Rule};
use super::secret::REMOVED;
use super::{Kind, Scrubber};
use regex::RegexSet;
use regex::bytes::Regex;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// Stands in place of a line that was left out, so that the others keep their numbers.
const LEFT_OUT: &str = "#";

impl Scrubber {
    /// What of a file may be in the capture, by its row; none for [`Keep::Skip`].
    pub fn file(&mut self, rule: &Rule, keys: Option<&RegexSet>, bytes: &[u8]) -> Option<Vec<u8>> {
        let text = || String::from_utf8_lossy(bytes);
        Some(match rule.keep {
            Keep::Skip => return None,
            Keep::Whole => bytes.to_vec(),
            Keep::Text => self.text(&text()).into_bytes(),
            Keep::Keys => {
                let kept = keep_lines(&text(), keys);
                self.text(&kept).into_bytes()
            }
            Keep::Environ => {
                let kept: Vec<String> = text()
                    .split('\0')
                    .filter(|word| keys.is_some_and(|keys| keys.is_match(word.split('=').next().unwrap_or_default())))
                    .map(|word| self.text(word))
                    .collect();
                kept.join("\0").into_bytes()
            }
            Keep::Arguments => self.arguments(&text()).into_bytes(),
            Keep::Xml => {
                let blanked = blank_people(&text());
                self.text(&blanked).into_bytes()
            }
            Keep::Serial | Keep::Ids => {
                let kind = if rule.keep == Keep::Ids { Kind::Uuid } else { Kind::Serial };
                let lines: Vec<String> = text().split('\n').map(|line| self.id(kind, line)).collect();
                lines.join("\n").into_bytes()
            }
            Keep::PciConfig => self.pci_config(bytes),
            Keep::Efi => self.efi(bytes),
            Keep::Net => self.net(&text()).into_bytes(),
        })
    }

    /// What a file of this row teaches, before anything is replaced.
    pub fn learn_file(&mut self, rule: &Rule, bytes: &[u8]) {
        match rule.keep {
            Keep::Serial | Keep::Ids => {
                let kind = if rule.keep == Keep::Ids { Kind::Uuid } else { Kind::Serial };
                for line in String::from_utf8_lossy(bytes).lines() {
                    self.learn(kind, line);
                }
            }
            Keep::Text | Keep::Keys | Keep::Xml | Keep::Arguments => {
                self.learn_text(&String::from_utf8_lossy(bytes));
            }
            _ => {}
        }
    }

    /// One id, with the white space around it.
    fn id(&mut self, kind: Kind, line: &str) -> String {
        let id = line.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        let new = self.name(id);
        // A short one was not learned, and has no shape that shows what it is.
        let new = if new == id && !id.is_empty() { self.pseudonym(kind, id) } else { new };
        line.replacen(id, &new, 1)
    }

    /// NUL stays NUL; passwords can be words of their own.
    fn arguments(&mut self, text: &str) -> String {
        let mut words: Vec<String> = Vec::new();
        let mut secret = false;
        for word in text.split('\0') {
            let option = word.trim_start_matches('-').to_ascii_lowercase();
            let names_one = word.starts_with('-') && !word.contains('=');
            let new = if secret && !word.is_empty() { REMOVED.to_owned() } else { self.text(word) };
            secret = names_one && ["password", "passwd", "secret", "token"].iter().any(|name| option.contains(name));
            words.push(new);
        }
        words.join("\0")
    }

    /// Replaces the device serial number: extended capability 0003h, eight bytes behind its header
    /// (PCI Express Base Specification 6.0, section 7.9.3).
    fn pci_config(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut config = bytes.to_vec();
        let dword = |bytes: &[u8], at: usize| {
            bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
        };
        let mut at = 0x100;
        // 960 capabilities of four bytes are the most that fit.
        for _ in 0..960 {
            let Some(header) = dword(&config, at).filter(|header| !matches!(*header, 0 | u32::MAX)) else { break };
            if header & 0xffff == 0x0003
                && let Some(serial) = config.get_mut(at + 4..at + 12)
                && serial.iter().any(|byte| !matches!(byte, 0 | 0xff))
            {
                let text: Vec<String> = serial.iter().rev().map(|byte| format!("{byte:02x}")).collect();
                let new = self.pseudonym(Kind::Serial, &text.join("-"));
                for (place, byte) in serial.iter_mut().zip(new.split('-').rev()) {
                    *place = u8::from_str_radix(byte, 16).unwrap_or(0);
                }
            }
            let next = (header >> 20) as usize & 0xffc;
            if next < 0x100 {
                break;
            }
            at = next;
        }
        config
    }

    /// An EFI variable: four bytes of attributes, then UTF-16 text or a load option, in which partition ids, addresses
    /// and serial numbers of device paths are replaced (UEFI 2.10, sections 3.1.3 and 10.3).
    fn efi(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.exact || bytes.len() < 12 {
            return bytes.to_vec();
        }
        let mut new = bytes.to_vec();
        let units: Vec<u16> =
            bytes.get(4..).unwrap_or_default().chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
        if let Ok(text) = String::from_utf16(&units)
            && text.chars().all(|c| !c.is_control() || matches!(c, '\0' | '\n' | '\r' | '\t'))
            && text.trim_end_matches('\0').len() >= 4
        {
            let text = self.text(&text);
            new.truncate(4);
            new.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            return new;
        }
        // Load option: attributes, length of the paths, description, paths, data.
        let Some(length) = bytes.get(8..10).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]]))) else { return new };
        let mut at = 10;
        while bytes.get(at..at + 2).is_some_and(|unit| unit != [0, 0]) {
            at += 2;
        }
        at += 2;
        let end = (at + length).min(bytes.len());
        while let Some(&[kind, sub, low, high]) = bytes.get(at..at + 4).and_then(|head| <&[u8; 4]>::try_from(head).ok())
        {
            let size = usize::from(u16::from_le_bytes([low, high]));
            if size < 4 || at + size > end {
                break;
            }
            if let Some(node) = new.get_mut(at + 4..at + size) {
                self.device_path(kind, sub, node);
            }
            at += size;
        }
        // What the loader gets, often a kernel command line in UTF-16.
        let data = new.split_off(end);
        let units: Vec<u16> = data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
        match String::from_utf16(&units) {
            Ok(text) if data.len().is_multiple_of(2) && text.chars().all(|c| !c.is_control() || c == '\0') => {
                new.extend(self.text(&text).encode_utf16().flat_map(u16::to_le_bytes));
            }
            _ => new.extend(data),
        }
        new
    }

    fn device_path(&mut self, kind: u8, sub: u8, node: &mut [u8]) {
        match (kind, sub) {
            // Hard drive: partition number, start, size, then the partition's signature.
            (4, 1) => {
                if let Some(id) = node.get_mut(20..36).and_then(|id| <&mut [u8; 16]>::try_from(id).ok()) {
                    let text = guid(id);
                    if let Some(new) = bytes_of(&self.pseudonym(Kind::Uuid, &text)) {
                        *id = new;
                    }
                }
            }
            // MAC address, in a field of 32 bytes.
            (3, 11) => {
                if let Some(mac) = node.get_mut(..6) {
                    let text: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
                    let new = self.pseudonym(Kind::Mac, &text.join(":"));
                    for (place, byte) in mac.iter_mut().zip(new.split(':')) {
                        *place = u8::from_str_radix(byte, 16).unwrap_or(0);
                    }
                }
            }
            // IPv4, IPv6, USB WWID, NVMe namespace (its EUI-64 behind the id), URI, SAS: none is needed.
            (3, 12 | 13 | 16 | 10 | 22 | 24) => node.fill(0),
            (3, 23) => {
                if let Some(eui) = node.get_mut(4..) {
                    eui.fill(0);
                }
            }
            _ => {}
        }
    }

    /// Replaces addresses in hexadecimal. `/proc/net/tcp` and `route` have them in the machine's order (little-endian
    /// here), `ipv6_route` and `if_inet6` in the network's (net/ipv4/tcp_ipv4.c, net/ipv6/addrconf.c).
    fn net(&mut self, text: &str) -> String {
        if self.exact {
            return text.to_owned();
        }
        let lines: Vec<String> = text.split('\n').map(|line| self.net_line(line)).collect();
        lines.join("\n")
    }

    fn net_line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let hex = |word: &str, digits: usize| word.len() == digits && word.bytes().all(|b| b.is_ascii_hexdigit());
        let socket =
            |word: &str| word.split_once(':').is_some_and(|(ip, port)| (hex(ip, 8) || hex(ip, 32)) && hex(port, 4));
        // Interface, destination, gateway, …, mask: a route of IPv4.
        if words.len() >= 8 && hex(words[1], 8) && hex(words[2], 8) && hex(words[7], 8) {
            let mask = u32::from_str_radix(words[7], 16).unwrap_or(0);
            let destination = self.hex4(words[1]);
            let masked = u32::from_str_radix(&destination, 16).unwrap_or(0) & mask;
            let gateway = self.hex4(words[2]);
            return line.replacen(words[1], &format!("{masked:08X}"), 1).replacen(words[2], &gateway, 1);
        }
        let mut new = line.to_owned();
        for (place, word) in words.iter().enumerate() {
            if socket(word) {
                let (ip, port) = word.split_once(':').unwrap_or_default();
                let ip = if ip.len() == 8 { self.hex4(ip) } else { self.hex6_words(ip) };
                new = new.replacen(*word, &format!("{ip}:{port}"), 1);
            } else if hex(word, 32) {
                // A prefix is cut to its length, which stands behind it in a route.
                let length =
                    words.get(place + 1).filter(|_| words.len() >= 10).and_then(|l| u32::from_str_radix(l, 16).ok());
                new = new.replacen(*word, &self.hex6(word, length.unwrap_or(128)), 1);
            }
        }
        new
    }

    fn hex4(&mut self, hex: &str) -> String {
        let address = Ipv4Addr::from(u32::from_str_radix(hex, 16).unwrap_or(0).to_le_bytes());
        let new: Ipv4Addr = self.pseudonym(Kind::Ip, &address.to_string()).parse().unwrap_or(address);
        format!("{:08X}", u32::from_le_bytes(new.octets()))
    }

    fn hex6(&mut self, hex: &str, length: u32) -> String {
        let address = Ipv6Addr::from_bits(u128::from_str_radix(hex, 16).unwrap_or(0));
        let new: Ipv6Addr = self.pseudonym(Kind::Ip, &address.to_string()).parse().unwrap_or(address);
        let mask = if length == 0 { 0 } else { u128::MAX << (128 - length.min(128)) };
        format!("{:032x}", new.to_bits() & mask)
    }

    fn hex6_words(&mut self, hex: &str) -> String {
        let swap = |hex: &str| -> String {
            let words = hex.as_bytes().chunks(8).map(|word| {
                let word = std::str::from_utf8(word).ok().and_then(|word| u32::from_str_radix(word, 16).ok());
                format!("{:08X}", word.unwrap_or(0).swap_bytes())
            });
            words.collect()
        };
        swap(&self.hex6(&swap(hex), 128))
    }
}

/// Lines whose key is wanted; sections stay, all else becomes [`LEFT_OUT`].
fn keep_lines(text: &str, keys: Option<&RegexSet>) -> String {
    let Some(keys) = keys else { return String::new() };
    let mut section = String::new();
    let mut keeps = false;
    let lines: Vec<&str> = text
        .split('\n')
        .map(|line| {
            let trimmed = line.trim();
            if trimmed.is_empty() {
                return line;
            }
            if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                section = name.to_owned();
                keeps = false;
                return line;
            }
            // A line that begins with space goes on with the one before.
            if !line.starts_with([' ', '\t']) {
                let end = |c: char| c == '=' || c == ':' || c.is_whitespace();
                // udev's keys begin with a letter and a colon.
                let from = if line.get(1..2) == Some(":") { 2 } else { 0 };
                let key = line.get(from..).unwrap_or_default().split(end).next().unwrap_or_default();
                let key = format!("{}{key}", line.get(..from).unwrap_or_default());
                keeps = !key.is_empty() && (keys.is_match(&key) || keys.is_match(&format!("{section}.{key}")));
            }
            if keeps { line } else { LEFT_OUT }
        })
        .collect();
    lines.join("\n")
}

/// Blanks what describes people and projects in a domain: line ends stay.
fn blank_people(xml: &str) -> String {
    static PEOPLE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?s-u)<(?:metadata|description|title)>(.*?)</(?:metadata|description|title)>|(?i-u)\b(?:passwd|username)=['\x22]([^'\x22]*)['\x22]").ok()
    });
    let Some(people) = &*PEOPLE else { return String::new() };
    let mut out = Vec::new();
    let mut done = 0;
    for captures in people.captures_iter(xml.as_bytes()) {
        let Some(group) = captures.get(1).or(captures.get(2)) else { continue };
        out.extend(xml.as_bytes().get(done..group.start()).unwrap_or_default());
        out.extend(group.as_bytes().iter().filter(|byte| **byte == b'\n'));
        done = group.end();
    }
    out.extend(xml.as_bytes().get(done..).unwrap_or_default());
    String::from_utf8_lossy(&out).into_owned()
}

/// The text of a GUID as it stands in memory: the first three fields little-endian.
fn guid(bytes: &[u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *bytes;
    let tail: String =
        rest.iter().enumerate().map(|(i, byte)| format!("{}{byte:02x}", if i == 2 { "-" } else { "" })).collect();
    format!("{d:02x}{c:02x}{b:02x}{a:02x}-{f:02x}{e:02x}-{h:02x}{g:02x}-{tail}")
}

fn bytes_of(text: &str) -> Option<[u8; 16]> {
    let bits = u128::from_str_radix(&text.replace('-', ""), 16).ok()?;
    let [a, b, c, d, e, f, g, h, rest @ ..] = bits.to_be_bytes();
    let mut bytes = [d, c, b, a, f, e, h, g, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.get_mut(8..)?.copy_from_slice(&rest);
    Some(bytes)
}
