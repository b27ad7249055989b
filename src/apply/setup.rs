//! What `setup` was asked for, kept until it is done: across an interruption, and across a reboot.
//!
//! Only the wish is kept, not how far it came: each part of it sees for itself whether it is done ([`crate::plan`] gives no steps then). So going on is
//! the same as beginning, and may be interrupted anywhere. After the reboot a unit of systemd's goes on once, and removes itself.

use super::execute::words;
use super::store::{self, STATE};
use crate::error::{Error, Result};
use crate::goal::Request;
use crate::host::change::Command;
use crate::host::{Fact, Host, HostMut};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The file.
const FILE: &str = "/var/lib/vfioneer/setup.json";
/// The ROM file that goes with it.
const ROM: &str = "/var/lib/vfioneer/setup.rom";
/// The name of its format.
const SCHEMA: &str = "vfioneer/setup-wish/1";
/// The unit that goes on after a reboot.
pub const UNIT: &str = "vfioneer-setup.service";
/// Where it is.
const UNIT_FILE: &str = "/etc/systemd/system/vfioneer-setup.service";
/// The most seconds that systemd may take for one of these commands.
const LIMIT: Duration = Duration::from_secs(60);

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    schema: String,
    /// Devices, VM and how.
    pub goal: Request,
    /// The cluster mapping that the VM is given.
    pub mapping: Option<String>,
    /// VMs that started with the host and are held back until this is done.
    pub held: Vec<String>,
    /// The transaction by which the devices are claimed, once it is applied.
    #[serde(default)]
    pub transaction: Option<u32>,
}

impl Setup {
    /// A new one.
    pub fn new(goal: Request, mapping: Option<String>) -> Setup {
        Setup { schema: SCHEMA.to_owned(), goal, mapping, held: Vec::new(), transaction: None }
    }

    /// The one that is open; `None` if none is. Fails if what is there cannot be understood.
    pub fn load(host: &dyn Host) -> Result<Option<Setup>> {
        let unusable = |why: String| {
            Error::refused(format!("{FILE} cannot be used: {why}"))
                .hint("move it away, then run `vfioneer setup DEVICE` again")
        };
        match host.text(FILE) {
            Fact::Absent => Ok(None),
            Fact::Unknown(why) => Err(unusable(why.to_string())),
            Fact::Known(text) => {
                let setup: Setup = serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
                match setup.schema == SCHEMA {
                    true => Ok(Some(setup)),
                    false => Err(unusable(format!("it is {:?}, of another version", setup.schema))),
                }
            }
        }
    }

    /// Keeps it.
    pub fn save(&self, host: &dyn HostMut) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::bug(error.to_string()))?;
        let written =
            store::make_dirs(host, STATE).and_then(|()| host.write(FILE, format!("{text}\n").as_bytes(), 0o600));
        written.map_err(|error| Error::refused(format!("cannot write {FILE}: {}", words(&error))))
    }

    /// The ROM file that was asked for, as it was then: the file itself may be gone after a reboot.
    pub fn rom(host: &dyn Host) -> Option<Vec<u8>> {
        host.read(ROM).into_known()
    }

    /// Keeps it.
    pub fn save_rom(host: &dyn HostMut, bytes: &[u8]) -> Result<()> {
        let written = store::make_dirs(host, STATE).and_then(|()| host.write(ROM, bytes, 0o600));
        written.map_err(|error| Error::refused(format!("cannot write {ROM}: {}", words(&error))))
    }

    /// Forgets it, and the unit with it.
    pub fn forget(host: &dyn HostMut) -> Result<()> {
        let gone =
            host.remove(FILE).map_err(|error| Error::refused(format!("cannot remove {FILE}: {}", words(&error))));
        gone.and_then(|()| disarm(host))
    }
}

/// Has the next boot go on, by this program.
pub fn arm(host: &dyn HostMut, program: &str) -> Result<()> {
    let failed = |why: String| {
        Error::refused(format!("cannot have the next boot go on: {why}"))
            .hint("reboot by hand, then: vfioneer setup --resume")
    };
    // systemd.syntax(7): what is in double quotes is one word; % and $ mean something.
    let quoted = program.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    let text = include_str!("setup.service").replace("{program}", &quoted);
    host.write(UNIT_FILE, text.as_bytes(), 0o644).map_err(|error| failed(format!("{UNIT_FILE}: {}", words(&error))))?;
    systemctl(host, &["daemon-reload"]).and_then(|()| systemctl(host, &["enable", UNIT])).map_err(failed)
}

/// Takes the unit away. It may be the one that runs this.
pub fn disarm(host: &dyn HostMut) -> Result<()> {
    if host.stat(UNIT_FILE).is_absent() {
        return Ok(());
    }
    // Without its file it is nothing, whether or not a link to it stays.
    let _ = systemctl(host, &["disable", UNIT]);
    host.remove(UNIT_FILE).map_err(|error| Error::refused(format!("cannot remove {UNIT_FILE}: {}", words(&error))))?;
    let _ = systemctl(host, &["daemon-reload"]);
    Ok(())
}

/// Reboots, in the way in which the system ends well.
pub fn reboot(host: &dyn HostMut) -> Result<()> {
    systemctl(host, &["reboot"]).map_err(|why| {
        Error::refused(format!("cannot reboot: {why}")).hint("reboot by hand; what was begun goes on by itself then")
    })
}

fn systemctl(host: &dyn HostMut, words: &[&str]) -> std::result::Result<(), String> {
    let argv: Vec<String> = ["systemctl"].iter().chain(words).map(|word| (*word).to_owned()).collect();
    let command = Command { argv: &argv, limit: LIMIT, interrupt: None, holds: None };
    let done = host.run(&command, &mut |_| ()).map_err(|error| format!("{}: {error}", argv.join(" ")))?;
    match done.success() {
        true => Ok(()),
        false => Err(format!("{} failed: {}", argv.join(" "), done.text().trim())),
    }
}
