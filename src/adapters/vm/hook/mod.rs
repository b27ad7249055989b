//! Hooks of hypervisors: the scripts that call vfioneer when a VM starts and when it has ended, and the VMs' settings.
//!
//! Goes in: what is there. Comes out: files and commands as steps, or why not. Each script is the same everywhere, does nothing by itself and
//! never fails where the program is gone.

mod kolla;
mod libvirt;
mod proxmox;

use super::command;
use crate::adapters::Work;
use crate::facts::Snapshot;
use crate::facts::hooks::{Hooks, PROGRAM, SETTINGS};
use crate::host::Fact;
use crate::parse::vm_settings::VmSettings;
use crate::steps::reasons::reason;
use crate::steps::{Expectation, Step, sha256};

/// How a script of vfioneer's begins.
const MARK: &str = "# vfioneer: ";

/// Whose hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// libvirt's daemon on the host.
    Libvirt,
    /// The one in kolla's container.
    Kolla,
    /// One VM of Proxmox VE's, by number.
    Proxmox(String),
}

impl Place {
    /// The directory of its VMs' settings.
    pub fn kind(&self) -> &'static str {
        match self {
            Place::Libvirt | Place::Kolla => "libvirt",
            Place::Proxmox(_) => "proxmox",
        }
    }
}

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whose hook.
    pub place: Place,
    /// One VM, and what is to happen with it. None: only the hook itself.
    pub vm: Option<(String, VmSettings)>,
    /// The program's file, where it has to be copied to [`PROGRAM`].
    pub program: Option<String>,
}

/// The hook put into place. Fails with a sentence.
pub fn install(snap: &Snapshot, hooks: &Hooks, wanted: &Wanted) -> Result<Work, String> {
    let mut work = match &wanted.place {
        Place::Libvirt => libvirt::install(hooks)?,
        Place::Kolla => kolla::install(hooks)?,
        Place::Proxmox(id) => proxmox::install(snap, hooks, id)?,
    };
    if let Some((name, settings)) = &wanted.vm {
        let path = settings_file(wanted.place.kind(), name).ok_or_else(|| reason("hook-name", &[("vm", name)]))?;
        // They are the user's to edit from then on: nothing is expected of them, and only what is asked for replaces them.
        if hooks.text(&path).is_none() || *settings != VmSettings::default() {
            let why = reason("hook-settings", &[("vm", name)]);
            work.files.extend(file(hooks, &path, &settings.write(), 0o644, why).files);
        }
    }
    if let Some(from) = &wanted.program {
        let (argv, undo) = (["install", "-m", "755", "-T", "--", from, PROGRAM], ["rm", "-f", "--", PROGRAM]);
        work.commands.insert(0, command(&argv, &undo, &[PROGRAM], reason("hook-program", &[])));
    }
    Ok(work)
}

/// The hook taken away again; with a VM, only that one's part of it.
pub fn remove(snap: &Snapshot, hooks: &Hooks, place: &Place, vm: Option<&str>) -> Result<Work, String> {
    let mut work = Work::default();
    let vm = match place {
        Place::Proxmox(id) => Some(id.as_str()),
        Place::Libvirt | Place::Kolla => vm,
    };
    let path = |name: &str| settings_file(place.kind(), name);
    for file in hooks.settings(place.kind()) {
        let of = |name: &str| path(name).as_deref() == Some(&file.path);
        if vm.is_none_or(of) {
            work.files.push(Step::remove(&file.path, &file.text, reason("hook-settings-gone", &[])));
        }
    }
    match place {
        Place::Libvirt if vm.is_none() => work.extend(libvirt::remove(hooks)),
        Place::Kolla if vm.is_none() => work.extend(kolla::remove(hooks)),
        Place::Proxmox(id) => work.extend(proxmox::remove(snap, hooks, id)),
        Place::Libvirt | Place::Kolla => {}
    }
    Ok(work)
}

/// Where a VM's settings are; `None` for a name that no file can have.
pub fn settings_file(kind: &str, name: &str) -> Option<String> {
    let sane = !name.is_empty() && name.len() < 200 && !name.contains('/') && !name.contains(char::is_control);
    sane.then(|| format!("{SETTINGS}/{kind}/{name}.toml"))
}

/// A file that is to have this content.
fn file(hooks: &Hooks, path: &str, text: &str, mode: u32, why: String) -> Work {
    let before = hooks.text(path);
    let mut work = Work::default();
    if before != Some(text) {
        work.files.push(Step::write(path, before, text, mode, why));
    }
    work.expect.push(Expectation::File { path: path.to_owned(), sha256: Some(sha256(text.as_bytes())) });
    work
}

/// A script that is to be there. One of somebody else's is not replaced.
fn script(hooks: &Hooks, path: &str, text: &str, why: String) -> Result<Work, String> {
    match hooks.files.get(path) {
        Some(Fact::Unknown(unread)) => {
            return Err(reason("hook-unread", &[("path", path), ("why", &unread.to_string())]));
        }
        Some(Fact::Known(there)) if !there.text.contains(MARK) => {
            return Err(reason("hook-somebody-elses", &[("path", path)]));
        }
        _ => {}
    }
    Ok(file(hooks, path, text, 0o755, why))
}

/// A script of vfioneer's that is to be gone.
fn without(hooks: &Hooks, path: &str) -> Work {
    let mut work = Work::default();
    if let Some(text) = hooks.text(path).filter(|text| text.contains(MARK)) {
        work.files.push(Step::remove(path, text, reason("hook-gone", &[])));
        work.expect.push(Expectation::File { path: path.to_owned(), sha256: None });
    }
    work
}
