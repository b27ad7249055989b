//! The pattern language of `data/messages.toml`: literal text with places `{name}` or `{name:kind}`.
//!
//! Goes in: a template. Comes out: a compiled [`Template`] that gives the values of its places. Kinds:
//! `bdf` a PCI address, `n` a decimal number, `window` the number of a bridge's
//! window, `hex` digits with or without `0x`, `ids` `vvvv:dddd`, `word` without
//! blanks and punctuation, `quoted` up to the next quote, `text` anything. `{*}` is anything that is not kept,
//! `{a|b}` one of several literal texts (an empty one is allowed).

use regex::Regex;

/// A compiled template.
#[derive(Debug)]
pub(super) struct Template {
    /// Literal texts of which every match holds one: looked for first, because that is cheap.
    pub(super) literals: Vec<String>,
    regex: Regex,
    /// The names of the places, in order.
    pub(super) names: Vec<String>,
}

impl Template {
    /// Compiles a template; says what is wrong with it.
    pub(super) fn new(pattern: &str) -> Result<Template, String> {
        let mut expression = String::new();
        let mut names = Vec::new();
        let mut literals = vec![""];
        let mut rest = pattern;
        while !rest.is_empty() {
            let open = rest.find('{').unwrap_or(rest.len());
            let (plain, after) = rest.split_at(open);
            expression.push_str(&regex::escape(plain));
            if plain.len() > shortest(&literals) {
                literals = vec![plain];
            }
            if after.is_empty() {
                break;
            }
            let close = after.find('}').ok_or_else(|| format!("{pattern:?}: a `{{` is not closed"))?;
            let place = after.get(1..close).unwrap_or_default();
            rest = after.get(close + 1..).unwrap_or_default();
            let choices: Vec<&str> = place.split('|').collect();
            if choices.len() > 1 && shortest(&choices) > shortest(&literals) {
                literals = choices;
            }
            expression.push_str(&part(place, rest.is_empty(), &mut names)?);
        }
        let regex = Regex::new(&expression).map_err(|error| format!("{pattern:?}: {error}"))?;
        Ok(Template { literals: literals.into_iter().map(str::to_owned).collect(), regex, names })
    }

    /// The values of the places if the line holds the text.
    pub(super) fn find<'l>(&self, line: &'l str) -> Option<Vec<(&str, &'l str)>> {
        if !self.literals.iter().any(|literal| line.contains(literal.as_str())) {
            return None;
        }
        let found = self.regex.captures(line)?;
        let values = self.names.iter().enumerate();
        Some(values.filter_map(|(at, name)| Some((name.as_str(), found.get(at + 1)?.as_str().trim()))).collect())
    }
}

fn shortest(texts: &[&str]) -> usize {
    texts.iter().map(|text| text.len()).min().unwrap_or_default()
}

fn part(place: &str, last: bool, names: &mut Vec<String>) -> Result<String, String> {
    if place == "*" {
        return Ok(".*?".into());
    }
    if place.contains('|') {
        let texts: Vec<String> = place.split('|').map(regex::escape).collect();
        return Ok(format!("(?:{})", texts.join("|")));
    }
    let (name, kind) = place.split_once(':').unwrap_or((place, place));
    names.push(name.to_owned());
    let expression = match kind {
        "bdf" => r"((?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])",
        "n" => "([0-9]+)",
        // The memory windows of a bridge are counted after its BARs and those of SR-IOV (include/linux/pci.h).
        "window" => "(1[45])",
        "hex" => "((?:0x)?[0-9a-fA-F]+)",
        "ids" => "([0-9a-fA-F]{4}:[0-9a-fA-F]{4})",
        "word" => r#"([^ \t'",;()\[\]]+)"#,
        "quoted" => r#"([^'"`]*)"#,
        "text" if last => "(.+)",
        "text" => "(.+?)",
        _ => return Err(format!("{place:?} is no kind of place")),
    };
    Ok(expression.into())
}

#[cfg(test)]
mod tests {
    use super::Template;

    #[test]
    fn takes_values_from_a_line() {
        for (pattern, line, values) in [
            ("group {group:n} is not viable", "vfio: group 15 is not viable", vec![("group", "15")]),
            (
                "{bdf}: BAR {bar:n}: can't reserve [{range:text}]",
                "vfio-pci 0000:c3:00.0: BAR 0: can't reserve [mem 0x28-0x2f 64bit pref]",
                vec![("bdf", "0000:c3:00.0"), ("bar", "0"), ("range", "mem 0x28-0x2f 64bit pref")],
            ),
            (
                "not ready {n}ms after {FLR|bus reset}; giving up",
                "not ready 65535ms after FLR; giving up",
                vec![("n", "65535")],
            ),
            ("module '{module:quoted}' not", "x: module 'vfio virqfd' not found", vec![("module", "vfio virqfd")]),
            ("ids {ids}{*} end", "ids 10de:1b80, more, end", vec![("ids", "10de:1b80")]),
        ] {
            assert_eq!(Template::new(pattern).unwrap().find(line), Some(values), "{pattern}");
        }
    }

    /// The program is built without regex's Unicode tables, and a test build has them by way of proptest: classes
    /// and flags that need them would fail in the program alone.
    #[test]
    fn needs_no_unicode_tables() {
        for kind in ["bdf", "n", "hex", "ids", "word", "quoted", "text", "*", "a|b"] {
            let template = Template::new(&format!("some text {{{kind}}} more {{{kind}}}")).unwrap();
            for class in ["\\s", "\\d", "\\w", "\\b", "(?i)", "\\p"] {
                assert!(!template.regex.as_str().contains(class), "{kind}");
            }
        }
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        for pattern in ["{bdf", "{x:y}", "{}"] {
            assert!(Template::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn other_lines_do_not_match() {
        let template = Template::new("{bdf}: not ready {n}ms").unwrap();
        for line in ["", "not ready 5ms", "01:00: not ready 5ms", "01:00.0: not ready ms"] {
            assert_eq!(template.find(line), None, "{line}");
        }
    }
}
