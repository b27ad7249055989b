//! `capture`: records what the facts read of a host, without what identifies it and without secrets.
//!
//! Goes in: a host and the name of a new file. Comes out: the file, and a [`Report`] of what is in it and what is not.
//! Each answer that the facts got is in the file, as far as `data/capture.toml` allows; the host is not changed.

use crate::error::Result;
use crate::facts::{self, Needs};
use crate::host::archive::{self, FORMAT, Meta};
use crate::host::recording::{Body, Entry, Recording};
use crate::host::{Fact, Host, Recorder, Why, output};
use crate::parse::scrub::rules::{self, Keep};
use crate::parse::scrub::{Kind, Scrubber};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file to write.
    pub path: PathBuf,
    /// Keep names and numbers; secrets are left out all the same.
    pub exact: bool,
    /// Replace a file that is there.
    pub force: bool,
}

/// What was taken, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Files and their bytes by the first part of the path: `/proc`, `/sys`, `/etc`.
    pub taken: BTreeMap<String, (usize, u64)>,
    /// Directories, links and paths that were looked for.
    pub paths: usize,
    /// How many different names and numbers were replaced.
    pub pseudonyms: BTreeMap<Kind, usize>,
    /// Passwords, keys and tokens that were removed.
    pub secrets: usize,
    /// Files whose content was read and not taken, and why.
    pub left_out: Vec<(String, String)>,
    /// Paths that this user could not read.
    pub unreadable: Vec<(String, Why)>,
    /// Size of the file.
    pub bytes: u64,
}

/// Why a file that no row of the table names is not taken.
pub const NOT_LISTED: &str = "not on the list of what may be taken";

/// Records a host in a file.
pub fn write_capture(host: &dyn Host, options: &Options) -> Result<Report> {
    output::check_free(&options.path, options.force)?;
    let recorder = Recorder::new(host);
    facts::collect(&recorder, Needs::ALL);
    let (recording, asked) = recorder.finish();
    let names = ["/proc/sys/kernel/hostname", "/etc/hostname"].map(|path| host.value(path).into_known());
    let names: Vec<String> = names.into_iter().flatten().collect();
    let (recording, mut report) = scrub(recording, &asked, &names, output::random()?, options.exact);
    let meta = Meta {
        format: FORMAT,
        program: format!("vfioneer {}", env!("CARGO_PKG_VERSION")),
        date: output::today(),
        pseudonyms: !options.exact,
    };
    let bytes = archive::write(&recording, &meta)?;
    output::write(&options.path, &bytes, if options.exact { 0o600 } else { 0o644 }, options.force)?;
    report.bytes = bytes.len() as u64;
    Ok(report)
}

/// The recording without what identifies the host. `asked` gives the names by which paths were asked for, `hosts` the
/// names of the host.
fn scrub(
    recording: Recording,
    asked: &BTreeMap<String, BTreeSet<String>>,
    hosts: &[String],
    salt: [u8; 32],
    exact: bool,
) -> (Recording, Report) {
    let mut scrubber = Scrubber::new(salt, exact);
    learn(&mut scrubber, &recording, asked, hosts);
    let mut new = Recording::default();
    let mut report = Report::default();
    for (path, entry) in recording.entries {
        let body = match entry.body {
            Body::File(Fact::Known(bytes)) => match take(&mut scrubber, &mut report, asked, &path, &bytes) {
                Some(bytes) => Body::File(Fact::Known(bytes)),
                None => Body::File(Fact::Unknown(Why::NotRecorded)),
            },
            Body::Start(bytes) => match take(&mut scrubber, &mut report, asked, &path, &bytes) {
                Some(bytes) => Body::Start(bytes),
                None => Body::File(Fact::Unknown(Why::NotRecorded)),
            },
            Body::Link(target) => Body::Link(link(&mut scrubber, &path, &target)),
            other => other,
        };
        match &body {
            Body::File(Fact::Unknown(why)) | Body::Denied(why) | Body::Dir(Fact::Unknown(why))
                if *why != Why::NotRecorded =>
            {
                report.unreadable.push((path.clone(), why.clone()));
            }
            _ => {}
        }
        report.paths += usize::from(!matches!(body, Body::File(_) | Body::Start(_)));
        new.entries.entry(scrubber.name(&path)).or_insert(Entry { body, stat: entry.stat });
    }
    for ((path, name), result) in recording.digests {
        let result = result.and_then(|bytes| scrub_text(&mut scrubber, bytes));
        new.digests.insert((scrubber.name(&path), name), result);
    }
    for (query, answer) in recording.queries {
        let answer = answer.map(|bytes| scrubber.text(&String::from_utf8_lossy(&bytes)).into_bytes());
        new.queries.insert(query, answer);
    }
    report.pseudonyms = scrubber.counts();
    report.secrets = scrubber.secrets_removed();
    (new, report)
}

