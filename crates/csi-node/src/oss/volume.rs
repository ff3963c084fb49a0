//! The checked attributes of an OSS volume (`storage.md` §6.3).

use super::attributes::{AttributeError, Attributes};
use super::options::FuseOption;

const INTERNAL_SUFFIX: &str = "-internal.aliyuncs.com";

/// Server-side encryption of new objects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Encryption {
    /// With a key of the key service, the default one unless named.
    Kms(Option<String>),
    /// With the store's own key.
    Aes256,
}

/// An OSS volume that can be mounted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OssVolume {
    /// The bucket's name.
    pub bucket: String,
    /// The endpoint, with its scheme.
    pub url: String,
    /// Where in the bucket, beginning with a slash.
    pub path: String,
    /// The user's options, in order.
    pub other_options: Vec<FuseOption>,
    /// Server-side encryption.
    pub encryption: Option<Encryption>,
    /// Version of the signature, as asked for.
    pub signature: Option<String>,
    /// Region to sign for.
    pub region: Option<String>,
}

impl OssVolume {
    /// Checks `attributes`. `fs_type` is the capability's, `read_only` whether nobody may write.
    ///
    /// # Errors
    /// The first attribute that is wrong.
    pub fn check(attributes: &Attributes, fs_type: &str, read_only: bool) -> Result<Self, AttributeError> {
        let client = attributes.get("fuseType").unwrap_or(fs_type.trim()).to_lowercase();
        if !matches!(client.as_str(), "" | "ossfs") {
            return Err(AttributeError::FuseType(client));
        }
        let bucket = attributes.get("bucket").ok_or(AttributeError::UrlOrBucketEmpty("bucket"))?;
        let url = attributes.get("url").ok_or(AttributeError::UrlOrBucketEmpty("url"))?;
        check_bucket(bucket)?;
        let url = with_scheme(url, bucket)?;
        let path = attributes.get("path").unwrap_or("/");
        check_path(path)?;
        let other_options = FuseOption::parse_other(attributes.get("otherOpts").unwrap_or_default())?;
        let encryption = match attributes.get("encrypted").map(str::to_lowercase).as_deref() {
            None => None,
            Some("kms") => Some(Encryption::Kms(attributes.get("kmsKeyId").map(str::to_owned))),
            Some("aes256") => Some(Encryption::Aes256),
            Some(other) => return Err(AttributeError::Encrypted(other.to_owned())),
        };
        let (signature, region) = signature(attributes)?;
        if attributes.flag("overlay") == Some(true) && !read_only {
            return Err(AttributeError::OverlayWritable);
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            url,
            path: path.to_owned(),
            other_options,
            encryption,
            signature,
            region,
        })
    }

    /// What the keys of this volume begin with: "" or ending with a slash.
    pub fn prefix(&self) -> String {
        let path = self.path.split('/').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        if path.is_empty() { path } else { format!("{path}/") }
    }
}

fn check_bucket(bucket: &str) -> Result<(), AttributeError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if bucket.len() <= 63 && bucket.bytes().all(allowed) && bucket != "." && bucket != ".." {
        return Ok(());
    }
    Err(AttributeError::Bucket(bucket.to_owned()))
}

fn check_path(path: &str) -> Result<(), AttributeError> {
    if !path.starts_with('/') {
        return Err(AttributeError::Path(path.to_owned()));
    }
    if path.split('/').any(|part| part == "." || part == "..") {
        return Err(AttributeError::PathComponent(path.to_owned()));
    }
    Ok(())
}

/// `url` with a scheme: http for internal endpoints, else https.
fn with_scheme(url: &str, bucket: &str) -> Result<String, AttributeError> {
    let (scheme, host) = match url.split_once("://") {
        Some((scheme, host)) => (scheme.to_ascii_lowercase(), host),
        None if url.trim_end_matches('/').ends_with(INTERNAL_SUFFIX) => ("http".to_owned(), url),
        None => ("https".to_owned(), url),
    };
    let host = host.trim_end_matches('/');
    if host.is_empty() {
        return Err(AttributeError::UrlOrBucketEmpty("url"));
    }
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(AttributeError::Url(url.to_owned()));
    }
    let whole = format!("{scheme}://{host}");
    let authority = whole.parse::<http::Uri>().ok().and_then(|uri| uri.authority().cloned());
    let authority =
        authority.filter(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    let authority = authority.ok_or_else(|| AttributeError::Url(url.to_owned()))?;
    if authority.host().split('.').next() == Some(bucket) {
        return Err(AttributeError::BucketDomain { url: url.to_owned(), bucket: bucket.to_owned() });
    }
    Ok(format!("{scheme}://{authority}"))
}

