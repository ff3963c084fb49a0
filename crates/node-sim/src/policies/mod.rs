//! Network and traffic policies: watched, brought down to rules for each pod, and enforced in its network namespace.
//!
//! ```text
//! policies, namespaces, services ─► watch ─┐
//! pods of this node ────── changed ────────┼─► rules of every pod ── differ from what holds? ─► its packet filter
//! a pod's new sandbox ──── admit ──────────┘
//! ```
//!
//! Without policies nothing is computed and nobody waits.

mod watch;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use contract::crd::TrafficPolicy;
use contract::network::{PodRules, Policies as All, compile};
use journal::source;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::reflector::Store;
use serde_json::json;
use tokio::sync::Notify;

pub(crate) use watch::follow;

use crate::network::NetworkError;
use crate::node::Shared;
use crate::pod::PodContext;
use world::Surroundings;

/// What the node knows of policies and what they refer to.
#[derive(Debug)]
pub(crate) struct PolicyBook {
    network: Store<NetworkPolicy>,
    traffic: Store<TrafficPolicy>,
    namespaces: Store<Namespace>,
    services: Store<Service>,
    /// Each watch has given its first list.
    known: tokio::sync::watch::Receiver<[bool; watch::COUNT]>,
    changed: Arc<Notify>,
    /// One pod's rules are changed by one at a time.
    turn: tokio::sync::Mutex<()>,
}

/// The rules that hold for a pod now.
#[derive(Debug, Default)]
pub(crate) struct Enforced(Mutex<PodRules>);

impl Enforced {
    fn get(&self) -> MutexGuard<'_, PodRules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PolicyBook {
    /// Something that rules may depend on has changed: a policy, or a pod of this node.
    pub(crate) fn changed(&self) {
        self.changed.notify_one();
    }

    fn is_empty(&self) -> bool {
        self.network.is_empty() && self.traffic.is_empty()
    }

    /// Waits until the first list of everything is there.
    async fn known(&self) {
        let mut known = self.known.clone();
        // The watches run as long as the node does.
        let _ = known.wait_for(|known| known.iter().all(|known| *known)).await;
    }
}

/// Puts a new pod under the policies that concern it; its containers may start afterwards.
pub(crate) async fn admit(context: &PodContext) -> Result<(), NetworkError> {
    let book = &context.node.policies;
    book.known().await;
    if book.is_empty() {
        return Ok(());
    }
    let surroundings = Surroundings::of(&context.node);
    enforce(context, &surroundings).await
}

/// Keeps the rules of every pod up to date for as long as the node runs.
pub(crate) async fn keep_enforced(shared: Arc<Shared>) {
    loop {
        shared.policies.changed.notified().await;
        let contexts: Vec<_> = shared.pods().values().map(|entry| entry.context.clone()).collect();
        let ruled = |context: &Arc<PodContext>| {
            context.sandbox().is_some_and(|sandbox| !sandbox.enforced.get().is_open())
        };
        if shared.policies.is_empty() && !contexts.iter().any(ruled) {
            continue;
        }
        let surroundings = Surroundings::of(&shared);
        for context in contexts {
            if let Err(error) = enforce(&context, &surroundings).await {
                tracing::error!(
                    pod = context.full_name(),
                    error = crate::error_chain(&error),
                    "network policies are not enforced"
                );
            }
        }
    }
}

/// Makes the pod's rules hold, if they don't already.
async fn enforce(context: &PodContext, surroundings: &Surroundings) -> Result<(), NetworkError> {
    let Some(sandbox) = context.sandbox() else { return Ok(()) };
    let node = &context.node;
    let _turn = node.policies.turn.lock().await;
    let (network, traffic) = (node.policies.network.state(), node.policies.traffic.state());
    let resolve = |name: &str| node.network.resolve(name);
    let rules = compile(
        All { network: &network, traffic: &traffic },
        &world::pod_of(&context.latest(), Some(&sandbox.address_text)),
        surroundings.world(&resolve),
    );
    if *sandbox.enforced.get() == rules {
        return Ok(());
    }
    let started = Instant::now();
    sandbox.namespaces.enforce(&rules, node.network.node_address()).await?;
    let body = json!({
        "ingress": rules.ingress.policies,
        "egress": rules.egress.policies,
        "milliseconds": started.elapsed().as_secs_f64() * 1000.0,
    });
    *sandbox.enforced.get() = rules;
    let subject = format!("Pod/{}", context.full_name());
    node.journal.record(source::NETWORK, "ruled", &subject, body);
    Ok(())
}
