//! Doing what was decided about a Sandbox.

use std::sync::Arc;

use contract::conditions::{self, reasons, types};
use contract::crd::{Sandbox, SandboxPhase, SandboxStatus};
use contract::hibernation::Verdict;
use contract::names::{annotations, events, finalizers};
use contract::sleep::{Sleep, keeps_memory};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch};
use kube::{Api, ResourceExt as _};
use runtime_client::Links;
use serde_json::json;

use super::create::{create_pod, injection_config, template_of};
use super::decide::{Action, Circumstances, Decision, decide_about, is_owned};
use super::pod::made_of;
use super::preserve::{Answer, Kept};
use super::recycle::{self, Recycling};
use super::sleep::Keeping;
use super::status::merge_patch;
use super::{in_place, pause, preserve, preserved, recycled};
use crate::announce::Announcement;
use crate::api::{Context, delete_exactly, has_code, message_of, patch_parameters};
use crate::dispatch::Failure;
use crate::queue::ObjectName;
use crate::set;
use crate::world::name_of;

/// How long the processes of a pod have to end when it is stopped for a pause, in seconds (`kubernetes.md` §5.6).
const PAUSE_GRACE: u32 = 5;

/// One turn for the Sandbox of that name. Returns when the next one is due.
pub(crate) async fn reconcile(
    context: &Arc<Context>,
    name: &ObjectName,
) -> Result<Option<Timestamp>, Failure> {
    let Some(sandbox) = context.world.sandbox(name) else {
        context.initialisations.forget(name);
        context.unmounts.forget(name);
        return Ok(None);
    };
    let pod = pod_of(context, name, &sandbox).await?;
    if is_losing_its_pod(&sandbox, pod.as_ref()) && !is_there(context, name, &sandbox).await? {
        return Ok(None);
    }
    if phase_of(&sandbox) == Some(&SandboxPhase::Paused) {
        // the containers may stay the same, and what was mounted in them doesn't
        context.initialisations.forget(name);
    }
    let attempt = context.initialisations.of(name, &sandbox);
    let now = context.now();
    let storage = storage_of(context, &sandbox, now).await?;
    let recycling = recycling_of(context, name, &sandbox, pod.as_ref()).await?;
    let all = if preserve::may_have(&sandbox) {
        context.world.checkpoints_of_upgrades(&sandbox)
    } else {
        Vec::new()
    };
    let keeping = keeping_of(context, name, &sandbox, pod.as_ref()).await?;
    let refusal = preserved::refusal_of_now(context, &sandbox, pod.as_ref()).await;
    let circumstances = Circumstances {
        attempt: attempt.as_ref(),
        storage: &storage,
        recycling: recycling.as_ref(),
        kept: Kept { all: &all, answer: refusal.as_ref().map_or(Answer::None, preserved::answer) },
        keeping: &keeping,
    };
    let mut decision = decide_about(&sandbox, pod.as_ref(), circumstances, now);
    let mut outcome = act_all(context, &sandbox, pod.as_ref(), &mut decision).await;
    if let Err(Failure::CheckpointRefused(why)) = &outcome {
        let kept = Kept { answer: Answer::Refused(why), ..circumstances.kept };
        decision = decide_about(&sandbox, pod.as_ref(), Circumstances { kept, ..circumstances }, now);
        outcome = act_all(context, &sandbox, pod.as_ref(), &mut decision).await;
    }
    for event in decision.events {
        context.announcer.send(&*sandbox, event);
    }
    if let Some(status) = decision.status {
        write_status(context, &sandbox, &status).await?;
    }
    outcome.map(|()| decision.wake_at)
}

/// What the Sandbox's storage says about hibernating, where that makes a difference now.
async fn storage_of(context: &Context, sandbox: &Sandbox, now: Timestamp) -> Result<Verdict, Failure> {
    if !pause::depends_on_storage(sandbox, now) {
        return Ok(Verdict::Possible);
    }
    Ok(runtime_client::may_hibernate(&context.client, sandbox).await?)
}

/// What recycling the Sandbox depends on, where that makes a difference now.
async fn recycling_of(
    context: &Context,
    name: &ObjectName,
    sandbox: &Sandbox,
    pod: Option<&Pod>,
) -> Result<Option<Recycling>, Failure> {
    if !recycle::depends_on_pool(sandbox) {
        if phase_of(sandbox) != Some(&SandboxPhase::Paused) {
            context.unmounts.forget(name);
        }
        return Ok(None);
    }
    let draft = set::draft_for(context, sandbox).await?.map(Box::new);
    let unmounting = pod.and_then(kube::ResourceExt::uid).and_then(|pod| context.unmounts.of(name, &pod));
    Ok(Some(Recycling { draft, unmounting, limits: context.recycling }))
}

