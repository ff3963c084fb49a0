//! The door before the E2B API and the gateway to sandboxes' ports.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use contract::names::metadata_keys;
use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri};
use journal::{Journal, source};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::body::{self, LARGEST};
use crate::e2b::{Upstream, UpstreamError};
use crate::names::{Names, mounts};

const ID_HEADER: &str = "e2b-sandbox-id";
const KEY_HEADER: &str = "x-api-key";

/// What the door needs.
pub(crate) struct E2bDoor {
    pub(crate) upstream: Upstream,
    pub(crate) names: Names,
    pub(crate) journal: Journal,
    /// The door's own address, which sandboxes' domains are.
    pub(crate) domain: String,
}

impl E2bDoor {
    /// The door's server.
    pub(crate) fn router(self) -> Router {
        Router::new().fallback(handle).with_state(Arc::new(self))
    }
}

/// Where a request goes (`e2b-api.md` §8.1), under its path there.
#[derive(Debug, Eq, PartialEq)]
enum Destination {
    /// To the API itself.
    Api(String),
    /// To a port of a sandbox, untouched but for the sandbox's id.
    Sandbox {
        path: String,
        /// The first label of the host, where the host says which sandbox is meant.
        label: Option<String>,
    },
}

async fn handle(State(door): State<Arc<E2bDoor>>, request: Request) -> Response {
    let (head, content) = request.into_parts();
    let outcome = match destination(&door.names, &head.uri, &head.headers) {
        Destination::Sandbox { path, label } => door.to_sandbox(head, content, &path, label.as_deref()).await,
        Destination::Api(path) => door.to_api(head, content, &path).await,
    };
    outcome.unwrap_or_else(|error| {
        let code = StatusCode::BAD_GATEWAY;
        let message = format!("the E2B API gave no answer: {}", lab::chain(&error));
        (code, axum::Json(json!({"code": code.as_u16(), "message": message}))).into_response()
    })
}

impl E2bDoor {
    async fn to_sandbox(
        &self,
        head: Parts,
        content: Body,
        path: &str,
        label: Option<&str>,
    ) -> Result<Response, UpstreamError> {
        let mut headers = body::passed_on(&head.headers);
        if let Some(id) = text(&head.headers, ID_HEADER)
            && let Ok(real) = HeaderValue::from_str(&self.names.sandbox_id(id))
        {
            headers.insert(ID_HEADER, real);
        }
        if let Some(label) = label
            && let Ok(host) = HeaderValue::from_str(&format!("{label}.{}", self.upstream.authority()))
        {
            headers.insert(HOST, host);
        }
        let answer = self.upstream.send(head.method, &with_query(path, &head.uri), headers, content).await?;
        let (answer, content) = answer.into_parts();
        Ok(body::answer(answer.status, &answer.headers, Body::new(content)))
    }

    async fn to_api(&self, head: Parts, content: Body, path: &str) -> Result<Response, UpstreamError> {
        let begun = Instant::now();
        let content = axum::body::to_bytes(content, LARGEST).await.unwrap_or_default();
        let content = into_cluster(&self.names, content);
        let headers = body::passed_on(&head.headers);
        let path_and_query = with_query(path, &head.uri);
        let answer =
            self.upstream.send(head.method.clone(), &path_and_query, headers, content.into()).await?;
        let (answer, content) = answer.into_parts();
        let content = Upstream::read(content).await?;
        let (content, value) = if body::is_text(&answer.headers) {
            self.with_own_domain(&body::plain(&self.names, &content))
        } else {
            (content, Value::Null)
        };
        self.record(&head, answer.status, &value, begun);
        Ok(body::answer(answer.status, &answer.headers, content.into()))
    }

