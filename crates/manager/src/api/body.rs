//! Request bodies as JSON. What can't be read is never quoted: users paste secrets by mistake (`storage.md` §1.4).

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use contract::errors::Code;
use http::StatusCode;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The largest body the control plane reads, in bytes.
const LARGEST: usize = 1024 * 1024;

/// A request's whole body. Ask for it last, so that ownership is checked before anything is parsed.
#[derive(Debug)]
pub(crate) struct RawBody(Bytes);

impl<S: Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = to_bytes(request.into_body(), LARGEST).await.map_err(|_| {
            ApiError::new(
                Code::InvalidBody,
                format!("the request body is incomplete or exceeds {LARGEST} bytes"),
            )
            .with_status(StatusCode::PAYLOAD_TOO_LARGE)
        })?;
        Ok(Self(body))
    }
}

impl RawBody {
    /// The body as `T`.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.0).map_err(|error| {
            let what = match error.classify() {
                serde_json::error::Category::Data => "has a value of the wrong type or lacks one",
                serde_json::error::Category::Eof => "ends too early",
                _ => "is not JSON",
            };
            let (line, column) = (error.line(), error.column());
            ApiError::new(
                Code::InvalidBody,
                format!("the request body {what} at line {line} column {column}"),
            )
        })
    }

    /// The body as `T`; an empty one counts as `{}`.
    pub(crate) fn read_or_empty<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        if self.0.iter().all(u8::is_ascii_whitespace) {
            Self(Bytes::from_static(b"{}")).read()
        } else {
            self.read()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;

    use super::*;

    type Texts = BTreeMap<String, String>;

    #[rstest]
    #[case(r#"{"a":"AKSECRET-value"#, "ends too early")]
    #[case(r#"{"a":1234567}"#, "wrong type")]
    #[case("AKSECRET", "not JSON")]
    #[case("", "ends too early")]
    fn what_cannot_be_read_is_not_quoted(#[case] text: &'static str, #[case] phrase: &str) {
        let error = RawBody(Bytes::from_static(text.as_bytes())).read::<Texts>().expect_err("refused");
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
        assert!(error.message.contains(phrase), "{}", error.message);
        assert!(!error.message.contains("AKSECRET") && !error.message.contains("1234567"));
    }

    #[test]
    fn an_empty_body_can_stand_for_an_empty_object() {
        assert_eq!(RawBody(Bytes::from_static(b" \n")).read_or_empty::<Texts>(), Ok(Texts::new()));
    }
}
