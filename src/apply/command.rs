//! Commands that change files by themselves: what they touch is kept before, compared after, and brought back where undoing the command
//! leaves it different.

use super::execute::{Did, Failure, Work};
use super::files::{kept_bytes, put_back};
use super::journal::{Before, Journal, Kept, Left, Progress, Record, Trace};
use super::store::Stored;
use super::{fence, readback};
use crate::host::{Fact, FileType, Host};
use crate::steps::{Action, Fence};
use std::collections::BTreeMap;

/// The largest file of which a copy is kept: texts and entries. Kernels and images are made again by the undo command.
const LARGEST: u64 = 4 << 20;
/// The most files of one step.
const MOST: usize = 2000;
/// How deep directories are looked into.
const DEPTH: usize = 6;

/// Runs a command.
pub(super) fn run(work: &mut Work<'_>, step: usize, argv: &[String], touches: &[String], fence: Option<&Fence>) -> Did {
    let files = originals(work, step, touches)?;
    work.intent(step, Before { files, ..Before::default() })?;
    let stands = fence.map(|fence| fence::up(work, step, fence, &step.to_string())).transpose()?;
    work.run(argv, &step.to_string())?;
    settle(work, touches)?;
    let last = !work.plan.steps.iter().skip(step + 1).any(|step| matches!(step.action, Action::Run { .. }));
    if let Some(fence) = fence.filter(|_| last) {
        // What boots meanwhile is vfioneer's own; the others must be right before they boot again.
        let own: Vec<&str> = fence.writes.iter().map(|(path, _)| path.as_str()).collect();
        readback::entries(work.host, &work.plan.expect, &own)?;
    }
    if let (Some(fence), Some((files, dirs))) = (fence, stands) {
        fence::down(work, step, fence, &files, &dirs)?;
    }
    let after = traces(work.host, touches)?;
    work.note(&Record::Done { step, after })
}

/// What a command may change, as it was before the transaction. What an earlier step wrote or removed is as that step kept it; a file
/// that is not there yet is remembered as such.
fn originals(work: &Work<'_>, step: usize, touches: &[String]) -> Did<Vec<Kept>> {
    let earlier = earlier(work.plan, step, touches);
    let mut paths = touched(work.host, touches);
    paths.extend(touches.iter().filter(|path| work.host.stat(path).is_absent()).cloned());
    paths.retain(|path| !earlier.iter().any(|kept| kept.path == *path));
    let numbered = paths.iter().enumerate();
    let mut files: Vec<Kept> =
        numbered.map(|(number, path)| work.keep(path, &format!("{step}-{number}"))).collect::<Did<_>>()?;
    files.extend(earlier);
    Ok(files)
}

/// The files of a command that earlier steps wrote or removed, as the first of these kept each.
fn earlier(plan: &Stored, step: usize, touches: &[String]) -> Vec<Kept> {
    let mut files: Vec<Kept> = Vec::new();
    for (number, step) in plan.steps.iter().enumerate().take(step) {
        let (path, sha256) = match &step.action {
            Action::WriteFile { path, before_sha256, .. } => (path, before_sha256.clone()),
            Action::RemoveFile { path, before_sha256, .. } => (path, Some(before_sha256.clone())),
            _ => continue,
        };
        if covers(touches, path) && !files.iter().any(|kept| kept.path == *path) {
            let copy = sha256.as_ref().map(|_| number.to_string());
            files.push(Kept { path: path.clone(), sha256, copy });
        }
    }
    files
}

