//! Which operation a request asks for, read from its outside only: before the signature is checked, and also for
//! requests that are refused.

use http::{HeaderMap, Method, Uri};

/// What a request asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    /// The name of the S3 operation, such as `GetObject`; `Unknown` for what S3 doesn't have.
    pub(crate) operation: &'static str,
    /// The bucket, if the request names one.
    pub(crate) bucket: Option<String>,
    /// The key, if the request names one.
    pub(crate) key: Option<String>,
}

impl Target {
    /// Reads a request. `domain` is the server's own host name, below which a bucket can be a label.
    pub(crate) fn of(method: &Method, uri: &Uri, headers: &HeaderMap, domain: Option<&str>) -> Self {
        let (bucket, key) = names(uri, host_bucket(headers, domain));
        let operation = match (bucket.is_some(), key.is_some()) {
            (false, _) => of_service(method),
            (true, false) => of_bucket(method, uri),
            (true, true) => of_object(method, uri, headers),
        };
        Self { operation, bucket, key }
    }

    /// `bucket/key`, as far as there are any.
    pub(crate) fn subject(&self) -> String {
        match (&self.bucket, &self.key) {
            (None, _) => "/".to_owned(),
            (Some(bucket), None) => bucket.clone(),
            (Some(bucket), Some(key)) => format!("{bucket}/{key}"),
        }
    }
}

/// The bucket that the `Host` header names.
fn host_bucket(headers: &HeaderMap, domain: Option<&str>) -> Option<String> {
    let host = headers.get(http::header::HOST)?.to_str().ok()?;
    bucket_of_host(host, domain?).map(str::to_owned)
}

/// The labels of `host` before `.domain`, with or without a port.
pub(crate) fn bucket_of_host<'host>(host: &'host str, domain: &str) -> Option<&'host str> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.strip_suffix(domain)?.strip_suffix('.')
}

fn names(uri: &Uri, host_bucket: Option<String>) -> (Option<String>, Option<String>) {
    let path = uri.path().strip_prefix('/').unwrap_or_else(|| uri.path());
    let named = |text: &str| Some(decode(text)).filter(|text| !text.is_empty());
    if host_bucket.is_some() {
        return (host_bucket, named(path));
    }
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    (named(bucket), named(key))
}

/// Resolves percent signs; what is no UTF-8 afterwards is shown with replacement characters.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while let Some(byte) = bytes.get(position) {
        let escaped = (*byte == b'%').then(|| text.get(position + 1..position + 3)).flatten();
        if let Some(value) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            decoded.push(value);
            position += 3;
        } else {
            decoded.push(*byte);
            position += 1;
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Whether the query has the parameter `name`, with or without a value.
fn asks(uri: &Uri, name: &str) -> bool {
    let parameters = uri.query().unwrap_or_default().split('&');
    parameters.map(|parameter| parameter.split('=').next().unwrap_or_default()).any(|key| key == name)
}

fn of_service(method: &Method) -> &'static str {
    if *method == Method::GET { "ListBuckets" } else { UNKNOWN }
}

fn of_bucket(method: &Method, uri: &Uri) -> &'static str {
    let subresource = |names: &[(&str, &'static str)]| {
        names.iter().find(|(name, _)| asks(uri, name)).map(|(_, operation)| *operation)
    };
    match *method {
        Method::GET => subresource(&[
            ("location", "GetBucketLocation"),
            ("versioning", "GetBucketVersioning"),
            ("uploads", "ListMultipartUploads"),
            ("list-type", "ListObjectsV2"),
        ])
        .unwrap_or(if other_subresource(uri) { UNKNOWN } else { "ListObjects" }),
        Method::HEAD => "HeadBucket",
        Method::PUT if !other_subresource(uri) => "CreateBucket",
        Method::DELETE if !other_subresource(uri) => "DeleteBucket",
        Method::POST if asks(uri, "delete") => "DeleteObjects",
        _ => UNKNOWN,
    }
}

fn of_object(method: &Method, uri: &Uri, headers: &HeaderMap) -> &'static str {
    let upload = asks(uri, "uploadId");
    let copy = headers.contains_key("x-amz-copy-source");
    match *method {
        Method::GET if upload => "ListParts",
        Method::PUT if upload && copy => "UploadPartCopy",
        Method::PUT if upload => "UploadPart",
        Method::POST if upload => "CompleteMultipartUpload",
        Method::DELETE if upload => "AbortMultipartUpload",
        Method::POST if asks(uri, "uploads") => "CreateMultipartUpload",
        Method::HEAD => "HeadObject",
        _ if other_subresource(uri) => UNKNOWN,
        Method::GET => "GetObject",
        Method::PUT if copy => "CopyObject",
        Method::PUT => "PutObject",
        Method::DELETE => "DeleteObject",
        _ => UNKNOWN,
    }
}

