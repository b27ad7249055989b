//! A new file takes the name of one that is booted from: what is brought onto the disk, and in which order.

use super::super::files::{self, open, parent};
use super::super::{Command, FsKind, Op};
use super::TreeMut;
use crate::host::tree::Place;
use rustix::fs;
use std::fs::File;
use std::io;
use std::time::Duration;

/// Freezes a file system and thaws it, in a process of its own that outlives this one.
const FREEZE: &str = r#"trap '' HUP INT TERM
fsfreeze --freeze "$1" || exit 3
fsfreeze --unfreeze "$1""#;
/// The exit status of [`FREEZE`] where nothing was frozen.
const NOT_FROZEN: i32 = 3;
/// Freezing writes out what is dirty first.
const FREEZE_LIMIT: Duration = Duration::from_secs(10 * 60);

/// True if GRUB may read a file by itself: all that it reads is in `/boot`, which a link may lead to (`/etc/../boot/grub2/grub.cfg`), and FAT
/// has rules of its own.
fn is_read_by_grub(kind: FsKind, place: &Place) -> bool {
    kind.has_links() && place.path.contains("/boot/")
}

/// The file that a rename is about to replace, kept open.
pub(super) fn held(place: &Place) -> Option<File> {
    place.stat.as_ref().and_then(|_| open(place).ok())
}

impl TreeMut {
    /// What has to be done before a new file takes a name that a boot loader reads.
    ///
    /// GRUB replays no journal: after a power cut it would follow the new name to an inode that is on the disk as it was made, empty.
    pub(super) fn before_rename(&self, place: &Place) -> io::Result<()> {
        let kind = self.kind_of(place)?;
        if is_read_by_grub(kind, place) { self.bring_in_place(kind, place) } else { Ok(()) }
    }

    /// Brings a rename onto the disk.
    ///
    /// FAT has no journal: the name's entry points to the new content only once the file itself is synced, and the clusters of the
    /// old content are free as soon as nobody has it open. Seen with Linux 6.12: power lost between the directory's sync and the
    /// file's leaves a name that points to free clusters, unless the old file is still open; then it leaves the old content. A name
    /// that is new would be there and empty: so the file comes first where nothing is replaced.
    ///
    /// Elsewhere the old file is kept open, and so whole, until the name leads to the new one where GRUB looks.
    pub(super) fn settle(&self, place: &Place, file: &File, replaced: Option<File>) -> io::Result<()> {
        self.settle_on(self.kind_of(place)?, place, file, replaced)
    }

    fn settle_on(&self, kind: FsKind, place: &Place, file: &File, replaced: Option<File>) -> io::Result<()> {
        let disk = self.disk();
        let fat = kind == FsKind::Fat;
        if fat && replaced.is_none() {
            disk.sync(place, file)?;
        }
        disk.sync_dir(place)?;
        if fat && replaced.is_some() {
            disk.sync(place, file)?;
        }
        if is_read_by_grub(kind, place) {
            self.bring_in_place(kind, place)?;
        }
        drop(replaced);
        Ok(())
    }

