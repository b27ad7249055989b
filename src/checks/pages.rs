//! The pages of text: one per finding, symptom and term, one file per language, filled with a finding's values.
//!
//! A page is Markdown behind a head between `---` lines with `key: value` lines:
//! `title`, `message`, `fix` (plan, firmware, manual or none), `remedy`, `aliases` (comma list).
//! `message.VARIANT`, `remedy.VARIANT` and `fix.VARIANT` replace the plain ones for that variant.

use super::{Finding, page_list};

/// A page, split into head and body.
#[derive(Clone, Debug)]
pub struct Page {
    /// The finding's id, or the topic's.
    pub id: &'static str,
    head: Vec<(&'static str, &'static str)>,
    /// Markdown, from the first `## `.
    pub body: &'static str,
}

impl Page {
    /// The value of a head key; empty if there is none.
    pub fn head(&self, key: &str) -> &'static str {
        self.head.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value)
    }

    /// The value of a head key for a variant, else the plain one.
    fn worded(&self, key: &str, variant: &str) -> &'static str {
        let special = if variant.is_empty() { "" } else { self.head(&format!("{key}.{variant}")) };
        if special.is_empty() { self.head(key) } else { special }
    }
}

fn sources() -> impl Iterator<Item = (&'static str, &'static str)> {
    page_list::FINDINGS.iter().chain(page_list::TOPICS).copied()
}

fn parse(id: &'static str, text: &'static str) -> Option<Page> {
    let (head, body) = text.strip_prefix("---\n")?.split_once("\n---\n")?;
    let head = head.lines().filter_map(|line| line.split_once(':')).map(|(k, v)| (k.trim(), v.trim())).collect();
    Some(Page { id, head, body })
}

/// The page of an id.
pub fn page(id: &str) -> Option<Page> {
    sources().find(|(known, _)| *known == id).and_then(|(id, text)| parse(id, text))
}

/// All pages, sorted by id.
pub fn all() -> Vec<Page> {
    let mut pages: Vec<Page> = sources().filter_map(|(id, text)| parse(id, text)).collect();
    pages.sort_by_key(|page| page.id);
    pages
}

/// The pages that a person may mean, the best fit first: by id, by alias, by the words of ids, titles and aliases.
/// If an id or alias is what was asked for, only the pages that have it.
pub fn find(query: &str) -> Vec<Page> {
    let wanted = words(query);
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<(usize, Page)> =
        all().into_iter().map(|page| (fit(&page, &wanted), page)).filter(|(fit, _)| *fit > 0).collect();
    let exact = found.iter().any(|(fit, _)| *fit >= EXACT);
    found.retain(|(fit, _)| *fit >= EXACT || !exact);
    found.sort_by_key(|(fit, page)| (std::cmp::Reverse(*fit), page.id));
    // An id beats the aliases of other pages.
    let best = found.first().map_or(0, |(fit, _)| *fit);
    found.retain(|(fit, _)| best <= EXACT || *fit == best);
    found.into_iter().map(|(_, page)| page).collect()
}

/// True if a query is a page's id or one of its aliases, and not only near it.
pub fn is_name(page: &Page, query: &str) -> bool {
    fit(page, &words(query)) >= EXACT
}

/// The fit of an alias that is exactly what was asked for; an id is one better.
const EXACT: usize = 1000;

fn fit(page: &Page, wanted: &[String]) -> usize {
    if words(page.id) == wanted {
        return EXACT + 1;
    }
    let aliases: Vec<Vec<String>> = page.head("aliases").split(',').map(words).filter(|a| !a.is_empty()).collect();
    if aliases.iter().any(|alias| alias == wanted) {
        return EXACT;
    }
    // A whole alias inside a longer question, or a question that is part of an alias: 20 a word.
    let within = |inner: &[String], outer: &[String]| outer.windows(inner.len()).any(|part| part == inner);
    let telling = |word: &&String| word.len() > 2 && !COMMON.contains(&word.as_str());
    let asked: Vec<&String> = wanted.iter().filter(telling).collect();
    let inside = aliases.iter().filter(|alias| within(alias, wanted)).map(Vec::len).max().unwrap_or(0);
    let around = if aliases.iter().any(|alias| within(wanted, alias)) { asked.len() } else { 0 };
    let mut known = words(page.id);
    known.extend(words(page.head("title")));
    known.extend(aliases.into_iter().flatten());
    let hits = asked.iter().filter(|word| known.iter().any(|k| k == **word || k.starts_with(word.as_str()))).count();
    // Half of the telling words must be there, so that one chance word does not fill the screen.
    let enough = hits * 2 >= asked.len().max(1);
    20 * inside.max(around) + if enough { 5 * hits } else { 0 }
}

