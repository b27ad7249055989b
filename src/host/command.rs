//! Runs a program of the host, bounded in time and output.
//!
//! Goes in: an absolute path and arguments. Comes out: what it printed. The program gets no input and an empty
//! environment; if it takes too long or prints too much it is killed, by the identity of the child, never by name.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a program printed, and whether it said that it had succeeded.
pub(super) struct Output {
    pub(super) stdout: Vec<u8>,
    pub(super) success: bool,
}

/// Runs `program`. Fails if it cannot be started, does not end within `seconds`, or prints more than `limit` bytes.
pub(super) fn run(program: &str, arguments: &[&str], seconds: u64, limit: usize) -> io::Result<Output> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let result = collect(&mut child, Instant::now() + Duration::from_secs(seconds), limit);
    if result.is_err() {
        // It may have ended by itself meanwhile; either way nothing is left behind.
        let _ = child.kill();
        let _ = child.wait();
    }
    result
}

fn collect(child: &mut Child, deadline: Instant, limit: usize) -> io::Result<Output> {
    let Some(mut pipe) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
    let mut stdout = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let wait = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&wait)) {
            Ok(0) => continue,
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(_) => {}
        }
        let count = pipe.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        stdout.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if stdout.len() > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    // It has closed its output, and normally ends at once.
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Output { stdout, success: status.success() });
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::run;
    use std::io::ErrorKind;
    use std::time::{Duration, Instant};

    #[test]
    fn programs_are_bounded() {
        let output = run("/bin/sh", &["-c", "echo $HOME-$PWD; read x; exit 3"], 10, 100).unwrap();
        assert_eq!((output.stdout.as_slice(), output.success), (b"-/\n".as_slice(), false));
        assert!(run("/bin/sh", &["-c", "exit 0"], 10, 100).unwrap().success);
        let start = Instant::now();
        assert_eq!(run("/bin/sh", &["-c", "exec sleep 60"], 1, 100).err().unwrap().kind(), ErrorKind::TimedOut);
        assert_eq!(run("/bin/sh", &["-c", "exec >&-; exec sleep 60"], 1, 9).err().unwrap().kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(30));
        assert_eq!(run("/bin/cat", &["/dev/zero"], 10, 1 << 20).err().unwrap().kind(), ErrorKind::FileTooLarge);
        assert_eq!(run("/nonexistent/program", &[], 1, 1).err().unwrap().kind(), ErrorKind::NotFound);
    }
}
