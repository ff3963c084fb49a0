//! From an HTTP request to its answer.

pub(crate) mod discovery;
pub(crate) mod negotiate;
pub(crate) mod path;
mod protobuf;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod resource;
pub(crate) mod show;
pub(crate) mod watch;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::request::Parts;
use serde_json::{Value, json};

use crate::error::{ApiError, ApiResult};
use crate::openapi;
use crate::pages::ServiceRequest;
use crate::server::Server;
use path::Target;
use reply::Reply;

/// Answers a request whose body is complete.
pub(crate) async fn answer(server: &Server, request: Parts, body: Bytes) -> Reply {
    match dispatch(server, &request, body).await {
        Ok(reply) => reply,
        Err(error) => reply::refusal(&error),
    }
}

async fn dispatch(server: &Server, request: &Parts, body: Bytes) -> ApiResult<Reply> {
    let target = path::parse(request.uri.path()).ok_or_else(ApiError::no_such_path)?;
    if let Target::Resource(path) = target {
        return resource::answer(server, request, body, path).await;
    }
    if request.method != http::Method::GET && request.method != http::Method::HEAD {
        return Err(ApiError::method_not_allowed());
    }
    if let Target::Service(wanted) = &target {
        return page(server, wanted).await;
    }
    discover(server, request, &target).ok_or_else(ApiError::no_such_path)
}

async fn page(server: &Server, wanted: &ServiceRequest) -> ApiResult<Reply> {
    let found = match server.pages() {
        Some(pages) => pages.get(wanted).await,
        None => None,
    };
    let ServiceRequest { namespace, service, path, .. } = wanted;
    let missing = || format!("no Service {namespace}/{service} answers {path}");
    let page = found.ok_or_else(|| ApiError::new(404, "NotFound", missing()))?;
    Ok(reply::whole(200, page.content_type, page.body))
}

fn discover(server: &Server, request: &Parts, target: &Target) -> Option<Reply> {
    let registry = server.registry();
    let aggregated = negotiate::wants_aggregated_discovery(&request.headers);
    Some(match target {
        Target::OpenApiV2 => openapi_v2(request),
        Target::Health => reply::text("ok"),
        Target::Version => reply::json(200, &discovery::version()),
        Target::CoreVersions | Target::Groups if aggregated => reply::json_as(
            200,
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            &discovery::aggregated(&registry, *target == Target::CoreVersions),
        ),
        Target::CoreVersions => reply::json(200, &discovery::core_versions()),
        Target::Groups => reply::json(200, &discovery::groups(&registry)),
        Target::Group(group) => reply::json(200, &discovery::group(&registry, group)?),
        Target::Resources(group, version) => {
            reply::json(200, &discovery::resources(&registry, group, version)?)
        }
        Target::OpenApiIndex => reply::json(200, &openapi::index(&registry)),
        Target::OpenApi(group, version) => {
            let mut document = reply::json(200, &openapi::document(&registry, group, version)?);
            if request.uri.query().is_some_and(|query| query.contains("hash=")) {
                document
                    .headers_mut()
                    .insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=604800, immutable"));
            }
            document
        }
        Target::Resource(_) | Target::Service(_) => return None,
    })
}

/// OpenAPI v2 is served empty: clients that know version 3 look here only for kinds that are not there either.
fn openapi_v2(request: &Parts) -> Reply {
    const ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    // What is asked for is no valid media type; this is what API servers answer it with.
    const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let accept = request.headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains(ASKED) {
        // A protobuf message without any field is an empty body.
        return reply::whole(200, PROTOBUF, Vec::new());
    }
    let info = json!({"title": "Kubernetes", "version": "v1.33.0"});
    reply::json(200, &json!({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}}))
}

/// The object in a request's body, whether written as JSON or as YAML.
pub(crate) fn read_body(request: &Parts, body: &Bytes) -> ApiResult<Value> {
    let content_type =
        request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let yaml = content_type.contains("yaml");
    if content_type.contains("protobuf") {
        return protobuf::read(body).map_err(|why| ApiError::new(415, "UnsupportedMediaType", why));
    }
    match serde_json::from_slice(body) {
        Ok(value) => Ok(value),
        Err(_) if yaml => serde_saphyr::from_slice(body)
            .map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}"))),
        Err(error) => {
            Err(ApiError::bad_request(format!("couldn't parse the body of the request as JSON: {error}")))
        }
    }
}

/// Who writes when the request doesn't say: the client program's name.
pub(crate) fn user_agent(request: &Parts) -> String {
    let agent = request.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let program = agent.split('/').next().unwrap_or_default();
    if program.is_empty() { "unknown".to_owned() } else { program.to_owned() }
}
