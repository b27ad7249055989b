//! What must be true before the first step: files as the plan saw them, room, directories that can be written to, programs.

use super::command::touched;
use super::execute::words;
use super::files::parent;
use super::journal::Before;
use super::store::{STATE, Transaction};
use crate::error::{Error, Result};
use crate::facts::usage::{Use, UseKind};
use crate::facts::{self, Needs};
use crate::host::change::{FsKind, kept};
use crate::host::{Fact, Host, HostMut, Kind};
use crate::parse::address::Address;
use crate::steps::{Action, Product, Step, sha256};
use serde::Deserialize;
use std::collections::BTreeMap;

/// An image grows by this much at the most, in tenths, over today's.
const GROWTH: u64 = 13;
/// An image of which there is none to compare with: larger than any that is usual, in bytes.
const UNKNOWN_IMAGE: u64 = 128 << 20;
/// Room for journal, copies and output, in bytes.
const RECORDS: u64 = 4 << 20;
/// What the directory of an installed kernel's modules holds: one of these.
const MODULE_LISTS: &[&str] = &["modules.dep", "modules.builtin", "vmlinuz"];

/// Checks all of it, changing nothing.
pub(super) fn check(host: &dyn HostMut, steps: &[Step]) -> Result<()> {
    files(host, steps)?;
    programs(host, steps)?;
    let mut room = Room::default();
    room.need(host, STATE, RECORDS);
    for step in steps {
        need(host, &step.action, &mut room)?;
    }
    room.check(host)
}

/// Checks what rolling back needs, changing nothing: copies that are whole, programs, directories that can be written to, room for what
/// comes back and for one new file after the other.
pub(super) fn check_undo(host: &dyn HostMut, transaction: &Transaction) -> Result<()> {
    check_mounted(host, transaction)?;
    let kept =
        transaction.journal.steps.values().filter_map(|step| step.before.as_ref()).flat_map(|before| &before.files);
    for (kept, copy) in kept.filter_map(|kept| Some((kept, kept.copy.as_ref()?))) {
        let path = format!("{}/before/{copy}", transaction.dir);
        if !matches!(host.sha256(&path), Ok(sha256) if sha256 == kept.sha256) {
            return Err(Error::refused(format!("{path}, the copy of {}, is missing or damaged", kept.path))
                .hint("bring it back from a backup, then try again"));
        }
    }
    let mut room = Room::default();
    for step in &transaction.plan.steps {
        let program = match &step.action {
            Action::Generate { argv, .. } => argv.first(),
            Action::Run { undo, .. } => undo.first(),
            _ => None,
        };
        program.map_or(Ok(()), |program| has_program(host, program))?;
        if let Action::Generate { output, .. } = &step.action
            && let (Ok(real), Fact::Known(stat)) = (host.real(output), host.stat(output))
        {
            writable(host, parent(&real))?;
            room.need_at_least(host, parent(&real), stat.size * GROWTH / 10);
        }
    }
    writable(host, STATE)?;
    room.need(host, STATE, RECORDS);
    for (number, progress) in &transaction.journal.steps {
        let Some(path) = transaction.plan.steps.get(*number).and_then(Step::path) else { continue };
        if let (Some(before), None) = (&progress.before, &progress.undone) {
            writable(host, parent(path))?;
            let copies = before.files.iter().filter_map(|kept| kept.copy.as_ref());
            let sizes = copies.filter_map(|copy| host.stat(&format!("{}/before/{copy}", transaction.dir)).into_known());
            room.need(host, parent(path), sizes.map(|stat| stat.size).sum());
        }
    }
    room.check(host)
}

/// Checks that nobody uses what was handed over in this boot and would be handed back.
pub(super) fn check_unused(host: &dyn HostMut, transaction: &Transaction) -> Result<()> {
    let steps = transaction.journal.steps.values().filter(|progress| progress.undone.is_none());
    let before: Vec<&Before> = steps.filter_map(|progress| progress.before.as_ref()).collect();
    let bound = before.iter().filter_map(|before| before.bound.as_ref()).map(|bound| bound.address);
    let mut addresses: Vec<Address> = bound.collect();
    let physical: Vec<Address> = before.iter().filter_map(|before| Some(before.sriov.as_ref()?.address)).collect();
    if addresses.is_empty() && physical.is_empty() {
        return Ok(());
    }
    let snap = facts::collect(host, Needs { usage: true, vms: true, pci_details: true, ..Needs::LIST });
    let parts = snap.pci.functions.iter().filter(|f| f.physical.known().is_some_and(|one| physical.contains(one)));
    addresses.extend(parts.map(|function| function.address));
    let held = |one: &&Use| matches!(one.kind, UseKind::RunningVm | UseKind::Process);
    match addresses.iter().find_map(|address| snap.usage.of(address).find(held)) {
        None => Ok(()),
        Some(used) => {
            Err(Error::refused(format!("{} is in use by {}, and would be taken from it", used.address, used.by))
                .hint("shut the VM down or end the process, then try again"))
        }
    }
}

