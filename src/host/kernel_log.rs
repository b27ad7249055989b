//! This boot's kernel messages: from the kernel's ring, and from the journal what the ring has lost.
//!
//! Goes in: `/dev/kmsg`, and `journalctl` where the ring is closed to this user or has wrapped. Comes out: one
//! message a line, `[    1.234567] text`, as dmesg(1) prints them. Nothing is cleared, and nothing blocks.

use super::command::{self, Output};
use super::{Fact, READ_LIMIT, Why};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// One message: microseconds since boot, and its text.
type Message = (u64, String);

/// Larger than any record (`Documentation/ABI/testing/dev-kmsg`; `CONSOLE_EXT_LOG_MAX`, 8 KiB, `kernel/printk`).
const RECORD: usize = 16 << 10;
/// A kernel that writes faster than it is read must not hold this up for ever.
const MESSAGES: usize = 500_000;

/// Where distributions put journalctl.
const JOURNALCTL: &[&str] = &["/usr/bin/journalctl", "/bin/journalctl", "/run/current-system/sw/bin/journalctl"];
const JOURNAL_SECONDS: u64 = 10;

/// Reads the messages of the running kernel.
pub(super) fn read() -> Fact<Vec<u8>> {
    let ring = ring();
    if let Ok(ring) = &ring
        && ring.whole
    {
        return Fact::Known(print(&ring.messages));
    }
    let journal = journal();
    match ring {
        Ok(ring) => Fact::Known(print(&merge(journal, ring.messages))),
        Err(_) if !journal.is_empty() => Fact::Known(print(&journal)),
        Err(Errno::PERM | Errno::ACCESS) => Fact::Unknown(Why::NotPermitted),
        Err(errno) => Fact::Unknown(Why::Io(format!("/dev/kmsg: {}", super::tree::describe(errno)))),
    }
}

struct Ring {
    messages: Vec<Message>,
    /// The boot's first message is still there.
    whole: bool,
}

