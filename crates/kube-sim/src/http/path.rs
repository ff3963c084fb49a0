//! Which resource, object and subresource a request path names.

use crate::pages::ServiceRequest;

/// The parts of a path below `/api/v1` or `/apis/GROUP/VERSION`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) plural: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

/// What a request path asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Target {
    Version,
    Health,
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/GROUP`
    Group(String),
    /// `/api/v1` or `/apis/GROUP/VERSION`
    Resources(String, String),
    /// `/openapi/v2`
    OpenApiV2,
    /// `/openapi/v3`
    OpenApiIndex,
    /// `/openapi/v3/…`
    OpenApi(String, String),
    Resource(ResourcePath),
    /// `/api/v1/namespaces/…/services/…/proxy/…`
    Service(ServiceRequest),
}

/// The meaning of a path; nothing for one that is not served.
pub(crate) fn parse(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    Some(match parts.as_slice() {
        ["version"] => Target::Version,
        ["healthz" | "readyz" | "livez", ..] => Target::Health,
        ["api"] => Target::CoreVersions,
        ["apis"] => Target::Groups,
        ["apis", group] => Target::Group((*group).to_owned()),
        ["api", version] => Target::Resources(String::new(), (*version).to_owned()),
        ["apis", group, version] => Target::Resources((*group).to_owned(), (*version).to_owned()),
        ["openapi", "v2"] => Target::OpenApiV2,
        ["openapi", "v3"] => Target::OpenApiIndex,
        ["openapi", "v3", "api", version] => Target::OpenApi(String::new(), (*version).to_owned()),
        ["openapi", "v3", "apis", group, version] => {
            Target::OpenApi((*group).to_owned(), (*version).to_owned())
        }
        ["api", _, "namespaces", namespace, "services", target, "proxy", rest @ ..] => {
            Target::Service(ServiceRequest::new(namespace, target, rest))
        }
        ["api", version, rest @ ..] => Target::Resource(resource("", version, rest)?),
        ["apis", group, version, rest @ ..] => Target::Resource(resource(group, version, rest)?),
        _ => return None,
    })
}

fn resource(group: &str, version: &str, rest: &[&str]) -> Option<ResourcePath> {
    let owned = |part: &str| part.to_owned();
    let (namespace, rest) = match rest {
        // A namespace is itself a resource: its own subresources come first.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] if group.is_empty() => (None, rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(owned(namespace)), rest),
        _ => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(owned(name)), None),
        [plural, name, subresource] => (plural, Some(owned(name)), Some(owned(subresource))),
        _ => return None,
    };
    Some(ResourcePath {
        group: owned(group),
        version: owned(version),
        namespace,
        plural: owned(plural),
        name,
        subresource,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/api/v1/pods", None, "pods", None, None)]
    #[case("/api/v1/namespaces", None, "namespaces", None, None)]
    #[case("/api/v1/namespaces/x", None, "namespaces", Some("x"), None)]
    #[case("/api/v1/namespaces/x/status", None, "namespaces", Some("x"), Some("status"))]
    #[case("/api/v1/namespaces/x/pods", Some("x"), "pods", None, None)]
    #[case("/api/v1/namespaces/x/pods/p/log", Some("x"), "pods", Some("p"), Some("log"))]
    #[case("/apis/g.io/v1/namespaces/x/things/t", Some("x"), "things", Some("t"), None)]
    #[case("/apis/g.io/v1/things/t/scale", None, "things", Some("t"), Some("scale"))]
    fn resource_paths_are_taken_apart(
        #[case] path: &str,
        #[case] namespace: Option<&str>,
        #[case] plural: &str,
        #[case] name: Option<&str>,
        #[case] subresource: Option<&str>,
    ) {
        let Some(Target::Resource(found)) = parse(path) else { panic!("{path} is no resource path") };
        assert_eq!(found.namespace.as_deref(), namespace);
        assert_eq!(found.plural, plural);
        assert_eq!(found.name.as_deref(), name);
        assert_eq!(found.subresource.as_deref(), subresource);
    }

    #[rstest]
    #[case("/apis", Some(Target::Groups))]
    #[case("/apis/apps/v1", Some(Target::Resources("apps".into(), "v1".into())))]
    #[case("/readyz/etcd", Some(Target::Health))]
    #[case("/nothing/here", None)]
    #[case(
        "/api/v1/namespaces/x/services/web:metrics/proxy/metrics",
        Some(Target::Service(ServiceRequest::new("x", "web:metrics", &["metrics"])))
    )]
    fn other_paths_have_their_own_meaning(#[case] path: &str, #[case] target: Option<Target>) {
        assert_eq!(parse(path), target);
    }
}
