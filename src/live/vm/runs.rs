//! What was done when VMs started and ended, a line of JSON each, for `vfioneer history`.

use super::Vm;
use crate::error::{Error, Result};
use crate::host::{Caller, Fact, Host, HostMut, Why};
use crate::parse::address::Address;
use serde::{Deserialize, Serialize};
use std::io;

/// Where it is kept on the host itself.
pub const FILE: &str = "/var/lib/vfioneer/vms.jsonl";
/// Where kolla's container keeps it, as the host sees it: the volume `kolla_logs` under docker and podman (kolla-ansible, role nova-cell,
/// `nova_libvirt_default_volumes`).
const VOLUMES: &[&str] = &[
    "/var/lib/docker/volumes/kolla_logs/_data/libvirt/vfioneer.jsonl",
    "/var/lib/containers/storage/volumes/kolla_logs/_data/libvirt/vfioneer.jsonl",
];
/// Bytes after which a new file is begun; the last one is kept.
const MOST: u64 = 1 << 20;

/// Before a VM starts, or after it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Before it starts.
    Prepare,
    /// After it has ended.
    Release,
}

impl Phase {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Prepare => "prepare",
            Phase::Release => "release",
        }
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// When it began, RFC 3339.
    pub when: String,
    /// Which VM.
    pub vm: Vm,
    /// What for.
    pub phase: Phase,
    /// Its functions.
    pub devices: Vec<Address>,
    /// What was done: `0000:01:00.0: nouveau -> vfio-pci`.
    pub done: Vec<String>,
    /// The rung of the reset ladder that brought a device back, by its first function; none where the device was well.
    pub resets: Vec<(Address, String)>,
    /// Milliseconds from the beginning to the end.
    pub ms: u64,
    /// Why it did not come to its end; null: it did.
    pub failed: Option<String>,
}

impl Run {
    /// One that did not begin.
    pub fn failed(vm: Vm, phase: Phase, devices: Vec<Address>, error: &Error) -> Run {
        let (when, failed) = (Caller::new().when, Some(error.message.clone()));
        Run { when, vm, phase, devices, done: Vec::new(), resets: Vec::new(), ms: 0, failed }
    }
}

/// Adds a run. One log is begun anew before it grows without end.
pub fn add(host: &dyn HostMut, path: &str, run: &Run) -> io::Result<()> {
    let dir = path.rsplit_once('/').map_or("/", |(dir, _)| dir);
    if host.stat(dir).is_absent() {
        host.make_dir(dir, true)?;
    }
    if host.stat(path).known().is_some_and(|stat| stat.size > MOST) {
        host.rename(path, &older(path), false)?;
    }
    let line = serde_json::to_string(run).map_err(io::Error::other)? + "\n";
    host.append(path, line.as_bytes())
}

fn older(path: &str) -> String {
    format!("{path}.1")
}

/// All runs, the oldest first. A line that is none was cut off by a crash, or is of a later version. `unread` is told of a container's log that
/// cannot be read.
pub fn all(host: &dyn Host, unread: &mut dyn FnMut(&str, &Why)) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for path in [FILE].iter().chain(VOLUMES) {
        for file in [older(path), (*path).to_owned()] {
            match host.text(&file) {
                Fact::Known(text) => runs.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok())),
                Fact::Absent => {}
                Fact::Unknown(why) if *path != FILE => unread(&file, &why),
                Fact::Unknown(why) => {
                    return Err(Error::refused(format!("cannot read {file}: {why}")).hint("run the command as root"));
                }
            }
        }
    }
    runs.sort_by(|a, b| a.when.cmp(&b.when));
    Ok(runs)
}