    /// Brings names and inodes of a file system to where they belong on the disk.
    ///
    /// On ext4 syncfs(2) does it (Linux 6.12 `fs/sync.c` `sync_filesystem` ends with `sync_blockdev`). XFS writes them there when it is
    /// frozen (`fs/xfs/xfs_super.c` `xfs_fs_freeze`, `xfs_log_quiesce`). As dracut does (`dracut.sh`, `fsfreeze`), what holds the root is never
    /// frozen: nothing could thaw it. Where freezing is not possible, syncing is what there is.
    pub(super) fn bring_in_place(&self, kind: FsKind, place: &Place) -> io::Result<()> {
        self.gate.pass(&Op::SyncAll(parent(&place.path))).map_err(|stop| stop.error)?;
        let dir = files::open_dir(&place.dir)?;
        fs::syncfs(&dir)?;
        if kind != FsKind::Xfs || fs::fstat(&dir)?.st_dev == fs::fstat(self.place("/.")?.dir)?.st_dev {
            return Ok(());
        }
        let argv = ["/bin/sh", "-c", FREEZE, "sh", parent(&place.path)].map(str::to_owned);
        let command = Command { argv: &argv, limit: FREEZE_LIMIT, interrupt: None, holds: None };
        match self.runner.run(self.root.as_deref(), &command, &mut |_| ())?.status {
            Some(0 | NOT_FROZEN) => Ok(()),
            _ => Err(io::Error::other(format!("it may still be frozen; run `fsfreeze -u {}`", parent(&place.path)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use crate::host::change::{Done, Gate, HostMut, Runner, Stop};
    use std::cell::RefCell;
    use std::path::Path;
    use std::rc::Rc;

    type Seen = Rc<RefCell<Vec<String>>>;

    struct Syncs(Seen);

    impl Gate for Syncs {
        fn pass(&self, op: &Op<'_>) -> std::result::Result<(), Stop> {
            match op {
                Op::Sync(path) => self.0.borrow_mut().push((*path).to_owned()),
                Op::SyncAll(path) => self.0.borrow_mut().push(format!("all of {path}")),
                Op::Rename(_, path) => self.0.borrow_mut().push(format!("rename to {path}")),
                _ => {}
            }
            Ok(())
        }
    }

    fn tree() -> (tempfile::TempDir, TreeMut, Seen) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("boot")).unwrap();
        std::fs::write(dir.path().join("x"), "x").unwrap();
        std::fs::write(dir.path().join("boot/x"), "x").unwrap();
        let seen = Seen::default();
        let host = TreeMut::mounted(dir.path()).unwrap().with_gate(Box::new(Syncs(Rc::clone(&seen))));
        (dir, host, seen)
    }

    #[test]
    fn what_is_synced_first_depends_on_what_a_name_led_to() {
        let (dir, host, seen) = tree();
        let settled = |kind, path: &str, replaces: bool| {
            let (place, file) = (host.place(path).unwrap(), File::open(dir.path().join("x")).unwrap());
            let replaced = replaces.then(|| file.try_clone().unwrap());
            host.settle_on(kind, &place, &file, replaced).unwrap();
            std::mem::take(&mut *seen.borrow_mut())
        };
        assert_eq!(settled(FsKind::Fat, "/boot/x", false), ["/boot/x", "/boot"]);
        assert_eq!(settled(FsKind::Fat, "/boot/x", true), ["/boot", "/boot/x"]);
        assert_eq!(settled(FsKind::Posix, "/x", false), ["/"]);
        assert_eq!(settled(FsKind::Posix, "/boot/x", true), ["/boot", "all of /boot"]);
    }

    #[test]
    fn what_grub_reads_is_in_its_place_before_and_after_it_gets_its_name() {
        let (_dir, host, seen) = tree();
        let write = ["/boot/.x.vfioneer-new", "all of /boot", "rename to /boot/x", "/boot", "all of /boot"];
        host.write("/boot/x", b"y", 0o644).unwrap();
        assert_eq!(std::mem::take(&mut *seen.borrow_mut()), write);
        host.write("/boot/.x.vfioneer-new", b"z", 0o644).unwrap();
        seen.borrow_mut().clear();
        host.rename("/boot/.x.vfioneer-new", "/boot/x", true).unwrap();
        assert_eq!(std::mem::take(&mut *seen.borrow_mut()), write);
        host.write("/x", b"y", 0o644).unwrap();
        assert_eq!(std::mem::take(&mut *seen.borrow_mut()), ["/.x.vfioneer-new", "rename to /x", "/"]);
    }

    struct Freezer(Seen, i32);

    impl Runner for Freezer {
        fn has_program(&self, _: &dyn Host, _: &str) -> bool {
            true
        }
        fn run(&self, _: Option<&Path>, command: &Command<'_>, _: &mut dyn FnMut(&str)) -> io::Result<Done> {
            self.0.borrow_mut().push(format!("{} {}", command.argv[1], command.argv[4]));
            Ok(Done { status: Some(self.1), ..Done::default() })
        }
        fn write_attribute(&self, _: Option<&Path>, _: &str, _: &str) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn xfs_is_frozen_but_never_the_root() {
        let (dir, host, seen) = tree();
        let host = host.with_runner(Box::new(Freezer(Rc::clone(&seen), 0)));
        host.bring_in_place(FsKind::Xfs, &host.place("/boot/x").unwrap()).unwrap();
        assert_eq!(std::mem::take(&mut *seen.borrow_mut()), ["all of /boot"]);
        // Another file system than the tree's: on a machine's /proc nothing can be frozen, and nothing is.
        let apart = |status| {
            let host = TreeMut::live().with_runner(Box::new(Freezer(Rc::clone(&seen), status)));
            host.bring_in_place(FsKind::Xfs, &host.place("/proc/self/status").unwrap()).map_err(|e| e.to_string())
        };
        assert_eq!(apart(0), Ok(()));
        assert_eq!(seen.borrow().len(), 1);
        assert!(seen.borrow()[0].starts_with("-c /proc/"), "{:?}", seen.borrow());
        assert_eq!(apart(NOT_FROZEN), Ok(()));
        assert!(apart(1).unwrap_err().contains("fsfreeze -u /proc/"));
        drop(dir);
    }
}
