//! A mounted volume: what all file operations share.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clock::SharedClock;
use fuser::{BackgroundSession, Errno, FileAttr};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{RwLock, Semaphore};
use tokio::time::Instant;

use super::ahead::Ahead;
use super::attributes::{Kind, Shown, Stat};
use super::dispatch::Dispatch;
use super::failure::{Outcome, errno};
use super::listing::Listing;
use super::media;
use super::mount::{Mountable, serve_with_fuser};
use super::nodes::{Nodes, ROOT};
use super::opening;
use super::stream::{Destination, PartRules};
use crate::s3::Bucket;

/// Longest name, in bytes.
const LONGEST_NAME: usize = 255;
/// Longest key, in bytes.
const LONGEST_KEY: usize = 1024;

/// How a volume is to behave.
#[derive(Clone, Debug)]
pub struct VolumeOptions {
    /// What keys begin with: "" or ending with a slash.
    pub prefix: String,
    /// Attributes that override the stored ones.
    pub shown: Shown,
    /// Permission bits of the root.
    pub root_mode: u32,
    /// Size of a part, in bytes; at least 5 MiB.
    pub part_size: u64,
    /// Parts on their way at once.
    pub parallel_parts: usize,
    /// How long attributes are believed without asking the store.
    pub attributes_live: Duration,
    /// Where scratch files are made.
    pub scratch_directory: PathBuf,
    /// Time for new files.
    pub clock: SharedClock,
}

/// A mounted volume.
#[derive(Debug)]
pub struct Volume {
    pub(super) bucket: Bucket,
    pub(super) options: VolumeOptions,
    pub(super) parts: PartRules,
    /// Held for reading by whatever uses a key, for writing while a directory is renamed.
    pub(super) tree: RwLock<()>,
    /// What is asked before it is wanted.
    pub(super) ahead: Ahead,
    nodes: Mutex<Nodes>,
    handles: Mutex<Handles>,
    next_handle: AtomicU64,
}

#[derive(Debug, Default)]
struct Handles {
    files: HashMap<u64, Arc<opening::Handle>>,
    listings: HashMap<u64, Arc<Listing>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mountable for Volume {
    const FILE_SYSTEM: &'static str = "fuse.ossfs";
    const READ_AHEAD: u32 = 1024;

    type Service = BackgroundSession;

    fn source(&self) -> String {
        "ossfs".into()
    }

    fn serve(self: Arc<Self>, device: OwnedFd, runtime: Handle) -> io::Result<BackgroundSession> {
        serve_with_fuser(Dispatch::new(self, runtime), device)
    }

    async fn save_all(self: &Arc<Self>) -> usize {
        let files = self.nodes().open_files(ROOT);
        let mut failures = 0;
        for file in files {
            if self.save(&file).await.is_err() {
                failures += 1;
            }
        }
        failures
    }
}

impl Volume {
    /// The volume behind `bucket`. The store isn't asked anything yet.
    pub fn new(bucket: Bucket, options: VolumeOptions) -> Self {
        let root = Stat::new(Kind::Directory, options.root_mode, 0, 0, options.clock.now());
        let parts = PartRules {
            size: options.part_size,
            permits: Arc::new(Semaphore::new(options.parallel_parts.max(1))),
        };
        Self {
            bucket,
            options,
            parts,
            tree: RwLock::default(),
            ahead: Ahead::default(),
            nodes: Mutex::new(Nodes::new(root)),
            handles: Mutex::default(),
            next_handle: AtomicU64::new(1),
        }
    }

    pub(super) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        locked(&self.nodes)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    /// The full key of the file `path` below the root.
    pub(super) fn key(&self, path: &str) -> String {
        format!("{}{path}", self.options.prefix)
    }

    /// The full key prefix of the directory `path` below the root.
    pub(super) fn directory_key(&self, path: &str) -> String {
        if path.is_empty() { self.options.prefix.clone() } else { format!("{}{path}/", self.options.prefix) }
    }

