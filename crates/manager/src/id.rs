//! Sandbox ids (`e2b-api.md` §3.3).

use std::fmt;

/// Namespace and name of a Sandbox, written `<namespace>--<name>` towards users.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct SandboxKey {
    /// The Kubernetes namespace; never contains `--`.
    pub namespace: String,
    /// The name of the Sandbox object.
    pub name: String,
}

impl SandboxKey {
    /// The key of an object.
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The id in its legacy form.
    pub(crate) fn id(&self) -> String {
        format!("{}--{}", self.namespace, self.name)
    }

    /// Reads an id; `None` for a text that isn't one. The namespace ends at the first `--`.
    pub(crate) fn from_id(id: &str) -> Option<Self> {
        let (namespace, name) = id.split_once("--")?;
        let fits = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        (fits(namespace) && fits(name)).then(|| Self::new(namespace, name))
    }
}

impl fmt::Display for SandboxKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("default--code-interpreter-abc12", Some(("default", "code-interpreter-abc12")))]
    #[case("team-a--x--y", Some(("team-a", "x--y")))]
    #[case("default-x", None)]
    #[case("--x", None)]
    #[case("default--", None)]
    #[case("default--../secrets", None)]
    #[case("", None)]
    fn ids_name_a_namespace_and_a_sandbox(#[case] id: &str, #[case] parts: Option<(&str, &str)>) {
        let key = SandboxKey::from_id(id);
        assert_eq!(key.as_ref().map(|key| (key.namespace.as_str(), key.name.as_str())), parts);
        if let Some(key) = key {
            assert_eq!(key.id(), id);
        }
    }
}
