//! `volumeAttributes` of an OSS volume as they come: names in any case, values trimmed, blank ones ignored.

use std::collections::BTreeMap;

use thiserror::Error;
use tonic::Code;

use crate::driver::Refusal;

/// An attribute, or a combination of them, that can't be mounted. Every one is `InvalidArgument`.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum AttributeError {
    /// `bucket` or `url` is missing.
    #[error("Url/Bucket empty: attribute {0} is missing")]
    UrlOrBucketEmpty(&'static str),
    /// `url` can't be an address.
    #[error("attribute url {0:?} is not an address")]
    Url(String),
    /// `url` begins with the bucket's name.
    #[error(
        "attribute url {url:?} is a bucket domain name of {bucket:?}; give the endpoint without the bucket"
    )]
    BucketDomain {
        /// The attribute.
        url: String,
        /// The bucket.
        bucket: String,
    },
    /// `bucket` can't be a bucket's name.
    #[error("attribute bucket {0:?} is not a bucket name")]
    Bucket(String),
    /// `path` is relative.
    #[error("attribute path {0:?} should start with /")]
    Path(String),
    /// `path` leads out of itself.
    #[error("attribute path {0:?} has a component . or ..")]
    PathComponent(String),
    /// `otherOpts` are no options.
    #[error("invalid otherOpts: token {0} is not of the form -o name[=value]")]
    OtherOpts(usize),
    /// `fuseType` is another client.
    #[error("Unsupported fuseType {0:?}; only ossfs is")]
    FuseType(String),
    /// `authType` is another family of credentials.
    #[error("authType {0:?} is not supported; only the AccessKey of nodePublishSecretRef is")]
    AuthType(String),
    /// An AccessKey in attributes.
    #[error("attribute {0} is refused: an AccessKey belongs in the Secret of nodePublishSecretRef")]
    SecretAttribute(&'static str),
    /// `encrypted` is unknown.
    #[error("invalid SSE encrypted type {0:?}; known are kms and aes256")]
    Encrypted(String),
    /// Version 4 signs for a region.
    #[error("sigVersion v4 needs attribute region")]
    RegionMissing,
    /// `overlay` without read-only.
    #[error("attribute overlay requires a read-only volume")]
    OverlayWritable,
    /// The Secret lacks a key.
    #[error("OSS authorization error: missing access key in node publish secret: {0} is absent or blank")]
    MissingKey(&'static str),
}

impl From<AttributeError> for Refusal {
    fn from(error: AttributeError) -> Self {
        Self::new(Code::InvalidArgument, error.to_string())
    }
}

/// Attributes by their names in lower case.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Attributes {
    values: BTreeMap<String, String>,
}

impl Attributes {
    /// Reads a volume context.
    ///
    /// # Errors
    /// When it holds credentials, or asks for a family of credentials that isn't supported.
    pub fn read(context: &BTreeMap<String, String>) -> Result<Self, AttributeError> {
        let values = context
            .iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let attributes = Self { values };
        for name in ["akId", "akSecret"] {
            if attributes.get(name).is_some() {
                return Err(AttributeError::SecretAttribute(name));
            }
        }
        match attributes.get("authType") {
            None => Ok(attributes),
            Some(family) => Err(AttributeError::AuthType(family.to_owned())),
        }
    }

    /// The attribute called `name` in any case, if it isn't blank.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// A yes-or-no attribute; what is neither is told to the log and counts as not given.
    pub fn flag(&self, name: &str) -> Option<bool> {
        let value = self.get(name)?;
        match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => {
                tracing::warn!(name, "an attribute that is neither true nor false is ignored");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn context(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[rstest]
    #[case("bucket")]
    #[case("Bucket")]
    #[case("BUCKET")]
    fn names_are_read_in_any_case_and_values_trimmed(#[case] name: &str) {
        let attributes = Attributes::read(&context(&[(name, "  b ")])).expect("read");
        assert_eq!(attributes.get("bucket"), Some("b"));
    }

    #[test]
    fn blank_values_are_ignored() {
        let attributes = Attributes::read(&context(&[("authType", " "), ("url", "")])).expect("read");
        assert_eq!(attributes, Attributes::default());
    }

    #[rstest]
    #[case("akId", AttributeError::SecretAttribute("akId"))]
    #[case("AKSECRET", AttributeError::SecretAttribute("akSecret"))]
    #[case("authType", AttributeError::AuthType("rrsa".into()))]
    fn credentials_in_attributes_are_refused(#[case] name: &str, #[case] expected: AttributeError) {
        let error = Attributes::read(&context(&[(name, "rrsa")])).expect_err("refused");
        assert_eq!(error, expected);
        assert!(name == "authType" || !error.to_string().contains("rrsa"), "{error}");
    }

    #[rstest]
    #[case("true", Some(true))]
    #[case("0", Some(false))]
    #[case("yes", None)]
    fn flags(#[case] value: &str, #[case] expected: Option<bool>) {
        let attributes = Attributes::read(&context(&[("overlay", value)])).expect("read");
        assert_eq!(attributes.flag("overlay"), expected);
    }
}
