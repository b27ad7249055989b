//! The pages of text: one per finding, symptom and term, one file per language, filled with a finding's values.
//!
//! A page is Markdown behind a head between `---` lines with `key: value` lines:
//! `title`, `message`, `fix` (plan, firmware, manual or none), `remedy`, `aliases` (comma list).
//! `message.VARIANT`, `remedy.VARIANT` and `fix.VARIANT` replace the plain ones for that variant.

use super::Finding;

/// A page's source texts by id.
pub const PAGES: &[(&str, &str)] = &[("iommu-off-in-kernel", include_str!("iommu-off-in-kernel/en.md"))];

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

/// The page of an id.
pub fn page(id: &str) -> Option<Page> {
    let (id, text) = PAGES.iter().find(|(known, _)| *known == id)?;
    let (head, body) = text.strip_prefix("---\n")?.split_once("\n---\n")?;
    let head = head.lines().filter_map(|line| line.split_once(':')).map(|(k, v)| (k.trim(), v.trim())).collect();
    Some(Page { id, head, body })
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
