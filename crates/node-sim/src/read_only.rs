//! Making a mount read-only without loosening it.

use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{MountFlags, mount_remount};

/// Makes the mount at `path` refuse writes and keeps its other restrictions, which a user namespace may not lift.
pub(crate) fn remount(path: &Path) -> rustix::io::Result<()> {
    let has = statvfs(path)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (present, kept) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        if has.contains(present) {
            flags |= kept;
        }
    }
    mount_remount(path, flags, "")
}
