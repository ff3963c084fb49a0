//! The namespaces that a pod's containers share: network, IPC and UTS. They are held open as files, without any
//! process in them, from before the first container to after the last.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use contract::network::PodRules;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::Handle;
use tokio::sync::oneshot;

use super::nftables::Filter;
use super::{NetworkError, chains, link};

/// The table with a pod's rules.
const TABLE: &str = "mountlab-policies";

/// A pod's shared namespaces.
#[derive(Debug)]
pub(crate) struct PodNamespaces {
    pub(super) network: File,
    ipc: File,
    uts: File,
    /// Netlink inside the pod's network namespace.
    pub(super) handle: Handle,
    /// The packet filter of the pod's network namespace.
    filter: Arc<Result<Filter, NetworkError>>,
}

impl PodNamespaces {
    /// Makes new namespaces with `hostname` as their host name.
    pub(crate) async fn create(hostname: &str) -> Result<Self, NetworkError> {
        let hostname = hostname.to_owned();
        let runtime = tokio::runtime::Handle::current();
        let (made, result) = oneshot::channel();
        // Namespaces are a thread's own: a thread that does nothing else leaves the others where they are.
        std::thread::Builder::new()
            .name("pod-namespaces".into())
            .spawn(move || {
                let _entered = runtime.enter();
                let _ = made.send(make(&hostname));
            })
            .map_err(|source| NetworkError::Namespace { action: "starting a thread", source })?;
        result.await.unwrap_or_else(|_| {
            let source = io::Error::other("its thread is gone");
            Err(NetworkError::Namespace { action: "making a pod's namespaces", source })
        })
    }

    /// Makes the pod's traffic follow `rules` and nothing else; `node` is the address of the node's own probes.
    pub(crate) async fn enforce(&self, rules: &PodRules, node: Ipv4Addr) -> Result<(), NetworkError> {
        let chains = chains::chains(rules, node.into());
        let filter = self.filter.clone();
        let change = move || match &*filter {
            Ok(filter) => filter.replace(TABLE, &chains),
            Err(_) if chains.is_empty() => Ok(()),
            Err(error) => Err(NetworkError::NoFilter(crate::error_chain(error))),
        };
        tokio::task::spawn_blocking(change).await.unwrap_or_else(|error| {
            Err(NetworkError::Namespace {
                action: "changing the packet filter",
                source: io::Error::other(error),
            })
        })
    }

    /// Paths under which the shim opens them.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let node = std::process::id();
        let path = |file: &File| PathBuf::from(format!("/proc/{node}/fd/{}", file.as_raw_fd()));
        vec![path(&self.network), path(&self.ipc), path(&self.uts)]
    }
}

fn make(hostname: &str) -> Result<PodNamespaces, NetworkError> {
    let during = |action| move |source: io::Error| NetworkError::Namespace { action, source };
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)
        .map_err(io::Error::from)
        .map_err(during("making a pod's namespaces"))?;
    // The kernel allows 64 bytes; a longer pod name is cut as kubelet cuts it.
    let hostname = hostname.get(..hostname.len().min(63)).unwrap_or("pod").trim_end_matches(['-', '.']);
    rustix::system::sethostname(hostname.as_bytes())
        .map_err(io::Error::from)
        .map_err(during("setting a pod's host name"))?;
    // A machine without one runs everything but network policies: enforcing the first will say what is missing.
    let filter = Filter::open().and_then(|filter| filter.follow_connections().map(|()| filter));
    let open = |kind: &str| File::open(format!("/proc/thread-self/ns/{kind}"));
    Ok(PodNamespaces {
        network: open("net").map_err(during("opening a pod's network namespace"))?,
        ipc: open("ipc").map_err(during("opening a pod's IPC namespace"))?,
        uts: open("uts").map_err(during("opening a pod's UTS namespace"))?,
        handle: link::connect()?,
        filter: Arc::new(filter),
    })
}
