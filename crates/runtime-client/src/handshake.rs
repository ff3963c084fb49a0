//! The handshake with a claimed sandbox's runtime: `POST /init` hands over environment and access token
//! (`kubernetes.md` §5.4).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use contract::errors::{Code, Problem};
use contract::names::annotations;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{CallError, Endpoint, RuntimeClient};

/// How often it is tried.
const TRIES: u32 = 5;
/// Limit of one try.
const TRY_LIMIT: Duration = Duration::from_secs(1);
/// Wait before the second try; doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// What a runtime is initialised with; kept on the Sandbox as annotation `init-runtime-request`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InitRequest {
    /// Environment of every process in the sandbox.
    pub env_vars: BTreeMap<String, String>,
    /// The token that callers of the runtime have to show.
    pub access_token: String,
    /// Passed through to the runtime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_refresh: Option<bool>,
}

impl InitRequest {
    /// Reads the annotation.
    ///
    /// # Errors
    /// [`Code::RuntimeInitFailed`] with the place of the mistake, never with the text: it holds the token.
    pub fn from_annotation(text: &str) -> Result<Self, Problem> {
        serde_json::from_str(text).map_err(|error| {
            let key = annotations::INIT_RUNTIME_REQUEST;
            let place = format!("at line {} column {}", error.line(), error.column());
            Problem::new(Code::RuntimeInitFailed, format!("annotation {key} can't be read {place}"))
        })
    }

    /// The text of the annotation, and the body of `POST /init`.
    pub fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

impl fmt::Debug for InitRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("InitRequest([redacted])")
    }
}

/// Whether the runtime may know somebody already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// The sandbox was just claimed: a runtime with another token is somebody else's.
    First,
    /// The sandbox was initialised before: a 401 says that its runtime still is.
    Again,
}

impl RuntimeClient {
    /// Initialises the runtime. A 4xx is final, everything else is tried again.
    ///
    /// # Errors
    /// [`Code::RuntimeInitFailed`] with the last answer.
    pub async fn initialise(
        &self,
        endpoint: &Endpoint,
        request: &InitRequest,
        handshake: Handshake,
    ) -> Result<(), Problem> {
        let body = request.to_text().into_bytes();
        let token = (!request.access_token.is_empty()).then_some(request.access_token.as_str());
        let mut wait = FIRST_WAIT;
        let mut last = String::new();
        for attempt in 1..=TRIES {
            match self.call(Method::POST, endpoint, "/init", token, body.clone(), TRY_LIMIT).await {
                Ok(answer) if answer.status.is_success() => return Ok(()),
                Ok(answer) if answer.status == StatusCode::UNAUTHORIZED && handshake == Handshake::Again => {
                    return Ok(());
                }
                Ok(answer) if answer.status.is_client_error() => {
                    return Err(failed(&format!("it answered {}", answer.status)));
                }
                Ok(answer) => last = format!("it answered {}", answer.status),
                Err(CallError::Unbuildable) => return Err(failed("the request cannot be built")),
                Err(error) => last = error.to_string(),
            }
            if attempt < TRIES {
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        }
        Err(failed(&format!("after {TRIES} tries, the last: {last}")))
    }
}

fn failed(how: &str) -> Problem {
    Problem::new(Code::RuntimeInitFailed, format!("failed to initialise the sandbox's runtime: {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotation_reads_back_and_a_broken_one_is_not_quoted() {
        let request = InitRequest {
            env_vars: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            access_token: "token-0123456789".to_owned(),
            skip_refresh: None,
        };
        let text = request.to_text();
        assert_eq!(text, r#"{"accessToken":"token-0123456789","envVars":{"A":"b"}}"#);
        assert_eq!(InitRequest::from_annotation(&text), Ok(request));
        let problem = InitRequest::from_annotation(r#"{"accessToken":"token-0123456789""#).unwrap_err();
        assert!(!problem.to_string().contains("token-0123456789"), "{problem}");
        assert!(problem.to_string().contains("line 1 column"), "{problem}");
    }
}
