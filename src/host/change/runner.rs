//! Commands of a host, and who runs them.

use crate::host::{Host, Interrupt};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A command of the host.
#[derive(Clone, Debug)]
pub struct Command<'a> {
    /// Program and arguments; the program by name or absolute path.
    pub argv: &'a [String],
    /// Killed after this long.
    pub limit: Duration,
    /// Killed when this asks.
    pub interrupt: Option<&'a Interrupt>,
    /// Held open by the command and all that it starts, so that the lock lasts as long as they do.
    pub holds: Option<&'a super::Lock>,
}

/// What a command did.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Exit status; `None` if it was killed.
    pub status: Option<i32>,
    /// True if it was killed because it took longer than its limit.
    pub late: bool,
    /// True if it was killed because the user asked to stop.
    pub stopped: bool,
    /// stdout and stderr as they came.
    pub output: Vec<u8>,
}

impl Done {
    /// Did it end by itself and say that all is well?
    pub fn success(&self) -> bool {
        self.status == Some(0)
    }

    /// The output as text, without white space at its end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).trim_end().to_owned()
    }
}

/// Where commands run: the directory that is the host's root, or none on the running machine.
pub type Chroot<'a> = Option<&'a Path>;

/// Who runs the commands of a host. Tests have one of their own.
pub trait Runner {
    /// Is there such a program?
    fn has_program(&self, host: &dyn Host, program: &str) -> bool;
    /// Runs a command.
    fn run(&self, root: Chroot<'_>, command: &Command<'_>, progress: &mut dyn FnMut(&str)) -> io::Result<Done>;
    /// Writes an attribute of the kernel.
    fn write_attribute(&self, root: Chroot<'_>, path: &str, value: &str) -> io::Result<()>;
}
