//! The server: exports and faults on one side, listeners on the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use clock::SharedClock;
use journal::{Journal, source};
use lab::{ExportOptions, NasFault};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::connection::converse;
use crate::export::{Export, ExportError};
use crate::fault::{FaultError, FaultId, Faults, Presence};
use crate::repeated::Repeated;
use crate::service::Service;
use crate::unstable::Lost;

/// How long to wait after a connection could not be accepted.
const RETRY: Duration = Duration::from_millis(50);

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// The port of the port mapper, which answers for the port that was served first.
const PORT_MAPPER: u16 = 111;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct NasOptions {
    /// How long the delays of faults last is told by it.
    pub clock: SharedClock,
    /// Gets an entry for every mount, every fault, the first error of each kind on a connection, and the numbers of
    /// its calls when a connection ends.
    pub journal: Option<Journal>,
    /// Where the exports are: a directory of the server's own that exists. What is in it outlives the server.
    pub directory: PathBuf,
}

/// An NFS server; clones are the same server, which stops when the last of them is dropped.
#[derive(Clone)]
pub struct NasSim {
    inner: Arc<Inner>,
}

struct Inner {
    service: Arc<Service>,
    /// The port that was served first.
    first_port: OnceLock<u16>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl fmt::Debug for NasSim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("NasSim").field("state", &self.inner.service.state).finish_non_exhaustive()
    }
}

/// What calls are carried out on.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) journal: Option<Journal>,
    directory: PathBuf,
    exports: RwLock<Vec<Arc<Export>>>,
    generation: AtomicU32,
    /// Another one after each start: tells clients that what they wrote and did not commit may be lost.
    verifier: AtomicU64,
    /// Held by each call that is at work, and by a restart alone.
    life: RwLock<()>,
    mounted: Mutex<BTreeSet<(IpAddr, String)>>,
    calls: Mutex<BTreeMap<&'static str, u64>>,
}

impl State {
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::SeqCst)
    }

    pub(crate) fn verifier(&self) -> [u8; 8] {
        self.verifier.load(Ordering::SeqCst).to_ne_bytes()
    }

    /// Keeps a restart from happening.
    pub(crate) fn alive(&self) -> RwLockReadGuard<'_, ()> {
        self.life.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn exports(&self) -> Vec<Arc<Export>> {
        self.exports.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn export_of(&self, id: u64) -> Option<Arc<Export>> {
        self.exports().into_iter().find(|export| export.id == id)
    }

    /// The export at or above a path, and what of the path is below it.
    pub(crate) fn export_above<'a, 'b>(
        &self,
        components: &'a [&'b [u8]],
    ) -> Option<(Arc<Export>, &'a [&'b [u8]])> {
        self.exports().into_iter().find_map(|export| {
            let own = parts(&export.path).count();
            let above = components.get(..own)?;
            let same = parts(&export.path).map(str::as_bytes).eq(above.iter().copied());
            same.then(|| (export, &components[own..]))
        })
    }

    pub(crate) fn mounted(&self) -> MutexGuard<'_, BTreeSet<(IpAddr, String)>> {
        self.mounted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, procedure: &'static str) {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(procedure).or_default() += 1;
    }
}

fn new_verifier() -> u64 {
    let (verifier, _) = uuid::Uuid::new_v4().as_u64_pair();
    verifier
}

/// The components of a path.
fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

