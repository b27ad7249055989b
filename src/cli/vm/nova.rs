//! `vfioneer vm show --nova`: what nova makes of its configuration on this host.

use crate::adapters::vm::nova_fit::Fit;
use crate::cli::{Answer, Global};
use crate::error::{Error, Result};
use crate::facts::Needs;
use crate::report;

/// The exit code where a flavor is not served here.
const NO: u8 = 1;

pub(super) fn show(global: &Global, flavor: Option<&str>) -> Result<Answer> {
    let snap = global.snapshot(Needs { pci_details: true, vms: true, ..Needs::LIST })?;
    let fit = Fit::of(&snap);
    let requests = flavor.map(|text| fit.flavor(text)).transpose().map_err(|why| {
        Error::usage(format!("--flavor: {why}")).hint("give it as the flavor has it: 'pci_passthrough:alias=a1:2,b:1'")
    })?;
    let served = requests.as_ref().is_none_or(|all| fit.is_valid() && all.iter().all(|one| one.is_served()));
    let text = match global.json {
        true => report::nova::json(&snap, &fit, requests.as_deref()),
        false => report::at_host(
            &report::nova::text(&global.style(), &snap, &fit, requests.as_deref()),
            &global.host_options(),
        ),
    };
    Ok(Answer { text, code: if served { 0 } else { NO } })
}
