//! The owner of a half-claimed sandbox: whoever drops it unacknowledged gives the sandbox back.

use std::sync::Arc;
use std::time::Duration;

use contract::crd::Sandbox;
use contract::errors::{Code, Problem};
use contract::extensions::Retention;
use contract::names::annotations::CLAIM_UNACKNOWLEDGED_UNTIL as UNACKNOWLEDGED;
use contract::names::labels;
use contract::resolve::ResolvedMount;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use runtime_client::{Endpoint, is_conflict, is_not_found, kubernetes_problem};
use serde_json::json;
use tokio::time::timeout;

use crate::cache::key_of;
use crate::{Busy, Claimer, name_of};

/// Limit of one cleanup (`storage.md` §3.7).
const CLEANUP_LIMIT: Duration = Duration::from_secs(30);
/// Wait before a cleanup's write is tried again; doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Owns a sandbox from the claim's write to its acknowledgement.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Taken out when the claim succeeds.
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    claimer: Claimer,
    sandbox: Arc<Sandbox>,
    retention: Retention,
    mounting: Option<Mounting>,
    _busy: Option<Busy>,
}

/// What may have been mounted.
#[derive(Debug)]
struct Mounting {
    endpoint: Endpoint,
    token: String,
    mounts: Vec<ResolvedMount>,
}

impl Guard {
    pub(crate) fn new(
        claimer: Claimer,
        sandbox: Arc<Sandbox>,
        busy: Option<Busy>,
        retention: Retention,
    ) -> Self {
        Self { pending: Some(Pending { claimer, sandbox, retention, mounting: None, _busy: busy }) }
    }

    /// From now on a cleanup takes these mounts back first.
    pub(crate) fn will_mount(&mut self, endpoint: Endpoint, token: &str, mounts: &[ResolvedMount]) {
        if let Some(pending) = &mut self.pending {
            pending.mounting = Some(Mounting { endpoint, token: token.to_owned(), mounts: mounts.to_vec() });
        }
    }

    /// Marks the sandbox as handed out and lets go of it. A task of its own does it: whoever goes away meanwhile, because a watch
    /// has told of the write before its answer came, must not undo it.
    ///
    /// # Errors
    /// The write's failure; the sandbox is then cleaned up.
    pub(crate) async fn acknowledge(self) -> Result<Arc<Sandbox>, Problem> {
        let written = tokio::spawn(self.write_acknowledgement()).await;
        written.map_err(|_| Problem::new(Code::Internal, "the claim's acknowledgement was interrupted"))?
    }

    async fn write_acknowledgement(mut self) -> Result<Arc<Sandbox>, Problem> {
        let Some(pending) = &self.pending else {
            return Err(Problem::new(Code::Internal, "a claim was acknowledged twice"));
        };
        let patch = json!({"metadata": {"annotations": {UNACKNOWLEDGED: null}}});
        let acknowledged = pending
            .patch(&patch)
            .await
            .map_err(|error| kubernetes_problem("acknowledge the claim", &error))?;
        self.pending = None;
        Ok(acknowledged)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(pending.clean_up())),
            Err(_) => {
                tracing::warn!(sandbox = %name_of(&pending.sandbox), "left to the next janitor");
            }
        }
    }
}

impl Pending {
    async fn patch(&self, patch: &serde_json::Value) -> Result<Arc<Sandbox>, kube::Error> {
        let (namespace, name) = key_of(self.sandbox.as_ref());
        let api = self.claimer.api(&namespace);
        let written = api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(self.claimer.sandboxes().observe(written))
    }

