//! Outages: faults of a storage server as a whole. Any server can be taken away, held still or started again, whoever
//! wrote it; what it answers to single calls only one of ours can be told.

use std::fmt;

use crate::{Fault, NasFault, OssFault};

/// A storage server of a lab.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StorageServer {
    /// The object store.
    ObjectStore,
    /// The NFS server.
    NetworkFileSystem,
}

impl StorageServer {
    /// The word that scenarios use for it: `oss` or `nas`.
    pub fn word(self) -> &'static str {
        match self {
            Self::ObjectStore => "oss",
            Self::NetworkFileSystem => "nas",
        }
    }
}

impl fmt::Display for StorageServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::ObjectStore => "the object store",
            Self::NetworkFileSystem => "the NFS server",
        })
    }
}

/// What happens to a whole server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outage {
    /// It is away: its connections are cut and new ones fail, until healed.
    Gone,
    /// It gives no answer, over connections that stay, until healed.
    Hang,
    /// It is ended without warning and started again, once.
    Restart,
}

impl Fault {
    /// The server and what happens to it as a whole; nothing for any other fault.
    pub fn outage(&self) -> Option<(StorageServer, Outage)> {
        match self {
            Self::Oss(fault) => fault.outage().map(|outage| (StorageServer::ObjectStore, outage)),
            Self::Nas(fault) => fault.outage().map(|outage| (StorageServer::NetworkFileSystem, outage)),
            Self::OssCapacity(_) | Self::Csi(_) | Self::Kill(_) => None,
        }
    }
}

impl OssFault {
    /// What happens to the server as a whole, where the fault says nothing but that.
    pub fn outage(&self) -> Option<Outage> {
        let alone = |fault: Self, outage| (*self == fault).then_some(outage);
        alone(Self { gone: true, ..Self::default() }, Outage::Gone)
            .or_else(|| alone(Self { hang: true, ..Self::default() }, Outage::Hang))
    }
}

impl NasFault {
    /// What happens to the server as a whole, where the fault says nothing but that.
    pub fn outage(&self) -> Option<Outage> {
        let alone = |fault: Self, outage| (*self == fault).then_some(outage);
        alone(Self { gone: true, ..Self::default() }, Outage::Gone)
            .or_else(|| alone(Self { hang: true, ..Self::default() }, Outage::Hang))
            .or_else(|| alone(Self { restart: true, ..Self::default() }, Outage::Restart))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(text: &str) -> Option<(StorageServer, Outage)> {
        serde_json::from_str::<Fault>(text).expect("a fault").outage()
    }

    #[test]
    fn an_outage_is_a_fault_of_the_whole_server_and_of_nothing_less() {
        let (oss, nas) = (StorageServer::ObjectStore, StorageServer::NetworkFileSystem);
        for (text, expected) in [
            (r#"{"oss": {"gone": true}}"#, Some((oss, Outage::Gone))),
            (r#"{"oss": {"hang": true}}"#, Some((oss, Outage::Hang))),
            (r#"{"nas": {"gone": true}}"#, Some((nas, Outage::Gone))),
            (r#"{"nas": {"hang": true}}"#, Some((nas, Outage::Hang))),
            (r#"{"nas": {"restart": true}}"#, Some((nas, Outage::Restart))),
            (r#"{"oss": {"delayMilliseconds": 5}}"#, None),
            (r#"{"oss": {"hang": true, "times": 1}}"#, None),
            (r#"{"nas": {"hang": true, "procedure": "READ"}}"#, None),
            (r#"{"nas": {"stale": true}}"#, None),
            (r#"{"ossCapacity": {"bytes": 5}}"#, None),
            (r#"{"kill": {"component": "manager"}}"#, None),
        ] {
            assert_eq!(outage(text), expected, "{text}");
        }
    }
}
