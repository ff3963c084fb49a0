//! A mounted export: what the parts of the file system have in common.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use nfs3_types::nfs3::{Nfs3Option, fattr3, nfs_fh3, post_op_attr, post_op_fh3};
use nix::errno::Errno;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::super::options::NfsOptions;
use super::super::protocol::{Failure, Nfs, some};
use super::super::rpc::{Caller, RpcError};
use super::listing::Listing;
use super::nodes::{Known, Node, Nodes};
use crate::fuse::{Entry, Notices};

/// Bytes that are written and not on the server's disk, in one mount.
pub(super) const MOST_UNSAVED: usize = 48 << 20;

/// Result of a file operation.
pub(super) type Outcome<T> = Result<T, Errno>;

impl From<Failure> for Errno {
    fn from(failure: Failure) -> Self {
        let number = failure.errno();
        match failure {
            Failure::Rpc(RpcError::Interrupted | RpcError::Ended) => {}
            Failure::Rpc(_) => tracing::warn!(error = %failure, "a file operation failed"),
            Failure::Status(_) if number == Self::EIO || number == Self::ESTALE => {
                tracing::warn!(error = %failure, "a file operation failed");
            }
            Failure::Status(_) => {}
        }
        number
    }
}

impl From<RpcError> for Errno {
    fn from(error: RpcError) -> Self {
        Failure::from(error).into()
    }
}

/// An open file.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) node: Arc<Node>,
    /// Who opened it; reads and writes are done in this name.
    pub(super) who: Caller,
    /// Whether writes go to the end of the file wherever the kernel believes that to be.
    pub(super) appends: bool,
}

/// An export of a server, as a file system.
#[derive(Debug)]
pub(crate) struct Share {
    pub(super) nfs: Nfs,
    pub(super) options: NfsOptions,
    pub(super) nodes: Nodes,
    /// Room for what is written and not saved yet.
    pub(super) room: Arc<Semaphore>,
    pub(super) notices: OnceLock<Notices>,
    pub(super) runtime: OnceLock<tokio::runtime::Handle>,
    source: String,
    opens: Mutex<HashMap<u64, Arc<Open>>>,
    listings: Mutex<HashMap<u64, Arc<Listing>>>,
    next: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Share {
    /// The directory `root` of the server of `nfs`, called `source` in the mount table.
    pub(crate) fn new(
        nfs: Nfs,
        options: NfsOptions,
        root: nfs_fh3,
        attributes: fattr3,
        source: String,
    ) -> Self {
        let nodes = Nodes::new(options.files, options.directories);
        nodes.hand_out(&Known { handle: root, attributes, asked: Instant::now() });
        Self {
            nfs,
            options,
            nodes,
            room: Arc::new(Semaphore::new(MOST_UNSAVED)),
            notices: OnceLock::new(),
            runtime: OnceLock::new(),
            source,
            opens: Mutex::default(),
            listings: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    pub(crate) fn source_name(&self) -> &str {
        &self.source
    }

    /// Ends everything that still waits for the server.
    pub(crate) fn end(&self) {
        self.nfs.rpc.end();
    }

    /// A number that was not used before.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn node(&self, number: u64) -> Outcome<Arc<Node>> {
        self.nodes.get(number).ok_or(Errno::ESTALE)
    }

    pub(super) fn opens(&self) -> MutexGuard<'_, HashMap<u64, Arc<Open>>> {
        lock(&self.opens)
    }

    pub(super) fn open_file(&self, handle: u64) -> Outcome<Arc<Open>> {
        self.opens().get(&handle).cloned().ok_or(Errno::EBADF)
    }

    pub(super) fn listings(&self) -> MutexGuard<'_, HashMap<u64, Arc<Listing>>> {
        lock(&self.listings)
    }

    /// Asks for the attributes of `node`.
    pub(super) async fn refresh(&self, caller: &Caller, node: &Node) -> Result<(), Failure> {
        let asked = Instant::now();
        match self.nfs.attributes(caller, &node.handle).await {
            Ok(attributes) => {
                node.learn(&attributes, asked);
                Ok(())
            }
            Err(failure) => {
                node.distrust();
                Err(failure)
            }
        }
    }

    /// What is known of something that was just made or found under `name` in `directory`. Servers may leave out the
    /// handle and the attributes.
    pub(super) async fn known(
        &self,
        caller: &Caller,
        directory: &Node,
        name: &[u8],
        (handle, attributes): (post_op_fh3, post_op_attr),
        asked: Instant,
    ) -> Outcome<Known> {
        match (some(handle), some(attributes)) {
            (Some(handle), Some(attributes)) => Ok(Known { handle, attributes, asked }),
            (Some(handle), None) => self.with_attributes(caller, handle).await,
            (None, _) => {
                let found = self.nfs.lookup(caller, &directory.handle, name).await?;
                match found.obj_attributes {
                    Nfs3Option::Some(attributes) => Ok(Known { handle: found.object, attributes, asked }),
                    Nfs3Option::None => self.with_attributes(caller, found.object).await,
                }
            }
        }
    }

    async fn with_attributes(&self, caller: &Caller, handle: nfs_fh3) -> Outcome<Known> {
        let asked = Instant::now();
        let attributes = self.nfs.attributes(caller, &handle).await?;
        Ok(Known { handle, attributes, asked })
    }

    /// Remembers what `name` in `directory` stands for, and hands it out to the kernel.
    pub(super) fn entry(&self, directory: &Node, name: &[u8], known: Known) -> (Arc<Node>, Entry) {
        let node = self.nodes.hand_out(&known);
        directory.add_name(Bytes::copy_from_slice(name), known);
        let entry = Entry { node: node.number, attributes: node.show() };
        (node, entry)
    }
}