    /// Undoes the mounts and deletes the sandbox, or keeps it where the request asked for that. What can't be done is
    /// logged and left to the janitor.
    async fn clean_up(self) {
        let work = async {
            if let Some(mounting) = &self.mounting {
                let runtime = &self.claimer.shared.options.runtime;
                runtime.unmount_all(&mounting.endpoint, Some(&mounting.token), &mounting.mounts).await;
            }
            let mut wait = FIRST_WAIT;
            while let Err(error) = self.release().await {
                tracing::warn!(%error, sandbox = %name_of(&self.sandbox), "cleanup failed, trying again");
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        };
        if timeout(CLEANUP_LIMIT, work).await.is_err() {
            tracing::warn!(sandbox = %name_of(&self.sandbox), "cleanup gave up, the janitor will collect it");
        }
    }

    async fn release(&self) -> Result<(), kube::Error> {
        let kept = match self.retention {
            Retention::Never => None,
            Retention::Forever => Some(None),
            Retention::For(duration) => {
                Some(Some(self.claimer.now().checked_add(duration).unwrap_or(Timestamp::MAX)))
            }
        };
        let outcome = match kept {
            None => self.delete().await.map(|()| json!({"outcome": "deleted"})),
            Some(until) => self.keep(until).await.map(|()| json!({"outcome": "kept", "until": until})),
        }?;
        self.claimer.milestone("cleaned", &self.sandbox, outcome);
        Ok(())
    }

    async fn delete(&self) -> Result<(), kube::Error> {
        delete(&self.claimer, &self.sandbox).await
    }

    /// Labels the sandbox as failed, until a deadline or for good.
    async fn keep(&self, until: Option<Timestamp>) -> Result<(), kube::Error> {
        let patch = json!({
            "metadata": {
                "labels": {labels::RESERVED_FAILED_SANDBOX: "true"},
                "annotations": {UNACKNOWLEDGED: null},
            },
            "spec": {"shutdownTime": until, "pauseTime": null},
        });
        match self.patch(&patch).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Deletes exactly this object; one that is gone already is fine.
pub(crate) async fn delete(claimer: &Claimer, sandbox: &Sandbox) -> Result<(), kube::Error> {
    let (namespace, name) = key_of(sandbox);
    let same_object = Preconditions { uid: sandbox.uid(), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(same_object), ..DeleteParams::default() };
    match claimer.api(&namespace).delete(&name, &parameters).await {
        Ok(_) => {}
        Err(error) if is_not_found(&error) || is_conflict(&error) => {}
        Err(error) => return Err(error),
    }
    claimer.sandboxes().bury(sandbox);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clock::SystemClock;
    use runtime_client::RuntimeClient;
    use wiremock::matchers::method;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;
    use crate::{Cache, ClaimerOptions};

    /// How long the API server takes to answer the write: long enough for a caller to leave in between.
    const WRITE: Duration = Duration::from_secs(1);
    const LIMIT: Duration = Duration::from_secs(60);

    fn claimer(server: &MockServer) -> Claimer {
        let address = server.uri().parse().expect("an address");
        Claimer::new(ClaimerOptions {
            client: kube::Client::try_from(kube::Config::new(address)).expect("a client"),
            clock: SystemClock::shared(),
            sandboxes: Arc::new(Cache::default()),
            runtime: RuntimeClient::new(None).expect("no certificates to refuse"),
            mount_deadline: LIMIT,
            journal: None,
            milestones: None,
        })
    }

    fn sandbox() -> Sandbox {
        serde_json::from_value(json!({
            "apiVersion": "agents.kruise.io/v1alpha1", "kind": "Sandbox",
            "metadata": {"name": "one", "namespace": "default", "uid": "u-1", "annotations": {UNACKNOWLEDGED: "x"}},
            "spec": {},
        }))
        .expect("a sandbox")
    }

    fn guard(claimer: &Claimer) -> Guard {
        let busy = claimer.enter("u-1");
        Guard::new(claimer.clone(), Arc::new(sandbox()), busy, Retention::Never)
    }

    async fn until(deadline: &str, mut holds: impl AsyncFnMut() -> bool) {
        let wait = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(LIMIT, wait).await.is_ok(), "{deadline} of {LIMIT:?} passed");
    }

    async fn methods(server: &MockServer) -> Vec<String> {
        let requests = server.received_requests().await.expect("requests are recorded");
        requests.iter().map(|request| request.method.to_string()).collect()
    }

    /// A watch tells of the write before its answer is there, so a waiting caller may be done and gone by then.
    #[tokio::test]
    async fn who_leaves_while_the_acknowledgement_is_written_does_not_undo_it() {
        let server = MockServer::start().await;
        let written = ResponseTemplate::new(200).set_body_json(sandbox()).set_delay(WRITE);
        Mock::given(method("PATCH")).respond_with(written).mount(&server).await;
        Mock::given(method("DELETE")).respond_with(ResponseTemplate::new(404)).mount(&server).await;
        let claimer = claimer(&server);
        let acknowledging = guard(&claimer).acknowledge();
        tokio::select! {
            biased;
            acknowledged = acknowledging => panic!("nobody had time to leave: {acknowledged:?}"),
            () = until("deadline of the write", async || methods(&server).await == ["PATCH"]) => {}
        }
        until("deadline of the answer", async || !claimer.is_busy("u-1")).await;
        assert_eq!(methods(&server).await, ["PATCH"]);
    }

    #[tokio::test]
    async fn who_leaves_before_it_gives_the_sandbox_back() {
        let server = MockServer::start().await;
        Mock::given(method("DELETE")).respond_with(ResponseTemplate::new(404)).mount(&server).await;
        let claimer = claimer(&server);
        drop(guard(&claimer));
        until("deadline of the clean-up", async || !claimer.is_busy("u-1")).await;
        assert_eq!(methods(&server).await, ["DELETE"]);
    }
}
