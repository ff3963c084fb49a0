//! The metrics of controller and manager where `kubectl get --raw` finds them on a cluster: through the API server's proxy
//! of their Services (`kind/manifests/40-controller.yaml`, `50-manager.yaml`).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use contract::names::SYSTEM_NAMESPACE;
use kube_sim::{Page, ServicePages, ServiceRequest};
use lab::Component;

/// Writes the metrics of one component.
type Writer = Arc<dyn Fn() -> Result<String, fmt::Error> + Send + Sync>;

/// The Services, their ports and whose metrics they have.
const SERVICES: [(&str, &[&str], Component); 2] = [
    ("sandbox-controller-manager-metrics-service", &["", "metrics", "8443"], Component::Controller),
    ("sandbox-manager", &["", "api", "8080"], Component::Manager),
];

/// The metrics of the components that run now.
#[derive(Default)]
pub(crate) struct MetricsPages {
    writers: RwLock<HashMap<&'static str, Writer>>,
}

impl fmt::Debug for MetricsPages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MetricsPages").finish_non_exhaustive()
    }
}

impl MetricsPages {
    /// The component's metrics are written so from now on.
    pub(crate) fn set(
        &self,
        component: Component,
        write: impl Fn() -> Result<String, fmt::Error> + Send + Sync + 'static,
    ) {
        let Some((service, ..)) = SERVICES.iter().find(|(.., of)| *of == component) else { return };
        self.writers.write().unwrap_or_else(PoisonError::into_inner).insert(*service, Arc::new(write));
    }
}

#[async_trait]
impl ServicePages for MetricsPages {
    async fn get(&self, request: &ServiceRequest) -> Option<Page> {
        let (service, ports, _) = SERVICES.iter().find(|(service, ..)| *service == request.service)?;
        if request.namespace != SYSTEM_NAMESPACE
            || request.path != "/metrics"
            || !ports.contains(&request.port.as_str())
        {
            return None;
        }
        let writer = self.writers.read().unwrap_or_else(PoisonError::into_inner).get(*service).cloned()?;
        match writer() {
            Ok(text) => Some(Page { content_type: service::METRICS_CONTENT_TYPE, body: text.into_bytes() }),
            Err(error) => {
                tracing::error!(%error, service, "the metrics cannot be written");
                None
            }
        }
    }
}
