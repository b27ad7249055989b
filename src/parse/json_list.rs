//! A list of texts within a JSON document, edited in place.
//!
//! Goes in: a text and the bytes of one list, brackets included. Comes out: the text with items put in or taken out, in the style of the
//! list (one line, or one line per item); every other byte stays.

use std::ops::Range;

/// Puts items at the end; those that are there already are not put in again. `None` if the bytes are no list of texts.
pub fn with(text: &str, range: Range<usize>, items: &[String]) -> Option<String> {
    let list = text.get(range.clone())?;
    let present = spans(list)?;
    let known: Vec<String> = serde_json::from_str(list).ok()?;
    let mut missing: Vec<&String> = Vec::new();
    for item in items {
        if !known.contains(item) && !missing.contains(&item) {
            missing.push(item);
        }
    }
    let between = match present.as_slice() {
        [.., before, last] => list.get(before.end..last.start)?.to_owned(),
        [only] => format!(",{}", list.get(1..only.start).filter(|space| !space.is_empty()).unwrap_or(" ")),
        [] => ", ".to_owned(),
    };
    let at = range.start + present.last().map_or(1, |last| last.end);
    let mut added = String::new();
    for (number, item) in missing.iter().enumerate() {
        if number > 0 || !present.is_empty() {
            added.push_str(&between);
        }
        added.push_str(&serde_json::to_string(item).ok()?);
    }
    let mut edited = text.to_owned();
    edited.insert_str(at, &added);
    Some(edited)
}

/// Takes items out; those that stay are separated as the first two were. `None` if the bytes are no list of texts.
pub fn without(text: &str, range: Range<usize>, items: &[String]) -> Option<String> {
    let list = text.get(range.clone())?;
    let known: Vec<String> = serde_json::from_str(list).ok()?;
    let present = spans(list)?;
    let stays = |number: usize| known.get(number).is_some_and(|item| !items.contains(item));
    let kept: Vec<&str> =
        present.iter().enumerate().filter(|(n, _)| stays(*n)).filter_map(|(_, span)| list.get(span.clone())).collect();
    let (Some(first), Some(last)) = (present.first(), present.last()) else { return Some(text.to_owned()) };
    if kept.len() == present.len() {
        return Some(text.to_owned());
    }
    let between = present.get(1).and_then(|second| list.get(first.end..second.start)).unwrap_or(", ");
    let edited = format!("{}{}{}", list.get(..first.start)?, kept.join(between), list.get(last.end..)?);
    let mut whole = text.to_owned();
    whole.replace_range(range, &edited);
    Some(whole)
}

/// The bytes of each item of a list that holds nothing but texts.
fn spans(list: &str) -> Option<Vec<Range<usize>>> {
    if !list.starts_with('[') || !list.ends_with(']') {
        return None;
    }
    let mut found = Vec::new();
    let (mut start, mut escaped) = (None::<usize>, false);
    for (at, byte) in list.bytes().enumerate() {
        match start {
            None if byte == b'"' => start = Some(at),
            Some(_) if escaped => escaped = false,
            Some(_) if byte == b'\\' => escaped = true,
            Some(from) if byte == b'"' => {
                found.push(from..at + 1);
                start = None;
            }
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRETTY: &str = "{\n  \"k\": [\n    \"quiet\",\n    \"splash\"\n  ],\n  \"z\": 1\n}";

    fn list(text: &str) -> Range<usize> {
        text.find('[').unwrap()..text.rfind(']').unwrap() + 1
    }

    fn items(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn in_the_style_of_the_list() {
        let edited = with(PRETTY, list(PRETTY), &items("a=1 quiet b")).unwrap();
        let expected = PRETTY.replace("\"splash\"", "\"splash\",\n    \"a=1\",\n    \"b\"");
        assert_eq!(edited, expected);
        assert_eq!(without(&edited, list(&edited), &items("a=1 b")).unwrap(), PRETTY);
        let cases = [
            ("[]", "a b", "[\"a\", \"b\"]"),
            ("[\"q\"]", "a", "[\"q\", \"a\"]"),
            ("[\"q\",\"r\"]", "a", "[\"q\",\"r\",\"a\"]"),
            ("[\n  \"q\"\n]", "a", "[\n  \"q\",\n  \"a\"\n]"),
        ];
        for (before, more, after) in cases {
            assert_eq!(with(before, 0..before.len(), &items(more)).as_deref(), Some(after));
        }
        assert_eq!(with("\"quiet\"", 0..7, &items("a")), None);
        assert_eq!(with("[1]", 0..3, &items("a")), None);
        assert_eq!(without(PRETTY, list(PRETTY), &items("quiet")).unwrap(), PRETTY.replace("\"quiet\",\n    ", ""));
        assert_eq!(without("[\"a\", \"b\"]", 0..10, &items("a b")).as_deref(), Some("[]"));
    }

    proptest! {
        #[test]
        fn what_was_put_in_comes_out(
            present in prop::collection::vec("[a-c\"\\\\ ]{0,3}", 0..5), more in prop::collection::vec("[x-z][0-9]", 0..4), pretty: bool,
        ) {
            let text = if pretty { serde_json::to_string_pretty(&present) } else { serde_json::to_string(&present) }.unwrap();
            let edited = with(&text, 0..text.len(), &more).unwrap();
            let read: Vec<String> = serde_json::from_str(&edited).unwrap();
            prop_assert!(more.iter().all(|item| read.contains(item)) && read.starts_with(&present));
            prop_assert_eq!(without(&edited, 0..edited.len(), &more).unwrap(), text);
        }

        #[test]
        fn the_others_stay(present in prop::collection::vec("[a-d]", 0..6), less in prop::collection::vec("[a-d]", 0..3)) {
            let text = serde_json::to_string_pretty(&present).unwrap();
            let edited = without(&text, 0..text.len(), &less).unwrap();
            let read: Vec<String> = serde_json::from_str(&edited).unwrap();
            let expected: Vec<String> = present.into_iter().filter(|item| !less.contains(item)).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
