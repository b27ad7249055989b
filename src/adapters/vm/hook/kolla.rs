//! libvirt's daemon in kolla's container `nova_libvirt`. Whatever is copied into the container is lost when it is made anew: the script is
//! on the host, and mounted.

use super::{libvirt, script, without};
use crate::adapters::Work;
use crate::facts::hooks::{Hooks, KOLLA};
use crate::steps::reasons::reason;

/// Where kolla's container writes its logs: the volume `kolla_logs` (kolla-ansible, role nova-cell, `nova_libvirt_default_volumes`).
const LOG: &str = "/var/log/kolla/libvirt/vfioneer.jsonl";

fn text() -> String {
    libvirt::SCRIPT.replace("{log}", &format!(" --log {LOG}"))
}

pub(super) fn install(hooks: &Hooks) -> Result<Work, String> {
    if !hooks.kolla {
        return Err(reason("hook-no-kolla", &[]));
    }
    let mut work = script(hooks, KOLLA, &text(), reason("hook-kolla", &[]))?;
    for id in ["hook-kolla-volumes", "hook-kolla-program", "hook-kolla-order", "hook-kolla-others"] {
        work.notes.push(reason(id, &[]));
    }
    Ok(work)
}

pub(super) fn remove(hooks: &Hooks) -> Work {
    let mut work = without(hooks, KOLLA);
    if !work.files.is_empty() {
        work.notes.push(reason("hook-kolla-gone", &[]));
    }
    work
}