fn scrub_text(scrubber: &mut Scrubber, bytes: Vec<u8>) -> Fact<Vec<u8>> {
    match String::from_utf8(bytes) {
        Ok(text) => Fact::Known(scrubber.text(&text).into_bytes()),
        // Of what is no text nothing can be said.
        Err(_) => Fact::Unknown(Why::NotRecorded),
    }
}

/// Reads everything once, so that what one file shows to be an id is found in all others.
fn learn(scrubber: &mut Scrubber, recording: &Recording, asked: &BTreeMap<String, BTreeSet<String>>, hosts: &[String]) {
    for (path, entry) in &recording.entries {
        if let Some(name) = path.strip_prefix("/sys/firmware/efi/efivars/") {
            // Variables are named <name>-<GUID of the vendor>.
            let start = name.len().saturating_sub(36);
            name.get(start..).into_iter().for_each(|guid| scrubber.keep(guid));
        }
        scrubber.learn_text(path);
        match &entry.body {
            Body::File(Fact::Known(bytes)) | Body::Start(bytes) => {
                if let Some((rule, _)) = rule(asked, path) {
                    scrubber.learn_file(rule, bytes);
                }
            }
            Body::Link(target) => scrubber.learn_text(target),
            _ => {}
        }
    }
    for answer in recording.queries.values().filter_map(Fact::known) {
        scrubber.learn_text(&String::from_utf8_lossy(answer));
    }
    let nodes = recording.entries.keys().filter_map(|path| path.strip_prefix("/etc/pve/nodes/"));
    let nodes = nodes.filter_map(|rest| rest.split('/').next()).map(str::to_owned);
    let names: BTreeSet<String> = hosts.iter().cloned().chain(nodes).collect();
    let words = words(recording);
    for name in names {
        let short = name.split('.').next().unwrap_or_default();
        if !words.contains(short) {
            scrubber.learn(Kind::Host, &name);
            scrubber.learn(Kind::Host, short);
        }
    }
    scrubber.ready();
}

/// Words that mean something to the program: a host that is called `nvidia`, `pve` or `debian` is not told from others
/// by that name, and replacing it everywhere would change the answers.
fn words(recording: &Recording) -> BTreeSet<&str> {
    let common = ["localhost", "linux", "proxmox", "server", "desktop", "host", "node", "root", "vfio", "nova"];
    let mut words: BTreeSet<&str> = common.into_iter().collect();
    let telling = ["/sys/", "/usr/lib/", "/lib/", "/dev/", "/boot/", "/usr/share/"];
    for (path, entry) in &recording.entries {
        if telling.iter().any(|start| path.starts_with(start)) {
            words.extend(path.split(|c: char| !c.is_ascii_alphanumeric()));
            words.extend(path.split('/'));
        }
        let Body::File(Fact::Known(bytes)) = &entry.body else { continue };
        if path.ends_with("/os-release") || path == "/proc/modules" || path == "/proc/version" {
            let text = std::str::from_utf8(bytes).unwrap_or_default();
            words.extend(text.split(|c: char| !c.is_ascii_alphanumeric()));
        }
    }
    words
}

type Found = (&'static rules::Rule, Option<&'static regex::RegexSet>);

/// The row for a path: by its real name, or by one that it was asked for; what is never taken is decided by the first.
fn rule(asked: &BTreeMap<String, BTreeSet<String>>, path: &str) -> Option<Found> {
    let other = || asked.get(path).into_iter().flatten().find_map(|name| rules::rule(name));
    rules::rule(path).or_else(other)
}

fn take(
    scrubber: &mut Scrubber,
    report: &mut Report,
    asked: &BTreeMap<String, BTreeSet<String>>,
    path: &str,
    bytes: &[u8],
) -> Option<Vec<u8>> {
    let Some((rule, keys)) = rule(asked, path) else {
        report.left_out.push((path.to_owned(), NOT_LISTED.to_owned()));
        return None;
    };
    let Some(new) = scrubber.file(rule, keys, bytes) else {
        debug_assert_eq!(rule.keep, Keep::Skip);
        report.left_out.push((path.to_owned(), rule.why.clone()));
        return None;
    };
    let area = path.split('/').nth(1).unwrap_or_default();
    let sum = report.taken.entry(format!("/{area}")).or_default();
    sum.0 += 1;
    sum.1 += new.len() as u64;
    Some(new)
}

/// A link's target. Of what processes have open, only devices matter; the rest may be anybody's documents.
fn link(scrubber: &mut Scrubber, path: &str, target: &str) -> String {
    let mut parts = path.split('/').skip(1);
    let open = parts.next() == Some("proc")
        && parts.next().is_some_and(|pid| pid.bytes().all(|b| b.is_ascii_digit()))
        && matches!(parts.next(), Some("fd" | "cwd" | "map_files"));
    if open && !["/dev/", "/sys/", "anon_inode:", "socket:", "pipe:"].iter().any(|start| target.starts_with(start)) {
        return "/left-out".to_owned();
    }
    scrubber.name(target)
}

#[cfg(test)]
mod tests;
