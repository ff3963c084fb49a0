//! Volumes and files of a container. Each is cloned as a detached mount while the node's file system is visible, and
//! attached when only the container's root is: so a symbolic link in an image or a volume can't lead to a file of
//! the machine, on either side. A clone of a shared mount stays in its peer group, which is what propagation needs.

use std::fs::{DirBuilder, OpenOptions};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, open, openat2};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree,
};

use super::error::{At as _, ShimError};
use super::protocol::{MountSpec, Propagation};

/// Clones the mount's source as a detached tree, with the mounts beneath it.
pub(super) fn take(mount: &MountSpec) -> Result<OwnedFd, ShimError> {
    let step = || format!("opening volume {}", mount.source.display());
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    match &mount.sub_path {
        None => open_tree(CWD, &mount.source, flags).at(step),
        Some(sub_path) => {
            let inner = open_beneath(&mount.source, sub_path)?;
            open_tree(&inner, "", flags | OpenTreeFlags::AT_EMPTY_PATH).at(step)
        }
    }
}

/// Opens `sub_path` below `volume` without leaving it; makes missing directories.
fn open_beneath(volume: &Path, sub_path: &Path) -> Result<OwnedFd, ShimError> {
    let step = || format!("opening subPath {} of volume {}", sub_path.display(), volume.display());
    let path = OFlags::PATH | OFlags::CLOEXEC;
    let mut here = open(volume, path | OFlags::DIRECTORY, Mode::empty()).at(step)?;
    for component in sub_path.components() {
        let name = component.as_os_str();
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        here = match openat2(&here, name, path, Mode::empty(), resolve) {
            Err(rustix::io::Errno::NOENT) => {
                mkdirat(&here, name, Mode::from_raw_mode(0o755)).at(step)?;
                openat2(&here, name, path | OFlags::DIRECTORY, Mode::empty(), resolve).at(step)?
            }
            opened => opened.at(step)?,
        };
    }
    Ok(here)
}

/// Attaches a clone in the container's root.
pub(super) fn attach(mount: &MountSpec, volume: &OwnedFd) -> Result<(), ShimError> {
    let step = || format!("mounting a volume at {}", mount.target.display());
    let is_directory = FileType::from_raw_mode(fstat(volume).at(step)?.st_mode) == FileType::Directory;
    make_target(&mount.target, is_directory).at(step)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(volume.as_fd(), "", CWD, &mount.target, flags).at(step)?;
    let propagation = match mount.propagation {
        Propagation::None => Some(MountPropagationFlags::PRIVATE),
        Propagation::HostToContainer => Some(MountPropagationFlags::DOWNSTREAM),
        Propagation::Bidirectional => None,
    };
    if let Some(propagation) = propagation {
        mount_change(&mount.target, propagation | MountPropagationFlags::REC).at(step)?;
    }
    if mount.read_only {
        crate::read_only::remount(&mount.target).at(step)?;
    }
    Ok(())
}

/// Makes the mount point as the image lacks it. Nothing is resolved outside the root: the process has left it.
fn make_target(target: &Path, is_directory: bool) -> std::io::Result<()> {
    if target.exists() {
        return Ok(());
    }
    let make_directory = |path: &Path| DirBuilder::new().recursive(true).mode(0o755).create(path);
    if is_directory {
        return make_directory(target);
    }
    if let Some(parent) = target.parent() {
        make_directory(parent)?;
    }
    OpenOptions::new().create(true).append(true).open(target).map(drop)
}
