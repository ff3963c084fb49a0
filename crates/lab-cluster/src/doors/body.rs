//! Bodies of requests and answers on their way through a door.

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use futures::{Stream, StreamExt as _, stream};
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::{Value, json};

use crate::names::Names;

/// The largest body that is translated, in bytes: what API servers take.
pub(crate) const LARGEST: usize = 3 * 1024 * 1024;

/// Headers that are about one connection, or that a door has to decide itself.
const OWN: [HeaderName; 6] = [CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE, ACCEPT_ENCODING];

/// The headers that go on.
pub(crate) fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    for name in OWN {
        passed.remove(name);
    }
    passed
}

/// The same without the credential of the door itself.
pub(crate) fn without_credential(headers: &HeaderMap) -> HeaderMap {
    let mut passed = passed_on(headers);
    passed.remove(AUTHORIZATION);
    passed
}

/// Whether a body is text that may hold names.
pub(crate) fn is_text(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    !content_type.contains("protobuf") && (content_type.contains("json") || content_type.starts_with("text/"))
}

/// A body that goes on, translated line by line.
pub(crate) fn translated_lines<S, E>(names: Names, body: S) -> impl Stream<Item = Result<Bytes, E>> + Send
where
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: Send,
{
    let state = Some((body, Vec::new()));
    stream::unfold(state, move |state| {
        let names = names.clone();
        async move {
            let (mut body, mut begun): (S, Vec<u8>) = state?;
            loop {
                match body.next().await {
                    Some(Ok(chunk)) => {
                        begun.extend_from_slice(&chunk);
                        let Some(end) = begun.iter().rposition(|byte| *byte == b'\n') else { continue };
                        let rest = begun.split_off(end + 1);
                        return Some((Ok(plain(&names, &begun)), Some((body, rest))));
                    }
                    Some(Err(error)) => return Some((Err(error), None)),
                    None if begun.is_empty() => return None,
                    None => return Some((Ok(plain(&names, &begun)), None)),
                }
            }
        }
    })
}

/// Bytes of the cluster in the file's words; what is no text stays.
pub(crate) fn plain(names: &Names, bytes: &[u8]) -> Bytes {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains(names.prefix()) => names.plain(text).into(),
        _ => Bytes::copy_from_slice(bytes),
    }
}

/// A refusal as API servers write them.
pub(crate) fn status(code: StatusCode, reason: &str, message: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code.as_u16(),
    });
    (code, axum::Json(body)).into_response()
}

/// An answer with these headers and this body.
pub(crate) fn answer(status: StatusCode, headers: &HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = passed_on(headers);
    response
}

/// Leaves out of a list (or table) what is in namespaces that aren't the lab's.
pub(crate) fn keep_own(names: &Names, list: &mut Value) {
    let is_own = |object: &Value| {
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
        namespace.is_none_or(|namespace| names.is_real(namespace))
    };
    if let Some(Value::Array(items)) = list.get_mut("items") {
        items.retain(is_own);
    }
    if let Some(Value::Array(rows)) = list.get_mut("rows") {
        rows.retain(|row| row.get("object").is_none_or(is_own));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_across_two_chunks_is_translated() {
        let names = Names::new("mltag12");
        let chunks = ["{\"a\":\"mlta", "g12-x\"}\n{\"b\":", "\"mltag12-y\"}"];
        let body = stream::iter(chunks.map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk))));
        let out: Vec<_> = translated_lines(names, body).collect().await;
        let text: Vec<_> = out.into_iter().map(|chunk| chunk.expect("a chunk")).collect();
        assert_eq!(text, ["{\"a\":\"x\"}\n", "{\"b\":\"y\"}"]);
    }

    #[test]
    fn others_objects_are_left_out_of_a_list() {
        let mut list = json!({"items": [
            {"metadata": {"namespace": "default", "name": "theirs"}},
            {"metadata": {"namespace": "mltag12-default", "name": "ours"}},
        ], "rows": [{"object": {"metadata": {"namespace": "default"}}}]});
        keep_own(&Names::new("mltag12"), &mut list);
        assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
        assert_eq!(list["items"][0]["metadata"]["name"], "ours");
        assert_eq!(list["rows"], json!([]));
    }
}
