//! What a manager is told when it is made.

use std::fmt;
use std::time::Duration;

use clock::SharedClock;
use contract::resolve::DriverList;
use journal::Journal;
use runtime_client::RuntimeCertificates;

use crate::Metrics;

/// Settings of a [`Manager`](crate::Manager). [`ManagerOptions::new`] fills in the defaults; set what differs.
#[derive(Clone)]
pub struct ManagerOptions {
    /// The API server that holds sandboxes, pools and volumes.
    pub client: kube::Client,
    /// Tells the time that deadlines are counted from.
    pub clock: SharedClock,
    /// Where requests and claims are recorded; nowhere by default.
    pub journal: Option<Journal>,
    /// The operator's API key. Default: a random UUID. Must not be empty.
    pub admin_key: String,
    /// Whether callers need a key. Default: yes. Without, everybody is the same user (`e2b-api.md` §2.2).
    pub authentication: bool,
    /// The base domain that sandboxes are reached under, `host` or `host:port`; derived from each request by default
    /// (`e2b-api.md` §3.4).
    pub domain: Option<String>,
    /// CSI drivers whose volumes may be mounted. Default: OSS and NAS.
    pub drivers: DriverList,
    /// How long the mounts of one claim may take together, by the clock. Default: 50 s, below the SDK's 60 s (DECISIONS 8).
    pub mount_deadline: Duration,
    /// Whether requests may ask for mounts at all. Default: yes; without, they get 403 (DECISIONS 12).
    pub mounts_allowed: bool,
    /// Namespace in which the admin team's templates are looked for first. Default: `default`.
    pub default_namespace: String,
    /// Namespace of API keys and of the Secrets that volumes refer to. Default: `sandbox-system`.
    pub system_namespace: String,
    /// Longest timeout that a caller may set. Default: 30 days.
    pub longest_timeout: Duration,
    /// How long a fresh sandbox may take to become ready when the caller sets no limit. Default: 60 s.
    pub ready_limit: Duration,
    /// How long a claim waits for a pooled sandbox when it may not create one and the caller sets no limit.
    /// Default: 10 s.
    pub stock_limit: Duration,
    /// How long a request waits for a pause to be complete, by the clock. Default: 50 s, below the SDK's 60 s.
    pub pause_limit: Duration,
    /// How long a request waits for a woken sandbox to be ready, its mounts among it, by the clock. Default: 50 s, below
    /// the SDK's 60 s: its user then reads what keeps the sandbox. It goes on waking up.
    pub resume_limit: Duration,
    /// How long a request waits for a snapshot when the caller sets no limit, by the clock. Default: 50 s, below the SDK's
    /// 60 s.
    pub snapshot_limit: Duration,
    /// Shortest timeout of a sandbox that is woken up (`e2b-api.md` §4.2). Default: 300 s.
    pub resume_floor: Duration,
    /// Whether the gateway asks for the sandbox's access token on envd's port. Default: no (`e2b-api.md` §8.4).
    pub gateway_checks_token: bool,
    /// Client certificates for sandboxes that serve their runtime over TLS (`storage.md` §3.4). Default: none.
    pub runtime_certificates: Option<RuntimeCertificates>,
    /// What is measured; `GET /metrics` shows it. Default: one of its own.
    pub metrics: Metrics,
    /// The `envdVersion` reported. Default: the level that our envd implements (`e2b-api.md` §17).
    pub envd_version: String,
}

impl ManagerOptions {
    /// The defaults, with a random admin key.
    pub fn new(client: kube::Client, clock: SharedClock) -> Self {
        Self {
            client,
            clock,
            journal: None,
            admin_key: uuid::Uuid::new_v4().to_string(),
            authentication: true,
            domain: None,
            drivers: DriverList::default(),
            mount_deadline: Duration::from_secs(50),
            mounts_allowed: true,
            default_namespace: "default".to_owned(),
            system_namespace: contract::names::SYSTEM_NAMESPACE.to_owned(),
            longest_timeout: Duration::from_hours(30 * 24),
            ready_limit: Duration::from_mins(1),
            stock_limit: Duration::from_secs(10),
            pause_limit: Duration::from_secs(50),
            resume_limit: Duration::from_secs(50),
            snapshot_limit: Duration::from_secs(50),
            resume_floor: Duration::from_mins(5),
            gateway_checks_token: false,
            runtime_certificates: None,
            metrics: Metrics::default(),
            envd_version: contract::names::ENVD_VERSION.to_owned(),
        }
    }
}

impl fmt::Debug for ManagerOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ManagerOptions")
            .field("authentication", &self.authentication)
            .field("domain", &self.domain)
            .field("drivers", &self.drivers)
            .field("mount_deadline", &self.mount_deadline)
            .field("mounts_allowed", &self.mounts_allowed)
            .field("default_namespace", &self.default_namespace)
            .field("system_namespace", &self.system_namespace)
            .finish_non_exhaustive()
    }
}
