//! One leader among the replicas of a component, by a Lease.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Whether and where replicas elect a leader (`kubernetes.md` §9.2).
#[derive(clap::Args, Clone, Debug)]
pub struct LeaderOptions {
    /// Work only while holding the Lease, so that several replicas may run
    #[arg(long)]
    pub leader_elect: bool,
    /// Namespace of the Lease
    #[arg(long, value_name = "NAME", default_value = "sandbox-system", env = "POD_NAMESPACE")]
    pub leader_elect_namespace: String,
}

/// How long a leader that says nothing more still counts as one.
const DURATION: Duration = Duration::from_secs(15);
/// How long before that it has to say so again.
const GRACE: Duration = Duration::from_secs(5);

/// The election can't be held.
#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    /// The Lease can't be made or read.
    #[error(
        "cannot take part in the election by Lease {namespace}/{lease}: check the permissions for leases"
    )]
    Lease {
        /// Its namespace.
        namespace: String,
        /// Its name.
        lease: String,
        /// Why.
        #[source]
        source: Box<LeaseManagerError>,
    },
}

/// This replica's part in an election. Dropped, it gives the Lease back if the runtime still runs; [`Election::leave`]
/// waits for that.
#[derive(Debug)]
pub struct Election {
    leads: watch::Receiver<bool>,
    task: JoinHandle<Result<kube_lease_manager::LeaseManager, LeaseManagerError>>,
}

impl Election {
    /// Takes part in the election by the Lease `lease`. `identity` names the replica, such as its pod.
    ///
    /// # Errors
    /// [`ElectionError`] when the Lease can't be made.
    pub async fn join(
        client: Client,
        namespace: &str,
        lease: &str,
        identity: &str,
    ) -> Result<Self, ElectionError> {
        let manager = LeaseManagerBuilder::new(client, lease)
            .with_namespace(namespace)
            .with_identity(identity)
            .with_duration(DURATION.as_secs())
            .with_grace(GRACE.as_secs())
            .build()
            .await
            .map_err(|source| ElectionError::Lease {
                namespace: namespace.to_owned(),
                lease: lease.to_owned(),
                source: Box::new(source),
            })?;
        let (leads, task) = manager.watch().await;
        Ok(Self { leads, task })
    }

    /// Waits until this replica leads.
    pub async fn won(&mut self) {
        if self.leads.wait_for(|leads| *leads).await.is_err() {
            // The election has broken down, and nobody is told that they lead.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until it leads no more, also because the election broke down.
    pub async fn lost(&mut self) {
        // An error means that nothing is heard of the Lease any more.
        let _ = self.leads.wait_for(|leads| !*leads).await;
    }

    /// Gives the Lease back, so that another replica can lead at once.
    pub async fn leave(self) {
        drop(self.leads);
        match self.task.await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the Lease was not given back: it runs out by itself"),
            Err(error) => tracing::warn!(%error, "the election ended early"),
        }
    }
}
