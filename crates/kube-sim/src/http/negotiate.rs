//! In which form the client wants objects: themselves, as table rows, or only their metadata.

use http::HeaderMap;
use http::header::ACCEPT;

/// The form of objects in an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    Object,
    /// `meta.k8s.io/v1` Table, as `kubectl get` asks for.
    Table,
    /// `PartialObjectMetadata`.
    Metadata,
}

impl Form {
    /// The first form in the `Accept` header that is served.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            if !matches!(media, "application/json" | "application/*" | "*/*") {
                continue;
            }
            let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
            let parameter =
                |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
            match (parameter("as"), parameter("v")) {
                (None, _) => return Self::Object,
                (Some("Table"), Some("v1")) => return Self::Table,
                (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1")) => {
                    return Self::Metadata;
                }
                _ => {}
            }
        }
        Self::Object
    }
}

/// Whether the client takes the aggregated form of discovery.
pub(crate) fn wants_aggregated_discovery(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|range| {
        let has = |part: &str| range.split(';').any(|found| found.trim() == part);
        has("application/json")
            && has("as=APIGroupDiscoveryList")
            && has("v=v2")
            && has("g=apidiscovery.k8s.io")
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Form::Table)]
    #[case("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Form::Object)]
    #[case("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Form::Metadata)]
    #[case("application/vnd.kubernetes.protobuf,application/json", Form::Object)]
    #[case("*/*", Form::Object)]
    fn the_first_served_form_counts(#[case] accept: &str, #[case] form: Form) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header value"));
        assert_eq!(Form::of(&headers), form);
    }
}
