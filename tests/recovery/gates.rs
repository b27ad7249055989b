//! Gates that end the program's life, fill the disk, or take the right to write away.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use vfioneer::host::change::{Gate, Op, Stop};

/// Shared by the host and its tools.
#[derive(Clone)]
pub struct Shared(pub Rc<dyn Gate>);

impl Gate for Shared {
    fn pass(&self, op: &Op<'_>) -> Result<(), Stop> {
        self.0.pass(op)
    }
}

/// Where a write stops half-way, half of it is done.
fn half(op: &Op<'_>) -> usize {
    match op {
        Op::Write(_, bytes) => bytes.len() / 2,
        _ => 0,
    }
}

/// Lets `most` operations pass; then the program is dead, and nothing it tries happens any more.
pub struct Kill {
    pub most: usize,
    pub seen: Cell<usize>,
}

pub const KILLED: &str = "killed by the test";

impl Kill {
    pub fn after(most: usize) -> Rc<Kill> {
        Rc::new(Kill { most, seen: Cell::new(0) })
    }

    pub fn struck(&self) -> bool {
        self.seen.get() > self.most
    }
}

impl Gate for Kill {
    fn pass(&self, op: &Op<'_>) -> Result<(), Stop> {
        let before = self.struck();
        self.seen.set(self.seen.get() + 1);
        if !self.struck() {
            return Ok(());
        }
        Err(Stop { error: io::Error::other(KILLED), after: if before { 0 } else { half(op) } })
    }
}

/// The write of this number, counted from 0, finds no room. With `for_good` all later ones neither, until something that vfioneer set aside
/// is removed.
pub struct Full {
    pub at: usize,
    pub for_good: bool,
    pub seen: Cell<usize>,
    pub room: Cell<usize>,
}

impl Gate for Full {
    fn pass(&self, op: &Op<'_>) -> Result<(), Stop> {
        let full = || Stop { error: io::Error::from(io::ErrorKind::StorageFull), after: half(op) };
        match op {
            Op::Remove(path) if path.ends_with("/reserve") => self.room.set(200 << 10),
            Op::Write(_, bytes) if !bytes.is_empty() => {
                let number = self.seen.get();
                self.seen.set(number + 1);
                if number < self.at || number > self.at && !self.for_good {
                    return Ok(());
                }
                if number > self.at && self.room.get() >= bytes.len() {
                    self.room.set(self.room.get() - bytes.len());
                    return Ok(());
                }
                return Err(full());
            }
            _ => {}
        }
        Ok(())
    }
}

/// Somebody else does something just before the first write of a file.
pub struct Meddle {
    pub at: &'static str,
    pub deed: Box<dyn Fn()>,
    pub done: Cell<bool>,
}

impl Gate for Meddle {
    fn pass(&self, op: &Op<'_>) -> Result<(), Stop> {
        if matches!(op, Op::Write(path, _) if path.ends_with(self.at)) && !self.done.replace(true) {
            (self.deed)();
        }
        Ok(())
    }
}

/// Nothing below a directory can be changed.
pub struct ReadOnly(pub &'static str);

impl Gate for ReadOnly {
    fn pass(&self, op: &Op<'_>) -> Result<(), Stop> {
        let path = match op {
            Op::Write(path, _) | Op::Attributes(path) | Op::Rename(path, _) | Op::Link(path, _) => path,
            Op::Remove(path) | Op::MakeDir(path) | Op::RemoveDir(path) => path,
            Op::Sync(_) | Op::SyncAll(_) | Op::Run(_) | Op::SetAttribute(..) => return Ok(()),
        };
        if path.starts_with(self.0) {
            return Err(Stop { error: io::Error::from(io::ErrorKind::ReadOnlyFilesystem), after: 0 });
        }
        Ok(())
    }
}

/// Lets all pass, and holds the order of things against what a power cut would keep: a file is synced before it takes another's place,
/// and all is synced when the journal says that a step is done.
#[derive(Default)]
pub struct Synced {
    unsynced: RefCell<BTreeSet<String>>,
    pub seen: Cell<usize>,
}

impl Gate for Synced {
    fn pass(&self, op: &Op<'_>) -> Result<(), Stop> {
        self.seen.set(self.seen.get() + 1);
        let mut unsynced = self.unsynced.borrow_mut();
        let parent = |path: &str| path.rsplit_once('/').map(|(dir, _)| dir.to_owned()).unwrap();
        match op {
            Op::Write(path, bytes) if path.ends_with("/journal") => {
                let text = String::from_utf8_lossy(bytes);
                if text.contains("\"done\"") || text.contains("\"undone\"") || text.contains("\"end\"") {
                    let left: Vec<_> = unsynced.iter().filter(|path| !path.ends_with("/journal")).collect();
                    assert!(left.is_empty(), "not on disk before {text}: {left:?}");
                }
                unsynced.insert((*path).to_owned());
            }
            Op::Write(path, _) | Op::Attributes(path) => drop(unsynced.insert((*path).to_owned())),
            Op::Sync(path) => drop(unsynced.remove(*path)),
            // The tree of the test has two file systems.
            Op::SyncAll(path) => unsynced.retain(|other| other.starts_with("/efi/") != path.starts_with("/efi/")),
            Op::Rename(from, to) => {
                assert!(!unsynced.contains(*from), "{from} takes the place of {to} before it is on disk");
                unsynced.extend([parent(from), parent(to)]);
            }
            Op::Link(_, second) => drop(unsynced.insert(parent(second))),
            Op::Remove(path) => {
                unsynced.remove(*path);
                // The name that a file had before it was renamed is nobody's business.
                if !path.contains(".vfioneer-") {
                    unsynced.insert(parent(path));
                }
            }
            Op::MakeDir(path) => drop(unsynced.insert(parent(path))),
            Op::RemoveDir(path) => {
                unsynced.remove(*path);
                unsynced.insert(parent(path));
            }
            Op::Run(_) | Op::SetAttribute(..) => {}
        }
        Ok(())
    }
}
