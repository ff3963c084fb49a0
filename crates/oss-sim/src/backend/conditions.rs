//! Conditional requests (RFC 9110 §13, and S3's rules for copies).

use jiff::Timestamp;
use s3s::dto::{ETag, ETagCondition};
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::convert;
use crate::store::{Object, StoreError};

/// The four conditions that a request can make.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) matches: Option<ETagCondition>,
    pub(super) none_matches: Option<ETagCondition>,
    pub(super) modified_since: Option<s3s::dto::Timestamp>,
    pub(super) unmodified_since: Option<s3s::dto::Timestamp>,
}

/// What the conditions say of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Go,
    NotModified,
    Failed(&'static str),
}

impl Conditions {
    /// Compares with the object's `ETag` and date; a date condition counts only without an `ETag` condition.
    pub(super) fn outcome(&self, etag: &str, modified: Timestamp) -> Outcome {
        let modified = convert::timestamp(convert::to_seconds(modified));
        match (&self.matches, &self.unmodified_since) {
            (Some(condition), _) if !is_met(condition, etag) => return Outcome::Failed("If-Match"),
            (None, Some(date)) if modified > *date => return Outcome::Failed("If-Unmodified-Since"),
            _ => {}
        }
        match (&self.none_matches, &self.modified_since) {
            (Some(condition), _) if is_met(condition, etag) => Outcome::NotModified,
            (None, Some(date)) if modified <= *date => Outcome::NotModified,
            _ => Outcome::Go,
        }
    }

    /// For a read: 412, or 304 with the object's `ETag`.
    pub(super) fn check_read(&self, object: &Object) -> S3Result<()> {
        match self.outcome(&object.etag, object.modified) {
            Outcome::Go => Ok(()),
            Outcome::NotModified => {
                let mut error = S3Error::new(S3ErrorCode::NotModified);
                error.set_status_code(http::StatusCode::NOT_MODIFIED);
                if let Ok(etag) = convert::etag(&object.etag).to_http_header() {
                    error.set_headers([(http::header::ETAG, etag)].into_iter().collect());
                }
                Err(error)
            }
            Outcome::Failed(condition) => Err(StoreError::Precondition(condition).into()),
        }
    }

    /// For the source of a copy: 412, whichever condition it is.
    pub(super) fn check_copy(&self, object: &Object) -> S3Result<()> {
        match self.outcome(&object.etag, object.modified) {
            Outcome::Go => Ok(()),
            Outcome::NotModified => Err(StoreError::Precondition("x-amz-copy-source-if-none-match").into()),
            Outcome::Failed(condition) => Err(StoreError::Precondition(condition).into()),
        }
    }

    /// For a write: `If-None-Match: *` wants nothing to be there, `If-Match` wants what it names.
    pub(super) fn check_write(&self, present: Option<&Object>) -> Result<(), StoreError> {
        let met = |condition: &ETagCondition| present.is_some_and(|object| is_met(condition, &object.etag));
        if self.none_matches.as_ref().is_some_and(met) {
            return Err(StoreError::Precondition("If-None-Match"));
        }
        if self.matches.as_ref().is_some_and(|condition| !met(condition)) {
            return Err(StoreError::Precondition("If-Match"));
        }
        Ok(())
    }
}

fn is_met(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(ETag::Strong(value) | ETag::Weak(value)) => value == etag,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn tag(text: &str) -> ETagCondition {
        text.parse().expect("an ETag")
    }

    fn seconds(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn date(second: i64) -> s3s::dto::Timestamp {
        convert::timestamp(seconds(second))
    }

    #[rstest]
    #[case::none(Conditions::default(), Outcome::Go)]
    #[case::match_same(Conditions { matches: Some(tag("\"a\"")), ..Default::default() }, Outcome::Go)]
    #[case::match_any(Conditions { matches: Some(tag("*")), ..Default::default() }, Outcome::Go)]
    #[case::match_other(Conditions { matches: Some(tag("\"b\"")), ..Default::default() }, Outcome::Failed("If-Match"))]
    #[case::match_beats_date(
        Conditions { matches: Some(tag("\"a\"")), unmodified_since: Some(date(50)), ..Default::default() },
        Outcome::Go
    )]
    #[case::modified_later(
        Conditions { unmodified_since: Some(date(99)), ..Default::default() },
        Outcome::Failed("If-Unmodified-Since")
    )]
    #[case::modified_that_second(Conditions { unmodified_since: Some(date(100)), ..Default::default() }, Outcome::Go)]
    #[case::none_match_same(Conditions { none_matches: Some(tag("\"a\"")), ..Default::default() }, Outcome::NotModified)]
    #[case::none_match_other(Conditions { none_matches: Some(tag("\"b\"")), ..Default::default() }, Outcome::Go)]
    #[case::not_modified_since(Conditions { modified_since: Some(date(100)), ..Default::default() }, Outcome::NotModified)]
    #[case::modified_since(Conditions { modified_since: Some(date(99)), ..Default::default() }, Outcome::Go)]
    fn outcomes(#[case] conditions: Conditions, #[case] expected: Outcome) {
        let modified = Timestamp::new(100, 600_000_000).expect("in range");
        assert_eq!(conditions.outcome("a", modified), expected);
    }
}
