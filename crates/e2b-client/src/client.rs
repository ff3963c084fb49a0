//! The control plane.

use std::fmt;
use std::time::Duration;

use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::ClientError;
use crate::request::{exchange, join, percent_encode};
use crate::sandbox::Sandbox;
use crate::types::{CreateRequest, ListQuery, Reply, SandboxInfo, SnapshotInfo};

/// How the API is reached.
#[derive(Clone)]
pub struct Settings {
    /// Base URL of the control plane, a path prefix allowed: `E2B_API_URL`.
    pub api_url: String,
    /// URL that every request to a sandbox goes to: `E2B_SANDBOX_URL`.
    pub sandbox_url: String,
    /// `E2B_API_KEY`.
    pub api_key: String,
    /// Limit of one control-plane call; the SDKs' default is 60 s.
    pub request_limit: Duration,
}

impl Settings {
    /// Settings for a server that is API and gateway in one, with the SDKs' limit of 60 s.
    pub fn new(url: impl Into<String>, api_key: impl Into<String>) -> Self {
        let url = url.into();
        Self {
            api_url: url.clone(),
            sandbox_url: url,
            api_key: api_key.into(),
            request_limit: Duration::from_secs(60),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("api_url", &self.api_url)
            .field("sandbox_url", &self.sandbox_url)
            .field("request_limit", &self.request_limit)
            .finish_non_exhaustive()
    }
}

/// A client of the control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    api: Url,
    sandboxes: Url,
    settings: Settings,
}

