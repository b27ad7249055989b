//! Text and JSON of the same values. Goes in: snapshots and findings. Comes out: what stdout gets.

pub mod check;
pub mod detail;
pub mod group;
pub mod guest;
pub mod hand_over;
pub mod json;
pub mod list;
pub mod markdown;
pub mod nova;
pub mod overview;
pub mod plan;
pub mod probe;
pub mod reset;
pub mod rom;
pub mod runs;
pub mod setup;
pub mod transaction;
pub mod tree;
pub mod verify;
pub mod vm;

use crate::facts::pci::{Function, Pci};
use crate::host::console;
use crate::parse::address::Address;
use anstyle::{AnsiColor, Effects, Style as Ansi};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Colours and width of one output stream. Colours are always written; the stream removes them
/// where it is no terminal.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Columns to keep to; `None`: no limit.
    pub width: Option<usize>,
}

impl Style {
    /// Of stdout.
    pub fn stdout() -> Style {
        Style { width: console::width() }
    }

    /// Of stdout for tables that nobody feeds to a program: what COLUMNS says where it is no terminal.
    pub fn table() -> Style {
        Style { width: console::width().or_else(console::columns) }
    }

    /// Of stderr.
    pub fn stderr() -> Style {
        Style { width: None }
    }

    /// Columns for running text: the terminal's, 80 at the most.
    pub fn text_width(&self) -> usize {
        self.width.unwrap_or(80).clamp(40, 80)
    }

    /// Red.
    pub fn error(&self, text: &str) -> String {
        paint(Ansi::new().fg_color(Some(AnsiColor::Red.into())).effects(Effects::BOLD), text)
    }

    /// Yellow.
    pub fn warning(&self, text: &str) -> String {
        paint(Ansi::new().fg_color(Some(AnsiColor::Yellow.into())).effects(Effects::BOLD), text)
    }

    /// Green.
    pub fn good(&self, text: &str) -> String {
        paint(Ansi::new().fg_color(Some(AnsiColor::Green.into())).effects(Effects::BOLD), text)
    }

    /// Cyan.
    pub fn note(&self, text: &str) -> String {
        paint(Ansi::new().fg_color(Some(AnsiColor::Cyan.into())), text)
    }

    /// Bold.
    pub fn strong(&self, text: &str) -> String {
        paint(Ansi::new().effects(Effects::BOLD), text)
    }

    /// Dim.
    pub fn faint(&self, text: &str) -> String {
        paint(Ansi::new().effects(Effects::DIMMED), text)
    }
}

fn paint(style: Ansi, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Control characters become `?`: what a device, file or log says must not steer the terminal.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '?' } else { c }).collect()
}

/// Bytes in binary units, as `du -h`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// Cuts to a number of columns, with an ellipsis where something was cut.
pub fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > columns {
            break;
        }
        used += wide;
        kept.push(c);
    }
    kept + "…"
}

/// A function's name in at most so many columns: with the vendor as people call it, then with the marketing name alone,
/// and cut only then.
pub fn name_within(function: &Function, columns: usize) -> String {
    let full = plain(&function.name());
    let (Some(vendor), Some(device)) = (&function.vendor_name, &function.device_name) else {
        return cut(&full, columns);
    };
    let (vendor, device) = (plain(vendor), plain(device));
    let vendor = called(&vendor);
    let marketing = device.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(name, _)| name);
    let part = function.virtual_of();
    let columns = columns.saturating_sub(part.width());
    let mut names = vec![full.trim_end_matches(&part).to_owned(), format!("{vendor} {device}")];
    // Of other devices, what stands in brackets is a detail.
    names.extend(marketing.filter(|_| function.is_display()).map(|name| format!("{vendor} {name}")));
    let fits = names.iter().find(|name| name.width() <= columns).or(names.last());
    fits.map(|name| cut(name, columns)).unwrap_or_default() + &part
}

/// A function's name in at most so many columns; of a device that makes virtual functions with their number, ` (4 of 256 VFs)`. While it
/// has none, the name goes first.
fn name_and_parts(function: &Function, columns: usize) -> String {
    let Some(sriov) = function.sriov.known().filter(|sriov| sriov.total > 0 && !function.is_bridge()) else {
        return name_within(function, columns);
    };
    let parts = format!(" ({} of {} VFs)", sriov.active, sriov.total);
    let name = name_within(function, columns.saturating_sub(parts.len()));
    if sriov.active == 0 && name.ends_with('…') { name_within(function, columns) } else { name + &parts }
}

/// `Advanced Micro Devices, Inc. [AMD/ATI]` is called AMD/ATI, `Samsung Electronics Co Ltd` Samsung.
fn called(vendor: &str) -> &str {
    if let Some((_, short)) = vendor.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
        return short;
    }
    const FORMAL: &[&str] = &[
        " Corporation",
        " Corp",
        " Electronics",
        " Semiconductor",
        " Technolog",
        ", Inc",
        " Inc",
        " Co.",
        ", Ltd",
        " Ltd",
        " Limited",
    ];
    let end = FORMAL.iter().filter_map(|word| vendor.find(word)).filter(|at| *at > 0).min();
    end.and_then(|end| vendor.get(..end)).unwrap_or(vendor)
}

