//! `vfioneer rom patch FILE -o OUT`.

use super::{Judged, file};
use crate::cli::{Answer, Global};
use crate::error::{Error, Result};
use crate::host::output;
use crate::parse::rom::{Edit, Refusal, patch};
use crate::report::rom as report;
use clap::Args;
use std::path::PathBuf;

/// Arguments of `rom patch`.
#[derive(Args, Debug)]
#[command(after_help = "What stands before the first image is always left out.\n\n\
    Exit codes: 0 written, 1 written, and something is still wrong, 2 usage,\n\
    3 refused, nothing written.")]
pub struct PatchArgs {
    /// The ROM file; it is not changed
    file: String,
    /// The file to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Keep only the images with UEFI drivers; some guest drivers read tables of the others
    #[arg(long)]
    only_efi: bool,
    /// Make the bytes of BIOS images sum up to 0
    #[arg(long)]
    fix_checksum: bool,
    /// Other ids in every image that firmware sees, and a checksum that fits
    #[arg(long, value_name = "VENDOR:DEVICE", value_parser = ids)]
    set_ids: Option<(u16, u16)>,
    /// Leave out the padding behind the last image
    #[arg(long)]
    strip_padding: bool,
    /// Replace OUT if it is there
    #[arg(long)]
    force: bool,
}

/// `10de:2204`.
fn ids(text: &str) -> std::result::Result<(u16, u16), String> {
    let hex4 = |word: &str| {
        let digits = word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        u16::from_str_radix(word, 16).ok().filter(|_| digits)
    };
    let parts = text.split_once(':').and_then(|(vendor, device)| Some((hex4(vendor)?, hex4(device)?)));
    parts.ok_or_else(|| "give two times four hexadecimal digits, as lspci -nn shows them: 10de:2204".to_owned())
}

pub(super) fn run(global: &Global, args: &PatchArgs) -> Result<Answer> {
    if output::same_file(args.file.as_ref(), &args.output) {
        return Err(Error::refused(format!("{} would be changed itself", args.file)).hint("give OUT another name"));
    }
    output::check_free(&args.output, args.force)?;
    let bytes = file(&args.file)?;
    let edit = Edit {
        only_efi: args.only_efi,
        fix_checksum: args.fix_checksum,
        ids: args.set_ids,
        strip_padding: args.strip_padding,
    };
    let done = patch(&bytes, &edit).map_err(|refusal| refused(&args.file, refusal))?;
    output::write(&args.output, &done.bytes, 0o644, args.force)?;
    let to = args.output.display().to_string();
    let judged = Judged::new(&to, &done.bytes, None, None);
    let text = if global.json {
        report::changes_json(&args.file, &judged.told(), &done.changes)
    } else {
        let changes = report::changes(&global.style(), &args.file, &to, &done.changes, done.bytes.len());
        format!("{changes}\n{}", judged.told().check(&global.style()))
    };
    Ok(Answer { text, code: u8::from(judged.has_error()) })
}

fn refused(name: &str, refusal: Refusal) -> Error {
    let check = format!("what is wrong with it: `vfioneer rom check {}`", crate::cli::quoted(name));
    match refusal {
        Refusal::NoImage => Error::refused(format!("{name} has no option ROM image")).hint(check),
        Refusal::NoDriver => Error::refused(format!("{name} has no UEFI driver that firmware would load")).hint(check),
        Refusal::NoFreeByte(offset) => Error::refused(format!(
            "the BIOS image at {offset:#x} has no byte that is free for the checksum"
        ))
        .hint(
            "only SeaBIOS looks at it: without --fix-checksum and --set-ids nothing is needed there for a VM with OVMF",
        ),
        Refusal::Tangled => {
            Error::refused(format!("parts of {name} lie within each other: changing one breaks another")).hint(check)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ids;

    #[test]
    fn ids_are_four_digits_each() {
        assert_eq!(ids("10de:2204"), Ok((0x10de, 0x2204)));
        for wrong in ["10de", "10de:22045", "0x10de:2204", "10de:+204", "1:2", "", ":"] {
            assert!(ids(wrong).is_err(), "{wrong}");
        }
    }
}
