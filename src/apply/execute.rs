//! Steps, one after the other: intent, the change, result.

use super::journal::{Before, Kept, Record, Stamp};
use super::store::{self, Stored};
use super::{Event, Listener, bind, command, files, generate, readback, sriov};
use crate::host::change::{Command, Done, Lock};
use crate::host::{Fact, FileType, Host, HostMut, Why};
use crate::steps::Action;
use std::io;
use std::time::Duration;

/// No generator takes this long, not even for an image with all firmware on a slow disk.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// Lines of a failed command's output that are shown.
const SHOWN: usize = 12;

/// Why a step could not be done or undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Failure {
    /// One sentence without its full stop.
    pub(super) why: String,
    /// The last lines that the command printed.
    pub(super) tail: Vec<String>,
    /// Where all that it printed is.
    pub(super) output: Option<String>,
}

impl Failure {
    pub(super) fn new(why: impl Into<String>) -> Failure {
        Failure { why: why.into(), ..Failure::default() }
    }

    pub(super) fn io(what: &str, error: &io::Error) -> Failure {
        Failure::new(format!("{what}: {}", words(error)))
    }
}

/// The operating system's words for an error.
pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// What came of a step.
pub(super) type Did<T = ()> = Result<T, Failure>;

/// A transaction at work.
pub(super) struct Work<'a> {
    pub(super) host: &'a dyn HostMut,
    pub(super) lock: &'a Lock,
    pub(super) listen: Listener<'a>,
    pub(super) dir: &'a str,
    pub(super) plan: &'a Stored,
    /// On the way back nobody can stop it.
    pub(super) undoing: bool,
}

impl Work<'_> {
    /// Does all steps and reads the entries back. Fails with why.
    pub(super) fn all(&mut self) -> Did {
        let plan = self.plan;
        for (number, step) in plan.steps.iter().enumerate() {
            (self.listen)(Event::Step(number + 1, plan.steps.len(), &step.action));
            let done = if self.host.interrupt().asked() {
                Err(Failure::new("it was interrupted"))
            } else {
                self.one(number, &step.action)
            };
            self.noted(number, done)?;
        }
        let end = plan.steps.len();
        self.noted(end, readback::entries(self.host, &plan.expect, &[]))
    }

    /// A failure is written down for the history; that this fails, too, changes nothing.
    fn noted(&self, step: usize, done: Did) -> Did {
        if let Err(failure) = &done {
            let _ = self.note(&Record::Failed { step, why: failure.why.clone() });
        }
        done
    }

    fn one(&mut self, step: usize, action: &Action) -> Did {
        match action {
            Action::WriteFile { path, before_sha256, after, mode, .. } => {
                files::write(self, step, path, before_sha256.as_deref(), after.as_bytes(), *mode)
            }
            Action::RemoveFile { path, before_sha256, .. } => files::remove(self, step, path, before_sha256),
            Action::Generate { argv, output, product } => generate::generate(self, step, argv, output, product),
            Action::Run { argv, touches, fence, .. } => command::run(self, step, argv, touches, fence.as_ref()),
            Action::Bind { address, driver, .. } => bind::bind(self, step, address, driver),
            Action::VirtualFunctions { address, count, .. } => sriov::create(self, step, address, *count),
        }
    }

    /// Adds a record to the journal.
    pub(super) fn note(&self, record: &Record) -> Did {
        store::note(self.host, self.dir, record)
            .map_err(|error| Failure::io(&format!("cannot write {}/journal", self.dir), &error))
    }

    pub(super) fn intent(&self, step: usize, before: Before) -> Did {
        self.note(&Record::Intent { step, before })
    }

    /// Copies a file into the transaction, by the name `copy`.
    pub(super) fn keep(&self, path: &str, copy: &str) -> Did<Kept> {
        let cannot = |error: &io::Error| Failure::io(&format!("cannot keep a copy of {path}"), error);
        let sha256 = self.host.sha256(path).map_err(|error| cannot(&error))?;
        if sha256.is_none() {
            return Ok(Kept { path: path.to_owned(), sha256, copy: None });
        }
        let kept = self.copy(copy);
        self.host.copy(path, &kept).map_err(|error| cannot(&error))?;
        if self.host.sha256(&kept).map_err(|error| cannot(&error))? != sha256 {
            return Err(Failure::new(format!("{path} was changed meanwhile")));
        }
        Ok(Kept { path: path.to_owned(), sha256, copy: Some(copy.to_owned()) })
    }

    /// Where a copy is.
    pub(super) fn copy(&self, name: &str) -> String {
        format!("{}/before/{name}", self.dir)
    }

    /// Runs a command, keeps its output under `name`, and fails if it does.
    pub(super) fn run(&mut self, argv: &[String], name: &str) -> Did<Done> {
        let shown = argv.join(" ");
        let interrupt = Some(self.host.interrupt()).filter(|_| !self.undoing);
        let command = Command { argv, limit: LIMIT, interrupt, holds: Some(self.lock) };
        let listen = &mut self.listen;
        let done = self.host.run(&command, &mut |line| listen(Event::Output(line)));
        let done = done.map_err(|error| Failure::io(&format!("cannot run `{shown}`"), &error))?;
        let output = format!("{}/output/{name}", self.dir);
        let kept = self.host.write(&output, &done.output, 0o600);
        if done.success() {
            return Ok(done);
        }
        let text = done.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let why = match (done.status, done.late) {
            _ if done.stopped => format!("`{shown}` was interrupted"),
            (_, true) => format!("`{shown}` did not come to an end within {} minutes", LIMIT.as_secs() / 60),
            (Some(status), _) => format!("`{shown}` failed with status {status}"),
            (None, _) => format!("`{shown}` was killed"),
        };
        Err(Failure {
            why,
            tail: lines.iter().skip(lines.len().saturating_sub(SHOWN)).map(|line| (*line).to_owned()).collect(),
            output: kept.is_ok().then_some(output),
        })
    }
}

/// Size and time of a file; `None` if it is not there.
pub(super) fn stamp(host: &dyn Host, path: &str) -> Did<Option<Stamp>> {
    match host.stat(path) {
        Fact::Known(stat) if stat.file_type == FileType::File => Ok(Some(Stamp { size: stat.size, mtime: stat.mtime })),
        Fact::Known(_) => Err(Failure::new(format!("{path} is no regular file"))),
        Fact::Absent => Ok(None),
        Fact::Unknown(why) => Err(unreadable(path, &why)),
    }
}

/// The bytes of a file; `None` if it is not there.
pub(super) fn bytes(host: &dyn Host, path: &str) -> Did<Option<Vec<u8>>> {
    match host.read(path) {
        Fact::Known(bytes) => Ok(Some(bytes)),
        Fact::Absent => Ok(None),
        Fact::Unknown(why) => Err(unreadable(path, &why)),
    }
}

fn unreadable(path: &str, why: &Why) -> Failure {
    Failure::new(format!("cannot read {path}: {why}"))
}
