//! Requests for resources: which verb on what.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::{Value, json};

use super::negotiate::Form;
use super::path::ResourcePath;
use super::query::Query;
use super::reply::{self, Reply};
use super::show::Presenter;
use super::{read_body, user_agent, watch};
use crate::api::delete::{DeleteOptions, Deleted, delete, delete_collection, success};
use crate::api::patch::{PatchType, patch};
use crate::api::update::{Part, replace};
use crate::api::{Call, create, pod, read, review, scale, token};
use crate::caller::Caller;
use crate::error::{ApiError, ApiResult};
use crate::faults;
use crate::server::Server;

pub(crate) async fn answer(
    server: &Server,
    request: &Parts,
    body: Bytes,
    path: ResourcePath,
) -> ApiResult<Reply> {
    let caller = request.extensions.get::<Caller>().cloned().unwrap_or_else(Caller::administrator);
    let caller = caller.impersonating(&request.headers)?;
    if request.method == Method::POST
        && let Some(kind) = review::kind(&path)
    {
        return Ok(reply::json(201, &review::answer(kind, &path, &caller, read_body(request, &body)?)?));
    }
    let resource = server
        .registry()
        .find(&path.group, &path.version, &path.plural)
        .ok_or_else(ApiError::no_such_path)?;
    if path.namespace.is_some() && !resource.namespaced {
        return Err(ApiError::no_such_path());
    }
    let query = Query::parse(request.uri.query().unwrap_or_default());
    let mut call = Call {
        caller,
        namespace: path.namespace.clone().unwrap_or_default(),
        name: path.name.clone(),
        manager: query.get("fieldManager").map_or_else(|| user_agent(request), str::to_owned),
        now: server.now(),
        dry_run: query.dry_run()?,
        field_validation: query.field_validation()?,
        warnings: Vec::new(),
        resource,
        query,
    };
    let fault =
        server.faults().and_then(|faults| faults.strike(&faults::facts(&request.method, &path, &call)));
    if let Some(fault) = fault {
        fault.take_effect(&call).await?;
    }
    let presenter = Presenter::new(&call, Form::of(&request.headers));
    let mut reply = match path.subresource.as_deref() {
        None => whole(server, request, &body, &mut call, presenter),
        Some(subresource) => part(server, request, &body, &mut call, presenter, subresource).await,
    }?;
    reply::warn(&mut reply, &call.warnings);
    Ok(reply)
}

fn shown(presenter: &Presenter, status: u16, object: &Value) -> Reply {
    reply::json(status, &*presenter.object(object, true))
}

