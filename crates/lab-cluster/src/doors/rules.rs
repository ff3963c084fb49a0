//! What a scenario's programs may do at the Kubernetes door, and how their requests are translated.

use contract::names::{INJECTION_CONFIG, SYSTEM_NAMESPACE};
use http::Method;

use super::path::ResourcePath;
use crate::names::{LAB_LABEL, Names, Owner};

/// What becomes of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Passage {
    /// It goes to the cluster under this path.
    Pass(Translated),
    /// It is refused, with this reason.
    Refused(String),
}

/// A request as the cluster gets it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Translated {
    /// The path with the cluster's names.
    pub(crate) path: String,
    /// The resource, when the path leads to one.
    pub(crate) plural: Option<String>,
    /// The namespace by the file's name, empty for cluster-wide resources and collections of all namespaces.
    pub(crate) namespace: String,
    /// Whether only what has the lab's label may be seen.
    pub(crate) labelled: bool,
    /// Whether objects of other namespaces have to be left out of the answer.
    pub(crate) all_namespaces: bool,
    /// Whether it changes the system's configuration.
    pub(crate) configures: bool,
}

/// Resources that hold no objects of anybody: what is posted there is a question.
const QUESTIONS: [&str; 5] = [
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "selfsubjectreviews",
    "subjectaccessreviews",
    "tokenreviews",
];

/// Cluster-wide resources that programs look at.
const CLUSTER_WIDE: [&str; 9] = [
    "clusterrolebindings",
    "clusterroles",
    "csidrivers",
    "customresourcedefinitions",
    "namespaces",
    "nodes",
    "persistentvolumes",
    "priorityclasses",
    "storageclasses",
];

/// Decides about a request; `may_configure` says whether the scenario may change the system's configuration.
pub(crate) fn decide(names: &Names, method: &Method, path: &str, may_configure: bool) -> Passage {
    let Some(parsed) = ResourcePath::parse(path) else {
        return match *method {
            Method::GET | Method::HEAD => Passage::Pass(Translated {
                path: path.to_owned(),
                plural: None,
                namespace: String::new(),
                labelled: false,
                all_namespaces: false,
                configures: false,
            }),
            _ => Passage::Refused(format!("nothing can be written to {path}")),
        };
    };
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match parsed.namespace.clone() {
        Some(namespace) if may_configure && !reads && is_configuration(&parsed, &namespace) => {
            match pass(parsed, &namespace, false, false) {
                Passage::Pass(translated) => Passage::Pass(Translated { configures: true, ..translated }),
                refused @ Passage::Refused(_) => refused,
            }
        }
        Some(namespace) => namespaced(names, reads, parsed, &namespace),
        None => cluster_wide(names, reads, parsed),
    }
}

/// Whether a write is about ConfigMap `sandbox-injection-config`, by its name: a new one is applied, or put at its place.
fn is_configuration(path: &ResourcePath, namespace: &str) -> bool {
    namespace == SYSTEM_NAMESPACE
        && path.plural == "configmaps"
        && path.name.as_deref() == Some(INJECTION_CONFIG)
}

fn namespaced(names: &Names, reads: bool, mut path: ResourcePath, namespace: &str) -> Passage {
    let owner = Names::owner(namespace);
    let secrets = path.plural == "secrets";
    match owner {
        Owner::Lab => {}
        // A named one gets the tag; a collection is narrowed to the lab's own, a new one is named in the body.
        Owner::System if secrets => {}
        Owner::System | Owner::Other if reads && !secrets => {}
        Owner::System | Owner::Other => {
            let what = path.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
            return Passage::Refused(format!(
                "{}{what} in namespace {namespace} belongs to the cluster, and a scenario may touch only what is its own: \
                 its namespaces, its PersistentVolumes, and its Secrets in {SYSTEM_NAMESPACE}",
                path.plural
            ));
        }
    }
    path.namespace = Some(names.namespace(namespace));
    let labelled = owner == Owner::System && secrets && path.name.is_none();
    if owner == Owner::System && secrets {
        path.name = path.name.map(|name| names.real(&name));
    }
    pass(path, namespace, labelled, false)
}

fn cluster_wide(names: &Names, reads: bool, mut path: ResourcePath) -> Passage {
    let plural = path.plural.as_str();
    let ours = matches!(plural, "persistentvolumes" | "namespaces");
    if ours {
        path.name = path
            .name
            .map(|name| if plural == "namespaces" { names.namespace(&name) } else { names.real(&name) });
        let foreign = path.name.as_ref().is_some_and(|name| !names.is_real(name));
        if !reads && foreign {
            let name = path.name.unwrap_or_default();
            return Passage::Refused(format!("namespace {name} belongs to the cluster"));
        }
        let labelled = path.name.is_none();
        return pass(path, "", labelled, false);
    }
    if !reads && !QUESTIONS.contains(&plural) {
        return Passage::Refused(format!(
            "{plural} are the whole cluster's, and a scenario may touch only what is its own: its namespaces, its \
             PersistentVolumes, and its Secrets in {SYSTEM_NAMESPACE}"
        ));
    }
    let all_namespaces = reads && path.name.is_none() && !CLUSTER_WIDE.contains(&plural);
    pass(path, "", false, all_namespaces)
}