impl NasSim {
    /// A server without exports and listeners.
    pub fn new(options: NasOptions) -> Self {
        let faults = Faults::new(options.clock, options.journal.clone());
        let state = State {
            journal: options.journal,
            directory: options.directory,
            exports: RwLock::default(),
            generation: AtomicU32::new(0),
            verifier: AtomicU64::new(new_verifier()),
            life: RwLock::default(),
            mounted: Mutex::default(),
            calls: Mutex::default(),
        };
        let service = Service { state: Arc::new(state), faults, repeated: Repeated::default() };
        let stop = CancellationToken::new();
        let inner = Inner {
            service: Arc::new(service),
            first_port: OnceLock::new(),
            tasks: TaskTracker::new(),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn state(&self) -> &State {
        &self.inner.service.state
    }

    /// Offers the folder of this path below the server's directory, which is made (open to everybody) where it is
    /// missing. `/` is the directory itself. Exports can't be in each other.
    ///
    /// # Errors
    /// [`ExportError`] for a path that can't be exported, and a folder that can't be made.
    pub fn add_export(&self, path: &str, options: ExportOptions) -> Result<(), ExportError> {
        let path_of = || path.to_owned();
        let is_clean = path == "/" || (path.starts_with('/') && !path.ends_with('/') && !path.contains("//"));
        if !is_clean || parts(path).any(|part| part == "." || part == "..") || path.contains('\0') {
            return Err(ExportError::Path { path: path_of() });
        }
        let state = self.state();
        let mut exports = state.exports.write().unwrap_or_else(PoisonError::into_inner);
        let within = |inner: &str, outer: &str| {
            let outer: Vec<_> = parts(outer).collect();
            parts(inner).collect::<Vec<_>>().starts_with(&outer)
        };
        if let Some(other) =
            exports.iter().find(|other| within(path, &other.path) || within(&other.path, path))
        {
            return Err(ExportError::Overlap { path: path_of(), other: other.path.clone() });
        }
        let failed = |source| ExportError::Folder { path: path_of(), source };
        let folder = state.directory.join(path.trim_start_matches('/'));
        if !folder.is_dir() {
            std::fs::create_dir_all(&folder).map_err(failed)?;
            rustix::fs::chmod(&folder, rustix::fs::Mode::from_raw_mode(0o777))
                .map_err(|error| failed(error.into()))?;
        }
        let export = Export::new(path, &folder, options).map_err(|error| failed(error.into()))?;
        exports.push(Arc::new(export));
        Ok(())
    }

    /// Offers an export in another way from now on.
    ///
    /// # Errors
    /// [`ExportError::NotFound`].
    pub fn set_export(&self, path: &str, options: ExportOptions) -> Result<(), ExportError> {
        let exports = self.state().exports();
        let export = exports.iter().find(|export| export.path == path);
        export.ok_or_else(|| ExportError::NotFound { path: path.to_owned() })?.set_options(options);
        Ok(())
    }

    /// The paths of all exports.
    pub fn exports(&self) -> Vec<String> {
        self.state().exports().iter().map(|export| export.path.clone()).collect()
    }

    /// How often each procedure was called, by its name in RFC 1813 without the prefix: `READ`, `MNT`, ….
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.state().calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts a fault. It lasts until it is healed or has struck as often as it says.
    ///
    /// # Errors
    /// [`FaultError`] for a fault that makes no sense.
    pub fn inject(&self, fault: NasFault) -> Result<FaultId, FaultError> {
        let (is_stale, is_restart) = (fault.stale, fault.restart);
        let id = self.inner.service.faults.inject(fault)?;
        if is_stale {
            self.state().generation.fetch_add(1, Ordering::SeqCst);
        }
        if is_restart {
            self.restart();
        }
        Ok(id)
    }

    /// What a restart does to clients: what was taken and not committed is lost, the verifier is another one, nobody
    /// remembers which calls were answered, and the connections are cut.
    fn restart(&self) {
        let service = &self.inner.service;
        let lost = {
            let _alone = service.state.life.write().unwrap_or_else(PoisonError::into_inner);
            service.state.verifier.store(new_verifier(), Ordering::SeqCst);
            service.repeated.clear();
            service.state.exports().iter().fold(Lost::default(), |sum, export| {
                let lost = export.unstable.lose();
                export.recount();
                Lost { files: sum.files + lost.files, bytes: sum.bytes + lost.bytes }
            })
        };
        service.faults.restarted();
        if let Some(journal) = &service.state.journal {
            let body = json!({"lostFiles": lost.files, "lostBytes": lost.bytes});
            journal.record(source::NAS, "restarted", "server", body);
        }
    }

    /// Ends a fault, and lets go of the calls that it holds back. Handles that a fault has made stale stay so.
    ///
    /// # Errors
    /// [`FaultError::NotFound`] for a fault that is not in force.
    pub fn heal(&self, fault: FaultId) -> Result<(), FaultError> {
        self.inner.service.faults.heal(fault)
    }

    /// Whether a fault has taken it away.
    pub fn is_gone(&self) -> bool {
        self.inner.service.faults.presence().borrow().gone
    }

    /// Answers calls that come to `listener`, in tasks of the present runtime, until [`Self::shutdown`]. Any number
    /// of listeners can be served at once. The port mapper names the listener's own port, and on port 111 the one
    /// that was served first.
    pub fn serve(&self, listener: TcpListener) {
        self.serve_with(listener, true);
    }

    /// The same, out of the reach of faults: for whoever looks at the exports from outside.
    pub fn serve_without_faults(&self, listener: TcpListener) {
        self.serve_with(listener, false);
    }

    fn serve_with(&self, listener: TcpListener, with_faults: bool) {
        let Ok(address) = listener.local_addr() else { return };
        let port = if address.port() == PORT_MAPPER {
            self.inner.first_port.get().copied().unwrap_or(PORT_MAPPER)
        } else {
            self.inner.first_port.get_or_init(|| address.port());
            address.port()
        };
        let door = Door {
            service: self.inner.service.clone(),
            tasks: self.inner.tasks.clone(),
            address,
            port,
            with_faults,
            presence: self.inner.service.faults.presence(),
        };
        let stop = self.inner.stop.clone();
        self.inner.tasks.spawn(async move {
            stop.clone().run_until_cancelled_owned(door.keep(listener, stop)).await;
        });
    }

    /// Closes every listener and connection, and returns once that is done.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

/// A listener, open or shut.
struct Door {
    service: Arc<Service>,
    tasks: TaskTracker,
    address: SocketAddr,
    port: u16,
    with_faults: bool,
    presence: watch::Receiver<Presence>,
}

impl Door {
    /// Lets connections in while the server is there.
    async fn keep(self, mut listener: TcpListener, stop: CancellationToken) {
        let mut presence = self.presence.clone();
        let mut seen = presence.borrow_and_update().restarts;
        loop {
            let open = stop.child_token();
            if !self.with_faults {
                return self.accept(&listener, &open).await;
            }
            tokio::select! {
                () = self.accept(&listener, &open) => {}
                _ = presence.wait_for(|now| now.gone || now.restarts != seen) => {}
            }
            seen = presence.borrow_and_update().restarts;
            open.cancel();
            drop(listener);
            // The port stays taken meanwhile, though nobody listens: a connection to it is refused.
            let socket = match reserve(self.address) {
                Ok(socket) => socket,
                Err(error) => return tracing::error!(%error, address = %self.address, "port lost"),
            };
            if presence.wait_for(|now| !now.gone).await.is_err() {
                return;
            }
            listener = match socket.listen(BACKLOG) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!(%error, address = %self.address, "port lost"),
            };
        }
    }

    async fn accept(&self, listener: &TcpListener, open: &CancellationToken) {
        loop {
            match listener.accept().await {
                Ok((stream, client)) => {
                    let talk = converse(self.service.clone(), stream, client, self.port, self.with_faults);
                    self.tasks.spawn(open.clone().run_until_cancelled_owned(talk));
                }
                // such as a connection that was reset at once, or no free file descriptor: others may do better
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

fn reserve(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
