//! os-release(5): `KEY=value` lines with shell quoting, to a map. Pure.

use std::collections::BTreeMap;

/// Parses os-release text. Later lines win; lines that are no assignment are skipped, as the shell's readers do.
///
/// Quoting rules: <https://www.freedesktop.org/software/systemd/man/latest/os-release.html>.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(assignment).collect()
}

fn assignment(line: &str) -> Option<(String, String)> {
    let (key, value) = line.trim_start_matches('\u{feff}').trim().split_once('=')?;
    let name_ok = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    name_ok.then(|| (key.to_owned(), unquote(value)))
}

/// Removes one level of shell quotes and backslashes; what follows an unquoted space is dropped.
fn unquote(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut quote = None;
    let mut chars = value.trim().chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None | Some('"'), '\\') => out.extend(chars.next()),
            (None, c) if c.is_whitespace() => break,
            (_, c) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn quoting() {
        let text = "\u{feff}NAME=\"Debian GNU/Linux\"\nID=debian\n# ID=no\nVERSION_ID='12'\nA=\"x\\\"y \\$z\"\nB=a b\n\
                    C='it'\\''s'\nnonsense\nBAD KEY=1\nID_LIKE=\"rhel centos fedora\"\nEMPTY=\nOPEN=\"never closed\n";
        let map = parse(text);
        for (key, value) in [
            ("NAME", "Debian GNU/Linux"),
            ("ID", "debian"),
            ("VERSION_ID", "12"),
            ("A", "x\"y $z"),
            ("B", "a"),
            ("C", "it's"),
            ("ID_LIKE", "rhel centos fedora"),
            ("EMPTY", ""),
            ("OPEN", "never closed"),
        ] {
            assert_eq!(map.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert_eq!(map.len(), 9);
    }
}
