//! `vfioneer hook install|remove|run`: what must happen with a VM's devices when it starts and when it has ended.

mod install;
mod run;

use super::{Answer, Global};
use crate::error::Result;
use crate::parse::vm_settings::{Reset, VmSettings};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};

/// The verbs of `hook`.
#[derive(Debug, Subcommand)]
pub enum HookVerb {
    /// Put the hook of a hypervisor into place, and say what is to happen with a VM
    Install(install::InstallArgs),
    /// Take it away; everything is as it was before
    Remove(install::RemoveArgs),
    /// Do what a VM's start or end needs: called by the hypervisor's hook, or by hand around QEMU
    #[command(subcommand)]
    Run(run::RunVerb),
}

/// What is to happen with a VM's devices.
#[derive(Args, Debug)]
pub struct SettingsArgs {
    /// After the VM has ended, reset its devices: only those that are not well, always, or never
    #[arg(long, value_name = "WHEN", default_value = "failed")]
    reset: ResetWhen,
    /// Give back to the host what was taken from it for the VM
    #[arg(long = "return")]
    return_to_host: bool,
    /// The VM gets the host's only GPU: stop the display manager first, and give all back afterwards
    #[arg(long)]
    single_gpu: bool,
    /// End the processes that have the devices open
    #[arg(long)]
    kill: bool,
    /// Do it in spite of these guards, separated by commas; unreset: although a device is not well
    #[arg(long, value_name = "GUARD", value_delimiter = ',', value_parser = NonEmptyStringValueParser::new())]
    allow: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ResetWhen {
    Failed,
    Always,
    Never,
}

impl SettingsArgs {
    /// Fails with a usage error where a guard has no such name.
    fn settings(&self) -> Result<VmSettings> {
        let settings = VmSettings {
            reset: match self.reset {
                ResetWhen::Failed => Reset::Failed,
                ResetWhen::Always => Reset::Always,
                ResetWhen::Never => Reset::Never,
            },
            return_to_host: self.return_to_host,
            single_gpu: self.single_gpu,
            kill: self.kill,
            allow: self.allow.iter().cloned().collect(),
        };
        crate::live::vm::check_allowed(&settings)?;
        Ok(settings)
    }
}

pub(super) fn run(global: &Global, verb: &HookVerb) -> Result<Answer> {
    match verb {
        HookVerb::Install(args) => install::install(global, args),
        HookVerb::Remove(args) => install::remove(global, args),
        HookVerb::Run(verb) => run::run(global, verb),
    }
}
