//! `vfioneer rom dump DEVICE FILE`.

use super::{Judged, card, read_card, snapshot};
use crate::cli::{Answer, Global, quoted};
use crate::error::{Error, Result};
use crate::host::output;
use crate::report::{plain, size};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `rom dump`.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes: 0 written, 1 written, and something is wrong with it, 2 usage,\n\
    3 refused, nothing written (in use, boot display, not root, no ROM).")]
pub struct DumpArgs {
    /// The card
    device: String,
    /// The file to write
    file: PathBuf,
    /// Read it although a driver or a VM has the card
    #[arg(long)]
    in_use: bool,
    /// Take the firmware's copy of a boot display's ROM, too
    #[arg(long)]
    shadow: bool,
    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,
}

pub(super) fn run(global: &Global, args: &DumpArgs) -> Result<Answer> {
    output::check_free(&args.file, args.force)?;
    let snap = snapshot(global)?;
    let function = card(&snap, &args.device)?;
    let dump = read_card(global, &snap, &function, args.in_use)?;
    if dump.shadow && !args.shadow {
        return Err(Error::refused(format!(
            "{} is the boot display: what can be read is the firmware's copy in low memory, not the card's ROM",
            function.name()
        ))
        .hint("how to get the true one: vfioneer explain getting-a-rom")
        .hint("to take the copy all the same: --shadow"));
    }
    let file = plain(&args.file.display().to_string());
    let judged = Judged::new(&file, &dump.bytes, Some(&function), None);
    if judged.rom.images.is_empty() {
        return Err(Error::refused(format!("what {} gave is no option ROM; nothing was written", function.name()))
            .hint("vfioneer explain rom-invalid"));
    }
    output::write(&args.file, &dump.bytes, 0o644, args.force)?;
    let told = judged.told();
    let text = if global.json {
        told.json()
    } else {
        format!(
            "{} {file} ({})\n\n{}More about it: vfioneer rom show {}\n",
            global.style().strong("Wrote"),
            size(dump.bytes.len() as u64),
            told.check(&global.style()),
            quoted(&file)
        )
    };
    Ok(Answer { text, code: u8::from(judged.has_error()) })
}
