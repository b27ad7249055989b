//! What passed already: a stamp per cell, named by everything that its result depends on.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::jobs::Job;
use crate::variant::Image;

/// What all cells of this run have in common: the program, this runner and what is put on the share.
pub fn common(binary: &Path) -> Result<String, String> {
    let runner = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut hash = Sha256::new();
    let scripts = ["run.sh", "dump.sh", "take.sh", "tree.sh"].map(guest);
    for file in [binary.to_owned(), runner].into_iter().chain(scripts) {
        hash.update(fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The stamp's file for one cell.
pub fn file(folder: &Path, common: &str, cell: &Job, image: &Image) -> PathBuf {
    let hash = Sha256::digest(format!("{common} {cell:?} {}", image.disk.display()));
    let key: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    folder.join("passed").join(format!("{}-{key}", cell.name()))
}

/// Notes a cell that took a device among those that were seen to pass, where that is asked for.
pub fn proven(cell: &Job) -> Result<(), String> {
    if std::env::var_os("UPDATE_EXPECT").is_none() || !matches!(cell, Job::Take(_)) {
        return Ok(());
    }
    let path = crate::variant::lab().join("proven.txt");
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    let text = fs::read_to_string(&path).map_err(fail)?;
    let name = cell.name();
    let mut names: Vec<&str> = text.lines().chain([name.as_str()]).collect();
    names.sort_unstable();
    names.dedup();
    fs::write(&path, names.join("\n") + "\n").map_err(fail)
}

/// A file of the share that all cells get.
pub fn guest(name: &str) -> PathBuf {
    crate::variant::lab().join("guest").join(name)
}
