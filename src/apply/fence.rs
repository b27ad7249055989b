//! What boots while a tool rewrites boot files in place: copies of its own, made the default, read back.

use super::execute::{Did, Failure, Work, bytes};
use super::files::{clean, kept_bytes, parent, put_back};
use super::journal::{Kept, Left, Record};
use super::store::missing_dirs;
use crate::steps::{Fence, sha256};

/// Makes the fence. `name` begins the names of the kept copies.
pub(super) fn up(work: &Work<'_>, step: usize, fence: &Fence, name: &str) -> Did<(Vec<Kept>, Vec<String>)> {
    let mut dirs: Vec<String> = Vec::new();
    for path in fence.copies.iter().map(|(_, to)| to).chain(fence.writes.iter().map(|(path, _)| path)) {
        dirs.extend(missing_dirs(work.host, parent(path)));
    }
    dirs.sort();
    dirs.dedup();
    let mut files = Vec::new();
    for (number, (path, _)) in fence.writes.iter().enumerate() {
        files.push(work.keep(path, &format!("{name}-fence-{number}"))?);
    }
    work.note(&Record::Fence { step, files: files.clone(), dirs: dirs.clone() })?;
    for dir in &dirs {
        work.host.make_dir(dir, false).map_err(|error| Failure::io(&format!("cannot make {dir}"), &error))?;
    }
    for (from, to) in &fence.copies {
        let copied = work.host.copy(from, to).and_then(|()| Ok(work.host.sha256(from)? == work.host.sha256(to)?));
        if !copied.map_err(|error| Failure::io(&format!("cannot copy {from} to {to}"), &error))? {
            return Err(Failure::new(format!("{to} does not read as {from}, which it is a copy of")));
        }
    }
    for (path, text) in &fence.writes {
        let written = work.host.write(path, text.as_bytes(), 0o644);
        written.map_err(|error| Failure::io(&format!("cannot write {path}"), &error))?;
        if bytes(work.host, path)?.as_deref() != Some(text.as_bytes()) {
            return Err(Failure::new(format!("{path} does not read as it was written")));
        }
    }
    work.note(&Record::FenceUp { step })?;
    Ok((files, dirs))
}

/// Takes it away again, the default first.
pub(super) fn down(work: &Work<'_>, step: usize, fence: &Fence, files: &[Kept], dirs: &[String]) -> Did<Vec<Left>> {
    let mut left = Vec::new();
    for kept in files.iter().rev() {
        clean(work, &kept.path)?;
        let written = fence.writes.iter().find(|(path, _)| *path == kept.path).map(|(_, text)| text.as_bytes());
        let now = bytes(work.host, &kept.path)?;
        let ours = match (&now, written) {
            (Some(now), Some(written)) => written.starts_with(now),
            _ => false,
        };
        if ours {
            put_back(work, kept, true, kept_bytes(work, kept)?.as_deref())?;
        } else if now.as_deref().map(sha256) != kept.sha256 {
            let reason = "was changed while vfioneer had its own version there".to_owned();
            left.push(Left { path: kept.path.clone(), reason, matters: false });
        }
    }
    for (_, to) in &fence.copies {
        clean(work, to)?;
        work.host.remove(to).map_err(|error| Failure::io(&format!("cannot remove {to}"), &error))?;
    }
    for dir in dirs.iter().rev() {
        work.host.remove_dir(dir).map_err(|error| Failure::io(&format!("cannot remove {dir}"), &error))?;
    }
    work.note(&Record::FenceDown { step })?;
    Ok(left)
}
