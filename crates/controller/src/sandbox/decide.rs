//! What to do about one Sandbox (`kubernetes.md` §5.1 to §5.3, §5.7, §5.10), as a pure function.

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxPhase, SandboxStatus};
use contract::hash;
use contract::hibernation::Verdict;
use contract::names::{annotations, events, labels};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::deadlines::{self, Due};
use super::hook::Hook;
use super::in_place::{self, Standing};
use super::initialisation::{self, Attempt};
use super::preserve::Kept;
use super::recycle::{self, Recycling};
use super::sleep::Keeping;
use super::turn::Turn;
use super::{pause, preserve, ready, resume, status, upgrade};
use crate::announce::Announcement;

/// What a decision depends on besides the Sandbox, its pod and the time.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The last attempt to initialise the runtime again, if this process made one.
    pub attempt: Option<&'a Attempt>,
    /// Whether what is mounted lets the sandbox hibernate.
    pub storage: &'a Verdict,
    /// What recycling it depends on; needed where it is wanted or under way.
    pub recycling: Option<&'a Recycling>,
    /// The Checkpoints of upgrades of the Sandbox.
    pub kept: Kept<'a>,
    /// What keeping its pod asleep depends on, where it is paused or wakes up.
    pub keeping: &'a Keeping,
}

/// One thing to do to the API.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write annotation `hash-immutable-part`, once in the Sandbox's life.
    WriteImmutableHash(String),
    /// Make the pod.
    CreatePod,
    /// Delete the pod of that UID.
    DeletePod {
        /// The pod and no other of its name.
        uid: String,
    },
    /// Delete the pod of that UID for a pause: its processes get 5 s.
    StopPod {
        /// The pod and no other of its name.
        uid: String,
    },
    /// Unmount everything in the pod of that UID, in the background; the links to the mounts stay.
    UnmountForPause {
        /// The pod that is to be kept asleep.
        pod: String,
    },
    /// Tell the node of the pod of that UID to keep it asleep.
    PutPodToSleep {
        /// The pod and no other of its name.
        uid: String,
    },
    /// Tell the node of the pod of that UID to let it run again.
    WakePod {
        /// The pod and no other of its name.
        uid: String,
    },
    /// Set `spec.paused`: the automatic pause is due.
    PauseByDeadline {
        /// The new shutdownTime and pauseTime; absent, both stay as they are.
        kept_until: Option<Timestamp>,
    },
    /// Keep the Sandbox until its pod is gone, whoever deletes it.
    AddFinalizer,
    /// Bring the pod's labels, annotations and hash up to date without touching its containers.
    PatchPodMetadata {
        /// The revision that the pod then has.
        revision: String,
    },
    /// Bring the pod's images and resources up to date, with labels, annotations and hash, and note what it was.
    UpdatePod {
        /// The revision that the pod then has.
        revision: String,
    },
    /// Delete the Sandbox: its deadline has passed, or it can't be recycled.
    DeleteSandbox,
    /// Set the shutdownTime of a Sandbox that can't be recycled and is to be looked at.
    KeepUntil(Timestamp),
    /// Unmount everything in the pod of that UID, in the background.
    Unmount {
        /// The pod that is given up.
        pod: String,
    },
    /// Take the network rules of its user away from the Sandbox, then write it as given: nothing of its claim is left.
    ClearSandbox(Box<Sandbox>),
    /// Write the Sandbox as given: its pool owns it again.
    ReplaceSandbox(Box<Sandbox>),
    /// Let the Sandbox go.
    DropFinalizer,
    /// Initialise the runtime of the main container again and mount everything again, in the background.
    InitialiseRuntime {
        /// The id of that container.
        container: String,
    },
    /// Run a hook of the upgrade in the pod, in the background.
    RunHook {
        /// Which.
        hook: Hook,
        /// What the attempt is known by, in place of a container's id.
        attempt: String,
    },
    /// Make the Checkpoint of that name of the pod that an upgrade replaces.
    TakeCheckpoint {
        /// Its name.
        name: String,
    },
    /// Have the Sandbox's pods made from a Checkpoint from now on.
    RestoreFrom {
        /// Its id.
        id: String,
    },
    /// Delete a Checkpoint that no upgrade needs any more.
    DeleteCheckpoint {
        /// Its name.
        name: String,
        /// This one and no other of its name.
        uid: String,
    },
}

