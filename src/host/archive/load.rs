//! Reads a capture file. Nothing in it is trusted.

use super::index::{Index, query_named};
use super::{FORMAT, INDEX, LIMITS, Limits, META, Meta};
use crate::error::{Error, Result};
use crate::host::recording::{Body, Recording};
use crate::host::{Fact, Recorded};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry as MapEntry;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

/// The most memory that the packed file may ask for while it is unpacked: 32 MiB.
const WINDOW_LOG: u32 = 25;

/// Opens a capture file as a host. Every failure is a usage error that names the file.
pub fn load(path: &Path) -> Result<Recorded> {
    let name = path.display().to_string();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let stat = rustix::fs::statat(CWD, path, rustix::fs::AtFlags::empty());
    match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::RegularFile) => {}
        Ok(FileType::Directory) => {
            return Err(Error::usage(format!("{name} is a directory, not a capture"))
                .hint(format!("an unpacked or mounted system is read with --root {name}")));
        }
        Ok(_) => {
            return Err(Error::usage(format!("{name} is no regular file")).hint("save the capture as a file first"));
        }
        Err(errno) => return Err(cannot_read(&name, errno)),
    }
    let fd = openat(CWD, path, flags, Mode::empty()).map_err(|errno| cannot_read(&name, errno))?;
    fstat(&fd).map_err(|errno| cannot_read(&name, errno))?;
    let (recording, _) = read(&name, std::fs::File::from(fd))?;
    Recorded::new(recording, name.clone())
        .map_err(|inner| damaged(&name, &format!("{inner:?} lies in something that is no directory")))
}

/// Reads a capture; `name` is how errors call it.
pub fn read(name: &str, packed: impl Read) -> Result<(Recording, Meta)> {
    read_within(name, packed, &LIMITS)
}

pub(super) fn read_within(name: &str, mut packed: impl Read, limits: &Limits) -> Result<(Recording, Meta)> {
    let mut start = [0; 4];
    let length = fill(&mut packed, &mut start).map_err(|error| io_error(name, &error))?;
    if length == 0 {
        return Err(Error::usage(format!("{name} is empty")).hint(MADE));
    }
    // RFC 8878, section 3.1.1: the magic number of a Zstandard frame.
    if start != [0x28, 0xb5, 0x2f, 0xfd] {
        return Err(not_a_capture(name));
    }
    let left = Rc::new(Cell::new(limits.bytes));
    let unpacked = zstd::Decoder::new(start.as_slice().chain(packed)).and_then(|mut decoder| {
        decoder.window_log_max(WINDOW_LOG)?;
        Ok(Bounded { inner: decoder, left: Rc::clone(&left) })
    });
    let mut unpacked = unpacked.map_err(|error| io_error(name, &error))?;
    let result = members(name, &mut unpacked, limits);
    if left.get() == 0 {
        // Whatever came of it, that is why.
        return Err(too_large(name, &format!("{} MiB", limits.bytes >> 20)));
    }
    result
}

fn members(name: &str, unpacked: &mut impl Read, limits: &Limits) -> Result<(Recording, Meta)> {
    let mut loader =
        Loader { name, limits, meta: None, index: None, recording: Recording::default(), names: BTreeSet::new() };
    let mut archive = tar::Archive::new(&mut *unpacked);
    for member in archive.entries().map_err(|error| io_error(name, &error))? {
        let mut member = member.map_err(|error| io_error(name, &error))?;
        let path = loader.path(&member)?;
        loader.member(&path, &mut member)?;
    }
    let Some(meta) = loader.meta.take() else { return Err(not_a_capture(name)) };
    // The end of the packed data carries a checksum over all of it.
    rest(name, unpacked)?;
    Ok((loader.finish()?, meta))
}

/// What was read so far.
struct Loader<'a> {
    /// How errors call the file.
    name: &'a str,
    limits: &'a Limits,
    meta: Option<Meta>,
    index: Option<Index>,
    recording: Recording,
    /// Members seen, to refuse the second of a name.
    names: BTreeSet<String>,
}

