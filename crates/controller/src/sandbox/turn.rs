//! One turn of a Sandbox: what is decided about, and what comes of it.

use contract::crd::{Sandbox, SandboxStatus};
use jiff::Timestamp;

use super::decide::{Circumstances, Decision};

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
    /// What was decided, with the status.
    pub(super) fn end(self) -> Decision {
        Decision { status: Some(self.status), ..self.decision }
    }
}
