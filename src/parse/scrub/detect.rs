//! Finds names and numbers in text: by their own shape, by what stands before them, or because they were learned.

use super::Kind;
use regex::{Regex, RegexBuilder};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

/// By shape; the group's name says which kind. An order: the first that fits at a place is taken.
const SHAPES: &str = r"(?P<uuid>[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12})|(?P<mac>[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5,19}|[0-9A-Fa-f]{2}(?:-[0-9A-Fa-f]{2}){5,7})|(?:enx|wlx|wwx)(?P<plainmac>[0-9a-f]{12})|(?P<machine>[0-9a-f]{32})|(?P<ip6>[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.[0-9]{1,3}){0,3})|(?P<ip4>[0-9]{1,3}(?:\.[0-9]{1,3}){3})|/home/(?P<user>[A-Za-z_][A-Za-z0-9._-]*)|/(?:run/)?media/(?P<media>[A-Za-z_][A-Za-z0-9._-]*)/|(?:\b(?:username|user|login)=)(?P<login>[A-Za-z_][A-Za-z0-9._-]*)|(?P<mail>[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,})";

/// A kind by the name of its group.
const GROUPS: &[(&str, Kind)] = &[
    ("learned", Kind::Serial),
    ("uuid", Kind::Uuid),
    ("mac", Kind::Mac),
    ("plainmac", Kind::Mac),
    ("machine", Kind::Uuid),
    ("ip6", Kind::Ip),
    ("ip4", Kind::Ip),
    ("user", Kind::User),
    ("media", Kind::User),
    ("login", Kind::User),
    ("mail", Kind::User),
];

/// Finds everything of any kind in one pass.
pub(super) struct Detector {
    pattern: Option<Regex>,
}

impl Detector {
    pub(super) fn new(learned: &BTreeMap<String, Kind>) -> Detector {
        let mut words: Vec<&String> = learned.keys().collect();
        // Of two that start at the same place the longer one is meant.
        words.sort_by_key(|word| std::cmp::Reverse(word.len()));
        let words: Vec<String> = words.iter().map(|word| regex::escape(word)).collect();
        let first = if words.is_empty() { String::new() } else { format!("(?P<learned>{})|", words.join("|")) };
        let pattern = format!("{first}{}", SHAPES.replace(r"\b", r"(?-u:\b)"));
        Detector { pattern: RegexBuilder::new(&pattern).size_limit(256 << 20).build().ok() }
    }

    /// What is found, in order, without overlaps.
    pub(super) fn find(&self, text: &str, learned: &BTreeMap<String, Kind>) -> Vec<(Range<usize>, Kind)> {
        let mut found = Vec::new();
        let Some(pattern) = &self.pattern else { return found };
        let mut at = 0;
        while let Some(captures) = pattern.captures_at(text, at) {
            let Some(whole) = captures.get(0) else { break };
            let group = GROUPS.iter().find_map(|(name, kind)| Some((*name, *kind, captures.name(name)?)));
            let fits = group.filter(|(name, _, group)| fits(text, name, group.range()));
            match fits {
                Some((name, kind, group)) => {
                    let kind = if name == "learned" { *learned.get(group.as_str()).unwrap_or(&kind) } else { kind };
                    found.push((group.range(), kind));
                    at = group.end().max(whole.start() + 1);
                }
                // Something longer, or nothing of that kind: look again from the next character on.
                None => at = whole.start() + text.get(whole.start()..).map_or(1, first_length),
            }
            if at > text.len() {
                break;
            }
        }
        found
    }
}

fn first_length(text: &str) -> usize {
    text.chars().next().map_or(1, char::len_utf8)
}

