//! Where the parts of a running lab are reached from outside.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::Utf8Error;

use percent_encoding::percent_decode_str;

/// Addresses and credentials of a running lab.
#[derive(Clone)]
pub struct Access {
    /// Base URL of the E2B API and of the gateway, without a trailing slash: `http://127.0.0.1:PORT`.
    pub e2b_url: String,
    /// The value of `E2B_API_KEY`.
    pub e2b_key: String,
    /// The value of `E2B_DOMAIN`.
    pub e2b_domain: String,
    /// A kubeconfig file for the lab's API server.
    pub kubeconfig: PathBuf,
    /// The object store, if the backend has one of its own.
    pub object_store: Option<ObjectStore>,
    /// The NFS server, if the backend has one of its own.
    pub network_file_system: Option<NetworkFileSystem>,
}

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Access")
            .field("e2b_url", &self.e2b_url)
            .field("e2b_domain", &self.e2b_domain)
            .field("kubeconfig", &self.kubeconfig)
            .field("object_store", &self.object_store)
            .field("network_file_system", &self.network_file_system)
            .finish_non_exhaustive()
    }
}

/// The NFS server that stands for NAS.
#[derive(Clone, Debug)]
pub struct NetworkFileSystem {
    /// The server as a sandbox's sidecar reaches it, on port 2049; this is what goes into a PersistentVolume's
    /// `server`.
    pub inside_server: String,
    /// Where a client outside the lab reaches NFS. Faults of the embedded lab don't strike here.
    pub outside_address: SocketAddr,
    /// The port of MOUNT at the same host, which may be the same.
    pub outside_mount_port: u16,
    /// What stands before an export's path on the server, in place of its first slash: `/` for a server of the lab's own.
    pub path_prefix: String,
}

/// The S3-compatible object store that stands for OSS.
#[derive(Clone)]
pub struct ObjectStore {
    /// Endpoint as a client outside the lab reaches it: `http://127.0.0.1:PORT`.
    pub outside_endpoint: String,
    /// Endpoint as a sandbox's sidecar reaches it; this is what goes into a PersistentVolume's `url`.
    pub inside_endpoint: String,
    /// Region used in signatures.
    pub region: String,
    /// AccessKey ID of a key that may do everything.
    pub access_key_id: String,
    /// The secret of that key.
    pub access_key_secret: String,
    /// What stands before a bucket's name in the store; empty for a store of the lab's own.
    pub bucket_prefix: String,
}

impl ObjectStore {
    /// A key of a listing, which clients ask for in URL encoding; as in a form, some stores write a space as `+` there.
    ///
    /// # Errors
    /// When the key is not UTF-8.
    pub fn listed_key(listed: &str) -> Result<String, Utf8Error> {
        percent_decode_str(&listed.replace('+', " ")).decode_utf8().map(Into::into)
    }
}

impl fmt::Debug for ObjectStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ObjectStore")
            .field("outside_endpoint", &self.outside_endpoint)
            .field("inside_endpoint", &self.inside_endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::ObjectStore;

    #[rstest]
    #[case("a/b.txt", Some("a/b.txt"))]
    #[case("data/file.txt", Some("data/file.txt"))]
    #[case("with%20space", Some("with space"))]
    #[case("with+space", Some("with space"))]
    #[case("with+space/a%2Bb%26c%3Dd%3Fe%23f/100%2525", Some("with space/a+b&c=d?e#f/100%25"))]
    #[case("a%2Bb%26c%253D", Some("a+b&c%3D"))]
    #[case("%E6%95%B0%0A", Some("数\n"))]
    #[case("%E6%95%B0%E6%8D%AE/%F0%9F%99%82", Some("数据/🙂"))]
    #[case("%FF", None)]
    fn keys_are_what_was_put(#[case] listed: &str, #[case] expected: Option<&str>) {
        assert_eq!(ObjectStore::listed_key(listed).ok().as_deref(), expected);
    }
}
