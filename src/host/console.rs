//! The terminal: stdout, stderr, width, and a sign of life for what takes long.

use super::{Fact, READ_LIMIT, Why};
use crate::error::{Error, Result};
use rustix::termios::{isatty, tcgetwinsize};
use std::io::{Read, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Writes a result. A reader that went away is no error; a full disk is.
pub fn stdout(text: &str) -> Result<()> {
    let mut out = anstream::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::refused(format!("cannot write the result to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes what is no result.
pub fn stderr(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Columns of the terminal on stdout; `None` if stdout is none, so that nothing is cut in a pipe.
pub fn width() -> Option<usize> {
    let out = rustix::stdio::stdout();
    if !isatty(out) {
        return None;
    }
    let columns = tcgetwinsize(out).map_or(0, |size| usize::from(size.ws_col));
    Some(if columns == 0 { 80 } else { columns })
}

/// Columns of the terminal on stderr; `None` if that is none.
pub fn stderr_width() -> Option<usize> {
    let err = rustix::stdio::stderr();
    let columns = isatty(err).then(|| tcgetwinsize(err).map_or(0, |size| usize::from(size.ws_col)))?;
    Some(if columns == 0 { 80 } else { columns })
}

/// What the environment says of columns, for where there is no terminal.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn columns() -> Option<usize> {
    std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0)
}

/// Runs `work`; if it takes over a second, says on a terminal what is being done and for how long.
pub fn with_progress<T>(what: &str, work: impl FnOnce() -> T) -> T {
    if !isatty(rustix::stdio::stderr()) {
        return work();
    }
    let (done, wait) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut seconds = 0;
            while wait.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                seconds += 1;
                stderr(&format!("\r{what}: {seconds} s "));
            }
            if seconds > 0 {
                stderr("\r\x1b[K");
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Asks a question on the terminal that ends with `[y/N]`; `None` if nobody can answer it there.
pub fn confirm(question: &str) -> Option<bool> {
    if !isatty(rustix::stdio::stdin()) {
        return None;
    }
    stderr(&format!("{question} [y/N] "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

/// True if stderr is a terminal, where a line can be written over.
pub fn stderr_is_terminal() -> bool {
    isatty(rustix::stdio::stderr())
}

/// All of standard input, up to [`super::READ_LIMIT`].
pub fn stdin() -> Fact<Vec<u8>> {
    limited(std::io::stdin().lock(), 0)
}

/// A file that the user names on the command line, wherever it is.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn user_file(path: &str) -> Fact<Vec<u8>> {
    match std::fs::File::open(path) {
        Ok(file) => {
            let size = file.metadata().map_or(0, |stat| stat.len());
            limited(file, usize::try_from(size).unwrap_or(READ_LIMIT))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Fact::Absent,
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Fact::Unknown(Why::NotPermitted),
        Err(error) => Fact::Unknown(Why::Io(words(&error))),
    }
}

/// The operating system's words, without Rust's `(os error N)`.
fn words(error: &std::io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// All of a source; `expected`: how much that may be, for which room is made at once.
fn limited(source: impl Read, expected: usize) -> Fact<Vec<u8>> {
    let mut bytes = Vec::with_capacity(expected.min(READ_LIMIT) + 1);
    match source.take(READ_LIMIT as u64 + 1).read_to_end(&mut bytes) {
        Ok(read) if read > READ_LIMIT => Fact::Unknown(Why::TooLarge),
        Ok(_) => Fact::Known(bytes),
        Err(error) => Fact::Unknown(Why::Io(words(&error))),
    }
}
