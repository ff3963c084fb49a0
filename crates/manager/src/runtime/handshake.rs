//! The handshake with a claimed sandbox's runtime: `POST /init` hands over environment and access token
//! (`kubernetes.md` §5.4).

use std::collections::BTreeMap;
use std::time::Duration;

use contract::errors::Code;
use http::Method;
use serde_json::json;

use super::{CallError, Endpoint, RuntimeClient};
use crate::error::ApiError;

/// How often it is tried.
const TRIES: u32 = 5;
/// Limit of one try.
const TRY_LIMIT: Duration = Duration::from_secs(1);
/// Wait before the second try; doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(200);

impl RuntimeClient {
    /// Initialises the runtime. A 4xx is final, everything else is tried again.
    pub(crate) async fn initialise(
        &self,
        endpoint: &Endpoint,
        token: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<(), ApiError> {
        let body = json!({"envVars": environment, "accessToken": token}).to_string().into_bytes();
        let mut wait = FIRST_WAIT;
        let mut last = String::new();
        for attempt in 1..=TRIES {
            match self.call(Method::POST, endpoint, "/init", Some(token), body.clone(), TRY_LIMIT).await {
                Ok(answer) if answer.status.is_success() => return Ok(()),
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

fn failed(how: &str) -> ApiError {
    ApiError::new(Code::RuntimeInitFailed, format!("failed to initialise the sandbox's runtime: {how}"))
}
