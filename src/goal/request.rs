//! What was asked for, and the file that holds it.
//!
//! A goal file is TOML, every key optional:
//!
//! ```toml
//! devices = ["10de:2684", "01:00"]   # as on the command line
//! only = false                       # only the named functions, not the whole slot of a GPU
//! method = "identity"                # or "ids"
//! allow = ["in-use"]                 # guards by name
//! iommu-pt = false
//! serial-console = "ttyS0,115200"
//! repair = false
//! vm = "105"
//! rom = "/root/gpu.rom"              # an option ROM for the VM's guest
//! vfs = 4                            # virtual functions of each device, which itself stays with the host
//! ```

use super::{Goal, Method};
use crate::error::{Error, Result};
use crate::facts::pci::Pci;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What was asked for. Written to a plan file as JSON, and read from there and from a goal file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request {
    /// Selectors, as [`super::select`] takes them.
    pub devices: Vec<String>,
    /// Only the named functions, not the whole slot of a GPU.
    #[serde(skip_serializing_if = "is_false")]
    pub only: bool,
    /// How the functions are claimed.
    #[serde(serialize_with = "method")]
    pub method: Option<Method>,
    /// Guards by name.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub allow: BTreeSet<String>,
    /// As [`Goal::iommu_pt`].
    #[serde(skip_serializing_if = "is_false")]
    pub iommu_pt: bool,
    /// As [`Goal::serial_console`], the speed left out or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial_console: Option<String>,
    /// As [`Goal::repair`].
    #[serde(skip_serializing_if = "is_false")]
    pub repair: bool,
    /// As [`Goal::vm`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm: Option<String>,
    /// The path of a file with an option ROM ([`Goal::rom`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rom: Option<String>,
    /// As [`Goal::vfs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vfs: Option<u16>,
}

/// A plan says how, also where nobody did.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn method<S: serde::Serializer>(method: &Option<Method>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    method.unwrap_or_default().serialize(serializer)
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !*value
}

/// The speed of a console for which none is given. The 8250 driver alone would take 9600
/// (Linux drivers/tty/serial/8250/8250_core.c `univ8250_console_setup`); loaders and management controllers take 115200.
const SPEED: &str = "115200";

impl Request {
    /// Reads a goal file; `name` is how errors call it. A key that is not known is a usage error that says where it stands.
    pub fn from_toml(name: &str, text: &str) -> Result<Request> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            Error::usage(format!("{name}:{line}: {}", error.message().replace('\n', " ")))
                .hint("the keys are devices, only, method, allow, iommu-pt, serial-console, repair, vm, rom and vfs")
        })
    }

    /// Reads the `goal` of a plan file. Fails if it is none.
    pub fn from_json(value: &serde_json::Value) -> Result<Request> {
        Request::deserialize(value).map_err(|error| {
            Error::usage(format!("the goal in the plan cannot be understood: {error}"))
                .hint("make the plan again with `vfioneer plan`")
        })
    }

    /// Adds what the command line asks for: lists are joined, what can be given once replaces.
    #[must_use]
    pub fn with(mut self, other: Request) -> Request {
        for device in other.devices {
            if !self.devices.contains(&device) {
                self.devices.push(device);
            }
        }
        self.allow.extend(other.allow);
        self.only |= other.only;
        self.iommu_pt |= other.iommu_pt;
        self.repair |= other.repair;
        self.method = other.method.or(self.method);
        self.serial_console = other.serial_console.or(self.serial_console);
        self.vm = other.vm.or(self.vm);
        self.rom = other.rom.or(self.rom);
        self.vfs = other.vfs.or(self.vfs);
        self
    }

    /// The goal for one host. Fails with a usage error if a selector matches nothing there, or if the console is none.
    pub fn resolve(self, pci: &Pci) -> Result<Goal> {
        let mut goal = Goal::resolve(&self.devices, self.only || self.vfs.is_some(), pci)?;
        goal.method = self.method.unwrap_or_default();
        goal.allow.clone_from(&self.allow);
        goal.iommu_pt = self.iommu_pt;
        goal.repair = self.repair;
        goal.vm.clone_from(&self.vm);
        goal.vfs = self.vfs;
        goal.serial_console = self.serial_console.as_deref().map(console).transpose()?;
        goal.request = self;
        Ok(goal)
    }
}