impl Client {
    /// A client; nothing is sent.
    ///
    /// # Errors
    /// [`ClientError::Settings`] when a URL can't be parsed, isn't `http`, or the key can't stand in a header.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        let api = parse("api_url", &settings.api_url)?;
        let sandboxes = parse("sandbox_url", &settings.sandbox_url)?;
        if reqwest::header::HeaderValue::from_str(&settings.api_key).is_err() {
            return Err(ClientError::Settings {
                name: "api_key",
                reason: "it has characters that no header can carry".into(),
            });
        }
        // A proxy of the user's environment must not come between a lab on this machine and its client.
        let http = reqwest::Client::builder()
            .no_proxy()
            .build()
            .map_err(|error| ClientError::Settings { name: "http", reason: error.to_string() })?;
        Ok(Self { http, api, sandboxes, settings })
    }

    /// Creates a sandbox from a template, with the mounts that the metadata asks for.
    ///
    /// # Errors
    /// [`ClientError`]; a refusal has the statuses of `e2b-api.md` §4.1 and `storage.md` §9. A success other than
    /// 201 is [`ClientError::Malformed`], as both SDKs see it.
    pub async fn create(&self, request: &CreateRequest) -> Result<Reply<SandboxInfo>, ClientError> {
        const OPERATION: &str = "create sandbox";
        let body = serde_json::to_value(request).map_err(|error| ClientError::malformed(OPERATION, error))?;
        let answer = self.call(OPERATION, Method::POST, &["v2", "sandboxes"], Some(body)).await?;
        if answer.status != 201 {
            return Err(ClientError::malformed(
                OPERATION,
                format!("success must be 201, it is {}", answer.status),
            ));
        }
        answer.json()
    }

    /// Connects to a sandbox, waking it up when it is paused. Status 200 means that it was running, 201 that it was
    /// resumed. The deadline is only ever moved away.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is no such sandbox of this API key.
    pub async fn connect(
        &self,
        sandbox: &str,
        timeout: Option<u64>,
    ) -> Result<Reply<SandboxInfo>, ClientError> {
        let body = timeout.map_or_else(|| json!({}), |timeout| json!({ "timeout": timeout }));
        let operation = format!("connect to sandbox {sandbox}");
        self.call(&operation, Method::POST, &["v2", "sandboxes", sandbox, "connect"], Some(body))
            .await?
            .json()
    }

    /// What the API knows of a sandbox.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is no such sandbox of this API key.
    pub async fn get(&self, sandbox: &str) -> Result<Reply<SandboxInfo>, ClientError> {
        self.call(&format!("get sandbox {sandbox}"), Method::GET, &["sandboxes", sandbox], None).await?.json()
    }

    /// Every sandbox of this API key that `query` asks for, page by page.
    ///
    /// # Errors
    /// [`ClientError`] of the first page that fails.
    pub async fn list(&self, query: &ListQuery) -> Result<Vec<SandboxInfo>, ClientError> {
        self.pages("list sandboxes", |token| list_url(&self.api, query, token)).await
    }

    /// Takes a snapshot of a running sandbox; answered when it can be used.
    ///
    /// # Errors
    /// [`ClientError`]; 400 when it isn't running, 409 when the name is taken. A success other than 201 is
    /// [`ClientError::Malformed`].
    pub async fn snapshot(
        &self,
        sandbox: &str,
        name: Option<&str>,
    ) -> Result<Reply<SnapshotInfo>, ClientError> {
        let operation = format!("take a snapshot of sandbox {sandbox}");
        let body = Some(name.map_or_else(|| json!({}), |name| json!({ "name": name })));
        let answer = self.call(&operation, Method::POST, &["sandboxes", sandbox, "snapshots"], body).await?;
        if answer.status != 201 {
            let problem = format!("success must be 201, it is {}", answer.status);
            return Err(ClientError::malformed(&operation, problem));
        }
        answer.json()
    }

    /// Every snapshot of this API key, of one sandbox where `sandbox` is given, page by page.
    ///
    /// # Errors
    /// [`ClientError`] of the first page that fails.
    pub async fn snapshots(
        &self,
        sandbox: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Vec<SnapshotInfo>, ClientError> {
        let url = |token: Option<&str>| {
            let mut url = join(&self.api, &["snapshots"]);
            let limit = limit.map(|limit| limit.to_string());
            let pairs = [("sandboxID", sandbox), ("limit", limit.as_deref()), ("nextToken", token)];
            for (key, value) in pairs {
                if let Some(value) = value {
                    url.query_pairs_mut().append_pair(key, value);
                }
            }
            url
        };
        self.pages("list snapshots", url).await
    }

    /// Deletes a snapshot; sandboxes that were made from it go on.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is no such snapshot, where the SDKs return false.
    pub async fn delete_snapshot(&self, snapshot: &str) -> Result<Reply<()>, ClientError> {
        let operation = format!("delete snapshot {snapshot}");
        Ok(self.call(&operation, Method::DELETE, &["templates", snapshot], None).await?.empty())
    }

    /// Sets the deadline to `timeout` seconds from now; it can move both ways.
    ///
    /// # Errors
    /// [`ClientError`]; 400 for a bad value, 404 for an unknown sandbox, 409 when it isn't running.
    pub async fn set_timeout(&self, sandbox: &str, timeout: u64) -> Result<Reply<()>, ClientError> {
        let operation = format!("set timeout of sandbox {sandbox}");
        let body = json!({ "timeout": timeout });
        Ok(self.call(&operation, Method::POST, &["sandboxes", sandbox, "timeout"], Some(body)).await?.empty())
    }

    /// Pauses (hibernates) a sandbox; answered when the pause is complete.
    ///
    /// # Errors
    /// [`ClientError`]; 400 where a mounted volume forbids it.
    pub async fn pause(&self, sandbox: &str) -> Result<Reply<()>, ClientError> {
        let operation = format!("pause sandbox {sandbox}");
        let body = Some(json!({}));
        Ok(self.call(&operation, Method::POST, &["sandboxes", sandbox, "pause"], body).await?.empty())
    }

    /// Wakes a paused sandbox up, in the way of older SDKs; answered when it is ready.
    ///
    /// # Errors
    /// [`ClientError`]; 409 while it is being paused, 500 with what keeps it from waking up.
    pub async fn resume(&self, sandbox: &str, timeout: u64) -> Result<Reply<()>, ClientError> {
        let operation = format!("resume sandbox {sandbox}");
        let body = Some(json!({ "timeout": timeout }));
        Ok(self.call(&operation, Method::POST, &["sandboxes", sandbox, "resume"], body).await?.empty())
    }

    /// Ends a sandbox.
    ///
    /// # Errors
    /// [`ClientError`]; 404 when there is no such sandbox, where the SDKs return false.
    pub async fn kill(&self, sandbox: &str) -> Result<Reply<()>, ClientError> {
        let operation = format!("kill sandbox {sandbox}");
        Ok(self.call(&operation, Method::DELETE, &["sandboxes", sandbox], None).await?.empty())
    }

    /// The sandbox's own services, reached through the gateway.
    pub fn sandbox(&self, info: &SandboxInfo) -> Sandbox {
        Sandbox::new(
            self.http.clone(),
            self.sandboxes.clone(),
            info.sandbox_id.clone(),
            info.envd_access_token.clone(),
            self.settings.request_limit,
        )
    }

    /// The items of every page, whose address `url` makes from the page's token.
    async fn pages<T: DeserializeOwned>(
        &self,
        operation: &str,
        url: impl Fn(Option<&str>) -> Url,
    ) -> Result<Vec<T>, ClientError> {
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let request = self.http.get(url(token.as_deref())).header("X-API-KEY", &self.settings.api_key);
            let answer = exchange(operation, request, self.settings.request_limit).await?;
            let next = answer.header("x-next-token").filter(|next| !next.is_empty());
            let page: Reply<Vec<T>> = answer.json()?;
            all.extend(page.value);
            match next {
                None => return Ok(all),
                Some(next) if token.as_ref() == Some(&next) => {
                    return Err(ClientError::malformed(operation, "the next page's token is this page's"));
                }
                Some(next) => token = Some(next),
            }
        }
    }

    async fn call(
        &self,
        operation: &str,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<crate::request::Answer, ClientError> {
        let mut request = self
            .http
            .request(method, join(&self.api, path))
            .header("X-API-KEY", &self.settings.api_key)
            .header("Accept", "application/json");
        if let Some(body) = body {
            request = request.json(&body);
        }
        exchange(operation, request, self.settings.request_limit).await
    }
}