fn ring() -> Result<Ring, Errno> {
    let fd = openat(CWD, "/dev/kmsg", OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    let mut ring = Ring { messages: Vec::new(), whole: false };
    let mut buffer = vec![0; RECORD];
    let mut first = None;
    let mut bytes = 0;
    while ring.messages.len() < MESSAGES && bytes < READ_LIMIT {
        match rustix::io::read(&fd, &mut buffer[..]) {
            Ok(0) => break,
            Ok(count) => {
                bytes += count;
                let record = String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned();
                if let Some((sequence, message, continues)) = parse_record(&record) {
                    first.get_or_insert(sequence);
                    match ring.messages.last_mut() {
                        Some(last) if continues => last.1.push_str(&message.1),
                        _ => ring.messages.push(message),
                    }
                }
            }
            // The record was overwritten before it was read: the next read gives the oldest that is left.
            Err(Errno::PIPE | Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(errno) => return Err(errno),
        }
    }
    ring.whole = first == Some(0) || ring.messages.iter().any(|(_, text)| text.starts_with("Linux version "));
    Ok(ring)
}

/// Takes `prio,sequence,usec,flags[,...];text\n key=value...` apart (`Documentation/ABI/testing/dev-kmsg`).
/// The last value is true for a piece that continues the message before it (kernels before 4.10).
fn parse_record(record: &str) -> Option<(u64, Message, bool)> {
    let (prefix, rest) = record.split_once(';')?;
    let mut fields = prefix.split(',');
    let (_priority, sequence, usec) = (fields.next()?, fields.next()?, fields.next()?);
    let continues = fields.next().is_some_and(|flags| flags.contains('+'));
    let text = rest.split('\n').next().unwrap_or_default();
    Some((sequence.parse().ok()?, (usec.parse().ok()?, unescape(text)), continues))
}

/// Undoes the kernel's `\xNN`.
fn unescape(text: &str) -> String {
    if !text.contains("\\x") {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = rest
            .strip_prefix(b"\\x")
            .and_then(|hex| hex.get(..2))
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The journal's kernel messages of this boot; none if there is no journal or this user may not read it.
fn journal() -> Vec<Message> {
    let arguments =
        ["-k", "-b", "-q", "--no-pager", "-o", "export", "--output-fields=MESSAGE,_SOURCE_MONOTONIC_TIMESTAMP"];
    for program in JOURNALCTL {
        if let Ok(Output { stdout, success: true }) = command::run(program, &arguments, JOURNAL_SECONDS, READ_LIMIT) {
            return parse_export(&stdout);
        }
    }
    Vec::new()
}

/// Parses the journal's export format (systemd, <https://systemd.io/JOURNAL_EXPORT_FORMATS>): `NAME=value` lines,
/// or for binary values the name alone, eight bytes of length, the value; an empty line ends an entry.
fn parse_export(data: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    let (mut time, mut text) = (None, None);
    let mut rest = data;
    loop {
        let end = rest.iter().position(|b| *b == b'\n');
        let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let after = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
        if line.is_empty() {
            if let (Some(time), Some(text)) = (time.take(), text.take()) {
                messages.push((time, text));
            }
            if end.is_none() {
                return messages;
            }
            rest = after;
            continue;
        }
        let (name, value, next) = match line.iter().position(|b| *b == b'=') {
            Some(at) => (line.get(..at), line.get(at + 1..), after),
            None => {
                let length = after.get(..8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
                let length = length.and_then(|n| usize::try_from(n).ok()).and_then(|n| n.checked_add(8));
                let Some(length) = length.filter(|n| *n <= after.len()) else { return messages };
                (Some(line), after.get(8..length), after.get(length + 1..).unwrap_or_default())
            }
        };
        let value = String::from_utf8_lossy(value.unwrap_or_default());
        match name.unwrap_or_default() {
            b"MESSAGE" => text = Some(value.into_owned()),
            b"_SOURCE_MONOTONIC_TIMESTAMP" => time = value.trim().parse().ok(),
            _ => {}
        }
        rest = next;
    }
}

/// What the journal has from before the ring's first message, then the ring.
fn merge(journal: Vec<Message>, ring: Vec<Message>) -> Vec<Message> {
    let Some(start) = ring.first().map(|(time, _)| *time) else { return journal };
    let at_start: Vec<&str> = ring.iter().take_while(|(time, _)| *time == start).map(|(_, text)| text.trim()).collect();
    let mut merged: Vec<Message> = journal
        .into_iter()
        .filter(|(time, text)| *time < start || *time == start && !at_start.contains(&text.trim()))
        .collect();
    merged.extend(ring);
    merged
}

/// As dmesg(1) prints it; each line of a message gets its time.
fn print(messages: &[Message]) -> Vec<u8> {
    let mut out = String::new();
    for (time, text) in messages {
        for line in text.split('\n') {
            out.push_str(&format!("[{:5}.{:06}] {}\n", time / 1_000_000, time % 1_000_000, line.trim_end()));
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_apart() {
        for (record, sequence, time, text) in [
            ("6,0,0,-;Linux version 6.8.12\n", 0, 0, "Linux version 6.8.12"),
            ("4,1211,1234567,-,caller=T1;a; b\n SUBSYSTEM=pci\n DEVICE=+pci:0000:01:00.0\n", 1211, 1_234_567, "a; b"),
            ("30,9,5,c;tab\\x09back\\x5cslash \\xe2\\x82\\xac \\xzz \\x4\n", 9, 5, "tab\tback\\slash € \\xzz \\x4"),
        ] {
            let (s, message, continues) = parse_record(record).unwrap();
            assert_eq!((s, message, continues), (sequence, (time, text.to_owned()), false));
        }
        assert!(parse_record("6,1,2,+;more\n").unwrap().2);
        for record in ["", ";", "6,0;x", "6,a,0,-;x", "6,0,-1,-;x", "\u{fffd}"] {
            assert_eq!(parse_record(record), None, "{record}");
        }
    }

    #[test]
    fn the_journal_is_taken_apart() {
        let mut export = b"__CURSOR=s=1;i=2\n_SOURCE_MONOTONIC_TIMESTAMP=0\nMESSAGE=Linux version 6.1\n\n".to_vec();
        export.extend(b"_SOURCE_MONOTONIC_TIMESTAMP=1500000\nMESSAGE\n\x07\0\0\0\0\0\0\0two\nrow\n\n");
        export.extend(b"MESSAGE=no time\n\n_SOURCE_MONOTONIC_TIMESTAMP=2000000\nMESSAGE=last");
        let messages = parse_export(&export);
        assert_eq!(messages.len(), 3);
        assert_eq!(
            String::from_utf8(print(&messages)).unwrap(),
            "[    0.000000] Linux version 6.1\n[    1.500000] two\n[    1.500000] row\n[    2.000000] last\n"
        );
        for cut in 0..export.len() {
            parse_export(&export[..cut]);
        }
        assert!(parse_export(b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffx\n\n").is_empty());
    }

    #[test]
    fn the_journal_fills_what_the_ring_lost() {
        let list = |items: &[(u64, &str)]| -> Vec<Message> { items.iter().map(|(t, m)| (*t, m.to_string())).collect() };
        let journal = list(&[(0, "Linux version"), (5, "lost"), (5, "kept"), (9, "later")]);
        let ring = list(&[(5, "kept"), (9, "later"), (10, "not in the journal")]);
        let all = [(0, "Linux version"), (5, "lost"), (5, "kept"), (9, "later"), (10, "not in the journal")];
        assert_eq!(merge(journal.clone(), ring.clone()), list(&all));
        assert_eq!(merge(Vec::new(), ring.clone()), ring);
        assert_eq!(merge(journal.clone(), Vec::new()), journal);
    }

    #[test]
    fn the_running_kernel_answers_or_says_why_not() {
        match read() {
            Fact::Known(text) => assert!(text.starts_with(b"[")),
            Fact::Unknown(_) => {}
            Fact::Absent => panic!("a running kernel has messages"),
        }
    }
}
