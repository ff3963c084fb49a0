//! Names of images: `[registry[:port]/]path[:tag][@digest]`.

use std::fmt;

/// A parsed and completed image name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Reference {
    /// Host and port of the registry.
    pub(crate) registry: String,
    path: String,
    /// `:tag` or `@digest`, or both.
    version: String,
}

impl Reference {
    /// Parses and completes a name as Docker does: no registry means `docker.io`, no tag `latest`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return None;
        }
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return None;
        }
        let (registry, path) = match name.split_once('/') {
            Some((host, path)) if is_registry(host) => (host.to_owned(), path.to_owned()),
            Some(_) => ("docker.io".to_owned(), name.to_owned()),
            None => ("docker.io".to_owned(), format!("library/{name}")),
        };
        if !path.split('/').all(is_path_component) {
            return None;
        }
        let version = match (tag, digest) {
            (Some(tag), Some(digest)) => format!(":{tag}@{digest}"),
            (Some(tag), None) => format!(":{tag}"),
            (None, Some(digest)) => format!("@{digest}"),
            (None, None) => ":latest".to_owned(),
        };
        Some(Self { registry, path, version })
    }

    /// The name without tag and digest.
    pub(crate) fn repository(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }

    /// What stands after the last slash, without tag and digest.
    pub(crate) fn last_component(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The tag; `latest` stands for a missing one, and there is none where a digest says which image it is.
    pub(crate) fn tag(&self) -> Option<&str> {
        let tag = self.version.strip_prefix(':')?;
        tag.split('@').next()
    }

    /// Whether the registry's host is below `.invalid`, a domain that is reserved for never existing.
    pub(crate) fn registry_is_unreachable(&self) -> bool {
        let host = self.registry.split(':').next().unwrap_or_default();
        host == "invalid" || host.ends_with(".invalid")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}{}", self.registry, self.path, self.version)
    }
}

/// The first component is a registry if it could not be a folder.
fn is_registry(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let plausible = name.contains('.') || port.is_some() || name == "localhost";
    let well_formed = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    plausible && well_formed
}

fn is_path_component(component: &str) -> bool {
    let alphanumeric =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = component.as_bytes();
    alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm == "sha256" && hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("python", "docker.io/library/python:latest")]
    #[case("python:3", "docker.io/library/python:3")]
    #[case("me/python:3", "docker.io/me/python:3")]
    #[case("localhost:5000/python", "localhost:5000/python:latest")]
    #[case("registry.example:443/a/b:v1", "registry.example:443/a/b:v1")]
    #[case(
        "registry-vpc.example.com/acs/csi-agent:v1.35.4-3c34d4a",
        "registry-vpc.example.com/acs/csi-agent:v1.35.4-3c34d4a"
    )]
    fn names_are_completed(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(Reference::parse(text).map(|reference| reference.to_string()).as_deref(), Some(expected));
    }

    #[rstest]
    #[case("python", Some("latest"))]
    #[case("localhost:5000/acs/csi-agent:v1", Some("v1"))]
    #[case("python@sha256:DIGEST", None)]
    #[case("python:3@sha256:DIGEST", Some("3"))]
    fn tags(#[case] text: &str, #[case] expected: Option<&str>) {
        let text = text.replace("DIGEST", &"0".repeat(64));
        assert_eq!(Reference::parse(&text).expect("a name").tag(), expected);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_stable(text in "[a-zA-Z0-9.:/@_ -]{0,40}") {
            if let Some(reference) = Reference::parse(&text) {
                let full = reference.to_string();
                prop_assert_eq!(Reference::parse(&full), Some(reference));
            }
        }
    }
}
