//! From a `SandboxClaim` to what is claimed. Everything that can be wrong is found here, before a sandbox is taken
//! (DECISIONS 10).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use claim::{ClaimRequest, EmptyPool, check_change, check_runtimes};
use contract::crd::template::pod_template;
use contract::crd::{SandboxClaim, SandboxClaimSpec, SandboxSet, SandboxTemplate};
use contract::duration;
use contract::errors::{Code, Problem};
use contract::extensions::{Retention, is_label_value, is_qualified_name};
use contract::intents::{check_mount_path, check_set};
use contract::names::{E2B_PREFIX, INTERNAL_PREFIX, RUNTIME_AGENT, annotations, labels};
use kube::ResourceExt as _;
use runtime_client::{kubernetes_problem, resolve_mounts};
use serde_json::Value;

use crate::api::Context;

/// Limit of readiness of a claim that names none.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// An init container of this name brings the runtime along without injection.
const RUNTIME_CONTAINER: &str = "runtime";

/// Checks the claim and resolves its volumes as they are now.
pub(super) async fn build(
    context: &Context,
    claim: &SandboxClaim,
    set: &Arc<SandboxSet>,
) -> Result<ClaimRequest, Problem> {
    let spec = &claim.spec;
    let referred = referred_template(context, set).await?;
    let has_runtime = has_runtime(set, set.spec.template.as_ref().or(referred.as_ref()));
    check(claim, has_runtime)?;
    let intents = spec.dynamic_volumes_mount.clone().unwrap_or_default();
    check_runtimes(set, &intents)?;
    let change = spec.inplace_update.clone().unwrap_or_default();
    check_change(set, &change)?;
    let mounts = resolve_mounts(&context.client, &context.drivers, &intents).await?;
    context.conceal(&mounts);
    let user_annotations = spec.annotations.clone().unwrap_or_default();
    let for_pods = |key: &str| !key.starts_with(INTERNAL_PREFIX) && !key.starts_with(E2B_PREFIX);
    let pod_annotations = user_annotations.clone().into_iter().filter(|(key, _)| for_pods(key)).collect();
    let limit = spec.wait_ready_timeout.as_deref().and_then(duration::parse);
    Ok(ClaimRequest {
        template: referred,
        intents,
        mounts,
        change,
        environment: spec.env_vars.clone().unwrap_or_default(),
        user_labels: spec.labels.clone().unwrap_or_default(),
        user_annotations,
        pod_annotations,
        labels: BTreeMap::from([(labels::CLAIM_NAME.to_owned(), claim.name_any())]),
        shutdown_time: spec.shutdown_time.as_ref().map(|time| time.0),
        skip_init_runtime: !initialises(spec, has_runtime),
        keep_failed: if spec.reserve_failed_sandbox == Some(true) {
            Retention::Forever
        } else {
            Retention::Never
        },
        empty_pool: if spec.create_on_no_stock == Some(false) {
            EmptyPool::Refuse
        } else {
            EmptyPool::Create
        },
        ready_limit: limit.and_then(|limit| limit.try_into().ok()).unwrap_or(READY_LIMIT),
        tries: 1,
        ..ClaimRequest::new(set.clone(), claim.uid().unwrap_or_default())
    })
}

/// What can be seen without asking the API.
fn check(claim: &SandboxClaim, has_runtime: bool) -> Result<(), Problem> {
    let spec = &claim.spec;
    let wrong = |message: String| Err(Problem::new(Code::InvalidParameter, message));
    if !is_label_value(&claim.name_any()) {
        return wrong("the claim's name must fit into a label: at most 63 characters".to_owned());
    }
    for (key, value) in spec.labels.iter().flatten() {
        if key == labels::SANDBOX_ID {
            return wrong(format!("labels: {key} can't be given by a claim"));
        }
        if !is_qualified_name(key) || !is_label_value(value) {
            return wrong(format!("labels: {key:?} is no label key, or its value is no label value"));
        }
    }
    for key in spec.annotations.iter().flatten().map(|(key, _)| key) {
        if key == annotations::SANDBOX_ID {
            return wrong(format!("annotations: {key} can't be given by a claim"));
        }
        if key == annotations::CSI_VOLUME_CONFIG {
            return wrong(format!("annotations: instead of {key} use dynamicVolumesMount"));
        }
        if !is_qualified_name(key) {
            return wrong(format!("annotations: {key:?} is no annotation key"));
        }
    }
    let mounts = spec.dynamic_volumes_mount.as_deref().unwrap_or_default();
    for (index, mount) in mounts.iter().enumerate() {
        check_mount_path(&mount.mount_path).map_err(|problem| {
            problem
                .within(&format!("dynamicVolumesMount[{index}].mountPath {:?} is invalid", mount.mount_path))
        })?;
    }
    check_set(mounts)?;
    if mounts.is_empty() || initialises(spec, has_runtime) {
        return Ok(());
    }
    let why = if spec.skip_init_runtime == Some(true) {
        "skipInitRuntime is true".to_owned()
    } else {
        format!("the SandboxSet {:?} lacks the runtime {RUNTIME_AGENT}", spec.template_name)
    };
    let message = format!("init runtime is required for mounting storage, but {why}");
    Err(Problem::new(Code::MountNeedsRuntimeInit, message))
}

fn initialises(spec: &SandboxClaimSpec, has_runtime: bool) -> bool {
    has_runtime && spec.skip_init_runtime != Some(true)
}

fn has_runtime(set: &SandboxSet, template: Option<&Value>) -> bool {
    let injected = set.spec.runtimes.iter().flatten().any(|runtime| runtime.name == RUNTIME_AGENT);
    let pod = template.and_then(|template| pod_template(template).ok()).and_then(|template| template.spec);
    let mut brought = pod.iter().flat_map(|pod| pod.init_containers.iter().flatten());
    injected || brought.any(|container| container.name == RUNTIME_CONTAINER)
}

/// The pod template that the set refers to, if it does.
async fn referred_template(context: &Context, set: &SandboxSet) -> Result<Option<Value>, Problem> {
    let (None, Some(reference)) = (&set.spec.template, &set.spec.template_ref) else { return Ok(None) };
    let templates = context.namespaced::<SandboxTemplate>(&set.namespace().unwrap_or_default());
    let found = templates.get_opt(&reference.name).await;
    let action = format!("get SandboxTemplate {}", reference.name);
    let found = found.map_err(|error| kubernetes_problem(&action, &error))?;
    Ok(found.and_then(|template| template.spec.template))
}
