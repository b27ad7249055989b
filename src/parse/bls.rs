//! Boot Loader Specification type 1 entries and loader.conf: lines of a key, spaces and a value.
//!
//! Goes in: a text. Comes out: its keys and values with their positions; unknown keys are kept.
//!
//! Rules: <https://uapi-group.org/specifications/specs/boot_loader_specification/>; systemd
//! `src/fundamental/string-util-fundamental.c` (lines that begin with `#` are comments).

use super::cmdline;
use super::lines::lines;
use std::ops::Range;

/// One line of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// `title`, `options`, …
    pub key: String,
    /// What follows, spaces around it removed.
    pub value: String,
    /// Counted from 1.
    pub line: u32,
    /// The bytes of the value.
    pub range: Range<usize>,
}

/// An entry, or loader.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its lines with a key, in order.
    pub fields: Vec<Field>,
}

impl Entry {
    /// The last value of a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.all(key).last().map(|field| field.value.as_str())
    }

    /// All lines with a key: `options` and `initrd` may repeat.
    pub fn all(&self, key: &str) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| field.key == key)
    }

    /// All kernel words of all `options` lines.
    pub fn words(&self) -> Vec<String> {
        self.all("options").flat_map(|field| cmdline::words(&field.value)).collect()
    }

    /// The kernel release: from the image's name or directory, else `version` if it looks like one.
    pub fn release(&self) -> Option<String> {
        let is_release = |text: &&str| text.contains('.') && text.starts_with(|c: char| c.is_ascii_digit());
        let by_image = self.value("linux").and_then(|image| {
            super::grub_cfg::release_of(image).or_else(|| {
                // kernel-install: /TOKEN/RELEASE/linux; Proxmox: /EFI/proxmox/RELEASE/vmlinuz-RELEASE.
                image.rsplit('/').nth(1).filter(is_release).map(str::to_owned)
            })
        });
        by_image.or_else(|| self.value("version").filter(is_release).map(str::to_owned))
    }
}

/// Parses an entry or loader.conf.
pub fn parse(text: &str) -> Entry {
    let fields = lines(text).filter_map(|line| {
        let content = line.text.trim_start();
        let start = line.start + line.text.len() - content.len();
        if content.is_empty() || content.starts_with('#') {
            return None;
        }
        let (key, rest) = content.split_once([' ', '\t']).unwrap_or((content, ""));
        let value = rest.trim();
        let offset = start + content.len() - rest.trim_start().len();
        Some(Field {
            key: key.to_owned(),
            value: value.to_owned(),
            line: line.number,
            range: offset..offset + value.len(),
        })
    });
    Entry { fields: fields.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let text = "# Boot Loader Specification type#1 entry\ntitle      Debian GNU/Linux 13 (trixie)\n\
                    version    6.12.41+deb13-amd64\r\noptions    root=UUID=1 ro \noptions\tquiet\n\
                    linux /0123/6.12.41+deb13-amd64/linux\ninitrd /a\ninitrd /b\nodd\n";
        let entry = parse(text);
        assert_eq!(entry.value("title"), Some("Debian GNU/Linux 13 (trixie)"));
        assert_eq!(entry.words(), ["root=UUID=1", "ro", "quiet"]);
        assert_eq!(entry.release().as_deref(), Some("6.12.41+deb13-amd64"));
        assert_eq!(entry.all("initrd").count(), 2);
        for field in &entry.fields {
            assert_eq!(&text[field.range.clone()], field.value);
        }
        assert_eq!(entry.fields.last().map(|f| (f.key.as_str(), f.line)), Some(("odd", 9)));
    }

    #[test]
    fn releases() {
        let cases = [
            ("linux /vmlinuz-5.14.0-503.el9.x86_64\n", Some("5.14.0-503.el9.x86_64")),
            ("linux /EFI/proxmox/6.8.12-4-pve/vmlinuz-6.8.12-4-pve\n", Some("6.8.12-4-pve")),
            ("linux /0123/6.12.1-arch1-1/linux\n", Some("6.12.1-arch1-1")),
            ("title Arch\nlinux /vmlinuz-linux\n", None),
            ("linux /EFI/Pop_OS-1/vmlinuz.efi\n", None),
        ];
        for (text, release) in cases {
            assert_eq!(parse(text).release().as_deref(), release, "{text}");
        }
    }
}
