//! The kernel's mount table, behind a trait, so that the order of a publication is tested without mounting.

use std::fmt::Debug;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use tokio::time::timeout;

use crate::driver::{Liveness, Refusal};
use crate::fs as volume_fs;

/// How long a mount may take to prove that it is alive, and how long an unmount may take.
pub(crate) const KERNEL_LIMIT: Duration = Duration::from_secs(5);

/// State of a directory that is to be a mount point.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TargetState {
    /// Nothing is mounted there.
    Free,
    /// A mount is there and answers.
    Alive,
    /// A mount is there whose server is gone or doesn't answer.
    Dead,
}

/// What the node service asks of the kernel. Every call may block.
pub trait MountTable: Debug + Send + Sync + 'static {
    /// Whether something is mounted at `target`.
    ///
    /// # Errors
    /// When the table can't be read.
    fn is_mounted(&self, target: &Path) -> io::Result<bool>;

    /// Whether the file system at `target` answers; an error other than "gone" is an answer.
    fn answers(&self, target: &Path) -> bool;

    /// Whether a process still serves the file system at `target`, or the kernel does itself. Not being answered is
    /// no proof that nobody does.
    fn is_served(&self, target: &Path) -> bool;

    /// Unmounts `target`, by force if need be.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn detach(&self, target: &Path) -> io::Result<()>;
}

/// The kernel's own table.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelMounts;

impl MountTable for KernelMounts {
    fn is_mounted(&self, target: &Path) -> io::Result<bool> {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        Ok(mount_points(&table).any(|point| point == target))
    }

    fn answers(&self, target: &Path) -> bool {
        !matches!(
            nix::sys::statfs::statfs(target),
            Err(Errno::ENOTCONN | Errno::ECONNABORTED | Errno::ESTALE | Errno::EIO)
        )
    }

    fn is_served(&self, target: &Path) -> bool {
        !matches!(nix::sys::statfs::statfs(target), Err(Errno::ENOTCONN | Errno::ECONNABORTED))
    }

    fn detach(&self, target: &Path) -> io::Result<()> {
        volume_fs::detach(target).map_err(io::Error::other)
    }
}

/// The mount points of a `mountinfo` document.
fn mount_points(table: &str) -> impl Iterator<Item = PathBuf> {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| PathBuf::from(unescape(field)))
}

/// Undoes the octal escapes of the mount table.
fn unescape(field: &str) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt as _;
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(code) = code {
            bytes.push(code);
            rest = &after[3..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    std::ffi::OsString::from_vec(bytes)
}

/// What is at `target`, asked within [`KERNEL_LIMIT`]: a mount that doesn't answer in that time is dead.
pub(crate) async fn state(
    table: &Arc<dyn MountTable>,
    target: &Path,
    liveness: Option<Liveness>,
) -> Result<TargetState, Refusal> {
    let mounted = {
        let (table, target) = (Arc::clone(table), target.to_owned());
        bounded("reading the mount table", move || table.is_mounted(&target)).await?
    };
    let failed = |error: io::Error| Refusal::internal(format!("the mount table can't be read: {error}"));
    if !mounted.map_err(failed)? {
        return Ok(TargetState::Free);
    }
    let (table, target) = (Arc::clone(table), target.to_owned());
    let alive = match liveness {
        None => true,
        Some(Liveness::Answers) => {
            bounded("asking the mount", move || table.answers(&target)).await.unwrap_or(false)
        }
        Some(Liveness::Served) => {
            bounded("asking the mount", move || table.is_served(&target)).await.unwrap_or(true)
        }
    };
    Ok(if alive { TargetState::Alive } else { TargetState::Dead })
}

/// Unmounts `target` within [`KERNEL_LIMIT`].
pub(crate) async fn detach(table: &Arc<dyn MountTable>, target: &Path) -> Result<(), Refusal> {
    let (table, path) = (Arc::clone(table), target.to_owned());
    bounded("unmounting", move || table.detach(&path))
        .await?
        .map_err(|error| Refusal::internal(format!("{} can't be unmounted: {error}", target.display())))
}

/// Unmounts below `root` what nobody serves any more: an earlier process of this container mounted it and was killed. The
/// node can't remove the pod's volumes while it is there, and nobody else would take it away.
pub(crate) async fn sweep(table: &Arc<dyn MountTable>, root: &Path) {
    let Ok(text) = fs::read_to_string("/proc/self/mountinfo") else { return };
    let inside = |point: &PathBuf| point != root && point.starts_with(root);
    // The topmost first: one may be mounted over another.
    let points: Vec<_> = mount_points(&text).filter(inside).collect();
    for point in points.into_iter().rev() {
        let (asked, target) = (Arc::clone(table), point.clone());
        let is_served = bounded("asking the mount", move || asked.is_served(&target)).await.unwrap_or(true);
        if is_served {
            continue;
        }
        match detach(table, &point).await {
            Ok(()) => tracing::info!(point = %point.display(), "unmounted what an earlier process left"),
            Err(refusal) => tracing::warn!(reason = refusal.message, "an earlier process's mount stays"),
        }
    }
}

async fn bounded<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    match timeout(KERNEL_LIMIT, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Refusal::internal(format!("{what} failed: {error}"))),
        Err(_) => Err(Refusal::internal(format!("{what} did not end within {KERNEL_LIMIT:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let table = "36 35 98:0 / /mnt/a\\040b\\134c rw,noatime master:1 - fuse.ossfs ossfs rw\n\
                     37 35 0:5 /x /proc rw - proc proc rw\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [PathBuf::from("/mnt/a b\\c"), PathBuf::from("/proc")]);
    }
}