fn pass(path: ResourcePath, namespace: &str, labelled: bool, all_namespaces: bool) -> Passage {
    Passage::Pass(Translated {
        path: path.render(),
        plural: Some(path.plural),
        namespace: namespace.to_owned(),
        labelled,
        all_namespaces,
        configures: false,
    })
}

/// The query with a selector of the lab's label.
pub(crate) fn with_label(names: &Names, query: &str) -> String {
    let ours = format!("{LAB_LABEL}={}", names.tag());
    let mut found = false;
    let mut parts: Vec<String> = query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| match part.strip_prefix("labelSelector=") {
            Some(selector) if !selector.is_empty() => {
                found = true;
                format!("labelSelector={selector}%2C{}", encoded(&ours))
            }
            _ => part.to_owned(),
        })
        .collect();
    if !found {
        parts.push(format!("labelSelector={}", encoded(&ours)));
    }
    parts.join("&")
}

fn encoded(text: &str) -> String {
    text.replace('/', "%2F").replace('=', "%3D")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn decided(method: &str, path: &str) -> Passage {
        let method = method.parse().expect("a method");
        decide(&Names::new("mltag12"), &method, path, false)
    }

    #[test]
    fn the_systems_configuration_changes_only_for_who_may_and_by_its_name() {
        let decided = |method: Method, path: &str, may| decide(&Names::new("mltag12"), &method, path, may);
        let configuration = "/api/v1/namespaces/sandbox-system/configmaps/sandbox-injection-config";
        for method in [Method::PUT, Method::PATCH, Method::DELETE] {
            match decided(method.clone(), configuration, true) {
                Passage::Pass(passed) => assert!(passed.configures && passed.path == configuration),
                Passage::Refused(reason) => panic!("{reason}"),
            }
            assert!(matches!(decided(method, configuration, false), Passage::Refused(_)));
        }
        let Passage::Pass(read) = decided(Method::GET, configuration, true) else { panic!("refused") };
        assert!(!read.configures);
        for other in [
            "/api/v1/namespaces/sandbox-system/configmaps",
            "/api/v1/namespaces/sandbox-system/configmaps/kube-root-ca.crt",
            "/api/v1/namespaces/kube-system/configmaps/sandbox-injection-config",
            "/apis/apps/v1/namespaces/sandbox-system/deployments/sandbox-injection-config",
        ] {
            assert!(matches!(decided(Method::PUT, other, true), Passage::Refused(_)), "{other}");
        }
    }

    #[rstest]
    #[case("GET", "/api/v1/namespaces/default/pods", "/api/v1/namespaces/mltag12-default/pods")]
    #[case("DELETE", "/api/v1/namespaces/default/pods/p", "/api/v1/namespaces/mltag12-default/pods/p")]
    #[case("PATCH", "/api/v1/persistentvolumes/oss", "/api/v1/persistentvolumes/mltag12-oss")]
    #[case(
        "PATCH",
        "/api/v1/namespaces/sandbox-system/secrets/oss-secret",
        "/api/v1/namespaces/sandbox-system/secrets/mltag12-oss-secret"
    )]
    #[case("POST", "/api/v1/namespaces/sandbox-system/secrets", "/api/v1/namespaces/sandbox-system/secrets")]
    #[case(
        "GET",
        "/api/v1/namespaces/sandbox-system/configmaps/c",
        "/api/v1/namespaces/sandbox-system/configmaps/c"
    )]
    #[case("DELETE", "/api/v1/namespaces/team-b", "/api/v1/namespaces/mltag12-team-b")]
    #[case("GET", "/version", "/version")]
    fn what_is_the_labs_passes(#[case] method: &str, #[case] path: &str, #[case] real: &str) {
        match decided(method, path) {
            Passage::Pass(translated) => assert_eq!(translated.path, real),
            Passage::Refused(reason) => panic!("{reason}"),
        }
    }

    #[rstest]
    #[case("PATCH", "/api/v1/namespaces/sandbox-system/configmaps/sandbox-injection-config")]
    #[case("DELETE", "/apis/apps/v1/namespaces/sandbox-system/deployments/sandbox-manager")]
    #[case("GET", "/api/v1/namespaces/kube-system/secrets/token")]
    #[case("DELETE", "/api/v1/namespaces/kube-system")]
    #[case("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")]
    #[case("DELETE", "/api/v1/nodes/n")]
    #[case("POST", "/apis/agents.kruise.io/v1alpha1/namespaces/kube-system/sandboxes")]
    fn what_is_not_is_refused(#[case] method: &str, #[case] path: &str) {
        assert!(matches!(decided(method, path), Passage::Refused(_)), "{method} {path}");
    }

    #[test]
    fn collections_that_others_share_are_narrowed() {
        let Passage::Pass(volumes) = decided("GET", "/api/v1/persistentvolumes") else { panic!("refused") };
        assert!(volumes.labelled);
        let Passage::Pass(pods) = decided("GET", "/api/v1/pods") else { panic!("refused") };
        assert!(pods.all_namespaces);
        let names = Names::new("mltag12");
        let label = "labelSelector=mountlab.dev%2Flab%3Dmltag12";
        assert_eq!(with_label(&names, ""), label);
        assert_eq!(with_label(&names, "limit=5"), format!("limit=5&{label}"));
        assert_eq!(
            with_label(&names, "labelSelector=a%3Db"),
            "labelSelector=a%3Db%2Cmountlab.dev%2Flab%3Dmltag12"
        );
    }
}
