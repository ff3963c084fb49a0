//! Paths of the Kubernetes API.

use std::fmt::Write as _;

/// A path that leads to a resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ResourcePath {
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    pub(crate) base: String,
    /// The namespace, of a namespaced one.
    pub(crate) namespace: Option<String>,
    /// `persistentvolumes`.
    pub(crate) plural: String,
    /// The object's name, unless the whole collection is meant.
    pub(crate) name: Option<String>,
    /// What follows the name: `/status`, `/log`, or nothing.
    pub(crate) rest: String,
}

impl ResourcePath {
    /// Takes a path apart; `None` for one of discovery, health and the like.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (base, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => (format!("/api/{version}"), rest),
            ["apis", group, version, rest @ ..] => (format!("/apis/{group}/{version}"), rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, plural, ..] if !matches!(*plural, "status" | "finalize") => {
                (Some((*namespace).to_owned()), &rest[2..])
            }
            _ => (None, rest),
        };
        let (plural, rest) = rest.split_first()?;
        let (name, rest) = match rest.split_first() {
            Some((name, rest)) => (Some((*name).to_owned()), rest),
            None => (None, rest),
        };
        let rest = rest.iter().fold(String::new(), |mut text, segment| {
            // Writing to a string can't fail.
            let _ = write!(text, "/{segment}");
            text
        });
        Some(Self { base, namespace, plural: (*plural).to_owned(), name, rest })
    }

    /// The path again.
    pub(crate) fn render(&self) -> String {
        let mut path = self.base.clone();
        if let Some(namespace) = &self.namespace {
            path = format!("{path}/namespaces/{namespace}");
        }
        path = format!("{path}/{}", self.plural);
        if let Some(name) = &self.name {
            path = format!("{path}/{name}");
        }
        path + &self.rest
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/api/v1/namespaces/default/pods/p/log", Some("default"), "pods", Some("p"), "/log")]
    #[case("/api/v1/namespaces/default", None, "namespaces", Some("default"), "")]
    #[case("/api/v1/namespaces/default/status", None, "namespaces", Some("default"), "/status")]
    #[case("/api/v1/persistentvolumes/oss", None, "persistentvolumes", Some("oss"), "")]
    #[case("/apis/agents.kruise.io/v1alpha1/sandboxes", None, "sandboxes", None, "")]
    #[case(
        "/apis/agents.kruise.io/v1alpha1/namespaces/x/sandboxsets/s/scale",
        Some("x"),
        "sandboxsets",
        Some("s"),
        "/scale"
    )]
    fn what_a_path_leads_to(
        #[case] path: &str,
        #[case] namespace: Option<&str>,
        #[case] plural: &str,
        #[case] name: Option<&str>,
        #[case] rest: &str,
    ) {
        let parsed = ResourcePath::parse(path).expect("a resource");
        assert_eq!(
            (
                parsed.namespace.as_deref(),
                parsed.plural.as_str(),
                parsed.name.as_deref(),
                parsed.rest.as_str()
            ),
            (namespace, plural, name, rest)
        );
        assert_eq!(parsed.render(), path);
    }

    #[rstest]
    #[case("/version")]
    #[case("/openapi/v3")]
    #[case("/api")]
    #[case("/apis/apps/v1")]
    fn other_paths(#[case] path: &str) {
        assert_eq!(ResourcePath::parse(path), None);
    }
}