    /// The path of `name` in the directory `parent`.
    pub(super) fn child_path(&self, parent: u64, name: &str) -> Outcome<String> {
        let above = self.nodes().path(parent).ok_or(Errno::ENOENT)?;
        let path = if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") };
        if name.len() > LONGEST_NAME || self.options.prefix.len() + path.len() + 1 > LONGEST_KEY {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(path)
    }

    /// The path of `ino`, or ENOENT if its name is gone.
    pub(super) fn path(&self, ino: u64) -> Outcome<String> {
        self.nodes().path(ino).ok_or(Errno::ENOENT)
    }

    /// The stored attributes of `ino`.
    pub(super) fn stat(&self, ino: u64) -> Outcome<Stat> {
        self.nodes().get(ino).map(|node| node.stat.clone()).ok_or(Errno::ESTALE)
    }

    /// What the kernel is told about `ino`.
    pub(super) fn attr(&self, ino: u64) -> Outcome<FileAttr> {
        let nodes = self.nodes();
        let node = nodes.get(ino).ok_or(Errno::ESTALE)?;
        let mut attr = node.stat.for_kernel(ino, &self.options.shown);
        if ino == ROOT {
            attr.perm =
                u16::try_from(self.options.shown.umask.map_or(node.stat.mode, |umask| 0o777 & !umask))
                    .unwrap_or(0);
        }
        if node.removed {
            attr.nlink = 0;
        }
        Ok(attr)
    }

    /// Whether what is known about `ino` needs no question to the store.
    pub(super) fn is_fresh(&self, ino: u64, life: Duration) -> bool {
        let nodes = self.nodes();
        let Some(node) = nodes.get(ino) else { return false };
        ino == ROOT
            || node.removed
            || node.is_unsaved()
            || node.checked.is_some_and(|checked| checked.elapsed() < life)
    }

    /// How long the kernel may believe what it is told about `ino` without asking here: as long as it would be
    /// answered from memory anyway. For files that is what an `open` trusts, so that who has one open sees its size.
    pub(super) fn kernel_keeps(&self, ino: u64) -> Duration {
        let nodes = self.nodes();
        let Some(node) = nodes.get(ino).filter(|node| !node.removed) else { return Duration::ZERO };
        let live = match node.stat.kind {
            Kind::Directory => self.options.attributes_live,
            Kind::File | Kind::Link => opening::OPEN_TRUSTS.min(self.options.attributes_live),
        };
        match node.checked {
            _ if ino == ROOT => live,
            _ if node.is_unsaved() => Duration::ZERO,
            Some(checked) => live.saturating_sub(checked.elapsed()),
            None => Duration::ZERO,
        }
    }

    /// Where the file at `path` is saved, with what attributes.
    pub(super) fn destination(&self, path: &str, stat: &Stat) -> Destination {
        let content_type = match stat.kind {
            Kind::File => media::saved(&stat.content_type, path),
            Kind::Directory | Kind::Link => &stat.content_type,
        };
        Destination { key: self.key(path), content_type: content_type.to_owned(), metadata: stat.metadata() }
    }

    /// Asks the store what is at `path`: a file, a directory with or without an object, or nothing.
    pub(super) async fn ask(&self, path: &str, likely: Kind) -> Outcome<Option<Stat>> {
        if likely == Kind::Directory {
            if let Some(stat) = self.ask_directory(path).await? {
                return Ok(Some(stat));
            }
            return self.ask_file(path).await;
        }
        if let Some(stat) = self.ask_file(path).await? {
            return Ok(Some(stat));
        }
        self.ask_directory(path).await
    }

    /// The same where probably nothing is at `path`: that takes one question and not two.
    pub(super) async fn ask_doubting(&self, path: &str) -> Outcome<Option<Stat>> {
        let key = self.key(path);
        let page = self.bucket.list(&key, true, 1, None).await.map_err(|error| errno(&error))?;
        match page.objects.first() {
            // A key sorts before all others that begin with it.
            Some(first) if first.key == key => self.ask(path, Kind::File).await,
            None if page.prefixes.is_empty() && page.next.is_none() => Ok(None),
            _ => self.ask_directory(path).await,
        }
    }

    async fn ask_file(&self, path: &str) -> Outcome<Option<Stat>> {
        let info = self.bucket.head(&self.key(path)).await.map_err(|error| errno(&error))?;
        Ok(info.map(|info| Stat::of_object(&info, false)))
    }

    async fn ask_directory(&self, path: &str) -> Outcome<Option<Stat>> {
        let prefix = self.directory_key(path);
        let page = self.bucket.list(&prefix, false, 1, None).await.map_err(|error| errno(&error))?;
        let Some(first) = page.objects.first() else { return Ok(None) };
        if first.key != prefix {
            return Ok(Some(Stat::implied_directory(first.modified)));
        }
        let info = self.bucket.head(&prefix).await.map_err(|error| errno(&error))?;
        Ok(Some(
            info.map_or_else(|| Stat::implied_directory(first.modified), |info| Stat::of_object(&info, true)),
        ))
    }

    /// Asks the store again about `ino`, unless what is known is younger than `life`.
    pub(super) async fn refresh(&self, ino: u64, life: Duration) -> Outcome<()> {
        if self.is_fresh(ino, life) || self.is_being_written(ino) {
            return Ok(());
        }
        let kind = self.stat(ino)?.kind;
        let _tree = self.tree.read().await;
        let path = self.path(ino)?;
        let found = self.ask(&path, kind).await?;
        let mut nodes = self.nodes();
        match found {
            Some(stat) if stat.kind == kind => {
                if let Some(node) = nodes.get_mut(ino) {
                    node.stat = stat;
                    node.checked = Some(Instant::now());
                }
                Ok(())
            }
            _ => {
                nodes.remove(ino);
                Err(Errno::ENOENT)
            }
        }
    }

    /// Whether the mount itself knows better than the store what `ino` is.
    pub(super) fn is_being_written(&self, ino: u64) -> bool {
        let file = self.nodes().get(ino).and_then(|node| node.file.clone());
        file.is_some_and(|file| {
            file.content.try_lock().map_or(true, |content| {
                content.dirty || content.attributes_dirty || content.detached || content.failed.is_some()
            })
        })
    }

    pub(super) fn new_handle(&self) -> u64 {
        self.next_handle.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn add_file_handle(&self, handle: Arc<opening::Handle>) -> u64 {
        let number = self.new_handle();
        locked(&self.handles).files.insert(number, handle);
        number
    }

    pub(super) fn file_handle(&self, number: u64) -> Outcome<Arc<opening::Handle>> {
        locked(&self.handles).files.get(&number).cloned().ok_or(Errno::EBADF)
    }

    pub(super) fn remove_file_handle(&self, number: u64) -> Option<Arc<opening::Handle>> {
        locked(&self.handles).files.remove(&number)
    }

    pub(super) fn add_listing(&self, listing: Listing) -> u64 {
        let number = self.new_handle();
        locked(&self.handles).listings.insert(number, Arc::new(listing));
        number
    }

    pub(super) fn listing(&self, number: u64) -> Outcome<Arc<Listing>> {
        locked(&self.handles).listings.get(&number).cloned().ok_or(Errno::EBADF)
    }

    pub(super) fn remove_listing(&self, number: u64) {
        locked(&self.handles).listings.remove(&number);
    }
}
