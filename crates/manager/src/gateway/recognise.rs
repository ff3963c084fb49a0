//! Who a request is for: the control plane or a port of a sandbox (`e2b-api.md` §8.1).

use http::{HeaderMap, Uri, header};

/// The header that names the sandbox.
pub(crate) const ID_HEADER: &str = "e2b-sandbox-id";
/// The header that names its port.
pub(crate) const PORT_HEADER: &str = "e2b-sandbox-port";
/// envd's port, the one meant when only the sandbox is named.
pub(crate) const DEFAULT_PORT: u16 = 49983;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Destination {
    /// To this manager's own API.
    ControlPlane {
        /// The path as the router knows it: without `/kruise/api` and without a trailing slash.
        path: String,
        /// Whether the path began with `/kruise/api`.
        prefixed: bool,
    },
    /// To a port of a sandbox.
    Sandbox {
        /// The sandbox's id as the request names it.
        id: String,
        /// The port inside the sandbox.
        port: u16,
        /// Path and query to forward.
        path_and_query: String,
    },
}

/// A port that is no port.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0:?} is not a port of a sandbox: use a number from 1 to 65535")]
pub(crate) struct BadPort(String);

/// Tells where a request goes; the first shape that fits wins.
///
/// # Errors
/// [`BadPort`] when a sandbox is named together with something that isn't a port.
pub(crate) fn recognise(uri: &Uri, headers: &HeaderMap) -> Result<Destination, BadPort> {
    let path = uri.path();
    if let Some(rest) = below(path, "/kruise/api") {
        return Ok(control_plane(rest, true));
    }
    if let Some(destination) = private_protocol(uri) {
        return destination;
    }
    if let Some(id) = text(headers, ID_HEADER).filter(|id| !id.is_empty()) {
        if is_connect_call(path, headers, id) {
            return Ok(control_plane(path, false));
        }
        let port = text(headers, PORT_HEADER).map_or(Ok(DEFAULT_PORT), parse_port)?;
        return Ok(sandbox(id, port, path_and_query(uri, path)));
    }
    if let Some((port, id)) = host(uri, headers).and_then(host_route) {
        return Ok(sandbox(id, parse_port(port)?, path_and_query(uri, path)));
    }
    Ok(control_plane(path, false))
}

/// The host that a request names, with its port; HTTP/2 requests carry it in the URI.
pub(crate) fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    text(headers, header::HOST.as_str()).or_else(|| uri.authority().map(http::uri::Authority::as_str))
}

/// Whether this is the control plane's connect, although a sandbox is named in a header too: the Python SDK 2.20.0
/// sends both together. No program in a sandbox is called under that path with the caller's API key.
fn is_connect_call(path: &str, headers: &HeaderMap, id: &str) -> bool {
    let path = path.strip_prefix("/v2").unwrap_or(path).trim_end_matches('/');
    let named = path.strip_prefix("/sandboxes/").and_then(|rest| rest.strip_suffix("/connect"));
    named == Some(id) && headers.contains_key("x-api-key")
}

fn private_protocol(uri: &Uri) -> Option<Result<Destination, BadPort>> {
    let rest = below(uri.path(), "/kruise")?.strip_prefix('/')?;
    let (id, rest) = rest.split_once('/')?;
    if id.is_empty() {
        return None;
    }
    let (port, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    Some(parse_port(port).map(|port| sandbox(id, port, path_and_query(uri, path))))
}

/// What follows `prefix` in `path`: empty, or beginning with a slash. `None` for a path that only shares the bytes.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn control_plane(path: &str, prefixed: bool) -> Destination {
    let trimmed = path.trim_end_matches('/');
    let path = if trimmed.is_empty() { "/" } else { trimmed };
    Destination::ControlPlane { path: path.to_owned(), prefixed }
}

fn sandbox(id: &str, port: u16, path_and_query: String) -> Destination {
    Destination::Sandbox { id: id.to_owned(), port, path_and_query }
}

