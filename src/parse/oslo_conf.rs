//! OpenStack's configuration files (oslo.config's INI dialect) to entries with their lines. Pure.
//!
//! Grammar: `oslo_config/iniparser.py`: `[section]`, `key = value` or `key: value`, lines that begin with white space
//! go on, `#` and `;` begin a comment line, a key may stand more than once.

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its first line, counted from 1.
    pub line: u32,
    /// Without brackets.
    pub section: String,
    /// Before the sign.
    pub key: String,
    /// After it; lines that go on are joined by a line break.
    pub value: String,
}

/// Parses a file; what does not fit is skipped.
pub fn parse(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut section = String::new();
    let mut open = false;
    for (line, raw) in (1u32..).zip(text.lines()) {
        let trimmed = raw.trim();
        if trimmed.is_empty() {
            open = false;
        } else if raw.starts_with([' ', '\t']) {
            if let Some(last) = entries.last_mut().filter(|_| open) {
                last.value.push('\n');
                last.value.push_str(trimmed);
            }
        } else if raw.starts_with(['#', ';']) {
            continue;
        } else if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            open = false;
        } else if let Some(at) = raw.find(['=', ':']) {
            let (key, value) = raw.split_at(at);
            let value = value.get(1..).unwrap_or_default().trim().to_owned();
            entries.push(Entry { line, section: section.clone(), key: key.trim().to_owned(), value });
            open = true;
        } else {
            open = false;
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn entries() {
        let text = "[DEFAULT]\nmy_ip = 10.0.0.1\n[pci]\n# device_spec = no\ndevice_spec = { \"vendor_id\":\"10de\",\n  \"product_id\":\"1eb8\" }\n\
                    alias: {\"name\":\"t4\"}\nalias = {\"name\":\"a2\"}\nnonsense\n  lost\n\n  lost\n[pci\nx=\n";
        let pci: Vec<_> = parse(text).into_iter().filter(|entry| entry.section == "pci").collect();
        let got: Vec<(u32, &str, &str)> = pci.iter().map(|e| (e.line, e.key.as_str(), e.value.as_str())).collect();
        assert_eq!(
            got,
            [
                (5, "device_spec", "{ \"vendor_id\":\"10de\",\n\"product_id\":\"1eb8\" }"),
                (7, "alias", "{\"name\":\"t4\"}"),
                (8, "alias", "{\"name\":\"a2\"}"),
                (14, "x", ""),
            ]
        );
    }
}
