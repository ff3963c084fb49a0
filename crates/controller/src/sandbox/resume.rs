//! Waking up (`kubernetes.md` §5.6), as pure functions: the pod that was kept asleep, or a new one from the template and the
//! injection configuration of now. Its runtime and mounts come back as after any replaced container, before the Sandbox is Ready.

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxPhase, SandboxStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::decide::{finish, own_pod};
use super::initialisation;
use super::sleep::{self, Rousing};
use super::turn::Turn;
use super::{pause, ready, status as pod_status};

/// Begins the wake-up of a Sandbox whose pause is complete.
pub(super) fn begin(now: Timestamp, status: &mut SandboxStatus) {
    status.phase = SandboxPhase::Resuming;
    conditions::set(&mut status.conditions, types::SANDBOX_RESUMED, false, reasons::CREATE_POD, "", now);
}

/// Phase Resuming: the pod that was kept wakes up, or one is made; once it runs, so does the Sandbox.
pub(super) fn follow(turn: &mut Turn<'_>, pod: Option<&Pod>) {
    let Some(pod) = own_pod(turn, pod) else { return };
    if sleep::rouse_if_current(turn, pod) == Rousing::UnderWay {
        return;
    }
    match ready::pod_phase(pod) {
        "Running" => complete(turn, pod),
        phase @ ("Succeeded" | "Failed") => finish(&mut turn.status, phase, turn.now),
        _ => {}
    }
}

fn complete(turn: &mut Turn<'_>, pod: &Pod) {
    turn.status.phase = SandboxPhase::Running;
    let conditions = &mut turn.status.conditions;
    conditions::set(conditions, types::SANDBOX_RESUMED, true, reasons::RESUME_POD, "", turn.now);
    conditions::set(conditions, types::RUNTIME_INITIALIZED, false, reasons::PENDING, "", turn.now);
    conditions::remove(conditions, types::SANDBOX_PAUSED);
    pod_status::copy_pod(&mut turn.status, pod);
    let held = initialisation::follow(turn, pod);
    ready::sync(&mut turn.status, pod, held, turn.now);
}

/// Whether the Sandbox has woken up and still has the finalizer of its pause.
pub(super) fn leaves_a_finalizer(sandbox: &Sandbox, status: &SandboxStatus) -> bool {
    conditions::is_true(&status.conditions, types::SANDBOX_RESUMED) && pause::has_finalizer(sandbox)
}
