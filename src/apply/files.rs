//! Files that are written or removed whole, and their way back.

use super::command::{Later, bring_back};
use super::execute::{Did, Failure, Work, bytes};
use super::journal::{Before, Kept, Left, Progress, Record};
use super::store::{make_dirs, missing_dirs};
use crate::host::change::temporary;
use crate::steps::sha256;

/// Writes a file.
pub(super) fn write(work: &Work<'_>, step: usize, path: &str, before: Option<&str>, after: &[u8], mode: u32) -> Did {
    let dirs = missing_dirs(work.host, parent(path));
    keep(work, step, path, before, dirs.clone())?;
    for dir in &dirs {
        work.host.make_dir(dir, false).map_err(|error| Failure::io(&format!("cannot make {dir}"), &error))?;
    }
    let written = work.host.write(path, after, mode);
    written.map_err(|error| Failure::io(&format!("cannot write {path}"), &error))?;
    work.note(&Record::Done { step, after: Vec::new() })
}

/// Removes a file.
pub(super) fn remove(work: &Work<'_>, step: usize, path: &str, before: &str) -> Did {
    keep(work, step, path, Some(before), Vec::new())?;
    work.host.remove(path).map_err(|error| Failure::io(&format!("cannot remove {path}"), &error))?;
    work.note(&Record::Done { step, after: Vec::new() })
}

fn keep(work: &Work<'_>, step: usize, path: &str, before: Option<&str>, dirs: Vec<String>) -> Did {
    let kept = work.keep(path, &step.to_string())?;
    if kept.sha256.as_deref() != before {
        return Err(Failure::new(format!("{path} was changed meanwhile")));
    }
    work.intent(step, Before { dirs, files: vec![kept], ..Before::default() })
}

/// Brings back what was there, if what is there now is vfioneer's: `after`, the first part of it where writing was interrupted, or what
/// a `later` command made of it.
pub(super) fn restore(
    work: &Work<'_>,
    path: &str,
    after: Option<&[u8]>,
    progress: &Progress,
    later: &Later,
) -> Did<Vec<Left>> {
    let Some(before) = &progress.before else { return Ok(Vec::new()) };
    let Some(kept) = before.files.first() else { return Ok(Vec::new()) };
    clean(work, path)?;
    let now = bytes(work.host, path)?;
    let old = kept_bytes(work, kept)?;
    let is_part = |part: &[u8], whole: Option<&[u8]>| whole.is_some_and(|whole| whole.starts_with(part));
    let ours = match &now {
        now if now.as_deref() == after || later.open => true,
        now if later.after.contains(&now.as_deref().map(sha256)) => true,
        Some(part) => {
            progress.done.is_none() && is_part(part, after) || progress.undo_began && is_part(part, old.as_deref())
        }
        None => false,
    };
    if now == old {
        // Nothing was done yet, or it was undone already.
    } else if !ours {
        let state = if now.is_none() { "was removed" } else { "was changed" };
        let reason = match &kept.copy {
            Some(copy) => format!("{state} since; what was there before is in {}", work.copy(copy)),
            None => format!("{state} since; before, there was no such file"),
        };
        return Ok(vec![Left { path: path.to_owned(), reason, matters: true }]);
    } else if later.open {
        // It may be somebody's all the same: what is there now is kept.
        bring_back(work, kept)?;
    } else {
        put_back(work, kept, now.is_some(), old.as_deref())?;
    }
    for dir in before.dirs.iter().rev() {
        work.host.remove_dir(dir).map_err(|error| Failure::io(&format!("cannot remove {dir}"), &error))?;
    }
    Ok(Vec::new())
}

/// Puts a kept file back, or takes away one that was not there.
pub(super) fn put_back(work: &Work<'_>, kept: &Kept, there: bool, old: Option<&[u8]>) -> Did {
    let path = &kept.path;
    let done = match (&kept.copy, old) {
        (None, _) | (_, None) => work.host.remove(path),
        (Some(_), Some(old)) if there => work.host.write(path, old, 0o644),
        // With owner and mode. Its directory may be gone, with a package.
        (Some(copy), Some(_)) => {
            make_dirs(work.host, parent(path)).and_then(|()| work.host.copy(&work.copy(copy), path))
        }
    };
    done.map_err(|error| Failure::io(&format!("cannot bring back {path}"), &error))
}

/// The bytes of a kept file, if they are still those that were kept.
pub(super) fn kept_bytes(work: &Work<'_>, kept: &Kept) -> Did<Option<Vec<u8>>> {
    let Some(copy) = &kept.copy else { return Ok(None) };
    let path = work.copy(copy);
    match bytes(work.host, &path)? {
        Some(bytes) if Some(sha256(&bytes)) == kept.sha256 => Ok(Some(bytes)),
        _ => Err(Failure::new(format!("{path}, the copy of {}, is damaged", kept.path))),
    }
}

/// Removes what an interrupted write left beside a file.
pub(super) fn clean(work: &Work<'_>, path: &str) -> Did {
    let real = match work.host.real(path) {
        Ok(real) => real,
        // Its directory is not there.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::io(&format!("cannot find {path}"), &error)),
    };
    let left = temporary(&real);
    work.host.remove(&left).map_err(|error| Failure::io(&format!("cannot remove {left}"), &error))
}

/// The directory of a path; empty for one at the top.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}
