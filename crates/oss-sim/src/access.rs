//! Access keys and what they may do.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3ErrorCode, S3Result};
use sha2::{Digest as _, Sha256};

/// What a key may do with a bucket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Permission {
    /// Everything.
    Full,
    /// Read objects and list them.
    ReadOnly,
    /// Nothing.
    Denied,
}

/// What an AccessKey may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// Everything.
    Full,
    /// Read and list every bucket.
    ReadOnly,
    /// Nothing: every request that is signed well is answered with 403 `AccessDenied`.
    Denied,
    /// What is said of each bucket, by name; nothing with the others.
    Buckets(BTreeMap<String, Permission>),
}

impl Access {
    /// What the key may do with `bucket`.
    pub fn permission(&self, bucket: &str) -> Permission {
        match self {
            Self::Full => Permission::Full,
            Self::ReadOnly => Permission::ReadOnly,
            Self::Denied => Permission::Denied,
            Self::Buckets(buckets) => buckets.get(bucket).copied().unwrap_or(Permission::Denied),
        }
    }

    /// What the key may do with no bucket in particular, which is to list them.
    fn of_service(&self) -> Permission {
        match self {
            Self::Denied => Permission::Denied,
            Self::Full => Permission::Full,
            Self::ReadOnly | Self::Buckets(_) => Permission::ReadOnly,
        }
    }
}

#[derive(Clone)]
struct Key {
    secret: SecretKey,
    access: Access,
}

/// The keys that the server knows.
#[derive(Clone, Default)]
pub(crate) struct Keys(Arc<RwLock<HashMap<String, Key>>>);

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// Adds a key, or gives a known id another secret and other rights.
    pub(crate) fn add(&self, id: &str, secret: &str, access: Access) {
        let key = Key { secret: secret.into(), access };
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), key);
    }

    /// Forgets a key.
    pub(crate) fn remove(&self, id: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    fn get(&self, id: &str) -> Option<Key> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Refuses with `AccessDenied` unless the key `id` may `write` to, or else read from, `bucket`.
    pub(crate) fn check(&self, id: Option<&str>, bucket: Option<&str>, write: bool) -> S3Result<()> {
        let Some(key) = id.and_then(|id| self.get(id)) else {
            return Err(denied("the request is not signed"));
        };
        let permission =
            bucket.map_or_else(|| key.access.of_service(), |bucket| key.access.permission(bucket));
        match permission {
            Permission::Full => Ok(()),
            Permission::ReadOnly if !write => Ok(()),
            Permission::ReadOnly => Err(denied("the AccessKey may only read")),
            Permission::Denied => Err(denied("the AccessKey has no right to the bucket or object")),
        }
    }
}

fn denied(message: &'static str) -> S3Error {
    S3Error::with_message(S3ErrorCode::AccessDenied, message)
}

/// Operations that change nothing.
fn reads(operation: &str) -> bool {
    ["Get", "Head", "List"].iter().any(|verb| operation.starts_with(verb))
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, id: &str) -> S3Result<SecretKey> {
        let unknown = "the AccessKey ID is not known here";
        let key = self.get(id);
        key.map(|key| key.secret)
            .ok_or_else(|| S3Error::with_message(S3ErrorCode::InvalidAccessKeyId, unknown))
    }
}

#[async_trait::async_trait]
impl S3Access for Keys {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let id = context.credentials().map(|credentials| credentials.access_key.as_str());
        let write = !reads(context.s3_op().name());
        Self::check(self, id, context.s3_path().get_bucket_name(), write)
    }
}

/// A name for an AccessKey ID in the journal: the first eight hexadecimal digits of its SHA-256.
pub(crate) fn alias(id: &str) -> String {
    let digest = Sha256::digest(id.as_bytes());
    hex::encode(digest.get(..4).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::full(Access::Full, Some("a"), true, true)]
    #[case::full_service(Access::Full, None, true, true)]
    #[case::read(Access::ReadOnly, Some("a"), false, true)]
    #[case::read_cannot_write(Access::ReadOnly, Some("a"), true, false)]
    #[case::denied(Access::Denied, Some("a"), false, false)]
    #[case::denied_service(Access::Denied, None, false, false)]
    #[case::own_bucket(Access::Buckets([("a".to_owned(), Permission::Full)].into()), Some("a"), true, true)]
    #[case::other_bucket(Access::Buckets([("a".to_owned(), Permission::Full)].into()), Some("b"), false, false)]
    fn rights(
        #[case] access: Access,
        #[case] bucket: Option<&str>,
        #[case] write: bool,
        #[case] allowed: bool,
    ) {
        let keys = Keys::default();
        keys.add("id", "secret", access);
        assert_eq!(keys.check(Some("id"), bucket, write).is_ok(), allowed);
        assert!(keys.check(None, bucket, write).is_err());
        assert!(keys.check(Some("other"), bucket, write).is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        let keys = Keys::default();
        keys.add("the-id", "the-secret", Access::Full);
        let text = format!("{keys:?}");
        assert!(!text.contains("the-"), "{text}");
    }
}