/// What keeping the pod of the Sandbox asleep depends on, where that makes a difference now.
async fn keeping_of(
    context: &Context,
    name: &ObjectName,
    sandbox: &Sandbox,
    pod: Option<&Pod>,
) -> Result<Keeping, Failure> {
    let mut keeping = Keeping::default();
    let Some(pod) = pod.filter(|pod| is_owned(sandbox, pod) && pod.metadata.deletion_timestamp.is_none())
    else {
        return Ok(keeping);
    };
    match (phase_of(sandbox), Sleep::of(pod)) {
        (Some(SandboxPhase::Paused), Sleep::Awake | Sleep::FallingAsleep | Sleep::WakingUp) => {
            keeping.node_keeps = node_keeps(context, pod).await?;
            keeping.unmounting = pod.uid().and_then(|uid| context.unmounts.of(name, &uid));
        }
        (Some(SandboxPhase::Resuming), Sleep::Asleep | Sleep::FallingAsleep) => {
            let template = template_of(context, sandbox).await?;
            let config = injection_config(context, sandbox).await?;
            let made_of = made_of(sandbox, &template, config.as_ref());
            keeping.is_current = pod.annotations().get(annotations::MADE_OF) == Some(&made_of);
        }
        _ => {}
    }
    Ok(keeping)
}

/// Whether the pod's node keeps it. One that may not be asked keeps nothing.
async fn node_keeps(context: &Context, pod: &Pod) -> Result<bool, Failure> {
    let Some(name) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) else { return Ok(false) };
    let nodes: Api<Node> = Api::all(context.client.clone());
    match nodes.get_opt(name).await {
        Ok(node) => Ok(node.is_some_and(|node| keeps_memory(&node))),
        Err(error) if has_code(&error, 403) => Ok(false),
        Err(error) => Err(failed("get", format!("Node/{name}"))(error)),
    }
}

fn phase_of(sandbox: &Sandbox) -> Option<&SandboxPhase> {
    sandbox.status.as_ref().map(|status| &status.phase)
}

/// The pod of the Sandbox as the watch knows it. Before a running sandbox is declared failed, the API is asked: after
/// a restart the watch of pods may be behind that of sandboxes. The same holds for one that is recycled or upgraded: a pod that
/// is still there must not be taken for one that is gone.
async fn pod_of(context: &Context, name: &ObjectName, sandbox: &Sandbox) -> Result<Option<Pod>, Failure> {
    if let Some(pod) = context.world.pod(name) {
        return Ok(Some((*pod).clone()));
    }
    let matters = sandbox.status.as_ref().is_some_and(|status| {
        matches!(status.phase, SandboxPhase::Running | SandboxPhase::Recycling | SandboxPhase::Upgrading)
    });
    if !matters {
        return Ok(None);
    }
    let pods = context.namespaced::<Pod>(&name.namespace);
    pods.get_opt(&name.name).await.map_err(failed("get", format!("pod {name}")))
}

/// Whether a Sandbox that runs or is upgraded has no pod that stays.
fn is_losing_its_pod(sandbox: &Sandbox, pod: Option<&Pod>) -> bool {
    let runs = sandbox
        .status
        .as_ref()
        .is_some_and(|status| matches!(status.phase, SandboxPhase::Running | SandboxPhase::Upgrading));
    runs && pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
}

/// Asks the API for the Sandbox: when one is deleted its pod goes with it, and the watch of pods may tell of that
/// before the watch of Sandboxes does. That is an end and no failure.
async fn is_there(context: &Context, name: &ObjectName, sandbox: &Sandbox) -> Result<bool, Failure> {
    let sandboxes = context.namespaced::<Sandbox>(&name.namespace);
    let live = sandboxes.get_opt(&name.name).await.map_err(failed("get", object(sandbox)))?;
    Ok(live.is_some_and(|live| live.metadata.uid == sandbox.metadata.uid))
}

/// Everything that was decided, until something fails.
async fn act_all(
    context: &Arc<Context>,
    sandbox: &Sandbox,
    pod: Option<&Pod>,
    decision: &mut Decision,
) -> Result<(), Failure> {
    for action in &decision.actions {
        act(context, sandbox, pod, action, &mut decision.status).await?;
    }
    Ok(())
}

