//! The door before the Kubernetes API.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::StreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use serde_json::Value;
use tokio::sync::mpsc;

use super::body::{self, LARGEST};
use super::fields;
use super::rules::{self, Passage, Translated};
use crate::configuration::Configuration;
use crate::names::{Names, Write, into_object, requests};

/// What the door needs.
pub(crate) struct KubernetesDoor {
    /// Access to the cluster, with all the caller's rights.
    pub(crate) client: Client,
    /// The translation.
    pub(crate) names: Names,
    /// The system's configuration, where the scenario may change it.
    pub(crate) configuration: Option<Arc<Configuration>>,
    /// First segment of every path: who doesn't know it is not let in.
    pub(crate) secret: String,
    /// Whether sandboxes request little of the cluster, whatever the file says.
    pub(crate) small_requests: bool,
    /// Is told of every namespace that was made, by the cluster's name.
    pub(crate) made: mpsc::UnboundedSender<String>,
}

impl KubernetesDoor {
    /// The door's server.
    pub(crate) fn router(self) -> Router {
        Router::new().fallback(handle).with_state(Arc::new(self))
    }
}

async fn handle(State(door): State<Arc<KubernetesDoor>>, request: Request) -> Response {
    let (head, content) = request.into_parts();
    let prefix = format!("/{}", door.secret);
    let path = head.uri.path().strip_prefix(&prefix).filter(|path| path.starts_with('/'));
    let Some(path) = path else {
        let message = "the path does not begin with that of the server's address in the lab's kubeconfig, which is its \
                       secret; `kubectl --raw` leaves it out, so write it before the path";
        return body::status(StatusCode::FORBIDDEN, "Forbidden", message);
    };
    if head.headers.contains_key(UPGRADE) {
        let message = "commands in pods and forwarded ports don't pass the lab's door; use a `run` step";
        return body::status(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message);
    }
    let translated = match rules::decide(&door.names, &head.method, path, door.configuration.is_some()) {
        Passage::Pass(translated) => translated,
        Passage::Refused(reason) => return body::status(StatusCode::FORBIDDEN, "Forbidden", &reason),
    };
    let Ok(content) = axum::body::to_bytes(content, LARGEST).await else {
        let message = "the body of the request did not arrive, or is larger than 3 MiB";
        return body::status(StatusCode::BAD_REQUEST, "BadRequest", message);
    };
    let content = match door.to_cluster(&head, &translated, content) {
        Ok(content) => content,
        Err(refusal) => return *refusal,
    };
    match door.pass(&head, &translated, content).await {
        Ok(response) => response,
        Err(error) => {
            let message = format!("the cluster gave no answer: {}", lab::chain(&error));
            body::status(StatusCode::BAD_GATEWAY, "ServiceUnavailable", &message)
        }
    }
}

impl KubernetesDoor {
    async fn pass(&self, head: &Parts, to: &Translated, content: Bytes) -> Result<Response, kube::Error> {
        if to.configures
            && let Some(configuration) = &self.configuration
        {
            configuration.remember().await?;
        }
        let query = fields::translated(&self.names, to, head.uri.query().unwrap_or_default());
        let narrowed = to.labelled && matches!(head.method, Method::GET | Method::HEAD | Method::DELETE);
        let query = if narrowed { rules::with_label(&self.names, &query) } else { query };
        let uri = if query.is_empty() { to.path.clone() } else { format!("{}?{query}", to.path) };
        let mut request = http::Request::builder().method(head.method.clone()).uri(uri);
        if let Some(headers) = request.headers_mut() {
            *headers = body::without_credential(&head.headers);
            without_protobuf(headers);
        }
        let request = request.body(kube::client::Body::from(content)).map_err(kube::Error::HttpError)?;
        let (answer, content) = self.client.send(request).await?.into_parts();
        if to.plural.is_none() || !body::is_text(&answer.headers) {
            return Ok(body::answer(answer.status, &answer.headers, Body::new(content)));
        }
        if goes_on(&query) {
            let lines = body::translated_lines(self.names.clone(), content.into_data_stream().boxed());
            return Ok(body::answer(answer.status, &answer.headers, Body::from_stream(lines)));
        }
        let mut whole = content.collect_bytes().await?;
        if to.plural.as_deref() == Some("namespaces") && answer.status.is_success() && writes(&head.method) {
            self.tell_of_namespace(&whole);
        }
        if to.all_namespaces
            && let Ok(mut list) = serde_json::from_slice::<Value>(&whole)
        {
            body::keep_own(&self.names, &mut list);
            whole = list.to_string().into();
        }
        Ok(body::answer(answer.status, &answer.headers, Body::from(body::plain(&self.names, &whole))))
    }

    /// The body as the cluster gets it.
    fn to_cluster(&self, head: &Parts, to: &Translated, content: Bytes) -> Result<Bytes, Box<Response>> {
        let Some(plural) = to.plural.as_deref().filter(|_| writes(&head.method) && !content.is_empty())
        else {
            return Ok(content);
        };
        let content_type =
            head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if content_type.contains("json-patch") {
            return Ok(content);
        }
        let Ok(mut object) = serde_json::from_slice::<Value>(&content) else {
            let message =
                format!("the lab's door reads objects as JSON, and this body ({content_type}) is none");
            return Err(Box::new(body::status(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                &message,
            )));
        };
        let write = if content_type.contains("merge-patch") { Write::Merge } else { Write::Object };
        into_object(&self.names, &mut object, plural, &to.namespace, write);
        if self.small_requests && matches!(plural, "sandboxsets" | "sandboxes" | "sandboxtemplates") {
            requests::lower(&mut object);
        }
        Ok(object.to_string().into())
    }

    fn tell_of_namespace(&self, object: &[u8]) {
        let object: Value = serde_json::from_slice(object).unwrap_or_default();
        if let Some(name) = object.pointer("/metadata/name").and_then(Value::as_str) {
            // Nobody listens any more once the lab goes down.
            let _ = self.made.send(name.to_owned());
        }
    }
}

fn writes(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Whether an answer goes on as things happen.
fn goes_on(query: &str) -> bool {
    query.split('&').any(|part| matches!(part, "watch=true" | "watch=1" | "follow=true" | "follow=1"))
}

/// The binary form of objects can't be translated.
fn without_protobuf(headers: &mut http::HeaderMap) {
    let Some(accept) = headers.get(ACCEPT).and_then(|value| value.to_str().ok()) else { return };
    if !accept.contains("protobuf") {
        return;
    }
    let kept: Vec<_> = accept.split(',').filter(|kind| !kind.contains("protobuf")).collect();
    let kept = if kept.is_empty() { "application/json".to_owned() } else { kept.join(",") };
    if let Ok(value) = HeaderValue::from_str(&kept) {
        headers.insert(ACCEPT, value);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn the_binary_form_is_not_asked_for() {
        let mut headers = HeaderMap::new();
        headers
            .insert(ACCEPT, HeaderValue::from_static("application/vnd.kubernetes.protobuf,application/json"));
        without_protobuf(&mut headers);
        assert_eq!(headers[ACCEPT], "application/json");
    }

    #[test]
    fn watches_and_followed_logs_go_on() {
        assert!(
            goes_on("watch=true&x=1") && goes_on("follow=true") && !goes_on("watch=false") && !goes_on("")
        );
    }
}