/// True if a list of files and directories names a file, or a directory above it.
fn covers(touches: &[String], path: &str) -> bool {
    touches
        .iter()
        .any(|touched| path.strip_prefix(touched.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/')))
}

/// What later commands made of a file that a step wrote or removed.
#[derive(Clone, Debug, Default)]
pub(super) struct Later {
    /// A command began that may change it, and did not come to its end: it may be anything.
    pub(super) open: bool,
    /// What it was after each: SHA-256, or null where it was gone.
    pub(super) after: Vec<Option<String>>,
}

/// What the commands after a step made of its file.
pub(super) fn later(plan: &Stored, journal: &Journal, step: usize, path: &str) -> Later {
    let mut later = Later::default();
    for (number, step) in plan.steps.iter().enumerate().skip(step + 1) {
        let Action::Run { touches, .. } = &step.action else { continue };
        let Some(progress) = journal.steps.get(&number).filter(|one| one.before.is_some()) else { continue };
        if !covers(touches, path) {
            continue;
        }
        match &progress.done {
            None => later.open = true,
            Some(traces) => {
                let trace = traces.iter().find(|trace| trace.path == path);
                later.after.push(trace.and_then(|trace| trace.sha256.clone()));
            }
        }
    }
    later
}

/// Commands seldom sync what they write; before anything builds on it, it is on the disk.
fn settle(work: &Work<'_>, touches: &[String]) -> Did {
    for path in touches {
        work.host.sync_all(path).map_err(|error| Failure::io(&format!("cannot sync {path}"), &error))?;
    }
    Ok(())
}

/// A command as it is undone.
pub(super) struct Undo<'a> {
    /// The inverse command; empty if bringing the files back is enough.
    pub(super) argv: &'a [String],
    /// What it touches.
    pub(super) touches: &'a [String],
    /// What boots meanwhile.
    pub(super) fence: Option<&'a Fence>,
    /// What earlier steps left as it is.
    pub(super) left: &'a [Left],
}

/// Undoes a command.
pub(super) fn undo(work: &mut Work<'_>, step: usize, undo: &Undo<'_>, progress: &Progress) -> Did<Vec<Left>> {
    let Some(before) = &progress.before else { return Ok(Vec::new()) };
    let mut left = Vec::new();
    let mut stands = progress.fence.clone();
    if let (Some(fence), Some((files, dirs)), false) = (undo.fence, &stands, progress.fenced) {
        left.extend(fence::down(work, step, fence, files, dirs)?);
        stands = None;
    }
    let theirs = theirs(work, before, progress)?;
    let earlier = earlier(work.plan, step, undo.touches);
    let is_left = |path: &String| undo.left.iter().any(|left| left.path == *path);
    if progress.undo_began {
        // The command reads what an earlier step wrote, and when it was interrupted this may have been torn.
        for kept in earlier.iter().filter(|kept| !is_left(&kept.path)) {
            bring_back(work, kept)?;
        }
    }
    let ran = undo.fence.is_none() || progress.was_fenced || progress.done.is_some();
    if ran && !undo.argv.is_empty() {
        if let (Some(fence), None) = (undo.fence, &stands) {
            stands = Some(fence::up(work, step, fence, &format!("{step}-undo"))?);
        }
        work.run(undo.argv, &format!("{step}-undo"))?;
        settle(work, undo.touches)?;
    }
    let is_theirs = |path: &String| theirs.contains(path);
    for kept in before.files.iter().filter(|kept| !is_left(&kept.path)) {
        if is_theirs(&kept.path) && sha256(work.host, &kept.path)? != kept.sha256 {
            left.push(Left { path: kept.path.clone(), reason: "was changed since".to_owned(), matters: false });
        } else {
            bring_back(work, kept)?;
        }
    }
    let was_there: BTreeMap<&str, &Kept> = before.files.iter().map(|kept| (kept.path.as_str(), kept)).collect();
    for trace in progress.done.iter().flatten().filter(|trace| !was_there.contains_key(trace.path.as_str())) {
        if sha256(work.host, &trace.path)?.is_none() {
            continue;
        }
        if is_theirs(&trace.path) {
            left.push(Left { path: trace.path.clone(), reason: "was changed since".to_owned(), matters: false });
        } else {
            let removed = work.host.remove(&trace.path);
            removed.map_err(|error| Failure::io(&format!("cannot remove {}", trace.path), &error))?;
        }
    }
    if let (Some(fence), Some((files, dirs))) = (undo.fence, &stands) {
        left.extend(fence::down(work, step, fence, files, dirs)?);
    }
    Ok(left)
}

/// What was touched by others since the step was done is theirs. A file that is as it was before is nobody's.
fn theirs(work: &Work<'_>, before: &Before, progress: &Progress) -> Did<Vec<String>> {
    let mut theirs = Vec::new();
    for trace in progress.done.iter().flatten().filter(|_| !progress.undo_began) {
        let now = sha256(work.host, &trace.path)?;
        let restored = before.files.iter().any(|kept| kept.path == trace.path && kept.sha256 == now);
        if now != trace.sha256 && !restored {
            theirs.push(trace.path.clone());
        }
    }
    Ok(theirs)
}

/// Puts a file back that is not as it was, and keeps what it was meanwhile.
pub(super) fn bring_back(work: &Work<'_>, kept: &Kept) -> Did {
    let now = sha256(work.host, &kept.path)?;
    if now == kept.sha256 {
        return Ok(());
    }
    if let (Some(_), Some(copy)) = (&now, &kept.copy) {
        // In case somebody did change it meanwhile: nothing is lost.
        let replaced = work.copy(&format!("{copy}.replaced"));
        let saved = work.host.copy(&kept.path, &replaced);
        saved.map_err(|error| Failure::io(&format!("cannot keep a copy of {}", kept.path), &error))?;
    }
    put_back(work, kept, now.is_some(), kept_bytes(work, kept)?.as_deref())
}

fn sha256(host: &dyn crate::host::HostMut, path: &str) -> Did<Option<String>> {
    host.sha256(path).map_err(|error| Failure::io(&format!("cannot read {path}"), &error))
}

fn traces(host: &dyn crate::host::HostMut, touches: &[String]) -> Did<Vec<Trace>> {
    let trace = |path: String| Ok(Trace { sha256: sha256(host, &path)?, path });
    touched(host, touches).into_iter().map(trace).collect()
}

/// The files of a list of files and directories that are there and not too large.
pub(super) fn touched(host: &dyn Host, touches: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for path in touches {
        collect(host, path, DEPTH, &mut found);
    }
    found
}

fn collect(host: &dyn Host, path: &str, depth: usize, found: &mut Vec<String>) {
    let Fact::Known(stat) = host.stat(path) else { return };
    match stat.file_type {
        FileType::File if stat.size <= LARGEST && found.len() < MOST => found.push(path.to_owned()),
        FileType::Dir if depth > 0 => {
            for name in host.entries(path).into_known().unwrap_or_default() {
                collect(host, &format!("{path}/{name}"), depth - 1, found);
            }
        }
        _ => {}
    }
}