/// Breaks text into lines of at most `columns`, each behind `indent` spaces; words longer than that stay whole, and so do
/// vfioneer's own commands between backquotes, which somebody copies.
pub fn wrap(text: &str, indent: usize, columns: usize) -> String {
    let room = columns.saturating_sub(indent).max(20);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        let mut words = paragraph.split_whitespace();
        while let Some(word) = words.next() {
            let word = whole(word, &mut words);
            if !line.is_empty() && line.width() + 1 + word.width() > room {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&word);
        }
        lines.push(line);
    }
    let margin = " ".repeat(indent);
    lines.iter().map(|line| format!("{}\n", format!("{margin}{line}").trim_end())).collect()
}

/// A command between backquotes with the words that belong to it; any other word alone.
fn whole(word: &str, more: &mut std::str::SplitWhitespace<'_>) -> String {
    let mut whole = word.to_owned();
    let starts = word.split_once('`').is_some_and(|(_, rest)| rest == "vfioneer");
    let mut rest = more.clone();
    while starts && whole.len() < LONGEST_COMMAND {
        let Some(next) = rest.next() else { return word.to_owned() };
        whole = format!("{whole} {next}");
        if next.contains('`') {
            *more = rest;
            return whole;
        }
    }
    word.to_owned()
}

/// A command that is longer than this is broken all the same.
const LONGEST_COMMAND: usize = 400;

/// Gives vfioneer's commands between backquotes the options that lead to the same host, where these matter and are not there.
pub fn at_host(text: &str, options: &str) -> String {
    const START: &str = "`vfioneer ";
    if options.is_empty() {
        return text.to_owned();
    }
    let mut parts = text.split(START);
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let command = part.split('`').next().unwrap_or_default();
        let anywhere = ["--root", "--from", "capture", "check --log"].iter().any(|start| command.starts_with(start))
            || command.starts_with("explain") && !command.starts_with("explain group")
            || command.ends_with("--help");
        said.push_str(START);
        said.push_str(if anywhere { "" } else { options });
        said.push_str(part);
    }
    said
}

/// Addresses as this host's user writes them: without the domain where there is only domain 0.
#[derive(Clone, Copy, Debug)]
pub struct Short {
    one_domain: bool,
}

impl Short {
    /// Decides for a host.
    pub fn of(pci: &Pci) -> Short {
        Short { one_domain: pci.functions.iter().all(|f| f.address.domain == 0) }
    }

    /// One address.
    pub fn show(&self, address: &Address) -> String {
        let full = address.to_string();
        self.cut(full)
    }

    /// One slot.
    pub fn slot(&self, address: &Address) -> String {
        self.cut(address.slot())
    }

    fn cut(&self, full: String) -> String {
        match full.strip_prefix("0000:") {
            Some(rest) if self.one_domain => rest.to_owned(),
            _ => full,
        }
    }
}

/// `1 function`, `3 functions`.
pub fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::{at_host, called, cut, name_within, plain, size, wrap};
    use crate::parse::address::Address;

    #[test]
    fn cuts_by_columns_and_not_by_bytes() {
        assert_eq!(cut("GeForce", 7), "GeForce");
        assert_eq!(cut("GeForce", 4), "GeF…");
        assert_eq!(cut("그래픽카드", 6), "그래…");
    }

    #[test]
    fn names_lose_first_what_tells_least() {
        let mut gpu =
            crate::facts::pci::Function::unknown(Address::parse("01:00.0").unwrap(), crate::facts::pci::Seen::Sysfs);
        gpu.vendor_name = Some("NVIDIA Corporation".into());
        gpu.class = crate::host::Fact::Known(0x030000);
        gpu.device_name = Some("GA104 [GeForce RTX 3070]".into());
        for (columns, name) in [
            (80, "NVIDIA Corporation GA104 [GeForce RTX 3070]"),
            (40, "NVIDIA GA104 [GeForce RTX 3070]"),
            (24, "NVIDIA GeForce RTX 3070"),
            (12, "NVIDIA GeFo…"),
        ] {
            assert_eq!(name_within(&gpu, columns), name);
        }
        for (vendor, short) in [
            ("Advanced Micro Devices, Inc. [AMD/ATI]", "AMD/ATI"),
            ("Intel Corporation", "Intel"),
            ("Samsung Electronics Co Ltd", "Samsung"),
            ("Realtek Semiconductor Co., Ltd.", "Realtek"),
            ("Red Hat, Inc.", "Red Hat"),
            ("SK hynix", "SK hynix"),
        ] {
            assert_eq!(called(vendor), short);
        }
    }

    #[test]
    fn wraps_and_keeps_long_words() {
        assert_eq!(wrap("one two three", 2, 24), "  one two three\n");
        assert_eq!(wrap("aaaaaaaaaa bbbbbbbbbb cccc", 2, 22), "  aaaaaaaaaa\n  bbbbbbbbbb cccc\n");
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB")] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn commands_stay_whole_and_lead_to_the_same_host() {
        assert_eq!(wrap("one two `vfioneer plan 01:00` three", 0, 24), "one two\n`vfioneer plan 01:00`\nthree\n");
        assert_eq!(wrap("`vfioneer plan", 0, 40), "`vfioneer plan\n");
        let text = "`vfioneer list`, `vfioneer explain acs`, `vfioneer --root / check`, `vfioneer explain group 3`";
        assert_eq!(
            at_host(text, "--root /mnt "),
            "`vfioneer --root /mnt list`, `vfioneer explain acs`, `vfioneer --root / check`, \
             `vfioneer --root /mnt explain group 3`"
        );
        assert_eq!(at_host(text, ""), text);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\x1b[31mb\u{9b}c"), "a?[31mb?c");
    }
}