/// Words too common to tell one page from another.
const COMMON: &[&str] =
    &["the", "and", "not", "for", "with", "when", "after", "device", "devices", "gpu", "does", "has", "what", "why"];

/// Lower-case words; everything but letters and digits separates, except `+` and `=` inside a word.
fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|c: char| !(c.is_alphanumeric() || c == '+' || c == '='))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn fill(template: &str, finding: &Finding) -> String {
    let mut text = template.to_owned();
    for (name, value) in &finding.values {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

/// The finding's sentence.
pub fn message(finding: &Finding) -> String {
    page(finding.id).map_or_else(String::new, |page| fill(page.worded("message", finding.variant), finding))
}

/// `plan`, `firmware`, `manual` or `none`.
pub fn fix_kind(finding: &Finding) -> &'static str {
    page(finding.id).map_or("none", |page| page.worded("fix", finding.variant))
}

/// What to do about it.
pub fn remedy(finding: &Finding) -> String {
    page(finding.id).map_or_else(String::new, |page| fill(page.worded("remedy", finding.variant), finding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::CHECKS;

    #[test]
    fn every_page_can_be_read() {
        let ids: Vec<&str> = sources().map(|(id, _)| id).collect();
        for (id, text) in sources() {
            let page = parse(id, text).unwrap_or_else(|| panic!("{id} has no head"));
            assert!(!page.head("title").is_empty(), "{id} has no title");
            assert!(page.body.trim_start().starts_with("## "), "{id} starts without a heading");
            assert_eq!(ids.iter().filter(|other| **other == id).count(), 1, "{id} is there twice");
            for line in page.body.lines().filter(|line| !line.starts_with('|') && !line.contains("http")) {
                assert!(line.chars().count() <= 130, "{id}: a long line: {line}");
            }
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // Reads the sources.
    fn the_lists_name_every_folder() {
        let checks = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/checks");
        for (folder, list) in [(checks.clone(), page_list::FINDINGS), (checks.join("topics"), page_list::TOPICS)] {
            let mut there: Vec<String> = std::fs::read_dir(&folder)
                .expect("a folder")
                .map(|entry| entry.expect("an entry"))
                .filter(|entry| entry.path().join("en.md").is_file())
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            there.sort();
            assert_eq!(there, list.iter().map(|(id, _)| *id).collect::<Vec<_>>(), "{}", folder.display());
        }
    }

    #[test]
    fn a_findings_page_says_what_to_do() {
        let topics: Vec<&str> = page_list::TOPICS.iter().map(|(id, _)| *id).collect();
        for page in all().iter().filter(|page| !topics.contains(&page.id)) {
            for key in ["message", "fix", "remedy"] {
                assert!(!page.head(key).is_empty(), "{} has no {key}", page.id);
            }
            for (key, value) in &page.head {
                if *key == "fix" || key.starts_with("fix.") {
                    assert!(["plan", "firmware", "manual", "none"].contains(value), "{}: {key}: {value}", page.id);
                }
                let base = key.split('.').next().unwrap_or(key);
                assert!(
                    ["title", "message", "fix", "remedy", "aliases"].contains(&base),
                    "{}: the key {key} means nothing",
                    page.id
                );
            }
        }
        for id in CHECKS.iter().flat_map(|check| check.ids) {
            assert!(page(id).is_some(), "{id} has no page");
        }
    }

    #[test]
    fn pages_lead_only_to_pages() {
        for page in all() {
            for line in page.body.lines() {
                let mut rest = line;
                while let Some((_, after)) = rest.split_once("`vfioneer explain ") {
                    let id = after.split('`').next().unwrap_or_default();
                    let known = id.starts_with("group ") || id.contains("ID") || super::page(id).is_some();
                    assert!(known, "{} leads to {id}, which is no page", page.id);
                    rest = after;
                }
            }
        }
    }

    #[test]
    fn finds_what_a_person_types() {
        let first = |query: &str| find(query).first().map(|page| page.id);
        for (query, id) in [
            ("group-shared", "group-shared"),
            ("code 43", "code-43"),
            ("Code 43", "code-43"),
            ("black screen", "black-screen"),
            ("group is not viable", "group-not-viable"),
            ("acs", "acs"),
            ("iommu=pt", "iommu-pt"),
            ("no rom file", "no-rom-file"),
            ("vm reboots when the driver loads", "vm-reboots-on-driver-load"),
            ("console stays", "console-stays"),
            ("error 43 in windows", "code-43"),
            ("iommu not enabled", "iommu-off-in-kernel"),
        ] {
            assert_eq!(first(query), Some(id), "{query}");
        }
        assert_eq!(find("code 43").len(), 1, "an exact alias gives one page");
        for nothing in ["", "  ", "zzz qqq", "the"] {
            assert!(find(nothing).is_empty(), "{nothing:?}");
        }
    }
}
