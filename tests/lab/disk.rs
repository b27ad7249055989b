//! A cell's own disk: a copy of the release's image, with files edited as an owner of that host would have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cells::{Cell, State, Vendor};

/// Where the file system begins in an image.
const OFFSET: &str = "?offset=1048576";

/// The root file system's id, as `image.sh` sets it.
pub const ROOT_UUID: &str = "6c616220-686f-4573-a464-69736b000001";
/// The machine's id, as `image/lab-grub` sets it.
pub const MACHINE_ID: &str = "6c6162206d616368696e652069640001";

/// The image of a Debian release; built if it isn't there, with progress on stderr.
pub fn image(suite: &str) -> Result<PathBuf, String> {
    let output = Command::new("sh")
        .arg(lab().join("image.sh"))
        .arg(suite)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("image.sh: {e}"))?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !path.is_empty() {
        Ok(path.into())
    } else {
        Err(format!("image.sh {suite} failed: {}", output.status))
    }
}

/// The folder of the lab's own files.
pub fn lab() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab")
}

/// Makes `disk` from `image`, in the state of `cell`.
pub fn prepare(cell: &Cell, image: &Path, disk: &Path) -> Result<(), String> {
    run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(image).arg(disk))?;
    let scratch = disk.with_extension("edit");
    match cell.state {
        State::OffInKernel => {
            let word = match cell.vendor {
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
