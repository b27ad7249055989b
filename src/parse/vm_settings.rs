//! What is to happen when a VM starts and stops: `/etc/vfioneer/vms/<hypervisor>/<vm>.toml`. Pure.
//!
//! Every key is optional:
//!
//! ```toml
//! reset = "failed"          # after the VM has ended: only what is not well; or "always", or "never"
//! return = false            # what was taken from the host goes back to it
//! single-gpu = false        # stop the display manager first; implies return
//! kill = false              # end the processes that have the device open
//! allow = ["unreset"]       # start although the device is not well; or a guard of `vfioneer bind`
//! ```

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// When a device is reset after its VM has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reset {
    /// Only if it is not well: vfio-pci has reset it already (Linux 6.12 drivers/vfio/pci/vfio_pci_core.c `vfio_pci_core_disable`).
    #[default]
    Failed,
    /// In any case.
    Always,
    /// Not at all.
    Never,
}

/// The settings of one VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct VmSettings {
    /// When its devices are reset.
    pub reset: Reset,
    /// What was taken from the host for it goes back.
    #[serde(rename = "return")]
    pub return_to_host: bool,
    /// The display manager is stopped meanwhile; implies `return`.
    pub single_gpu: bool,
    /// Processes that have its devices open are ended.
    pub kill: bool,
    /// Guards that do not count.
    pub allow: BTreeSet<String>,
}

/// The guard that keeps a device which is not well from a VM.
pub const UNRESET: &str = "unreset";

impl VmSettings {
    /// Reads a file; the error is one line, without its name.
    pub fn parse(text: &str) -> Result<VmSettings, String> {
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            format!("line {line}: {}", error.message().replace('\n', " "))
        })
    }

    /// Writes one that [`VmSettings::parse`] reads back.
    pub fn write(&self) -> String {
        let reset = match self.reset {
            Reset::Failed => "failed",
            Reset::Always => "always",
            Reset::Never => "never",
        };
        // Names of guards are letters and hyphens.
        let allow: Vec<String> = self.allow.iter().map(|name| format!("\"{name}\"")).collect();
        format!(
            "# What vfioneer does when this VM starts and stops; `vfioneer hook install --help` says what there is.\n\
             reset = \"{reset}\"\nreturn = {}\nsingle-gpu = {}\nkill = {}\nallow = [{}]\n",
            self.return_to_host,
            self.single_gpu,
            self.kill,
            allow.join(", ")
        )
    }

    /// Does what was taken from the host go back?
    pub fn returns(&self) -> bool {
        self.return_to_host || self.single_gpu
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let allow = [UNRESET.to_owned(), "in-use".to_owned()].into();
        let all = VmSettings { reset: Reset::Always, return_to_host: true, single_gpu: true, kill: true, allow };
        for settings in [VmSettings::default(), all] {
            assert_eq!(VmSettings::parse(&settings.write()), Ok(settings));
        }
        assert_eq!(VmSettings::parse(""), Ok(VmSettings::default()));
        assert!(VmSettings::parse("return = false\nreturns = true").unwrap_err().starts_with("line 2: unknown field"));
        assert!(VmSettings::parse("reset = \"sometimes\"").unwrap_err().contains("failed"));
    }
}
