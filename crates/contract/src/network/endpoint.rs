//! Where a volume's data is, as far as a policy can concern it.

use csi_api::NodePublishVolumeRequest;

use crate::names::drivers;

/// Port of NFS.
const NFS_PORT: u16 = 2049;

/// Host and port that a mount talks to over TCP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StorageEndpoint {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl std::fmt::Display for StorageEndpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            return write!(formatter, "[{}]:{}", self.host, self.port);
        }
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// The endpoint of the volume that `request` is about; `None` where its attributes name none.
pub fn storage_endpoint(driver: &str, request: &NodePublishVolumeRequest) -> Option<StorageEndpoint> {
    let attribute = |name: &str| request.volume_context.get(name).map(|value| value.trim());
    match driver {
        drivers::OSS => of_url(attribute("url")?),
        drivers::NAS => {
            let host = attribute("server").filter(|server| !server.is_empty())?;
            let port = request
                .volume_capability
                .iter()
                .filter_map(mount_flags)
                .flatten()
                .flat_map(|flag| flag.split(','))
                .find_map(|option| option.strip_prefix("port=")?.parse().ok());
            Some(StorageEndpoint { host: host.to_owned(), port: port.unwrap_or(NFS_PORT) })
        }
        _ => None,
    }
}

fn mount_flags(capability: &csi_api::VolumeCapability) -> Option<&Vec<String>> {
    match &capability.access_type {
        Some(csi_api::volume_capability::AccessType::Mount(mount)) => Some(&mount.mount_flags),
        _ => None,
    }
}

/// Without a scheme OSS is asked over https, inside the cloud over http (`storage.md` §6.3).
fn of_url(url: &str) -> Option<StorageEndpoint> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split('/').next().filter(|authority| !authority.is_empty())?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let plain = scheme.eq_ignore_ascii_case("http")
        || (scheme.is_empty() && host.ends_with("-internal.aliyuncs.com"));
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => {
            if plain {
                80
            } else {
                443
            }
        }
    };
    Some(StorageEndpoint { host: host.to_owned(), port })
}
