//! Owner, mode and extended attributes of a file, taken from one and given to another.
//!
//! Extended attributes hold the SELinux label (`security.selinux`), capabilities and ACLs (xattr(7)).

use rustix::fd::AsFd;
use rustix::fs::{self, Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;

/// The most bytes of one attribute, and of the list of names (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX` in `include/uapi/linux/limits.h`).
const LONGEST: usize = 64 << 10;

/// Gives `to` what `from` has. A file system that has no owners, modes or attributes keeps none.
pub(super) fn copy(from: impl AsFd, to: impl AsFd) -> Result<(), Errno> {
    let stat = fs::fstat(&from)?;
    let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    missing_is_fine(fs::fchown(&to, owner.0, owner.1))?;
    // After the owner: a change of owner takes set-id bits away (chown(2)).
    missing_is_fine(fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777)))?;
    let mut names = vec![0; LONGEST];
    let length = match fs::flistxattr(&from, names.as_mut_slice()) {
        Ok(length) => length,
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let mut value = vec![0; LONGEST];
    for name in names.get(..length).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = fs::fgetxattr(&from, name, value.as_mut_slice())?;
        let value = value.get(..length).unwrap_or_default();
        missing_is_fine(fs::fsetxattr(&to, name, value, XattrFlags::empty()))?;
    }
    Ok(())
}

/// Sets the mode of a new file, where there are modes.
pub(super) fn set_mode(file: impl AsFd, mode: u32) -> Result<(), Errno> {
    missing_is_fine(fs::fchmod(&file, Mode::from_raw_mode(mode)))
}

fn missing_is_fine(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::INVAL) => Ok(()),
        other => other,
    }
}
