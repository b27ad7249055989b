//! libvirt's daemon on the host: one script in `qemu.d`, beside those of others.

use super::{command, script, without};
use crate::adapters::Work;
use crate::facts::hooks::{Hooks, LIBVIRT};
use crate::steps::Step;
use crate::steps::reasons::reason;

/// The script; `{log}` is an option that says where runs are written down.
pub(super) const SCRIPT: &str = include_str!("libvirt");

pub(super) fn text() -> String {
    SCRIPT.replace("{log}", "")
}

pub(super) fn install(hooks: &Hooks) -> Result<Work, String> {
    if !hooks.libvirt {
        return Err(reason("hook-no-libvirt", &[]));
    }
    let mut work = script(hooks, LIBVIRT, &text(), reason("hook-libvirt", &[]))?;
    notice(hooks, &mut work);
    if hooks.kolla {
        work.notes.push(reason("hook-beside-kolla", &[]));
    }
    if hooks.selinux {
        work.notes.push(reason("hook-selinux", &[]));
    }
    Ok(work)
}

pub(super) fn remove(hooks: &Hooks) -> Work {
    let mut work = without(hooks, LIBVIRT);
    notice(hooks, &mut work);
    work
}

/// The daemon looks for hooks once, when it starts (libvirt src/util/virhook.c `virHookInitialize`); its VMs run on meanwhile.
fn notice(hooks: &Hooks, work: &mut Work) {
    let script = |step: &Step| step.path() == Some(LIBVIRT);
    if !work.files.iter().any(script) {
        return;
    }
    match hooks.daemon {
        Some(unit) => {
            let argv = ["systemctl", "try-restart", "--", unit];
            work.commands.push(command(&argv, &argv, &[], reason("hook-restart", &[])));
        }
        None if hooks.daemon_runs => work.notes.push(reason("hook-restart-by-hand", &[])),
        None => {}
    }
}
