//! Errors that end a command. A bad host is a finding (`checks`), never an `Error`.

use std::fmt;

/// What kind of end it is; each kind has one exit code (see `docs/cli.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line cannot be understood, or names something that is not there. Exit code 2.
    Usage,
    /// Nothing was changed, and something outside the program has to change first. Exit code 3.
    Refused,
    /// A change failed and was undone completely. Exit code 4.
    Failed,
    /// A change failed, and undoing it did too: a person is needed. Exit code 5.
    Incomplete,
    /// A bug in vfioneer. Exit code 70.
    Bug,
}

/// What was attempted, on which file or device, and what to do next.
#[derive(Clone, Debug)]
pub struct Error {
    /// Gives the exit code.
    pub kind: Kind,
    /// One sentence: what was attempted and why it could not be done.
    pub message: String,
    /// What the user can do, one line each.
    pub hints: Vec<String>,
}

impl Error {
    /// Makes a usage error.
    pub fn usage(message: impl Into<String>) -> Self {
        Error { kind: Kind::Usage, message: message.into(), hints: Vec::new() }
    }

    /// Makes a refusal.
    pub fn refused(message: impl Into<String>) -> Self {
        Error { kind: Kind::Refused, message: message.into(), hints: Vec::new() }
    }

    /// Makes a report of a change that failed and was undone completely.
    pub fn failed(message: impl Into<String>) -> Self {
        Error { kind: Kind::Failed, message: message.into(), hints: Vec::new() }
    }

    /// Makes a report of a change that could be neither made nor undone completely.
    pub fn incomplete(message: impl Into<String>) -> Self {
        Error { kind: Kind::Incomplete, message: message.into(), hints: Vec::new() }
    }

    /// Makes a report of a bug in vfioneer itself.
    pub fn bug(message: impl Into<String>) -> Self {
        Error { kind: Kind::Bug, message: message.into(), hints: Vec::new() }
    }

    /// Adds a line that says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The kind, as in JSON.
    pub fn kind_id(&self) -> &'static str {
        match self.kind {
            Kind::Usage => "usage",
            Kind::Refused => "refused",
            Kind::Failed => "failed",
            Kind::Incomplete => "incomplete",
            Kind::Bug => "bug",
        }
    }

    /// The process exit code of this kind of error.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Refused => 3,
            Kind::Failed => 4,
            Kind::Incomplete => 5,
            Kind::Bug => 70,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// A result whose error ends the command.
pub type Result<T> = std::result::Result<T, Error>;
