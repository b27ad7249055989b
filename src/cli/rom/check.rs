//! `vfioneer rom check FILE|DEVICE [DEVICE]`.

use super::{Judged, VmFirmware, card, snapshot, source};
use crate::cli::{Answer, Global};
use crate::error::Result;
use clap::Args;

/// Arguments of `rom check`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 no error, 1 an error, 2 usage, 3 it cannot be read.")]
pub struct CheckArgs {
    /// A ROM file, or, if there is none of that name, a device whose ROM is read
    #[arg(value_name = "FILE|DEVICE")]
    source: String,
    /// The card that it is meant for
    #[arg(value_name = "DEVICE")]
    card: Option<String>,
    /// The VM's firmware, which must find something to run in it
    #[arg(long = "for", value_name = "FIRMWARE")]
    firmware: Option<VmFirmware>,
    /// Read the card although a driver or a VM has it
    #[arg(long)]
    in_use: bool,
}

pub(super) fn run(global: &Global, args: &CheckArgs) -> Result<Answer> {
    let meant = args.card.as_ref().map(|selector| card(&snapshot(global)?, selector)).transpose()?;
    let source = source(global, &args.source, args.in_use)?;
    let judged = Judged::new(&source.name, &source.bytes, meant.as_ref().or(source.card.as_ref()), args.firmware);
    let told = judged.told();
    let text = if global.json { told.json() } else { told.check(&global.style()) };
    Ok(Answer { text, code: u8::from(judged.has_error()) })
}
