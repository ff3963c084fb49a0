//! Volumes and files of a container, mounted in its root while the node's file system is still there.
//!
//! Both ends are opened first, each without leaving its tree (a symbolic link in an image or a volume can't lead to a
//! file of the machine), and then bound in one step: a mount that appears under a shared volume meanwhile is either
//! in what is bound or propagated to it. A clone that is attached in a second step would miss it.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, open, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};

use super::error::{At as _, ShimError};
use super::protocol::{MountSpec, Propagation};

const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Mounts a volume or file in the container's root, which is at `root`.
pub(super) fn attach(root: &Path, mount: &MountSpec) -> Result<(), ShimError> {
    let step = || format!("mounting a volume at {}", mount.target.display());
    let source = open_source(mount)?;
    let is_directory = FileType::from_raw_mode(fstat(&source).at(step)?.st_mode) == FileType::Directory;
    let root = open(root, PATH | OFlags::DIRECTORY, Mode::empty()).at(step)?;
    let target = open_target(&root, &mount.target, is_directory).at(step)?;
    mount_bind_recursive(through(&source), through(&target)).at(step)?;
    // The descriptor shows what is below the new mount; opened again it shows the mount.
    let mounted = open_inside(&root, &mount.target).at(step)?;
    let propagation = match mount.propagation {
        Propagation::None => Some(MountPropagationFlags::PRIVATE),
        Propagation::HostToContainer => Some(MountPropagationFlags::DOWNSTREAM),
        Propagation::Bidirectional => None,
    };
    if let Some(propagation) = propagation {
        mount_change(through(&mounted), propagation | MountPropagationFlags::REC).at(step)?;
    }
    if mount.read_only {
        crate::read_only::remount(&through(&mounted)).at(step)?;
    }
    Ok(())
}

/// A path that leads to an open file, whatever its name is by now.
fn through(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn open_source(mount: &MountSpec) -> Result<OwnedFd, ShimError> {
    let step = || format!("opening volume {}", mount.source.display());
    let mut here = open(&mount.source, PATH, Mode::empty()).at(step)?;
    for component in mount.sub_path.iter().flat_map(|path| path.components()) {
        let name = Path::new(component.as_os_str());
        let step = || format!("opening subPath {} of volume {}", name.display(), mount.source.display());
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        here = match openat2(&here, name, PATH, Mode::empty(), resolve) {
            Err(Errno::NOENT) => {
                mkdirat(&here, name, Mode::from_raw_mode(0o755)).at(step)?;
                openat2(&here, name, PATH | OFlags::DIRECTORY, Mode::empty(), resolve).at(step)?
            }
            opened => opened.at(step)?,
        };
    }
    Ok(here)
}

/// Opens a path as the container would: links, `..` and absolute destinations stay inside its root.
fn open_inside(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    openat2(root, path, PATH, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Opens the mount point, and makes it where the image lacks it.
fn open_target(root: &OwnedFd, target: &Path, is_directory: bool) -> Result<OwnedFd, Errno> {
    match open_inside(root, target) {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    let mut made = PathBuf::from("/");
    let names: Vec<_> = target.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    for (position, name) in names.iter().enumerate() {
        let parent = open_inside(root, &made)?;
        made.push(name);
        if open_inside(root, &made).is_ok() {
            continue;
        }
        let name = Path::new(name.as_os_str());
        if is_directory || position + 1 < names.len() {
            mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
        } else {
            let new = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(openat(&parent, name, new, Mode::from_raw_mode(0o644))?);
        }
    }
    open_inside(root, target)
}
