//! What the API says about a Sandbox object: whose it is, where it stands, where its pod is.

use contract::conditions::{self, types};
use contract::crd::{Sandbox, SandboxPhase};
use contract::names::{annotations, labels};
use contract::recycling::is_leaving;
pub(crate) use contract::state::{is_ready, pause_is_refused, pod_ip};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
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
    /// A pause is asked for and not complete: shown as paused, not routed.
    Pausing,
    /// Paused: shown as such, not routed.
    Paused,
    /// On the way back, its pod doesn't run yet: shown as paused, not routed.
    Waking,
    /// Not there (any more), or not yet: 404.
    Hidden,
}

impl Situation {
    /// The situation of `sandbox` at `now`.
    pub(crate) fn of(sandbox: &Sandbox, now: Timestamp) -> Self {
        let expired = sandbox.spec.shutdown_time.as_ref().is_some_and(|deadline| deadline.0 < now);
        if sandbox.metadata.deletion_timestamp.is_some()
            || expired
            || !is_handed_out(sandbox)
            || is_leaving(sandbox)
        {
            return Self::Hidden;
        }
        match phase(sandbox) {
            // one whose storage forbids it keeps running, whatever was asked for (DECISIONS 2)
            SandboxPhase::Running if sandbox.spec.paused && !pause_is_refused(sandbox) => Self::Pausing,
            SandboxPhase::Running if is_ready(sandbox) => Self::Running,
            SandboxPhase::Running | SandboxPhase::Upgrading => Self::NotReady,
            SandboxPhase::Paused if !has(sandbox, types::SANDBOX_PAUSED) => Self::Pausing,
            SandboxPhase::Paused if sandbox.spec.paused => Self::Paused,
            SandboxPhase::Resuming if sandbox.spec.paused => Self::Pausing,
            SandboxPhase::Paused | SandboxPhase::Resuming => Self::Waking,
            _ => Self::Hidden,
        }
    }

    /// The word of the API; `None` when there is nothing to show.
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Self::Running | Self::NotReady => Some("running"),
            Self::Pausing | Self::Paused | Self::Waking => Some("paused"),
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

/// Whether the sandbox has woken up and its runtime and mounts are not back yet.
pub(crate) fn is_coming_back(sandbox: &Sandbox) -> bool {
    has(sandbox, types::SANDBOX_RESUMED)
        && condition(sandbox, types::RUNTIME_INITIALIZED).is_some_and(|found| found.status != "True")
}

/// Phase and telling conditions in a few words, for an error.
pub(crate) fn describe(sandbox: &Sandbox) -> String {
    let told = [types::READY, types::SANDBOX_PAUSED, types::SANDBOX_RESUMED, types::RUNTIME_INITIALIZED];
    let conditions = told.into_iter().filter_map(|kind| condition(sandbox, kind)).map(|found| {
        let message = if found.message.is_empty() { String::new() } else { format!(" ({})", found.message) };
        format!("{} {} {}{message}", found.type_, found.status, found.reason)
    });
    let phase = phase(sandbox).as_str();
    let phase = if phase.is_empty() { "not seen by the controller" } else { phase };
    std::iter::once(format!("phase {phase}")).chain(conditions).collect::<Vec<_>>().join(", ")
}

/// Whether a condition of the sandbox is True.
pub(crate) fn has(sandbox: &Sandbox, kind: &str) -> bool {
    condition(sandbox, kind).is_some_and(|found| found.status == "True")
}

/// A condition of the sandbox.
pub(crate) fn condition<'a>(sandbox: &'a Sandbox, kind: &str) -> Option<&'a Condition> {
    sandbox.status.as_ref().and_then(|status| conditions::find(&status.conditions, kind))
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
    use contract::conditions::reasons;
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

    fn enter(sandbox: &mut Sandbox, phase: SandboxPhase) {
        sandbox.status.get_or_insert_default().phase = phase;
    }

    fn say(sandbox: &mut Sandbox, kind: &str, is_true: bool, reason: &str) {
        let conditions = &mut sandbox.status.get_or_insert_default().conditions;
        conditions::set(conditions, kind, is_true, reason, "", Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn a_sandbox_is_described_by_its_phase_and_what_its_conditions_say() {
        let mut sandbox = sandbox(SandboxPhase::Running, false);
        let conditions = &mut sandbox.status.get_or_insert_default().conditions;
        conditions::set(
            conditions,
            types::RUNTIME_INITIALIZED,
            false,
            "Failed",
            "no PV",
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(
            describe(&sandbox),
            "phase Running, Ready False PodReady, RuntimeInitialized False Failed (no PV)"
        );
        assert!(!is_coming_back(&sandbox), "it never woke up");
        say(&mut sandbox, types::SANDBOX_RESUMED, true, "ResumePod");
        assert!(is_coming_back(&sandbox));
    }

    #[rstest]
    #[case(SandboxPhase::None, false, Situation::Hidden)]
    #[case(SandboxPhase::Pending, false, Situation::Hidden)]
    #[case(SandboxPhase::Running, true, Situation::Running)]
    #[case(SandboxPhase::Running, false, Situation::NotReady)]
    #[case(SandboxPhase::Upgrading, false, Situation::NotReady)]
    #[case(SandboxPhase::Paused, false, Situation::Pausing)]
    #[case(SandboxPhase::Resuming, false, Situation::Waking)]
    #[case(SandboxPhase::Recycling, true, Situation::Hidden)]
    #[case(SandboxPhase::Succeeded, false, Situation::Hidden)]
    #[case(SandboxPhase::Failed, true, Situation::Hidden)]
    #[case(SandboxPhase::Terminating, true, Situation::Hidden)]
    fn situations(#[case] phase: SandboxPhase, #[case] ready: bool, #[case] expected: Situation) {
        assert_eq!(Situation::of(&sandbox(phase, ready), Timestamp::UNIX_EPOCH), expected);
    }

    #[rstest]
    #[case::pause_requested(|sandbox: &mut Sandbox| sandbox.spec.paused = true, Situation::Pausing)]
    #[case::pause_refused(|sandbox: &mut Sandbox| { sandbox.spec.paused = true; say(sandbox, types::SANDBOX_PAUSED, false, reasons::STORAGE_NOT_HIBERNATABLE); }, Situation::Running)]
    #[case::paused(|sandbox: &mut Sandbox| { sandbox.spec.paused = true; enter(sandbox, SandboxPhase::Paused); say(sandbox, types::SANDBOX_PAUSED, true, "x"); }, Situation::Paused)]
    #[case::woken(|sandbox: &mut Sandbox| { enter(sandbox, SandboxPhase::Paused); say(sandbox, types::SANDBOX_PAUSED, true, "x"); }, Situation::Waking)]
    #[case::woken_too_early(|sandbox: &mut Sandbox| enter(sandbox, SandboxPhase::Paused), Situation::Pausing)]
    #[case::paused_again_on_the_way(|sandbox: &mut Sandbox| { sandbox.spec.paused = true; enter(sandbox, SandboxPhase::Resuming); }, Situation::Pausing)]
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
