//! What Services answer through the API server (`kubectl get --raw /api/v1/namespaces/N/services/S:PORT/proxy/PATH`),
//! from whoever runs what is behind them. Only GET.

use std::fmt::Debug;

use async_trait::async_trait;

/// What is asked of a Service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServiceRequest {
    /// Namespace of the Service.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// Name or number of the port, empty when the request doesn't say.
    pub port: String,
    /// The path, from its slash on.
    pub path: String,
}

impl ServiceRequest {
    /// Reads `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT` and the parts of the path behind `proxy`.
    pub(crate) fn new(namespace: &str, target: &str, path: &[&str]) -> Self {
        let parts: Vec<&str> = target.split(':').collect();
        let (service, port) = match parts.as_slice() {
            [_, service, port] | [service, port] => (*service, *port),
            _ => (target, ""),
        };
        Self {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            port: port.to_owned(),
            path: format!("/{}", path.join("/")),
        }
    }
}

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// Its media type.
    pub content_type: &'static str,
    /// Its body.
    pub body: Vec<u8>,
}

/// Whoever runs what is behind Services.
#[async_trait]
pub trait ServicePages: Debug + Send + Sync {
    /// The page, or nothing when there is no such Service or path.
    async fn get(&self, request: &ServiceRequest) -> Option<Page>;
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::name("web", "web", "")]
    #[case::port("web:metrics", "web", "metrics")]
    #[case::scheme("https:web:8443", "web", "8443")]
    fn targets_are_taken_apart(#[case] target: &str, #[case] service: &str, #[case] port: &str) {
        let request = ServiceRequest::new("system", target, &["a", "b"]);
        assert_eq!((request.service.as_str(), request.port.as_str()), (service, port));
        assert_eq!(request.path, "/a/b");
    }
}
