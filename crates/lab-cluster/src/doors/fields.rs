//! Field selectors, which name namespaces and objects as paths do: `kubectl describe` asks so for events, `kubectl wait` for one
//! object.

use std::borrow::Cow;

use super::rules::Translated;
use crate::names::Names;

/// The query with the names in its field selector as the cluster knows them.
pub(super) fn translated(names: &Names, to: &Translated, query: &str) -> String {
    const PARAMETER: &str = "fieldSelector";
    if !query.contains(PARAMETER) {
        return query.to_owned();
    }
    let mut serializer = form_urlencoded::Serializer::new(String::new());
    for (parameter, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = if parameter == PARAMETER { selector(names, to, &value).into() } else { value };
        serializer.append_pair(&parameter, &value);
    }
    serializer.finish()
}

fn selector(names: &Names, to: &Translated, text: &str) -> String {
    let requirements: Vec<_> = text.split(',').map(Requirement::read).collect();
    let kind = requirements.iter().find(|it| matches!(it.field, "involvedObject.kind" | "regarding.kind"));
    let kind = kind.map(|it| it.value);
    let written = requirements.iter().map(|it| {
        let value = it.value;
        let value: Cow<'_, str> = match it.field {
            _ if value.is_empty() => value.into(),
            "metadata.namespace" | "involvedObject.namespace" | "regarding.namespace" => {
                names.namespace(value).into()
            }
            "metadata.name" if to.plural.as_deref() == Some("namespaces") => names.namespace(value).into(),
            // Collections that are narrowed to the lab's own are those in which its objects have names of their own.
            "metadata.name" if to.labelled => names.real(value).into(),
            "involvedObject.name" | "regarding.name" => match kind {
                Some("Namespace") => names.namespace(value).into(),
                Some("PersistentVolume") => names.real(value).into(),
                _ => value.into(),
            },
            _ => value.into(),
        };
        format!("{}{}{value}", it.field, it.operator)
    });
    written.collect::<Vec<_>>().join(",")
}

/// One part of a selector, such as `metadata.name!=x`.
struct Requirement<'a> {
    field: &'a str,
    operator: &'a str,
    value: &'a str,
}

impl<'a> Requirement<'a> {
    fn read(text: &'a str) -> Self {
        let split =
            ["!=", "==", "="].into_iter().find_map(|operator| Some((operator, text.split_once(operator)?)));
        match split {
            Some((operator, (field, value))) => Self { field, operator, value },
            None => Self { field: text, operator: "", value: "" },
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use rstest::rstest;

    use super::super::rules::{Passage, decide};
    use super::*;

    #[rstest]
    #[case::events_of_a_sandbox(
        "/api/v1/namespaces/default/events",
        "fieldSelector=involvedObject.name%3Done%2CinvolvedObject.namespace%3Ddefault%2CinvolvedObject.kind%3DSandbox&limit=500",
        "involvedObject.name=one,involvedObject.namespace=mltag12-default,involvedObject.kind=Sandbox"
    )]
    #[case::events_of_a_volume(
        "/api/v1/events",
        "fieldSelector=involvedObject.kind%3DPersistentVolume,involvedObject.name%3Doss,involvedObject.namespace%3D",
        "involvedObject.kind=PersistentVolume,involvedObject.name=mltag12-oss,involvedObject.namespace="
    )]
    #[case::one_sandbox(
        "/apis/agents.kruise.io/v1alpha1/namespaces/default/sandboxes",
        "fieldSelector=metadata.name%3Done&watch=true",
        "metadata.name=one"
    )]
    #[case::one_volume(
        "/api/v1/persistentvolumes",
        "fieldSelector=metadata.name%21%3Doss",
        "metadata.name!=mltag12-oss"
    )]
    #[case::one_namespace(
        "/api/v1/namespaces",
        "fieldSelector=metadata.name%3Ddefault",
        "metadata.name=mltag12-default"
    )]
    #[case::one_secret_of_the_system(
        "/api/v1/namespaces/sandbox-system/secrets",
        "fieldSelector=metadata.name%3D%3Doss-secret",
        "metadata.name==mltag12-oss-secret"
    )]
    #[case::pods_that_run(
        "/api/v1/namespaces/default/pods",
        "fieldSelector=status.phase%3DRunning",
        "status.phase=Running"
    )]
    #[case::no_selector("/api/v1/namespaces/default/pods", "fieldSelector=strange", "strange")]
    fn names_are_the_clusters(#[case] path: &str, #[case] query: &str, #[case] expected: &str) {
        let names = Names::new("mltag12");
        let Passage::Pass(to) = decide(&names, &Method::GET, path, false) else { panic!("refused") };
        let written = translated(&names, &to, query);
        let pairs: Vec<_> = form_urlencoded::parse(written.as_bytes()).into_owned().collect();
        assert_eq!(pairs[0], ("fieldSelector".to_owned(), expected.to_owned()));
        let others = |text: &str| text.split('&').skip(1).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(others(&written), others(query));
    }

    #[test]
    fn other_queries_stay_as_they_are() {
        let names = Names::new("mltag12");
        let path = "/api/v1/namespaces/default/pods";
        let Passage::Pass(to) = decide(&names, &Method::GET, path, false) else { panic!("refused") };
        let query = "labelSelector=a%3Db&watch";
        assert_eq!(translated(&names, &to, query), query);
    }
}