    /// An answer with the door as the domain of sandboxes: there alone are they known by the file's names.
    fn with_own_domain(&self, content: &Bytes) -> (Bytes, Value) {
        let Ok(mut value) = serde_json::from_slice::<Value>(content) else {
            return (content.clone(), Value::Null);
        };
        let mut changed = false;
        let sandboxes = match &mut value {
            Value::Array(items) => items.iter_mut().collect(),
            other => vec![other],
        };
        for sandbox in sandboxes.into_iter().filter(|value| value.get("sandboxID").is_some()) {
            if let Some(domain) = sandbox.get_mut("domain").filter(|domain| domain.is_string()) {
                *domain = self.domain.clone().into();
                changed = true;
            }
        }
        (if changed { value.to_string().into() } else { content.clone() }, value)
    }

    /// The journal's line about one request, as the manager writes it on the embedded backend.
    fn record(&self, head: &Parts, status: StatusCode, answer: &Value, begun: Instant) {
        let path = head.uri.path();
        let path = path.strip_prefix("/kruise/api").unwrap_or(path);
        let mut entry = Map::new();
        entry.insert("status".to_owned(), status.as_u16().into());
        if !status.is_success() {
            for (from, to) in [("error_code", "code"), ("message", "message")] {
                if let Some(value) = answer.get(from) {
                    entry.insert(to.to_owned(), value.clone());
                }
            }
        }
        entry.insert("milliseconds".to_owned(), json!(begun.elapsed().as_secs_f64() * 1000.0));
        let (route, id) = route(path);
        let made = answer.get("sandboxID").and_then(Value::as_str);
        let subject = id.or(made).unwrap_or(path);
        self.journal.record(source::E2B, &format!("{} {route}", head.method), subject, Value::Object(entry));
    }
}

/// A path's route, and the id in it.
fn route(path: &str) -> (String, Option<&str>) {
    let mut id = None;
    let mut previous = "";
    let segments = path.split('/').map(|segment| {
        let is_id = matches!(previous, "sandboxes" | "templates" | "api-keys") && segment != "compatible";
        previous = segment;
        if is_id && !segment.is_empty() {
            id = Some(segment);
            return "{id}";
        }
        segment
    });
    (segments.collect::<Vec<_>>().join("/"), id)
}

/// The same order as at the gateway: the first shape that fits wins.
fn destination(names: &Names, uri: &Uri, headers: &HeaderMap) -> Destination {
    let path = uri.path();
    if path == "/kruise/api" || path.starts_with("/kruise/api/") {
        return Destination::Api(api_path(names, path));
    }
    if let Some((id, rest)) = path.strip_prefix("/kruise/").and_then(|rest| rest.split_once('/')) {
        return Destination::Sandbox {
            path: format!("/kruise/{}/{rest}", names.sandbox_id(id)),
            label: None,
        };
    }
    if let Some(id) = text(headers, ID_HEADER).filter(|id| !id.is_empty()) {
        let connect = path.strip_prefix("/v2").unwrap_or(path) == format!("/sandboxes/{id}/connect");
        if !(connect && headers.contains_key(KEY_HEADER)) {
            return Destination::Sandbox { path: path.to_owned(), label: None };
        }
        return Destination::Api(api_path(names, path));
    }
    let host = text(headers, HOST.as_str()).unwrap_or_default();
    if let Some((port, id)) = host.split_once('.').and_then(|(label, _)| label.split_once('-'))
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && id.contains("--")
    {
        let label = Some(format!("{port}-{}", names.sandbox_id(id)));
        return Destination::Sandbox { path: path.to_owned(), label };
    }
    Destination::Api(api_path(names, path))
}

fn api_path(names: &Names, path: &str) -> String {
    let mut previous = "";
    let segments = path.split('/').map(|segment| {
        let translated = if previous == "sandboxes" { names.sandbox_id(segment) } else { segment.to_owned() };
        previous = segment;
        translated
    });
    segments.collect::<Vec<_>>().join("/")
}

