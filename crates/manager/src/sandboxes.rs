//! What the API says about a Sandbox object: whose it is, where it stands, where its pod is.

use contract::crd::{Sandbox, SandboxPhase};
use contract::names::{annotations, labels};
pub(crate) use contract::state::{is_ready, pod_ip};
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::id::SandboxKey;

pub use contract::names::annotations::CLAIM_UNACKNOWLEDGED_UNTIL as UNACKNOWLEDGED;

/// Where a sandbox stands, as far as users are concerned (`e2b-api.md` §3.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Situation {
    /// Claimed, running and ready: listed and routed.
    Running,
    /// Claimed and running but not ready: shown as running, neither listed nor routed.
    NotReady,
    /// Pausing, paused or on the way back: shown as paused, not routed.
    Paused,
    /// Not there (any more), or not yet: 404.
    Hidden,
}

impl Situation {
    /// The situation of `sandbox` at `now`.
    pub(crate) fn of(sandbox: &Sandbox, now: Timestamp) -> Self {
        let expired = sandbox.spec.shutdown_time.as_ref().is_some_and(|deadline| deadline.0 < now);
        if sandbox.metadata.deletion_timestamp.is_some() || expired || !is_handed_out(sandbox) {
            return Self::Hidden;
        }
        match phase(sandbox) {
            SandboxPhase::Running if sandbox.spec.paused => Self::Paused,
            SandboxPhase::Running if is_ready(sandbox) => Self::Running,
            SandboxPhase::Running | SandboxPhase::Upgrading => Self::NotReady,
            SandboxPhase::Paused | SandboxPhase::Resuming => Self::Paused,
            _ => Self::Hidden,
        }
    }

    /// The word of the API; `None` when there is nothing to show.
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Self::Running | Self::NotReady => Some("running"),
            Self::Paused => Some("paused"),
            Self::Hidden => None,
        }
    }
}

/// Whether the sandbox was claimed, its creator knows of it, and it isn't kept for debugging only.
fn is_handed_out(sandbox: &Sandbox) -> bool {
    label(sandbox, labels::SANDBOX_CLAIMED) == Some("true")
        && label(sandbox, labels::RESERVED_FAILED_SANDBOX) != Some("true")
        && annotation(sandbox, UNACKNOWLEDGED).is_none()
}

/// The phase; empty when the controller hasn't seen the sandbox yet.
pub(crate) fn phase(sandbox: &Sandbox) -> &SandboxPhase {
    sandbox.status.as_ref().map_or(&SandboxPhase::None, |status| &status.phase)
}

/// The access token of the runtime inside.
pub(crate) fn access_token(sandbox: &Sandbox) -> Option<&str> {
    annotation(sandbox, annotations::RUNTIME_ACCESS_TOKEN)
        .or_else(|| annotation(sandbox, annotations::ENVD_ACCESS_TOKEN))
        .filter(|token| !token.is_empty())
}

/// When the sandbox was claimed; when it was made for one that doesn't say.
pub(crate) fn started_at(sandbox: &Sandbox) -> Timestamp {
    annotation(sandbox, annotations::CLAIM_TIMESTAMP)
        .and_then(|text| text.parse().ok())
        .or_else(|| sandbox.metadata.creation_timestamp.as_ref().map(|time| time.0))
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The name that users create such a sandbox with.
pub(crate) fn template(sandbox: &Sandbox) -> &str {
    label(sandbox, labels::SANDBOX_POOL)
        .or_else(|| label(sandbox, labels::SANDBOX_TEMPLATE))
        .unwrap_or_default()
}

/// The id that users know the sandbox by.
pub(crate) fn id(sandbox: &Sandbox) -> String {
    label(sandbox, labels::SANDBOX_ID).map_or_else(|| key(sandbox).id(), str::to_owned)
}

/// Namespace and name.
pub(crate) fn key(sandbox: &Sandbox) -> SandboxKey {
    SandboxKey::new(sandbox.namespace().unwrap_or_default(), sandbox.name_any())
}

pub(crate) fn label<'a>(sandbox: &'a Sandbox, key: &str) -> Option<&'a str> {
    sandbox.labels().get(key).map(String::as_str)
}

pub(crate) fn annotation<'a>(sandbox: &'a Sandbox, key: &str) -> Option<&'a str> {
    sandbox.annotations().get(key).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use contract::conditions::{self, types};
    use contract::crd::{SandboxSpec, SandboxStatus};
    use rstest::rstest;

    use super::*;

    fn sandbox(phase: SandboxPhase, ready: bool) -> Sandbox {
        let mut sandbox = Sandbox::new("x", SandboxSpec::default());
        sandbox.labels_mut().insert(labels::SANDBOX_CLAIMED.into(), "true".into());
        let mut status = SandboxStatus { phase, ..SandboxStatus::default() };
        conditions::set(&mut status.conditions, types::READY, ready, "PodReady", "", Timestamp::UNIX_EPOCH);
        sandbox.status = Some(status);
        sandbox
    }

    #[rstest]
    #[case(SandboxPhase::None, false, Situation::Hidden)]
    #[case(SandboxPhase::Pending, false, Situation::Hidden)]
    #[case(SandboxPhase::Running, true, Situation::Running)]
    #[case(SandboxPhase::Running, false, Situation::NotReady)]
    #[case(SandboxPhase::Upgrading, false, Situation::NotReady)]
    #[case(SandboxPhase::Paused, false, Situation::Paused)]
    #[case(SandboxPhase::Resuming, false, Situation::Paused)]
    #[case(SandboxPhase::Recycling, true, Situation::Hidden)]
    #[case(SandboxPhase::Succeeded, false, Situation::Hidden)]
    #[case(SandboxPhase::Failed, true, Situation::Hidden)]
    #[case(SandboxPhase::Terminating, true, Situation::Hidden)]
    fn situations(#[case] phase: SandboxPhase, #[case] ready: bool, #[case] expected: Situation) {
        assert_eq!(Situation::of(&sandbox(phase, ready), Timestamp::UNIX_EPOCH), expected);
    }

    #[rstest]
    #[case::pause_requested(|sandbox: &mut Sandbox| sandbox.spec.paused = true, Situation::Paused)]
    #[case::unclaimed(|sandbox: &mut Sandbox| { sandbox.labels_mut().insert(labels::SANDBOX_CLAIMED.into(), "false".into()); }, Situation::Hidden)]
    #[case::kept_for_debugging(|sandbox: &mut Sandbox| { sandbox.labels_mut().insert(labels::RESERVED_FAILED_SANDBOX.into(), "true".into()); }, Situation::Hidden)]
    #[case::unacknowledged(|sandbox: &mut Sandbox| { sandbox.annotations_mut().insert(UNACKNOWLEDGED.into(), "2100-01-01T00:00:00Z".into()); }, Situation::Hidden)]
    #[case::past_its_end(|sandbox: &mut Sandbox| sandbox.spec.shutdown_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::MIN)), Situation::Hidden)]
    fn exceptions(#[case] change: fn(&mut Sandbox), #[case] expected: Situation) {
        let mut sandbox = sandbox(SandboxPhase::Running, true);
        change(&mut sandbox);
        assert_eq!(Situation::of(&sandbox, Timestamp::UNIX_EPOCH), expected);
    }
}
