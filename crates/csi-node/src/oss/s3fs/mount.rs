//! A mount that an `s3fs` serves: until it answers, and until it is gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::statfs::{FUSE_SUPER_MAGIC, statfs};
use serde_json::json;
use tokio::time::timeout;
use tonic::Code;

use super::PROGRAM;
use super::folder::Folder;
use super::options;
use super::process::Process;
use super::version::Version;
use crate::driver::{Mounted, Place, Refusal};
use crate::fs::detach;
use crate::mounts::{KERNEL_LIMIT, KernelMounts, MountTable as _};
use crate::oss::mounter::Order;

/// How often it is looked whether the mount is there.
const PAUSE: Duration = Duration::from_millis(10);
/// How long files that are still open may take to be closed, and what is in them to be saved, before an unmount goes on
/// without it. A pod's grace period is 30 s.
const SAVE_LIMIT: Duration = Duration::from_secs(10);

/// Clears `place` and has an `s3fs` mount `order` there; returns once it answers there.
///
/// # Errors
/// `Internal` with what it said when it ends before that, `DeadlineExceeded` when it doesn't come to it. Nothing is left
/// behind then.
pub(super) async fn start(
    order: Order,
    place: &Place,
    version: Version,
    scratch_directory: &Path,
) -> Result<S3fsMount, Refusal> {
    let Order { volume, credentials, limit, .. } = &order;
    let target = place.path();
    let folder = Folder::make(scratch_directory, &volume.bucket, credentials)?;
    let key_file = folder.key_file();
    let arguments = options::arguments(&order, target, &folder, version);
    let source = format!("{}:{}", volume.bucket, volume.path);
    place.clear().await?;
    let process = Process::start(arguments, target, credentials, folder)
        .map_err(|error| Refusal::internal(format!("s3fs can't be run: {error}")))?;
    let mount = S3fsMount { target: target.to_owned(), process };
    let refusal = match timeout(*limit, mount.until_it_answers(&key_file)).await {
        Ok(Ok(())) => {
            tracing::info!(%source, target = %target.display(), "mounted by s3fs");
            let body = json!({ "mounter": PROGRAM, "source": source });
            journal::announce(journal::source::CSI, "OssMounted", &target.to_string_lossy(), body);
            return Ok(mount);
        }
        Ok(Err(reason)) => Refusal::internal(format!("s3fs did not mount {source}: {reason}")),
        Err(_) => Refusal::new(
            Code::DeadlineExceeded,
            format!(
                "deadline exceeded: s3fs did not mount {source} within {limit:?}: {}",
                mount.process.last_words()
            ),
        ),
    };
    mount.give_up().await;
    Err(refusal)
}

/// See the module.
#[derive(Debug)]
pub(super) struct S3fsMount {
    target: PathBuf,
    process: Process,
}

impl S3fsMount {
    /// Waits for the mount; takes the key away as soon as the program must have read it.
    async fn until_it_answers(&self, key_file: &Path) -> Result<(), String> {
        tokio::select! {
            biased;
            how = self.process.ended() => return Err(format!("{} ({how})", self.process.last_words())),
            mounted = self.until_mounted() => mounted?,
        }
        // It reads the key before it mounts, and never again.
        match fs::remove_file(key_file) {
            // It has ended, and its folder is gone: why, is found out below.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(|error| format!("its key can't be removed: {error}"))?,
        }
        // It mounts before it asks the bucket: only then does it answer anybody.
        let target = self.target.clone();
        let answered = tokio::task::spawn_blocking(move || statfs(&target));
        let reason = match answered.await.map_err(|error| error.to_string())? {
            Ok(found) if found.filesystem_type() == FUSE_SUPER_MAGIC && !self.process.has_ended() => {
                return Ok(());
            }
            Ok(_) => "it unmounted again".to_owned(),
            Err(error) => format!("the mount does not answer: {}", error.desc()),
        };
        let how = self.process.ended().await;
        Err(format!("{} ({reason}, {how})", self.process.last_words()))
    }

    async fn until_mounted(&self) -> Result<(), String> {
        loop {
            match KernelMounts.is_mounted(&self.target) {
                Ok(true) => return Ok(()),
                Ok(false) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(format!("the mount table can't be read: {error}")),
            }
        }
    }

    /// Leaves nothing of a mount that failed.
    async fn give_up(&self) {
        if let Err(refusal) = self.process.end().await {
            tracing::error!(reason = refusal.message, "an s3fs that did not mount stays");
        }
        if let Err(refusal) = self.off(detach_by_force).await {
            tracing::error!(reason = refusal.message, "a mount that does not answer stays");
        }
    }

    /// Takes the mount out of sight by `how`, where it may block.
    async fn off(&self, how: fn(&Path) -> Result<(), String>) -> Result<(), Refusal> {
        let target = self.target.clone();
        let failed =
            |reason: String| Refusal::internal(format!("unmounting {}: {reason}", self.target.display()));
        match timeout(KERNEL_LIMIT, tokio::task::spawn_blocking(move || how(&target))).await {
            Ok(Ok(done)) => done.map_err(failed),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("it did not end within {KERNEL_LIMIT:?}"))),
        }
    }
}

#[async_trait]
impl Mounted for S3fsMount {
    fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// `s3fs` saves a file when it is closed, and ends when the last one is. One that nobody closes within the limit is lost:
    /// whoever has it open gets ENOTCONN.
    async fn unmount(self: Box<Self>) -> Result<(), Refusal> {
        if !self.process.has_ended() {
            if let Err(refusal) = self.off(detach_gently).await {
                tracing::warn!(reason = refusal.message, "s3fs is ended without unmounting");
            } else if timeout(SAVE_LIMIT, self.process.ended()).await.is_err() {
                tracing::error!(
                    target = %self.target.display(), limit = ?SAVE_LIMIT,
                    "files are still open: what is not saved in them is lost",
                );
            }
            if !self.process.has_ended() {
                self.process.end().await?;
            }
        }
        // One that was killed leaves its mount.
        self.off(detach_by_force).await
    }
}

/// Unmounts in good order; what is in use goes out of sight and lives on until it is closed.
fn detach_gently(target: &Path) -> Result<(), String> {
    match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(Errno::EBUSY) => umount2(target, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH)
            .map_err(|error| error.desc().to_owned()),
        Err(error) => Err(error.desc().to_owned()),
    }
}

fn detach_by_force(target: &Path) -> Result<(), String> {
    detach(target).map_err(|error| crate::driver::with_sources(&error))
}
