//! Waking up (`kubernetes.md` §5.6), as pure functions: the pod that was kept asleep, or a new one from the template and the
//! injection configuration of now. Its runtime and mounts come back as after any replaced container, before the Sandbox is Ready.

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxPhase, SandboxStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::decide::{Circumstances, Decision, finish, own_pod};
use super::initialisation::{self, Attempt};
use super::sleep::{self, Rousing};
use super::{pause, ready, status as pod_status};

/// Begins the wake-up of a Sandbox whose pause is complete.
pub(super) fn begin(now: Timestamp, status: &mut SandboxStatus) {
    status.phase = SandboxPhase::Resuming;
    conditions::set(&mut status.conditions, types::SANDBOX_RESUMED, false, reasons::CREATE_POD, "", now);
}

/// Phase Resuming: the pod that was kept wakes up, or one is made; once it runs, so does the Sandbox.
pub(super) fn follow(
    sandbox: &Sandbox,
    pod: Option<&Pod>,
    Circumstances { attempt, keeping, .. }: Circumstances<'_>,
    now: Timestamp,
    status: &mut SandboxStatus,
    decision: &mut Decision,
) {
    let Some(pod) = own_pod(sandbox, pod, status, decision) else { return };
    if sleep::rouse_if_current(sandbox, pod, keeping, decision) == Rousing::UnderWay {
        return;
    }
    match ready::pod_phase(pod) {
        "Running" => complete(sandbox, pod, attempt, now, status, decision),
        phase @ ("Succeeded" | "Failed") => finish(status, phase, now),
        _ => {}
    }
}

fn complete(
    sandbox: &Sandbox,
    pod: &Pod,
    attempt: Option<&Attempt>,
    now: Timestamp,
    status: &mut SandboxStatus,
    decision: &mut Decision,
) {
    status.phase = SandboxPhase::Running;
    let conditions = &mut status.conditions;
    conditions::set(conditions, types::SANDBOX_RESUMED, true, reasons::RESUME_POD, "", now);
    conditions::set(conditions, types::RUNTIME_INITIALIZED, false, reasons::PENDING, "", now);
    conditions::remove(conditions, types::SANDBOX_PAUSED);
    pod_status::copy_pod(status, pod);
    let held = initialisation::follow(sandbox, pod, attempt, now, status, decision);
    ready::sync(status, pod, held, now);
}

/// Whether the Sandbox has woken up and still has the finalizer of its pause.
pub(super) fn leaves_a_finalizer(sandbox: &Sandbox, status: &SandboxStatus) -> bool {
    conditions::is_true(&status.conditions, types::SANDBOX_RESUMED) && pause::has_finalizer(sandbox)
}
