//! The allow-list `data/capture.toml`: what of which file may be in a capture.

#[cfg(test)]
use regex::Regex;
use regex::{RegexSet, RegexSetBuilder};
use serde::Deserialize;
use std::sync::LazyLock;

/// How much of a file is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// As it is.
    Whole,
    /// Text, secrets removed, names and numbers replaced.
    Text,
    /// Text, of which only the lines with the row's keys are left.
    Keys,
    /// `NAME=value` separated by NUL, only the row's keys.
    Environ,
    /// A command line, words separated by NUL.
    Arguments,
    /// XML: text, and what describes people in it blanked.
    Xml,
    /// One serial number.
    Serial,
    /// A short id on each line.
    Ids,
    /// PCI configuration space: the device serial number replaced.
    PciConfig,
    /// An EFI variable.
    Efi,
    /// A table of `/proc/net` with hexadecimal addresses.
    Net,
    /// Nothing; only that the file is there.
    Skip,
}

/// One row.
#[derive(Debug, Deserialize)]
pub struct Rule {
    /// Patterns of paths within the host: `*` within a name, `**` through directories, `{a,b}` either.
    pub path: Vec<String>,
    /// How much of it.
    pub keep: Keep,
    /// Patterns of keys, for [`Keep::Keys`] and [`Keep::Environ`]; `section.key` in files with sections.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Why so much and not more.
    pub why: String,
}

#[derive(Deserialize)]
struct Secret {
    pattern: String,
    #[serde(rename = "why")]
    _why: String,
}

#[derive(Deserialize)]
struct WellKnown {
    uuid: String,
    #[serde(rename = "why")]
    _why: String,
}

#[derive(Deserialize)]
struct Table {
    rule: Vec<Rule>,
    secret: Vec<Secret>,
    well_known: Vec<WellKnown>,
}

/// The table with its patterns made ready; empty, so that nothing is taken, if it could not be read.
struct Ready {
    rules: Vec<(Rule, Option<RegexSet>)>,
    paths: RegexSet,
    /// The rule of each pattern in `paths`.
    owners: Vec<usize>,
    secrets: Vec<String>,
    well_known: Vec<String>,
}

static READY: LazyLock<Ready> = LazyLock::new(|| {
    let table: Table = toml::from_str(include_str!("../../../data/capture.toml")).unwrap_or(Table {
        rule: Vec::new(),
        secret: Vec::new(),
        well_known: Vec::new(),
    });
    let mut patterns = Vec::new();
    let mut owners = Vec::new();
    let mut rules = Vec::new();
    for (number, rule) in table.rule.into_iter().enumerate() {
        for path in &rule.path {
            patterns.push(glob(path));
            owners.push(number);
        }
        let keys = RegexSet::new(rule.keys.iter().map(|key| glob(key))).ok();
        rules.push((rule, keys));
    }
    Ready {
        rules,
        paths: RegexSetBuilder::new(patterns).size_limit(64 << 20).build().unwrap_or_default(),
        owners,
        secrets: table.secret.into_iter().map(|secret| secret.pattern).collect(),
        well_known: table.well_known.into_iter().map(|row| row.uuid).collect(),
    }
});

/// The first row that fits a path, and the patterns of its keys.
pub fn rule(path: &str) -> Option<(&'static Rule, Option<&'static RegexSet>)> {
    let ready = &*READY;
    let owner = ready.paths.matches(path).iter().filter_map(|index| ready.owners.get(index)).min()?;
    ready.rules.get(*owner).map(|(rule, keys)| (rule, keys.as_ref()))
}

/// Patterns whose groups are secrets.
pub(super) fn secrets() -> &'static [String] {
    &READY.secrets
}

/// UUIDs that name a format or vendor.
pub(super) fn well_known() -> Vec<String> {
    READY.well_known.clone()
}

/// A path pattern as an anchored regular expression.
fn glob(pattern: &str) -> String {
    let mut out = String::from("^");
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let (piece, length) = match first {
            '*' if rest.starts_with("**") => (".*".to_owned(), 2),
            '*' => ("[^/]*".to_owned(), 1),
            '?' => ("[^/]".to_owned(), 1),
            '{' => ("(?:".to_owned(), 1),
            '}' => (")".to_owned(), 1),
            ',' => ("|".to_owned(), 1),
            other => (regex::escape(&other.to_string()), other.len_utf8()),
        };
        out.push_str(&piece);
        rest = rest.get(length..).unwrap_or_default();
    }
    out + "$"
}

/// True if every pattern of the table can be used; for its test.
#[cfg(test)]
pub(super) fn check() -> Result<(), String> {
    let table: Table = toml::from_str(include_str!("../../../data/capture.toml")).map_err(|error| error.to_string())?;
    for rule in &table.rule {
        for pattern in rule.path.iter().chain(&rule.keys) {
            Regex::new(&glob(pattern)).map_err(|error| error.to_string())?;
        }
        if rule.why.len() < 8 || rule.path.is_empty() {
            return Err(format!("{:?} says too little", rule.path));
        }
        if matches!(rule.keep, Keep::Keys | Keep::Environ) == rule.keys.is_empty() {
            return Err(format!("{:?}: keys where they belong, and only there", rule.path));
        }
        if let Some(path) = rule.path.iter().find(|path| !path.starts_with('/') || path.contains("{,")) {
            return Err(format!("{path:?} is no absolute path"));
        }
    }
    for secret in &table.secret {
        let pattern = regex::bytes::Regex::new(&secret.pattern).map_err(|error| error.to_string())?;
        if pattern.captures_len() < 2 {
            return Err(format!("{:?} has no group", secret.pattern));
        }
    }
    for row in &table.well_known {
        if row.uuid.len() != 36 || row.uuid != row.uuid.to_ascii_lowercase() {
            return Err(format!("{:?} is no UUID in lower case", row.uuid));
        }
    }
    Ok(())
}
