//! What the headers of a call say.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The interval of keepalive messages when the client names none.
const KEEPALIVE: Duration = Duration::from_secs(90);

/// The caller's wishes, from the headers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    /// The name of the user to act as; nothing means the default user.
    pub(crate) user: Option<String>,
    /// The limit of the whole call.
    pub(crate) timeout: Option<Duration>,
    /// The idle time after which a stream says that it is alive.
    pub(crate) keepalive: Duration,
}

impl Call {
    /// Reads `Authorization`, `Connect-Timeout-Ms` and `Keepalive-Ping-Interval`. What can't be read counts as absent.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        Self {
            user: basic_user(headers),
            timeout: number(headers, "connect-timeout-ms").map(Duration::from_millis),
            keepalive: number(headers, "keepalive-ping-interval")
                .filter(|seconds| *seconds > 0)
                .map_or(KEEPALIVE, Duration::from_secs),
        }
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// The name in a Basic `Authorization` header; its password means nothing.
fn basic_user(headers: &HeaderMap) -> Option<String> {
    let (scheme, credentials) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let name = text.split_once(':').map_or(text.as_str(), |(name, _)| name);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_user(&[("authorization", "Basic dXNlcjo=")], Some("user"), None, 90)]
    #[case::a_password(&[("authorization", "basic cm9vdDp4Onk=")], Some("root"), None, 90)]
    #[case::nobody(&[("authorization", "Basic Og==")], None, None, 90)]
    #[case::another_scheme(&[("authorization", "Bearer dXNlcjo=")], None, None, 90)]
    #[case::no_base64(&[("authorization", "Basic ???")], None, None, 90)]
    #[case::limits(&[("connect-timeout-ms", "1500"), ("keepalive-ping-interval", "50")], None, Some(1500), 50)]
    #[case::nonsense(&[("connect-timeout-ms", "soon"), ("keepalive-ping-interval", "0")], None, None, 90)]
    fn headers_become_wishes(
        #[case] headers: &[(&'static str, &str)],
        #[case] user: Option<&str>,
        #[case] timeout: Option<u64>,
        #[case] keepalive: u64,
    ) {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect();
        let expected = Call {
            user: user.map(ToOwned::to_owned),
            timeout: timeout.map(Duration::from_millis),
            keepalive: Duration::from_secs(keepalive),
        };
        assert_eq!(Call::from_headers(&headers), expected);
    }
}
