//! Who has a device open, and how that is ended when the user asks for it.

use super::moves::{LIMIT, command};
use crate::facts::usage::{Usage, UseKind};
use crate::host::{Fact, HostMut};
use crate::parse::address::Address;
use std::collections::BTreeMap;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What a process is given to end by itself, and then by force.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const TICK: Duration = Duration::from_millis(50);
/// Whoever ends these ends the session of every user: they let a device go when its display manager stops.
const NEVER: &[&str] = &["systemd", "systemd-logind", "elogind", "seatd", "init"];
/// The unit that display managers' packages make their own an alias of (systemd.special(7)).
const MANAGER: &str = "display-manager.service";

/// The processes that have one of these functions open, by pid, as they are named to the user.
pub fn holders(usage: &Usage, addresses: &[Address]) -> BTreeMap<u32, String> {
    let held = usage.uses.iter().filter(|used| addresses.contains(&used.address));
    held.filter(|used| matches!(used.kind, UseKind::Process | UseKind::Display | UseKind::RunningVm))
        .filter_map(|used| {
            let pid = used.evidence.source.strip_prefix("/proc/")?.split('/').next()?.parse().ok()?;
            Some((pid, used.by.clone()))
        })
        .collect()
}

/// The display manager's unit, if one runs. In a chroot `systemctl` does nothing and calls that a success: systemd itself must be there
/// (sd_booted(3)).
pub fn manager(host: &dyn HostMut) -> Option<&'static str> {
    let systemd = host.exists("/run/systemd/system") == Fact::Known(true) && host.has_program("systemctl");
    let runs = systemd && command(host, &["systemctl", "is-active", "--quiet", MANAGER], LIMIT).is_ok();
    runs.then_some(MANAGER)
}

/// Ends processes: asked first, then by force. Fails with the first that stays. Those that are never ended let go by themselves.
pub fn end(host: &dyn HostMut, holders: &BTreeMap<u32, String>) -> io::Result<()> {
    let spared = |pid: u32, name: &str| pid <= 1 || NEVER.iter().any(|never| name.starts_with(&format!("{never} (")));
    let mut holders = holders.clone();
    holders.retain(|pid, name| !spared(*pid, name));
    for signal in ["TERM", "KILL"] {
        let left: Vec<u32> = holders.keys().copied().filter(|pid| holds(host, *pid)).collect();
        for pid in &left {
            // It may have ended by itself meanwhile.
            let _ = command(host, &["sh", "-c", "kill -s \"$1\" \"$2\"", "sh", signal, &pid.to_string()], LIMIT);
        }
        let end = Instant::now() + PATIENCE;
        while left.iter().any(|pid| holds(host, *pid)) && Instant::now() < end {
            sleep(TICK);
        }
    }
    match holders.iter().find(|(pid, _)| holds(host, **pid)) {
        None => Ok(()),
        Some((_, name)) => Err(io::Error::other(format!("{name} does not end"))),
    }
}

/// A process that ended has nothing open, even where its parent has not asked after it yet.
fn holds(host: &dyn HostMut, pid: u32) -> bool {
    host.entries(&format!("/proc/{pid}/fd")).known().is_some_and(|open| !open.is_empty())
}