const UNKNOWN: &str = "Unknown";

/// Whether the query names a part of S3 that this server doesn't have.
fn other_subresource(uri: &Uri) -> bool {
    const NAMES: [&str; 18] = [
        "acl",
        "analytics",
        "attributes",
        "cors",
        "encryption",
        "inventory",
        "legal-hold",
        "lifecycle",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "policy",
        "replication",
        "retention",
        "tagging",
        "versions",
        "website",
    ];
    NAMES.iter().any(|name| asks(uri, name))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("GET", "/", "ListBuckets", None, None)]
    #[case("GET", "/b", "ListObjects", Some("b"), None)]
    #[case("GET", "/b/?list-type=2&prefix=x", "ListObjectsV2", Some("b"), None)]
    #[case("GET", "/b?uploads", "ListMultipartUploads", Some("b"), None)]
    #[case("GET", "/b?location", "GetBucketLocation", Some("b"), None)]
    #[case("GET", "/b?acl", "Unknown", Some("b"), None)]
    #[case("PUT", "/b", "CreateBucket", Some("b"), None)]
    #[case("HEAD", "/b", "HeadBucket", Some("b"), None)]
    #[case("DELETE", "/b", "DeleteBucket", Some("b"), None)]
    #[case("POST", "/b?delete=", "DeleteObjects", Some("b"), None)]
    #[case("GET", "/b/a%20b/c", "GetObject", Some("b"), Some("a b/c"))]
    #[case("HEAD", "/b/k", "HeadObject", Some("b"), Some("k"))]
    #[case("PUT", "/b/k", "PutObject", Some("b"), Some("k"))]
    #[case("PUT", "/b/k?partNumber=1&uploadId=u", "UploadPart", Some("b"), Some("k"))]
    #[case("POST", "/b/k?uploads=", "CreateMultipartUpload", Some("b"), Some("k"))]
    #[case("POST", "/b/k?uploadId=u", "CompleteMultipartUpload", Some("b"), Some("k"))]
    #[case("GET", "/b/k?uploadId=u", "ListParts", Some("b"), Some("k"))]
    #[case("DELETE", "/b/k?uploadId=u", "AbortMultipartUpload", Some("b"), Some("k"))]
    #[case("DELETE", "/b/k", "DeleteObject", Some("b"), Some("k"))]
    #[case("GET", "/b/k?tagging", "Unknown", Some("b"), Some("k"))]
    fn path_style(
        #[case] method: Method,
        #[case] uri: Uri,
        #[case] operation: &str,
        #[case] bucket: Option<&str>,
        #[case] key: Option<&str>,
    ) {
        let target = Target::of(&method, &uri, &HeaderMap::new(), None);
        assert_eq!(target.operation, operation);
        assert_eq!(target.bucket.as_deref(), bucket);
        assert_eq!(target.key.as_deref(), key);
    }

    #[rstest]
    #[case("b.oss.lab", Some("b"))]
    #[case("b.oss.lab:80", Some("b"))]
    #[case("b.c.oss.lab", Some("b.c"))]
    #[case("oss.lab", None)]
    #[case("10.0.0.1:9000", None)]
    #[case("xoss.lab", None)]
    fn bucket_as_a_label_of_the_host(#[case] host: &str, #[case] bucket: Option<&str>) {
        assert_eq!(bucket_of_host(host, "oss.lab"), bucket);
    }

    #[test]
    fn a_copy_is_told_by_its_header() {
        let headers = [("x-amz-copy-source".parse().expect("name"), "b/o".parse().expect("value"))];
        let headers: HeaderMap = headers.into_iter().collect();
        let operation =
            |uri: &str| Target::of(&Method::PUT, &uri.parse().expect("uri"), &headers, None).operation;
        assert_eq!(operation("/b/k"), "CopyObject");
        assert_eq!(operation("/b/k?partNumber=1&uploadId=u"), "UploadPartCopy");
    }

    #[test]
    fn an_escape_that_is_none_stays() {
        assert_eq!(decode("a%2"), "a%2");
        assert_eq!(decode("a%zz%C3%A9"), "a%zzé");
    }
}
