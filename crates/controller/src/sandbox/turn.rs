//! One turn of a Sandbox: what is decided about, and what comes of it.

use contract::crd::{Sandbox, SandboxStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::decide::{Action, Circumstances, Decision};
use super::initialisation::Progress;
use super::ready;

/// What every step of a Sandbox's life is given, and where it leaves what it decided.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    /// The Sandbox as it is.
    pub(super) sandbox: &'a Sandbox,
    /// What else the decision depends on, besides the pod.
    pub(super) given: Circumstances<'a>,
    /// The time of the turn: all of it happens now.
    pub(super) now: Timestamp,
    /// The status as it is to be written.
    pub(super) status: SandboxStatus,
    /// What is to be done. Its status is the one above, at the end of the turn.
    pub(super) decision: Decision,
}

impl Turn<'_> {
    /// Something that takes longer than a turn and goes on beside them, known by that name: it is started when there is none, and again some
    /// time after it failed, while the pod is ready. `tell` shows how it stands. Whether it has succeeded.
    pub(super) fn attempt(
        &mut self,
        pod: &Pod,
        name: &str,
        start: Action,
        tell: impl FnOnce(&mut Self, Option<&Progress>),
    ) -> bool {
        let known = self.given.attempt.filter(|attempt| attempt.container == name);
        let known = known.map(|attempt| &attempt.progress);
        let is_due = match known {
            Some(Progress::Succeeded) => return true,
            Some(Progress::Running) => false,
            Some(Progress::Failed { retry_at, .. }) if self.now < *retry_at => {
                self.decision.wake_at = Some(*retry_at);
                false
            }
            Some(Progress::Failed { .. }) | None => ready::is_ready(pod),
        };
        tell(self, known);
        if is_due {
            self.decision.actions.push(start);
        }
        false
    }

    /// What was decided, with the status.
    pub(super) fn end(self) -> Decision {
        Decision { status: Some(self.status), ..self.decision }
    }
}
