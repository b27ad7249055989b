//! One boot: QEMU is started, watched until it ends or its time is over, and ended by its own process id.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::machine;
use crate::monitor::Monitor;

/// A boot that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(900);
/// What a kernel, initramfs-tools, dracut, systemd, GRUB and a UEFI firmware say last when they cannot go on.
const STUCK: [&str; 6] =
    ["end Kernel panic", "(initramfs)", "emergency mode", "Press Enter for maintenance", "grub rescue>", "Shell>"];
/// How often a machine is started again.
const STARTS: usize = 4;
/// How often the machine and its share are looked at.
const TICK: Duration = Duration::from_millis(200);

/// Boots a machine from the files in `folder` and waits until it is off.
///
/// `look` is called at every tick with the time since the start and the machine's monitor; once it gives false, the power is cut.
/// A kernel that gave up because of this machine's load, before it had a disk, is started again.
pub fn boot(
    machine: &[String],
    folder: &Path,
    mut look: impl FnMut(Duration, &mut Monitor) -> bool,
) -> Result<(), String> {
    for _ in 0..STARTS {
        let booted = once(machine, folder, &mut look);
        if booted.is_ok() || !starved(&folder.join("serial.log")) {
            return booted;
        }
        println!("lab: an emulated timer came too late in {}; once more", folder.display());
    }
    once(machine, folder, look)
}

fn once(machine: &[String], folder: &Path, mut look: impl FnMut(Duration, &mut Monitor) -> bool) -> Result<(), String> {
    let started = Instant::now();
    let serial = folder.join("serial.log");
    // What an earlier boot said is not about this one.
    let _ = fs::remove_file(&serial);
    let errors = fs::File::create(folder.join("qemu.log")).map_err(|e| e.to_string())?;
    let mut cut = false;
    let (mut monitor, [from, to]) = Monitor::new().map_err(|e| format!("monitor: {e}"))?;
    let mut qemu = machine::qemu(folder, machine)
        .stdin(from)
        .stdout(to)
        .stderr(errors)
        .spawn()
        .map_err(|e| format!("setpriv qemu-system-x86_64: {e}"))?;
    let ended = limited(&mut qemu, LIMIT, || {
        cut = !look(started.elapsed(), &mut monitor);
        !cut && !stuck(&serial)
    });
    let said = fs::read_to_string(folder.join("qemu.log")).unwrap_or_default();
    match ended {
        Some(true) => Ok(()),
        Some(false) => Err(format!("QEMU failed: {}\n{}", said.trim(), tail(&serial, 20))),
        None if cut => Ok(()),
        None if stuck(&serial) => Err(format!("it does not boot\n{}", tail(&serial, 20))),
        None => Err(format!("not finished in {} s\n{}", LIMIT.as_secs(), tail(&serial, 20))),
    }
}

/// Runs a command of the host with a time limit; gives its exit code and what it wrote to stdout.
pub fn output(command: &mut Command, scratch: &Path) -> Result<(i32, String), String> {
    let file = fs::File::create(scratch).map_err(|e| format!("{}: {e}", scratch.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|e| format!("{command:?}: {e}"))?;
    if limited(&mut child, Duration::from_secs(60), || true).is_none() {
        return Err(format!("{command:?}: not finished in 60 s"));
    }
    let code = child.wait().map_err(|e| e.to_string())?.code().unwrap_or(-1);
    let text = fs::read_to_string(scratch).map_err(|e| format!("{}: {e}", scratch.display()))?;
    Ok((code, text))
}

/// Whether the boot came to an end that the machine itself does not notice: it waits for somebody to type.
fn stuck(serial: &Path) -> bool {
    let last = tail(serial, 2);
    STUCK.iter().any(|end| last.contains(end))
}

/// Whether the kernel gave up because an emulated timer tick came too late: the host's load, and nobody's fault.
fn starved(serial: &Path) -> bool {
    fs::read(serial).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains("timer doesn't work through"))
}

/// Waits for a child; none when its time was over, or `look` said so, and it was killed.
fn limited(child: &mut Child, limit: Duration, mut look: impl FnMut() -> bool) -> Option<bool> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if started.elapsed() < limit && look() => std::thread::sleep(TICK),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

/// The last lines of a console's log, without what terminals understand and people don't.
pub fn tail(file: &Path, lines: usize) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    let text = plain(&String::from_utf8_lossy(&bytes));
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Text without control characters and escape sequences.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            // A sequence ends with its first letter.
            '\x1b' => drop(chars.find(char::is_ascii_alphabetic)),
            '\n' => plain.push(c),
            _ if c.is_control() => {}
            _ => plain.push(c),
        }
    }
    plain
}
