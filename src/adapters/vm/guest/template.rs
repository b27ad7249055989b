//! Texts with parts that apply to some devices only.
//!
//! A line `%% one two !three` begins a part that stands where the first two words hold and the third does not; it ends at the next such
//! line, and `%%` alone begins one that always stands. `{{name}}` is replaced by that value; a value of several lines stands on a line
//! of its own.

use std::collections::BTreeSet;

/// Fills a template.
pub(super) fn fill(template: &str, words: &BTreeSet<&str>, values: &[(&str, String)]) -> String {
    let holds = |word: &str| match word.strip_prefix('!') {
        Some(word) => !words.contains(word),
        None => words.contains(word),
    };
    let mut text = String::new();
    let mut applies = true;
    for line in template.lines() {
        match line.strip_prefix("%%") {
            Some(wanted) => applies = wanted.split_whitespace().all(holds),
            None if applies => {
                text.push_str(&replaced(line, values));
                text.push('\n');
            }
            None => {}
        }
    }
    text
}

/// One pass, so that no value is taken for a name.
fn replaced(line: &str, values: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let value = after
            .split_once("}}")
            .and_then(|(name, after)| Some((&values.iter().find(|(known, _)| *known == name)?.1, after)));
        match value {
            Some((value, after)) => {
                text.push_str(value);
                rest = after;
            }
            None => {
                text.push_str("{{");
                rest = after;
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_values() {
        let template = "a {{x}}\n%% gpu !old\nnew gpu\n%% gpu\ngpu {{x}} {{y}}\n%%\nend {{none}} {{ }\n";
        let values = [("x", "{{y}}".to_owned()), ("y", "1\n2".to_owned())];
        assert_eq!(
            fill(template, &BTreeSet::from(["gpu"]), &values),
            "a {{y}}\nnew gpu\ngpu {{y}} 1\n2\nend {{none}} {{ }\n"
        );
        assert_eq!(
            fill(template, &BTreeSet::from(["gpu", "old"]), &values[..0]),
            "a {{x}}\ngpu {{x}} {{y}}\nend {{none}} {{ }\n"
        );
        assert_eq!(fill(template, &BTreeSet::new(), &values), "a {{y}}\nend {{none}} {{ }\n");
    }
}
