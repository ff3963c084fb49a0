//! Sending one request and reading its answer.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

use crate::error::{ClientError, Refusal};
use crate::types::Reply;

/// An answer that was read to its end.
pub(crate) struct Answer {
    pub(crate) operation: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    }

    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<Reply<T>, ClientError> {
        let value = serde_json::from_slice(&self.body).map_err(|error| {
            ClientError::malformed(&self.operation, format!("the body is not as expected, {error}"))
        })?;
        Ok(Reply { status: self.status, request_id: self.header("x-request-id"), value })
    }

    pub(crate) fn empty(self) -> Reply<()> {
        Reply { status: self.status, request_id: self.header("x-request-id"), value: () }
    }
}

/// Sends `request` and reads the whole answer within `limit`; an error status becomes a [`Refusal`].
pub(crate) async fn exchange(
    operation: &str,
    request: RequestBuilder,
    limit: Duration,
) -> Result<Answer, ClientError> {
    let answer = within(operation, limit, "waiting for the answer", async {
        let response = request.send().await.map_err(|source| transport(operation, source))?;
        read(operation, response).await
    })
    .await?;
    if (200..300).contains(&answer.status) { Ok(answer) } else { Err(refused(&answer)) }
}

/// Reads a response whose status says that it is an error.
pub(crate) async fn refusal(operation: &str, response: Response) -> ClientError {
    match read(operation, response).await {
        Ok(answer) => refused(&answer),
        Err(error) => error,
    }
}

async fn read(operation: &str, response: Response) -> Result<Answer, ClientError> {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.bytes().await.map_err(|source| transport(operation, source))?.to_vec();
    Ok(Answer { operation: operation.to_owned(), status, headers, body })
}

fn refused(answer: &Answer) -> ClientError {
    ClientError::Refused(Box::new(Refusal::read(
        &answer.operation,
        answer.status,
        &answer.headers,
        &answer.body,
    )))
}

pub(crate) async fn within<T>(
    operation: &str,
    limit: Duration,
    last: &str,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            Err(ClientError::Deadline { operation: operation.to_owned(), limit, last: last.to_owned() })
        }
    }
}

pub(crate) fn transport(operation: &str, source: reqwest::Error) -> ClientError {
    // The URL may carry a signature or a token in its query; the operation says enough.
    ClientError::Transport { operation: operation.to_owned(), source: source.without_url() }
}

/// `base` (which may have a path prefix) with `segments` appended, each percent-encoded.
pub(crate) fn join(base: &Url, segments: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
pub(crate) fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