fn with_query(path: &str, uri: &Uri) -> String {
    uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// The body of a request to the API with the cluster's names of volumes; one that isn't JSON stays as it is.
fn into_cluster(names: &Names, content: Bytes) -> Bytes {
    let Ok(mut value) = serde_json::from_slice::<Value>(&content) else { return content };
    let before = value.clone();
    let rename = |name: &mut Value| {
        if let Value::String(name) = name
            && !name.is_empty()
        {
            *name = names.real(name);
        }
    };
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        if let Some(name) = metadata.get_mut(metadata_keys::CSI_VOLUME_NAME) {
            rename(name);
        }
        if let Some(Value::String(list)) = metadata.get_mut(metadata_keys::CSI_VOLUME_CONFIG) {
            *list = mounts(names, list);
        }
    }
    if let Some(Value::Array(volumes)) = value.get_mut("volumeMounts") {
        volumes.iter_mut().filter_map(|volume| volume.get_mut("name")).for_each(rename);
    }
    if let Some(Value::String(team)) = value.get_mut("teamName") {
        *team = names.namespace(team);
    }
    // What was not changed goes on byte for byte: how it is written may be the point.
    if value == before { content } else { value.to_string().into() }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn names() -> Names {
        Names::new("mltag12")
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value)))
            .collect()
    }

    #[rstest]
    #[case("/v2/sandboxes/default--a-1/pause", "/v2/sandboxes/mltag12-default--a-1/pause")]
    #[case("/kruise/api/sandboxes/default--a-1", "/kruise/api/sandboxes/mltag12-default--a-1")]
    #[case("/sandboxes", "/sandboxes")]
    #[case("/templates/code-interpreter", "/templates/code-interpreter")]
    fn paths_of_the_api(#[case] path: &str, #[case] real: &str) {
        let uri = path.parse().expect("a path");
        assert_eq!(destination(&names(), &uri, &HeaderMap::new()), Destination::Api(real.to_owned()));
    }

    #[test]
    fn ways_to_a_sandboxs_port() {
        let to = |path: &str, pairs| destination(&names(), &path.parse().expect("a path"), &headers(pairs));
        let sandbox = |path: &str, label: Option<&str>| Destination::Sandbox {
            path: path.to_owned(),
            label: label.map(str::to_owned),
        };
        assert_eq!(to("/files", &[("e2b-sandbox-id", "default--a")]), sandbox("/files", None));
        assert_eq!(to("/kruise/default--a/8080/x", &[]), sandbox("/kruise/mltag12-default--a/8080/x", None));
        assert_eq!(
            to("/x", &[("host", "8080-default--a.example.com")]),
            sandbox("/x", Some("8080-mltag12-default--a"))
        );
        let connect = [("e2b-sandbox-id", "default--a"), ("x-api-key", "k")];
        assert_eq!(
            to("/sandboxes/default--a/connect", &connect),
            Destination::Api("/sandboxes/mltag12-default--a/connect".to_owned())
        );
    }

    #[test]
    fn a_create_asks_for_the_clusters_volumes() {
        let body = json!({"templateID": "t", "metadata": {
            "e2b.agents.kruise.io/csi-volume-name": "oss", "user": "oss",
            "e2b.agents.kruise.io/csi-volume-config": "[{\"pvName\":\"nas\"}]",
        }, "volumeMounts": [{"name": "v", "path": "/v"}]});
        let translated = into_cluster(&names(), body.to_string().into());
        let expected = json!({"templateID": "t", "metadata": {
            "e2b.agents.kruise.io/csi-volume-name": "mltag12-oss", "user": "oss",
            "e2b.agents.kruise.io/csi-volume-config": "[{\"pvName\":\"mltag12-nas\"}]",
        }, "volumeMounts": [{"name": "mltag12-v", "path": "/v"}]});
        assert_eq!(serde_json::from_slice::<Value>(&translated).expect("JSON"), expected);
        let odd = Bytes::from_static(b"{ \"timeout\" : 1 }");
        assert_eq!(into_cluster(&names(), odd.clone()), odd);
    }

    #[test]
    fn the_journal_knows_routes_by_their_templates() {
        assert_eq!(
            route("/v2/sandboxes/default--a/pause"),
            ("/v2/sandboxes/{id}/pause".to_owned(), Some("default--a"))
        );
        assert_eq!(route("/sandboxes"), ("/sandboxes".to_owned(), None));
    }
}
