//! Lines of a Proxmox VE guest's configuration set and taken out, every other byte kept. Pure.
//!
//! What stands above the first `[section]` is edited, never a snapshot or pending changes. qemu-server writes keys in
//! alphabetical order (`PVE/QemuServer.pm` `write_vm_config`), and so a new line goes where it would be.

/// The text with `key: value` in its current part: the line that is there is changed, or a new one put in.
pub fn set(text: &str, key: &str, value: &str) -> String {
    let line = format!("{key}: {value}");
    let lines = lines(text);
    if let Some(found) = lines.iter().find(|found| found.key == Some(key)) {
        return splice(text, found.start, found.end, &line);
    }
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let after = lines.iter().filter(|line| line.key.is_some()).find(|line| line.key > Some(key));
    match after.or_else(|| lines.iter().find(|line| line.is_end)) {
        Some(next) => splice(text, next.start, next.start, &format!("{line}{end}")),
        // After the last line, whether or not that has an end.
        None if text.is_empty() || text.ends_with('\n') => format!("{text}{line}{end}"),
        None => format!("{text}{end}{line}"),
    }
}

/// The text without a key's line in its current part.
pub fn remove(text: &str, key: &str) -> String {
    let Some(found) = lines(text).into_iter().find(|line| line.key == Some(key)) else { return text.to_owned() };
    if found.next > found.end {
        return splice(text, found.start, found.next, "");
    }
    // The last line, without an end: the one before it becomes the last, as it was.
    let before = text.get(..found.start).unwrap_or_default();
    let kept = before.strip_suffix("\r\n").or_else(|| before.strip_suffix('\n')).unwrap_or(before);
    splice(text, kept.len(), found.end, "")
}

/// One line, by its bytes.
struct Line<'a> {
    start: usize,
    /// Without the line's end.
    end: usize,
    /// Where the next one begins.
    next: usize,
    /// None for comments and what is no setting.
    key: Option<&'a str>,
    /// What follows the last setting: empty lines before a section, and the section.
    is_end: bool,
}

/// The lines of the current part, and the first one behind it.
fn lines(text: &str) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut start = 0;
    for whole in text.split_inclusive('\n') {
        let line = whole.trim_end_matches(['\n', '\r']);
        let section = line.starts_with('[');
        let key = line
            .split_once(':')
            .map(|(key, _)| key)
            .filter(|key| !key.is_empty() && !key.starts_with(['#', ' ', '\t']));
        let next = start + whole.len();
        lines.push(Line { start, end: start + line.len(), next, key: key.filter(|_| !section), is_end: section });
        if section {
            break;
        }
        start = next;
    }
    // Empty lines in front of a section belong to it.
    if lines.last().is_some_and(|last| last.is_end) {
        let mut index = lines.len() - 1;
        while index > 0 && lines.get(index - 1).is_some_and(|line| line.start == line.end) {
            index -= 1;
        }
        for line in lines.iter_mut().skip(index) {
            line.is_end = true;
        }
    }
    lines
}

fn splice(text: &str, start: usize, end: usize, new: &str) -> String {
    let (before, after) = (text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default());
    format!("{before}{new}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_line_is_where_proxmox_would_write_it() {
        let text = "#a note%3A x\nbios: ovmf\nboot: order=net0\nmachine: q35\nname: a\n\n[before]\nhostpci0: 02:00\n";
        let set = set(text, "hostpci0", "01:00,pcie=1");
        assert_eq!(set, text.replace("machine", "hostpci0: 01:00,pcie=1\nmachine"));
        assert_eq!(remove(&set, "hostpci0"), text);
    }

    #[test]
    fn set_and_removed_again_is_the_same() {
        for text in [
            "",
            "name: a",
            "name: a\n",
            "zzz: a",
            "a: 1\r\nb: 2\r\n",
            "a: 1\r\nb: 2",
            "# only a comment",
            "a:1\n\n\n[snap]\nhostpci0: x\n",
            "[snap]\nhostpci0: x\n",
            "\n\n[PENDING]\n",
            "a  :  1\n  odd line\nno colon\n: x\n\tz: 1\n",
        ] {
            let edited = set(text, "hostpci0", "01:00");
            assert!(
                crate::parse::proxmox_conf::current(&edited).iter().any(|entry| entry.key == "hostpci0"),
                "{edited:?}"
            );
            assert_eq!(remove(&edited, "hostpci0"), text, "{edited:?}");
            assert_eq!(set(&edited, "hostpci0", "02:00"), edited.replace("hostpci0: 01:00", "hostpci0: 02:00"));
        }
        assert_eq!(remove("a: 1\n[s]\nhostpci0: 1\n", "hostpci0"), "a: 1\n[s]\nhostpci0: 1\n");
    }
}