fn path_and_query(uri: &Uri, path: &str) -> String {
    match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// `^(\d+)-([A-Za-z0-9-]+)\.`
fn host_route(host: &str) -> Option<(&str, &str)> {
    let (label, _) = host.split_once('.')?;
    let (port, id) = label.split_once('-')?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let named = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (digits && named).then_some((port, id))
}

fn parse_port(text: &str) -> Result<u16, BadPort> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if port > 0 && digits => Ok(port),
        _ => Err(BadPort(text.to_owned())),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use rstest::rstest;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name: HeaderName = name.parse().expect("header name");
                (name, HeaderValue::from_str(value).expect("header value"))
            })
            .collect()
    }

    fn recognised(uri: &str, pairs: &[(&str, &str)]) -> Result<Destination, BadPort> {
        recognise(&uri.parse().expect("uri"), &headers(pairs))
    }

    fn api(path: &str, prefixed: bool) -> Destination {
        Destination::ControlPlane { path: path.into(), prefixed }
    }

    #[rstest]
    #[case("/kruise/api", &[], api("/", true))]
    #[case("/kruise/api/v2/sandboxes/", &[], api("/v2/sandboxes", true))]
    #[case("/kruise/api/sandboxes", &[("e2b-sandbox-id", "a--b")], api("/sandboxes", true))]
    #[case("/sandboxes/", &[], api("/sandboxes", false))]
    #[case("/", &[("host", "api.sbx.localhost:3000")], api("/", false))]
    #[case("/kruised/a/1", &[], api("/kruised/a/1", false))]
    #[case("/kruise", &[], api("/kruise", false))]
    #[case("/kruise/only-an-id", &[], api("/kruise/only-an-id", false))]
    #[case("/x", &[("host", "127.0.0.1:3000")], api("/x", false))]
    #[case("/x", &[("host", "49983-.sbx")], api("/x", false))]
    #[case("/x", &[("e2b-sandbox-id", "")], api("/x", false))]
    #[case("/sandboxes/a--b/connect", &[("e2b-sandbox-id", "a--b"), ("x-api-key", "k")], api("/sandboxes/a--b/connect", false))]
    #[case("/v2/sandboxes/a--b/connect", &[("e2b-sandbox-id", "a--b"), ("x-api-key", "k")], api("/v2/sandboxes/a--b/connect", false))]
    fn for_the_control_plane(
        #[case] uri: &str,
        #[case] pairs: &[(&str, &str)],
        #[case] expected: Destination,
    ) {
        assert_eq!(recognised(uri, pairs), Ok(expected));
    }

    #[rstest]
    #[case("/kruise/a--b/8080", &[], "a--b", 8080, "/")]
    #[case("/kruise/a--b/8080/x/?q=1", &[], "a--b", 8080, "/x/?q=1")]
    #[case("/kruise/a--b/80/x", &[("e2b-sandbox-id", "other")], "a--b", 80, "/x")]
    #[case("/files?path=%2Fx", &[("e2b-sandbox-id", "a--b")], "a--b", 49983, "/files?path=%2Fx")]
    #[case("/sandboxes/a--b/connect", &[("e2b-sandbox-id", "a--b")], "a--b", 49983, "/sandboxes/a--b/connect")]
    #[case("/sandboxes/x/connect", &[("e2b-sandbox-id", "a--b"), ("x-api-key", "k")], "a--b", 49983, "/sandboxes/x/connect")]
    #[case("/execute", &[("e2b-sandbox-id", "a--b"), ("e2b-sandbox-port", "49999")], "a--b", 49999, "/execute")]
    #[case("/y", &[("host", "3000-a--b.sbx.localhost:80")], "a--b", 3000, "/y")]
    #[case("/y", &[("host", "3000-a--b.sbx"), ("e2b-sandbox-id", "c--d")], "c--d", 49983, "/y")]
    #[case("http://8-a--b.sbx/z", &[], "a--b", 8, "/z")]
    fn for_a_sandbox(
        #[case] uri: &str,
        #[case] pairs: &[(&str, &str)],
        #[case] id: &str,
        #[case] port: u16,
        #[case] path_and_query: &str,
    ) {
        assert_eq!(recognised(uri, pairs), Ok(sandbox(id, port, path_and_query.into())));
    }

    #[rstest]
    #[case("/kruise/a--b/http/x", &[])]
    #[case("/kruise/a--b/", &[])]
    #[case("/kruise/a--b/0", &[])]
    #[case("/x", &[("e2b-sandbox-id", "a--b"), ("e2b-sandbox-port", "70000")])]
    #[case("/x", &[("e2b-sandbox-id", "a--b"), ("e2b-sandbox-port", "+1")])]
    #[case("/x", &[("host", "99999-a--b.sbx")])]
    fn a_bad_port_is_an_error(#[case] uri: &str, #[case] pairs: &[(&str, &str)]) {
        assert!(recognised(uri, pairs).is_err());
    }
}