async fn act(
    context: &Arc<Context>,
    sandbox: &Sandbox,
    pod: Option<&Pod>,
    action: &Action,
    status: &mut Option<SandboxStatus>,
) -> Result<(), Failure> {
    match action {
        Action::WriteImmutableHash(hash) => {
            write_annotation(context, sandbox, annotations::HASH_IMMUTABLE_PART, hash).await
        }
        Action::CreatePod => {
            let created = create_pod(context, sandbox).await;
            if let (Err(failure), Some(status)) = (&created, status) {
                note_create_failure(context, sandbox, failure, status);
            }
            created
        }
        Action::DeletePod { uid } => delete_pod(context, sandbox, &delete_exactly(uid)).await,
        Action::StopPod { uid } => {
            delete_pod(context, sandbox, &delete_exactly(uid).grace_period(PAUSE_GRACE)).await
        }
        Action::PauseByDeadline { kept_until } => pause_by_deadline(context, sandbox, *kept_until).await,
        Action::AddFinalizer => add_finalizer(context, sandbox).await,
        Action::PatchPodMetadata { revision } => match pod {
            Some(pod) => in_place::patch_metadata(context, sandbox, pod, revision).await,
            None => Ok(()),
        },
        Action::UpdatePod { revision } => match pod {
            Some(pod) => in_place::update(context, sandbox, pod, revision, status).await,
            None => Ok(()),
        },
        Action::DeleteSandbox => delete_sandbox(context, sandbox).await,
        Action::KeepUntil(until) => {
            let spec = json!({"shutdownTime": Time(*until)});
            patch_exactly(context, sandbox, "set the end of", json!({}), spec).await
        }
        Action::Unmount { pod } => {
            context.unmounts.start(context, &name_of(sandbox), sandbox.clone(), pod, Links::Remove);
            Ok(())
        }
        Action::UnmountForPause { pod } => {
            context.unmounts.start(context, &name_of(sandbox), sandbox.clone(), pod, Links::Keep);
            Ok(())
        }
        Action::PutPodToSleep { uid } => set_sleep(context, sandbox, uid, Some("true")).await,
        Action::WakePod { uid } => set_sleep(context, sandbox, uid, None).await,
        Action::ClearSandbox(cleared) => recycled::clear(context, sandbox, cleared).await,
        Action::ReplaceSandbox(returned) => recycled::replace(context, returned).await,
        Action::DropFinalizer => drop_finalizer(context, sandbox).await,
        Action::InitialiseRuntime { container } => {
            let current = Sandbox { status: status.clone(), ..sandbox.clone() };
            context.initialisations.start(context, &name_of(sandbox), current, container);
            Ok(())
        }
        Action::RunHook { hook, attempt } => {
            let current = Sandbox { status: status.clone(), ..sandbox.clone() };
            context.initialisations.start_hook(context, &name_of(sandbox), current, *hook, attempt);
            Ok(())
        }
        Action::TakeCheckpoint { name } => {
            let taken = preserved::take(context, sandbox, name).await;
            if let (Err(failure), Some(status)) = (&taken, status) {
                preserve::note_delay(name, &words(failure), context.now(), status);
            }
            taken
        }
        Action::RestoreFrom { id } => write_annotation(context, sandbox, annotations::RESTORE_FROM, id).await,
        Action::DeleteCheckpoint { name, uid } => preserved::drop(context, sandbox, name, uid).await,
    }
}

pub(super) async fn write_annotation(
    context: &Context,
    sandbox: &Sandbox,
    key: &'static str,
    value: &str,
) -> Result<(), Failure> {
    let patch = json!({"metadata": {"annotations": {key: value}}});
    let sandboxes = context.namespaced::<Sandbox>(&namespace(sandbox));
    match sandboxes.patch(&sandbox.name_any(), &patch_parameters(), &Patch::Merge(&patch)).await {
        Ok(written) => {
            context.world.wrote_sandbox(written);
            Ok(())
        }
        Err(error) if has_code(&error, 404) => Ok(()),
        Err(error) => Err(failed("annotate", object(sandbox))(error)),
    }
}

/// §4.4, decision D-6: a pod that can't be made is seen as an event and as a condition.
fn note_create_failure(context: &Context, sandbox: &Sandbox, failure: &Failure, status: &mut SandboxStatus) {
    let message = words(failure);
    conditions::set(
        &mut status.conditions,
        types::READY,
        false,
        reasons::POD_CREATE_FAILED,
        &message,
        context.now(),
    );
    context.announcer.send(sandbox, Announcement::warning(events::POD_CREATE_FAILED, message));
}

/// What a failure says to a user.
pub(super) fn words(failure: &Failure) -> String {
    match failure {
        Failure::Problem(problem) => problem.message().to_owned(),
        Failure::Api { source, .. } => format!("{failure}: {}", message_of(source)),
        other => other.to_string(),
    }
}

async fn delete_pod(context: &Context, sandbox: &Sandbox, how: &DeleteParams) -> Result<(), Failure> {
    let pods = context.namespaced::<Pod>(&namespace(sandbox));
    match pods.delete(&sandbox.name_any(), how).await {
        Ok(_) => Ok(()),
        Err(error) if has_code(&error, 404) || has_code(&error, 409) => Ok(()),
        Err(error) => Err(failed("delete the pod of", object(sandbox))(error)),
    }
}

