//! The capture file: a recording as `.tar.zst`, written and read in memory.
//!
//! Goes in: a [`Recording`], or a file that claims to be a capture. Comes out: the file's bytes, or the recording.
//! Members, in this order: `vfioneer-capture.json` ([`Meta`]), `index.json` (all that tar cannot say: what was absent or
//! denied, which directories are complete, what stat(2) said), `root/...` (files, directories, links as on the host),
//! `digests/N`, `queries/NAME`. Reading writes nothing, follows no link, and is bounded in members and bytes.

mod index;
mod load;

pub use load::{load, read};

use super::recording::{Body, Recording};
use super::{Fact, Stat};
use crate::error::{Error, Result};
use index::Index;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};

/// The format that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// How much a capture may hold.
struct Limits {
    members: usize,
    /// Bytes of one member.
    member: u64,
    /// Bytes of all, unpacked.
    bytes: u64,
}

const LIMITS: Limits = Limits { members: 200_000, member: 64 << 20, bytes: 256 << 20 };

const META: &str = "vfioneer-capture.json";
const INDEX: &str = "index.json";
/// Level 9 takes a second for a large host; more gains little on text.
const LEVEL: i32 = 9;

/// The first member: what this file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// See [`FORMAT`].
    pub format: u32,
    /// Who wrote it, e.g. `vfioneer 0.1.0`.
    pub program: String,
    /// When, `YYYY-MM-DD` (UTC).
    pub date: String,
    /// True if names and numbers that identify the host were replaced.
    pub pseudonyms: bool,
}

/// The bytes of a capture file. Refused if the host is larger than what is read again.
pub fn write(recording: &Recording, meta: &Meta) -> Result<Vec<u8>> {
    write_within(recording, meta, &LIMITS)
}

fn write_within(recording: &Recording, meta: &Meta, limits: &Limits) -> Result<Vec<u8>> {
    let (members, bytes) = size(recording);
    if members > limits.members || bytes > limits.bytes {
        return Err(Error::refused(format!(
            "this host is too large to record: {members} files, {} MiB (at most {} and {} MiB)",
            bytes >> 20,
            limits.members,
            limits.bytes >> 20
        )));
    }
    pack(recording, meta).map_err(|error| Error::bug(format!("the capture could not be put together: {error}")))
}

fn size(recording: &Recording) -> (usize, u64) {
    let contents = recording.entries.values().map(|entry| match &entry.body {
        Body::File(Fact::Known(bytes)) | Body::Start(bytes) => bytes.len() as u64,
        _ => 0,
    });
    let results = recording.digests.values().chain(recording.queries.values());
    let results = results.map(|result| result.known().map_or(0, |bytes| bytes.len() as u64));
    // A header, padding, a long name and a row of the index for each.
    let each = recording.entries.keys().map(|path| 2048 + 2 * path.len() as u64).sum::<u64>();
    let members = recording.entries.len() + recording.digests.len() + recording.queries.len() + 2;
    (members, contents.sum::<u64>() + results.sum::<u64>() + each)
}

fn pack(recording: &Recording, meta: &Meta) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    encoder.include_checksum(true)?;
    let mut tar = tar::Builder::new(encoder);
    file(&mut tar, META, &serde_json::to_vec_pretty(meta)?, None)?;
    file(&mut tar, INDEX, &serde_json::to_vec(&Index::of(recording))?, None)?;
    for (path, entry) in &recording.entries {
        let name = format!("root{path}");
        let stat = entry.stat.known();
        match &entry.body {
            Body::File(Fact::Known(bytes)) | Body::Start(bytes) => file(&mut tar, &name, bytes, stat)?,
            Body::Dir(_) if path != "/" => {
                let mut header = header(tar::EntryType::Directory, 0o755, stat);
                tar.append_data(&mut header, name, io::empty())?;
            }
            Body::Link(target) => {
                let mut header = header(tar::EntryType::Symlink, 0o777, None);
                tar.append_link(&mut header, name, target)?;
            }
            _ => {}
        }
    }
    for (number, result) in recording.digests.values().enumerate() {
        if let Fact::Known(bytes) = result {
            file(&mut tar, &format!("digests/{number}"), bytes, None)?;
        }
    }
    for (query, answer) in &recording.queries {
        if let Fact::Known(bytes) = answer {
            file(&mut tar, &format!("queries/{}", index::query_name(*query)), bytes, None)?;
        }
    }
    let mut encoder = tar.into_inner()?;
    encoder.flush()?;
    encoder.finish()
}

fn header(kind: tar::EntryType, mode: u32, stat: Option<&Stat>) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    // Whoever unpacks it must be able to read it and to remove it.
    header.set_mode(stat.map_or(mode, |stat| stat.mode & 0o777) | if mode & 0o111 == 0 { 0o600 } else { 0o700 });
    header.set_mtime(stat.and_then(|stat| u64::try_from(stat.mtime).ok()).unwrap_or(0));
    header.set_size(0);
    header
}

fn file(tar: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8], stat: Option<&Stat>) -> io::Result<()> {
    let mut header = header(tar::EntryType::Regular, 0o644, stat);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, name, bytes)
}

#[cfg(test)]
mod tests;