/// A request for an object or a collection as a whole.
fn whole(
    server: &Server,
    request: &Parts,
    body: &Bytes,
    call: &mut Call,
    presenter: Presenter,
) -> ApiResult<Reply> {
    if call.namespace.is_empty()
        && call.resource.namespaced
        && (call.name.is_some() || request.method == Method::POST)
    {
        return Err(ApiError::method_not_allowed());
    }
    match (&request.method, call.name.is_some()) {
        (&Method::GET, _) if call.query.flag("watch") => {
            let stream = watch::start(&mut server.state(), call, presenter)?;
            Ok(reply::stream("application/json", stream))
        }
        (&Method::GET, true) => {
            let object = read::get(&server.state(), call)?;
            Ok(shown(&presenter, 200, &object))
        }
        (&Method::GET, false) => {
            let page = read::list(&server.state(), call)?;
            Ok(reply::json(200, &presenter.list(&page)))
        }
        (&Method::POST, false) => {
            let object = read_body(request, body)?;
            let created = create::create(&mut server.state(), call, object)?;
            Ok(shown(&presenter, 201, &created))
        }
        (&Method::PUT, true) => {
            let object = read_body(request, body)?;
            let replaced = replace(&mut server.state(), call, Part::Main, object)?;
            Ok(shown(&presenter, 200, &replaced))
        }
        (&Method::PATCH, true) => patched(server, request, body, call, &presenter, Part::Main),
        (&Method::DELETE, true) => {
            let options = delete_options(request, body, call)?;
            Ok(match delete(&mut server.state(), call, &options)? {
                // A pod is answered with its last state, everything else with a `Status`.
                Deleted::Gone(object) if call.resource.is("", "pods") => shown(&presenter, 200, &object),
                Deleted::Gone(object) => reply::json(200, &success(call, &object)),
                Deleted::Begun(object) => shown(&presenter, 200, &object),
            })
        }
        (&Method::DELETE, false) => {
            let options = delete_options(request, body, call)?;
            let objects = delete_collection(&mut server.state(), call, &options)?;
            let revision = server.state().store.revision();
            Ok(reply::json(
                200,
                &presenter.list(&read::Page { objects, revision, next: None, remaining: None }),
            ))
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn delete_options(request: &Parts, body: &Bytes, call: &Call) -> ApiResult<DeleteOptions> {
    let body = if body.is_empty() { None } else { Some(read_body(request, body)?) };
    DeleteOptions::read(body, &call.query)
}

fn patched(
    server: &Server,
    request: &Parts,
    body: &Bytes,
    call: &mut Call,
    presenter: &Presenter,
    part: Part,
) -> ApiResult<Reply> {
    let (kind, change) = read_patch(request, body)?;
    let (object, created) = patch(&mut server.state(), call, part, kind, change)?;
    Ok(shown(presenter, if created { 201 } else { 200 }, &object))
}

fn read_patch(request: &Parts, body: &Bytes) -> ApiResult<(PatchType, Value)> {
    let content_type =
        request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = PatchType::of(content_type).ok_or_else(|| ApiError::unsupported_media_type(content_type))?;
    Ok((kind, read_body(request, body)?))
}

/// A request for a subresource.
async fn part(
    server: &Server,
    request: &Parts,
    body: &Bytes,
    call: &mut Call,
    presenter: Presenter,
    subresource: &str,
) -> ApiResult<Reply> {
    let pods = call.resource.is("", "pods");
    let part = match subresource {
        "status" if call.resource.has_status => Part::Status,
        "resize" if pods => Part::Resize,
        "ephemeralcontainers" if pods => Part::EphemeralContainers,
        "finalize" if call.resource.is("", "namespaces") => Part::Finalize,
        "scale" => return scaled(server, request, body, call),
        "log" if pods && request.method == Method::GET => return pod::log(server, call).await,
        "exec" if pods && matches!(request.method, Method::GET | Method::POST) => {
            return pod::exec(server, request, call);
        }
        "token" if call.resource.is("", "serviceaccounts") && request.method == Method::POST => {
            return Ok(reply::json(201, &token::request(server, call, read_body(request, body)?)?));
        }
        "binding" if pods && request.method == Method::POST => {
            pod::bind(&mut server.state(), call, &read_body(request, body)?)?;
            return Ok(reply::json(
                201,
                &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
            ));
        }
        "eviction" if pods && request.method == Method::POST => {
            pod::evict(&mut server.state(), call, &read_body(request, body)?)?;
            return Ok(reply::json(
                201,
                &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
            ));
        }
        _ => return Err(ApiError::no_such_path()),
    };
    match request.method {
        Method::GET => {
            let object = read::get(&server.state(), call)?;
            Ok(shown(&presenter, 200, &object))
        }
        Method::PUT => {
            let object = read_body(request, body)?;
            let replaced = replace(&mut server.state(), call, part, object)?;
            Ok(shown(&presenter, 200, &replaced))
        }
        Method::PATCH => patched(server, request, body, call, &presenter, part),
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn scaled(server: &Server, request: &Parts, body: &Bytes, call: &mut Call) -> ApiResult<Reply> {
    let resource = Arc::clone(&call.resource);
    let paths = resource.scale.as_ref().ok_or_else(ApiError::no_such_path)?;
    let state = &mut server.state();
    let current = read::get(state, call)?;
    let wanted = match request.method {
        Method::GET => return Ok(reply::json(200, &scale::show(call, paths, &current))),
        Method::PUT => read_body(request, body)?,
        Method::PATCH => {
            let (kind, change) = read_patch(request, body)?;
            let mut shown = scale::show(call, paths, &current);
            if let Some(metadata) = shown["metadata"].as_object_mut() {
                metadata.remove("resourceVersion");
            }
            match kind {
                PatchType::Json => {
                    let steps: json_patch::Patch = serde_json::from_value(change)
                        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
                    json_patch::patch(&mut shown, &steps)
                        .map_err(|error| ApiError::bad_request(format!("error applying patch: {error}")))?;
                }
                _ => json_patch::merge(&mut shown, &change),
            }
            shown
        }
        _ => return Err(ApiError::method_not_allowed()),
    };
    let object = scale::write(state, call, paths, &wanted)?;
    Ok(reply::json(200, &scale::show(call, paths, &object)))
}
