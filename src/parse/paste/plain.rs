//! A line as it was before it was pasted: without colours, quotes and carriage return.

use regex::Regex;
use std::borrow::Cow;
use std::sync::LazyLock;

static COLOURS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new("\x1b(?:\\[[0-9;?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[()][A-Z0-9])").ok());
static TROUBLE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i-u)\b(?:errors?|fail(?:ed|ure|s)?|cannot|can't|could ?n[o']t|unable|refus\w+|denied|invalid|not (?:found|viable|supported|available|allowed|permitted|possible|ready)|no such|timed? ?out|fatal|broken|unsupported|not assignable|warning|bug)\b",
    )
    .ok()
});
static TOPIC: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i-u)vfio|iommu|\bpci|hostpci|hostdev|passthrough|dmar|amd-vi|smmu|\bBAR ?\d|\bqemu|libvirt|\bkvm\b|\bnvrm\b|option rom|romfile|mdev|sr-?iov|\b[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\b",
    )
    .ok()
});

/// Removes colour codes, a carriage return and the marks of quoting (`> `) from a line; straightens the quotes and
/// apostrophes that forums make round.
pub fn plain(line: &str) -> Cow<'_, str> {
    let line = line.trim_end_matches(['\r', '\n']);
    let line = match COLOURS.as_ref() {
        Some(colours) if line.contains('\x1b') => colours.replace_all(line, ""),
        _ => Cow::Borrowed(line),
    };
    let round = ['\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}'];
    let line = if line.contains(round) {
        Cow::Owned(line.replace(['\u{2018}', '\u{2019}'], "'").replace(['\u{201c}', '\u{201d}'], "\""))
    } else {
        line
    };
    let quoted = |text: &str| -> usize {
        let mut rest = text;
        while let Some(inner) = rest.strip_prefix("> ").or_else(|| (rest == ">").then_some("")) {
            rest = inner;
        }
        text.len() - rest.len()
    };
    match line {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(quoted(text)..).unwrap_or(text)),
        Cow::Owned(mut text) => {
            text.drain(..quoted(&text));
            Cow::Owned(text)
        }
    }
}

static PROMPT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^(?:\([A-Za-z0-9_. -]+\)[ ]?)?(?:\[?[A-Za-z0-9_.-]+@[A-Za-z0-9_.-]+[ :]?[^#$%>\n]{0,80}[#$%>]|[~/A-Za-z0-9_.-]{0,60}[$#%❯]|[❯➜]) +([^ \t#].*)$")
        .ok()
});

/// The programs that people show with a prompt in front of them; a bare `# word` is a comment otherwise.
const PROGRAMS: &[&str] = &[
    "bat",
    "cat",
    "dmesg",
    "dracut",
    "echo",
    "find",
    "for",
    "grep",
    "head",
    "journalctl",
    "less",
    "ls",
    "lsmod",
    "lspci",
    "lsusb",
    "modprobe",
    "nano",
    "pvesh",
    "qm",
    "readlink",
    "sudo",
    "tail",
    "uname",
    "update-grub",
    "update-initramfs",
    "vi",
    "vim",
    "virsh",
];

/// The command behind a prompt (`root@host:~# cat x`, `$ cat x`).
pub(super) fn command(line: &str) -> Option<&str> {
    let found = PROMPT.as_ref()?.captures(line.trim())?;
    let command = found.get(1)?.as_str();
    let named = line.contains('@') && found.get(0)?.as_str().split(['#', '$']).next()?.contains('@');
    let program = command.split_whitespace().next()?;
    (named || PROGRAMS.contains(&program)).then_some(command)
}

/// True if a line reads like a failure that has to do with passing devices to VMs.
pub fn looks_like_error(line: &str) -> bool {
    let head: &str = line.char_indices().nth(2000).map_or(line, |(end, _)| line.get(..end).unwrap_or(line));
    let both = |topic: &Regex, trouble: &Regex| topic.is_match(head) && trouble.is_match(head);
    match (TOPIC.as_ref(), TROUBLE.as_ref()) {
        (Some(topic), Some(trouble)) => both(topic, trouble),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{looks_like_error, plain};

    #[test]
    fn removes_what_pasting_added() {
        for (line, text) in [
            ("\x1b[1;31mNVRM: x\x1b[0m\r", "NVRM: x"),
            ("> > 01:00.0 VGA", "01:00.0 VGA"),
            (">", ""),
            (">>> prompt", ">>> prompt"),
            ("\tSubsystem: x", "\tSubsystem: x"),
            ("\x1b]0;title\x07ok", "ok"),
            ("can\u{2019}t reserve \u{201c}x\u{201d}", "can't reserve \"x\""),
            ("", ""),
        ] {
            assert_eq!(plain(line), text, "{line:?}");
        }
    }

    #[test]
    fn knows_trouble_of_this_kind() {
        for (line, trouble) in [
            ("qemu-system-x86_64: -device vfio-pci: something failed", true),
            ("vfio-pci 0000:01:00.0: frobnication not supported", true),
            ("systemd[1]: Failed to start bluetooth", false),
            ("01:00.0 VGA compatible controller [0300]: NVIDIA [10de:1b80]", false),
            ("pci 0000:01:00.0: PME# supported from D0", false),
        ] {
            assert_eq!(looks_like_error(line), trouble, "{line}");
        }
    }
}
