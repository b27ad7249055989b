//! The table `data/messages.toml`, compiled once.
//!
//! Goes in: the rows. Comes out: [`Table`], which says what a line means. A line is looked at only as far as
//! [`LINE_LIMIT`] bytes, and most lines are dismissed by one search for all literals at once.

use super::template::Template;
use crate::checks::Severity;
use regex::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The bytes of a line that are looked at: longer than any command line that Proxmox prints in front of an error.
const LINE_LIMIT: usize = 16 << 10;

/// One row as it stands in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// Names the row.
    pub(super) id: String,
    pattern: String,
    /// The finding; none: the message is benign.
    #[serde(default)]
    pub(super) finding: Option<String>,
    #[serde(default)]
    severity: Option<String>,
    /// Which wording of the finding's page.
    #[serde(default)]
    pub(super) variant: String,
    /// True if it tells a state, which the host's facts tell better.
    #[serde(default)]
    pub(super) state: bool,
    /// True if it is reported only where nothing says more.
    #[serde(default)]
    pub(super) generic: bool,
    #[serde(default)]
    unless: Option<String>,
    /// Who prints it.
    #[cfg_attr(not(test), allow(dead_code, reason = "for the reader of the table; the test asks that it is there"))]
    source: String,
    #[cfg_attr(not(test), allow(dead_code, reason = "the test's input"))]
    example: String,
    #[serde(default)]
    #[cfg_attr(not(test), allow(dead_code, reason = "the test's expectation"))]
    values: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Rows {
    message: Vec<Row>,
}

/// A row, ready to be looked for.
#[derive(Debug)]
pub(super) struct Message {
    /// The row.
    pub(super) row: Row,
    /// How bad it is.
    pub(super) severity: Severity,
    template: Template,
    unless: Option<Template>,
}

#[cfg(test)]
impl Message {
    /// The names of the pattern's places.
    pub(super) fn template_names(&self) -> impl Iterator<Item = &str> {
        self.template.names.iter().map(String::as_str)
    }
}

/// What one line means.
pub(super) struct Match<'l> {
    /// The message that it is.
    pub(super) message: &'static Message,
    /// What stands in the pattern's places.
    pub(super) values: Vec<(&'static str, &'l str)>,
}

/// All rows.
#[derive(Debug)]
pub(super) struct Table {
    /// In the order of the file.
    pub(super) messages: Vec<Message>,
    any: Regex,
}

static TABLE: LazyLock<Option<Table>> =
    LazyLock::new(|| Table::parse(include_str!("../../../data/messages.toml")).ok());

/// The table; none only if the file that was built in is broken, which a test rules out.
pub(super) fn table() -> Option<&'static Table> {
    TABLE.as_ref()
}

impl Table {
    fn parse(text: &str) -> Result<Table, String> {
        let rows: Rows = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut messages = Vec::new();
        for row in rows.message {
            let severity = match row.severity.as_deref() {
                Some("error") => Severity::Error,
                Some("warning") => Severity::Warning,
                Some("info") | None => Severity::Info,
                Some(other) => return Err(format!("{}: {other:?} is no severity", row.id)),
            };
            let template = Template::new(&row.pattern)?;
            let unless = row.unless.as_deref().map(Template::new).transpose()?;
            messages.push(Message { row, severity, template, unless });
        }
        let mut literals: Vec<String> = Vec::new();
        for message in &messages {
            for template in [Some(&message.template), message.unless.as_ref()].into_iter().flatten() {
                literals.extend(template.literals.iter().map(|literal| regex::escape(literal)));
            }
        }
        let any = Regex::new(&literals.join("|")).map_err(|error| error.to_string())?;
        Ok(Table { messages, any })
    }

    /// True if a row may match the line.
    pub(super) fn may_match(&self, line: &str) -> bool {
        self.any.is_match(cut(line))
    }

    /// The first row that a line matches.
    pub(super) fn find<'l>(&'static self, line: &'l str) -> Option<Match<'l>> {
        let line = cut(line);
        self.messages.iter().find_map(|message| Some(Match { message, values: message.template.find(line)? }))
    }

    /// The rows that a line takes back, with the values for which it does.
    pub(super) fn taken_back<'l>(
        &'static self,
        line: &'l str,
    ) -> impl Iterator<Item = (&'static Message, Vec<(&'static str, &'l str)>)> {
        let line = cut(line);
        self.messages.iter().filter_map(move |message| Some((message, message.unless.as_ref()?.find(line)?)))
    }
}

fn cut(line: &str) -> &str {
    let mut end = line.len().min(LINE_LIMIT);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.get(..end).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn messages() -> &'static [Message] {
        Table::parse(include_str!("../../../data/messages.toml")).expect("the table can be read");
        &table().expect("the table can be read").messages
    }

    #[test]
    fn each_example_is_its_own_row() {
        let mut wrong = Vec::new();
        for message in messages() {
            let row = &message.row;
            let Some(found) = table().unwrap().find(&row.example) else {
                wrong.push(format!("{}: no row matches {}", row.id, row.example));
                continue;
            };
            let values: BTreeMap<String, String> =
                found.values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            if found.message.row.id != row.id || values != row.values || !table().unwrap().may_match(&row.example) {
                wrong.push(format!("{}: {} takes {} with {values:?}", row.id, found.message.row.id, row.example));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn rows_are_complete() {
        let mut ids = BTreeSet::new();
        let mut wrong = Vec::new();
        for message in messages() {
            let row = &message.row;
            let benign = row.finding.is_none();
            let complete = ids.insert(&row.id)
                && row.source.len() > 5
                && message.template.literals.iter().all(|literal| literal.len() >= 5)
                && message.unless.iter().all(|unless| unless.literals.iter().all(|literal| literal.len() >= 5))
                && benign == row.severity.is_none()
                && !(benign && row.variant.is_empty());
            if !complete {
                wrong.push(format!("{}: twice, no source, no plain text to look for, or no words", row.id));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(ids.len() >= 120);
    }
}
