//! The sentences that say why a step is done, and what a plan wants to have said.
//!
//! They stand in one table per language beside this file: `id: text with {values}`, one a line.

/// The table.
const ENGLISH: &str = include_str!("reasons.en.txt");

/// The sentence of an id, filled with values. An id that the table lacks is a bug that a test finds.
pub fn reason(id: &str, values: &[(&str, &str)]) -> String {
    fill(ENGLISH, id, values)
}

/// The sentence of an id of any such table, filled with values; the id itself if the table lacks it.
pub fn fill(table: &str, id: &str, values: &[(&str, &str)]) -> String {
    let text = table.lines().find_map(|line| line.strip_prefix(id)?.strip_prefix(": ")).unwrap_or(id);
    let mut text = text.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_line_is_an_id_and_a_text() {
        let mut ids = std::collections::BTreeSet::new();
        for line in super::ENGLISH.lines() {
            let (id, text) = line.split_once(": ").unwrap();
            assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b.is_ascii_digit()), "{id}");
            assert!(text.ends_with(['.', '?', ':']) && ids.insert(id), "{line}");
        }
    }
}
