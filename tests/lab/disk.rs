//! A cell's own folder: a copy of its image, with files edited as an owner of that host would have, and its share.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cells::{State, Vendor};
use crate::stamp;

/// Where the file system begins in an image.
const OFFSET: &str = "?offset=1048576";

/// The root file system's id, as `image/fill.sh` sets it.
pub const ROOT_UUID: &str = "6c616220-686f-4573-a464-69736b000001";
/// The machine's id, as `image/fill.sh` sets it.
pub const MACHINE_ID: &str = "6c6162206d616368696e652069640001";

/// Makes `folder` anew, with a share that holds the program, the first of `scripts` as what the host runs, the others by their names,
/// and a place for answers.
pub fn share(folder: &Path, binary: &Path, scripts: &[&str]) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("{}: {e}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(fail)?;
    }
    let share = folder.join("share");
    fs::create_dir_all(share.join("out")).map_err(fail)?;
    fs::copy(binary, share.join("vfioneer")).map_err(|e| format!("{}: {e}", binary.display()))?;
    for (number, script) in scripts.iter().map(|name| stamp::guest(name)).enumerate() {
        let name = script.file_name().filter(|_| number > 0).unwrap_or("run.sh".as_ref());
        fs::copy(&script, share.join(name)).map_err(|e| format!("{}: {e}", script.display()))?;
    }
    Ok(())
}

/// Puts a copy of `image` into `folder`, in that state.
pub fn prepare(state: State, vendor: Vendor, image: &Path, folder: &Path) -> Result<(), String> {
    let disk = &folder.join("disk.img");
    run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(image).arg(disk))?;
    let variables = image.with_extension("vars");
    if variables.exists() {
        run(Command::new("cp").arg(variables).arg(folder.join("vars")))?;
    }
    let scratch = disk.with_extension("edit");
    match state {
        State::OffInKernel => {
            let word = match vendor {
                Vendor::Intel => "intel_iommu=off",
                Vendor::Amd => "amd_iommu=off",
            };
            // Both, as after update-grub: what it was made from, and what boots.
            for file in ["/etc/default/grub", "/boot/grub/grub.cfg"] {
                let text = read(disk, file)?;
                let edited = text.replace("console=ttyS0", &format!("console=ttyS0 {word}"));
                if edited == text {
                    return Err(format!("{file} in the image has no console=ttyS0"));
                }
                write(disk, file, &edited, &scratch)?;
            }
        }
        State::NativeDriver => {
            let text = "options vfio-pci ids=8086:10d3\n";
            write(disk, "/etc/modprobe.d/vfio.conf", text, &scratch)?;
        }
        _ => {}
    }
    Ok(())
}

/// Removes what is large.
pub fn discard(folder: &Path) -> Result<(), String> {
    let disk = folder.join("disk.img");
    fs::remove_file(&disk).map_err(|e| format!("{}: {e}", disk.display()))
}

/// The text of a file in the image.
fn read(disk: &Path, file: &str) -> Result<String, String> {
    let output = debugfs(disk, &[], &format!("cat {file}"))?;
    if output.is_empty() { Err(format!("no {file} in the image")) } else { Ok(output) }
}

/// Replaces a file in the image.
fn write(disk: &Path, file: &str, text: &str, scratch: &Path) -> Result<(), String> {
    fs::write(scratch, text).map_err(|e| format!("{}: {e}", scratch.display()))?;
    debugfs(disk, &["-w"], &format!("rm {file}"))?;
    debugfs(disk, &["-w"], &format!("write {} {file}", scratch.display()))?;
    if read(disk, file)? == text { Ok(()) } else { Err(format!("{file} was not written")) }
}

fn debugfs(disk: &Path, options: &[&str], request: &str) -> Result<String, String> {
    let output = Command::new("debugfs")
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
        .args(options)
        .args(["-R", request])
        .arg(format!("{}{OFFSET}", disk.display()))
        .output()
        .map_err(|e| format!("debugfs: {e}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(e) => Err(format!("{command:?}: {e}")),
    }
}
