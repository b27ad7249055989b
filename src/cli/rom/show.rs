//! `vfioneer rom show FILE|DEVICE`.

use super::{Judged, source};
use crate::cli::{Answer, Global};
use crate::error::Result;
use clap::Args;

/// Arguments of `rom show`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 it is a ROM, 1 there is no image in it, 2 usage, 3 it cannot be read.")]
pub struct ShowArgs {
    /// A ROM file, or, if there is none of that name, a device whose ROM is read
    #[arg(value_name = "FILE|DEVICE")]
    source: String,
    /// Read the card although a driver or a VM has it
    #[arg(long)]
    in_use: bool,
}

pub(super) fn run(global: &Global, args: &ShowArgs) -> Result<Answer> {
    let source = source(global, &args.source, args.in_use)?;
    let judged = Judged::new(&source.name, &source.bytes, source.card.as_ref(), None);
    let told = judged.told();
    let text = if global.json { told.json() } else { told.show(&global.style()) };
    Ok(Answer { text, code: u8::from(judged.rom.images.is_empty()) })
}
