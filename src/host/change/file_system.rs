//! How a file is replaced depends on what holds it: a row per kind of file system.

/// File systems by how a file on them is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsKind {
    /// ext4, btrfs, zfs, overlay, tmpfs: owner, mode, labels, links, atomic rename.
    Posix,
    /// As [`FsKind::Posix`]; syncfs(2) leaves its metadata in its log.
    Xfs,
    /// FAT: no owner, mode or links; rename replaces, but not in one write to the disk.
    Fat,
    /// Proxmox's `/etc/pve`: no chmod, no links.
    Pmxcfs,
}

/// One row. `magic` is statfs(2)'s `f_type`; `below` restricts the row to paths there.
struct Row {
    magic: u64,
    below: &'static str,
    kind: FsKind,
}

/// Everything else is [`FsKind::Posix`].
const ROWS: &[Row] = &[
    // MSDOS_SUPER_MAGIC, `include/uapi/linux/magic.h`: vfat, too.
    Row { magic: 0x4d44, below: "/", kind: FsKind::Fat },
    // EXFAT_SUPER_MAGIC, as above.
    Row { magic: 0x2011_BAB0, below: "/", kind: FsKind::Fat },
    // XFS_SUPER_MAGIC, as above.
    Row { magic: 0x5846_5342, below: "/", kind: FsKind::Xfs },
    // FUSE_SUPER_MAGIC, as above; pmxcfs is mounted there and rejects chmod and chown (pve-cluster `src/pmxcfs/pmxcfs.c`
    // cfs_fuse_chmod, cfs_fuse_chown) and has no link operation.
    Row { magic: 0x6573_5546, below: "/etc/pve/", kind: FsKind::Pmxcfs },
];

impl FsKind {
    /// By `f_type` and the path of a directory, which ends with a slash.
    pub(super) fn of(magic: u64, dir: &str) -> FsKind {
        ROWS.iter().find(|row| row.magic == magic && dir.starts_with(row.below)).map_or(FsKind::Posix, |row| row.kind)
    }

    /// Can a file have a second name?
    pub fn has_links(self) -> bool {
        self.has_attributes()
    }

    /// Has it owners, modes and extended attributes that can be set?
    pub(super) fn has_attributes(self) -> bool {
        matches!(self, FsKind::Posix | FsKind::Xfs)
    }
}

#[cfg(test)]
mod tests {
    use super::FsKind;

    #[test]
    fn a_fuse_mount_elsewhere_is_no_pmxcfs() {
        assert_eq!(FsKind::of(0x6573_5546, "/etc/pve/nodes/"), FsKind::Pmxcfs);
        assert_eq!(FsKind::of(0x6573_5546, "/mnt/"), FsKind::Posix);
        assert_eq!(FsKind::of(0x4d44, "/boot/efi/"), FsKind::Fat);
        assert_eq!(FsKind::of(0xef53, "/boot/"), FsKind::Posix);
        assert_eq!(FsKind::of(0x5846_5342, "/boot/"), FsKind::Xfs);
    }
}
