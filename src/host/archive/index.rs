//! `index.json`: what is known of each path beside its content.

use crate::host::recording::{Body, Entry, Recording};
use crate::host::{Fact, FileType, Query, Stat, Why};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All paths, and what the other members hold.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Index {
    pub(super) paths: BTreeMap<String, Row>,
    pub(super) digests: Vec<DigestRow>,
    /// Questions that have no member, and why.
    pub(super) queries: BTreeMap<String, Gone>,
}

/// One path.
#[derive(Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) what: What,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<Why>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stat: Option<StatRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) no_stat: Option<Why>,
}

/// What is at a path; content and target of files and links are members of their own.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    Seen,
    Absent,
    Denied,
    /// All its names are rows.
    Dir,
    /// Not listed; `why` says why not.
    DirUnlisted,
    File,
    /// Its content is no member; `why` says why not.
    FileUnread,
    /// The member is its start only.
    FileStart,
    Link,
    Other,
}

/// Type, mode, owner, size, mtime, device, and device that it is.
#[derive(Serialize, Deserialize)]
pub(super) struct StatRow(char, u32, u32, u64, i64, (u32, u32), (u32, u32));

/// One digest; its result is `digests/N` by its place in the list.
#[derive(Serialize, Deserialize)]
pub(super) struct DigestRow {
    pub(super) path: String,
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gone: Option<Gone>,
}

/// No result.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Gone {
    Absent,
    Unknown(Why),
}

impl<T> From<Gone> for Fact<T> {
    fn from(gone: Gone) -> Fact<T> {
        match gone {
            Gone::Absent => Fact::Absent,
            Gone::Unknown(why) => Fact::Unknown(why),
        }
    }
}

fn gone<T>(fact: &Fact<T>) -> Option<Gone> {
    match fact {
        Fact::Known(_) => None,
        Fact::Absent => Some(Gone::Absent),
        Fact::Unknown(why) => Some(Gone::Unknown(why.clone())),
    }
}

/// How a question is named in a capture.
pub(super) fn query_name(query: Query) -> &'static str {
    match query {
        Query::KernelLog => "kernel-log",
    }
}

/// The question of that name.
pub(super) fn query_named(name: &str) -> Option<Query> {
    [Query::KernelLog].into_iter().find(|query| query_name(*query) == name)
}

impl Index {
    pub(super) fn of(recording: &Recording) -> Index {
        let digests = recording.digests.iter().map(|((path, name), result)| DigestRow {
            path: path.clone(),
            name: name.clone(),
            gone: gone(result),
        });
        let queries = recording.queries.iter();
        Index {
            paths: recording.entries.iter().map(|(path, entry)| (path.clone(), Row::of(entry))).collect(),
            digests: digests.collect(),
            queries: queries.filter_map(|(query, a)| Some((query_name(*query).to_owned(), gone(a)?))).collect(),
        }
    }
}

impl Row {
    fn of(entry: &Entry) -> Row {
        let (what, why) = match &entry.body {
            Body::Seen => (What::Seen, None),
            Body::Absent => (What::Absent, None),
            Body::Denied(why) => (What::Denied, Some(why.clone())),
            Body::Dir(Fact::Unknown(why)) => (What::DirUnlisted, Some(why.clone())),
            Body::Dir(_) => (What::Dir, None),
            Body::File(Fact::Unknown(why)) => (What::FileUnread, Some(why.clone())),
            Body::File(_) => (What::File, None),
            Body::Start(_) => (What::FileStart, None),
            Body::Link(_) => (What::Link, None),
            Body::Other => (What::Other, None),
        };
        let no_stat = entry.stat.why().filter(|why| **why != Why::NotRecorded).cloned();
        Row { what, why, stat: entry.stat.known().map(StatRow::of), no_stat }
    }

    /// The entry, with an empty file or link where the content is a member of its own.
    pub(super) fn entry(self) -> Entry {
        let why = self.why.unwrap_or(Why::NotRecorded);
        let body = match self.what {
            What::Seen => Body::Seen,
            What::Absent => Body::Absent,
            What::Denied => Body::Denied(why),
            What::DirUnlisted => Body::Dir(Fact::Unknown(why)),
            What::Dir => Body::Dir(Fact::Known(())),
            What::FileUnread => Body::File(Fact::Unknown(why)),
            What::File => Body::File(Fact::Known(Vec::new())),
            What::FileStart => Body::Start(Vec::new()),
            What::Link => Body::Link(String::new()),
            What::Other => Body::Other,
        };
        let stat = match self.stat {
            Some(stat) => stat.stat(),
            None => Fact::Unknown(self.no_stat.unwrap_or(Why::NotRecorded)),
        };
        Entry { body, stat }
    }
}

impl StatRow {
    fn of(stat: &Stat) -> StatRow {
        let letter = match stat.file_type {
            FileType::File => 'f',
            FileType::Dir => 'd',
            FileType::Link => 'l',
            FileType::Other => 'o',
        };
        StatRow(letter, stat.mode, stat.uid, stat.size, stat.mtime, stat.dev, stat.rdev)
    }

    fn stat(self) -> Fact<Stat> {
        let StatRow(letter, mode, uid, size, mtime, dev, rdev) = self;
        let file_type = match letter {
            'f' => FileType::File,
            'd' => FileType::Dir,
            'l' => FileType::Link,
            'o' => FileType::Other,
            other => return Fact::Unknown(Why::Malformed(format!("file type {other:?}"))),
        };
        Fact::Known(Stat { file_type, mode, uid, size, mtime, dev, rdev })
    }
}