/// What to do about one Sandbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// In this order; a failing one ends the turn, after the status was written.
    pub actions: Vec<Action>,
    /// The status as it should be; nothing when it must not be written.
    pub status: Option<SandboxStatus>,
    /// Events to announce.
    pub events: Vec<Announcement>,
    /// When to look again, if nothing happens before.
    pub wake_at: Option<Timestamp>,
}

/// [`decide_with`] for a `sandbox` whose storage can hibernate.
pub fn decide(sandbox: &Sandbox, pod: Option<&Pod>, attempt: Option<&Attempt>, now: Timestamp) -> Decision {
    decide_with(sandbox, pod, attempt, &Verdict::Possible, now)
}

/// Decides about `sandbox`, whose pod (of the same name) is `pod`, at `now`. `attempt` is the last one to initialise
/// its runtime again, if this process made one. `storage` says whether what it has mounted lets it hibernate.
pub fn decide_with(
    sandbox: &Sandbox,
    pod: Option<&Pod>,
    attempt: Option<&Attempt>,
    storage: &Verdict,
    now: Timestamp,
) -> Decision {
    let (kept, keeping) = (Kept::default(), &Keeping::default());
    let circumstances = Circumstances { attempt, storage, recycling: None, kept, keeping };
    decide_about(sandbox, pod, circumstances, now)
}

/// Decides about `sandbox`, whose pod (of the same name) is `pod`, at `now`.
pub fn decide_about(
    sandbox: &Sandbox,
    pod: Option<&Pod>,
    given: Circumstances<'_>,
    now: Timestamp,
) -> Decision {
    if sandbox.metadata.deletion_timestamp.is_some() {
        return terminate(sandbox, pod);
    }
    let has_template = sandbox.spec.template.is_some() || sandbox.spec.template_ref.is_some();
    if !has_template {
        return Decision::default();
    }
    let due = deadlines::due(sandbox, given.storage, now);
    if due == Due::ShutDown {
        return shut_down();
    }
    let mut decision = live(sandbox, pod, given, now);
    if let Due::Pause(action) = due {
        decision.actions.push(action);
    }
    decision.wake_at = [decision.wake_at, deadlines::next(sandbox, now)].into_iter().flatten().min();
    decision
}

fn shut_down() -> Decision {
    Decision {
        actions: vec![Action::DeleteSandbox],
        events: vec![Announcement::normal(
            events::SANDBOX_SHUTDOWN,
            "Shutdown time reached, sandbox is deleted",
        )],
        ..Decision::default()
    }
}

/// §5.10. A Sandbox without a finalizer never gets here: it is gone at once and its pod with it.
fn terminate(sandbox: &Sandbox, pod: Option<&Pod>) -> Decision {
    let own = pod.filter(|pod| is_owned(sandbox, pod));
    match own {
        Some(pod) if pod.metadata.deletion_timestamp.is_none() => Decision {
            actions: vec![Action::DeletePod { uid: pod.uid().unwrap_or_default() }],
            events: vec![Announcement::normal(
                events::SANDBOX_TERMINATING,
                "Sandbox is deleted, its pod goes first",
            )],
            ..Decision::default()
        },
        None if pause::has_finalizer(sandbox) => {
            Decision { actions: vec![Action::DropFinalizer], ..Decision::default() }
        }
        _ => Decision::default(),
    }
}

