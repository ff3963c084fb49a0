//! What happens around every request: faults, the journal, and answers that arrive.
//!
//! ```text
//! connection ─► name the operation ─► faults ─► s3s (signature, access, operation) ─► journal ─► connection
//! ```

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::header::{AUTHORIZATION, EXPECT, HeaderValue};
use http::{HeaderMap, Request, Response, Uri};
use hyper::body::Incoming;
use journal::{Journal, source};
use s3s::service::S3Service;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::access::alias;
use crate::body::{BodyError, HalfBody, RequestBody};
use crate::fault::{Faults, Strike};
use crate::operation::Target;

/// The host name below which buckets are labels, if there is one.
pub(crate) type Domain = Arc<RwLock<Option<String>>>;

/// Answers requests; clones share everything.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) s3: S3Service,
    pub(crate) faults: Faults,
    pub(crate) journal: Option<Journal>,
    pub(crate) domain: Domain,
}

/// A request on its way, as the journal will have it.
struct Account {
    target: Target,
    key: Option<String>,
    started: Instant,
}

impl Service {
    /// Answers a request; an error breaks the connection.
    pub(crate) async fn call(&self, request: Request<Incoming>) -> Result<Response<s3s::Body>, BodyError> {
        let account = self.account(&request);
        let mut strike = self.faults.strike(account.target.operation);
        if strike.gone {
            return Err(BodyError::Fault);
        }
        strike.delay().await;
        let (parts, body) = request.into_parts();
        let mut body = RequestBody::new(body);
        if strike.half_body && body.remaining().is_none_or(|remaining| remaining > 0) {
            body.read_half().await?;
            self.record(&account, None, Some("half of the body"));
            return Err(BodyError::Fault);
        }
        let continues = parts.headers.contains_key(EXPECT);
        let request = Request::from_parts(parts, s3s::Body::http_body_unsync(body.clone()));
        let mut response = self.respond(request, &strike).await?;
        if !response.status().is_success() && !continues {
            body.drain().await;
        }
        sign(&mut response);
        let code = error_code(&response);
        self.record(&account, Some(response.status().as_u16()), code.as_deref());
        if strike.half_body {
            return Ok(response.map(|body| s3s::Body::http_body_unsync(HalfBody::new(body))));
        }
        Ok(response)
    }

    async fn respond(
        &self,
        request: Request<s3s::Body>,
        strike: &Strike,
    ) -> Result<Response<s3s::Body>, BodyError> {
        match &strike.answer {
            Some(answer) => {
                answer.error().to_http_response().map_err(|error| BodyError::Answer(error.into()))
            }
            None => self.s3.call(request).await.map_err(|error| BodyError::Answer(error.into())),
        }
    }

    fn account(&self, request: &Request<Incoming>) -> Account {
        let domain = self.domain.read().unwrap_or_else(PoisonError::into_inner);
        let target = Target::of(request.method(), request.uri(), request.headers(), domain.as_deref());
        let key = access_key(request.headers(), request.uri()).map(|id| alias(&id));
        Account { target, key, started: Instant::now() }
    }

    fn record(&self, account: &Account, status: Option<u16>, code: Option<&str>) {
        let Some(journal) = &self.journal else { return };
        let milliseconds = u64::try_from(account.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut body = json!({ "status": status, "milliseconds": milliseconds });
        if let Some(code) = code {
            body["code"] = Value::from(code);
        }
        if let Some(key) = &account.key {
            body["accessKey"] = Value::from(key.as_str());
        }
        journal.record(source::OSS, account.target.operation, &account.target.subject(), body);
    }
}

/// The AccessKey ID that a request claims, in its header or in its query, of either signature version.
fn access_key(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    if let Some(header) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        if let Some((_, credential)) = header.split_once("Credential=") {
            return credential.split('/').next().map(str::to_owned);
        }
        return header.strip_prefix("AWS ")?.split(':').next().map(str::to_owned);
    }
    let parameters = uri.query()?.split('&').filter_map(|parameter| parameter.split_once('='));
    parameters.into_iter().find_map(|(name, value)| match name {
        "X-Amz-Credential" => Some(value.split("%2F").next().unwrap_or(value).to_owned()),
        "AWSAccessKeyId" => Some(value.to_owned()),
        _ => None,
    })
}

/// Gives the answer an id and a name of the server, as both S3 and OSS do.
fn sign(response: &mut Response<s3s::Body>) {
    let id = uuid::Uuid::new_v4().simple().to_string();
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-amz-request-id", id.clone());
        response.headers_mut().insert("x-oss-request-id", id);
    }
    response.headers_mut().insert(http::header::SERVER, HeaderValue::from_static("mountlab-oss"));
}

/// The S3 error code in the body of an answer.
fn error_code(response: &Response<s3s::Body>) -> Option<String> {
    if response.status().is_success() {
        return None;
    }
    let body = response.body().bytes()?;
    let text = std::str::from_utf8(&body).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code.to_owned())
}

/// How long a connection may stay without a request before it is closed.
pub(crate) const IDLE: Duration = Duration::from_mins(5);
