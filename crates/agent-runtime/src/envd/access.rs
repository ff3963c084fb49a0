//! Who may call: the access token, and signatures of file URLs (`e2b-api.md` §9.3, §9.4).

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use http::HeaderMap;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::http_error::HttpError;
use super::state::SharedEnvd;

/// The header with the access token.
pub(crate) const TOKEN_HEADER: &str = "x-access-token";

/// Below it are the storage routes.
const STORAGE_PREFIX: &str = "/v1/storage/";

/// Paths with a rule of their own, or none.
const OPEN: [&str; 3] = ["/health", "/init", "/files"];

/// Refuses calls without the right token, once there is one.
pub(crate) async fn require_token(State(envd): State<SharedEnvd>, request: Request, next: Next) -> Response {
    // A preflight carries no headers of its own; the browser asks before it sends the token.
    let exempt = OPEN.contains(&request.uri().path()) || request.method() == http::Method::OPTIONS;
    if !exempt && let Err(problem) = check_header(envd.identity().token.as_deref(), request.headers()) {
        return refusal(&request, problem);
    }
    next.run(request).await
}

/// The answer to a wrong token. The storage routes have always had it in `error`.
fn refusal(request: &Request, problem: HttpError) -> Response {
    if !request.uri().path().starts_with(STORAGE_PREFIX) {
        return problem.into_response();
    }
    let body =
        json!({ "code": problem.status.as_u16(), "message": problem.message, "error": problem.message });
    (problem.status, axum::Json(body)).into_response()
}

/// Checks the header against `token`.
pub(crate) fn check_header(token: Option<&str>, headers: &HeaderMap) -> Result<(), HttpError> {
    let Some(token) = token else { return Ok(()) };
    match headers.get(TOKEN_HEADER) {
        Some(given) if equal(given.as_bytes(), token.as_bytes()) => Ok(()),
        Some(_) => Err(HttpError::unauthorized("the access token is wrong")),
        None => Err(HttpError::unauthorized("the access token is missing: send it in X-Access-Token")),
    }
}

/// Compares without telling by its duration where the texts differ.
pub(crate) fn equal(left: &[u8], right: &[u8]) -> bool {
    Sha256::digest(left) == Sha256::digest(right)
}

/// What a signature of a file URL speaks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    /// The path exactly as in the query.
    pub(crate) path: &'a str,
    /// `read` or `write`.
    pub(crate) operation: &'static str,
    /// The user exactly as in the query, or empty.
    pub(crate) username: &'a str,
    /// Unix seconds after which it is void.
    pub(crate) expiration: Option<i64>,
}

impl Claim<'_> {
    /// The signature that whoever knows `token` gives.
    pub(crate) fn signature(&self, token: &str) -> String {
        let Self { path, operation, username, expiration } = self;
        let mut text = format!("{path}:{operation}:{username}:{token}");
        if let Some(expiration) = expiration {
            text = format!("{text}:{expiration}");
        }
        format!("v1_{}", BASE64_STANDARD_NO_PAD.encode(Sha256::digest(text)))
    }

    /// Checks a given signature at the Unix second `now`.
    pub(crate) fn check(&self, token: &str, signature: Option<&str>, now: i64) -> Result<(), HttpError> {
        let Some(signature) = signature else {
            return Err(HttpError::unauthorized("neither an access token nor a signature was given"));
        };
        if !equal(signature.as_bytes(), self.signature(token).as_bytes()) {
            return Err(HttpError::unauthorized("the signature is wrong"));
        }
        if self.expiration.is_some_and(|expiration| expiration < now) {
            return Err(HttpError::unauthorized("the signature has expired"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/x", "read", "", None, "v1_kSmQGYgIwTjbfxsjNa4MB3HkX7cZrsrQXvX2GjizDfo")]
    #[case("/x", "write", "user", None, "v1_0q28xrgnIMpTpXZ8JQKvgdrYujZ0QifDnqVNwK+oNDA")]
    #[case("/x y", "read", "root", Some(1_795_479_178), "v1_PVUhBuIGnXduexKdRWVLSlXh4ae6noAxrETdavo8GQ8")]
    fn the_vectors_of_the_contract(
        #[case] path: &str,
        #[case] operation: &'static str,
        #[case] username: &str,
        #[case] expiration: Option<i64>,
        #[case] expected: &str,
    ) {
        let claim = Claim { path, operation, username, expiration };
        assert_eq!(claim.signature("tok-1"), expected);
        claim.check("tok-1", Some(expected), 1_795_479_178).expect("valid");
        let refusals = [
            claim.check("tok-2", Some(expected), 0),
            claim.check("tok-1", None, 0),
            claim.check("tok-1", Some(&format!("{expected}=")), 0),
            Claim { path: "/y", ..claim }.check("tok-1", Some(expected), 0),
            Claim { operation: "other", ..claim }.check("tok-1", Some(expected), 0),
        ];
        for refusal in refusals {
            assert_eq!(refusal.unwrap_err().status, 401);
        }
        if expiration.is_some() {
            let late = claim.check("tok-1", Some(expected), 1_795_479_179).unwrap_err();
            assert_eq!(late.message, "the signature has expired");
        }
    }
}
