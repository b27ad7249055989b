//! What passed already: a stamp per cell, named by everything that its result depends on.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::jobs::Job;

/// What all cells of this run have in common: the program and this runner.
pub fn common(binary: &Path) -> Result<String, String> {
    let runner = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut hash = Sha256::new();
    for file in [binary.to_owned(), runner] {
        hash.update(read(&file)?);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The stamp's file for one cell.
pub fn file(folder: &Path, common: &str, cell: &Job, image: &Path) -> Result<PathBuf, String> {
    let mut hash = Sha256::new_with_prefix(format!("{common} {cell:?} {}", image.display()));
    for script in cell.scripts() {
        hash.update(read(&guest(&script))?);
    }
    let key: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Ok(folder.join("passed").join(format!("{}-{key}", cell.name())))
}

/// Notes a cell that changed a host among those that were seen to pass, where that is asked for.
pub fn proven(cell: &Job) -> Result<(), String> {
    if std::env::var_os("UPDATE_EXPECT").is_none() || matches!(cell, Job::Look(_)) {
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

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|e| format!("{}: {e}", file.display()))
}

/// A script that hosts get on their share.
pub fn guest(name: &str) -> PathBuf {
    crate::variant::lab().join("guest").join(name)
}
