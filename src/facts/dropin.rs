//! Directories of drop-in files, where a file hides those of the same name in later directories.

use super::TextFile;
use crate::host::{Fact, Host, Why};
use std::collections::BTreeMap;

/// More lines than any configuration file has. Checks compare lines with each other, so a file without end would keep
/// them busy without end.
const MOST_LINES: usize = 4000;

/// The files with this ending, each name from the first directory that has it, sorted by name; and the directories
/// that could not be listed. `ending` is empty for all files.
pub(super) fn files(host: &dyn Host, dirs: &[&str], ending: &str) -> (Vec<String>, Vec<(String, Why)>) {
    let mut by_name: BTreeMap<String, String> = BTreeMap::new();
    let mut unread = Vec::new();
    for dir in dirs {
        match host.entries(dir) {
            Fact::Known(names) => {
                for name in names {
                    if name.ends_with(ending) && !name.starts_with('.') && name.len() > ending.len() {
                        let path = format!("{dir}/{name}");
                        by_name.entry(name).or_insert(path);
                    }
                }
            }
            Fact::Absent => {}
            Fact::Unknown(why) => unread.push(((*dir).to_owned(), why)),
        }
    }
    (by_name.into_values().collect(), unread)
}

/// Reads files as text; what is not there or no file is left out, what cannot be read is named.
pub(super) fn read(host: &dyn Host, paths: &[String], unread: &mut Vec<(String, Why)>) -> Vec<TextFile> {
    paths.iter().filter_map(|path| text(host, path, unread)).collect()
}

/// Reads one file as text, as [`read`] does.
pub(super) fn text(host: &dyn Host, path: &str, unread: &mut Vec<(String, Why)>) -> Option<TextFile> {
    match host.text(path) {
        Fact::Known(text) if text.lines().nth(MOST_LINES).is_some() => {
            unread.push((path.to_owned(), Why::TooLarge));
            None
        }
        Fact::Known(text) => Some(TextFile { path: path.to_owned(), text }),
        Fact::Absent => None,
        // A mask (`/dev/null`) or a directory among the drop-ins is no file; that is no loss.
        Fact::Unknown(Why::Io(_)) => None,
        Fact::Unknown(why) => {
            unread.push((path.to_owned(), why));
            None
        }
    }
}