/// Version of the signature and region: v4 needs a region, a region alone means v4.
fn signature(attributes: &Attributes) -> Result<(Option<String>, Option<String>), AttributeError> {
    let region = attributes.get("region").map(str::to_owned);
    let version = attributes.get("sigVersion").filter(|version| {
        let known = matches!(*version, "v1" | "v4");
        if !known {
            tracing::warn!("an unknown sigVersion is ignored");
        }
        known
    });
    match (version, &region) {
        (Some("v4"), None) => Err(AttributeError::RegionMissing),
        (Some(version), _) => Ok((Some(version.to_owned()), region)),
        (None, Some(_)) => Ok((Some("v4".to_owned()), region)),
        (None, None) => Ok((None, None)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn check(pairs: &[(&str, &str)]) -> Result<OssVolume, AttributeError> {
        let mut context: std::collections::BTreeMap<String, String> =
            [("bucket", "data"), ("url", "oss-cn-a.aliyuncs.com")]
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect();
        context.extend(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        OssVolume::check(&Attributes::read(&context)?, "", false)
    }

    #[rstest]
    #[case::none("oss-cn-a.aliyuncs.com", "https://oss-cn-a.aliyuncs.com")]
    #[case::internal("oss-cn-a-internal.aliyuncs.com", "http://oss-cn-a-internal.aliyuncs.com")]
    #[case::given("http://10.0.0.1:9000", "http://10.0.0.1:9000")]
    #[case::slash("http://10.0.0.1:9000/", "http://10.0.0.1:9000")]
    #[case::upper("HTTPS://oss.example", "https://oss.example")]
    #[case::blanks("  http://h.example ", "http://h.example")]
    #[case::other_bucket("https://database.example", "https://database.example")]
    fn urls(#[case] url: &str, #[case] expected: &str) {
        assert_eq!(check(&[("url", url)]).expect("checked").url, expected);
    }

    #[rstest]
    #[case::no_url(&[("url", " ")], AttributeError::UrlOrBucketEmpty("url"))]
    #[case::bare_scheme(&[("url", "https://")], AttributeError::UrlOrBucketEmpty("url"))]
    #[case::no_bucket(&[("bucket", "")], AttributeError::UrlOrBucketEmpty("bucket"))]
    #[case::domain(&[("url", "https://data.oss-cn-a.aliyuncs.com")],
        AttributeError::BucketDomain { url: "https://data.oss-cn-a.aliyuncs.com".into(), bucket: "data".into() })]
    #[case::scheme(&[("url", "ftp://h")], AttributeError::Url("ftp://h".into()))]
    #[case::user(&[("url", "https://id:key@h")], AttributeError::Url("https://id:key@h".into()))]
    #[case::bucket(&[("bucket", "a/b")], AttributeError::Bucket("a/b".into()))]
    #[case::path(&[("path", "a")], AttributeError::Path("a".into()))]
    #[case::path_component(&[("path", "/a/../b")], AttributeError::PathComponent("/a/../b".into()))]
    #[case::other(&[("otherOpts", "-o a b")], AttributeError::OtherOpts(3))]
    #[case::fuse(&[("fuseType", "OSSFS2")], AttributeError::FuseType("ossfs2".into()))]
    #[case::encrypted(&[("encrypted", "rot13")], AttributeError::Encrypted("rot13".into()))]
    #[case::v4(&[("sigVersion", "v4")], AttributeError::RegionMissing)]
    #[case::overlay(&[("overlay", "true")], AttributeError::OverlayWritable)]
    fn refused(#[case] pairs: &[(&str, &str)], #[case] expected: AttributeError) {
        assert_eq!(check(pairs).expect_err("refused"), expected);
    }

    #[rstest]
    #[case::none(&[], None, None)]
    #[case::region(&[("region", "r")], Some("v4"), Some("r"))]
    #[case::v1(&[("sigVersion", "v1"), ("region", "r")], Some("v1"), Some("r"))]
    #[case::v4(&[("sigVersion", "v4"), ("region", "r")], Some("v4"), Some("r"))]
    #[case::unknown(&[("sigVersion", "V4")], None, None)]
    fn signatures(
        #[case] pairs: &[(&str, &str)],
        #[case] version: Option<&str>,
        #[case] region: Option<&str>,
    ) {
        let volume = check(pairs).expect("checked");
        assert_eq!((volume.signature.as_deref(), volume.region.as_deref()), (version, region));
    }

    #[rstest]
    #[case("/", "")]
    #[case("/data-subPath", "data-subPath/")]
    #[case("//a//b/", "a/b/")]
    fn prefixes(#[case] path: &str, #[case] prefix: &str) {
        assert_eq!(check(&[("path", path)]).expect("checked").prefix(), prefix);
    }

    #[rstest]
    #[case("KMS", Encryption::Kms(Some("key-1".into())))]
    #[case("Aes256", Encryption::Aes256)]
    fn encryptions(#[case] kind: &str, #[case] expected: Encryption) {
        let volume = check(&[("encrypted", kind), ("kmsKeyId", "key-1")]).expect("checked");
        assert_eq!(volume.encryption, Some(expected));
    }

    #[test]
    fn the_file_system_type_of_the_capability_names_the_client() {
        let attributes = |pairs: &[(&str, &str)]| {
            let context = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            Attributes::read(&context).expect("read")
        };
        let plain = attributes(&[("bucket", "b"), ("url", "h.example")]);
        assert!(OssVolume::check(&plain, "ossfs", false).is_ok());
        assert_eq!(
            OssVolume::check(&plain, "ext4", false).expect_err("refused"),
            AttributeError::FuseType("ext4".into())
        );
        let named = attributes(&[("bucket", "b"), ("url", "h.example"), ("fuseType", "ossfs")]);
        assert!(OssVolume::check(&named, "ext4", false).is_ok());
        let overlay = attributes(&[("bucket", "b"), ("url", "h.example"), ("overlay", "1")]);
        assert!(OssVolume::check(&overlay, "", true).is_ok());
    }
}
