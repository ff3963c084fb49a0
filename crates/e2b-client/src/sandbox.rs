//! A sandbox's own services, through the gateway.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Method, RequestBuilder, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ENVD_PORT;
use crate::error::ClientError;
use crate::request::{exchange, join};

/// Reaches envd in one sandbox. Cheap to clone; made by [`crate::Client::sandbox`].
#[derive(Clone)]
pub struct Sandbox {
    http: reqwest::Client,
    gateway: Url,
    id: String,
    token: Option<String>,
    pub(crate) limit: Duration,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sandbox")
            .field("gateway", &self.gateway.as_str())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Sandbox {
    pub(crate) fn new(
        http: reqwest::Client,
        gateway: Url,
        id: String,
        token: Option<String>,
        limit: Duration,
    ) -> Self {
        Self { http, gateway, id, token, limit }
    }

    /// The sandbox's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether envd answers. False when the gateway says that the sandbox isn't running (502).
    ///
    /// # Errors
    /// [`ClientError`] for every other failure.
    pub async fn is_running(&self) -> Result<bool, ClientError> {
        let operation = format!("health of sandbox {}", self.id);
        let request = self.request(Method::GET, &["health"], None);
        match exchange(&operation, request, self.limit).await {
            Ok(_) => Ok(true),
            Err(ClientError::Refused(refusal)) if refusal.status == 502 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// One unary call of the Connect protocol.
    pub(crate) async fn unary<T: DeserializeOwned>(
        &self,
        operation: &str,
        method: &str,
        user: Option<&str>,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let segments: Vec<&str> = method.split('/').collect();
        let request =
            self.request(Method::POST, &segments, user).header("Connect-Protocol-Version", "1").json(body);
        Ok(exchange(operation, request, self.limit).await?.json()?.value)
    }

    /// A request to envd with the headers of `e2b-api.md` §1.4. Without a user the sandbox's default one applies.
    pub(crate) fn request(&self, method: Method, segments: &[&str], user: Option<&str>) -> RequestBuilder {
        self.request_with_query(method, segments, &[], user)
    }

    pub(crate) fn request_with_query(
        &self,
        method: Method,
        segments: &[&str],
        query: &[(&str, &str)],
        user: Option<&str>,
    ) -> RequestBuilder {
        let mut url = join(&self.gateway, segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self
            .http
            .request(method, url)
            .header("E2b-Sandbox-Id", &self.id)
            .header("E2b-Sandbox-Port", ENVD_PORT);
        if let Some(token) = &self.token {
            request = request.header("X-Access-Token", token);
        }
        if let Some(user) = user {
            let value = BASE64_STANDARD.encode(format!("{user}:"));
            request = request.header("Authorization", format!("Basic {value}"));
        }
        request
    }
}