/// Writes what the node is to do with the pod of that UID. One that is gone, or another one, needs nothing.
async fn set_sleep(
    context: &Context,
    sandbox: &Sandbox,
    uid: &str,
    wanted: Option<&str>,
) -> Result<(), Failure> {
    let pods = context.namespaced::<Pod>(&namespace(sandbox));
    let patch = json!({"metadata": {"uid": uid, "annotations": {annotations::HIBERNATE: wanted}}});
    match pods.patch(&sandbox.name_any(), &patch_parameters(), &Patch::Merge(&patch)).await {
        Ok(written) => {
            context.world.wrote_pod(written);
            Ok(())
        }
        Err(error) if has_code(&error, 404) || has_code(&error, 409) => Ok(()),
        Err(error) => Err(failed("patch the pod of", object(sandbox))(error)),
    }
}

async fn delete_sandbox(context: &Context, sandbox: &Sandbox) -> Result<(), Failure> {
    let sandboxes = context.namespaced::<Sandbox>(&namespace(sandbox));
    let uid = sandbox.uid().unwrap_or_default();
    match sandboxes.delete(&sandbox.name_any(), &delete_exactly(&uid)).await {
        Ok(_) => Ok(()),
        Err(error) if has_code(&error, 404) => Ok(()),
        Err(error) => Err(failed("delete", object(sandbox))(error)),
    }
}

/// Written on the version that was decided about: who changed the deadlines meanwhile is asked again.
async fn pause_by_deadline(
    context: &Context,
    sandbox: &Sandbox,
    kept_until: Option<Timestamp>,
) -> Result<(), Failure> {
    let mut spec = json!({"paused": true});
    if let Some(until) = kept_until {
        spec["pauseTime"] = json!(Time(until));
        spec["shutdownTime"] = json!(Time(until));
    }
    patch_exactly(context, sandbox, "pause", json!({}), spec).await
}

async fn add_finalizer(context: &Context, sandbox: &Sandbox) -> Result<(), Failure> {
    let mut all = sandbox.finalizers().to_vec();
    all.push(finalizers::SANDBOX.to_owned());
    patch_exactly(context, sandbox, "add the finalizer of", json!({"finalizers": all}), json!({})).await
}

async fn drop_finalizer(context: &Context, sandbox: &Sandbox) -> Result<(), Failure> {
    let remaining: Vec<&String> =
        sandbox.finalizers().iter().filter(|finalizer| *finalizer != finalizers::SANDBOX).collect();
    // none at all is written as absence
    let metadata = json!({"finalizers": (!remaining.is_empty()).then_some(remaining)});
    patch_exactly(context, sandbox, "drop the finalizer of", metadata, json!({})).await
}

/// Merges into metadata and spec of the very version of the Sandbox that was looked at.
async fn patch_exactly(
    context: &Context,
    sandbox: &Sandbox,
    action: &'static str,
    mut metadata: serde_json::Value,
    spec: serde_json::Value,
) -> Result<(), Failure> {
    metadata["resourceVersion"] = json!(sandbox.resource_version());
    let patch = json!({"metadata": metadata, "spec": spec});
    let sandboxes = context.namespaced::<Sandbox>(&namespace(sandbox));
    match sandboxes.patch(&sandbox.name_any(), &patch_parameters(), &Patch::Merge(&patch)).await {
        Ok(written) => {
            context.world.wrote_sandbox(written);
            Ok(())
        }
        Err(error) if has_code(&error, 404) => Ok(()),
        Err(error) => Err(failed(action, object(sandbox))(error)),
    }
}

async fn write_status(context: &Context, sandbox: &Sandbox, status: &SandboxStatus) -> Result<(), Failure> {
    let Some(patch) = merge_patch(sandbox.status.as_ref(), status) else { return Ok(()) };
    let sandboxes = context.namespaced::<Sandbox>(&namespace(sandbox));
    match sandboxes.patch_status(&sandbox.name_any(), &patch_parameters(), &Patch::Merge(&patch)).await {
        Ok(written) => {
            context.world.wrote_sandbox(written);
            Ok(())
        }
        Err(error) if has_code(&error, 404) => Ok(()),
        Err(error) => Err(failed("write the status of", object(sandbox))(error)),
    }
}

pub(super) fn namespace(sandbox: &Sandbox) -> String {
    sandbox.namespace().unwrap_or_default()
}

pub(super) fn object(sandbox: &Sandbox) -> String {
    format!("Sandbox/{}/{}", namespace(sandbox), sandbox.name_any())
}

pub(super) fn failed(action: &'static str, object: String) -> impl FnOnce(kube::Error) -> Failure {
    move |source| Failure::Api { action, object, source }
}