fn live(sandbox: &Sandbox, pod: Option<&Pod>, given: Circumstances<'_>, now: Timestamp) -> Decision {
    let old = sandbox.status.clone().unwrap_or_default();
    if old.phase.is_final() {
        return Decision::default();
    }
    let mut decision = Decision::default();
    if needs_immutable_hash(sandbox, pod, &old.phase) {
        decision.actions.push(Action::WriteImmutableHash(hash::immutable_part(sandbox)));
    }
    let status = SandboxStatus {
        observed_generation: sandbox.metadata.generation,
        update_revision: revision(sandbox, &old),
        message: None,
        ..old.clone()
    };
    let mut turn = Turn { sandbox, given, now, status, decision };
    match old.phase {
        SandboxPhase::None | SandboxPhase::Pending => pending(&mut turn, pod),
        SandboxPhase::Running => running(&mut turn, pod),
        SandboxPhase::Paused => pause::follow(&mut turn, pod),
        SandboxPhase::Resuming => resume::follow(&mut turn, pod),
        SandboxPhase::Upgrading => upgrade::follow(&mut turn, pod),
        SandboxPhase::Recycling => {
            if let Some(recycling) = given.recycling {
                recycle::follow(&mut turn, pod, recycling);
            }
        }
        _ => {}
    }
    announce_phase(&mut turn, &old.phase);
    turn.end()
}

/// Once in a Sandbox's life, and again for the pod of a wake-up or an upgrade: that one is made from the template of now, and it is
/// what later changes are measured by.
fn needs_immutable_hash(sandbox: &Sandbox, pod: Option<&Pod>, phase: &SandboxPhase) -> bool {
    match sandbox.annotations().get(annotations::HASH_IMMUTABLE_PART) {
        None => true,
        Some(written) => {
            let makes_a_pod =
                matches!(phase, SandboxPhase::Resuming | SandboxPhase::Upgrading) && pod.is_none();
            makes_a_pod && *written != hash::immutable_part(sandbox)
        }
    }
}

/// The hash of the template; as it was while paused, so that a change made meanwhile is noticed (§5.6).
fn revision(sandbox: &Sandbox, old: &SandboxStatus) -> Option<String> {
    match old.phase {
        SandboxPhase::Paused => old.update_revision.clone(),
        _ => Some(hash::update_revision(sandbox)),
    }
}

/// §5.2.
fn pending(turn: &mut Turn<'_>, pod: Option<&Pod>) {
    turn.status.phase = SandboxPhase::Pending;
    let Some(pod) = own_pod(turn, pod) else { return };
    match ready::pod_phase(pod) {
        "Running" => {
            turn.status.phase = SandboxPhase::Running;
            status::copy_pod(&mut turn.status, pod);
            ready::sync(&mut turn.status, pod, None, turn.now);
            initialisation::remember_first(pod, &mut turn.status);
        }
        phase @ ("Succeeded" | "Failed") => finish(&mut turn.status, phase, turn.now),
        _ => ready::explain_pending(&mut turn.status, pod, turn.now),
    }
}

