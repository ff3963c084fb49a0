//! A Kubernetes API server in one process, for kube-rs and `kubectl`.
//!
//! ```text
//! kube::Client ── tower service, no socket ─┐
//!                                           ├─► http: path, verb, form ─► api: create, update, patch, delete
//! kubectl ─────── HTTPS, bearer token ──────┘                                   │  (one lock, always complete)
//!                                                                               ▼
//!   watches ◄── history ◄── store: objects, one revision ◄── objects, fields: defaults, checks, ownership
//!   journal ◄──────┘              └─► lifecycle: garbage collection, namespaces, definitions
//! ```
//!
//! Objects are JSON values in memory. A verb works under one lock and is finished when it returns, with everything
//! that a cluster's garbage collector, namespace, service account and root certificate controllers would do a moment
//! later. There are no other controllers, scheduler or kubelet behind it: other crates are those.
//!
//! Admission policies (`ValidatingAdmissionPolicy`) are asked before anything is stored; they see who calls ([`Caller`]), an
//! administrator may call as somebody else (`kubectl --as`). What of them is missing is said in module `admission`.
//!
//! What a real API server has and this one has not: authorization (every token may do everything), admission webhooks,
//! quotas, a Service `kubernetes` through which pods reach it, exec, attach and port forwarding, and protobuf, except
//! for the few kinds that `kubectl create KIND` and `kubectl auth` send in no other form. Pages of a list show objects as they are when the
//! page is asked for. Workloads (`apps`, `batch`) are stored, nothing acts on them.
#![warn(missing_docs)]

mod admission;
mod api;
mod caller;
mod error;
mod exec;
mod expressions;
mod faults;
mod fields;
mod http;
mod identity;
mod kinds;
mod lifecycle;
mod logs;
mod objects;
mod openapi;
mod pages;
mod schema;
mod selectors;
mod serve;
mod server;
mod state;
mod store;
mod table;
mod tokens;

use std::sync::Arc;

use clock::SharedClock;
use journal::Journal;
use tokio::net::TcpListener;

pub use caller::Caller;
pub use exec::{Finished, NotRun, PodCommands};
pub use faults::{ApiFault, Faults, RequestFacts};
pub use identity::IdentityError;
pub use logs::{LogOptions, LogsUnavailable, PodLogs};
pub use pages::{Page, ServicePages, ServiceRequest};
pub use serve::ServeError;

use server::Server;

/// What a server is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where creation and deletion times come from.
    pub clock: SharedClock,
    /// Where every committed write is recorded.
    pub journal: Option<Journal>,
}

/// A handle to the server; clones share its objects.
#[derive(Clone, Debug)]
pub struct KubeSim {
    server: Arc<Server>,
}

impl KubeSim {
    /// A new cluster without anything but the usual namespaces. Nothing is listened on and nothing runs yet.
    pub fn new(options: Options) -> Self {
        Self { server: Arc::new(Server::new(options.clock, options.journal)) }
    }

    /// A client in the same process, as administrator: no socket, no TLS, no token.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as every [`kube::Client`].
    pub fn client(&self, default_namespace: &str) -> kube::Client {
        self.client_as(&Caller::administrator(), default_namespace)
    }

    /// A client in the same process whose requests come from `caller`.
    ///
    /// # Panics
    /// Outside of a tokio runtime, as every [`kube::Client`].
    pub fn client_as(&self, caller: &Caller, default_namespace: &str) -> kube::Client {
        let (server, caller) = (Arc::clone(&self.server), caller.clone());
        let service = tower::service_fn(move |request: ::http::Request<kube::client::Body>| {
            serve::inside(Arc::clone(&server), caller.clone(), request)
        });
        kube::Client::new(service, default_namespace)
    }

    /// Serves over HTTPS with a self-signed certificate to whoever holds the token or a service account's, until the future is dropped.
    ///
    /// # Errors
    /// When the certificate can't be made or the listener fails.
    pub async fn serve_https(&self, listener: TcpListener) -> Result<(), ServeError> {
        serve::serve_https(Arc::clone(&self.server), listener).await
    }

    /// A kubeconfig (YAML) with certificate and token for a client that reaches the server at `server_url`, such as
    /// `https://127.0.0.1:6443`.
    ///
    /// # Errors
    /// When the certificate can't be made.
    pub fn kubeconfig(&self, server_url: &str) -> Result<String, IdentityError> {
        self.server.identity.kubeconfig(server_url)
    }

    /// The bearer token that [`KubeSim::serve_https`] asks for. It is a secret.
    pub fn token(&self) -> &str {
        self.server.identity.token()
    }

    /// Names whoever carries out `kubectl exec`.
    pub fn set_pod_commands(&self, commands: Arc<dyn PodCommands>) {
        self.server.set_commands(commands);
    }

    /// Names whoever answers `kubectl logs`.
    pub fn set_pod_logs(&self, logs: Arc<dyn PodLogs>) {
        self.server.set_logs(logs);
    }

    /// Names whoever answers `kubectl get --raw` of a Service's proxy.
    pub fn set_service_pages(&self, pages: Arc<dyn ServicePages>) {
        self.server.set_pages(pages);
    }

    /// Asks `faults` before each request for a resource, from inside and outside; `None` heals.
    pub fn set_faults(&self, faults: Option<Arc<dyn Faults>>) {
        self.server.set_faults(faults);
    }

    /// Forgets the history of changes, as a compaction does: a watch from before now answers 410 and has to list anew.
    pub fn compact(&self) {
        self.server.state().store.forget_history();
    }

    /// Ends every open watch, as a restart of the API server does.
    pub fn drop_watches(&self) {
        self.server.state().store.drop_watchers();
    }
}
