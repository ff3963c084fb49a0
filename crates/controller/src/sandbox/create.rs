//! Making a Sandbox's pod (`kubernetes.md` §5.2).

use contract::crd::template::pod_template;
use contract::crd::{Sandbox, SandboxPhase, SandboxTemplate};
use contract::errors::{Code, Problem};
use contract::names::{INJECTION_CONFIG, RUNTIME_AGENT, RUNTIME_TLS_PORT, annotations, events};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, PodTemplateSpec};
use kube::ResourceExt as _;

use super::act::{failed, namespace, object, write_annotation};
use super::decide::{is_owned, owner_mismatch};
use super::pod::build;
use crate::announce::Announcement;
use crate::api::{Context, has_code, message_of, parameters};
use crate::dispatch::Failure;

/// Makes the pod of a Sandbox, and its claims before it. One of that name that is there and the Sandbox's own is fine.
pub(super) async fn create_pod(context: &Context, sandbox: &Sandbox) -> Result<(), Failure> {
    let template = template_of(context, sandbox).await?;
    let config = injection_config(context, sandbox).await?;
    let parts = build(sandbox, template, config.as_ref())?;
    for clash in parts.clashes {
        context.announcer.send(sandbox, Announcement::warning(events::INJECTION_CLASH, clash));
    }
    for claim in &parts.claims {
        create_claim(context, sandbox, claim).await?;
    }
    announce_tls(context, sandbox).await?;
    let pods = context.namespaced::<Pod>(&namespace(sandbox));
    match pods.create(&parameters(), &parts.pod).await {
        Ok(_) => {
            announce_origin(context, sandbox);
            Ok(())
        }
        Err(error) if has_code(&error, 409) && !is_refusal(&error) => check_existing(context, sandbox).await,
        Err(error) => {
            let message = message_of(&error);
            Err(Problem::new(Code::PodCreateFailed, message).about(object(sandbox)).into())
        }
    }
}

/// DECISIONS 6: what was mounted in the sandbox that a clone comes from is not mounted in the clone. Said once, at its
/// first pod.
fn announce_origin(context: &Context, sandbox: &Sandbox) {
    let is_first = sandbox
        .status
        .as_ref()
        .is_none_or(|status| !matches!(status.phase, SandboxPhase::Resuming | SandboxPhase::Upgrading));
    let Some(id) = sandbox.annotations().get(annotations::RESTORE_FROM).filter(|_| is_first) else { return };
    let Some(origin) = context.world.checkpoint_of(&namespace(sandbox), id) else { return };
    let Some(count) = origin.annotations().get(annotations::SOURCE_MOUNTS) else { return };
    let own = if sandbox.annotations().contains_key(annotations::CSI_VOLUME_CONFIG) {
        "only what was asked for with this sandbox is mounted"
    } else {
        "nothing is mounted"
    };
    let message = format!(
        "the sandbox that checkpoint {id} was taken of had storage mounted ({count} in number), which is no part of a \
         checkpoint and is not restored: {own}"
    );
    context.announcer.send(sandbox, Announcement::warning(events::STORAGE_NOT_RESTORED, message));
}

/// §5.2: with certificates here, a sandbox with `agent-runtime` is said to serve TLS before its pod is there.
async fn announce_tls(context: &Context, sandbox: &Sandbox) -> Result<(), Failure> {
    let runtimes = sandbox.spec.runtimes.as_deref().unwrap_or_default();
    let announced = sandbox.annotations().contains_key(annotations::RUNTIME_TLS_PORT);
    let wakes_up = sandbox.status.as_ref().is_some_and(|status| status.phase == SandboxPhase::Resuming);
    if !context.serves_tls
        || announced
        || wakes_up
        || runtimes.iter().all(|runtime| runtime.name != RUNTIME_AGENT)
    {
        return Ok(());
    }
    write_annotation(context, sandbox, annotations::RUNTIME_TLS_PORT, &RUNTIME_TLS_PORT.to_string()).await
}

/// Whether a 409 is something else than an object of that name being there, such as a namespace that goes.
fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.reason != "AlreadyExists")
}

/// A pod of that name is there: fine when it is ours, otherwise said loudly and tried again.
async fn check_existing(context: &Context, sandbox: &Sandbox) -> Result<(), Failure> {
    let name = sandbox.name_any();
    let pods = context.namespaced::<Pod>(&namespace(sandbox));
    let existing = pods.get_opt(&name).await.map_err(failed("get", format!("pod {name}")))?;
    match existing {
        Some(pod) if is_owned(sandbox, &pod) => Ok(()),
        Some(pod) => {
            let mismatch = owner_mismatch(&pod);
            let problem =
                Problem::new(Code::PodCreateFailed, mismatch.message.clone()).about(format!("Pod/{name}"));
            context.announcer.send(sandbox, mismatch);
            Err(problem.into())
        }
        None => Err(Problem::new(
            Code::PodCreateFailed,
            format!("pod {name} was there and is gone, trying again"),
        )
        .into()),
    }
}

/// The template of its pods, its own or the one it refers to.
pub(super) async fn template_of(context: &Context, sandbox: &Sandbox) -> Result<PodTemplateSpec, Failure> {
    if let Some(raw) = &sandbox.spec.template {
        return Ok(pod_template(raw)?);
    }
    let name = sandbox.spec.template_ref.as_ref().map(|reference| reference.name.clone()).unwrap_or_default();
    let templates = context.namespaced::<SandboxTemplate>(&namespace(sandbox));
    let found = templates.get_opt(&name).await.map_err(failed("get", format!("SandboxTemplate {name}")))?;
    match found.and_then(|template| template.spec.template) {
        Some(raw) => Ok(pod_template(&raw)?),
        None => Err(Problem::new(
            Code::InvalidTemplate,
            format!("templateRef names SandboxTemplate {name}, which does not exist or has no template"),
        )
        .into()),
    }
}

/// Read at every pod creation, so that an edit counts at once.
pub(super) async fn injection_config(
    context: &Context,
    sandbox: &Sandbox,
) -> Result<Option<ConfigMap>, Failure> {
    if sandbox.spec.runtimes.as_ref().is_none_or(Vec::is_empty) {
        return Ok(None);
    }
    let config_maps = context.namespaced::<ConfigMap>(&context.namespace);
    config_maps
        .get_opt(INJECTION_CONFIG)
        .await
        .map_err(failed("get", format!("ConfigMap {INJECTION_CONFIG}")))
}

async fn create_claim(
    context: &Context,
    sandbox: &Sandbox,
    claim: &PersistentVolumeClaim,
) -> Result<(), Failure> {
    let claims = context.namespaced::<PersistentVolumeClaim>(&namespace(sandbox));
    match claims.create(&parameters(), claim).await {
        Ok(_) => Ok(()),
        Err(error) if has_code(&error, 409) => Ok(()),
        Err(error) => {
            let message = format!("PersistentVolumeClaim {}: {}", claim.name_any(), message_of(&error));
            Err(Problem::new(Code::PodCreateFailed, message).into())
        }
    }
}