/// The Sandbox's pod, which is made where there is none. Nothing for somebody else's of that name, and for one that ends: the
/// next one is made when that is gone.
pub(super) fn own_pod<'a>(turn: &mut Turn<'_>, pod: Option<&'a Pod>) -> Option<&'a Pod> {
    let Some(pod) = pod else {
        turn.decision.actions.push(Action::CreatePod);
        return None;
    };
    if !is_owned(turn.sandbox, pod) {
        turn.decision.events.push(owner_mismatch(pod));
        return None;
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    clear_create_failure(&mut turn.status);
    Some(pod)
}

/// §5.3, after the trigger of recycling (§1.8), with the beginning of a pause or its refusal (§5.6), the in-place update (§5.8) and the runtime's
/// re-initialisation (§5.4), which comes after it: an update replaces what was initialised.
fn running(turn: &mut Turn<'_>, pod: Option<&Pod>) {
    if turn.given.recycling.is_some() && recycle::begin(turn, pod) {
        return;
    }
    let alive = pod.filter(|pod| is_owned(turn.sandbox, pod) && pod.metadata.deletion_timestamp.is_none());
    let Some(pod) = alive else { return lose_pod("Pod Not Found", turn.now, &mut turn.status) };
    if let phase @ ("Succeeded" | "Failed") = ready::pod_phase(pod) {
        return finish(&mut turn.status, phase, turn.now);
    }
    preserve::tidy(turn);
    // an upgrade beats a pause (§1.8)
    if upgrade::begin(turn, pod) {
        return;
    }
    if turn.sandbox.spec.paused && *turn.given.storage == Verdict::Possible {
        return pause::begin(turn.now, &mut turn.status);
    }
    pause::note_refusal(turn);
    if resume::leaves_a_finalizer(turn.sandbox, &turn.status) {
        turn.decision.actions.push(Action::DropFinalizer);
    }
    status::copy_pod(&mut turn.status, pod);
    match in_place::follow(turn, pod) {
        Standing::InFlight(missing) => return ready::hold_for_update(&mut turn.status, &missing, turn.now),
        Standing::Completed => initialisation::leave_to_claim(turn.sandbox, pod, &mut turn.status),
        Standing::Settled => {}
    }
    let held = initialisation::follow(turn, pod);
    ready::sync(&mut turn.status, pod, held, turn.now);
}

/// The pod has gone, and what was in it.
pub(super) fn lose_pod(message: &str, now: Timestamp, status: &mut SandboxStatus) {
    status.phase = SandboxPhase::Failed;
    status.message = Some(message.to_owned());
    conditions::set(&mut status.conditions, types::READY, false, reasons::POD_READY, message, now);
}

pub(super) fn finish(status: &mut SandboxStatus, pod_phase: &str, now: Timestamp) {
    let message = format!("Pod status phase is {pod_phase}");
    conditions::set(&mut status.conditions, types::READY, false, reasons::POD_READY, &message, now);
    status.phase = SandboxPhase::from(pod_phase.to_owned());
    status.message = Some(message);
}

pub(super) fn clear_create_failure(status: &mut SandboxStatus) {
    let failed = conditions::find(&status.conditions, types::READY)
        .is_some_and(|condition| condition.reason == reasons::POD_CREATE_FAILED);
    if failed {
        conditions::remove(&mut status.conditions, types::READY);
    }
}

/// Whether `pod` is controlled by this very Sandbox and not by an earlier one of its name.
pub(super) fn is_owned(sandbox: &Sandbox, pod: &Pod) -> bool {
    let mut owners = pod.owner_references().iter();
    owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == sandbox.metadata.uid.as_ref())
}

pub(super) fn owner_mismatch(pod: &Pod) -> Announcement {
    let created_by = pod.labels().get(labels::CREATED_BY).map_or("somebody else", String::as_str);
    Announcement::warning(
        events::POD_OWNER_MISMATCH,
        format!(
            "Pod {} belongs to another owner (created by {created_by}), waiting for it to go",
            pod.name_any()
        ),
    )
}

/// §9.3: an event for every phase that is entered.
fn announce_phase(turn: &mut Turn<'_>, before: &SandboxPhase) {
    let status = &turn.status;
    if *before == status.phase {
        return;
    }
    let reason = events::phase_reason(status.phase.as_str());
    let message = status.message.clone();
    turn.decision.events.push(match status.phase {
        SandboxPhase::Pending => Announcement::normal(reason, "Start sandbox"),
        SandboxPhase::Running if *before == SandboxPhase::Resuming => {
            Announcement::normal(reason, "Sandbox woke up")
        }
        SandboxPhase::Running if *before == SandboxPhase::Upgrading => {
            Announcement::normal(reason, upgrade::outcome(status))
        }
        SandboxPhase::Upgrading if *before == SandboxPhase::Paused => {
            Announcement::normal(reason, "Sandbox is paused and wakes up for an upgrade")
        }
        SandboxPhase::Running if *before == SandboxPhase::Recycling => {
            Announcement::normal(reason, "Sandbox recycled")
        }
        SandboxPhase::Recycling => Announcement::normal(reason, "Recycle sandbox"),
        SandboxPhase::Upgrading => Announcement::normal(reason, "Sandbox is upgraded, its pod is replaced"),
        SandboxPhase::Running => Announcement::normal(reason, "Sandbox started"),
        SandboxPhase::Paused => Announcement::normal(reason, "Sandbox is paused"),
        SandboxPhase::Resuming => Announcement::normal(reason, "Sandbox wakes up"),
        SandboxPhase::Failed => {
            Announcement::warning(reason, message.unwrap_or_else(|| "Sandbox failed".to_owned()))
        }
        _ => Announcement::normal(
            reason,
            message.unwrap_or_else(|| format!("Sandbox is {}", status.phase.as_str())),
        ),
    });
}