fn parse(name: &'static str, text: &str) -> Result<Url, ClientError> {
    let url = Url::parse(text)
        .map_err(|error| ClientError::Settings { name, reason: format!("`{text}`: {error}") })?;
    if url.scheme() != "http" {
        return Err(ClientError::Settings {
            name,
            reason: format!("`{text}` is {}, this client speaks http only", url.scheme()),
        });
    }
    Ok(url)
}

fn list_url(api: &Url, query: &ListQuery, token: Option<&str>) -> Url {
    let mut url = join(api, &["v2", "sandboxes"]);
    let mut pairs: Vec<(&str, String)> = Vec::new();
    if !query.states.is_empty() {
        pairs.push(("state", query.states.join(",")));
    }
    if let Some(limit) = query.limit {
        pairs.push(("limit", limit.to_string()));
    }
    if !query.metadata.is_empty() {
        pairs.push(("metadata", metadata_filter(query)));
    }
    if let Some(token) = token {
        pairs.push(("nextToken", token.to_owned()));
    }
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    url
}

/// Each key and value percent-encoded, the pairs form-encoded, as the SDKs do (`e2b-api.md` §4.4).
fn metadata_filter(query: &ListQuery) -> String {
    let pairs = query.metadata.iter().map(|(key, value)| {
        format!("{}={}", percent_encode(&percent_encode(key)), percent_encode(&percent_encode(value)))
    });
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_filter_is_encoded_in_three_layers() {
        let query = ListQuery {
            metadata: [("a b/c".to_owned(), "x y&z=é".to_owned())].into(),
            ..ListQuery::default()
        };
        let api = Url::parse("http://host/kruise/api").expect("a URL");
        let url = list_url(&api, &query, None);
        assert_eq!(
            url.as_str(),
            "http://host/kruise/api/v2/sandboxes?metadata=\
             a%252520b%25252Fc%3Dx%252520y%252526z%25253D%2525C3%2525A9",
            "the JavaScript SDK's vector of e2b-api.md §4.4"
        );
    }

    #[test]
    fn settings_do_not_show_the_key() {
        let settings = Settings::new("http://127.0.0.1:1", "key-that-is-secret");
        assert!(!format!("{:?}", Client::new(settings)).contains("key-that-is-secret"));
    }

    #[rstest::rstest]
    #[case::no_url("127.0.0.1:1", "k")]
    #[case::encrypted("https://host", "k")]
    #[case::line_break_in_key("http://host", "a\nb")]
    fn unusable_settings_are_refused(#[case] url: &str, #[case] key: &str) {
        assert!(matches!(Client::new(Settings::new(url, key)), Err(ClientError::Settings { .. })));
    }
}