impl Loader<'_> {
    /// The member's name, if it is one that a capture can have.
    fn path(&mut self, member: &tar::Entry<'_, impl Read>) -> Result<String> {
        let path = String::from_utf8(member.path_bytes().into_owned())
            .map_err(|_| damaged(self.name, "a member's name is no text"))?;
        let path = path.trim_end_matches('/').to_owned();
        if path.contains('\0') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(leads_out(self.name, &path));
        }
        let kind = member.header().entry_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink()) {
            return Err(damaged(self.name, &format!("{path:?} is neither file, directory nor symbolic link")));
        }
        if self.names.len() >= self.limits.members {
            return Err(too_large(self.name, &format!("{} members", self.limits.members)));
        }
        if !self.names.insert(path.clone()) {
            return Err(damaged(self.name, &format!("it holds {path:?} twice")));
        }
        Ok(path)
    }

    fn member(&mut self, path: &str, member: &mut tar::Entry<'_, impl Read>) -> Result<()> {
        let name = self.name;
        if path == META {
            self.meta = Some(check_meta(name, &self.bytes(path, member)?)?);
            return Ok(());
        }
        if self.meta.is_none() {
            return Err(not_a_capture(name));
        }
        if path == INDEX {
            return self.take_index(&self.bytes(path, member)?);
        }
        let Some(index) = &self.index else { return Err(damaged(name, &format!("{INDEX} does not come first"))) };
        if let Some(path) = path.strip_prefix("root").filter(|path| path.starts_with('/')) {
            return self.take_entry(path, member);
        }
        if let Some(number) = path.strip_prefix("digests/").and_then(|number| number.parse::<usize>().ok()) {
            let Some(row) = index.digests.get(number) else {
                return Err(damaged(name, &format!("{path:?} is not in {INDEX}")));
            };
            let key = (row.path.clone(), row.name.clone());
            self.recording.digests.insert(key, Fact::Known(self.bytes(path, member)?));
        } else if let Some(query) = path.strip_prefix("queries/").and_then(query_named) {
            self.recording.queries.insert(query, Fact::Known(self.bytes(path, member)?));
        }
        // Other members are left to newer programs that write the same format.
        Ok(())
    }

    fn take_index(&mut self, text: &[u8]) -> Result<()> {
        let parsed = serde_json::from_slice(text);
        let mut index: Index = parsed.map_err(|error| damaged(self.name, &format!("{INDEX}: {error}")))?;
        for (path, row) in std::mem::take(&mut index.paths) {
            let plain = |rest: &str| rest.is_empty() || !rest.split('/').any(|part| matches!(part, "" | "." | ".."));
            if !path.strip_prefix('/').is_some_and(plain) {
                return Err(leads_out(self.name, &path));
            }
            self.recording.entries.insert(path, row.entry());
        }
        self.index = Some(index);
        Ok(())
    }

    /// Takes the content of a path that the index announced.
    fn take_entry(&mut self, path: &str, member: &mut tar::Entry<'_, impl Read>) -> Result<()> {
        let kind = member.header().entry_type();
        let content = if kind.is_file() { self.bytes(path, member)? } else { Vec::new() };
        let entry = self.recording.entries.get_mut(path);
        match entry.map(|entry| &mut entry.body) {
            Some(Body::File(place)) if kind.is_file() && place.known().is_some() => *place = Fact::Known(content),
            Some(Body::Start(place)) if kind.is_file() => *place = content,
            Some(Body::Link(link)) if kind.is_symlink() => {
                let target = member.link_name_bytes().unwrap_or_default();
                *link = String::from_utf8_lossy(&target).into_owned();
            }
            Some(Body::Dir(_)) if kind.is_dir() => {}
            _ => return Err(damaged(self.name, &format!("{path:?} is not what {INDEX} says"))),
        }
        Ok(())
    }

    /// The member's content.
    fn bytes(&self, path: &str, member: &mut tar::Entry<'_, impl Read>) -> Result<Vec<u8>> {
        let size = member.size();
        if size > self.limits.member {
            return Err(too_large(self.name, &format!("{} MiB in {path:?}", self.limits.member >> 20)));
        }
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).map_err(|error| io_error(self.name, &error))?;
        if bytes.len() as u64 != size {
            return Err(cut_off(self.name));
        }
        Ok(bytes)
    }

    /// Checks that all was there that the index announced.
    fn finish(mut self) -> Result<Recording> {
        let Some(index) = self.index else { return Err(cut_off(self.name)) };
        let missing = |what: &str| Err(damaged(self.name, &format!("{what:?} is missing")));
        for (path, entry) in &self.recording.entries {
            let announced = matches!(&entry.body, Body::File(Fact::Known(_)) | Body::Start(_) | Body::Link(_));
            if announced && !self.names.contains(&format!("root{path}")) {
                return missing(path);
            }
        }
        for row in index.digests {
            let path = row.path.clone();
            match (row.gone, self.recording.digests.entry((row.path, row.name))) {
                (_, MapEntry::Occupied(_)) => {}
                (Some(gone), MapEntry::Vacant(place)) => {
                    place.insert(gone.into());
                }
                (None, MapEntry::Vacant(_)) => return missing(&path),
            }
        }
        for (query, gone) in index.queries {
            if let Some(query) = query_named(&query) {
                self.recording.queries.entry(query).or_insert(gone.into());
            }
        }
        Ok(self.recording)
    }
}