/// `ttyS0` and `ttyS0,115200n8` as `console=` takes them (Linux Documentation/admin-guide/serial-console.rst).
fn console(text: &str) -> Result<String> {
    let (name, options) = text.split_once(',').unwrap_or((text, SPEED));
    let device = name.strip_prefix("tty").or_else(|| name.strip_prefix("hvc"));
    let serial = device.is_some_and(|rest| {
        rest.bytes().all(|b| b.is_ascii_alphanumeric())
            && rest.ends_with(|c: char| c.is_ascii_digit())
            && (name.starts_with("hvc") || rest.starts_with(|c: char| c.is_ascii_uppercase()))
    });
    let speed = options.starts_with(|c: char| c.is_ascii_digit()) && options.bytes().all(|b| b.is_ascii_alphanumeric());
    if !serial || !speed {
        return Err(Error::usage(format!("{text:?} is no serial console"))
            .hint("give it as the kernel does: ttyS0 or ttyS0,115200 (ttyAMA0 on some ARM boards)"));
    }
    // A hypervisor's console has no speed.
    if text == name && name.starts_with("hvc") {
        return Ok(name.to_owned());
    }
    Ok(format!("{name},{options}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_the_command_line_adds_to_it() {
        let text = "devices = [\"01:00\"]\nallow = [\"in-use\"]\niommu-pt = true\nserial-console = \"ttyS1\"\n";
        let file = Request::from_toml("goal.toml", text).unwrap();
        assert_eq!((file.devices.as_slice(), file.iommu_pt), (["01:00".to_owned()].as_slice(), true));
        let typed = Request {
            devices: vec!["10de:2684".into(), "01:00".into()],
            method: Some(Method::Ids),
            serial_console: Some("ttyS0".into()),
            ..Request::default()
        };
        let both = file.with(typed);
        assert_eq!(both.devices, ["01:00", "10de:2684"]);
        assert_eq!(both.method, Some(Method::Ids));
        let identity = Request { method: Some(Method::Identity), ..Request::default() };
        assert_eq!(both.clone().with(identity).method, Some(Method::Identity));
        assert_eq!(both.clone().with(Request::default()).method, Some(Method::Ids));
        assert_eq!(both.serial_console.as_deref(), Some("ttyS0"));
        assert!(both.iommu_pt && both.allow.contains("in-use"));
        let json = serde_json::to_value(&both).unwrap();
        assert_eq!(Request::from_json(&json).unwrap(), both);
    }

    #[test]
    fn what_is_no_goal_is_said_with_its_line() {
        for (text, wanted) in [
            ("devices = []\ndevice = [\"01:00\"]\n", "goal.toml:2: unknown field `device`"),
            ("\n\nmethod = \"guess\"\n", "goal.toml:3: unknown variant `guess`"),
            ("devices = \"01:00\"\n", "goal.toml:1: invalid type"),
            ("devices = [\n", "goal.toml:"),
        ] {
            let error = Request::from_toml("goal.toml", text).unwrap_err();
            assert!(error.message.starts_with(wanted), "{}", error.message);
            assert_eq!(error.exit_code(), 2);
        }
        assert!(Request::from_json(&serde_json::json!({ "devices": 5 })).is_err());
        assert!(Request::from_json(&serde_json::Value::Null).is_err());
    }

    #[test]
    fn consoles() {
        for (given, taken) in [
            ("ttyS0", "ttyS0,115200"),
            ("ttyS1,9600n8", "ttyS1,9600n8"),
            ("ttyAMA0", "ttyAMA0,115200"),
            ("hvc0", "hvc0"),
        ] {
            assert_eq!(console(given).unwrap(), taken);
        }
        for wrong in ["", "tty0", "S0", "ttyS", "ttyS0,", "ttyS0 quiet", "ttyS0,fast", "ttyS0,115200 init=/bin/sh"] {
            assert!(console(wrong).is_err(), "{wrong}");
        }
    }
}
