//! Probes for the kubelet, and metrics for Prometheus.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Where probes and metrics are answered (`kubernetes.md` §9.2).
#[derive(clap::Args, Clone, Debug)]
pub struct ProbeOptions {
    /// Address of /healthz and /readyz, such as :8081; 0 is off
    #[arg(long, value_name = "ADDRESS", default_value = ":8081", value_parser = bind_address)]
    pub health_probe_bind_address: BindAddress,
    /// Address of /metrics, over plain HTTP; 0 is off
    #[arg(long, value_name = "ADDRESS", default_value = "0", value_parser = bind_address)]
    pub metrics_bind_address: BindAddress,
}

/// An address to listen at, or none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BindAddress(pub Option<SocketAddr>);

fn bind_address(text: &str) -> Result<BindAddress, String> {
    if text == "0" {
        return Ok(BindAddress(None));
    }
    let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    whole
        .parse()
        .map(|address| BindAddress(Some(address)))
        .map_err(|_| format!("{text} is no address: write HOST:PORT or :PORT, or 0 for none"))
}

/// An address that can't be listened at.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for probes or metrics")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: std::io::Error,
}

/// What a component says of itself.
#[derive(Debug)]
struct Told {
    ready: Gauge,
    leads: Gauge,
    registry: Registry,
}

/// The answers to probes; they end when this is dropped.
#[derive(Debug)]
pub struct Probes {
    told: Arc<Told>,
    _servers: JoinSet<()>,
}

impl Probes {
    /// Begins to answer for the component of that name and version: healthy, not yet ready. `registry` has the metrics
    /// of its own.
    ///
    /// # Errors
    /// [`ListenError`] when an address is taken.
    pub async fn begin(
        options: &ProbeOptions,
        component: &'static str,
        version: &'static str,
        mut registry: Registry,
    ) -> Result<Self, ListenError> {
        let build = Info::new([("component", component), ("version", version)]);
        registry.register("mountlab_build", "The component and its version", build);
        let (ready, leads) = (Family::<_, Gauge>::default(), Family::<_, Gauge>::default());
        registry.register("mountlab_ready", "Whether the component is ready", ready.clone());
        registry.register("leader_election_master_status", "Whether this replica leads", leads.clone());
        let told = Arc::new(Told {
            ready: ready.get_or_create(&[("component", component)]).clone(),
            leads: leads.get_or_create(&[("name", component)]).clone(),
            registry,
        });
        let probes = Router::new()
            .route("/healthz", get(|| async { "ok" }))
            .route("/readyz", get(is_ready))
            .with_state(Arc::clone(&told));
        let metrics = Router::new().route("/metrics", get(metrics)).with_state(Arc::clone(&told));
        let mut servers = JoinSet::new();
        for (address, router) in
            [(options.health_probe_bind_address, probes), (options.metrics_bind_address, metrics)]
        {
            let Some(address) = address.0 else { continue };
            let listener =
                TcpListener::bind(address).await.map_err(|source| ListenError { address, source })?;
            servers.spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!(%error, "probes are not answered any more");
                }
            });
        }
        Ok(Self { told, _servers: servers })
    }

    /// From now on `/readyz` says so.
    pub fn set_ready(&self, ready: bool) {
        self.told.ready.set(i64::from(ready));
    }

    /// Whether this replica leads; a metric says so.
    pub fn set_leads(&self, leads: bool) {
        self.told.leads.set(i64::from(leads));
    }
}

async fn is_ready(State(told): State<Arc<Told>>) -> (StatusCode, &'static str) {
    if told.ready.get() == 1 {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready yet")
    }
}

async fn metrics(State(told): State<Arc<Told>>) -> Result<impl IntoResponse, StatusCode> {
    let text = metrics_text(&told.registry).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, METRICS_CONTENT_TYPE)], text))
}

/// The format of [`metrics_text`].
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of a registry as Prometheus reads them.
///
/// # Errors
/// When a metric can't be written, which would be a defect of the metric.
pub fn metrics_text(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_upstream_does() {
        assert_eq!(bind_address("0"), Ok(BindAddress(None)));
        assert_eq!(bind_address(":8081"), Ok(BindAddress("0.0.0.0:8081".parse().ok())));
        assert_eq!(bind_address("127.0.0.1:9"), Ok(BindAddress("127.0.0.1:9".parse().ok())));
        assert!(bind_address("8081").is_err());
    }
}
