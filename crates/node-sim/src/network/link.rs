//! Links and addresses over netlink.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use futures::TryStreamExt as _;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::NetworkError;

/// The pod's side of every pair.
const POD_INTERFACE: &str = "eth0";

/// Left to itself a bridge takes the lowest hardware address among its ports, so that it changes as pods come and go,
/// and what a pod sends to the old one is lost for a second.
const BRIDGE_HARDWARE_ADDRESS: [u8; 6] = [0x02, 0x6d, 0x6c, 0x61, 0x62, 0x01];

trait During<T> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, NetworkError>;
}

impl<T> During<T> for Result<T, rtnetlink::Error> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, NetworkError> {
        self.map_err(|source| NetworkError::Link { action: action(), source })
    }
}

/// Opens a netlink socket in the calling thread's network namespace; the runtime drives it.
pub(super) fn connect() -> Result<Handle, NetworkError> {
    let (connection, handle, _) = rtnetlink::new_connection()
        .map_err(|source| NetworkError::Namespace { action: "opening a netlink socket", source })?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Brings up the loopback interface of the current network namespace.
pub(crate) async fn loopback_up() -> Result<(), NetworkError> {
    up(&connect()?, "lo").await.map(drop)
}

/// Brings an interface up; its index.
async fn up(handle: &Handle, name: &str) -> Result<u32, NetworkError> {
    let index = index(handle, name).await?;
    let message = LinkUnspec::new_with_index(index).up().build();
    handle.link().set(message).execute().await.during(|| format!("bringing interface {name} up"))?;
    Ok(index)
}

async fn index(handle: &Handle, name: &str) -> Result<u32, NetworkError> {
    let found = handle.link().get().match_name(name.to_owned()).execute().try_next().await;
    let link = found.during(|| format!("looking up interface {name}"))?;
    link.map(|link| link.header.index).ok_or_else(|| NetworkError::Missing(name.to_owned()))
}

pub(super) async fn make_bridge(
    handle: &Handle,
    name: &str,
    addresses: &[Ipv4Addr],
    prefix: u8,
) -> Result<u32, NetworkError> {
    let message = LinkBridge::new(name).address(BRIDGE_HARDWARE_ADDRESS.to_vec()).build();
    handle.link().add(message).execute().await.during(|| format!("making bridge {name}"))?;
    let index = index(handle, name).await?;
    // What is sent without a choice of its own comes from the first.
    for address in addresses {
        let added = handle.address().add(index, IpAddr::V4(*address), prefix).execute().await;
        added.during(|| format!("giving bridge {name} the address {address}"))?;
    }
    Ok(index)
}

/// Makes a pair of which one end is a port of the bridge and the other the pod's interface, made right in the pod's
/// namespace: moving it there afterwards would take the kernel many milliseconds. The pod's end can't be brought up
/// before both are there. Pods don't reach each other: what runs in one is somebody's agent.
pub(super) async fn make_pair(
    handle: &Handle,
    name: &str,
    bridge: u32,
    pod: BorrowedFd<'_>,
) -> Result<(), NetworkError> {
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(POD_INTERFACE.to_owned())
        .setns_by_fd(pod.as_raw_fd())
        .build();
    let message = LinkVeth::new(name, POD_INTERFACE)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .controller(bridge)
        .up()
        .build();
    handle.link().add(message).execute().await.during(|| format!("making interface {name}"))?;
    let port = index(handle, name).await?;
    // Isolated ports reach the bridge itself, where the lab's services are, but not each other.
    let message = LinkBridgePort::new(port).isolated(true).build();
    handle.link().set_port(message).execute().await.during(|| format!("isolating interface {name}"))
}

/// In the pod's namespace: loopback up, the pod's address on its interface.
pub(super) async fn configure_pod(
    handle: &Handle,
    address: Ipv4Addr,
    prefix: u8,
) -> Result<(), NetworkError> {
    up(handle, "lo").await?;
    let index = up(handle, POD_INTERFACE).await?;
    let added = handle.address().add(index, IpAddr::V4(address), prefix).execute().await;
    added.during(|| format!("giving a pod the address {address}"))
}

pub(super) async fn remove(handle: &Handle, name: &str) -> Result<(), NetworkError> {
    let index = match index(handle, name).await {
        Ok(index) => index,
        Err(NetworkError::Missing(_)) => return Ok(()),
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    match handle.link().del(index).execute().await.during(|| format!("removing interface {name}")) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_gone(error: &NetworkError) -> bool {
    match error {
        NetworkError::Link { source: rtnetlink::Error::NetlinkError(message), .. } => {
            message.raw_code() == -(nix::errno::Errno::ENODEV as i32)
        }
        _ => false,
    }
}

/// Names of every veth interface of the namespace.
pub(super) async fn ports(handle: &Handle) -> Result<Vec<String>, NetworkError> {
    let links: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.during(|| "listing interfaces".to_owned())?;
    Ok(links.into_iter().filter(is_veth).filter_map(name).collect())
}

fn is_veth(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(infos) if infos.contains(&LinkInfo::Kind(InfoKind::Veth)))
    })
}

fn name(link: LinkMessage) -> Option<String> {
    link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    })
}
