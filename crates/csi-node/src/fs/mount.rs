//! Makes a file system appear at a directory, and takes it away again.
//!
//! The mount is made with `mount(2)` and needs no helper program. It ends when it is unmounted here, when somebody
//! else unmounts it, or when the process ends; the threads that serve it end with it.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fuser::{BackgroundSession, Config, Filesystem, Session, SessionACL};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{major, minor, stat};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long saving may take before an unmount goes on without it.
const SAVE_LIMIT: Duration = Duration::from_secs(15);
/// How long the serving threads may take to end after an unmount.
const END_LIMIT: Duration = Duration::from_secs(3);
/// Threads that take requests from the kernel; the work is done elsewhere.
const THREADS: usize = 2;

/// A mount that could not be made or unmade.
#[derive(Debug, Error)]
pub enum MountError {
    /// The FUSE device can't be opened.
    #[error("/dev/fuse can't be opened; the csi-sidecar needs the device and must be privileged")]
    Device(#[source] io::Error),
    /// `mount(2)` failed.
    #[error("mounting at {target} failed")]
    Mount {
        /// Where to.
        target: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// The kernel and the file system did not come to terms.
    #[error("the file system at {target} could not be started")]
    Start {
        /// Where to.
        target: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// `umount(2)` failed.
    #[error("unmounting {target} failed")]
    Unmount {
        /// Where from.
        target: PathBuf,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// The threads that serve it don't end.
    #[error("the file system at {target} was unmounted but did not end within {limit:?}")]
    Hangs {
        /// Where from.
        target: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
}

/// A file system that can be mounted.
pub trait Mountable: fmt::Debug + Send + Sync + 'static {
    /// Its type in the mount table, `fuse.NAME`.
    const FILE_SYSTEM: &'static str;

    /// Its source in the mount table.
    fn source(&self) -> String;

    /// How far the kernel reads ahead, in KiB; it would begin with 128.
    const READ_AHEAD: u32;

    /// What runs while it is mounted.
    type Service: Service;

    /// Begins to answer the requests that come over `device`, with tasks on `runtime`.
    ///
    /// # Errors
    /// When the kernel and the file system don't come to terms.
    fn serve(self: Arc<Self>, device: OwnedFd, runtime: Handle) -> io::Result<Self::Service>;

    /// Saves everything that is written and not on the server yet. Answers how many files could not be saved.
    fn save_all(self: &Arc<Self>) -> impl Future<Output = usize> + Send;
}

/// The threads that answer the kernel's requests for one mount.
pub trait Service: fmt::Debug + Send + 'static {
    /// Whether they have ended, because the mount has.
    fn has_ended(&self) -> bool;

    /// Waits for their end.
    ///
    /// # Errors
    /// When they didn't end in good order.
    fn join(self) -> io::Result<()>;
}

/// `fuser`'s own.
impl Service for BackgroundSession {
    fn has_ended(&self) -> bool {
        self.guard.is_finished()
    }

    fn join(self) -> io::Result<()> {
        Self::join(self)
    }
}

/// Answers with `fuser`.
///
/// # Errors
/// When the kernel and the file system don't come to terms.
pub(super) fn serve_with_fuser(
    requests: impl Filesystem + 'static,
    device: OwnedFd,
) -> io::Result<BackgroundSession> {
    let mut config = Config::default();
    config.n_threads = Some(THREADS);
    // Who may use it is decided by the kernel: it knows `allow_other` from the mount.
    Session::from_fd(requests, device, SessionACL::All, config)?.spawn()
}

/// How a file system is mounted.
#[derive(Clone, Copy, Debug, Default)]
pub struct MountOptions {
    /// Nobody may write: the kernel refuses with EROFS.
    pub read_only: bool,
    /// Users other than root may use it, as the permissions of the files allow.
    pub allow_other: bool,
    /// `nosuid`, `nodev`, `noexec`, `noatime` and the like.
    pub flags: KernelFlags,
}

/// Flags of the mount itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KernelFlags {
    /// Programs can't be run from it.
    pub no_exec: bool,
    /// Access times are not kept.
    pub no_atime: bool,
}

/// A mounted file system.
#[derive(Debug)]
pub struct FuseMount<F: Mountable> {
    target: PathBuf,
    served: Arc<F>,
    session: Option<F::Service>,
}

impl<F: Mountable> FuseMount<F> {
    /// Mounts `served` at `target`, an existing directory. Must be called in a tokio runtime, which then serves it.
    ///
    /// # Errors
    /// When there is no FUSE device, or the kernel refuses.
    pub fn start(served: F, target: &Path, options: MountOptions) -> Result<Self, MountError> {
        let device =
            OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(MountError::Device)?;
        let device = OwnedFd::from(device);
        let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        flags.set(MsFlags::MS_RDONLY, options.read_only);
        flags.set(MsFlags::MS_NOEXEC, options.flags.no_exec);
        flags.set(MsFlags::MS_NOATIME, options.flags.no_atime);
        let mut data =
            format!("fd={},rootmode=40000,user_id=0,group_id=0,default_permissions", device.as_raw_fd());
        if options.allow_other {
            data.push_str(",allow_other");
        }
        mount(Some(served.source().as_str()), target, Some(F::FILE_SYSTEM), flags, Some(data.as_str()))
            .map_err(|source| MountError::Mount { target: target.to_owned(), source })?;
        let served = Arc::new(served);
        let session = Arc::clone(&served).serve(device, Handle::current()).map_err(|source| {
            if let Err(error) = umount2(target, MntFlags::MNT_DETACH) {
                tracing::warn!(%error, "a mount that could not be served stays");
            }
            MountError::Start { target: target.to_owned(), source }
        })?;
        if let Err(error) = widen_read_ahead(target, F::READ_AHEAD) {
            tracing::debug!(%error, "the kernel's read-ahead stays as it is: large files are read in small pieces");
        }
        Ok(Self { target: target.to_owned(), served, session: Some(session) })
    }

    /// What is mounted.
    pub fn served(&self) -> &Arc<F> {
        &self.served
    }

    /// Where it is mounted.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Whether it has ended: unmounted by somebody else.
    pub fn has_ended(&self) -> bool {
        self.session.as_ref().is_none_or(Service::has_ended)
    }

    /// Saves what is written, unmounts, and waits for the end. A mount that is in use, or whose store doesn't
    /// answer, is taken away all the same: whoever still uses it gets ENOTCONN.
    ///
    /// # Errors
    /// When the kernel refuses, or the serving threads don't end within their limit.
    pub async fn stop(mut self) -> Result<(), MountError> {
        let Some(session) = self.session.take() else { return Ok(()) };
        match timeout(SAVE_LIMIT, self.served.save_all()).await {
            Ok(0) => {}
            Ok(failures) => tracing::error!(failures, "files could not be saved before the unmount"),
            Err(_) => tracing::error!(limit = ?SAVE_LIMIT, "saving before the unmount takes too long"),
        }
        let target = self.target.clone();
        if !session.has_ended() {
            let detached = timeout(END_LIMIT, tokio::task::spawn_blocking(move || detach(&target))).await;
            let hangs = || MountError::Hangs { target: self.target.clone(), limit: END_LIMIT };
            detached.map_err(|_| hangs())?.map_err(|_| hangs())??;
        }
        let ended = tokio::task::spawn_blocking(move || session.join());
        match timeout(END_LIMIT, ended).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(outcome) => {
                tracing::debug!(?outcome, "the file system ended with an error");
                Ok(())
            }
            Err(_) => Err(MountError::Hangs { target: self.target.clone(), limit: END_LIMIT }),
        }
    }
}

/// Has the kernel ask for `kibibytes` ahead when a file is read from front to back.
fn widen_read_ahead(target: &Path, kibibytes: u32) -> io::Result<()> {
    let device = stat(target)?.st_dev;
    let knob = format!("/sys/class/bdi/{}:{}/read_ahead_kb", major(device), minor(device));
    std::fs::write(knob, kibibytes.to_string())
}

/// Unmounts `target`: in good order if nobody uses it, else by force, which also ends requests that hang.
///
/// # Errors
/// When the kernel refuses.
pub fn detach(target: &Path) -> Result<(), MountError> {
    let failed = |source| MountError::Unmount { target: target.to_owned(), source };
    match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
        Err(Errno::EBUSY) => {
            let forced = MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_FORCE | MntFlags::MNT_DETACH;
            umount2(target, forced).map_err(failed)
        }
        Err(source) => Err(failed(source)),
    }
}
