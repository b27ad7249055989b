//! Runs the host's commands as processes: bounded in time, output kept, nothing left mounted.

use super::{Chroot, Command, Done, Runner};
use crate::host::{FileType, Host, Interrupt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Where programs are looked for, in this order.
const PATH: &[&str] = &["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// The most output that is kept, in bytes; the rest is read and dropped.
const KEPT: usize = 16 << 20;
/// A kernel attribute is written in microseconds; a driver that detaches from busy hardware may need some seconds.
const ATTRIBUTE_LIMIT: Duration = Duration::from_secs(60);
/// How long output is waited for after the command itself has ended, if something that it started keeps the pipe open.
const AFTER: Duration = Duration::from_millis(300);
/// How often a silent command is looked at: has it ended, is it late, was it asked to stop?
const TICK: Duration = Duration::from_millis(50);
/// How often a silent command's progress is told.
const SILENCE: Duration = Duration::from_secs(1);

/// In a mount namespace of its own (unshare(1) makes it private): what commands need of the running kernel, bound into the root, and gone
/// with the last process.
const CHROOT: &str = r#"root=$1; shift
bind() { if [ -d "$root$1" ]; then mount --rbind "$1" "$root$1" || exit 125; fi; }
bind /proc; bind /sys; bind /dev; bind /run
exec chroot "$root" "$@""#;

/// Real processes.
#[derive(Clone, Copy, Debug)]
pub struct Processes;

impl Runner for Processes {
    fn has_program(&self, host: &dyn Host, program: &str) -> bool {
        let runs = |path: &str| {
            host.stat(path).known().is_some_and(|stat| stat.file_type == FileType::File && stat.mode & 0o111 != 0)
        };
        if program.starts_with('/') {
            return runs(program);
        }
        PATH.iter().any(|dir| runs(&format!("{dir}/{program}")))
    }

    fn run(&self, root: Chroot<'_>, command: &Command<'_>, progress: &mut dyn FnMut(&str)) -> io::Result<Done> {
        let mut process = prepare(root, command.argv)?;
        process.stdin(match command.holds {
            // Empty, so that it reads as /dev/null does; and its lock lasts until the last process has closed it.
            Some(lock) => Stdio::from(lock._file.try_clone()?),
            None => Stdio::null(),
        });
        watch(process, command, progress)
    }

    fn write_attribute(&self, root: Chroot<'_>, path: &str, value: &str) -> io::Result<()> {
        // Not printf: that of busybox says nothing of an error.
        let script = r#"echo "$1" > "$2""#;
        let argv = ["/bin/sh", "-c", script, "sh", value, path].map(str::to_owned);
        let mut process = prepare(root, &argv)?;
        process.stdin(Stdio::null());
        let command = Command { argv: &argv, limit: ATTRIBUTE_LIMIT, interrupt: None, holds: None };
        let done = watch(process, &command, &mut |_| ())?;
        match (done.success(), done.late) {
            (true, _) => Ok(()),
            (false, true) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("the kernel does not return from writing {path}")))
            }
            (false, false) => Err(io::Error::other(format!("writing {value} to {path} failed: {}", done.text()))),
        }
    }
}

/// A command with a known environment and a process group of its own, so that a key pressed here does not end it half-way.
fn prepare(root: Chroot<'_>, argv: &[String]) -> io::Result<std::process::Command> {
    let Some((program, arguments)) = argv.split_first() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let mut process = match root {
        None => {
            let mut process = std::process::Command::new(program);
            process.args(arguments);
            process
        }
        Some(root) => {
            let mut process = std::process::Command::new("unshare");
            process.args(["--mount", "--", "/bin/sh", "-c", CHROOT, "sh"]).arg(root).args(argv);
            process
        }
    };
    process
        .env_clear()
        .envs([("PATH", PATH.join(":")), ("LC_ALL", "C".into()), ("HOME", "/root".into()), ("TERM", "dumb".into())])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .current_dir("/")
        .process_group(0);
    Ok(process)
}

fn watch(
    mut process: std::process::Command,
    command: &Command<'_>,
    progress: &mut dyn FnMut(&str),
) -> io::Result<Done> {
    let (reader, writer) = io::pipe()?;
    process.stdout(writer.try_clone()?).stderr(writer);
    let mut child = process.spawn()?;
    // It holds the writing ends.
    drop(process);
    let mut done = Done::default();
    let mut lines = Lines::default();
    let end = Instant::now() + command.limit;
    let asked = || command.interrupt.is_some_and(Interrupt::asked);
    let mut ended: Option<Instant> = None;
    let mut told = Instant::now();
    let mut reader = reader;
    loop {
        match read(&mut reader)? {
            Got::Bytes(bytes) => {
                lines.add(&bytes, progress);
                let room = KEPT.saturating_sub(done.output.len()).min(bytes.len());
                done.output.extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
            Got::Nothing if told.elapsed() >= SILENCE => {
                told = Instant::now();
                progress("");
            }
            Got::Nothing => {}
            Got::End => break,
        }
        if ended.is_none() && child.try_wait()?.is_some() {
            ended = Some(Instant::now());
        }
        if ended.is_some_and(|at| at.elapsed() > AFTER) || Instant::now() >= end || asked() {
            break;
        }
    }
    done.status = loop {
        if let Some(status) = child.try_wait()? {
            break status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        }
        if asked() || Instant::now() >= end {
            (done.stopped, done.late) = (asked(), !asked());
            kill(&mut child);
            break None;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    Ok(done)
}

/// Ends a command and what it started. A process that the kernel does not let go is not waited for.
fn kill(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    let end = Instant::now() + Duration::from_secs(2);
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
}

enum Got {
    Bytes(Vec<u8>),
    Nothing,
    End,
}

fn read(reader: &mut io::PipeReader) -> io::Result<Got> {
    let wait = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
    match poll(&mut [PollFd::new(&*reader, PollFlags::IN)], Some(&wait)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Got::Nothing),
        Err(errno) => return Err(errno.into()),
        Ok(_) => {}
    }
    let mut buffer = vec![0; 64 << 10];
    let count = reader.read(&mut buffer)?;
    buffer.truncate(count);
    Ok(if count == 0 { Got::End } else { Got::Bytes(buffer) })
}

/// Makes lines of what comes in pieces.
#[derive(Default)]
struct Lines {
    open: Vec<u8>,
}

impl Lines {
    fn add(&mut self, bytes: &[u8], progress: &mut dyn FnMut(&str)) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.open);
                    let line = String::from_utf8_lossy(&line);
                    if !line.trim().is_empty() {
                        progress(line.trim_end());
                    }
                }
                _ if self.open.len() < 4096 => self.open.push(*byte),
                _ => {}
            }
        }
    }
}