fn check_meta(name: &str, text: &[u8]) -> Result<Meta> {
    /// What every format has.
    #[derive(serde::Deserialize)]
    struct Any {
        format: u32,
        #[serde(default)]
        program: String,
    }
    let any: Any = serde_json::from_slice(text).map_err(|error| damaged(name, &format!("{META}: {error}")))?;
    if any.format > FORMAT {
        return Err(Error::usage(format!(
            "{name} was written by {} in format {}; this program reads formats up to {FORMAT}",
            if any.program.is_empty() { "a newer program" } else { &any.program },
            any.format
        ))
        .hint("use that version of vfioneer or a newer one"));
    }
    serde_json::from_slice(text).map_err(|error| damaged(name, &format!("{META}: {error}")))
}

/// Reads what comes after the last member, so that a cut or damaged end shows.
fn rest(name: &str, unpacked: &mut impl Read) -> Result<()> {
    let mut buffer = [0; 8192];
    loop {
        match unpacked.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(io_error(name, &error)),
        }
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(space) = buffer.get_mut(length..).filter(|space| !space.is_empty()) {
        match from.read(space)? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}

/// Ends what inflates without end.
struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let left = self.left.get().saturating_sub(count as u64);
        self.left.set(left);
        if left == 0 { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(count) }
    }
}

const MADE: &str = "a capture is made with `vfioneer capture FILE` on the host";

fn not_a_capture(name: &str) -> Error {
    Error::usage(format!("{name} is not a capture")).hint(MADE)
}

fn leads_out(name: &str, path: &str) -> Error {
    damaged(name, &format!("it holds the path {path:?}, which leads out of it"))
}

fn cut_off(name: &str) -> Error {
    Error::usage(format!("{name} is cut off: its end is missing")).hint("copy it again, or make the capture again")
}

fn damaged(name: &str, what: &str) -> Error {
    Error::usage(format!("{name} is damaged or no capture: {what}")).hint("copy it again, or make the capture again")
}

fn too_large(name: &str, what: &str) -> Error {
    Error::usage(format!("{name} is too large: it holds more than {what}")).hint(MADE)
}

fn cannot_read(name: &str, errno: rustix::io::Errno) -> Error {
    Error::usage(format!("cannot read {name}: {}", crate::host::tree::describe(errno))).hint(MADE)
}

fn io_error(name: &str, error: &io::Error) -> Error {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::UnexpectedEof, _) => cut_off(name),
        (_, Some(code)) => cannot_read(name, rustix::io::Errno::from_raw_os_error(code)),
        _ => damaged(name, &error.to_string()),
    }
}
