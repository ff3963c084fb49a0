//! Signature Version 4, in the `Authorization` header.

use std::fmt;

use http::{HeaderMap, Method};
use jiff::Timestamp;
use ring::{digest, hmac};

/// What stands for the body's hash: bodies are not hashed.
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// An AccessKey. Its secret is shown by nothing.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    id: String,
    secret: String,
}

impl Credentials {
    /// The AccessKey with this id and secret.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { id: id.into(), secret: secret.into() }
    }

    /// The id; it is no secret, but whoever reads it learns whose the key is.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret, for whoever has to hand it on; it must get nowhere else.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// `text` with the id and the secret blotted out.
    pub fn conceal(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for value in [&self.secret, &self.id] {
            if !value.is_empty() {
                clean = clean.replace(value.as_str(), "[redacted]");
            }
        }
        clean
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credentials([redacted])")
    }
}

/// What is signed, apart from the headers.
pub(super) struct Subject<'a> {
    pub(super) method: &'a Method,
    /// Escaped path.
    pub(super) path: &'a str,
    /// Escaped query with its parameters in order.
    pub(super) query: &'a str,
    pub(super) region: &'a str,
    pub(super) time: Timestamp,
}

/// The time as `x-amz-date` wants it.
pub(super) fn date_header(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The value of `Authorization` for a request with `headers`, all of which are signed; `host` and `x-amz-date` and
/// `x-amz-content-sha256` must be among them.
pub(super) fn authorization(credentials: &Credentials, subject: &Subject<'_>, headers: &HeaderMap) -> String {
    let mut signed: Vec<(&str, String)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).trim().to_owned()))
        .collect();
    signed.sort();
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let mut canonical = format!("{}\n{}\n{}\n", subject.method, subject.path, subject.query);
    for &(name, ref value) in &signed {
        canonical.extend([name, ":", value.as_str(), "\n"]);
    }
    let hash = headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok()).unwrap_or(UNSIGNED);
    canonical.extend(["\n", names.as_str(), "\n", hash]);

    let day = subject.time.strftime("%Y%m%d").to_string();
    let scope = format!("{day}/{}/s3/aws4_request", subject.region);
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        date_header(subject.time),
        hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref())
    );
    let mut key = keyed(format!("AWS4{}", credentials.secret).as_bytes(), &day);
    for part in [subject.region, "s3", "aws4_request"] {
        key = keyed(key.as_ref(), part);
    }
    let signature = hex(keyed(key.as_ref(), &text).as_ref());
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.id
    )
}

fn keyed(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `text` escaped for a path (`/` stays) or a query value (`/` is escaped too), as the signature demands it.
pub(super) fn escape(text: &str, keep_slash: bool) -> String {
    use fmt::Write as _;
    let mut escaped = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            b'/' if keep_slash => escaped.push('/'),
            _ => {
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked examples of the S3 API reference, "Authenticating Requests: Using the Authorization Header".
    fn example(query: &str, path: &str, more: &[(&'static str, &str)]) -> String {
        let credentials =
            Credentials::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-content-sha256", empty),
            ("x-amz-date", "20130524T000000Z"),
        ]
        .iter()
        .chain(more)
        {
            headers.insert(*name, value.parse().expect("a header value"));
        }
        let subject = Subject {
            method: &Method::GET,
            path,
            query,
            region: "us-east-1",
            time: "2013-05-24T00:00:00Z".parse().expect("a time"),
        };
        authorization(&credentials, &subject, &headers)
    }

    #[test]
    fn the_examples_of_the_reference_come_out() {
        let get = example("", "/test.txt", &[("range", "bytes=0-9")]);
        assert!(
            get.ends_with("Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            "{get}"
        );
        let list = example("max-keys=2&prefix=J", "/", &[]);
        assert!(
            list.ends_with("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
            "{list}"
        );
    }

    #[test]
    fn names_are_escaped_byte_by_byte() {
        assert_eq!(escape("a b/ü~%", true), "a%20b/%C3%BC~%25");
        assert_eq!(escape("a/b", false), "a%2Fb");
    }

    #[test]
    fn debug_and_concealed_texts_show_no_secret() {
        let credentials = Credentials::new("AKID", "SECRET");
        assert!(!format!("{credentials:?}").contains("AKID"));
        assert_eq!(credentials.conceal("id=AKID:SECRET"), "id=[redacted]:[redacted]");
    }
}
