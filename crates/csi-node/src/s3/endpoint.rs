//! Where a bucket is: scheme, authority, and whether the bucket's name is part of the host or of the path.

use std::net::IpAddr;

use http::uri::{Authority, Scheme};
use thiserror::Error;

/// The region that is signed for when neither an option nor the host names one.
const DEFAULT_REGION: &str = "us-east-1";

/// Hosts of this suffix name their region: `oss-<region>[-internal].aliyuncs.com`.
const OSS_SUFFIX: &str = ".aliyuncs.com";

/// Names that resolve as they are, without a bucket in front.
const LOCAL_SUFFIXES: [&str; 3] = [".svc", ".svc.cluster.local", ".localhost"];

/// An address that can't be an endpoint.
#[derive(Debug, Error)]
pub enum EndpointError {
    /// The address has no host, or is no address.
    #[error("endpoint {0:?} is not an address of the form http(s)://host[:port]")]
    Malformed(String),
}

/// One bucket at one endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    scheme: Scheme,
    /// Host and port that are connected to and signed for.
    authority: String,
    /// What precedes every key: `/` or `/bucket/`.
    base: String,
    bucket: String,
    region: String,
}

impl Endpoint {
    /// The bucket named `bucket` at `url`, which has a scheme. The bucket goes into the path where a host name with
    /// the bucket in front could not be resolved: an IP address, a single label such as `localhost`, an explicit
    /// port, or a Kubernetes service name; else into the host, as OSS wants it.
    ///
    /// # Errors
    /// When `url` isn't an address with scheme and host.
    pub fn new(url: &str, bucket: &str, region: Option<&str>) -> Result<Self, EndpointError> {
        let malformed = || EndpointError::Malformed(url.to_owned());
        let parts = url.parse::<http::Uri>().map_err(|_| malformed())?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(malformed());
        };
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(malformed());
        }
        let region = region.map_or_else(|| region_of(authority.host()), str::to_owned);
        let (authority, base) = if wants_path_style(&authority) {
            (authority.as_str().to_owned(), format!("/{bucket}/"))
        } else {
            (format!("{bucket}.{authority}"), "/".to_owned())
        };
        authority.parse::<Authority>().map_err(|_| malformed())?;
        Ok(Self { scheme, authority, base, bucket: bucket.to_owned(), region })
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The region that requests are signed for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Host and port, as connected to.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether the bucket's name is part of the path, and not of the host.
    pub fn is_path_style(&self) -> bool {
        self.base != "/"
    }

    /// Whether the connection is encrypted.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    pub(super) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The path of `key`, not yet escaped.
    pub(super) fn path(&self, key: &str) -> String {
        format!("{}{key}", self.base)
    }
}

fn wants_path_style(authority: &Authority) -> bool {
    let host = authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    authority.port().is_some()
        || bare.parse::<IpAddr>().is_ok()
        || !host.contains('.')
        || LOCAL_SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
}

fn region_of(host: &str) -> String {
    host.strip_suffix(OSS_SUFFIX)
        .and_then(|label| label.strip_prefix("oss-"))
        .map(|region| region.strip_suffix("-internal").unwrap_or(region))
        .filter(|region| !region.is_empty() && !region.contains('.'))
        .unwrap_or(DEFAULT_REGION)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::address("http://127.0.0.1:9000", "127.0.0.1:9000", "/data/a b", "us-east-1")]
    #[case::address_without_port("http://10.0.0.1", "10.0.0.1", "/data/a b", "us-east-1")]
    #[case::six("http://[::1]:80", "[::1]:80", "/data/a b", "us-east-1")]
    #[case::local("http://localhost", "localhost", "/data/a b", "us-east-1")]
    #[case::service("http://minio.oss.svc", "minio.oss.svc", "/data/a b", "us-east-1")]
    #[case::port("https://oss.example:443", "oss.example:443", "/data/a b", "us-east-1")]
    #[case::oss(
        "https://oss-cn-hangzhou.aliyuncs.com",
        "data.oss-cn-hangzhou.aliyuncs.com",
        "/a b",
        "cn-hangzhou"
    )]
    #[case::internal(
        "http://oss-cn-shanghai-internal.aliyuncs.com",
        "data.oss-cn-shanghai-internal.aliyuncs.com",
        "/a b",
        "cn-shanghai"
    )]
    #[case::domain("https://s3.example.com/", "data.s3.example.com", "/a b", "us-east-1")]
    fn a_bucket_has_its_place(
        #[case] url: &str,
        #[case] authority: &str,
        #[case] path: &str,
        #[case] region: &str,
    ) {
        let endpoint = Endpoint::new(url, "data", None).expect("an endpoint");
        assert_eq!(endpoint.authority(), authority);
        assert_eq!(endpoint.path("a b"), path);
        assert_eq!(endpoint.is_path_style(), path == "/data/a b");
        assert_eq!(endpoint.region(), region);
    }

    #[rstest]
    #[case("")]
    #[case("http://")]
    #[case("host-only")]
    #[case("http://a b/")]
    #[case("http://user:secret@host/")]
    fn what_is_no_address_is_refused(#[case] url: &str) {
        assert!(Endpoint::new(url, "data", None).is_err());
    }

    #[test]
    fn a_given_region_wins() {
        let endpoint =
            Endpoint::new("https://oss-cn-a.aliyuncs.com", "b", Some("eu-1")).expect("an endpoint");
        assert_eq!(endpoint.region(), "eu-1");
    }
}