/// True if what surrounds a find does not make it part of something else.
fn fits(text: &str, name: &str, range: Range<usize>) -> bool {
    let before = text.get(..range.start).and_then(|text| text.chars().next_back());
    let mut rest = text.get(range.end..).unwrap_or_default().chars();
    let after = rest.next();
    let value = text.get(range).unwrap_or_default();
    let word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    match name {
        "plainmac" => !word(after),
        "user" | "media" | "login" => true,
        "mail" => !word(before),
        "ip4" => {
            // 5.15.0.1-generic, v1.2.3.4 and 1.2.3.4.5 are versions.
            let joined = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
            let sentence_ends = after == Some('.') && !word(rest.next());
            !joined(before) && (!joined(after) || sentence_ends) && value.parse::<Ipv4Addr>().is_ok()
        }
        "ip6" => {
            let joined = |c: Option<char>| word(c) || matches!(c, Some(':' | '.'));
            let groups = value.split(':').filter(|group| !group.is_empty()).count();
            let telling =
                groups >= 3 || value.starts_with("fe80::") || value.starts_with("2") || value.starts_with("fd");
            !joined(before)
                && !joined(after)
                && telling
                && value.contains("::") | (groups == 8)
                && value.parse::<Ipv6Addr>().is_ok()
        }
        "mac" => !word(before) && !word(after) && !matches!((before, after), (Some(':'), _) | (_, Some(':'))),
        "learned" => {
            let edge = |inside: Option<char>, outside: Option<char>| !(word(inside) && word(outside));
            edge(value.chars().next(), before) && edge(value.chars().next_back(), after)
        }
        _ => !word(before) && !word(after),
    }
}

/// What stands behind words that say what it is.
pub(super) fn by_context(text: &str) -> Vec<(Kind, String)> {
    static CONTEXTS: LazyLock<Vec<(Kind, Option<Regex>)>> = LazyLock::new(|| {
        let contexts = [
            // fstab, kernel command lines, BLS entries.
            (Kind::Uuid, r#"UUID=["']?([0-9A-Za-z]{4,32}(?:-[0-9A-Za-z]{2,12})*)"#),
            (Kind::Uuid, r"/dev/disk/by-(?:part)?uuid/([0-9A-Za-z-]{6,36})"),
            // grub.cfg.
            (Kind::Uuid, r"--fs-uuid [^\n]*?([0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}|[0-9A-F]{16})(?-u:\s)"),
            // LVM: six groups of characters.
            (Kind::Uuid, r"([A-Za-z0-9]{6}(?:-[A-Za-z0-9]{4}){5}-[A-Za-z0-9]{6})"),
            // systemd's udev names: <bus>-<model>_<serial>, and world wide names.
            (
                Kind::Serial,
                r"/by-id/(?:ata|nvme|usb|scsi|virtio|mmc)-[^/\n]*_([A-Za-z0-9-]*?[A-Za-z0-9]{4,})(?:_[0-9])?(?:-part[0-9]+)?(?:-0:0)?(?:\n|$)",
            ),
            (Kind::Serial, r"/by-id/(?:wwn-0x|nvme-eui\.|scsi-[0-9]?|nvme-nvme\.)([0-9a-fA-F]{12,})"),
            (Kind::Host, r"Hostname set to <([^>\n]+)>"),
            (Kind::Host, r" - nfs4? ([A-Za-z0-9.-]+):/"),
            (Kind::Host, r" - (?:cifs|smb3) //([A-Za-z0-9.-]+)/"),
        ];
        contexts.into_iter().map(|(kind, pattern)| (kind, Regex::new(pattern).ok())).collect()
    });
    let mut found = Vec::new();
    for (kind, pattern) in CONTEXTS.iter() {
        for captures in pattern.iter().flat_map(|pattern| pattern.captures_iter(text)) {
            found.extend(captures.get(1).map(|group| (*kind, group.as_str().to_owned())));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn patterns_are_valid() {
        assert!(super::Detector::new(&[("a.b".to_owned(), super::Kind::Host)].into()).pattern.is_some());
        assert_eq!(super::by_context("root=UUID=1A2B-3C4D ro").len(), 1);
        assert_eq!(super::by_context("/by-id/wwn-0x5002538e40a1b2c3").len(), 1);
    }
}
