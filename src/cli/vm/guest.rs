//! `vfioneer vm guest DEVICE`: files for the system inside the VM.

use crate::adapters::vm::guest::{self, GuestFile, Hardware, System};
use crate::cli::{Answer, Global};
use crate::error::{Error, Result};
use crate::facts::Needs;
use crate::facts::pci::Function;
use crate::goal::Goal;
use crate::host::output;
use crate::parse::windows_instance::{self, WindowsInstance};
use crate::report::guest::{self as report, Written};
use clap::Args;
use std::path::{Path, PathBuf};

/// Arguments of `vm guest`.
#[derive(Args, Debug)]
#[command(after_help = "Nothing is changed on this host or in a VM: copy the folder into the guest, and\n\
    read its README.txt there.\n\n\
    A device's key in the guest's registry ends with a part that only the guest\n\
    knows. With --instance (Device Manager, Details, \"Device instance path\") there\n\
    is a .reg file; without it the PowerShell script finds the keys by itself.\n\n\
    Exit codes: 0 written, 2 usage, 3 refused, nothing written.")]
pub struct GuestArgs {
    /// The device; a GPU stands for all functions of its slot
    device: String,
    #[command(flatten)]
    system: SystemArgs,
    /// The folder to write to; a new one here, named by the device's id, if not given
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// A function's place in the guest, for a .reg file; once for each function
    #[arg(long, value_name = "PATH", conflicts_with = "linux")]
    instance: Vec<String>,
}

/// What runs in the VM.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct SystemArgs {
    /// Windows: a page, and a PowerShell script that switches MSI on and back
    #[arg(long)]
    windows: bool,
    /// Linux: a page, and a script that says what is wrong
    #[arg(long)]
    linux: bool,
}

pub(super) fn run(global: &Global, args: &GuestArgs) -> Result<Answer> {
    let snap = global.snapshot(Needs::LIST)?;
    let goal = Goal::resolve(std::slice::from_ref(&args.device), false, &snap.pci)?;
    let functions: Vec<&Function> = goal.devices.iter().filter_map(|address| snap.pci.get(address)).collect();
    let hardware = functions.iter().map(|function| hardware(function)).collect::<Result<Vec<Hardware>>>()?;
    let system = match args.system.linux {
        true => System::Linux,
        false => System::Windows(instances(&args.instance, &hardware)?),
    };
    let files = guest::files(&system, &functions, &hardware);
    let folder = match (&args.output, hardware.first()) {
        (Some(dir), _) => dir.clone(),
        (None, Some(first)) => {
            PathBuf::from(format!("{:04x}-{:04x}-{}", first.ids.vendor, first.ids.device, system.name()))
        }
        (None, None) => return Err(Error::usage(format!("{:?} names no device", args.device))),
    };
    let written = write(&folder, &files)?;
    Ok(Answer::yes(match global.json {
        true => report::json(&system, &hardware, &written),
        false => report::text(&global.style(), &system, &written),
    }))
}

/// A function as a guest knows it.
fn hardware(function: &Function) -> Result<Hardware> {
    if function.is_bridge() {
        return Err(Error::refused(format!("{} is a bridge, which no VM is given", function.address))
            .hint("`vfioneer list` shows what can be"));
    }
    Hardware::of(function).ok_or_else(|| {
        Error::refused(format!(
            "not all ids of {} are known here (vendor, device, subsystem, revision), and a guest knows it by them",
            function.address
        ))
        .hint("run the command on the host itself, or with --from on what `vfioneer capture` recorded")
    })
}

/// The places in the guest that were named; each is a function's.
fn instances(paths: &[String], hardware: &[Hardware]) -> Result<Vec<WindowsInstance>> {
    let mut found: Vec<WindowsInstance> = Vec::new();
    for path in paths {
        let one = windows_instance::parse(path).ok_or_else(|| {
            Error::usage(format!("{path:?} is no instance path of a PCI device"))
                .hint("Device Manager shows it: Details, \"Device instance path\"")
                .hint(r"it looks like PCI\VEN_10DE&DEV_2684&SUBSYS_889D1043&REV_A1\4&1F2E3D4C&0&0008, in single quotes")
        })?;
        if !hardware.iter().any(|function| function.windows_id() == one.id) {
            let error = Error::usage(format!("{path:?} is another device's path"));
            return Err(hardware.iter().fold(error, |error, function| {
                error.hint(format!(r"{} is PCI\{}", function.address, function.windows_id()))
            }));
        }
        if !found.contains(&one) {
            found.push(one);
        }
    }
    Ok(found)
}

/// Writes what is not there yet; nothing where a file is there with other content.
fn write(folder: &Path, files: &[GuestFile]) -> Result<Vec<Written>> {
    let paths: Vec<PathBuf> = files.iter().map(|file| folder.join(file.name)).collect();
    // What is no regular file is not opened: a FIFO would wait for its other end.
    let is_same = |(file, path): (&GuestFile, &PathBuf)| {
        output::no_file(path).is_none() && output::start(path).as_ref() == Some(&file.bytes)
    };
    let same: Vec<bool> = files.iter().zip(&paths).map(is_same).collect();
    for (path, same) in paths.iter().zip(&same) {
        if !same && output::is_there(path) {
            return Err(Error::refused(format!("{} is there already, and is another file", path.display()))
                .hint("give another folder: -o DIR"));
        }
    }
    output::make_folder(folder)?;
    let mut written = Vec::new();
    for ((file, path), same) in files.iter().zip(&paths).zip(same) {
        if !same {
            output::write(path, &file.bytes, file.mode, false)?;
        }
        written.push(Written { path: path.display().to_string(), new: !same });
    }
    Ok(written)
}