/// Checks that what was generated is there, changing nothing. With `/boot` or the ESP not mounted, undoing would pass by what boots.
pub(super) fn check_mounted(host: &dyn HostMut, transaction: &Transaction) -> Result<()> {
    for (number, step) in transaction.plan.steps.iter().enumerate() {
        let Action::Generate { output, product, .. } = &step.action else { continue };
        let progress = transaction.journal.steps.get(&number).filter(|progress| progress.undone.is_none());
        let was_there = progress.and_then(|progress| progress.before.as_ref()).is_some_and(|b| b.output.is_some());
        if was_there && is_missing(host, output) && is_for_kernel(host, product) {
            return Err(Error::refused(format!("{output} is not there, and there is still need of it"))
                .hint("mount /boot and the EFI system partition, then try again")
                .hint("if it was removed: make it again first, or remove all of its kernel"));
        }
    }
    Ok(())
}

/// True if neither a file nor the name under which its old version is kept is there.
fn is_missing(host: &dyn HostMut, output: &str) -> bool {
    match host.real(output) {
        Ok(real) => host.stat(&real).is_absent() && host.stat(&kept(&real)).is_absent(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// True if a generated file is for a kernel that is installed, or for all. What a removed kernel leaves behind has no list of modules.
pub(super) fn is_for_kernel(host: &dyn Host, product: &Product) -> bool {
    let (Product::Image { release, .. } | Product::Unified { release, .. }) = product else { return true };
    let here = |name| !host.stat(&format!("/{name}")).is_absent();
    release.is_empty()
        || ["lib", "usr/lib"]
            .iter()
            .any(|base| MODULE_LISTS.iter().any(|list| here(format!("{base}/modules/{release}/{list}"))))
}

/// Every file that is written or removed is as the plan saw it.
fn files(host: &dyn HostMut, steps: &[Step]) -> Result<()> {
    // What earlier steps will have made of a file.
    let mut will: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for step in steps {
        let (path, before, after) = match &step.action {
            Action::WriteFile { path, before_sha256, after, .. } => {
                (path, before_sha256.clone(), Some(sha256(after.as_bytes())))
            }
            Action::RemoveFile { path, before_sha256, .. } => (path, Some(before_sha256.clone()), None),
            Action::Bind { address, .. } | Action::VirtualFunctions { address, .. } if host.kind() != Kind::Live => {
                return Err(Error::refused(format!("{address} can only be handed over on the running host")));
            }
            _ => continue,
        };
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") || path.ends_with('/') {
            return Err(Error::refused(format!("{path:?} is no absolute path of a file")));
        }
        let now = match will.get(path.as_str()) {
            Some(will) => will.clone(),
            None => match host.read(path) {
                Fact::Known(bytes) => Some(sha256(&bytes)),
                Fact::Absent => None,
                Fact::Unknown(why) => return Err(Error::refused(format!("cannot read {path}: {why}"))),
            },
        };
        if now != before {
            let how = match (&now, &before) {
                (None, _) => "is not there any more",
                (_, None) => "is there now",
                _ => "was changed",
            };
            return Err(Error::refused(format!("{path} {how} since the plan was made")).hint("make the plan again"));
        }
        will.insert(path, after);
    }
    Ok(())
}

fn programs(host: &dyn HostMut, steps: &[Step]) -> Result<()> {
    for step in steps {
        let commands = match &step.action {
            Action::Generate { argv, .. } => vec![argv],
            Action::Run { argv, undo, .. } => vec![argv, undo],
            _ => Vec::new(),
        };
        for program in commands.into_iter().filter_map(|argv| argv.first()) {
            has_program(host, program)?;
        }
    }
    Ok(())
}

fn has_program(host: &dyn HostMut, program: &str) -> Result<()> {
    if host.has_program(program) {
        return Ok(());
    }
    Err(Error::refused(format!("the program {program} is not installed on {}", host.label())).hint(
        match package(program)? {
            Some(packages) => format!("install its package ({packages}), then try again"),
            None => "install the package that has it, then try again".to_owned(),
        },
    ))
}

/// The packages that bring a program, by family of distributions; `None` if no row tells.
fn package(program: &str) -> Result<Option<String>> {
    let mut rows: Programs = toml::from_str(include_str!("../../data/programs.toml"))
        .map_err(|error| Error::bug(format!("data/programs.toml: {error}")))?;
    rows.program.retain(|row| row.name == program);
    Ok(rows.program.pop().map(|row| row.packages))
}

/// `data/programs.toml`.
#[derive(Deserialize)]
struct Programs {
    program: Vec<Program>,
}

#[derive(Deserialize)]
struct Program {
    name: String,
    packages: String,
}

/// Room that is needed, by file system.
#[derive(Default)]
struct Room {
    /// By device: a directory on it, and bytes.
    devices: BTreeMap<(u32, u32), (String, u64)>,
}

impl Room {
    fn need(&mut self, host: &dyn Host, dir: &str, bytes: u64) {
        let dir = existing(host, dir);
        let Fact::Known(stat) = host.stat(&dir) else { return };
        self.devices.entry(stat.dev).or_insert((dir, 0)).1 += bytes;
    }

    /// What is needed at one moment, not for good.
    fn need_at_least(&mut self, host: &dyn Host, dir: &str, bytes: u64) {
        let dir = existing(host, dir);
        let Fact::Known(stat) = host.stat(&dir) else { return };
        let entry = self.devices.entry(stat.dev).or_insert((dir, 0));
        entry.1 = entry.1.max(bytes);
    }

    fn check(&self, host: &dyn HostMut) -> Result<()> {
        for (dir, bytes) in self.devices.values() {
            let free = host.free_space(dir);
            let free =
                free.map_err(|error| Error::refused(format!("cannot see what is free in {dir}: {}", words(&error))))?;
            if free < *bytes {
                let (needed, free) = (bytes.div_ceil(1 << 20), free >> 20);
                return Err(Error::refused(format!("{dir} has {free} MiB free; {needed} MiB are needed"))
                    .hint("remove old kernels or other files there, then try again"));
            }
        }
        Ok(())
    }
}

fn need(host: &dyn HostMut, action: &Action, room: &mut Room) -> Result<()> {
    match action {
        Action::WriteFile { path, after, .. } => {
            writable(host, parent(path))?;
            room.need(host, parent(path), 2 * after.as_bytes().len() as u64);
        }
        Action::RemoveFile { path, .. } => writable(host, parent(path))?,
        Action::Generate { output, product, .. } => {
            let real = host
                .real(output)
                .map_err(|error| Error::refused(format!("cannot find {output}: {}", words(&error))))?;
            let dir = parent(&real);
            writable(host, dir)?;
            let size = host.stat(&real).into_known().map(|stat| stat.size);
            let image = !matches!(product, Product::GrubConfig { .. });
            let new = size.map(|size| size * GROWTH / 10).unwrap_or(if image { UNKNOWN_IMAGE } else { 0 });
            let posix = host.fs_kind(&existing(host, dir)).is_ok_and(FsKind::has_links);
            room.need(host, dir, new + if posix { 0 } else { size.unwrap_or_default() });
        }
        Action::Run { touches, fence, .. } => {
            let kept = touched(host, touches);
            let sizes = kept.iter().filter_map(|path| host.stat(path).into_known()).map(|stat| stat.size);
            room.need(host, STATE, sizes.sum());
            for (from, to) in fence.iter().flat_map(|fence| &fence.copies) {
                let Fact::Known(stat) = host.stat(from) else {
                    return Err(Error::refused(format!("{from}, which must boot meanwhile, cannot be read")));
                };
                writable(host, parent(to))?;
                room.need(host, parent(to), stat.size);
            }
        }
        Action::Bind { .. } | Action::VirtualFunctions { .. } => {}
    }
    Ok(())
}

fn writable(host: &dyn HostMut, dir: &str) -> Result<()> {
    let dir = existing(host, dir);
    host.writable(&dir).map_err(|error| {
        Error::refused(format!("cannot write in {dir}: {}", words(&error))).hint("mount it writable, then try again")
    })
}

/// The directory, or the first above it that is there.
fn existing(host: &dyn Host, dir: &str) -> String {
    let mut dir = dir;
    while !dir.is_empty() && host.stat(dir).is_absent() {
        dir = parent(dir);
    }
    if dir.is_empty() { "/".to_owned() } else { dir.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_programs() {
        let rows: Programs = toml::from_str(include_str!("../../data/programs.toml")).unwrap();
        assert!(rows.program.is_sorted_by_key(|row| &row.name));
        assert_eq!(package("mkinitramfs").unwrap().as_deref(), Some("initramfs-tools-core"));
        assert_eq!(package("nothing").unwrap(), None);
    }
}
