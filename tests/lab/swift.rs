//! Runs one swift cell: its share, its boot, what its script asks of the machine's monitor, and what the script complains of.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cards::Card;
use crate::machine::{self, Iommu};
use crate::monitor::Monitor;
use crate::swifts::Swift;
use crate::{cards, disk, guest, variant};

/// A script that takes longer hangs, most likely in the kernel.
const LIMIT: Duration = Duration::from_secs(850);

/// What the kernel is told: besides what all hosts are (`image/root/words.sh`), what makes it start sooner.
const WORDS: &str = "console=ttyS0 norandmaps mitigations=off panic=-1 loglevel=5 nokaslr cryptomgr.notests";

/// The initramfs that it boots, or its disk; made if it isn't there. The kernel lies beside it, as `.vmlinuz`, and beside a disk the
/// initramfs, as `.cpio`.
pub fn image(swift: &Swift) -> Result<PathBuf, String> {
    let script = if swift.hypervisor { "hypervisor.sh" } else { "swift.sh" };
    variant::script(script, &[variant::suite(swift.debian)])
}

/// Runs a cell; gives everything that is wrong with it.
pub fn run(swift: &Swift, image: &Path, folder: &Path, binary: &Path, look: impl FnMut(Duration)) -> Vec<String> {
    let mut problems = match boot(swift, image, folder, binary, look) {
        Ok(()) => complaints(&folder.join("share/out")),
        Err(problem) => vec![problem],
    };
    if !problems.is_empty() {
        let console = guest::tail(&folder.join("serial.log"), 20);
        problems.push(format!("kept in {}; the end of its console:\n{console}", folder.display()));
    }
    problems
}

fn boot(
    swift: &Swift,
    image: &Path,
    folder: &Path,
    binary: &Path,
    mut look: impl FnMut(Duration),
) -> Result<(), String> {
    let scripts = swift.scripts();
    disk::share(folder, binary, &scripts.iter().map(String::as_str).collect::<Vec<_>>())?;
    let share = folder.join("share");
    let fail = |e: std::io::Error| format!("{}: {e}", share.display());
    fs::write(share.join("cards"), cards::addresses(swift.cards)).map_err(fail)?;
    fs::copy(machine::NIC_ROM, share.join("nic.rom")).map_err(|e| format!("{}: {e}", machine::NIC_ROM))?;
    let display = if swift.cards.contains(&Card::Screen) { "" } else { machine::DISPLAY };
    let mut lines = machine::board(swift.vendor, Iommu::On, display);
    if swift.hypervisor {
        // All that the script writes is in memory, and so are its VMs.
        lines.push("-m 2G -device virtio-blk-pci,drive=system,addr=03.0".to_owned());
        lines.push(format!("-drive if=none,id=system,format=raw,readonly=on,file={}", image.display()));
    }
    lines.extend(cards::arguments(swift.cards, swift.vendor));
    let mut arguments = machine::words(&lines);
    let kernel = image.with_extension("vmlinuz").display().to_string();
    let initramfs = image.with_extension("cpio").display().to_string();
    arguments.extend(["-kernel", &kernel, "-initrd", &initramfs, "-append", WORDS].map(str::to_owned));
    let mut trouble = None;
    let booted = guest::boot(&arguments, folder, |elapsed, monitor| {
        look(elapsed);
        trouble = if elapsed > LIMIT {
            Some(format!("not finished in {} s", LIMIT.as_secs()))
        } else {
            answer(&share.join("out"), monitor).err()
        };
        trouble.is_none()
    });
    trouble.map_or(booted, Err)
}

/// Does what the script asks for: a line for the monitor, in a file that appears whole.
fn answer(out: &Path, monitor: &mut Monitor) -> Result<(), String> {
    let asked = out.join("ask");
    let Ok(line) = fs::read_to_string(&asked) else { return Ok(()) };
    let fail = |e: std::io::Error| format!("{}: {e}", out.display());
    fs::remove_file(&asked).map_err(fail)?;
    let said = monitor.human(line.trim())?;
    let part = out.join("answer.part");
    fs::write(&part, said).map_err(fail)?;
    fs::rename(&part, out.join("answer")).map_err(fail)
}

/// What the script wrote down as wrong; also when it did not come to its end.
fn complaints(out: &Path) -> Vec<String> {
    let problems = fs::read_to_string(out.join("problems")).unwrap_or_default();
    let mut problems: Vec<String> = problems.lines().map(str::to_owned).collect();
    let status = fs::read_to_string(out.join("status")).unwrap_or_default();
    match status.lines().find_map(|line| line.strip_prefix("end ")) {
        Some("0") => {}
        Some(code) => problems.push(format!("the script broke off: exit code {code}")),
        None => problems.push("the script did not come to its end".to_owned()),
    }
    problems
}
