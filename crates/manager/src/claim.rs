//! Claims for users of the E2B API: the claim that every component makes (crate `claim`), the network rules between
//! its preparation and its acknowledgement, and the caller's limit around all of it.

use std::sync::Arc;
use std::time::Duration;

use claim::{ClaimError, ClaimRequest};
use contract::crd::Sandbox;
use contract::errors::Code;
use kube::ResourceExt as _;

use crate::api::network::{self, NetworkRules};
use crate::error::ApiError;
use crate::manager::Manager;

/// What a caller asked for, checked and resolved.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) request: ClaimRequest,
    /// The limit that the caller set for the whole claim.
    pub(crate) limit: Option<Duration>,
    /// Network rules, if there are any.
    pub(crate) network: Option<NetworkRules>,
    /// What to announce about the sandbox once it is the caller's: reason and message of an event.
    pub(crate) notice: Option<(&'static str, String)>,
}

impl Manager {
    /// Claims a sandbox. Dropping the future gives it back.
    pub(crate) async fn claim(&self, order: Order) -> Result<Arc<Sandbox>, ApiError> {
        let Order { request, limit, network, notice } = order;
        let (begun, namespace, set) =
            (self.now(), request.set.namespace().unwrap_or_default(), request.set.name_any());
        let claimed = self.claim_within(limit, request, network).await;
        let took = self.now().duration_since(begun);
        self.shared.options.metrics.claimed(namespace, set, claimed.is_ok(), took);
        let sandbox = claimed?;
        if let Some((reason, message)) = notice {
            self.announce(&sandbox, reason, message).await;
        }
        Ok(sandbox)
    }

    async fn claim_within(
        &self,
        limit: Option<Duration>,
        request: ClaimRequest,
        network: Option<NetworkRules>,
    ) -> Result<Arc<Sandbox>, ApiError> {
        let pool = request.set.name_any();
        let claimed = self.claim_unlimited(request, network);
        let Some(limit) = limit else { return claimed.await };
        tokio::select! {
            biased;
            claimed = claimed => claimed,
            () = self.shared.options.clock.sleep(limit) => Err(ApiError::new(
                Code::NoStock,
                format!("no sandbox of template {pool:?} could be claimed within claim-timeout-seconds ({limit:?})"),
            )),
        }
    }

    async fn claim_unlimited(
        &self,
        request: ClaimRequest,
        network: Option<NetworkRules>,
    ) -> Result<Arc<Sandbox>, ApiError> {
        let prepared = self.shared.claimer.claim(request).await?;
        if let Some(rules) = network {
            let sandbox = prepared.sandbox();
            let (namespace, name) = (sandbox.namespace().unwrap_or_default(), sandbox.name_any());
            network::install(self, sandbox, &rules).await.map_err(|error| error.about(&namespace, &name))?;
        }
        Ok(prepared.acknowledge().await?)
    }
}

impl From<ClaimError> for ApiError {
    fn from(error: ClaimError) -> Self {
        let ClaimError { problem, sandbox } = error;
        match sandbox {
            Some((namespace, name)) => Self::from(problem).about(&namespace, &name),
            None => problem.into(),
        }
    }
}
