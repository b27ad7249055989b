//! What a plan says to a person: the sentences of `texts.en.txt`, `id: text with {values}`, one a line.

use crate::steps::reasons::fill;

/// The table.
const ENGLISH: &str = include_str!("texts.en.txt");

/// The sentence of an id, filled with values.
pub(super) fn said(id: &str, values: &[(&str, &str)]) -> String {
    fill(ENGLISH, id, values)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_line_is_an_id_and_a_sentence() {
        let mut ids = std::collections::BTreeSet::new();
        for line in super::ENGLISH.lines() {
            let (id, text) = line.split_once(": ").unwrap();
            assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{id}");
            assert!(text.ends_with('.') && ids.insert(id), "{line}");
        }
    }
}
