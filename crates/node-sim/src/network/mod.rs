//! The lab's network: one bridge, one address per pod, nothing else.
//!
//! ```text
//! lab's network namespace                     pod's network namespace
//!   bridge  10.x.0.1/16 ── veth7 ═══════════════ eth0  10.x.0.8/16
//!      └── services of the lab listen here      lo
//! ```
//!
//! A pod reaches the bridge's address, but no other pod (the ports of the bridge are isolated), and it has no default
//! route, so that everything else fails at once with "network is unreachable" instead of hanging. The machine's own network is in another namespace altogether.
//!
//! Network policies hold in the pod's own network namespace: [`PodNamespaces::enforce`] replaces the rules there, and
//! containers lack the capability to change them (only a privileged one has it, as anywhere). The lab's own services
//! call pods from the bridge's first address, and are subject to a pod's rules; the node's probes come from its last
//! address, and aren't.

mod addresses;
mod chains;
mod link;
mod namespaces;
mod nftables;
mod probe;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};

use rtnetlink::Handle;

pub use addresses::{InvalidSubnet, Subnet};
pub(crate) use link::loopback_up;
pub(crate) use namespaces::PodNamespaces;
pub use probe::{PacketFilter, try_packet_filter};

use addresses::Addresses;

/// How pods are connected.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Name of the bridge, at most 15 bytes.
    pub bridge: String,
    /// Addresses of the bridge (the first one) and the pods.
    pub subnet: Subnet,
    /// Goes into every pod's `/etc/resolv.conf`.
    pub nameserver: Option<Ipv4Addr>,
    /// Further lines of every pod's `/etc/hosts`: names of the lab's services.
    pub hosts: Vec<(Ipv4Addr, Vec<String>)>,
    /// What calls pods from the bridge's address: namespace and labels that network policies know it by.
    pub callers: Vec<(String, BTreeMap<String, String>)>,
}

impl Default for NetworkOptions {
    /// Bridge `lab0` with 10.88.0.0/16 and nothing else.
    fn default() -> Self {
        let subnet = Subnet::of(Ipv4Addr::new(10, 88, 0, 0), 16);
        Self { bridge: "lab0".to_owned(), subnet, nameserver: None, hosts: Vec::new(), callers: Vec::new() }
    }
}

/// Why the network could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused a change of links or addresses.
    #[error("{action} failed")]
    Link {
        /// What was tried, with the interface's name.
        action: String,
        /// Why it failed.
        #[source]
        source: rtnetlink::Error,
    },
    /// A namespace could not be made or opened.
    #[error("{action} failed")]
    Namespace {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// An interface that was just made is not there.
    #[error("interface {0} is missing")]
    Missing(String),
    /// The kernel has no packet filter that follows connections.
    #[error("network policies can't be enforced on this machine: {0}")]
    NoFilter(String),
    /// Every address is taken.
    #[error("no address is left in {0}; use a larger subnet")]
    Exhausted(Subnet),
}

/// A pod's connection to the bridge.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodLink {
    /// The bridge's port that leads to the pod; a network policy's rules name it.
    pub interface: String,
    /// The pod's address.
    pub address: Ipv4Addr,
}

/// The bridge and the addresses on it.
#[derive(Clone, Debug)]
pub(crate) struct PodNetwork {
    options: Arc<NetworkOptions>,
    handle: Handle,
    bridge: u32,
    addresses: Arc<Mutex<Addresses>>,
}

impl PodNetwork {
    /// Makes the bridge in the current network namespace.
    pub(crate) async fn start(options: NetworkOptions) -> Result<Self, NetworkError> {
        let handle = link::connect()?;
        let own = options.subnet.first();
        let node = options.subnet.last();
        let bridge =
            link::make_bridge(&handle, &options.bridge, &[own, node], options.subnet.prefix()).await?;
        let addresses = Arc::new(Mutex::new(Addresses::new(options.subnet, &[own, node])));
        Ok(Self { options: Arc::new(options), handle, bridge, addresses })
    }

    pub(crate) fn options(&self) -> &NetworkOptions {
        &self.options
    }

    /// The bridge's address, where the lab's services listen.
    pub(crate) fn bridge_address(&self) -> Ipv4Addr {
        self.options.subnet.first()
    }

    /// The address that the node's own probes come from.
    pub(crate) fn node_address(&self) -> Ipv4Addr {
        self.options.subnet.last()
    }

    /// The addresses that a name has in pods; `*.` stands for any name below.
    pub(crate) fn resolve(&self, name: &str) -> Vec<IpAddr> {
        let known = |own: &String| {
            let own = own.to_ascii_lowercase();
            own == name || name.strip_prefix('*').is_some_and(|below| own.ends_with(below))
        };
        let hosts = self.options.hosts.iter().filter(|(_, names)| names.iter().any(known));
        hosts.map(|(address, _)| IpAddr::V4(*address)).collect()
    }

    /// Connects a pod's namespace to the bridge. The address is `owner`'s until [`PodNetwork::release`].
    pub(crate) async fn attach(
        &self,
        namespaces: &PodNamespaces,
        owner: &str,
    ) -> Result<PodLink, NetworkError> {
        let (number, address) =
            self.addresses().take(owner).ok_or(NetworkError::Exhausted(self.options.subnet))?;
        let interface = format!("veth{number}");
        let made = link::make_pair(&self.handle, &interface, self.bridge, namespaces.network.as_fd()).await;
        let configured = match made {
            Ok(()) => link::configure_pod(&namespaces.handle, address, self.options.subnet.prefix()).await,
            Err(error) => Err(error),
        };
        let link = PodLink { interface, address };
        if let Err(error) = configured {
            let _ = self.detach(&link).await;
            return Err(error);
        }
        Ok(link)
    }

    /// Frees the addresses of `owner`.
    pub(crate) fn release(&self, owner: &str) {
        self.addresses().release(owner);
    }

    /// Removes a pod's connection. One that is gone already is no error.
    pub(crate) async fn detach(&self, link: &PodLink) -> Result<(), NetworkError> {
        link::remove(&self.handle, &link.interface).await
    }

    /// Names of the bridge's ports to pods that exist now.
    pub(crate) async fn interfaces(&self) -> Result<Vec<String>, NetworkError> {
        link::ports(&self.handle).await
    }

    fn addresses(&self) -> std::sync::MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
